package policy

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/cedar-policy/cedar-go"
	publicast "github.com/cedar-policy/cedar-go/ast"
	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

// Deciding over the candidates is deciding over all policies as they are written,
// of a tenant and of everybody: the same decision, reasons and errors, for any
// policies, tenants, entities and requests, whether their resource is known or not.
// That is 100,000 requests for rapid's hundred draws; it prints its seed.
func TestIndexIsExact(t *testing.T) {
	worlds, requests := 20, 50
	if testing.Short() {
		worlds, requests = 1, 25
	}
	cases := 0
	rapid.Check(t, func(t *rapid.T) {
		for range worlds {
			entities, statements := randomEntities(t), randomPolicies(t)
			x, all := newIndex(statements, entities), map[cedar.PolicyID]*cedar.Policy{}
			whole, tenants := cedar.NewPolicySet(), map[string]*cedar.PolicySet{}
			for _, tenant := range []string{"", "a", "b", "c"} {
				tenants[tenant] = cedar.NewPolicySet()
			}
			for _, s := range statements {
				all[cedar.PolicyID(s.id)] = cedar.NewPolicyFromAST((*publicast.Policy)(s.ast))
				whole.Add(cedar.PolicyID(s.id), all[cedar.PolicyID(s.id)])
				for tenant, set := range tenants {
					if s.tenant == "" || s.tenant == tenant {
						set.Add(cedar.PolicyID(s.id), all[cedar.PolicyID(s.id)])
					}
				}
			}
			bare := NewIndex(all, entities)
			for range requests {
				q := question{principal: entity(t, "P"), action: entity(t, "Action"), resource: entity(t, "R"), entities: overlay{bundle: entities}}
				request := cedar.Request{Principal: q.principal, Action: q.action, Resource: q.resource,
					Context: cedar.NewRecord(cedar.RecordMap{"n": cedar.Long(rapid.Int64Range(0, 2).Draw(t, "n"))})}
				q.tenant = rapid.SampledFrom([]string{"", "a", "b", "c"}).Draw(t, "tenant")
				want := answer(cedar.Authorize(tenants[q.tenant], q.entities, request))
				deciding, obligating := x.candidates(&q)
				if len(obligating) > 0 {
					t.Fatalf("%d policies oblige", len(obligating))
				}
				if diff := cmp.Diff(want, answer(cedar.Authorize(deciding, q.entities, request))); diff != "" {
					t.Fatalf("as a bundle's policies are asked: %s", diff)
				}
				// One that is not known can be any, this one too.
				open := q
				open.resource = cedar.EntityUID{}
				wider, _ := x.candidates(&open)
				if diff := cmp.Diff(want, answer(cedar.Authorize(scoped(wider), q.entities, request))); diff != "" {
					t.Fatalf("as they are asked of an unknown resource: %s", diff)
				}
				want = answer(cedar.Authorize(whole, q.entities, request))
				if diff := cmp.Diff(want, answer(bare.Authorize(q.entities, request))); diff != "" {
					t.Fatalf("as bare policies are asked: %s", diff)
				}
				cases++
			}
		}
	})
	t.Logf("%d requests", cases)
}

// scoped are policies with the scopes that an index tests.
func scoped(all candidates) *cedar.PolicySet {
	set := cedar.NewPolicySet()
	for _, s := range all {
		set.Add(cedar.PolicyID(s.id), cedar.NewPolicyFromAST((*publicast.Policy)(s.ast)))
	}
	return set
}

// A request may leave its resource empty, which is then of no type and no name:
// it is not the unknown resource of a list.
func TestIndexOfAnEmptyResource(t *testing.T) {
	var p cedar.Policy
	if err := p.UnmarshalCedar([]byte("permit (principal, action, resource == R::\"1\");")); err != nil {
		t.Fatal(err)
	}
	x := NewIndex(map[cedar.PolicyID]*cedar.Policy{"p": &p}, nil)
	if got, why := x.Authorize(cedar.EntityMap{}, cedar.Request{}); got != cedar.Deny || len(why.Reasons) > 0 {
		t.Errorf("got %v, %v", got, why)
	}
}

