package redact

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/writpdp/writ/document"
	"github.com/writpdp/writ/server/content"
	"github.com/writpdp/writ/server/content/detect"
	"github.com/writpdp/writ/server/decision"
)

// Outcome is what the redacting policies that matched a request come to.
type Outcome struct {
	// Obligation is what is to be done; it has no Duty where there is nothing to be
	// redacted.
	Obligation decision.Obligation
	// Rules are the policies' rules, with how many of the edits each asked for.
	Rules []decision.RedactRule
	// Vaulted is what tokens stand for.
	Vaulted []decision.Vault
	// Refused says why it cannot be done; an empty Code: it can.
	Refused decision.Reason
	// Withheld is what would have to be known; empty: nothing.
	Withheld string
}

// target is the document or text that a request carries.
type target struct {
	doc     *document.Document
	text    string
	content bool
}

func targetOf(req *decision.Request) target {
	t := target{doc: req.Arguments}
	if req.Phase == decision.Prompt || req.Phase == decision.Result {
		t = target{doc: req.Content.Document, text: req.Content.Text, content: true}
	}
	return t
}

func (t *target) name() string {
	if t.content {
		return "content"
	}
	return "arguments"
}

// Edits turns what policies look for into one obligation, since every pointer is
// into the document as it was sent. Where something may be left that a policy names,
// the request is refused.
func Edits(q decision.Query, policies []*decision.RedactRule) Outcome {
	w := work{q: q, target: targetOf(q.Request)}
	var out Outcome
	for _, p := range policies {
		rule := *p
		before := len(w.edits)
		if out.Refused, out.Withheld = w.rule(p); out.Refused.Code != "" || out.Withheld != "" {
			out.Rules = rulesOf(policies)
			return out
		}
		rule.Edits = len(w.edits) - before
		if out.Rules = append(out.Rules, rule); rule.Edits > 0 && out.Obligation.Policy == "" {
			out.Obligation.Policy = p.Policy
		}
	}
	if len(w.edits) == 0 {
		return out
	}
	if w.settle(&out); out.Refused.Code == "" {
		w.check(&out)
	}
	out.Vaulted = w.vaulted
	if out.Refused.Code != "" || out.Withheld != "" {
		out.Rules = rulesOf(policies)
	}
	return out
}

func rulesOf(policies []*decision.RedactRule) []decision.RedactRule {
	all := make([]decision.RedactRule, len(policies))
	for i, p := range policies {
		all[i] = *p
	}
	return all
}

// work is the edits of one request as they are found.
type work struct {
	q      decision.Query
	target target
	finder *document.Finder // of a document, from when it is first asked
	reader *document.Reader // likewise, of what is hashed and tokenised
	edits  []document.Edit
	// left is what the edits leave of a document that they were made in already.
	left *document.Document
	// anew says that not all edits are those of a record, which fitted then.
	anew bool
	// vaulted is what tokens stand for, each once.
	vaulted []decision.Vault
}

// rule adds the edits of one policy.
func (w *work) rule(p *decision.RedactRule) (why decision.Reason, withheld string) {
	if w.q.Redacted != nil {
		if edits, ok := w.q.Redacted(p); ok {
			return w.add(p, edits), ""
		}
	}
	w.anew = true
	if p.Method.Keyed() && w.q.Redacted != nil {
		return decision.Reason{}, w.target.name() + ": what its values hash to"
	}
	if p.Method.Keyed() && w.q.Keys == nil {
		return refused("redact.no_key", fmt.Sprintf("The policy %q redacts with a key, and the server has none.", p.Policy),
			"Give the server a key for redaction, or have the policy mask."), ""
	}
	var under []string
	if len(p.Fields) > 0 {
		if why, withheld = w.fields(p, &under); why.Code != "" || withheld != "" {
			return why, withheld
		}
	}
	if !p.Whole() {
		return w.findings(p, under)
	}
	edits := make([]document.Edit, len(under))
	for i, pointer := range under {
		edits[i] = document.Edit{Pointer: pointer, Method: p.Method}
	}
	return w.finish(p, edits, fieldsDomain), ""
}

