package test

import (
	"crypto/rand"
	"crypto/sha256"
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/gofrs/uuid/v5"
	_ "github.com/jackc/pgx/v5/stdlib" // the engine "pgx"
	"golang.org/x/mod/sumdb/note"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	_ "modernc.org/sqlite" // the engine "sqlite"

	"github.com/writpdp/writ/clients/go/writtest"
	"github.com/writpdp/writ/document"
	writv1 "github.com/writpdp/writ/proto/writ/v1"
	"github.com/writpdp/writ/server/audit"
	"github.com/writpdp/writ/server/decision"
	"github.com/writpdp/writ/server/respond"
	"github.com/writpdp/writ/server/rollout"
	ticketing "github.com/writpdp/writ/server/ticket"
	"github.com/writpdp/writ/store/postgres"
	"github.com/writpdp/writ/store/sqlite"
	"github.com/writpdp/writ/test/pgtest"
)

// engines open a new store, and a way past it into its tables.
var engines = map[string]func(*testing.T) (writtest.Store, raw){
	"sqlite": func(t *testing.T) (writtest.Store, raw) {
		path := filepath.Join(t.TempDir(), "writ.db")
		s, err := sqlite.Open(t.Context(), path)
		if err != nil {
			t.Fatal(err)
		}
		closing(t, s.Close)
		return s, openRaw(t, "sqlite", "file:"+path)
	},
	"postgres": func(t *testing.T) (writtest.Store, raw) {
		dsn := pgtest.DSN(t)
		if err := postgres.Migrate(t.Context(), dsn); err != nil {
			t.Fatal(err)
		}
		s, err := postgres.Open(t.Context(), dsn)
		if err != nil {
			t.Fatal(err)
		}
		closing(t, s.Close)
		return s, openRaw(t, "pgx", dsn)
	},
}

func closing(t *testing.T, shut func() error) {
	t.Helper()
	t.Cleanup(func() {
		if err := shut(); err != nil {
			t.Error(err)
		}
	})
}

// sealedCases and pendingCases are the cases whose records the scene's log holds. Each
// tenant has those of one row, so that no case meets another's ticket or counter.
var (
	sealedCases = map[string][]string{
		"acme": {"allow_read_file", "redact_result_inside_text", "redact_arguments", "ticket_redeemed_once", "token_replayed", "list_filtered"},
		"bolt": {"route_to_eu", "route_and_redact", "result_after_ticket", "ticket_for_refund", "list_nothing", "deny_path_climbs"},
		"cove": {"allow_connect_mail", "allow_model_cost", "watermark_web_content", "ticket_wrong_in_every_way", "allow_refund_of_payment"},
		"dale": {"budget_last_call", "step_up_for_migration"},
	}
	pendingCases = map[string][]string{
		"acme": {"allow_small_refund", "deny_tool_drift"},
		"cove": {"ticket_for_refund", "redact_result_inside_text", "list_filtered"},
	}
)

// scene is a log that a real PDP wrote: decisions of every kind for several
// tenants, settlements, several checkpoints, and some records that wait.
type scene struct {
	store  writtest.Store
	raw    raw
	key    note.Verifier
	signer *audit.Signer
	// older is the state at the second checkpoint, by name of its tables, and
	// olderNote and note are that checkpoint and the newest.
	older           string
	olderNote, note []byte

	leaves  []audit.Leaf
	pending []audit.Row
	now     time.Time
}

// sceneChunk is how many records the scene seals at once.
const sceneChunk = 7

