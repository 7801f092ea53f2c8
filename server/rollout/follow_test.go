package rollout_test

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"

	"github.com/google/go-cmp/cmp"

	"github.com/writpdp/writ/server/audit"
	"github.com/writpdp/writ/server/decision"
	"github.com/writpdp/writ/server/rollout"
	"github.com/writpdp/writ/store/sqlite"
)

// finding is a decision of one finding.
func finding(v decision.Verdict, code string) *decision.Decision {
	return &decision.Decision{Findings: []decision.Finding{{Stage: "policy", Verdict: v, Reasons: []decision.Reason{{Code: code}}}}}
}

var (
	allow = finding(decision.Permit, "policy.permit")
	deny  = finding(decision.Deny, "policy.forbid")
	fault = finding(decision.Deny, decision.CodePolicyError)
)

// session finds sessions that the candidate answers, or the live bundle.
func session(t *testing.T, r *replica, bundle string) *decision.Request {
	t.Helper()
	for i := range 10_000 {
		if req := request(fmt.Sprint("session ", i)); r.Bundle(req).Name == bundle {
			return req
		}
	}
	t.Fatalf("no session is answered by %s", bundle)
	return nil
}

func TestWithoutARollout(t *testing.T) {
	r := follow(t, place(t)())
	if r.Bundle(request("s")) != r.configured {
		t.Error("the configured bundle does not decide")
	}
	r.configured = load(t, "other")
	if r.Bundle(request("s")) != r.configured {
		t.Error("the configured bundle was kept")
	}
	r.Recorded(r.configured, deny)
	if diff := cmp.Diff(rollout.Status{}, r.Status()); diff != "" {
		t.Error(diff)
	}
}

func TestCanary(t *testing.T) {
	s := place(t)()
	activate(t, s, "a", rollout.Trial{})
	trial := tenth()
	trial.Tenants = []string{"acme"}
	activate(t, s, "b", trial)
	r := follow(t, s)
	in, out := session(t, r, "b"), session(t, r, "a")
	other := *in
	other.Caller.Tenant = "bolt"
	if got := r.Bundle(&other).Name; got != "a" {
		t.Errorf("another tenant is answered by %s", got)
	}
	activate(t, s, "b", rollout.Trial{})
	must(t, r.Look(t.Context()))
	for _, req := range []*decision.Request{in, out, &other} {
		if got := r.Bundle(req).Name; got != "b" {
			t.Errorf("after the canary %s answers", got)
		}
	}
}

// A shadow decides beside the live bundle for everybody, in the place of the live
// bundle's own.
func TestShadow(t *testing.T) {
	s := place(t)()
	activate(t, s, "a", rollout.Trial{})
	activate(t, s, "b", rollout.Trial{Mode: decision.Shadow, Margin: tenth().Margin})
	r := follow(t, s)
	b := r.Bundle(request("s"))
	if b.Name != "a" || b.Shadow == nil || b.Shadow.Name != "b" || b.Shadow.Shadow != nil {
		t.Fatalf("decided by %s with the shadow %v", b.Name, b.Shadow)
	}
	both := *allow
	both.Beside = deny
	r.Recorded(b, &both)
	r.Recorded(b, allow) // the shadow broke down
	got := r.Status()
	want := rollout.Status{Version: 2, Live: b.Digest, Candidate: b.Shadow.Digest,
		LiveCounts: rollout.Counts{Decisions: 2}, CandidateCounts: rollout.Counts{Decisions: 2, Denials: 2, Errors: 1}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("status (-want +got):\n%s", diff)
	}
	_, err := rollout.Rollback(t.Context(), s, by(t, "enough"))
	must(t, err)
	must(t, r.Look(t.Context()))
	if b := r.Bundle(request("s")); b.Name != "a" || b.Shadow != nil {
		t.Errorf("after the rollback: %s with the shadow %v", b.Name, b.Shadow)
	}
}