// fields are the pointers that a policy's patterns match.
func (w *work) fields(p *decision.RedactRule, under *[]string) (decision.Reason, string) {
	if w.target.doc == nil {
		return refused("redact.not_a_document", fmt.Sprintf("The policy %q redacts fields, and the content is no JSON document.", p.Policy), ""), ""
	}
	if w.finder == nil {
		w.finder = w.target.doc.Finder()
	}
	for _, field := range p.Fields {
		found, err := w.finder.Expand(field)
		switch {
		case errors.Is(err, document.ErrWithheld):
			return decision.Reason{}, fmt.Sprintf("%s: what %s matches", w.target.name(), field)
		case errors.Is(err, document.ErrAmbiguous):
			return refused("redact.not_a_document", fmt.Sprintf("The policy %q redacts inside a text that is JSON, and not such that all read the same in it.", p.Policy), ""), ""
		case errors.Is(err, document.ErrTooMany), err == nil && len(w.edits)+len(*under)+len(found) > document.MaxEdits:
			return tooMany(p), ""
		case err != nil:
			return refused("redact.field", fmt.Sprintf("The policy %q names a field that cannot be read.", p.Policy), ""), ""
		}
		*under = append(*under, found...)
	}
	return decision.Reason{}, ""
}

// findings adds an edit for each finding of a policy's detectors and labels; with
// fields, for those in them, and of a finding that a field is part of, the field.
func (w *work) findings(p *decision.RedactRule, under []string) (decision.Reason, string) {
	found := w.q.Inspection
	switch {
	case found != nil && found.Skipped:
		return decision.Reason{}, "" // it is denied
	case found == nil:
		return refused("redact.not_inspected", fmt.Sprintf("The policy %q redacts what detectors find, and nothing was looked into.", p.Policy),
			"Have the bundle declare detectors."), ""
	case found.Unknown:
		return decision.Reason{}, w.target.name() + ": what is found in it"
	case found.Cut:
		return refused("redact.not_inspected", fmt.Sprintf("The policy %q redacts what detectors find, and there is more of it than is told.", p.Policy),
			"Send less at a time."), ""
	}
	var edits []document.Edit
	for i := range found.Findings {
		f := &found.Findings[i]
		if !names(p, f) {
			continue
		}
		if w.blank() {
			return decision.Reason{}, w.target.name() + ": where something is found in it"
		}
		e := document.Edit{Pointer: f.Pointer, Method: p.Method, Start: f.Start, End: f.End}
		if f.Encoding == "name" {
			e.Method = document.Removed // it is in the member's own name, which no other method changes
		} else if f.Encoding != "" && (p.Method == document.LastFour || p.Method == document.Generalised) {
			e.Method = document.Masked // a part of what is encoded is no part of the value
		}
		if len(p.Fields) == 0 {
			edits = append(edits, e)
			continue
		}
		for _, field := range under {
			switch {
			case within(f.Pointer, field):
				edits = append(edits, e)
			case within(field, f.Pointer):
				edits = append(edits, document.Edit{Pointer: field, Method: e.Method})
			default:
				continue
			}
			break
		}
		if len(w.edits)+len(edits) > document.MaxEdits {
			return tooMany(p), ""
		}
	}
	return w.finish(p, edits, domainOf(p)), ""
}

// fieldsDomain is the domain of hashes and tokens of whole fields. No detector or label
// has such a name.
const fieldsDomain = "@fields"

// domainOf is the domain of those of findings: the detectors, and the labels with a
// colon before each.
func domainOf(p *decision.RedactRule) string {
	words := slices.Clone(p.Detectors)
	for _, label := range p.Labels {
		words = append(words, ":"+label)
	}
	return strings.Join(words, " ")
}

// blank reports whether nothing of what the request carries is known.
func (w *work) blank() bool {
	return w.target.doc != nil && len(w.target.doc.Withheld()) > 0 || w.target.doc == nil && w.target.text == "" && w.q.Request.Content.Size > 0
}

