package server_test

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/fstest"

	"github.com/gofrs/uuid/v5"
	"github.com/google/go-cmp/cmp"
	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/testing/protocmp"

	"github.com/writpdp/writ/policies/policiestest"
	writv1 "github.com/writpdp/writ/proto/writ/v1"
	"github.com/writpdp/writ/server/decision"
	"github.com/writpdp/writ/server/policy"
)

// remembering puts a bundle into force in which a session that holds private data is
// kept from listing directories, but for a ticket, and from more than two notes.
func (p *pdp) remembering(t testing.TB, change func(fstest.MapFS)) {
	t.Helper()
	files := policiestest.Sample()
	for name, text := range map[string]string{
		"chains.yaml": `notes: { count: { tools: [memory/*] } }
readSecrets: { formerly: { phases: [RESULT], labels: [private-data] } }
`,
		"cedar/remembering.cedar": `@id("no-looking-around") @requires("ticket") forbid (principal, action == Action::"filesystem/list_directory", resource)
when { context.taint.contains("private-data") } unless { context has ticket };
@id("two-notes") forbid (principal, action in Action::"memory", resource) when { context.chain.notes >= 2 };
@id("no-drafts") forbid (principal, action == Action::"filesystem/write_file", resource) when { context.chain.readSecrets };
`,
	} {
		files[name] = &fstest.MapFile{Data: []byte(text)}
	}
	const sample = "read_text_file: { classes: [read-only], labels: [private-data, untrusted-content] }"
	if !strings.Contains(string(files["tools.yaml"].Data), sample) {
		t.Fatal("the sample has other labels")
	}
	files["tools.yaml"] = &fstest.MapFile{Data: []byte(strings.Replace(string(files["tools.yaml"].Data), sample, "read_text_file: { classes: [read-only], labels: [private-data] }", 1))}
	if change != nil {
		change(files)
	}
	var err error
	p.bundle, err = policy.Load(files)
	must(t, err)
}

func within(in *writv1.DecideRequest, session string) *writv1.DecideRequest {
	in.SessionId = session
	return in
}

// result is the result of a call that was allowed.
func (p *pdp) result(t testing.TB, of *writv1.DecideRequest, answer *writv1.DecideResponse) *writv1.DecideRequest {
	t.Helper()
	in := proto.CloneOf(of)
	in.RequestId, in.PrincipalToken = newID(t), p.token(t)
	in.Phase, in.CallDecisionId = writv1.Phase_PHASE_RESULT, answer.DecisionId
	in.Content = &writv1.Content{MediaType: "application/json", Data: []byte(`{"content":[],"structuredContent":{"content":""}}`)}
	return in
}

// read has an agent read a file in a session, and see it.
func (p *pdp) read(t *testing.T, session string) *writv1.DecideResponse {
	t.Helper()
	in := within(p.call(t, "filesystem", "read_text_file", `{"path":"/srv/files/a"}`), session)
	call := p.answer(t, in)
	if call.Effect != writv1.Effect_EFFECT_ALLOW {
		t.Fatalf("the call: %v", call.Reasons)
	}
	result := p.answer(t, p.result(t, in, call))
	if result.Effect != writv1.Effect_EFFECT_ALLOW {
		t.Fatalf("the result: %v", result.Reasons)
	}
	return result
}

func (p *pdp) seen(t testing.TB, answer *writv1.DecideResponse) *writv1.DecisionEvent {
	t.Helper()
	row, err := p.store.Record(t.Context(), gateway.Tenant, uuid.FromStringOrNil(answer.DecisionId))
	must(t, err)
	record := &writv1.Record{}
	must(t, proto.Unmarshal(row.Body, record))
	return record.GetDecision()
}

func codesOf(answer *writv1.DecideResponse) []string {
	var all []string
	for _, r := range answer.Reasons {
		all = append(all, r.Code+" "+r.PolicyId)
	}
	return all
}

