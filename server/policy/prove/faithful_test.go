package prove

import (
	"fmt"
	"strings"
	"testing"

	"github.com/cedar-policy/cedar-go"
	"github.com/cedar-policy/cedar-go/types"
	"github.com/cedar-policy/cedar-go/x/exp/ast"
	"github.com/cedar-policy/cedar-go/x/exp/eval"
	"pgregory.net/rapid"

	"github.com/writpdp/writ/server/decision"
	"github.com/writpdp/writ/server/policy"
	"github.com/writpdp/writ/server/policy/policytest"
)

// sideOf is the small bundle with some policies.
func sideOf(t interface{ Fatal(...any) }, policies string) Side {
	files := policytest.Bundle(policies)
	b, err := policy.Load(files)
	if err != nil {
		t.Fatal(err)
	}
	src, err := policy.Read(files)
	if err != nil {
		t.Fatal(err)
	}
	schema, err := policy.Schema(files)
	if err != nil {
		t.Fatal(err)
	}
	return Side{Bundle: b, Source: src, Schema: schema}
}

// open is a store as a prover imagines one: every entity has all that its type
// declares, whether or not the bundle or the request says so.
type open struct {
	types.EntityGetter
	side     Side
	resource cedar.EntityUID
}

func (o open) Get(uid cedar.EntityUID) (cedar.Entity, bool) {
	_, declared := o.side.Source.Entities[uid]
	if declared || uid == o.resource && uid.Type != typeServer {
		return o.EntityGetter.Get(uid)
	}
	human := cedar.NewEntityUID("Human", "h")
	attributes := map[cedar.EntityType]cedar.RecordMap{
		"Agent": {"level": cedar.Long(3), "chief": cedar.NewEntityUID("Agent", "a")}, "Human": {"vip": cedar.True},
		"Server": {"zone": cedar.String("eu")}, "Thing": {"hot": cedar.True, "size": cedar.Long(1), "owner": human},
	}
	team := cedar.NewEntityUIDSet(cedar.NewEntityUID("Team", "t"), cedar.NewEntityUID("Team", "none"))
	return cedar.Entity{UID: uid, Parents: team, Attributes: cedar.NewRecord(attributes[uid.Type])}, true
}

func (e environment) is(q decision.Query) bool {
	action, resource := strings.ToLower(q.Request.Phase.String()), typeDestination
	if q.Tool != nil {
		action, resource = q.Tool.String(), typeServer
	}
	if q.Request.Resource.Type != "" {
		resource = cedar.EntityType(q.Request.Resource.Type)
	}
	return string(e.action.ID) == action && e.resource == resource
}

// value is what an expression comes to.
func value(t *rapid.T, expression string, env eval.Env) (types.Value, error) {
	var p cedar.Policy
	if err := p.UnmarshalCedar(permit(expression)); err != nil {
		t.Fatalf("%v\n%s", err, expression)
	}
	return eval.Eval((*ast.Policy)(p.AST()).Conditions[0].Body, env)
}

// What is put to the prover is what Writ decides: over random policies and requests,
// and entities of which the bundle says nothing, the expression is true where the
// policies allow and nowhere else, the facts are facts, and so are the duties.
func TestFaithful(t *testing.T) {
	allowed, denied, failed, unknown := 0, 0, 0, 0
	rapid.Check(t, func(t *rapid.T) {
		side := sideOf(t, policytest.DrawPolicies(t)+`
@id("d") forbid (principal, action in [Action::"prompt", Action::"connect"], resource) when { context.cost.tokens == 3 && context.destination.host == "h" };
@id("e") permit (principal, action in [Action::"prompt", Action::"connect"], resource) when { context.destination.host == "eu" };`)
		environments := environments(side, side)
		for range 20 {
			q := policytest.DrawQuery(t, side.Bundle)
			if q.Tool == nil && rapid.Bool().Draw(t, "nowhere") {
				q.Request.Destination = decision.Destination{}
			}
			for _, e := range environments {
				if !e.is(q) {
					continue
				}
				r := side.Bundle.Policies.Judge(q)
				want := len(r.Permits) > 0 && len(r.Forbids)+len(r.Errors) == 0 && r.Refused.Code == ""
				asked, why := side.Bundle.Policies.(*policy.Set).Env(q)
				if why.Code != "" {
					t.Fatal(why)
				}
				if context, ok := asked.Context.(cedar.Record); ok && q.Request.Destination == (decision.Destination{}) && q.Tool == nil {
					members := context.Map() // as a prover imagines it
					members["destination"] = cedar.NewRecord(cedar.RecordMap{"host": cedar.String(""), "vendor": cedar.String(""), "region": cedar.String("")})
					asked.Context = cedar.NewRecord(members)
				}
				resource, _ := asked.Resource.(cedar.EntityUID)
				asked.Entities = open{asked.Entities, side, resource}
				judged, err := e.old.judge()
				if err != nil { // of what a validator knows to count for nothing
					unknown++
					continue
				}
				facts, err := e.facts()
				if err != nil {
					t.Fatal(err)
				}
				if got, err := value(t, facts, asked); err != nil || got != cedar.True {
					t.Fatalf("%v %v: not a fact: %s\n%+v", got, err, facts, asked)
				}
				got, err := value(t, judged.allowed, asked)
				if (err == nil && got == cedar.True) != want {
					t.Fatalf("got %v %v, want %t\n%s\n%+v\n%+v", got, err, want, judged.allowed, asked, r)
				}
				switch {
				case want:
					allowed++
					for _, duty := range duties(judged, judged) {
						holds, err := value(t, judged.duty(duty), asked)
						if err != nil || (holds == cedar.True) != strings.Contains(fmt.Sprint(dutiesIn(r)), duty) {
							t.Fatalf("%s is %v %v, of %v", duty, holds, err, dutiesIn(r))
						}
					}
				case len(r.Errors) > 0:
					failed++
				default:
					denied++
				}
			}
		}
	})
	t.Logf("%d allowed, %d denied, %d failed, %d unknown", allowed, denied, failed, unknown)
	if allowed == 0 || denied == 0 || failed == 0 || unknown > (allowed+denied+failed)/20 {
		t.Error("the policies are too much alike")
	}
}
