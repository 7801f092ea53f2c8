package stage

import (
	"github.com/writpdp/writ/document"
	"github.com/writpdp/writ/server/content/detect"
	"github.com/writpdp/writ/server/decision"
)

// Content looks into what a request carries: the arguments of a call, a prompt or a
// result. It is costly, so what is refused already is not looked into.
func Content(req *decision.Request, snap *decision.Snapshot, d *decision.Decision) decision.Finding {
	f := abstain()
	doc, text, ok := cargo(req)
	if !ok || snap.Bundle.Detect == nil {
		return f
	}
	found := detect.Inspection{By: snap.Bundle.Detect.Digest()}
	switch {
	case snap.Inspected != nil && snap.Inspected.By == found.By && !snap.Inspected.Skipped:
		found = *snap.Inspected
	case snap.Inspected != nil:
		found.Unknown = true // others looked, or nobody did, and the record has no contents
	case d.Refused():
		found.Skipped = true
	case doc != nil:
		found = snap.Bundle.Detect.Inspect(doc)
	default:
		found = snap.Bundle.Detect.InspectText(text)
	}
	f.Inspection = &found
	return f
}

// cargo is what a request carries that is looked into: a document, or a text.
func cargo(req *decision.Request) (doc *document.Document, text string, ok bool) {
	switch req.Phase {
	case decision.Call:
		return req.Arguments, "", req.Arguments != nil
	case decision.Prompt, decision.Result:
		return req.Content.Document, req.Content.Text, true
	}
	return nil, "", false
}