// What a result holds is remembered of its session, and keeps it from what policies
// say; another session, and no session at all, are not kept.
func TestTaint(t *testing.T) {
	p := open(t)
	p.remembering(t, nil)
	list := func(session string) *writv1.DecideRequest { return within(p.listing(t), session) }
	allowed(t, p.answer(t, list("one")))
	result := p.read(t, "one")
	denial := p.answer(t, list("one"))
	if diff := cmp.Diff([]string{"policy.ticket_required no-looking-around"}, codesOf(denial)); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
	allowed(t, p.answer(t, list("two")))
	allowed(t, p.answer(t, list("")))
	draft := within(p.call(t, "filesystem", "write_file", `{"path":"/srv/files/drafts/a","content":"x"}`), "one")
	if diff := cmp.Diff([]string{"policy.forbid no-drafts"}, codesOf(p.answer(t, draft))); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
	for _, want := range []struct {
		of  *writv1.DecideResponse
		saw *writv1.SessionFacts
	}{
		{result, &writv1.SessionFacts{Added: []string{"private-data"}}},
		{denial, &writv1.SessionFacts{LabelsSeen: true, Labels: []string{"private-data"}, LabelBits: 1 << 6}},
	} {
		if diff := cmp.Diff(want.saw, p.seen(t, want.of).Session, protocmp.Transform()); diff != "" {
			t.Errorf("the record (-want +got):\n%s", diff)
		}
	}
	// A tool that may not be called is not seen.
	seen := &writv1.DecideRequest{RequestId: newID(t), Phase: writv1.Phase_PHASE_LIST, PrincipalToken: p.token(t), Purpose: "support", SessionId: "one",
		SupportedObligations: []string{"filter_tools"}}
	for _, name := range []string{"write_file", "read_text_file"} {
		tool := p.bundle.Tools[decision.ToolName{Server: "filesystem", Name: name}]
		seen.Candidates = append(seen.Candidates, &writv1.Tool{Server: "filesystem", Name: name, DefinitionDigest: tool.Digest})
	}
	if got := p.answer(t, seen).Obligations[0].GetFilterTools().GetKeep(); !slices.Equal(got, []uint32{1}) {
		t.Errorf("the list keeps %v, want the second alone", got)
	}
	seen.RequestId, seen.PrincipalToken, seen.SessionId = newID(t), p.token(t), "two"
	if got := p.answer(t, seen).Obligations[0].GetFilterTools().GetKeep(); !slices.Equal(got, []uint32{0, 1}) {
		t.Errorf("the other session's list keeps %v, want both", got)
	}
	p.verify(t)
}

// However many calls of a session come at once, its values are exact.
func TestChainExact(t *testing.T) {
	p := open(t)
	p.remembering(t, nil)
	var mu sync.Mutex
	got := map[writv1.Effect]int{}
	var group sync.WaitGroup
	for range 12 {
		in := within(p.call(t, "memory", "read_graph", `{}`), "one")
		group.Go(func() {
			for range 20 {
				out, err := p.Decide(t.Context(), gateway, in)
				if err != nil { // others were faster, eight times over
					expect(t, err, codes.Aborted, "CONTENDED")
					continue
				}
				mu.Lock()
				got[out.Effect]++
				mu.Unlock()
				return
			}
		})
	}
	group.Wait()
	if diff := cmp.Diff(map[writv1.Effect]int{writv1.Effect_EFFECT_ALLOW: 2, writv1.Effect_EFFECT_DENY: 10}, got); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
	p.verify(t)
}

// A result that gives the session private data and a call that private data forbids,
// at once on two replicas: whichever is recorded first, no call is allowed that saw
// too little.
func TestTaintRace(t *testing.T) {
	p := open(t)
	p.remembering(t, nil)
	for i := range 20 {
		session := fmt.Sprint("race-", i)
		in := within(p.call(t, "filesystem", "read_text_file", `{"path":"/srv/files/a"}`), session)
		result := p.result(t, in, p.answer(t, in))
		// What the listing is decided on is remembered from here.
		allowed(t, p.answer(t, within(p.listing(t), session)))
		list := within(p.listing(t), session)
		var group sync.WaitGroup
		answers := make([]*writv1.DecideResponse, 2)
		for at, in := range []*writv1.DecideRequest{result, list} {
			group.Go(func() {
				var err error
				if answers[at], err = p.Decide(t.Context(), gateway, in); err != nil {
					t.Error(err)
				}
			})
		}
		group.Wait()
		if t.Failed() {
			return
		}
		saw := p.seen(t, answers[1]).Session.GetLabels()
		if denied := answers[1].Effect == writv1.Effect_EFFECT_DENY; denied != slices.Contains(saw, "private-data") {
			t.Errorf("it saw %v and was denied: %t", saw, denied)
		}
		if got := p.answer(t, within(p.listing(t), session)).Effect; got != writv1.Effect_EFFECT_DENY {
			t.Errorf("after both: %s", got)
		}
	}
	p.verify(t)
}

