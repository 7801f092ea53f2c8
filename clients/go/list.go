package writ

import (
	"context"
	"slices"
)

// maxCandidates is how many tools one question can be about.
const maxCandidates = 512

// FilterTools returns those of a server's tools, or of several servers', that
// the agent may see, in their order. It asks once for every 512 of them. On any
// error there are no tools.
func (c *Client) FilterTools(ctx context.Context, call Call, tools []Tool) ([]Tool, error) {
	call.Phase = PhaseList
	var visible []Tool
	for some := range slices.Chunk(tools, maxCandidates) {
		call.Candidates = some
		kept, err := c.filter(ctx, call.clone())
		if err != nil {
			return nil, err
		}
		visible = append(visible, kept...)
	}
	return visible, nil
}

func (c *Client) filter(ctx context.Context, call Call) ([]Tool, error) {
	d, err := c.Decide(ctx, call)
	if err != nil {
		return nil, err
	}
	if !d.Allowed() {
		return nil, &Denied{Phase: PhaseList, Decision: d}
	}
	p := newPlan(call, d)
	defer c.reportObligations(ctx, p.tally)
	if err := c.prepare(ctx, p, nil); err != nil {
		return nil, err
	}
	if p.keep == nil {
		return nil, &BrokenAnswer{DecisionID: d.ID, Problem: "it allows a list and does not say which tools"}
	}
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	visible := make([]Tool, len(p.keep))
	for i, k := range p.keep {
		visible[i] = call.Candidates[k]
	}
	p.tally.Outcome = OutcomeSucceeded
	return visible, nil
}
