package stage

import (
	"fmt"

	"github.com/writpdp/writ/server/decision"
)

// visible are the stages that a tool must pass to be seen.
var visible = decision.Pipeline{
	{Name: "lock", Judge: Lock},
	{Name: "purpose", Judge: Purpose},
	{Name: "tool", Judge: Tool},
	{Name: "policy", Judge: Policy},
}

// List decides for every candidate whether the agent may see it: whether there
// are arguments with which it could be permitted. A tool that it may not see is
// left out without a word about why.
func List(req *decision.Request, snap *decision.Snapshot, _ *decision.Decision) decision.Finding {
	if req.Phase != decision.List {
		return abstain()
	}
	keep := []int{}
	var locks []decision.Lock
	var withheld []string
	for i, candidate := range req.Candidates {
		one := *req
		one.Tool, one.Candidates = candidate, nil
		d := visible.Decide(&one, snap)
		locks = append(locks, d.Locks()...)
		if d.Allowed() {
			keep = append(keep, i)
		} else if d.Undetermined() {
			withheld = append(withheld, d.Withheld()...)
		}
	}
	if len(withheld) > 0 {
		return undetermined(withheld)
	}
	text := fmt.Sprintf("The agent may see %d of %d tools.", len(keep), len(req.Candidates))
	return decision.Finding{Verdict: decision.Permit, Locks: locks,
		Obligations: []decision.Obligation{{Duty: decision.FilterTools{Keep: keep}}},
		Reasons:     []decision.Reason{{Code: "list.filtered", Text: text}}}
}