// A candidate that departs is taken out by whoever sees it, once, with the
// figures, and then nobody decides by it.
func TestHalt(t *testing.T) {
	for name, test := range map[string]struct {
		live, candidate *decision.Decision
		want            string // part of the reason; empty: it stays
	}{
		"denies": {allow, deny, "denied 100.00% of 100 decisions, the live bundle 0.00% of 1000; the margin is 5.00%"},
		"allows": {deny, allow, "denied 0.00% of 100"},
		"fails":  {deny, fault, "could not evaluate a policy in 100.00% of 100"},
		"agrees": {deny, deny, ""},
	} {
		t.Run(name, func(t *testing.T) {
			open := place(t)
			stores := []*sqlite.Store{open(), open()}
			activate(t, stores[0], "a", rollout.Trial{})
			activate(t, stores[0], "b", tenth())
			replicas := []*replica{follow(t, stores[0]), follow(t, stores[1])}
			for _, r := range replicas {
				live, candidate := r.Bundle(session(t, r, "a")), r.Bundle(session(t, r, "b"))
				for i := range 1000 {
					if r.Recorded(live, test.live); i < 99 {
						r.Recorded(candidate, test.candidate)
					}
				}
				must(t, r.Watch(t.Context()))
				if got := r.Status().Candidate; got == "" {
					t.Fatal("99 decisions were enough")
				}
				r.Recorded(candidate, test.candidate)
			}
			var wait sync.WaitGroup
			for _, r := range replicas {
				wait.Go(func() {
					if err := r.Watch(t.Context()); err != nil {
						t.Error(err)
					}
				})
			}
			wait.Wait()
			newest, err := rollout.Newest(t.Context(), stores[0])
			must(t, err)
			if test.want == "" {
				if newest.Rollout.Version != 2 {
					t.Errorf("it was halted: %s", newest.Reason)
				}
				return
			}
			if newest.Action != audit.Halt || newest.Actor != "replica" || !strings.Contains(newest.Reason, test.want) || newest.Rollout.Version != 3 {
				t.Errorf("the newest change: %+v", newest)
			}
			for i, r := range replicas {
				must(t, r.Look(t.Context()))
				if st := r.Status(); st.Candidate != "" || st.Version != 3 || st.LiveCounts != (rollout.Counts{}) {
					t.Errorf("replica %d: %+v", i, st)
				}
				for i := range 1000 {
					if got := r.Bundle(request(fmt.Sprint(i))).Name; got != "a" {
						t.Fatalf("%s still answers", got)
					}
				}
			}
		})
	}
}

// Decisions that began before a change and end after it count for nothing.
func TestCountsBelongToTheirVersion(t *testing.T) {
	s := place(t)()
	activate(t, s, "a", rollout.Trial{})
	activate(t, s, "b", tenth())
	r := follow(t, s)
	candidate := r.Bundle(session(t, r, "b"))
	activate(t, s, "c", tenth())
	must(t, r.Look(t.Context()))
	r.Recorded(candidate, deny)
	if st := r.Status(); st.CandidateCounts != (rollout.Counts{}) {
		t.Errorf("counted: %+v", st)
	}
}

// faulty is a store whose answers somebody has a hand in.
type faulty struct {
	*sqlite.Store
	rollout func(audit.Row, error) (audit.Row, error)
	archive func([]byte, error) ([]byte, error)
	commit  error
	reads   int // of archives
	hangs   bool
}

func (f *faulty) Commit(ctx context.Context, e audit.Entry) (audit.Receipt, error) {
	if f.commit != nil {
		return audit.Receipt{}, f.commit
	}
	return f.Store.Commit(ctx, e)
}

func (f *faulty) Rollout(ctx context.Context, version int64) (audit.Row, error) {
	if f.hangs {
		<-ctx.Done()
		return audit.Row{}, ctx.Err()
	}
	row, err := f.Store.Rollout(ctx, version)
	if f.rollout != nil {
		return f.rollout(row, err)
	}
	return row, err
}

func (f *faulty) Archive(ctx context.Context, digest [32]byte) ([]byte, error) {
	f.reads++
	packed, err := f.Store.Archive(ctx, digest)
	if f.archive != nil {
		return f.archive(packed, err)
	}
	return packed, err
}

// What cannot be loaded is not put into force: what was stays, the status says
// why, and a process that starts does not.
func TestKeepsTheLastThatLoads(t *testing.T) {
	for want, spoil := range map[string]func(*faulty){
		"not what was activated": func(f *faulty) { f.archive = func(b []byte, err error) ([]byte, error) { return append(b, 0), err } },
		"archive not found": func(f *faulty) {
			f.archive = func([]byte, error) ([]byte, error) { return nil, errors.New("archive not found") }
		},
		"the store is away": func(f *faulty) {
			f.rollout = func(audit.Row, error) (audit.Row, error) { return audit.Row{}, errors.New("the store is away") }
		},
		"reading a record": func(f *faulty) {
			f.rollout = func(row audit.Row, err error) (audit.Row, error) { row.Body = row.Body[1:]; return row, err }
		},
		"has lost version 1": func(f *faulty) {
			f.rollout = func(audit.Row, error) (audit.Row, error) { return audit.Row{}, audit.ErrNotFound }
		},
	} {
		t.Run(want, func(t *testing.T) {
			s := &faulty{Store: place(t)()}
			activate(t, s.Store, "a", rollout.Trial{})
			r := follow(t, s)
			activate(t, s.Store, "b", rollout.Trial{})
			spoil(s)
			for range 2 {
				if err := r.Look(t.Context()); err == nil || !strings.Contains(err.Error(), want) {
					t.Fatalf("got %v", err)
				}
			}
			if got := r.Bundle(request("s")).Name; got != "a" {
				t.Errorf("%s decides", got)
			}
			if st := r.Status(); st.Version != 1 || st.Err == nil || !strings.Contains(st.Err.Error(), want) {
				t.Errorf("status: %+v", st)
			}
			if want != "has lost version 1" {
				_, err := rollout.Follow(t.Context(), rollout.Config{Store: s, Now: r.now, Random: strings.NewReader(""), Report: func(rollout.Status) {}})
				if err == nil || !strings.Contains(err.Error(), want) {
					t.Errorf("another started: %v", err)
				}
			}
			s.archive, s.rollout = nil, nil
			r.later()
			must(t, r.Look(t.Context()))
			if got := r.Bundle(request("s")).Name; got != "b" || r.Status().Err != nil {
				t.Errorf("%s decides after it was mended: %v", got, r.Status().Err)
			}
		})
	}
}