// answer is what Cedar answers, in the order of the policies' ids.
func answer(d cedar.Decision, why cedar.Diagnostic) []string {
	var all []string
	for _, r := range why.Reasons {
		all = append(all, "reason "+string(r.PolicyID))
	}
	for _, e := range why.Errors {
		all = append(all, "error "+string(e.PolicyID)+" "+e.Message)
	}
	slices.Sort(all)
	return append(all, d.String())
}

// entity is one of a few, of either type, some of which no policy and no
// hierarchy knows.
func entity(t *rapid.T, typ string) cedar.EntityUID {
	if typ != "Action" {
		typ = rapid.SampledFrom([]string{typ, typ, "Other"}).Draw(t, "type")
	}
	return cedar.NewEntityUID(cedar.EntityType(typ), cedar.String(fmt.Sprint(rapid.IntRange(0, 4).Draw(t, "id"))))
}

// randomEntities is a hierarchy, which may have cycles.
func randomEntities(t *rapid.T) cedar.EntityMap {
	entities := cedar.EntityMap{}
	for range rapid.IntRange(0, 10).Draw(t, "entities") {
		typ := rapid.SampledFrom([]string{"P", "Action", "R"}).Draw(t, "kind")
		uid := entity(t, typ)
		var parents []cedar.EntityUID
		for range rapid.IntRange(0, 2).Draw(t, "parents") {
			parents = append(parents, entity(t, typ))
		}
		entities[uid] = cedar.Entity{UID: uid, Parents: cedar.NewEntityUIDSet(parents...)}
	}
	return entities
}

func randomPolicies(t *rapid.T) []*statement {
	var text strings.Builder
	for i := range rapid.IntRange(0, 12).Draw(t, "policies") {
		effect := rapid.SampledFrom([]string{"permit", "forbid"}).Draw(t, "effect")
		condition := rapid.SampledFrom([]string{"", "when { context.n == 1 }", "when { context.m == 1 }",
			"unless { context.n + 9223372036854775807 > 0 }"}).Draw(t, "condition")
		fmt.Fprintf(&text, "@id(\"p%d\") %s (%s, %s, %s) %s;\n", i, effect,
			randomScope(t, "principal", "P"), randomAction(t), randomScope(t, "resource", "R"), condition)
	}
	statements, err := parse("random.cedar", []byte(text.String()))
	if err != nil {
		t.Fatalf("%v in\n%s", err, text.String())
	}
	for _, s := range statements {
		s.tenant = rapid.SampledFrom([]string{"", "", "a", "b"}).Draw(t, "tenant")
	}
	return statements
}

func randomScope(t *rapid.T, variable, typ string) string {
	e := entity(t, typ)
	switch rapid.IntRange(0, 4).Draw(t, variable) {
	case 1:
		return fmt.Sprintf("%s == %s", variable, e)
	case 2:
		return fmt.Sprintf("%s in %s", variable, e)
	case 3:
		return fmt.Sprintf("%s is %s", variable, e.Type)
	case 4:
		return fmt.Sprintf("%s is %s in %s", variable, e.Type, entity(t, typ))
	}
	return variable
}

func randomAction(t *rapid.T) string {
	switch rapid.IntRange(0, 3).Draw(t, "action") {
	case 1:
		return fmt.Sprintf("action == %s", entity(t, "Action"))
	case 2:
		return fmt.Sprintf("action in %s", entity(t, "Action"))
	case 3:
		var set []string
		for range rapid.IntRange(1, 3).Draw(t, "actions") {
			set = append(set, entity(t, "Action").String())
		}
		return fmt.Sprintf("action in [%s]", strings.Join(set, ", "))
	}
	return "action"
}
