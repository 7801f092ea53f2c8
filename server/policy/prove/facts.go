package prove

import (
	"fmt"
	"maps"
	"math"
	"slices"

	"github.com/cedar-policy/cedar-go"
	"github.com/cedar-policy/cedar-go/types"
	"github.com/cedar-policy/cedar-go/x/exp/ast"
	"github.com/cedar-policy/cedar-go/x/exp/schema/resolved"

	"github.com/writpdp/writ/document"
	"github.com/writpdp/writ/server/decision"
)

// Facts are what is so of every request that Writ asks policies about and what a
// schema cannot say. Both bundles are compared under the same facts: a request for
// which they are not so is no counterexample.

// maxFacts bounds the facts about declared entities.
const maxFacts = 5000

// facts are those of one kind of request, as one expression that cannot fail.
func (env environment) facts() (string, error) {
	var scenes []*scene
	for _, s := range []*scene{env.old, env.new} {
		if s != nil {
			scenes = append(scenes, s)
		}
	}
	f := &facts{scene: scenes[0]}
	f.phases()
	f.counted()
	f.purposes(scenes)
	if f.scene.tool == nil {
		f.destination(scenes)
	} else {
		f.tool(scenes)
	}
	f.present()
	for _, name := range []cedar.String{"args", "extra"} {
		if attribute, ok := f.scene.context[name]; ok {
			f.numbers(access(theContext, name), attribute)
		}
	}
	if entity, ok := f.scene.Source.Schema.Entities[env.resource]; ok && env.resource != typeServer && env.resource != typeDestination {
		f.numbers(variable("resource"), resolved.Attribute{Type: entity.Shape})
	}
	if err := f.entities(scenes); err != nil {
		return "", err
	}
	return text(allOf(f.all)), nil
}

type facts struct {
	*scene // one of them: both have the same types
	all    []ast.IsNode
}

func (f *facts) add(n ast.IsNode) { f.all = append(f.all, n) }

func variable(name cedar.String) ast.IsNode { return ast.NodeTypeVariable{Name: name} }

var theContext = variable("context")

func access(of ast.IsNode, name cedar.String) ast.IsNode {
	return ast.NodeTypeAccess{StrOpNode: ast.StrOpNode{Arg: of, Value: name}}
}

func has(of ast.IsNode, name cedar.String) ast.IsNode {
	return ast.NodeTypeHas{StrOpNode: ast.StrOpNode{Arg: of, Value: name}}
}

func str(s string) ast.IsNode { return ast.NodeValue{Value: cedar.String(s)} }

// implied is that a condition holds if a given one does.
func implied(given, then ast.IsNode) ast.IsNode { return or(not(given), and(given, then)) }

// phases are those of the request, with a content where there is one.
func (f *facts) phases() {
	var either []ast.IsNode
	for _, phase := range f.scene.phases {
		one := equal(access(theContext, "phase"), str(phase))
		switch phase {
		case decision.Result.String():
			one = and(one, has(theContext, "content"))
		case decision.Call.String():
			one = and(one, not(has(theContext, "content")))
		}
		either = append(either, one)
	}
	f.add(anyOf(either))
}

// counted is that nothing that is counted is negative.
func (f *facts) counted() {
	if content, ok := f.context["content"]; ok {
		counted := notNegative(access(access(theContext, "content"), "size"))
		if content.Optional {
			counted = implied(has(theContext, "content"), counted)
		}
		f.add(counted)
	}
	if _, connects := f.context["connection"]; connects {
		port := access(access(theContext, "connection"), "port")
		f.add(notNegative(port))
		f.add(ast.NodeTypeLessThanOrEqual{BinaryNode: ast.BinaryNode{Left: port, Right: ast.NodeValue{Value: cedar.Long(math.MaxUint16)}}})
	}
	for _, name := range []cedar.String{"calls", "tokens", "micros"} {
		f.add(notNegative(access(access(theContext, "cost"), name)))
	}
	f.session()
}

// session is that a value over a session's events is not negative, and that without a
// session nothing came before.
func (f *facts) session() {
	nothing := []ast.IsNode{ast.NodeTypeIsEmpty{UnaryNode: ast.UnaryNode{Arg: access(theContext, "taint")}}}
	values, _ := f.context["chain"].Type.(resolved.RecordType)
	for _, name := range slices.Sorted(maps.Keys(values)) {
		value := access(access(theContext, "chain"), name)
		if _, truth := values[name].Type.(resolved.BoolType); truth {
			nothing = append(nothing, not(value))
			continue
		}
		f.add(notNegative(value))
		nothing = append(nothing, equal(value, ast.NodeValue{Value: cedar.Long(0)}))
	}
	f.add(implied(not(has(theContext, "session")), allOf(nothing)))
}