// A bundle that is broken is not read over and over, and one that is loaded is
// not read again.
func TestReadsSparingly(t *testing.T) {
	s := &faulty{Store: place(t)()}
	activate(t, s.Store, "a", rollout.Trial{})
	r := follow(t, s)
	activate(t, s.Store, "b", tenth())
	must(t, r.Look(t.Context()))
	activate(t, s.Store, "b", rollout.Trial{})
	must(t, r.Look(t.Context()))
	must(t, r.Look(t.Context()))
	if s.reads != 2 {
		t.Errorf("archives of two bundles were read %d times", s.reads)
	}
	activate(t, s.Store, "c", rollout.Trial{})
	s.archive = func([]byte, error) ([]byte, error) { return []byte("x"), nil }
	for range 5 {
		if err := r.Look(t.Context()); err == nil {
			t.Error("no error")
		}
	}
	if s.reads != 3 {
		t.Errorf("a broken archive was read %d times", s.reads-2)
	}
}

// A store that does not answer is given up after a while, and said to be away.
func TestGivesUpOnAStoreThatHangs(t *testing.T) {
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		store, err := sqlite.Open(t.Context(), filepath.Join(dir, "writ.db"))
		must(t, err)
		s := &faulty{Store: store}
		activate(t, store, "a", rollout.Trial{})
		r := follow(t, s)
		s.hangs = true
		if err := r.Look(t.Context()); !errors.Is(err, context.DeadlineExceeded) || r.Status().Err == nil {
			t.Errorf("got %v, status %v", err, r.Status().Err)
		}
		if got := r.Bundle(request("s")).Name; got != "a" {
			t.Errorf("%s decides", got)
		}
		must(t, store.Close())
	})
}

// A store that was set back does not take a replica with it.
func TestNeverGoesBack(t *testing.T) {
	s := &faulty{Store: place(t)()}
	activate(t, s.Store, "a", rollout.Trial{})
	older, err := s.Store.Rollout(t.Context(), 0)
	must(t, err)
	activate(t, s.Store, "b", rollout.Trial{})
	r := follow(t, s)
	s.rollout = func(audit.Row, error) (audit.Row, error) { return older, nil }
	if err := r.Look(t.Context()); err == nil || !strings.Contains(err.Error(), "went back from version 2 to 1") {
		t.Errorf("got %v", err)
	}
	if got := r.Bundle(request("s")).Name; got != "b" {
		t.Errorf("%s decides", got)
	}
}

// A candidate that cannot be taken out is told of, and taken out later.
func TestHaltIsTriedAgain(t *testing.T) {
	s := &faulty{Store: place(t)()}
	activate(t, s.Store, "a", rollout.Trial{})
	activate(t, s.Store, "b", tenth())
	r := follow(t, s)
	live, candidate := r.Bundle(session(t, r, "a")), r.Bundle(session(t, r, "b"))
	for range 100 {
		r.Recorded(live, allow)
		r.Recorded(candidate, deny)
	}
	s.commit = errors.New("the store is read-only")
	if err := r.Watch(t.Context()); err == nil || !strings.Contains(err.Error(), "taking the candidate out: committing version 3") {
		t.Errorf("got %v", err)
	}
	if r.Status().Candidate == "" || r.Status().Err != nil {
		t.Errorf("status: %+v", r.Status())
	}
	s.commit = nil
	must(t, r.Watch(t.Context()))
	if r.Status().Candidate == "" {
		t.Error("it was tried again at once")
	}
	r.later()
	must(t, r.Watch(t.Context()))
	if got := r.Status(); got.Candidate != "" || got.Version != 3 {
		t.Errorf("status: %+v", got)
	}
}
