package stage

import (
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"

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
	if found.Skipped || found.Unknown {
		return f
	}
	if f.Reasons = unseen(snap.Bundle.Detect, &found); len(f.Reasons) > 0 {
		f.Verdict = decision.Deny
	}
	return f
}

// maxPlaces is how many places a reason names.
const maxPlaces = 8

// unseen are the reasons why what was not looked into does not pass: there is no
// policy that could know what is in it. A bundle can name kinds that pass.
func unseen(set *detect.Set, found *detect.Inspection) []decision.Reason {
	var reasons []decision.Reason
	var places []string
	oversize, more := false, 0
	for _, gap := range found.Gaps {
		switch {
		case set.Passes(gap.Kind):
		case gap.Kind == "oversize":
			oversize = true
		case len(places) == maxPlaces:
			more++
		default:
			places = append(places, place(gap))
		}
	}
	if oversize {
		reasons = append(reasons, decision.Reason{Code: "content.oversize", Text: "The content is larger than what is inspected.",
			Lift: "Send less at once, or have the bundle's detectors inspect more (limits.bytes) or let it pass (uninspected: [oversize])."})
	}
	if len(places) > 0 {
		text := "Some content cannot be inspected: " + strings.Join(places, ", ")
		if more > 0 {
			text += fmt.Sprintf(" and %d more", more)
		}
		reasons = append(reasons, decision.Reason{Code: "content.uninspected", Text: text + ".",
			Lift: "Send it as text, or have the bundle name what may pass uninspected."})
	}
	if found.Cut && !set.Passes("cut") {
		reasons = append(reasons, decision.Reason{Code: "content.too_much", Text: "The content holds more to be looked at than the limits of an inspection allow.",
			Lift: "Send less at once, or have the bundle raise the limits of its detectors."})
	}
	return reasons
}

// place names a gap. Members can be called anything, so their names are cut and without
// control characters.
func place(gap detect.Gap) string {
	pointer := strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) {
			return utf8.RuneError
		}
		return r
	}, gap.Pointer)
	if len(pointer) > 128 {
		pointer = strings.ToValidUTF8(pointer[:128], "") + "…"
	}
	if pointer == "" {
		pointer = "the whole"
	}
	return fmt.Sprintf("%s at %s", gap.Kind, pointer)
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
