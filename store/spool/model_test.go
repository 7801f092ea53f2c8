package spool_test

import (
	"fmt"
	"testing"

	"pgregory.net/rapid"

	"github.com/writpdp/writ/server/audit"
	"github.com/writpdp/writ/server/decision"
)

// Whatever is asked in whatever order, early or not, over restarts: the answers
// are those of a ledger that commits one entry after the other.
func TestModel(t *testing.T) {
	rapid.Check(t, func(r *rapid.T) {
		p := newPlace(t)
		s, close := p.open()
		defer func() { close() }()
		requests, tokens := map[string]bool{}, map[string]bool{}
		var used, limit int64 = 0, 20
		n := 0
		commitAny := func(r *rapid.T) {
			request, token := fmt.Sprint(rapid.IntRange(0, 30).Draw(r, "request")), fmt.Sprint(rapid.IntRange(0, 40).Draw(r, "token"))
			amount := rapid.Int64Range(-6, 6).Draw(r, "amount")
			n++
			e := entry(t, request, token, fmt.Sprint(n), charge(amount, limit))
			e.Async = rapid.Bool().Draw(r, "async")
			want := "stale"
			switch {
			case requests[request]:
				want = "prior"
			case tokens[token] || amount > 0 && used+amount > limit:
			default:
				want = "committed"
				requests[request], tokens[token] = true, true
				used = max(0, used+amount)
			}
			got := commit(t, s, e)
			if got == "spooled" && e.Async {
				got = "committed"
			}
			if got != want {
				r.Fatalf("got %s, want %s", got, want)
			}
		}
		r.Repeat(map[string]func(*rapid.T){
			"commit": commitAny, "commit more": commitAny, "and more": commitAny,
			"read": func(r *rapid.T) {
				if got := know(t, s); got != used {
					r.Fatalf("the counter holds %d, want %d", got, used)
				}
			},
			"remembered": func(r *rapid.T) {
				facts, err := s.Snapshot(t.Context(), decision.Want{Tenant: "acme", Budgets: []decision.BudgetKey{calls}, Remembered: true})
				if err != nil || facts.Used[calls] != used {
					r.Fatalf("the counter is remembered as %d, %v; want %d", facts.Used[calls], err, used)
				}
			},
			"flush": func(r *rapid.T) {
				if err := s.Flush(t.Context()); err != nil {
					r.Fatal(err)
				}
			},
			"restart": func(*rapid.T) {
				close()
				s, close = p.open()
			},
			"": func(*rapid.T) { p.quiet() },
		})
		if err := s.Flush(t.Context()); err != nil {
			r.Fatal(err)
		}
		rows := 0
		if err := p.store.PendingRows(t.Context(), func(audit.Row) error { rows++; return nil }); err != nil || rows != len(requests) {
			r.Fatalf("%d records, %v; want %d", rows, err, len(requests))
		}
	})
}
