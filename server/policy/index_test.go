package policy

import (
	"fmt"
	"strings"
	"testing"

	"github.com/cedar-policy/cedar-go"
	publicast "github.com/cedar-policy/cedar-go/ast"
	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

// Deciding over the candidates is deciding over all policies as they are written:
// the same decision, reasons and errors, for any policies, entities and requests.
func TestIndexIsExact(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		entities := randomEntities(t)
		statements := randomPolicies(t)
		x := newIndex(statements, entities)
		var all candidates
		for _, s := range x.statements {
			whole := *s
			whole.policy = cedar.NewPolicyFromAST((*publicast.Policy)(s.ast))
			all = append(all, &whole)
		}
		for range 250 { // for each of rapid's hundred
			q := question{principal: entity(t, "P"), action: entity(t, "Action"), resource: entity(t, "R"), entities: overlay{bundle: entities}}
			request := cedar.Request{Principal: q.principal, Action: q.action, Resource: q.resource,
				Context: cedar.NewRecord(cedar.RecordMap{"n": cedar.Long(rapid.Int64Range(0, 2).Draw(t, "n"))})}
			found, _ := x.candidates(&q)
			want, wantWhy := cedar.Authorize(all, q.entities, request)
			got, gotWhy := cedar.Authorize(found, q.entities, request)
			if want != got || !cmp.Equal(summary(wantWhy), summary(gotWhy)) {
				t.Fatalf("of all: %v %v\nof the candidates: %v %v", want, summary(wantWhy), got, summary(gotWhy))
			}
		}
	})
}

// summary is what a diagnostic says, in order.
func summary(d cedar.Diagnostic) []string {
	var all []string
	for _, r := range d.Reasons {
		all = append(all, "reason "+string(r.PolicyID))
	}
	for _, e := range d.Errors {
		all = append(all, "error "+string(e.PolicyID)+" "+e.Message)
	}
	return all
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
