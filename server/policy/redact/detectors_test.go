package redact_test

import (
	"encoding/base64"
	"encoding/json"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/writpdp/writ/document"
	"github.com/writpdp/writ/server/content/detect"
	"github.com/writpdp/writ/server/decision"
	"github.com/writpdp/writ/server/policy/redact"
)

// samples are values that built-in detectors find.
var samples = []string{
	"ada.lovelace@example.org", "4242 4242 4242 4242", "5555555555554444", "DE89370400440532013000", "GB82 WEST 1234 5698 7654 32",
	"SSN 536-22-8726", "192.0.2.77", "2001:db8:85a3::8a2e:370:7334", "00:1b:44:11:3a:b7", "date of birth: 1984-02-29",
	"AKIA" + "Q3EGRKZH7C2TXB5M", "postgres://app:Xk9vTq2Lm4p7Rz@db.example.org:5432/shop", "+49 30 901820",
	"password: Xk9-vTq2-Lm4p-77", base64.StdEncoding.EncodeToString([]byte("the key is AKIA" + "Q3EGRKZH7C2TXB5M for now")), "%61da.lovelace%40example.org",
}

// Whatever detectors find in a document is not found in what a redaction leaves of it:
// by every method, in strings, numbers, texts that hold documents, and plain texts.
func TestNothingIsLeftOfWhatDetectorsFind(t *testing.T) {
	set := detect.Default()
	rules := map[string]*decision.RedactRule{}
	for _, method := range []string{"mask", "remove", "partial", "hash", "tokenise"} {
		rules[method] = rule(t, "detect="+strings.Join(slices.DeleteFunc(set.Detectors(), func(id string) bool { return id == "person-name" }), " "), "method="+method)
	}
	word := rapid.OneOf(rapid.SampledFrom(samples), rapid.SampledFrom([]string{"order 10023", "of the", "é", "v1.2.3", "", "\n"}))
	text := rapid.Custom(func(t *rapid.T) string { return strings.Join(rapid.SliceOfN(word, 1, 5).Draw(t, "words"), " ") })
	leaf := rapid.Custom(func(t *rapid.T) any {
		switch rapid.IntRange(0, 4).Draw(t, "kind") {
		case 0:
			return json.Number("4242424242424242")
		case 1:
			inner, err := json.Marshal(map[string]any{"note": text.Draw(t, "inner")})
			if err != nil {
				t.Fatal(err)
			}
			return string(inner)
		}
		return text.Draw(t, "text")
	})
	rapid.Check(t, func(t *rapid.T) {
		method := rapid.SampledFrom([]string{"mask", "remove", "partial", "hash", "tokenise"}).Draw(t, "method")
		data, err := json.Marshal(rapid.MapOfN(rapid.SampledFrom([]string{"note", "card", "email", "a/b", "items"}), rapid.OneOf(leaf, rapid.Map(rapid.SliceOfN(leaf, 1, 3), func(l []any) any { return l })), 1, 4).Draw(t, "object"))
		if err != nil {
			t.Fatal(err)
		}
		doc, err := document.Parse(data)
		if err != nil {
			t.Fatal(err)
		}
		q := result(t, string(data))
		found := set.Inspect(doc)
		q.Inspection, q.Detect = &found, set
		out := redact.Edits(q, []*decision.RedactRule{rules[method]})
		if method == "remove" && out.Refused.Code == "redact.remains" {
			return // elements have moved, and nothing is given
		}
		if out.Refused.Code != "" {
			t.Fatalf("%s of %s: %s", method, data, said(out))
		}
		duty, some := out.Obligation.Duty.(decision.Redact)
		if some != (len(found.Findings) > 0) {
			t.Fatalf("%d findings and %d edits of %s", len(found.Findings), len(duty.Edits), data)
		}
		left, err := doc.Apply(duty.Edits)
		if err != nil {
			t.Fatalf("%s of %s: %v", method, data, err)
		}
		if again := set.Inspect(left); len(again.Findings) > 0 {
			t.Fatalf("%s of %s leaves %s, in which %+v is found", method, data, left.Canonical(), again.Findings)
		}
	})
}
