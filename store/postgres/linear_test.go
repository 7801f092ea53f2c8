package postgres_test

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"github.com/anishathalye/porcupine"
	"github.com/gofrs/uuid/v5"
	"github.com/jackc/pgx/v5"

	"github.com/writpdp/writ/server/audit"
	"github.com/writpdp/writ/server/decision"
	"github.com/writpdp/writ/server/ticket"
	"github.com/writpdp/writ/store/postgres"
	"github.com/writpdp/writ/store/storetest"
	"github.com/writpdp/writ/test/pgtest"
)

// What callers of three replicas saw of one budget, one ticket and a few tokens must
// be what one caller could have seen of a single machine: each operation at one
// moment between its call and its return. An allow needs room at that moment, and a
// denial that there was none.

const (
	linearCap  = 40
	linearUses = 5
)

// operation is what a caller does. With Read it looks; with Revoke it revokes the
// ticket; else it commits an entry.
type operation struct {
	Read, Revoke bool
	Key          int   // of the request
	Amount       int64 // charged; negative: given back
	Token        int   // used up; -1: none
	Redeem       bool
}

type outcome uint8

const (
	unknown outcome = iota
	committed
	replayed
	refused
)

// seen is what came of it.
type seen struct {
	Outcome    outcome
	Used, Uses int64 // of a look
	Revoked    bool
}

// machine is the single machine's state.
type machine struct {
	used, uses   int64
	revoked      bool
	tokens, keys uint64 // one bit each
}

// take is the state after an operation, and what comes of it.
func (m machine) take(o operation) (machine, outcome) {
	key := uint64(1) << o.Key
	switch {
	case o.Revoke:
		m.revoked = true
		return m, committed
	case m.keys&key != 0:
		return m, replayed
	case o.Amount > 0 && m.used+o.Amount > linearCap, o.Redeem && (m.revoked || m.uses >= linearUses),
		o.Token >= 0 && m.tokens&(1<<o.Token) != 0:
		return m, refused
	}
	m.keys |= key
	m.used = max(0, m.used+o.Amount)
	if o.Redeem {
		m.uses++
	}
	if o.Token >= 0 {
		m.tokens |= 1 << o.Token
	}
	return m, committed
}

var linear = porcupine.NondeterministicModel{
	Init: func() []any { return []any{machine{}} },
	Step: func(state, input, output any) []any {
		m, o, s := state.(machine), input.(operation), output.(seen)
		if o.Read {
			if s.Outcome != unknown && (s.Used != m.used || s.Uses != m.uses || s.Revoked != m.revoked) {
				return nil
			}
			return []any{m}
		}
		after, came := m.take(o)
		switch {
		case s.Outcome == unknown:
			return []any{m, after} // it may have happened, or may yet, or never will
		case s.Outcome != came:
			return nil
		}
		return []any{after}
	},
	DescribeOperation: func(input, output any) string { return fmt.Sprintf("%+v: %+v", input, output) },
	DescribeState:     func(state any) string { return fmt.Sprintf("%+v", state) },
}

// history is drawn by a seed, but for the times at which things happen.
type history struct {
	t      *testing.T
	stores []*postgres.Store
	start  time.Time
	budget decision.BudgetKey
	ticket string
	name   string

	mu  sync.Mutex // guards all
	all []porcupine.Operation
}

func draw(r *rand.Rand) operation {
	o := operation{Key: r.IntN(60), Token: -1}
	switch n := r.IntN(20); {
	case n < 4:
		return operation{Read: true}
	case n == 4:
		revoke := r.IntN(8) == 0
		return operation{Revoke: revoke, Read: !revoke}
	}
	if o.Amount = 1 + r.Int64N(7); r.IntN(5) == 0 {
		o.Amount = -o.Amount
	}
	if r.IntN(3) == 0 {
		o.Token = r.IntN(8)
	}
	o.Redeem = r.IntN(4) == 0
	return o
}

