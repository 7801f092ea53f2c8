package lane_test

import (
	"context"
	"errors"
	"fmt"
	"math"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/writpdp/writ/server/audit"
	"github.com/writpdp/writ/server/decision"
	"github.com/writpdp/writ/store/lane"
)

// ok answers every entry by its own body.
func ok(entries []audit.Entry) []lane.Outcome {
	out := make([]lane.Outcome, len(entries))
	for i := range entries {
		out[i].Receipt.Prior = entries[i].Body
	}
	return out
}

func TestEachCallerGetsItsOwnOutcome(t *testing.T) {
	l := lane.New(ok, lane.Config{})
	defer l.Close(t.Context())
	var wait sync.WaitGroup
	for i := range 200 {
		wait.Go(func() {
			receipt, err := l.Commit(t.Context(), entry(fmt.Sprint(i), byte(i)))
			if err != nil {
				t.Error(err)
				return
			}
			if got, want := receipt.Prior[0], byte(i); got != want {
				t.Errorf("got the outcome of %d, want that of %d", got, want)
			}
		})
	}
	wait.Wait()
}

func TestWhatComesDuringAFlushIsOneBatch(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		gate := make(chan struct{})
		var sizes []int
		l := lane.New(func(entries []audit.Entry) []lane.Outcome {
			sizes = append(sizes, len(entries))
			<-gate
			return ok(entries)
		}, lane.Config{Batch: 10})
		var wait sync.WaitGroup
		commit := func(i int) {
			wait.Go(func() {
				if _, err := l.Commit(t.Context(), entry(fmt.Sprint(i), byte(i))); err != nil {
					t.Error(err)
				}
			})
		}
		commit(0)
		synctest.Wait() // the first is being flushed, alone
		for i := range 25 {
			commit(i + 1)
		}
		synctest.Wait()
		close(gate)
		wait.Wait()
		if err := l.Close(t.Context()); err != nil {
			t.Error(err)
		}
		if diff := cmp.Diff([]int{1, 10, 10, 5}, sizes); diff != "" {
			t.Errorf("batches (-want +got):\n%s", diff)
		}
	})
}

func TestBatchesAreBoundedInBytes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		gate := make(chan struct{})
		var sizes []int
		l := lane.New(func(entries []audit.Entry) []lane.Outcome {
			sizes = append(sizes, len(entries))
			<-gate
			return ok(entries)
		}, lane.Config{BatchBytes: 100, QueueBytes: 400})
		var wait sync.WaitGroup
		var full atomic.Int64
		for i := range 12 {
			wait.Go(func() {
				e := entry(fmt.Sprint(i), byte(i))
				e.Body = make([]byte, 40)
				switch _, err := l.Commit(t.Context(), e); {
				case errors.Is(err, audit.ErrFull):
					full.Add(1)
				case err != nil:
					t.Error(err)
				}
			})
			synctest.Wait()
		}
		close(gate)
		wait.Wait()
		if diff := cmp.Diff([]int{1, 3, 3, 3, 1}, sizes); diff != "" {
			t.Errorf("batches (-want +got):\n%s", diff)
		}
		if got, want := full.Load(), int64(1); got != want {
			t.Errorf("%d callers met a full queue, want %d", got, want)
		}
		l.Close(t.Context())
	})
}

func TestAFullQueueRefuses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		gate := make(chan struct{})
		l := lane.New(func(entries []audit.Entry) []lane.Outcome { <-gate; return ok(entries) }, lane.Config{Queue: 2})
		var wait sync.WaitGroup
		for i := range 3 { // one is being flushed, two wait
			wait.Go(func() {
				if _, err := l.Commit(t.Context(), entry(fmt.Sprint(i), byte(i))); err != nil {
					t.Error(err)
				}
			})
			synctest.Wait()
		}
		if _, err := l.Commit(t.Context(), entry("x", 9)); !errors.Is(err, audit.ErrFull) {
			t.Errorf("got %v, want %v", err, audit.ErrFull)
		}
		close(gate)
		wait.Wait()
		if _, err := l.Commit(t.Context(), entry("x", 9)); err != nil {
			t.Errorf("after the queue has drained: %v", err)
		}
		l.Close(t.Context())
	})
}

func TestACallerWhoLeavesLeavesAlone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		gate := make(chan struct{})
		var flushed atomic.Int64
		l := lane.New(func(entries []audit.Entry) []lane.Outcome {
			<-gate
			flushed.Add(int64(len(entries)))
			return ok(entries)
		}, lane.Config{})
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, err := l.Commit(ctx, entry("a", 1)); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("got %v, want %v", err, context.DeadlineExceeded)
		}
		close(gate)
		if err := l.Close(t.Context()); err != nil {
			t.Error(err)
		}
		if got, want := flushed.Load(), int64(1); got != want {
			t.Errorf("%d entries flushed, want %d", got, want)
		}
	})
}

func TestCloseDrains(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		gate := make(chan struct{})
		l := lane.New(func(entries []audit.Entry) []lane.Outcome { <-gate; return ok(entries) }, lane.Config{Batch: 1})
		var wait sync.WaitGroup
		for i := range 5 {
			wait.Go(func() {
				if _, err := l.Commit(t.Context(), entry(fmt.Sprint(i), byte(i))); err != nil {
					t.Error(err)
				}
			})
		}
		synctest.Wait()
		soon, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if err := l.Close(soon); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("closing a stuck lane: got %v, want %v", err, context.DeadlineExceeded)
		}
		if _, err := l.Commit(t.Context(), entry("late", 9)); !errors.Is(err, lane.ErrClosed) {
			t.Errorf("got %v, want %v", err, lane.ErrClosed)
		}
		close(gate)
		wait.Wait()
		if err := l.Close(t.Context()); err != nil {
			t.Error(err)
		}
	})
}

