package server_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/gofrs/uuid/v5"
	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/proto"

	"github.com/writpdp/writ/document"
	"github.com/writpdp/writ/policies/policiestest"
	writv1 "github.com/writpdp/writ/proto/writ/v1"
	"github.com/writpdp/writ/server"
	"github.com/writpdp/writ/server/audit"
	"github.com/writpdp/writ/server/decision"
	"github.com/writpdp/writ/server/policy"
	"github.com/writpdp/writ/server/pseudonym"
	ticketing "github.com/writpdp/writ/server/ticket"
)

const tokenises = `@id("tokenise-content") @obligate("redact") @fields("/content") @method("tokenise")` + scope

// desk is the one who may reveal and forget, for acme alone.
type desk struct{ decision.Access }

func (desk) AdmitsReveal(caller decision.Caller, tenant string, _ *decision.Reveal) decision.Admission {
	return decision.Admission{Admitted: caller.SPIFFEID == "spiffe://example.org/desk" && tenant == "acme"}
}

// An agent puts nothing back that was taken out of its sight, whatever policies say; who
// may ask depends on what the token is of, and a ticket that a policy asks for is held
// against the token and used up.
func TestWhoMayReveal(t *testing.T) {
	p := redacting(t, tokenises, 1)
	token := p.tokenise(t, "hunter2-hunter2")
	me := decision.Caller{SPIFFEID: "spiffe://example.org/desk", Tenant: "acme"}
	policies := func(text string) {
		t.Helper()
		files := policiestest.Sample()
		files["access/access.cedar"].Data = []byte(text)
		b, err := policy.Load(files)
		must(t, err)
		p.bundle.Access = b.Access
	}
	ask := func(caller decision.Caller, ticket string) (string, error) {
		out, err := p.Reveal(t.Context(), caller, &writv1.RevealRequest{Token: token, Reason: "a complaint", TicketId: ticket})
		return out.GetValue(), err
	}
	const anybody = `@id("anybody") permit (principal, action, resource);`
	policies(anybody)
	if got, err := ask(me, ""); got != "hunter2-hunter2" {
		t.Errorf("got %s, %v", got, err)
	}
	p.bundle.Agents = map[string]bool{me.SPIFFEID: true}
	if got, err := ask(me, ""); failureOf(err).Code != codes.PermissionDenied {
		t.Errorf("a declared agent got %q, %v", got, err)
	}
	p.bundle.Agents = nil
	policies(`@id("emails") permit (principal, action == Action::"Reveal", resource) when { context.class == "email" };`)
	if got, err := ask(me, ""); failureOf(err).Code != codes.PermissionDenied {
		t.Errorf("another class: %q, %v", got, err)
	}
	policies(`@id("fields") permit (principal, action == Action::"Reveal", resource) when { context.class == "@fields" };`)
	if got, err := ask(me, ""); got != "hunter2-hunter2" {
		t.Errorf("its class: %q, %v", got, err)
	}
	policies(anybody + `@id("ticket") @requires("ticket") forbid (principal, action == Action::"Reveal", resource) unless { context has ticket };`)
	if _, err := ask(me, ""); failureOf(err).Reason != "CHANGE_NEEDS_TICKET" {
		t.Errorf("without a ticket: %v", err)
	}
	if _, err := ask(me, "no-such-ticket"); failureOf(err).Reason != "TICKET_REFUSED" {
		t.Errorf("with a ticket that there is none of: %v", err)
	}
	grant := func(id, tool, token string) {
		t.Helper()
		arguments, err := document.ParseObject(fmt.Appendf(nil, `{"token":%q}`, token))
		must(t, err)
		_, err = ticketing.Create(t.Context(), p.store, decision.Ticket{ID: id, Principal: me.SPIFFEID, Tool: decision.ToolName{Server: decision.VaultTools, Name: tool},
			ArgumentsDigest: fmt.Sprintf("%x", arguments.Digest()), NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), MaxUses: 1, Approvers: []string{"cfo"}},
			ticketing.By{Caller: decision.Caller{Tenant: "acme"}, Actor: "desk", Reason: "A test.", Source: "test", Key: newID(t), At: time.Now().Add(-2 * time.Hour), ID: uuid.Must(uuid.NewV7())})
		must(t, err)
	}
	grant("other", "reveal", strings.Replace(token, token[7:10], "000", 1))
	grant("tool", "forget", token)
	grant("good", "reveal", token)
	for _, id := range []string{"other", "tool"} {
		if _, err := ask(me, id); failureOf(err).Reason != "TICKET_REFUSED" {
			t.Errorf("the ticket %q: %v", id, err)
		}
	}
	if got, err := ask(me, "good"); got != "hunter2-hunter2" {
		t.Errorf("with its ticket: %q, %v", got, err)
	}
	if _, err := ask(me, "good"); failureOf(err).Reason != "TICKET_REFUSED" {
		t.Errorf("with its ticket once more: %v", err)
	}
	p.verify(t)
}