func (h *history) do(s *postgres.Store, o operation) seen {
	ctx := h.t.Context()
	switch {
	case o.Revoke:
		if _, err := ticket.Revoke(ctx, s, h.ticket, desk()); err != nil {
			return seen{} // also where it was revoked before
		}
		return seen{Outcome: committed}
	case o.Read:
		facts, err := s.Snapshot(ctx, decision.Want{Tenant: "acme", Ticket: h.ticket, Budgets: []decision.BudgetKey{h.budget}})
		if err != nil || facts.Ticket == nil {
			return seen{}
		}
		return seen{Outcome: committed, Used: facts.Used[h.budget], Uses: facts.Ticket.Uses, Revoked: facts.Ticket.State == decision.TicketRevoked}
	}
	receipt, err := s.Commit(ctx, h.entry(o))
	switch {
	case errors.Is(err, audit.ErrStale):
		return seen{Outcome: refused}
	case err != nil:
		return seen{}
	case receipt.Prior != nil:
		return seen{Outcome: replayed}
	}
	return seen{Outcome: committed}
}

// desk is who makes tickets and takes them back.
func desk() ticket.By {
	id := uuid.Must(uuid.NewV7())
	return ticket.By{Caller: decision.Caller{Tenant: "acme"}, Actor: "desk", Reason: "A test.", Source: "test", Key: id.String(), At: time.Now(), ID: id}
}

// entry is another record each time, of the same request for the same key: what the
// record says is the operation's, and the first to commit decides.
func (h *history) entry(o operation) audit.Entry {
	e := storetest.Load(rand.Uint64(), h.budget)
	e.Key, e.Digest = fmt.Sprintf("%s %d", h.name, o.Key), sha256.Sum256([]byte(h.name))
	e.Effects = []decision.Effect{decision.Charge{Key: h.budget, Amount: o.Amount, Cap: linearCap}}
	if o.Redeem {
		e.Effects = append(e.Effects, decision.Redeem{Ticket: h.ticket, Version: 1})
	}
	if o.Token >= 0 {
		e.Effects = append(e.Effects, decision.Consume{Token: sha256.Sum256(fmt.Appendf(nil, "%s %d", h.name, o.Token)), Expires: time.Now().Add(time.Hour)})
	}
	return e
}

// TestLinearizable has nine callers on three replicas; while every other history is
// made, their connections are terminated.
func TestLinearizable(t *testing.T) {
	dsn := pgtest.DSN(t)
	stores := []*postgres.Store{openNew(t, dsn), openNew(t, dsn), openNew(t, dsn)}
	saboteur := admin(t, dsn)
	const histories, workers, each = 20, 9, 30
	var all [histories]*history
	now := time.Now().UTC()
	for seed := range all {
		h := &history{t: t, stores: stores, start: now, budget: decision.BudgetKey{Budget: "linear", Subject: fmt.Sprint(seed)},
			ticket: fmt.Sprint("T-", seed), name: fmt.Sprint("history ", seed)}
		_, err := ticket.Create(t.Context(), stores[0], decision.Ticket{ID: h.ticket, Principal: "agent", Tool: decision.ToolName{Server: "s", Name: "t"},
			NotBefore: now, NotAfter: now.Add(time.Hour), MaxUses: linearUses, Approvers: []string{"ann"}}, desk())
		if err != nil {
			t.Fatal(err)
		}
		all[seed] = h
	}
	total, tally := 0, map[outcome]int{}
	for seed, h := range all {
		done := make(chan struct{})
		harmed := make(chan int, 1)
		go func() {
			n := 0
			if seed%2 == 1 {
				n = terminate(t, saboteur, done)
			}
			harmed <- n
		}()
		h.run(uint64(seed), workers, each)
		close(done)
		n := <-harmed
		for _, o := range h.all {
			tally[o.Output.(seen).Outcome]++
		}
		total += len(h.all)
		if got := porcupine.CheckOperationsTimeout(linear.ToModel(), h.all, time.Minute); got != porcupine.Ok {
			t.Fatalf("history %d, with %d connections terminated: %s", seed, n, got)
		}
	}
	t.Logf("%d histories of %d operations on 3 replicas: %d committed, %d refused, %d replayed, %d unknown",
		histories, total, tally[committed], tally[refused], tally[replayed], tally[unknown])
	for _, o := range []outcome{committed, refused, replayed} {
		if tally[o] < total/50 {
			t.Errorf("only %d operations had the outcome %d", tally[o], o)
		}
	}
	for _, s := range stores {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	}
}