func notNegative(n ast.IsNode) ast.IsNode {
	return ast.NodeTypeGreaterThanOrEqual{BinaryNode: ast.BinaryNode{Left: n, Right: ast.NodeValue{Value: cedar.Long(0)}}}
}

// purposes are those that one of the bundles has for the action. Under another one
// both deny.
func (f *facts) purposes(scenes []*scene) {
	known := map[string]bool{}
	for _, s := range scenes {
		for _, id := range s.purposes() {
			known[id] = true
		}
	}
	if len(known) == 0 {
		f.add(boolean(false))
		return
	}
	f.add(contains(texts(slices.Collect(maps.Keys(known))), access(theContext, "purpose")))
}

// present is what is left out where it is empty.
func (f *facts) present() {
	f.add(implied(has(theContext, "session"), not(equal(access(theContext, "session"), str("")))))
	f.add(implied(has(theContext, "onBehalfOf"), not(equal(access(theContext, "onBehalfOf"), ast.NodeValue{Value: cedar.NewEntityUID("Human", "")}))))
}

// tool is what is so of a tool's request.
func (f *facts) tool(scenes []*scene) {
	tool := access(theContext, "tool")
	f.add(equal(access(tool, "server"), str(f.scene.tool.Server)))
	f.add(equal(access(tool, "name"), str(f.scene.tool.Name)))
	for _, list := range []struct {
		name   cedar.String
		values func(*decision.Tool) []string
	}{{"classes", func(t *decision.Tool) []string { return t.Classes }}, {"labels", func(t *decision.Tool) []string { return t.Labels }}} {
		known := map[string]ast.IsNode{}
		for _, s := range scenes {
			values, at := list.values(s.tool), access(tool, list.name)
			if len(values) == 0 {
				known[""] = ast.NodeTypeIsEmpty{UnaryNode: ast.UnaryNode{Arg: at}}
			} else {
				known[text(texts(values))] = equal(at, texts(values))
			}
		}
		// Where they differ, what is there is put in and what is empty is left open.
		if empty, ok := known[""]; ok {
			f.add(empty)
		} else if len(known) == 1 {
			f.add(slices.Collect(maps.Values(known))[0])
		}
	}
	if !f.scene.server.IsZero() {
		f.add(equal(variable("resource"), ast.NodeValue{Value: f.scene.server}))
	}
	for _, name := range []cedar.String{"hosts", "schemes"} { // an empty one is none
		f.add(not(contains(access(access(theContext, "urls"), name), str(""))))
	}
	f.add(implied(has(theContext, "destination"), stated(access(theContext, "destination"))))
}

// stated is that a destination says something. That of a vendor which the bundle does
// not know says nothing, and is denied before policies count.
func stated(of ast.IsNode) ast.IsNode {
	var either []ast.IsNode
	for _, name := range []cedar.String{"host", "region", "vendor"} {
		either = append(either, not(equal(access(of, name), str(""))))
	}
	return anyOf(either)
}

// destination is what is so of a prompt or a connection: the resource is the
// destination in the context, by the name of its host, or else its vendor's. One that
// says nothing is not in the context; here it is there and empty, and whoever looks
// at it fails.
func (f *facts) destination(scenes []*scene) {
	in, resource := access(theContext, "destination"), variable("resource")
	named := map[cedar.EntityUID]bool{}
	var declared []cedar.EntityUID
	for _, s := range scenes {
		declared = append(declared, s.declared[typeDestination]...)
		for _, st := range s.inForce() {
			for _, uid := range mentioned(st.Policy) {
				if uid.Type == typeDestination {
					named[uid] = true
				}
			}
		}
	}
	var same []ast.IsNode
	for _, name := range []cedar.String{"host", "region", "vendor"} {
		same = append(same, equal(access(resource, name), access(in, name)))
	}
	of := allOf(same)
	if len(declared) > 0 { // whose attributes are the bundle's
		of = or(contains(literals(declared), resource), of)
	}
	f.add(of)
	for _, uid := range declared {
		named[uid] = true
	}
	for _, uid := range slices.SortedFunc(maps.Keys(named), byName) {
		host, vendor := equal(access(in, "host"), ast.NodeValue{Value: uid.ID}), equal(access(in, "vendor"), ast.NodeValue{Value: uid.ID})
		by := and(host, vendor)
		if uid.ID != "" {
			by = or(host, and(equal(access(in, "host"), str("")), vendor))
		}
		f.add(equal(equal(resource, ast.NodeValue{Value: uid}), by))
	}
}

