package stage

import (
	"fmt"
	"slices"

	"github.com/writpdp/writ/server/decision"
)

// Purpose holds an action to the purpose that its agent was given: the token
// carries it, the bundle knows it, and it grants the tool and the vendor.
func Purpose(req *decision.Request, snap *decision.Snapshot, _ *decision.Decision) decision.Finding {
	if !slices.Contains(req.Principal.Purposes, req.Purpose) {
		return deny("purpose.not_carried", fmt.Sprintf("The agent's token does not carry the purpose %q.", req.Purpose),
			"Obtain a token for this purpose, or name one that the token carries.")
	}
	purpose, known := snap.Bundle.Purposes[req.Purpose]
	if !known {
		return deny("purpose.unknown", fmt.Sprintf("The purpose %q is not in the policy bundle.", req.Purpose),
			"Add the purpose to the bundle's purposes.")
	}
	f := abstain()
	if narrowed := req.Principal.Tools; len(narrowed) > 0 {
		f = carried(req, narrowed)
	}
	if tool := req.Tool.ToolName; tool != (decision.ToolName{}) &&
		!slices.ContainsFunc(purpose.Tools, func(p decision.ToolPattern) bool { return p.Match(tool) }) {
		f.Verdict = decision.Deny
		f.Reasons = append(f.Reasons, decision.Reason{Code: "purpose.tool",
			Text: fmt.Sprintf("The purpose %q does not grant the tool %s.", purpose.ID, tool),
			Lift: "Act under a purpose that grants the tool, or add the tool to this one in the bundle."})
	}
	return f
}

// carried holds an action to the tools that the token is narrowed to: it is for
// these alone, so for no prompt and no connection, which name none.
func carried(req *decision.Request, narrowed []string) decision.Finding {
	tool := req.Tool.ToolName
	switch {
	case tool != (decision.ToolName{}) && !slices.Contains(narrowed, tool.String()):
		return deny("purpose.tool_not_carried", fmt.Sprintf("The agent's token is narrowed to other tools than %s.", tool),
			"Obtain a token for this tool, or one that is not narrowed to tools.")
	case req.Phase == decision.Prompt || req.Phase == decision.Connect:
		return deny("purpose.tool_not_carried", "The agent's token is narrowed to tools, and this action is not a tool's.",
			"Obtain a token that is not narrowed to tools.")
	}
	return abstain()
}
