package prove

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/cedar-policy/cedar-go"
	"github.com/cedar-policy/cedar-go/x/exp/schema/resolved"

	"github.com/writpdp/writ/server/decision"
	"github.com/writpdp/writ/server/policy"
)

// The entity types that Writ gives meaning to.
const (
	typeAgent       = cedar.EntityType("Agent")
	typeServer      = cedar.EntityType("Server")
	typeDestination = cedar.EntityType("Destination")
	typeAction      = cedar.EntityType("Action")
)

// world is what one bundle's policies see besides the request.
type world struct {
	Side
	// groups are the actions' own entities.
	groups cedar.EntityMap
	// declared are the bundle's entities by type, in order.
	declared map[cedar.EntityType][]cedar.EntityUID
	// above are the ancestors of each, in order, without itself.
	above map[cedar.EntityUID][]cedar.EntityUID
	// moments are the kinds of requests, those that differ in their phase together.
	moments map[kind][]policy.Moment
}

// kind tells kinds of requests apart.
type kind struct {
	principal, resource cedar.EntityType
	action              cedar.EntityUID
}

func newWorld(side Side) *world {
	w := &world{Side: side, groups: cedar.EntityMap{}, declared: map[cedar.EntityType][]cedar.EntityUID{}, above: map[cedar.EntityUID][]cedar.EntityUID{},
		moments: map[kind][]policy.Moment{}}
	for uid, action := range side.Source.Schema.Actions {
		w.groups[uid] = action.Entity
	}
	for _, m := range side.Source.Moments() {
		if m.Tool != nil && m.Resource == typeDestination {
			continue // no request of a tool names one
		}
		for _, principal := range side.Source.Schema.Actions[m.Action].AppliesTo.Principals {
			k := kind{principal, m.Resource, m.Action}
			w.moments[k] = append(w.moments[k], m)
		}
	}
	for uid := range side.Source.Entities {
		if uid.Type == typeAction {
			continue
		}
		w.declared[uid.Type] = append(w.declared[uid.Type], uid)
		w.above[uid] = ancestors(side.Source.Entities, uid)
	}
	for _, all := range w.declared {
		slices.SortFunc(all, byName)
	}
	return w
}

// ancestors are the entities that one is in, without itself.
func ancestors(entities cedar.EntityMap, uid cedar.EntityUID) []cedar.EntityUID {
	seen := map[cedar.EntityUID]bool{uid: true}
	line := []cedar.EntityUID{uid}
	for i := 0; i < len(line); i++ {
		for parent := range entities[line[i]].Parents.All() {
			if !seen[parent] {
				seen[parent] = true
				line = append(line, parent)
			}
		}
	}
	slices.SortFunc(line[1:], byName)
	return line[1:]
}

func byName(a, b cedar.EntityUID) int {
	return cmp.Or(strings.Compare(string(a.Type), string(b.Type)), strings.Compare(string(a.ID), string(b.ID)))
}

// scene is one bundle in one kind of request.
type scene struct {
	*world
	kind
	context resolved.RecordType
	// tool is what is called; nil: a prompt or a connection.
	tool *decision.Tool
	// server is the resource where it is the tool's server; zero: it is not.
	server cedar.EntityUID
	// phases are those of the request.
	phases []string
	// looked are the types of entities whose attributes policies look at.
	looked map[cedar.EntityType]bool
	// whole says that policies look at what the bundle says of the tool other than
	// part by part.
	whole bool
}

// scene is nil where the bundle does not know the kind of request.
func (w *world) scene(k kind) *scene {
	moments := w.moments[k]
	if len(moments) == 0 {
		return nil
	}
	s := &scene{world: w, kind: k, context: moments[0].Context, server: moments[0].Server, looked: map[cedar.EntityType]bool{}}
	if tool := moments[0].Tool; tool != nil {
		s.tool = tool.Tool
	}
	for _, m := range moments {
		s.phases = append(s.phases, m.Phase)
	}
	return s
}

// differ says why a kind of request is not the same one to both bundles.
func (env environment) differ() error {
	if env.old == nil || env.new == nil {
		return nil
	}
	if written(env.old.context) != written(env.new.context) {
		return errors.New("the types of what policies see of the request differ (the tool's arguments, the type Extra, or the values over a session's events): OLD and NEW are asked different questions")
	}
	was, is := env.old.shapes(), env.new.shapes()
	for _, typ := range slices.Sorted(maps.Keys(was)) {
		if was[typ] != is[typ] {
			return fmt.Errorf("the declarations of the entity type %s differ", typ)
		}
	}
	return nil
}

// sameTool says why a whole that what is said of the tool is part of cannot be
// compared: it is put in part by part only.
func (env environment) sameTool() error {
	if env.old == nil || env.new == nil || env.old.tool == nil || !env.old.whole && !env.new.whole {
		return nil
	}
	was, is := env.old.tool, env.new.tool
	if text(texts(was.Classes)) != text(texts(is.Classes)) || text(texts(was.Labels)) != text(texts(is.Labels)) {
		return errors.New("the tool's classes or labels differ, and policies look at context or context.tool as a whole")
	}
	return nil
}

// shapes are the declarations of the entity types that the request can lead to.
func (s *scene) shapes() map[cedar.EntityType]string {
	found := map[cedar.EntityType]string{}
	var walk func(resolved.IsType)
	visit := func(typ cedar.EntityType) {
		if _, done := found[typ]; done {
			return
		}
		if enum, ok := s.Source.Schema.Enums[typ]; ok {
			found[typ] = fmt.Sprint("enum ", enum.Values)
			return
		}
		e := s.Source.Schema.Entities[typ]
		found[typ] = written(e.Shape) + " tags " + written(e.Tags)
		walk(e.Shape)
		walk(e.Tags)
	}
	walk = func(t resolved.IsType) {
		switch t := t.(type) {
		case resolved.SetType:
			walk(t.Element)
		case resolved.RecordType:
			for _, a := range t {
				walk(a.Type)
			}
		case resolved.EntityType:
			visit(cedar.EntityType(t))
		}
	}
	visit(s.principal)
	visit(s.resource)
	walk(s.context)
	return found
}

// written is a type as a text, without its annotations.
func written(t resolved.IsType) string {
	switch t := t.(type) {
	case resolved.SetType:
		return "Set<" + written(t.Element) + ">"
	case resolved.RecordType:
		var b strings.Builder
		for _, name := range slices.Sorted(maps.Keys(t)) {
			fmt.Fprintf(&b, "%q %t %s,", name, t[name].Optional, written(t[name].Type))
		}
		return "{" + b.String() + "}"
	case resolved.EntityType:
		return "entity " + string(t)
	case resolved.ExtensionType:
		return string(t)
	}
	return fmt.Sprintf("%T", t)
}

// purposes are those under which a request of this kind can be allowed.
func (s *scene) purposes() []string {
	var all []string
	for id, p := range s.Bundle.Purposes {
		if s.tool == nil || slices.ContainsFunc(p.Tools, func(t decision.ToolPattern) bool { return t.Match(s.tool.ToolName) }) {
			all = append(all, id)
		}
	}
	return all
}

// inForce are the policies for the request's action that are not in shadow mode.
func (s *scene) inForce() []policy.Written {
	var all []policy.Written
	for _, st := range s.Source.Statements {
		if !st.Shadow && s.names(st.Policy.Action) {
			all = append(all, st)
		}
	}
	slices.SortFunc(all, func(a, b policy.Written) int {
		return cmp.Or(strings.Compare(a.ID, b.ID), strings.Compare(a.Tenant, b.Tenant))
	})
	return all
}