// names reports whether a finding is one that a policy redacts.
func names(p *decision.RedactRule, f *detect.Finding) bool {
	return slices.Contains(p.Detectors, f.Detector) ||
		slices.ContainsFunc(p.Labels, func(label string) bool { return slices.Contains(f.Labels, label) })
}

// within reports whether a pointer is another or goes on below it.
func within(pointer, above string) bool {
	return strings.HasPrefix(pointer, above) && (len(pointer) == len(above) || pointer[len(above)] == '/')
}

// finish gives keyed edits their replacements and adds them. What is hashed alike
// can be joined: the same values under one domain, which are the detectors and
// labels that a policy names, or all fields together.
func (w *work) finish(p *decision.RedactRule, edits []document.Edit, domain string) decision.Reason {
	if p.Method.Keyed() {
		for i := range edits {
			text, err := w.at(edits[i])
			if err != nil {
				return refused("redact.field", fmt.Sprintf("What the policy %q redacts cannot be read.", p.Policy), "")
			}
			if p.Method == document.Hashed {
				edits[i].Replacement = document.Replacement(p.Method, w.q.Keys.Hash(domain, text))
			} else if why := w.tokenise(p, &edits[i], domain, text); why.Code != "" {
				return why
			}
		}
	}
	return w.add(p, edits)
}

// tokenise gives an edit its token, and keeps what it stands for.
func (w *work) tokenise(p *decision.RedactRule, e *document.Edit, class, text string) decision.Reason {
	if len(text) > decision.MaxTokenised || len(class) > maxClass {
		return tooMany(p)
	}
	token, sealed, err := w.q.Keys.Token(class, text)
	if err != nil {
		return refused("redact.no_key", fmt.Sprintf("What the policy %q tokenises cannot be sealed.", p.Policy), "")
	}
	e.Replacement = document.Replacement(document.Tokenised, token)
	if slices.ContainsFunc(w.vaulted, func(v decision.Vault) bool { return v.Token == e.Replacement }) {
		return decision.Reason{}
	}
	if len(w.vaulted) == decision.MaxTokens {
		return tooMany(p)
	}
	w.vaulted = append(w.vaulted, decision.Vault{Token: e.Replacement, Class: class, Sealed: sealed, Digest: sha256.Sum256(sealed)})
	return decision.Reason{}
}

// maxClass bounds what is remembered of the policies that tokenise, in bytes.
const maxClass = 1024

func (w *work) add(p *decision.RedactRule, edits []document.Edit) decision.Reason {
	if len(w.edits)+len(edits) > document.MaxEdits {
		return tooMany(p)
	}
	w.edits = append(w.edits, edits...)
	return decision.Reason{}
}

// at is the text that an edit covers.
func (w *work) at(e document.Edit) (string, error) {
	if w.reader == nil {
		var value any = w.target.text
		if w.target.doc != nil {
			value = w.target.doc.Value()
		}
		w.reader = document.NewReader(value)
	}
	return w.reader.TextAt(e)
}

// settle looks into what the edits leave. What stands side by side can be found only
// once a part of it is gone, as the second of two numbers that were read as one: the
// whole value that it is in is masked then, and where something is left even so, the
// request is refused.
func (w *work) settle(out *Outcome) {
	finding := slices.DeleteFunc(slices.Clone(out.Rules), func(r decision.RedactRule) bool { return r.Whole() || len(r.Fields) > 0 })
	if w.q.Detect == nil || w.q.Redacted != nil || len(finding) == 0 {
		return
	}
	for range 2 {
		left, ok := w.again()
		if !ok {
			return // what cannot be applied is refused by check
		}
		more := len(w.edits)
		for i := range left.Findings {
			f := &left.Findings[i]
			if slices.ContainsFunc(finding, func(r decision.RedactRule) bool { return names(&r, f) }) {
				w.edits = append(w.edits, document.Edit{Pointer: f.Pointer})
			}
		}
		if more = len(w.edits) - more; more == 0 {
			return
		}
		out.Rules[len(out.Rules)-1].Edits += more
	}
	out.Refused = refused("redact.remains", fmt.Sprintf("What the policy %q redacts would still be found in what is left.", out.Obligation.Policy),
		"Send less in one text, or with something between the values.")
}