func (h *history) run(seed uint64, workers, each int) {
	var wait sync.WaitGroup
	for w := range workers {
		r := rand.New(rand.NewPCG(seed, uint64(w)))
		wait.Go(func() {
			for range each {
				o := draw(r)
				called := int64(time.Since(h.start))
				s := h.do(h.stores[w%len(h.stores)], o)
				returned := int64(time.Since(h.start))
				if s.Outcome == unknown {
					returned = math.MaxInt64
				}
				h.mu.Lock()
				h.all = append(h.all, porcupine.Operation{ClientId: w, Input: o, Call: called, Output: s, Return: returned})
				h.mu.Unlock()
			}
		})
	}
	wait.Wait()
}

// terminate ends connections that work, until done.
func terminate(t *testing.T, conn *pgx.Conn, done <-chan struct{}) (n int) {
	again := time.NewTicker(20 * time.Millisecond)
	defer again.Stop()
	for {
		select {
		case <-done:
			return n
		case <-again.C:
		}
		var hit bool
		err := conn.QueryRow(context.WithoutCancel(t.Context()),
			"SELECT coalesce((SELECT pg_terminate_backend(pid) FROM ("+busy+") AS b (pid) WHERE pid > 0), false)").Scan(&hit)
		if err != nil {
			t.Error(err)
			return n
		}
		if hit {
			n++
		}
	}
}

// TestTheModelRefuses holds the model against histories that no single machine
// makes, and one that it does.
func TestTheModelRefuses(t *testing.T) {
	op := func(at int64, o operation, s seen) porcupine.Operation {
		return porcupine.Operation{ClientId: int(at), Input: o, Call: 10 * at, Output: s, Return: 10*at + 5}
	}
	spend := func(key int, n int64) operation { return operation{Key: key, Amount: n, Token: -1} }
	token := func(key int) operation { return operation{Key: key, Token: 3} }
	redeem := func(key int) operation { return operation{Key: key, Token: -1, Redeem: true} }
	yes, no, again := seen{Outcome: committed}, seen{Outcome: refused}, seen{Outcome: replayed}
	var redeemed []porcupine.Operation
	for i := range linearUses + 1 {
		redeemed = append(redeemed, op(int64(i), redeem(i), yes))
	}
	for name, c := range map[string]struct {
		all  []porcupine.Operation
		want bool
	}{
		"up to the cap":           {[]porcupine.Operation{op(0, spend(0, 40), yes), op(1, spend(1, 1), no), op(2, spend(0, 40), again)}, true},
		"over the cap":            {[]porcupine.Operation{op(0, spend(0, 40), yes), op(1, spend(1, 1), yes)}, false},
		"denied with room":        {[]porcupine.Operation{op(0, spend(0, 30), yes), op(1, spend(1, 5), no)}, false},
		"a token twice":           {[]porcupine.Operation{op(0, token(0), yes), op(1, token(1), yes)}, false},
		"a retry decided anew":    {[]porcupine.Operation{op(0, spend(0, 1), yes), op(1, spend(0, 1), yes)}, false},
		"a replay of nothing":     {[]porcupine.Operation{op(0, spend(0, 1), again)}, false},
		"a ticket once too often": {redeemed, false},
		"redeemed when revoked":   {[]porcupine.Operation{op(0, operation{Revoke: true}, yes), op(1, redeem(1), yes)}, false},
		"a look at the past":      {[]porcupine.Operation{op(0, spend(0, 9), yes), op(1, operation{Read: true}, seen{Outcome: committed})}, false},
		"lost, and then found":    {[]porcupine.Operation{op(0, spend(0, 9), seen{}), op(1, spend(0, 9), again)}, true},
	} {
		if got := porcupine.CheckOperations(linear.ToModel(), c.all); got != c.want {
			t.Errorf("%s: got %t, want %t", name, got, c.want)
		}
	}
}
