package audit

import (
	"crypto/sha256"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/writpdp/writ/document"
	"github.com/writpdp/writ/server/decision"
)

// A record tells the edits of each redacting policy, spans and replacements too, and of
// a rule that is another nothing; of values it tells nothing.
func TestRecordTellsEdits(t *testing.T) {
	cards := decision.RedactRule{Policy: "cards", Detectors: []string{"payment-card"}, Method: document.LastFour, Edits: 2}
	none := decision.RedactRule{Policy: "none", Labels: []string{"secret"}}
	mail := decision.RedactRule{Policy: "mail", Fields: []string{"/mail"}, Method: document.Hashed, Edits: 1}
	edits := []document.Edit{{Pointer: "/a", Method: document.LastFour, Start: 3, End: 19}, {Pointer: "/b", Method: document.LastFour},
		{Pointer: "/mail", Method: document.Hashed, Replacement: document.Replacement(document.Hashed, [20]byte{1})}}
	question := func(rules ...decision.RedactRule) *Question {
		content := []byte(`{"a":"no 4111111111111111","b":"4242424242424242","mail":"hunter2"}`)
		doc, err := document.Parse(content)
		if err != nil {
			t.Fatal(err)
		}
		req := &decision.Request{ID: [16]byte{6: 0x70, 8: 0x80, 15: 1}, Caller: decision.Caller{SPIFFEID: "spiffe://example.org/gateway", Tenant: "acme"},
			Principal: decision.Principal{Subject: "agent", Issuer: "issuer", Expires: noon.Add(time.Hour)}, Phase: decision.Prompt, Purpose: "support",
			Content: decision.Content{Document: doc, Digest: sha256.Sum256(content), Size: len(content)}}
		entry, _, err := Decided([16]byte{6: 0x70, 8: 0x80, 15: 2}, req, &decision.Snapshot{At: noon, Bundle: &decision.Bundle{Digest: strings.Repeat("0", 64)}},
			&decision.Decision{Findings: []decision.Finding{{Stage: "policy", Verdict: decision.Permit, Redactions: rules,
				Obligations: []decision.Obligation{{Policy: "cards", Duty: decision.Redact{Content: true, Edits: edits}}}}}})
		if err != nil {
			t.Fatal(err)
		}
		for _, value := range []string{"4111", "4242", "hunter2"} {
			if strings.Contains(string(entry.Body), value) {
				t.Errorf("the record has %s", value)
			}
		}
		q, err := QuestionOf(entry.Body, nil)
		if err != nil {
			t.Fatal(err)
		}
		return q
	}
	q := question(cards, none, mail)
	renamed, masking := cards, cards
	renamed.Policy, masking.Method = "other", document.Masked
	for _, test := range []struct {
		name  string
		rule  decision.RedactRule
		want  []document.Edit
		known bool
	}{
		{"the first", cards, edits[:2], true}, {"that finds nothing", none, []document.Edit{}, true}, {"the last", mail, edits[2:], true},
		{"the same under another name", renamed, edits[:2], true}, {"by another method", masking, nil, false},
	} {
		got, known := q.Redacted(&test.rule)
		if diff := cmp.Diff(test.want, got); diff != "" || known != test.known {
			t.Errorf("%s: known is %v, -want +got:\n%s", test.name, known, diff)
		}
	}
	mail.Edits = 5
	if got, known := question(cards, mail).Redacted(&cards); known {
		t.Errorf("a record that does not add up tells %v", got)
	}
}