// mentioned are the entities that a policy names.
func mentioned(p *ast.Policy) []cedar.EntityUID {
	var found []cedar.EntityUID
	look := func(n ast.IsNode) bool {
		if v, ok := n.(ast.NodeValue); ok {
			if uid, ok := v.Value.(cedar.EntityUID); ok {
				found = append(found, uid)
			}
		}
		return true
	}
	ast.Inspect(ast.NewNode(scoped("principal", p.Principal)), look)
	ast.Inspect(ast.NewNode(scoped("resource", p.Resource)), look)
	for _, c := range p.Conditions {
		ast.Inspect(ast.NewNode(c.Body), look)
	}
	return found
}

// numbers says that integers are those that JSON can hold. Elements of sets are
// left open: nothing says something of each.
func (f *facts) numbers(at ast.IsNode, of resolved.Attribute) {
	for _, fact := range integers(at, of.Type) {
		f.add(fact)
	}
}

func integers(at ast.IsNode, typ resolved.IsType) []ast.IsNode {
	switch typ := typ.(type) {
	case resolved.LongType:
		most := ast.NodeValue{Value: cedar.Long(document.MaxSafeInteger)}
		least := ast.NodeValue{Value: cedar.Long(-document.MaxSafeInteger)}
		return []ast.IsNode{ast.NodeTypeLessThanOrEqual{BinaryNode: ast.BinaryNode{Left: at, Right: most}},
			ast.NodeTypeGreaterThanOrEqual{BinaryNode: ast.BinaryNode{Left: at, Right: least}}}
	case resolved.RecordType:
		var facts []ast.IsNode
		for _, name := range slices.Sorted(maps.Keys(typ)) {
			inner := integers(access(at, name), typ[name].Type)
			if len(inner) > 0 && typ[name].Optional {
				inner = []ast.IsNode{implied(has(at, name), allOf(inner))}
			}
			facts = append(facts, inner...)
		}
		return facts
	}
	return nil
}

// entities are the attributes of declared entities, as far as policies look at such.
func (f *facts) entities(scenes []*scene) error {
	looked := map[cedar.EntityType]bool{}
	for _, s := range scenes {
		maps.Copy(looked, s.looked)
	}
	before := len(f.all)
	for _, typ := range slices.Sorted(maps.Keys(looked)) {
		known := map[cedar.EntityUID][]*scene{}
		for _, s := range scenes {
			for _, uid := range s.declared[typ] {
				known[uid] = append(known[uid], s)
			}
		}
		for _, uid := range slices.SortedFunc(maps.Keys(known), byName) {
			in := known[uid]
			first := in[0].Source.Entities[uid].Attributes
			if len(in) > 1 && !first.Equal(in[1].Source.Entities[uid].Attributes) {
				return fmt.Errorf("the attributes of %s differ, and policies look at attributes of its type", uid)
			}
			if len(in) < len(scenes) && typ == f.scene.resource && typ != typeServer {
				return fmt.Errorf("only one of the bundles declares %s, which a request can be about, and policies look at attributes of its type", uid)
			}
			f.all = append(f.all, fixed(ast.NodeValue{Value: uid}, f.scene.Source.Schema.Entities[typ].Shape, first)...)
			if len(f.all)-before > maxFacts {
				return fmt.Errorf("the entities whose attributes policies look at come to more than %d facts", maxFacts)
			}
		}
	}
	return nil
}

// fixed says that something has the attributes of a record and no others.
func fixed(at ast.IsNode, typ resolved.RecordType, value types.Record) []ast.IsNode {
	var facts []ast.IsNode
	for _, name := range slices.Sorted(maps.Keys(typ)) {
		v, there := value.Get(name)
		if !there {
			facts = append(facts, not(has(at, name)))
			continue
		}
		var inner []ast.IsNode
		switch v := v.(type) {
		case types.Record:
			shape, _ := typ[name].Type.(resolved.RecordType)
			inner = fixed(access(at, name), shape, v)
		case types.Set:
			if v.Len() == 0 {
				inner = []ast.IsNode{ast.NodeTypeIsEmpty{UnaryNode: ast.UnaryNode{Arg: access(at, name)}}}
				break
			}
			inner = []ast.IsNode{equal(access(at, name), ast.NodeValue{Value: v})}
		default:
			inner = []ast.IsNode{equal(access(at, name), ast.NodeValue{Value: v})}
		}
		if typ[name].Optional {
			inner = []ast.IsNode{and(has(at, name), allOf(inner))}
		}
		facts = append(facts, inner...)
	}
	return facts
}