func (p *pdp) tokenise(t *testing.T, value string) string {
	t.Helper()
	answer := p.decide(t, p.writing(t, value), writv1.Effect_EFFECT_REDACT)
	return answer.Obligations[0].GetRedact().Edits[0].Replacement
}

// reveals are the records of questions about tokens, of all tenants.
func (p *pdp) reveals(t *testing.T) []string {
	var all []string
	must(t, p.store.View(t.Context(), func(r audit.Reader) error {
		return r.Records(t.Context(), "", [16]byte{}, [16]byte{0xff}, func(row audit.Row) error {
			var record writv1.Record
			if err := proto.Unmarshal(row.Body, &record); err != nil {
				return err
			}
			if strings.Contains(string(row.Body), "hunter2") {
				t.Errorf("a record has the value: %v", &record)
			}
			if e := record.GetReveal(); e != nil {
				all = append(all, fmt.Sprintf("%s %s %s %s of %q: %s", row.Tenant, e.Action, e.Outcome, e.Actor, e.Of, e.Reason))
			}
			return nil
		})
	}))
	return all
}

func TestVault(t *testing.T) {
	p := redacting(t, tokenises, 1)
	p.bundle.Access = desk{p.bundle.Access}
	token := p.tokenise(t, "hunter2-hunter2")
	if again := p.tokenise(t, "hunter2-hunter2"); again != token {
		t.Errorf("got %s, then %s", token, again)
	}
	person := decision.Caller{SPIFFEID: "spiffe://example.org/desk", Tenant: "acme"}
	ask := func(caller decision.Caller, tenant, token, reason string) (string, error) {
		out, err := p.Reveal(t.Context(), caller, &writv1.RevealRequest{Tenant: tenant, Token: token, Reason: reason})
		return out.GetValue(), err
	}
	stranger := decision.Caller{SPIFFEID: "spiffe://example.org/stranger", Tenant: "bolt"}
	guessed := strings.Replace(token, token[7:9], "zz", 1)
	guessed = strings.ReplaceAll(guessed, "zz", "00")
	for _, test := range []struct {
		name          string
		caller        decision.Caller
		tenant, token string
		want          string // the value, or the code of the error
	}{
		{"who may", person, "", token, "hunter2-hunter2"},
		{"who may not", gateway, "", token, codes.PermissionDenied.String()},
		{"another tenant's", stranger, "acme", token, codes.PermissionDenied.String()},
		{"the desk, for another tenant", person, "bolt", token, codes.PermissionDenied.String()},
		{"a guess", person, "", guessed, codes.NotFound.String()},
		{"no token", person, "", "hunter2-hunter2", codes.InvalidArgument.String()},
		{"a tenant that is none", person, decision.System, token, codes.PermissionDenied.String()},
	} {
		got, err := ask(test.caller, test.tenant, test.token, test.name)
		if err != nil {
			got = failureOf(err).Code.String()
		}
		if got != test.want {
			t.Errorf("%s: got %s, want %s", test.name, got, test.want)
		}
	}
	if _, err := p.Forget(t.Context(), gateway, &writv1.ForgetRequest{Token: token, Reason: "no"}); failureOf(err).Code != codes.PermissionDenied {
		t.Errorf("got %v", err)
	}
	p.verify(t)
	_, err := p.Forget(t.Context(), person, &writv1.ForgetRequest{Token: token, Reason: "erase it"})
	must(t, err)
	if got, err := ask(person, "", token, "gone"); failureOf(err).Code != codes.NotFound {
		t.Errorf("got %s, %v", got, err)
	}
	const reveal, forget, me = "REVEAL_ACTION_REVEAL REVEAL_OUTCOME_", "REVEAL_ACTION_FORGET REVEAL_OUTCOME_", " spiffe://example.org/desk of "
	want := map[string]bool{
		"acme " + reveal + "DONE" + me + `"": who may`: true, "acme " + reveal + `REFUSED spiffe://example.org/gateway of "": who may not`: true,
		"bolt " + reveal + `REFUSED spiffe://example.org/stranger of "acme": another tenant's`: true,
		"acme " + reveal + "REFUSED" + me + `"bolt": the desk, for another tenant`:             true,
		"acme " + reveal + "UNKNOWN" + me + `"": a guess`:                                      true,
		"acme " + reveal + "REFUSED" + me + `"": a tenant that is none`:                        true,
		"acme " + forget + `REFUSED spiffe://example.org/gateway of "": no`:                    true,
		"acme " + forget + "DONE" + me + `"": erase it`:                                        true,
		"acme " + reveal + "UNKNOWN" + me + `"": gone`:                                         true,
	}
	for _, got := range p.reveals(t) {
		if !want[got] {
			t.Errorf("unexpected: %s", got)
		}
		delete(want, got)
	}
	for line := range want {
		t.Errorf("not recorded: %s", line)
	}
	p.verify(t)
	if again := p.tokenise(t, "hunter2-hunter2"); again != token {
		t.Errorf("got %s, want %s", again, token)
	}
	if got, err := ask(person, "", token, "again"); got != "hunter2-hunter2" {
		t.Errorf("got %s, %v", got, err)
	}
	if log := p.log.String(); strings.Contains(log, "hunter2") {
		t.Errorf("the log has the value: %s", log)
	}
	p.verify(t)
}

