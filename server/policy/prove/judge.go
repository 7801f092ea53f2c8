package prove

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/cedar-policy/cedar-go"
	"github.com/cedar-policy/cedar-go/x/exp/ast"

	"github.com/writpdp/writ/server/decision"
	"github.com/writpdp/writ/server/policy"
)

// judgement is what one bundle makes of a kind of request, in Cedar.
type judgement struct {
	// allowed is whether the policies allow it.
	allowed string
	// obliging are, by duty, the conditions of the policies that ask for it.
	obliging map[string][]ast.IsNode
}

// judge writes down what Writ does with its policies: it allows where the purpose
// grants the action, a policy permits, none forbids, and none that is asked fails, the
// obligating ones included. Cedar has no expression for a failure, so all are asked
// before any counts, and one that fails takes the whole with it.
func (s *scene) judge() (judgement, error) {
	out := judgement{allowed: text(boolean(false)), obliging: map[string][]ast.IsNode{}}
	if s == nil {
		return out, nil
	}
	var asked, permits, forbids []ast.IsNode
	for _, st := range s.inForce() {
		holds, err := s.condition(st)
		if err != nil {
			return out, fmt.Errorf("policy %q: %w", st.ID, err)
		}
		if is(holds, false) {
			continue
		}
		asked = append(asked, or(holds, boolean(true)))
		switch {
		case st.Obligation != "":
			for _, duty := range dutiesOf(st) {
				out.obliging[duty] = append(out.obliging[duty], holds)
			}
		case st.Policy.Effect == ast.EffectForbid:
			forbids = append(forbids, holds)
		default:
			permits = append(permits, holds)
		}
	}
	decides := and(anyOf(permits), not(anyOf(forbids)))
	if purposes := s.purposes(); len(purposes) > 0 && !is(decides, false) {
		granted := contains(texts(purposes), access(theContext, "purpose"))
		out.allowed = text(allOf(slices.Concat([]ast.IsNode{granted}, asked, []ast.IsNode{decides})))
	}
	return out, nil
}

// condition is whether a policy matches, its scope included. A tenant's own is asked
// for its requests alone.
func (s *scene) condition(st policy.Written) (ast.IsNode, error) {
	p := st.Policy
	principal, err := s.rewrite(scoped("principal", p.Principal))
	if err != nil {
		return nil, err
	}
	resource, err := s.rewrite(scoped("resource", p.Resource))
	if err != nil {
		return nil, err
	}
	out := and(principal, resource)
	if is(resource, false) {
		out = resource // no scope can fail
	}
	if st.Tenant != "" {
		out = and(out, equal(access(theContext, "tenant"), str(st.Tenant)))
	}
	var parts []ast.IsNode
	for _, c := range p.Conditions {
		body := c.Body
		if c.Condition == ast.ConditionUnless {
			body = ast.NodeTypeNot{UnaryNode: ast.UnaryNode{Arg: body}}
		}
		parts = append(parts, body)
	}
	for _, part := range parts {
		if settled(out, false) {
			break // Cedar asks no further
		}
		written, err := s.rewrite(part)
		if err != nil {
			return nil, err
		}
		out = and(out, written)
	}
	return out, nil
}

// scoped is the scope of a variable as an expression.
func scoped(name string, scope ast.IsScopeNode) ast.IsNode {
	variable := ast.NodeTypeVariable{Name: cedar.String(name)}
	switch scope := scope.(type) {
	case ast.ScopeTypeEq:
		return ast.NodeTypeEquals{BinaryNode: ast.BinaryNode{Left: variable, Right: ast.NodeValue{Value: scope.Entity}}}
	case ast.ScopeTypeIn:
		return ast.NodeTypeIn{BinaryNode: ast.BinaryNode{Left: variable, Right: ast.NodeValue{Value: scope.Entity}}}
	case ast.ScopeTypeIs:
		return ast.NodeTypeIs{Left: variable, EntityType: scope.Type}
	case ast.ScopeTypeIsIn:
		return ast.NodeTypeIsIn{NodeTypeIs: ast.NodeTypeIs{Left: variable, EntityType: scope.Type}, Entity: ast.NodeValue{Value: scope.Entity}}
	}
	return boolean(true)
}

// duty is whether a duty is asked for.
func (j judgement) duty(duty string) string { return text(anyOf(j.obliging[duty])) }

// duties are those that either asks for, in order.
func duties(a, b judgement) []string {
	both := maps.Clone(a.obliging)
	maps.Copy(both, b.obliging)
	return slices.Sorted(maps.Keys(both))
}

// dutiesOf are what an obligating policy asks for; of a redaction, each field.
func dutiesOf(st policy.Written) []string {
	notes := map[string]string{}
	for _, a := range st.Policy.Annotations {
		notes[string(a.Key)] = string(a.Value)
	}
	switch st.Obligation {
	case "redact":
		return redact(st.Redact)
	case "route":
		return []string{route(notes["region"], notes["vendor"])}
	case "limit_output":
		return []string{"limit_output to " + strings.TrimLeft(notes["max_bytes"], "+0")}
	case "notify":
		return []string{notify(notes["to"], notes["body"])}
	case "step_up":
		return []string{stepUp(notes["acr"])}
	case "watermark":
		return []string{watermark(notes["text"])}
	}
	return []string{fmt.Sprintf("%s %q", st.Obligation, notes)} // with its @id: never the same
}

// redact is a duty for each field; what detectors find is one duty of all of them.
func redact(r *decision.RedactRule) []string {
	if !r.Whole() {
		return []string{fmt.Sprintf("redact what %q, labels %q, find in %q by %s", r.Detectors, r.Labels, r.Fields, r.Method)}
	}
	var all []string
	for _, field := range r.Fields {
		all = append(all, fmt.Sprintf("redact %q by %s", field, r.Method))
	}
	return all
}

func route(region, vendor string) string {
	return fmt.Sprintf("route to region %q, vendor %q", region, vendor)
}

func notify(to, body string) string { return fmt.Sprintf("notify %q: %q", to, body) }

func stepUp(acr string) string { return fmt.Sprintf("step_up to %q", acr) }

func watermark(text string) string { return fmt.Sprintf("watermark %q", text) }

// dutiesIn are those that a ruling asks for, in the same words.
func dutiesIn(r decision.Ruling) []string {
	var all []string
	for _, rule := range r.Redactions {
		all = append(all, redact(&rule)...)
	}
	for _, rule := range r.Routes {
		all = append(all, route(rule.Region, rule.Vendor))
	}
	for _, o := range r.Obligations {
		switch d := o.Duty.(type) {
		case decision.LimitOutput:
			all = append(all, fmt.Sprintf("limit_output to %d", d.MaxBytes))
		case decision.Notify:
			all = append(all, notify(d.To, d.Body))
		case decision.StepUp:
			all = append(all, stepUp(d.ACRValue))
		case decision.Watermark:
			all = append(all, watermark(d.Text))
		}
	}
	return all
}
