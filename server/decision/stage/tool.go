package stage

import (
	"fmt"

	"github.com/writpdp/writ/server/decision"
)

// fitSchema is what would have to be known of arguments that are withheld in part.
const fitSchema = "arguments: whether they fit the schema"

// Tool refuses tools that nobody pinned, tools whose definition changed since,
// and arguments that the pinned definition does not allow.
func Tool(req *decision.Request, snap *decision.Snapshot, _ *decision.Decision) decision.Finding {
	if req.Tool.ToolName == (decision.ToolName{}) {
		return abstain()
	}
	tool, known := snap.Bundle.Tools[req.Tool.ToolName]
	switch {
	case !known:
		return deny("tool.unknown", fmt.Sprintf("The tool %s is not in the policy bundle.", req.Tool),
			"Review the tool and add its server's manifest to the bundle.")
	case req.Tool.Digest == "":
		return deny("tool.unpinned", fmt.Sprintf("The request does not say which definition of %s the agent saw.", req.Tool),
			"Send the digest of the tool's definition.")
	case req.Tool.Digest != tool.Digest:
		return deny("tool.drift", fmt.Sprintf("The definition of %s differs from the one that the bundle pins.", req.Tool),
			"Review the changed definition and accept it into the bundle.")
	}
	if req.Arguments == nil {
		if req.Phase != decision.Call && req.Phase != decision.Result {
			return abstain()
		}
		return deny("tool.arguments", fmt.Sprintf("The request says nothing of the arguments of %s.", req.Tool),
			"Send arguments that the tool's input schema allows.")
	}
	if len(req.Arguments.Withheld()) > 0 {
		return undetermined([]string{fitSchema})
	}
	f := abstain()
	for _, v := range tool.Input.Check(req.Arguments) {
		f.Verdict = decision.Deny
		f.Reasons = append(f.Reasons, decision.Reason{Code: "tool.arguments",
			Text: fmt.Sprintf("The arguments do not fit the schema of %s: %s.", req.Tool, v),
			Lift: "Send arguments that the tool's input schema allows."})
	}
	return f
}
