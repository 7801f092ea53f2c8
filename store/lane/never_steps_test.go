package lane_test

import (
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/writpdp/writ/server/audit"
	"github.com/writpdp/writ/server/decision"
	"github.com/writpdp/writ/store/lane"
)

var neverOver struct{ steps, decisions, settlements, tokens atomic.Int64 }

func TestNeverOver(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		w := newRealm()
		step := func(f func(*rapid.T)) func(*rapid.T) {
			return func(t *rapid.T) {
				neverOver.steps.Add(1)
				f(t)
			}
		}
		t.Repeat(map[string]func(*rapid.T){
			"": w.holds,
			// Twice, for it is what there is most of.
			"reserve": step(w.reserve), "reserve too": step(w.reserve), "retry": step(w.retry), "reuse": step(w.reuse), "settle": step(w.settle), "lapse": step(w.lapse),
			"flush 0": step(func(t *rapid.T) { w.flush(t, 0) }), "flush 1": step(func(t *rapid.T) { w.flush(t, 1) }),
			"crash":  step(w.crash),
			"expire": step(w.expire),
		})
		for key := range w.disk.records {
			if key.Kind == audit.Settlement {
				neverOver.settlements.Add(1)
			} else {
				neverOver.decisions.Add(1)
			}
		}
		neverOver.tokens.Add(int64(len(w.consumed)))
	})
	fmt.Printf("never over: %d steps, %d decisions, %d settlements, %d tokens used up\n", neverOver.steps.Load(), neverOver.decisions.Load(),
		neverOver.settlements.Load(), neverOver.tokens.Load())
}

func (w *realm) queue(t *rapid.T, q func(replica int) queued) {
	replica := rapid.IntRange(0, 1).Draw(t, "replica")
	w.replicas[replica].queue = append(w.replicas[replica].queue, q(replica))
}

func (w *realm) reserve(t *rapid.T) {
	r := &request{key: fmt.Sprint("request ", len(w.requests)), human: rapid.SampledFrom([]string{"ann", "bob"}).Draw(t, "human"),
		token: rapid.Byte().Draw(t, "token"), ticket: rapid.IntRange(0, 4).Draw(t, "ticket") == 0, cost: drawCost(t)}
	if rapid.Bool().Draw(t, "shared") {
		r.token %= 8
	}
	if rapid.Bool().Draw(t, "lapses") {
		r.lapses = w.now.Add(time.Hour)
	}
	w.requests = append(w.requests, r)
	w.queue(t, func(replica int) queued { return w.decide(replica, r) })
}

func drawCost(t *rapid.T) decision.Cost {
	c := decision.Cost{Calls: rapid.Int64Range(0, 2).Draw(t, "calls"), Tokens: rapid.Int64Range(0, 60).Draw(t, "tokens"),
		Micros: rapid.OneOf(rapid.Int64Range(0, 3), rapid.Int64Range(1<<50, 1<<54)).Draw(t, "micros")}
	if c.Micros > 0 {
		c.Currency = "EUR"
	}
	return c
}

// any is a request that was asked, or the action is skipped.
func (w *realm) any(t *rapid.T) *request {
	if len(w.requests) == 0 {
		t.Skip("nothing was asked")
	}
	return w.requests[rapid.IntRange(0, len(w.requests)-1).Draw(t, "request")]
}

func (w *realm) retry(t *rapid.T) {
	r := w.any(t)
	w.queue(t, func(replica int) queued { return w.decide(replica, r) })
}

// reuse asks something else under a request's key, which must change nothing once
// that is answered.
func (w *realm) reuse(t *rapid.T) {
	r := w.any(t)
	if r.answer == "" {
		t.Skip("it is not answered")
	}
	q := w.decide(0, r)
	q.entry.Digest = [32]byte{2}
	outcomes, writes := lane.Plan(w.disk.state(lane.NeedsOf([]audit.Entry{q.entry})), []audit.Entry{q.entry})
	if outcomes[0].Err != audit.ErrReused || !writes.Empty() {
		t.Fatalf("another request under the key %s: %v", r.key, outcomes[0].Err)
	}
}

// settle reports what an allowed action cost, on facts that may be old.
func (w *realm) settle(t *rapid.T) {
	r := w.any(t)
	if len(r.reserved) == 0 {
		t.Skip("it was not allowed")
	}
	actual, remembered := drawCost(t), rapid.Bool().Draw(t, "remembered")
	w.queue(t, func(replica int) queued {
		var keys []decision.BudgetKey
		for _, reservation := range r.reserved {
			keys = append(keys, reservation.Key)
		}
		q := queued{of: r, entry: w.entry(audit.Settlement, r.key)}
		q.entry.Effects = decision.Settle(r.reserved, actual, w.facts(replica, keys, remembered).Used).Effects
		return q
	})
}

// lapse gives back what nobody has settled in time, once: whoever settles it too finds
// it settled.
func (w *realm) lapse(t *rapid.T) {
	r := w.any(t)
	if len(r.reserved) == 0 || r.lapses.IsZero() || w.now.Before(r.lapses) {
		t.Skip("nothing has lapsed")
	}
	w.queue(t, func(replica int) queued {
		var keys []decision.BudgetKey
		for _, reservation := range r.reserved {
			keys = append(keys, reservation.Key)
		}
		q := queued{of: r, entry: w.entry(audit.Settlement, r.key)}
		q.entry.Digest = [32]byte{3}
		q.entry.Effects = decision.Lapse(r.reserved, w.facts(replica, keys, false).Used).Effects
		return q
	})
}

// expire lets time pass: windows end, what is reserved lapses, and stores forget the
// tokens of hours that are over.
func (w *realm) expire(t *rapid.T) {
	w.now = w.now.Add(time.Duration(rapid.IntRange(1, 90).Draw(t, "minutes")) * time.Minute)
	if !rapid.Bool().Draw(t, "forget") {
		return
	}
	w.disk.horizon = max(w.disk.horizon, lane.HorizonAt(w.now))
	slot := lane.LastSlot(w.disk.horizon)
	for token, expires := range w.disk.tokens {
		if lane.SlotOf(expires) == slot && lane.HourOf(expires) < w.disk.horizon {
			delete(w.disk.tokens, token)
		}
	}
}