func newScene(t *testing.T, engine string) *scene {
	t.Helper()
	s := &scene{now: time.Date(2026, 11, 23, 10, 0, 0, 0, time.UTC)}
	s.store, s.raw = engines[engine](t)
	private, public, err := audit.GenerateKey(rand.Reader, writtest.Origin)
	if err != nil {
		t.Fatal(err)
	}
	if s.key, err = note.NewVerifier(public); err != nil {
		t.Fatal(err)
	}
	if s.signer, err = audit.NewSigner(writtest.Origin, private); err != nil {
		t.Fatal(err)
	}
	tenant := ""
	p := writtest.Start(t, writtest.Config{Store: s.store, Now: func() time.Time { return s.now }, Tenant: func() string { return tenant }})
	cases := map[string]*Case{}
	for _, c := range readCases(t) {
		cases[c.Name] = c
	}
	play := func(rows map[string][]string) {
		for _, tenant = range slices.Sorted(maps.Keys(rows)) {
			for _, name := range rows[tenant] {
				c := *cases[name]
				c.Name = tenant
				s.play(t, p, &c)
			}
		}
	}
	play(sealedCases)
	s.change(t, 1)
	s.change(t, 2)
	p.Lock(t, sceneLock("first", s.now))
	p.Lock(t, sceneLock("second", s.now))
	s.adjust(t)
	s.vault(t)
	checkpoints := 0
	for s.seal(t, sceneChunk) > 0 {
		if checkpoints++; checkpoints == 2 {
			s.older = s.raw.keep(t, "older")
		}
	}
	play(pendingCases)
	s.change(t, 3)
	p.Lock(t, sceneLock("third", s.now))
	if s.raw.postgres {
		s.lease(t)
	}
	s.read(t)
	s.raw.keep(t, "kept")
	return s
}

// lease has somebody lease some of the counters, who never falls silent.
func (s *scene) lease(t *testing.T) {
	t.Helper()
	holder := s.raw.id(newID(t))
	s.raw.add(t, "lease_holder", values{"id": holder, "told": time.Now().AddDate(100, 0, 0)})
	for i, c := range charged(s.raw.all(t, "budget_use"))[:3] {
		unspent := int64(5 * i)
		s.raw.set(t, "budget_use", c, "used", c["used"].(int64)+unspent)
		s.raw.add(t, "lease", values{"holder": holder, "tenant": c["tenant"], "budget": c["budget"], "subject": c["subject"],
			"window_start": c["window_start"], "unspent": unspent})
	}
}

// unsettled is the tenant whose actions nobody reports on.
const unsettled = "dale"

