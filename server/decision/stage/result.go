package stage

import (
	"fmt"
	"strings"

	"github.com/writpdp/writ/server/content"
	"github.com/writpdp/writ/server/content/result"
	"github.com/writpdp/writ/server/decision"
)

// fitResult is what would have to be known of a content that is not recorded.
const fitResult = "content: whether it is a result as the tool says"

// Result holds what a tool answers to what its pinned definition says, to the limits
// of the bundle and to those that its call was allowed with. Of a call it has the
// enforcement point stop reading there.
func Result(req *decision.Request, snap *decision.Snapshot, _ *decision.Decision) decision.Finding {
	f := abstain()
	tool := snap.Bundle.Tools[req.Tool.ToolName]
	if tool == nil {
		return f
	}
	if req.Phase == decision.Call && tool.Limits.Bytes > 0 {
		f.Obligations = []decision.Obligation{{Duty: decision.LimitOutput{MaxBytes: tool.Limits.Bytes}}}
	}
	if req.Phase != decision.Result || req.Tool.Digest != tool.Digest {
		return f // another definition is refused, and this one says nothing of it
	}
	looked, misfits := look(req, snap, tool)
	f.Looked = &looked
	if looked.Form == 0 {
		if tool.Output == nil && tool.Limits == (result.Limits{}) && snap.Bundle.Foreign && snap.Bundle.Blocks {
			return f // whatever it is
		}
		return undetermined([]string{fitResult})
	}
	refuse := func(code, text, lift string) {
		f.Verdict = decision.Deny
		f.Reasons = append(f.Reasons, decision.Reason{Code: code, Text: text, Lift: lift})
	}
	if looked.Form == result.Foreign && !snap.Bundle.Foreign || looked.Form == result.Unknown && !snap.Bundle.Blocks || looked.Schema && !looked.Fits {
		for _, m := range misfits {
			refuse("tool.result", fmt.Sprintf("The result is not as %s says, or as MCP has it: %s.", req.Tool, sentence(m)),
				"Have the server answer what its tool's definition says.")
		}
	}
	limits := tool.Limits
	if snap.Call != nil {
		limits = limits.Tighter(result.Limits{Bytes: snap.Call.MaxOutput})
	}
	if beyond := limits.Beyond(looked.Size); len(beyond) > 0 {
		refuse("tool.result_size", fmt.Sprintf("The result of %s has %s.", req.Tool, strings.Join(beyond, " and ")),
			"Ask for less, or raise the limit.")
	}
	return f
}

// look sees what a content is as a result of a tool, and what is wrong with it. A
// record tells no more than the first.
func look(req *decision.Request, snap *decision.Snapshot, tool *decision.Tool) (result.Looked, []content.Violation) {
	if snap.Looked != nil {
		return *snap.Looked, []content.Violation{{Keyword: "as its record says"}}
	}
	d := req.Content.Document
	looked := result.Looked{Size: result.Limits{Bytes: int64(req.Content.Size)}, Schema: tool.Output != nil}
	if d != nil {
		looked.Size.Values, looked.Size.Depth = int64(d.Nodes()), int64(d.Depth())
	}
	form, misfits := result.FormOf(d)
	looked.Form = form
	if form == result.Foreign && snap.Bundle.Foreign || form == result.Unknown && snap.Bundle.Blocks {
		misfits = nil // so the bundle says
	}
	broken := tool.Misfits(d, true)
	looked.Fits = looked.Schema && len(broken) == 0
	if len(misfits) > 0 {
		return looked, misfits // what it is, before what it lacks
	}
	return looked, broken
}

// sentence is a violation of a result.
func sentence(v content.Violation) string {
	if v.Pointer == "" {
		return strings.Replace(v.String(), "the arguments: ", "", 1)
	}
	return v.String()
}