// failing keeps nothing of questions about tokens.
type failing struct{ server.Ledger }

func (f failing) Commit(ctx context.Context, e audit.Entry) (audit.Receipt, error) {
	if e.Kind == audit.Reveal {
		return audit.Receipt{}, errors.New("the disk is full")
	}
	return f.Ledger.Commit(ctx, e)
}

// Without its record no value is told, and with another key none can be.
func TestRevealFailsClosed(t *testing.T) {
	p := redacting(t, tokenises, 1)
	p.bundle.Access = desk{p.bundle.Access}
	token := p.tokenise(t, "hunter2-hunter2")
	for name, adjust := range map[string]func(*server.Config){
		"no record":   func(c *server.Config) { c.Ledger = failing{c.Ledger} },
		"no key":      func(c *server.Config) { c.Pseudonyms = nil },
		"another key": func(c *server.Config) { c.Pseudonyms, _ = pseudonym.New([]byte(strings.Repeat("k", pseudonym.MinKey))) },
		"no vault":    func(c *server.Config) { c.Vault = nil },
	} {
		again := open(t, func(q *pdp, c *server.Config) {
			q.bundle, c.Ledger, c.Vault = p.bundle, p.store, p.store
			c.Pseudonyms, _ = pseudonym.New([]byte(strings.Repeat("\x01", pseudonym.MinKey)))
			adjust(c)
		})
		out, err := again.Reveal(t.Context(), decision.Caller{SPIFFEID: "spiffe://example.org/desk", Tenant: "acme"}, &writv1.RevealRequest{Token: token, Reason: "x"})
		if err == nil || out.GetValue() != "" {
			t.Errorf("%s: got %v", name, out)
		}
	}
}
