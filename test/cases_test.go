package test

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/writpdp/writ/policies"
	writv1 "github.com/writpdp/writ/proto/writ/v1"
	"github.com/writpdp/writ/server/audit"
	"github.com/writpdp/writ/server/decision"
	"github.com/writpdp/writ/server/decision/stage"
	"github.com/writpdp/writ/server/policy"
	"github.com/writpdp/writ/server/policy/suite"
)

// minCases is how many cases there are at least.
const minCases = 40

func readCases(t *testing.T) []*Case {
	t.Helper()
	names, err := filepath.Glob("cases/*.txtar")
	if err != nil {
		t.Fatal(err)
	}
	var cases []*Case
	for _, name := range names {
		data, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		c, err := ReadCase(strings.TrimSuffix(filepath.Base(name), ".txtar"), data)
		if err != nil {
			t.Fatal(err)
		}
		cases = append(cases, c)
	}
	if len(cases) < minCases {
		t.Fatalf("%d cases, there must be at least %d", len(cases), minCases)
	}
	return cases
}

func sampleBundle(t testing.TB) *decision.Bundle {
	t.Helper()
	b, err := policy.Load(policies.Files)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// check compares an answer with what is wanted.
func check(t *testing.T, step int, a *writv1.DecideResponse, want Want) {
	t.Helper()
	if diff := compare(a, want); diff != "" {
		t.Errorf("step %d (-want +got):\n%s\nreasons: %v", step, diff, a.Reasons)
	}
}

func compare(a *writv1.DecideResponse, want Want) string {
	got := Answer(a)
	if len(a.Reasons) > 0 && !strings.Contains(a.Reasons[0].Text, want.Says) {
		return fmt.Sprintf("the first reason says %q, not %q", a.Reasons[0].Text, want.Says)
	}
	want.Says = ""
	if want.Budgets == nil {
		got.Budgets = nil // compared where the case is about them
	}
	return cmp.Diff(want, got, cmpopts.EquateEmpty())
}

// world is the facts of a case as a map keeps them, for the pure core alone.
type world struct {
	now     time.Time
	tickets map[string]*decision.Ticket
	used    map[decision.BudgetKey]int64
	tokens  map[[32]byte]bool
	calls   map[[16]byte]decision.CallFacts
	control *decision.Control
}

func newWorld(t *testing.T, c *Case, bundle *decision.Bundle) *world {
	w := &world{now: c.Given.Now, tickets: map[string]*decision.Ticket{}, used: map[decision.BudgetKey]int64{},
		tokens: map[[32]byte]bool{}, calls: map[[16]byte]decision.CallFacts{}}
	for _, given := range c.Given.Tickets {
		ticket, err := given.Made(c.Given.Now)
		if err != nil {
			t.Fatal(err)
		}
		w.tickets[ticket.ID] = ticket
	}
	w.control = &decision.Control{Version: int64(len(c.Given.Locks) + len(c.Given.Changes))}
	for _, given := range c.Given.Changes {
		w.control.Adjustments = append(w.control.Adjustments, given.Made(c.Given.Now, caseCaller.Tenant))
	}
	for _, given := range c.Given.Locks {
		l, err := given.Made(c.Given.Now, caseCaller.Tenant)
		if err != nil {
			t.Fatal(err)
		}
		w.control.Locks = append(w.control.Locks, l)
	}
	for key, amount := range c.spent(bundle) {
		w.used[key] = amount
	}
	return w
}

// spent are the counters that the case says are used, for its first question.
func (c *Case) spent(bundle *decision.Bundle) map[decision.BudgetKey]int64 {
	return suite.Used(bundle, c.Steps[0].pure(bundle, caseCaller, nil), c.Given.Now, c.Given.Spent)
}

var caseCaller = decision.Caller{SPIFFEID: "spiffe://example.org/gateway", Tenant: "acme"}

// pure is the question as the core takes it, made without any wire.
func (s *Step) pure(bundle *decision.Bundle, caller decision.Caller, calls [][16]byte) *decision.Request {
	r, err := s.Ask.Request(bundle, caller)
	if err != nil {
		panic(err)
	}
	r.Principal.Issuer, r.Principal.Expires = "https://issuer.example.org", time.Now().Add(time.Minute)
	if s.Call > 0 && calls != nil {
		r.CallID = calls[s.Call-1]
	}
	return r
}

// decide answers one question with some stages and makes its effects true.
func (w *world) decide(t *testing.T, stages decision.Pipeline, bundle *decision.Bundle, req *decision.Request, id [16]byte) *writv1.DecideResponse {
	t.Helper()
	snap := &decision.Snapshot{At: w.now, Bundle: bundle, Control: w.control, Facts: decision.Facts{TokenUsed: w.tokens[req.Principal.Token], Used: w.used}}
	if ticket, ok := w.tickets[req.Ticket]; ok {
		copied := *ticket
		snap.Ticket = &copied
	}
	if call, ok := w.calls[req.CallID]; ok {
		snap.Call = &call
		if ticket, ok := w.tickets[call.Ticket]; ok {
			snap.Ticket = ticket
		}
	}
	d := stages.Decide(req, snap)
	entry, answer, err := audit.Decided(id, req, snap, &d)
	if err != nil {
		t.Fatal(err)
	}
	for _, effect := range d.Effects() {
		switch e := effect.(type) {
		case decision.Counting:
			beside := int64(0)
			for _, key := range e.Beside() {
				beside += w.used[key]
			}
			now, ok := e.Apply(w.used[e.Counter()], beside)
			if !ok {
				t.Fatalf("the guard of %+v fails", e)
			}
			w.used[e.Counter()] = now
		case decision.Redeem:
			w.tickets[e.Ticket].Uses++
		case decision.Consume:
			w.tokens[e.Token] = true
		}
	}
	if req.Phase == decision.Call {
		if w.calls[id], err = audit.CallFactsOf(entry.Row); err != nil {
			t.Fatal(err)
		}
	}
	return answer
}

// play runs a case through the pure core and returns the first difference.
func play(t *testing.T, stages decision.Pipeline, bundle *decision.Bundle, c *Case) string {
	t.Helper()
	w := newWorld(t, c, bundle)
	var ids [][16]byte
	var tokens [][32]byte
	for i := range c.Steps {
		id := [16]byte{6: 0x70, 8: 0x80, 15: byte(i + 1)}
		req := c.Steps[i].pure(bundle, caseCaller, ids)
		req.ID, req.Principal.Token = id, [32]byte{byte(i + 1)}
		if n := c.Steps[i].Token; n > 0 {
			req.Principal.Token = tokens[n-1]
		}
		ids, tokens = append(ids, id), append(tokens, req.Principal.Token)
		if diff := compare(w.decide(t, stages, bundle, req, id), c.Wants[i]); diff != "" {
			return fmt.Sprintf("step %d (-want +got):\n%s", i+1, diff)
		}
	}
	return ""
}

func TestCasesCore(t *testing.T) {
	bundle := sampleBundle(t)
	for _, c := range readCases(t) {
		t.Run(c.Name, func(t *testing.T) {
			if diff := play(t, stage.All, bundle, c); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// Every stage matters: without it, some case comes out differently.
func TestEveryStageMatters(t *testing.T) {
	bundle := sampleBundle(t)
	cases := readCases(t)
	for i, s := range stage.All {
		t.Run(s.Name, func(t *testing.T) {
			without := slices.Delete(slices.Clone(stage.All), i, i+1)
			for _, c := range cases {
				if play(t, without, bundle, c) != "" {
					return
				}
			}
			t.Errorf("no case notices that the stage %q is missing", s.Name)
		})
	}
}
