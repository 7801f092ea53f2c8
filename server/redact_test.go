package server_test

import (
	"bytes"
	"strings"
	"testing"
	"testing/fstest"

	"google.golang.org/protobuf/proto"

	"github.com/writpdp/writ/policies/policiestest"
	writv1 "github.com/writpdp/writ/proto/writ/v1"
	"github.com/writpdp/writ/server"
	"github.com/writpdp/writ/server/audit"
	"github.com/writpdp/writ/server/policy"
	"github.com/writpdp/writ/server/pseudonym"
)

// redacting is a server whose bundle redacts what is written to files, and hashes
// with a key, if it has one.
func redacting(t *testing.T, policies string, key byte) *pdp {
	return open(t, func(p *pdp, c *server.Config) {
		files := policiestest.Sample()
		files["cedar/redacts.cedar"] = &fstest.MapFile{Data: []byte(policies), Mode: 0o444}
		var err error
		p.bundle, err = policy.Load(files)
		must(t, err)
		if key != 0 {
			c.Pseudonyms, err = pseudonym.New(bytes.Repeat([]byte{key}, pseudonym.MinKey))
			must(t, err)
		}
	})
}

const scope = ` permit (principal, action, resource) when { context.phase == "CALL" };`

const hashes = `@id("hash-content") @obligate("redact") @fields("/content") @method("hash")` + scope

func (p *pdp) writing(t *testing.T, content string) *writv1.DecideRequest {
	in := p.call(t, "filesystem", "write_file", `{"path":"/srv/files/drafts/a","content":"`+content+`"}`)
	in.ReturnDocuments = true
	return in
}

// The answer has the redacted document, the log has neither it nor the value, and
// whoever asks again gets the same.
func TestReturnDocuments(t *testing.T) {
	p := redacting(t, hashes, 1)
	in := p.writing(t, "hunter2-hunter2")
	answer := p.decide(t, in, writv1.Effect_EFFECT_REDACT)
	replacement := answer.Obligations[0].GetRedact().Edits[0].Replacement
	if got, want := string(answer.Arguments), `{"content":"`+replacement+`","path":"/srv/files/drafts/a"}`; got != want || replacement == "" {
		t.Errorf("got %s, want %s", got, want)
	}
	in.PrincipalToken = p.token(t)
	again := p.decide(t, in, writv1.Effect_EFFECT_REDACT)
	same(t, answer, again)
	must(t, p.store.View(t.Context(), func(r audit.Reader) error {
		return r.PendingRows(t.Context(), func(row audit.Row) error {
			body, err := p.store.Record(t.Context(), row.Tenant, row.ID)
			if err != nil {
				return err
			}
			var record writv1.Record
			must(t, proto.Unmarshal(body.Body, &record))
			if response := record.GetDecision().Response; response.Arguments != nil || response.Content != nil || bytes.Contains(body.Body, []byte("hunter2")) {
				t.Errorf("the record has %v", response)
			}
			return nil
		})
	}))
	// What was not asked for is not there, and another question is another digest.
	in = p.writing(t, "hunter2-hunter2")
	in.ReturnDocuments = false
	if answer := p.decide(t, in, writv1.Effect_EFFECT_REDACT); answer.Arguments != nil {
		t.Errorf("got %s", answer.Arguments)
	}
	in.PrincipalToken, in.ReturnDocuments = p.token(t), true
	if _, err := p.Decide(t.Context(), gateway, in); err == nil {
		t.Error("a request_id is taken for two questions")
	}
	p.verify(t)
}

// The same value joins, and a key is the server's.
func TestHashesJoin(t *testing.T) {
	hash := func(p *pdp, content string) string {
		return p.decide(t, p.writing(t, content), writv1.Effect_EFFECT_REDACT).Obligations[0].GetRedact().Edits[0].Replacement
	}
	one, other := redacting(t, hashes, 1), redacting(t, hashes, 2)
	a := hash(one, "a@example.com")
	if again := hash(one, "a@example.com"); again != a {
		t.Errorf("got %s, then %s", a, again)
	}
	if b := hash(one, "b@example.com"); b == a {
		t.Error("two values hash alike")
	}
	if b := hash(other, "a@example.com"); b == a {
		t.Error("two keys hash alike")
	}
	answer := redacting(t, hashes, 0)
	denied := answer.decide(t, answer.writing(t, "x"), writv1.Effect_EFFECT_DENY)
	if denied.Reasons[0].Code != "redact.no_key" || denied.Arguments != nil {
		t.Errorf("got %v", denied)
	}
}

// Every method leaves arguments that the tool takes, or the call is denied.
func TestMethodsOnArguments(t *testing.T) {
	for _, test := range []struct{ method, content, want string }{
		{"mask", "4111111111111111", `"[redacted]"`},
		{"partial", "4111111111111111", `"************1111"`},
		{"generalise", "1985-04-12", `"1985"`},
		{"remove", "4111111111111111", "redact.breaks_schema"},
	} {
		p := redacting(t, strings.Replace(hashes, `"hash"`, `"`+test.method+`"`, 1), 0)
		answer, err := p.Decide(t.Context(), gateway, p.writing(t, test.content))
		must(t, err)
		got := answer.Reasons[0].Code
		if answer.Effect == writv1.Effect_EFFECT_REDACT {
			got = strings.TrimSuffix(strings.TrimPrefix(string(answer.Arguments), `{"content":`), `,"path":"/srv/files/drafts/a"}`)
		}
		if got != test.want {
			t.Errorf("%s: got %s, want %s", test.method, got, test.want)
		}
	}
}

// A bundle that redacts by a detector that it does not have is not loaded: it would
// redact nothing.
func TestUnknownDetector(t *testing.T) {
	files := policiestest.Sample()
	files["cedar/redacts.cedar"] = &fstest.MapFile{Data: []byte("\n" + `@id("x") @obligate("redact") @detect("no-such")` + scope), Mode: 0o444}
	_, err := policy.Load(files)
	if err == nil || !strings.Contains(err.Error(), `cedar/redacts.cedar:2:1: policy "x": @detect: the bundle has no detector "no-such"`) {
		t.Errorf("got %v", err)
	}
}
