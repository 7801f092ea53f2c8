package redact_test

import (
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/writpdp/writ/document"
	"github.com/writpdp/writ/server/content/detect"
	"github.com/writpdp/writ/server/decision"
	"github.com/writpdp/writ/server/policy/redact"
)

func parse(t interface{ Fatal(...any) }, data string) *document.Document {
	d, err := document.Parse([]byte(data))
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func keys(domain, text string) [20]byte { return stand{}.Hash(domain, text) }

// stand stands for a server's keys, and is no secret.
type stand struct{}

func (stand) Hash(domain, text string) [20]byte {
	sum := sha256.Sum256([]byte(domain + "\x00" + text))
	return [20]byte(sum[:])
}

func (s stand) Token(class, text string) ([20]byte, []byte, error) {
	return s.Hash("token "+class, text), []byte("sealed " + text), nil
}

func result(t interface{ Fatal(...any) }, data string, found ...detect.Finding) decision.Query {
	return decision.Query{Request: &decision.Request{Phase: decision.Result, Content: decision.Content{Document: parse(t, data), Size: len(data)}},
		Inspection: &detect.Inspection{Findings: found}, Keys: stand{}}
}

func rule(t testing.TB, notes ...string) *decision.RedactRule {
	t.Helper()
	all := map[string]string{}
	for _, note := range notes {
		name, value, _ := strings.Cut(note, "=")
		all[name] = value
	}
	r, err := redact.Parse("p", all)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func TestParse(t *testing.T) {
	for _, test := range []struct {
		name  string
		notes map[string]string
		want  string
	}{
		{"detectors", map[string]string{"detect": "payment-card email", "method": "partial"}, ""},
		{"labels in fields", map[string]string{"labels": "pii", "fields": "/a/*"}, ""},
		{"nothing", map[string]string{"method": "mask"}, "needs @fields, @detect or @labels"},
		{"an empty list", map[string]string{"detect": " "}, "@detect has none or more than 64 words"},
		{"too many", map[string]string{"labels": strings.Repeat("a ", 65)}, "@labels has none or more than 64 words"},
		{"no name", map[string]string{"detect": "Payment_Card!"}, `"Payment_Card!" is not the name of a detector or label`},
		{"no pointer", map[string]string{"fields": "a"}, "does not start with /"},
		{"no method", map[string]string{"fields": "/a", "method": "burn"}, `@method("burn") is none of`},
	} {
		t.Run(test.name, func(t *testing.T) {
			_, err := redact.Parse("p", test.notes)
			if (err == nil) != (test.want == "") || err != nil && !strings.Contains(err.Error(), test.want) {
				t.Errorf("got %v, want %q", err, test.want)
			}
		})
	}
}

func TestCheck(t *testing.T) {
	detects := func(id string) []string { return map[string][]string{"email": {"pii"}, "plain": {}}[id] }
	for _, test := range []struct{ name, note, want string }{
		{"known", "detect=email", ""},
		{"known, with no labels", "detect=plain", ""},
		{"unknown", "detect=email emial", `the bundle has no detector "emial"`},
		{"a label", "labels=pii secret", ""},
		{"an unknown label", "labels=pi", `the bundle has no label "pi"`},
	} {
		err := redact.Check(rule(t, test.note), detects, func(label string) bool { return decision.BuiltInLabels()[label] > 0 })
		if (err == nil) != (test.want == "") || err != nil && !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: got %v, want %q", test.name, err, test.want)
		}
	}
}

// said is what an outcome comes to, in words.
func said(out redact.Outcome) string {
	if out.Refused.Code != "" {
		return out.Refused.Code
	}
	if out.Withheld != "" {
		return "withheld " + out.Withheld
	}
	duty, ok := out.Obligation.Duty.(decision.Redact)
	if !ok {
		return ""
	}
	var all []string
	for _, e := range duty.Edits {
		all = append(all, fmt.Sprintf("%s %s %d-%d %s", e.Method, e.Pointer, e.Start, e.End, e.Replacement))
	}
	return strings.Join(all, ", ")
}

func TestEdits(t *testing.T) {
	card := detect.Finding{Detector: "payment-card", Labels: []string{"financial"}, Pointer: "/a/t", Start: 5, End: 21}
	mail := detect.Finding{Detector: "email", Labels: []string{"pii"}, Pointer: "/b/mail"}
	island := detect.Finding{Detector: "email", Labels: []string{"pii"}, Pointer: "/a/t", Start: 0, End: 4, Encoding: "base64"}
	const data = `{"a":{"t":"card 4111111111111111"},"b":{"mail":"a@example.com","n":1}}`
	hash := document.Replacement(document.Hashed, keys("email", "a@example.com"))
	byLabel := document.Replacement(document.Hashed, keys(":pii", "a@example.com"))
	for _, test := range []struct {
		name   string
		rules  []*decision.RedactRule
		change func(*decision.Query)
		want   string
	}{
		{"by detector", []*decision.RedactRule{rule(t, "detect=payment-card", "method=partial")}, nil, "partial /a/t 5-21 "},
		{"by label", []*decision.RedactRule{rule(t, "labels=pii", "method=remove")}, nil, "remove /b/mail 0-0 "},
		{"by detector and label", []*decision.RedactRule{rule(t, "detect=payment-card", "labels=pii")}, nil, "mask /a/t 5-21 , mask /b/mail 0-0 "},
		{"of fields", []*decision.RedactRule{rule(t, "labels=pii financial", "fields=/a /c")}, nil, "mask /a/t 5-21 "},
		{"of a field with a name that another begins with", []*decision.RedactRule{rule(t, "labels=pii financial", "fields=/b/ma /a/tt")}, nil, ""},
		{"of fields by *", []*decision.RedactRule{rule(t, "labels=pii financial", "fields=/*/mail")}, nil, "mask /b/mail 0-0 "},
		{"a finding that a field is part of", []*decision.RedactRule{rule(t, "labels=pii", "fields=/b/n")},
			func(q *decision.Query) {
				q.Inspection.Findings = []detect.Finding{{Labels: []string{"pii"}, Pointer: "/b"}}
			}, "mask /b/n 0-0 "},
		{"hashes by detector", []*decision.RedactRule{rule(t, "detect=email", "method=hash")}, nil, "hash /b/mail 0-0 " + hash},
		{"hashes by label", []*decision.RedactRule{rule(t, "labels=pii", "method=hash")}, nil, "hash /b/mail 0-0 " + byLabel},
		{"tokens", []*decision.RedactRule{rule(t, "detect=email", "method=tokenise")}, nil, "tokenise /b/mail 0-0 " + document.Replacement(document.Tokenised, keys("token email", "a@example.com"))},
		{"a token of too much", []*decision.RedactRule{rule(t, "detect=email", "method=tokenise")}, func(q *decision.Query) {
			q.Request.Content.Document = parse(t, `{"b":{"mail":"`+strings.Repeat("x", decision.MaxTokenised+1)+`"}}`)
		}, "redact.too_many"},
		{"two policies", []*decision.RedactRule{rule(t, "detect=email"), rule(t, "fields=/b/n", "method=remove")}, nil, "mask /b/mail 0-0 , remove /b/n 0-0 "},
		{"nothing of the kind", []*decision.RedactRule{rule(t, "detect=iban")}, nil, ""},
		{"a part of what is encoded", []*decision.RedactRule{rule(t, "detect=email", "method=partial")},
			func(q *decision.Query) { q.Inspection.Findings = []detect.Finding{island} }, "mask /a/t 0-4 "},
		{"a hash without a key", []*decision.RedactRule{rule(t, "detect=email", "method=hash")}, func(q *decision.Query) { q.Keys = nil }, "redact.no_key"},
		{"a hash without a key, and nothing to hash", []*decision.RedactRule{rule(t, "detect=iban", "method=hash")}, func(q *decision.Query) { q.Keys = nil }, "redact.no_key"},
		{"more than is told", []*decision.RedactRule{rule(t, "detect=email")}, func(q *decision.Query) { q.Inspection.Cut = true }, "redact.not_inspected"},
		{"more than is told of what fields need not", []*decision.RedactRule{rule(t, "fields=/b/n")}, func(q *decision.Query) { q.Inspection.Cut = true }, "mask /b/n 0-0 "},
		{"nobody looked", []*decision.RedactRule{rule(t, "detect=email")}, func(q *decision.Query) { q.Inspection = nil }, "redact.not_inspected"},
		{"a record that does not tell", []*decision.RedactRule{rule(t, "detect=email")}, func(q *decision.Query) { q.Inspection.Unknown = true }, "withheld content: what is found in it"},
		{"a span that cuts a character", []*decision.RedactRule{rule(t, "detect=email")},
			func(q *decision.Query) {
				q.Request.Content.Document = parse(t, `"é"`)
				q.Inspection.Findings = []detect.Finding{{Detector: "email", Start: 1, End: 2}}
			}, "redact.field"},
		{"a plain text", []*decision.RedactRule{rule(t, "detect=email", "method=hash")},
			func(q *decision.Query) {
				q.Request.Content = decision.Content{Text: "to a@example.com", Size: 16}
				q.Inspection.Findings = []detect.Finding{{Detector: "email", Start: 3, End: 16}}
			}, "hash  3-16 " + hash},
		{"fields of a plain text", []*decision.RedactRule{rule(t, "detect=email", "fields=/a")},
			func(q *decision.Query) { q.Request.Content = decision.Content{Text: "x", Size: 1} }, "redact.not_a_document"},
	} {
		t.Run(test.name, func(t *testing.T) {
			q := result(t, data, card, mail)
			if test.change != nil {
				test.change(&q)
			}
			out := redact.Edits(q, test.rules)
			if diff := cmp.Diff(test.want, said(out)); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
			if len(out.Rules) != len(test.rules) {
				t.Errorf("got %d rules, want %d", len(out.Rules), len(test.rules))
			}
		})
	}
}

// What a record tells of a rule's edits is taken from it; of a keyed rule that it does
// not know, nobody can tell what its values hash to.
func TestReplays(t *testing.T) {
	known := rule(t, "detect=email", "method=hash")
	edits := []document.Edit{{Pointer: "/b/mail", Method: document.Hashed, Replacement: document.Replacement(document.Hashed, [20]byte{1})}}
	q := result(t, `{"b":{"mail":"x"}}`)
	q.Request.Content.Document, _ = document.Partial(nil, []string{""}, document.Digest{}, nil)
	q.Inspection.Findings, q.Keys = []detect.Finding{{Detector: "email", Labels: []string{"pii"}}}, nil
	q.Redacted = func(r *decision.RedactRule) ([]document.Edit, bool) { return edits, r.Same(known) }
	for _, test := range []struct {
		name string
		rule *decision.RedactRule
		want string
	}{
		{"the same", known, "hash /b/mail 0-0 " + edits[0].Replacement},
		{"another method", rule(t, "detect=email", "method=mask"), "withheld content: where something is found in it"},
		{"another hash", rule(t, "labels=pii", "method=hash"), "withheld content: what its values hash to"},
		{"what was not found", rule(t, "detect=iban"), ""},
	} {
		if got := said(redact.Edits(q, []*decision.RedactRule{test.rule})); got != test.want {
			t.Errorf("%s: got %q, want %q", test.name, got, test.want)
		}
	}
}

// inspect finds what the tests plant. It stands for a set of detectors.
type inspect func(*document.Document) detect.Inspection

var planted = regexp.MustCompile(`SECRET[0-9]{8}`)

func finds(d *document.Document) detect.Inspection {
	var in detect.Inspection
	var walk func(pointer []byte, value any)
	walk = func(pointer []byte, value any) {
		switch v := value.(type) {
		case map[string]any:
			for name, child := range v {
				walk(document.AppendToken(pointer[:len(pointer):len(pointer)], name), child)
			}
		case []any:
			for i, child := range v {
				walk(document.AppendIndex(pointer[:len(pointer):len(pointer)], i), child)
			}
		case string:
			if inner, err := document.ParseObject([]byte(v)); v != "" && err == nil {
				walk(pointer, inner.Value())
				return
			}
			for _, at := range planted.FindAllStringIndex(v, -1) {
				in.Findings = append(in.Findings, detect.Finding{Detector: "planted", Pointer: string(pointer), Start: at[0], End: at[1]})
			}
		}
	}
	walk(nil, d.Value())
	return in
}

// checkRedacted holds a redaction of what some detectors find to its promises.
func checkRedacted(t *rapid.T, inspect inspect, data string, rules []*decision.RedactRule) {
	q := result(t, data)
	found := inspect(q.Request.Content.Document)
	q.Inspection = &found
	out := redact.Edits(q, rules)
	if out.Refused.Code != "" || out.Withheld != "" {
		t.Fatalf("got %s", said(out))
	}
	duty, some := out.Obligation.Duty.(decision.Redact)
	if some != (len(found.Findings) > 0) {
		t.Fatalf("%d findings in %s and %d edits", len(found.Findings), data, len(duty.Edits))
	}
	once, err := q.Request.Content.Document.Apply(duty.Edits)
	if err != nil {
		t.Fatal(err)
	}
	if !json.Valid(once.Canonical()) {
		t.Fatalf("%s is not JSON", once.Canonical())
	}
	if left := inspect(once); len(left.Findings) > 0 {
		t.Fatalf("%v is left in %s of %s", left.Findings, once.Canonical(), data)
	}
	// Beside the spans nothing has changed: with each taken out for good, before and
	// after are the same.
	bare := planted.ReplaceAllString(string(parse(t, data).Canonical()), "")
	marks := regexp.MustCompile(`\[redacted\]|\*{10}[0-9]{4}|\[hash:[0-9a-v]{32}\]`)
	if got := marks.ReplaceAllString(string(once.Canonical()), ""); got != bare {
		t.Fatalf("got %s, want %s", got, bare)
	}
	// To redact the result again changes nothing.
	q.Request.Content.Document = once
	again := inspect(once)
	q.Inspection = &again
	if out := redact.Edits(q, rules); out.Obligation.Duty != nil || out.Refused.Code != "" {
		t.Fatalf("redacted again: %s", said(out))
	}
}

func TestNothingIsLeft(t *testing.T) {
	var rules [][]*decision.RedactRule
	for _, method := range []string{"mask", "remove", "partial", "hash", "generalise"} {
		rules = append(rules, []*decision.RedactRule{rule(t, "detect=planted", "method="+method)})
	}
	word := rapid.OneOf(rapid.SampledFrom([]string{"", " ", "é", "😀", `"`, `\`, "\n", "x", "SECRET", "1"}), rapid.StringMatching(`SECRET[0-9]{8} `))
	text := rapid.Custom(func(t *rapid.T) string { return strings.Join(rapid.SliceOfN(word, 0, 6).Draw(t, "words"), "") })
	object := func(t *rapid.T, of *rapid.Generator[any]) map[string]any {
		return rapid.MapOfN(rapid.SampledFrom([]string{"a", "b/c", "~", ""}), of, 0, 3).Draw(t, "object")
	}
	leaf := rapid.Custom(func(t *rapid.T) any {
		if rapid.IntRange(0, 5).Draw(t, "inner") > 0 {
			return text.Draw(t, "text")
		}
		data, err := json.Marshal(object(t, rapid.Map(text, func(s string) any { return s })))
		if err != nil {
			t.Fatal(err)
		}
		return string(data)
	})
	rapid.Check(t, func(t *rapid.T) {
		value := object(t, rapid.OneOf(leaf, rapid.Map(rapid.SliceOfN(leaf, 0, 3), func(l []any) any { return l })))
		data, err := json.Marshal(value)
		if err != nil {
			t.Fatal(err)
		}
		// A document in a text is written anew where it is edited: compare with
		// what is written so already.
		checkRedacted(t, finds, normal(t, string(data)), rapid.SampledFrom(rules).Draw(t, "rules"))
	})
}

// normal is a document in which those in its texts are in the form of RFC 8785 too.
func normal(t *rapid.T, data string) string {
	var walk func(any) any
	walk = func(value any) any {
		switch v := value.(type) {
		case map[string]any:
			for name, child := range v {
				v[name] = walk(child)
			}
		case []any:
			for i, child := range v {
				v[i] = walk(child)
			}
		case string:
			if inner, err := document.ParseObject([]byte(v)); v != "" && err == nil {
				return string(inner.Canonical())
			}
		}
		return value
	}
	out, err := json.Marshal(walk(parse(t, data).Value()))
	if err != nil {
		t.Fatal(err)
	}
	return string(out)
}
