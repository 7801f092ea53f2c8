package audit

import (
	writv1 "github.com/writpdp/writ/proto/writ/v1"
	"github.com/writpdp/writ/server/decision"
)

// Explained is a decision that is not recorded, with how it came about.
func Explained(id [16]byte, req *decision.Request, snap *decision.Snapshot, d *decision.Decision) (*writv1.ExplainResponse, error) {
	_, answer, err := Decided(id, req, snap, d)
	if err != nil {
		return nil, err
	}
	out := &writv1.ExplainResponse{Decision: answer, Findings: findings(d)}
	explanation := snap.Bundle.Policies.Explain(snap.Query(req, d))
	for _, m := range explanation.Matched {
		out.Matched = append(out.Matched, &writv1.MatchedPolicy{PolicyId: m.Policy, Effect: m.Effect, Decided: m.Decided, Position: m.Position})
	}
	for _, n := range explanation.Near {
		out.Near = append(out.Near, nearPolicy(n))
	}
	return out, nil
}

func nearPolicy(n decision.Near) *writv1.NearPolicy {
	out := &writv1.NearPolicy{PolicyId: n.Policy, Effect: "permit", Held: int32(n.Held), Clauses: int32(n.Clauses),
		Failed: n.Failed, Position: n.Position, Error: n.Error}
	if n.Forbid {
		out.Effect = "forbid"
	}
	for _, s := range n.Saw {
		out.Saw = append(out.Saw, &writv1.SeenValue{Expression: s.Expression, Value: s.Value, Masked: s.Masked})
	}
	return out
}