func TestAMissingOutcomeIsAnError(t *testing.T) {
	l := lane.New(func([]audit.Entry) []lane.Outcome { return nil }, lane.Config{})
	defer l.Close(t.Context())
	if _, err := l.Commit(t.Context(), entry("a", 1)); err == nil {
		t.Error("no error")
	}
}

func TestCheckRefuses(t *testing.T) {
	for name, spoil := range map[string]func(*audit.Entry){
		"no tenant":                         func(e *audit.Entry) { e.Tenant = "" },
		"no key":                            func(e *audit.Entry) { e.Key = "" },
		"NUL":                               func(e *audit.Entry) { e.Principal = "a\x00b" },
		"not UTF-8":                         func(e *audit.Entry) { e.Caller = "\xff" },
		"a long session":                    func(e *audit.Entry) { e.Session = string(make([]byte, 129)) },
		"no kind":                           func(e *audit.Entry) { e.Kind = 0 },
		"no body":                           func(e *audit.Entry) { e.Body = nil },
		"a large body":                      func(e *audit.Entry) { e.Body = make([]byte, audit.MaxBody+1) },
		"a far time":                        func(e *audit.Entry) { e.At = time.Unix(1<<60, 0) },
		"a token twice":                     func(e *audit.Entry) { e.Effects = []decision.Effect{consume(1), consume(1)} },
		"a ticket twice":                    func(e *audit.Entry) { e.Effects = []decision.Effect{redeem("t"), redeem("t")} },
		"a ticket in no state":              func(e *audit.Entry) { e.Effects = []decision.Effect{change("t", 1, 0)} },
		"a ticket's state that is not kept": func(e *audit.Entry) { e.Effects = []decision.Effect{change("t", 1, decision.TicketExpired)} },
		"a ticket of no version":            func(e *audit.Entry) { e.Effects = []decision.Effect{change("t", 0, decision.TicketApproved)} },
		"a ticket of no name":               func(e *audit.Entry) { e.Effects = []decision.Effect{change("", 1, decision.TicketApproved)} },
		"a ticket after something":          func(e *audit.Entry) { e.Effects = append(e.Effects, change("t", 1, decision.TicketApproved)) },
		"no version":                        func(e *audit.Entry) { e.Effects = []decision.Effect{turn(0)} },
		"two versions":                      func(e *audit.Entry) { e.Effects = []decision.Effect{turn(1), turn(2)} },
		"a version and more":                func(e *audit.Entry) { e.Effects = append(e.Effects, turn(1)) },
		"no ticket":                         func(e *audit.Entry) { e.Effects = []decision.Effect{redeem("")} },
		"no budget":                         func(e *audit.Entry) { e.Effects = []decision.Effect{decision.Charge{}} },
		"an unknown effect":                 func(e *audit.Entry) { e.Effects = []decision.Effect{&decision.Redeem{Ticket: "t"}} },
		"a nil effect":                      func(e *audit.Entry) { e.Effects = []decision.Effect{nil} },
		"many effects":                      func(e *audit.Entry) { e.Effects = make([]decision.Effect, 257) },
		"a far window": func(e *audit.Entry) {
			e.Effects = []decision.Effect{decision.Charge{Key: decision.BudgetKey{Budget: "b", Start: math.MaxInt64}}}
		},
		"a far expiry": func(e *audit.Entry) {
			e.Effects = []decision.Effect{decision.Consume{Expires: time.Unix(1<<50, 0)}}
		},
	} {
		t.Run(name, func(t *testing.T) {
			e := entry("a", 1, spend(1, 1), consume(1), redeem("t"))
			if err := lane.Check(&e); err != nil {
				t.Fatalf("before: %v", err)
			}
			spoil(&e)
			if err := lane.Check(&e); err == nil {
				t.Error("no error")
			}
		})
	}
}

// Many at once keep their order, find their own outcomes, and wait for room where
// the queue is shorter than they are.
func TestCommitAll(t *testing.T) {
	var order []string
	l := lane.New(func(entries []audit.Entry) []lane.Outcome {
		for i := range entries {
			order = append(order, entries[i].Key)
		}
		return ok(entries)
	}, lane.Config{Batch: 3, Queue: 5})
	var entries []audit.Entry
	var want []string
	for i := range 100 {
		entries = append(entries, entry(fmt.Sprint(i), byte(i)))
		want = append(want, fmt.Sprint(i))
	}
	for i, o := range l.CommitAll(entries) {
		if o.Err != nil || o.Receipt.Prior[0] != byte(i) {
			t.Fatalf("outcome %d: %v", i, o)
		}
	}
	if diff := cmp.Diff(want, order); diff != "" {
		t.Errorf("order (-want +got):\n%s", diff)
	}
	broken := entry("", 1)
	outcomes := l.CommitAll([]audit.Entry{entry("a", 1), broken, entry("b", 2)})
	if outcomes[0].Err != nil || outcomes[1].Err == nil || outcomes[2].Err != nil {
		t.Errorf("an entry that cannot be stored, between two: %v", outcomes)
	}
	if err := l.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got := l.CommitAll([]audit.Entry{entry("a", 1)})[0].Err; !errors.Is(got, lane.ErrClosed) {
		t.Errorf("on a closed lane: %v", got)
	}
}