// again is what is found in what the edits leave.
func (w *work) again() (detect.Inspection, bool) {
	w.left = nil
	if len(w.edits) > document.MaxEdits || w.blank() {
		return detect.Inspection{}, false
	}
	if w.target.doc == nil {
		left, err := document.ApplyText(w.target.text, w.edits)
		return w.q.Detect.InspectText(left), err == nil
	}
	var err error
	if w.left, err = w.target.doc.Apply(w.edits); err != nil {
		return detect.Inspection{}, false
	}
	return w.q.Detect.Inspect(w.left), true
}

// check makes the edits, and refuses those that cannot be made or break what the
// tool takes.
func (w *work) check(out *Outcome) {
	o, q := &out.Obligation, w.q
	duty := decision.Redact{Content: w.target.content, Edits: w.edits}
	if w.target.doc == nil {
		if q.Redacted == nil || !w.blank() {
			if _, err := document.ApplyText(w.target.text, w.edits); err != nil {
				out.Refused = impossible(o.Policy)
				return
			}
		}
		o.Duty = duty
		return
	}
	tool := w.q.Tool
	if q.Request.Phase == decision.Prompt {
		tool = nil
	}
	if len(w.target.doc.Withheld()) > 0 {
		w.checkWithheld(out, tool)
	} else {
		redacted := w.left
		if redacted == nil {
			var err error
			if redacted, err = w.target.doc.Apply(w.edits); err != nil {
				out.Refused = impossible(o.Policy)
				return
			}
		}
		if tool != nil && len(tool.Misfits(w.target.doc, w.target.content)) == 0 {
			out.Refused = breaks(o.Policy, w.target.name(), tool.Misfits(redacted, w.target.content))
		}
	}
	if out.Refused.Code == "" && out.Withheld == "" {
		o.Duty = duty
	}
}

// checkWithheld does so of a document that is not known as a whole.
func (w *work) checkWithheld(out *Outcome, tool *decision.Tool) {
	switch {
	case tool == nil:
	case !w.target.content:
		broken, known := tool.Input.Breaks(w.target.doc, w.edits)
		if !known && w.anew {
			out.Withheld = "arguments: whether they fit the schema when redacted"
		}
		out.Refused = breaks(out.Obligation.Policy, "arguments", broken)
	case w.anew && tool.Output != nil && structured(w.edits):
		out.Withheld = "content: whether it fits the schema when redacted"
	}
}

// structured reports whether edits are of what a tool's schema for results is about.
func structured(edits []document.Edit) bool {
	return slices.ContainsFunc(edits, func(e document.Edit) bool {
		return e.Pointer == "" || e.Pointer == "/structuredContent" || strings.HasPrefix(e.Pointer, "/structuredContent/")
	})
}

// breaks is why a redaction cannot be: it breaks what the document fitted. Nothing
// broken is no reason.
func breaks(policy, target string, broken []content.Violation) decision.Reason {
	if len(broken) == 0 {
		return decision.Reason{}
	}
	return refused("redact.breaks_schema", fmt.Sprintf("After the redaction of %q the %s would not fit the tool: %s.", policy, target, broken[0]), "")
}

func impossible(policy string) decision.Reason {
	return refused("redact.field", fmt.Sprintf("What the policy %q redacts cannot be carried out.", policy), "")
}

func tooMany(p *decision.RedactRule) decision.Reason {
	return refused("redact.too_many", fmt.Sprintf("What the policy %q redacts is too much for one document.", p.Policy), "")
}

// maxText bounds a reason, in bytes: it holds names of arguments.
const maxText = 1024

func refused(code, text, lift string) decision.Reason {
	if lift == "" {
		lift = "Send a request that fits the bundle's schema."
	}
	if len(text) > maxText {
		text = strings.ToValidUTF8(text[:maxText], "") + "…"
	}
	return decision.Reason{Code: code, Text: text, Lift: lift}
}