// A bundle can want a session of whatever is asked.
func TestSessionRequired(t *testing.T) {
	p := open(t)
	p.remembering(t, func(files fstest.MapFS) {
		files["writ.yaml"].Data = append(slices.Clone(files["writ.yaml"].Data), "sessions: { required: true }\n"...)
	})
	if got := codesOf(p.answer(t, p.listing(t))); !slices.Contains(got, "session.required ") {
		t.Errorf("got %v", got)
	}
	allowed(t, p.answer(t, within(p.listing(t), "one")))
}

// Labels are taken from a session by whom access policies permit, with a ticket where
// they want one, and never by an agent.
func TestDeclassify(t *testing.T) {
	p := open(t)
	desk := decision.Caller{SPIFFEID: "spiffe://example.org/desk/privacy", Tenant: "acme"}
	p.remembering(t, func(files fstest.MapFS) {
		files["access/access.cedar"].Data = append(slices.Clone(files["access/access.cedar"].Data), `
@id("declassify") permit (principal, action in [Action::"ReadSessions", Action::"Declassify"], resource) when { principal.tenant == resource }
unless { principal.path like "/gateway*" };
@id("untrusted-needs-ticket") @requires("ticket") forbid (principal, action == Action::"Declassify", resource)
when { context.labels.contains("untrusted-content") } unless { context has ticket };
`...)
	})
	p.read(t, "one")
	show := func() []string {
		t.Helper()
		out, err := p.ShowSession(t.Context(), desk, &writv1.SessionServiceShowRequest{SessionId: "one"})
		must(t, err)
		return out.Labels
	}
	if diff := cmp.Diff([]string{"private-data"}, show()); diff != "" {
		t.Error(diff)
	}
	ask := func(labels ...string) *writv1.SessionServiceDeclassifyRequest {
		return &writv1.SessionServiceDeclassifyRequest{RequestId: newID(t), SessionId: "one", Labels: labels, Reason: "the file is public"}
	}
	_, err := p.Declassify(t.Context(), gateway, ask("private-data"))
	expect(t, err, codes.PermissionDenied, "CALLER_FORBIDDEN")
	_, err = p.Declassify(t.Context(), decision.Caller{SPIFFEID: agent, Tenant: "acme"}, ask("private-data"))
	expect(t, err, codes.PermissionDenied, "CALLER_FORBIDDEN")
	_, err = p.Declassify(t.Context(), desk, ask("no-such"))
	expect(t, err, codes.NotFound, "LABEL_UNKNOWN")
	_, err = p.Declassify(t.Context(), desk, ask("untrusted-content"))
	expect(t, err, codes.FailedPrecondition, "CHANGE_NEEDS_TICKET")
	in := ask("private-data", "pii")
	for _, again := range []bool{false, true} {
		out, err := p.Declassify(t.Context(), desk, in)
		must(t, err)
		if !slices.Equal(out.Taken, []string{"private-data"}) || len(out.Left) > 0 || out.Replayed != again {
			t.Errorf("got %v", out)
		}
	}
	in.Reason = "another"
	_, err = p.Declassify(t.Context(), desk, in)
	expect(t, err, codes.AlreadyExists, "REQUEST_ID_REUSED")
	if len(show()) > 0 {
		t.Errorf("the session holds %v", show())
	}
	allowed(t, p.answer(t, within(p.listing(t), "one")))
	p.read(t, "one") // and again
	if got := p.answer(t, within(p.listing(t), "one")).Effect; got != writv1.Effect_EFFECT_DENY {
		t.Errorf("got %s", got)
	}
	p.verify(t)
}

// Who looks at nothing pays nothing: no counter is wanted, and no effect is there.
func TestNoPolicyLooks(t *testing.T) {
	p := open(t)
	before := p.books(t)
	answer := allowed(t, p.answer(t, within(p.listing(t), "one")))
	for _, effect := range p.seen(t, answer).Effects {
		if effect.GetNote() != nil {
			t.Errorf("got %v", effect)
		}
	}
	if after := p.books(t); after.records != before.records+1 {
		t.Errorf("got %+v after %+v", after, before)
	}
}