// play asks what a case asks, a second apart, and reports how its first action
// ended.
func (s *scene) play(t *testing.T, p *writtest.PDP, c *Case) {
	t.Helper()
	c.Given.Now = s.now
	seed(t, p, c)
	conn, err := grpc.NewClient(p.Addr, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	client := writv1.NewDecisionServiceClient(conn)
	var calls, tokens []string
	for i := range c.Steps {
		s.now = s.now.Add(time.Second)
		p.Look(t)
		step := &c.Steps[i]
		token, err := p.Token(writtest.Agent{Subject: step.Agent, OnBehalfOf: step.OnBehalfOf, Purposes: step.Carries})
		if err != nil {
			t.Fatal(err)
		}
		if step.Token > 0 {
			token = tokens[step.Token-1]
		}
		request := step.Request(p.Bundle, newID(t).String(), token, calls)
		answer, err := client.Decide(t.Context(), request)
		if err != nil {
			t.Fatal(err)
		}
		want := c.Wants[i]
		want.RetryAfter, want.Budgets = Answer(answer).RetryAfter, nil // both go by the case's own time
		check(t, i+1, answer, want)
		calls, tokens = append(calls, answer.DecisionId), append(tokens, token)
		if i > 0 || answer.Effect == writv1.Effect_EFFECT_DENY || c.Name == unsettled {
			continue
		}
		report := &writv1.SettleRequest{DecisionId: answer.DecisionId, Outcome: writv1.Outcome_OUTCOME_SUCCEEDED}
		if request.Cost != nil {
			report.Actual = &writv1.Cost{Calls: 1, Tokens: request.Cost.Tokens / 2, Micros: request.Cost.Micros / 2, Currency: request.Cost.Currency}
		}
		if _, err := client.Settle(t.Context(), report); err != nil {
			t.Fatal(err)
		}
	}
}

// change puts a bundle into force, and from the second version on another beside
// it. What the archives hold is nothing to the log.
func (s *scene) change(t *testing.T, version int64) {
	t.Helper()
	s.now = s.now.Add(time.Second)
	c := audit.ChangeFacts{At: s.now, Action: audit.Activate, Actor: "ann", Reason: "A new version.",
		Rollout: decision.Rollout{Version: version, Live: s.archive(t, "first")}}
	if version > 1 {
		c.Rollout.Candidate, c.Rollout.Mode = s.archive(t, fmt.Sprint("candidate ", version)), decision.Shadow
	}
	e, err := audit.Changed(newID(t), c)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.store.Commit(t.Context(), e); err != nil {
		t.Fatal(err)
	}
}

// adjust raises a budget that every record after it charges, with a ticket.
func (s *scene) adjust(t *testing.T) {
	t.Helper()
	ticket := decision.Ticket{ID: "CHG-MORE", Principal: "ann", Tool: decision.ToolName{Server: decision.BudgetTools, Name: "raise"},
		NotBefore: s.now, NotAfter: s.now.Add(time.Hour), MaxUses: 1, Approvers: []string{"bob"}}
	_, err := ticketing.Create(t.Context(), s.store, ticket, ticketing.By{Caller: decision.Caller{Tenant: "acme"}, Actor: "desk", Reason: "More is needed.",
		Source: "cli", Key: uuid.UUID(newID(t)).String(), At: s.now, ID: newID(t)})
	if err != nil {
		t.Fatal(err)
	}
	raise := decision.Adjustment{ID: "A-more", Tenant: "acme", Budget: "agent-daily-calls", By: 7, Until: s.now.Add(24 * time.Hour)}
	_, err = respond.Adjust(t.Context(), s.store, raise, audit.By{Actor: "ann", Reason: "The month's end.", Ticket: ticket.ID, At: s.now, ID: newID(t)},
		&respond.Approval{Redeem: 1, BudgetRequest: audit.BudgetRequest{ID: newID(t), AdmittedBy: []string{"all"}, Bundle: strings.Repeat("0", 64)}})
	if err != nil {
		t.Fatal(err)
	}
}

// vault has decisions put into the vault what tokens stand for.
func (s *scene) vault(t *testing.T) {
	t.Helper()
	for i, tenant := range []string{"acme", "bolt"} {
		effect := decision.Vault{Token: document.Replacement(document.Tokenised, [20]byte{byte(i)}), Class: "email", Sealed: []byte("sealed in a test")}
		effect.Digest = sha256.Sum256(effect.Sealed)
		id := newID(t)
		req := &decision.Request{ID: newID(t), Digest: sha256.Sum256(id[:]), Caller: decision.Caller{SPIFFEID: "spiffe://example.org/gateway", Tenant: tenant},
			Principal: decision.Principal{Subject: "agent", Issuer: "issuer", Expires: s.now.Add(time.Hour)}, Phase: decision.Prompt, Purpose: "support"}
		entry, _, err := audit.Decided(id, req, &decision.Snapshot{At: s.now, Bundle: &decision.Bundle{Digest: strings.Repeat("0", 64)}},
			&decision.Decision{Findings: []decision.Finding{{Stage: "policy", Verdict: decision.Permit, Effects: []decision.Effect{effect}}}})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := s.store.Commit(t.Context(), entry); err != nil {
			t.Fatal(err)
		}
	}
}

// sceneLock is a lock that stops nobody of the scene.
func sceneLock(id string, now time.Time) decision.Lock {
	return decision.Lock{ID: id, Target: decision.Target{Kind: decision.OfSession, Value: "nobody's"}, Effect: decision.LockDeny, Until: now.Add(24 * time.Hour)}
}

func (s *scene) archive(t *testing.T, text string) decision.BundleRef {
	t.Helper()
	keeper, ok := s.store.(rollout.Store)
	if !ok {
		t.Fatal("the store keeps no archives")
	}
	digest, err := keeper.KeepArchive(t.Context(), []byte(text))
	if err != nil {
		t.Fatal(err)
	}
	return decision.BundleRef{Digest: fmt.Sprintf("%x", digest), Archive: digest}
}

func (s *scene) seal(t *testing.T, max int) int {
	t.Helper()
	n, err := s.store.Seal(t.Context(), max, s.signer.Extend)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// read notes what the log holds, and that it is of every kind.
func (s *scene) read(t *testing.T) {
	t.Helper()
	sizes := []int64{}
	err := s.store.View(t.Context(), func(r audit.Reader) error {
		err := r.Leaves(t.Context(), 0, 1<<40, func(l audit.Leaf) error {
			s.leaves = append(s.leaves, l)
			return nil
		})
		if err != nil {
			return err
		}
		err = r.PendingRows(t.Context(), func(row audit.Row) error {
			s.pending = append(s.pending, row)
			return nil
		})
		if err != nil {
			return err
		}
		return r.Checkpoints(t.Context(), func(c audit.Checkpoint) error {
			if sizes, s.note = append(sizes, c.Size), slices.Clone(c.Note); len(sizes) == 2 {
				s.olderNote = s.note
			}
			return nil
		})
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%d sealed records, %d that wait, checkpoints of sizes %v", len(s.leaves), len(s.pending), sizes)
	if got := s.kinds(); got != "" {
		t.Fatalf("the scene lacks %s", got)
	}
}

// kinds names what is missing of all that a log can hold.
func (s *scene) kinds() string {
	seen := map[string]bool{}
	for _, row := range s.rows() {
		switch row.Kind {
		case audit.Settlement:
			seen["a settlement"] = true
			continue
		case audit.Change:
			seen["a change"] = true
			continue
		case audit.Lock:
			seen["a lock"] = true
			continue
		case audit.Budget:
			seen["a change of a budget"] = true
			continue
		case audit.Ticket:
			seen["a change of a ticket"] = true
			continue
		}
		seen["phase "+row.Phase.String()] = true
		seen["effect "+writv1.Effect(row.Outcome).String()] = true
		seen["a ticket"] = seen["a ticket"] || row.Ticket != "" && row.Outcome != decision.Denied
		seen["tenant "+row.Tenant] = true
	}
	for _, row := range s.pending {
		seen["pending"] = seen["pending"] || row.Kind == audit.Settlement
	}
	var missing []string
	for _, want := range []string{"a settlement", "a change", "a lock", "a change of a budget", "a change of a ticket", "a ticket", "pending", "tenant acme", "tenant bolt", "tenant cove",
		"phase LIST", "phase PROMPT", "phase CALL", "phase RESULT", "phase CONNECT",
		"effect EFFECT_DENY", "effect EFFECT_ALLOW", "effect EFFECT_REDACT", "effect EFFECT_ROUTE"} {
		if !seen[want] {
			missing = append(missing, want)
		}
	}
	return strings.Join(missing, ", ")
}

// rows are all records, the sealed ones by their index.
func (s *scene) rows() []audit.Row {
	var rows []audit.Row
	for _, l := range s.leaves {
		rows = append(rows, l.Row)
	}
	return append(rows, s.pending...)
}

// verify verifies the whole log. Every token that was used must be remembered.
func (s *scene) verify(t *testing.T, known ...[]byte) (report audit.Report, err error) {
	t.Helper()
	err = s.store.View(t.Context(), func(r audit.Reader) (err error) {
		report, err = audit.Verify(t.Context(), r, []note.Verifier{s.key}, audit.Options{Origin: writtest.Origin, Known: known})
		return err
	})
	return report, err
}

// whole fails unless the log verifies, with all that the scene wrote.
func (s *scene) whole(t *testing.T) {
	t.Helper()
	report, err := s.verify(t, s.olderNote, s.note)
	switch {
	case err != nil:
		t.Fatal(err)
	case report.Problem != nil:
		t.Fatalf("an untouched log does not verify: %s", report.Problem)
	case report.Leaves != int64(len(s.leaves)) || report.Pending != int64(len(s.pending)):
		t.Fatalf("%d sealed and %d that wait, want %d and %d", report.Leaves, report.Pending, len(s.leaves), len(s.pending))
	}
}

// restore undoes all tampering.
func (s *scene) restore(t *testing.T) {
	t.Helper()
	s.raw.restore(t, "kept")
	s.whole(t)
}
