package main

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/gofrs/uuid/v5"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"golang.org/x/sync/errgroup"

	"github.com/writpdp/writ/server/audit"
	"github.com/writpdp/writ/server/decision"
	"github.com/writpdp/writ/store/postgres"
)

// The ways to count on one counter that everybody charges. They are measured as
// servers are, and are none.
const (
	hotNaive = "naive"  // a transaction for each decision
	hotOne   = "hot"    // one store
	hotThree = "hot x3" // three stores, as three replicas have
)

var hotWays = []string{hotNaive, hotOne, hotThree}

// hotCallers charge the counter at once.
const hotCallers = 64

// A decision that is a transaction of its own: the counter's guard, and where it
// holds, the record.
const (
	naiveChargeSQL = `UPDATE naive_use SET used = used + $2 WHERE budget = $1 AND used + $2 <= $3`

	naiveRecordSQL = `INSERT INTO naive_record (tenant, id, kind, key, digest, at, caller, principal, session, purpose,
		phase, server, tool, outcome, ticket, bundle, body, leaf)
	VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18)`
)

// hotCap is one that no run exhausts.
const hotCap = 1 << 40

// budget measures the figures of one hot counter, if one is wanted, in turns on one
// database.
func (b *bench) budget(ctx context.Context, wanted []figure) error {
	if !slices.ContainsFunc(wanted, func(f figure) bool { return f.uses(hotOne) }) {
		return nil
	}
	d, err := createDatabase(ctx, b.dsn)
	if err != nil {
		return err
	}
	b.drops = append(b.drops, d.drop)
	b.note("%s; one counter, %d callers in this process", d.settings, hotCallers)
	h := &hot{dsn: d.dsn}
	if err := h.prepare(ctx); err != nil {
		return err
	}
	defer h.naive.Close()
	ways := slices.DeleteFunc(slices.Clone(hotWays), func(way string) bool {
		return !slices.ContainsFunc(wanted, func(f figure) bool { return f.uses(way) })
	})
	for range b.settings.rounds {
		for _, way := range ways {
			s, err := h.measure(ctx, way, b.seconds)
			if err != nil {
				return fmt.Errorf("measuring one hot counter: %w", err)
			}
			l := load{way, hotCallers}
			b.results.samples[l] = append(b.results.samples[l], s)
		}
	}
	for _, way := range ways {
		l := load{way, hotCallers}
		b.note("%s, %d callers: %.0f/s, p50 %.2f ms, p99 %.2f ms", way, hotCallers, b.results.median(l, rate),
			1e3*b.results.median(l, p50), 1e3*b.results.median(l, p99))
	}
	return nil
}

// hot is one counter in a database.
type hot struct {
	dsn   string
	naive *pgxpool.Pool
	turns int // so far: each has a counter of its own
}

func (h *hot) prepare(ctx context.Context) error {
	c, err := pgxpool.ParseConfig(h.dsn)
	if err != nil {
		return errors.New("reading the connection string") // the error would quote its password
	}
	c.MaxConns = hotCallers
	if h.naive, err = pgxpool.NewWithConfig(ctx, c); err != nil {
		return fmt.Errorf("connecting to PostgreSQL: %w", err)
	}
	for _, text := range []string{
		`CREATE TABLE naive_record (LIKE record INCLUDING ALL)`,
		`CREATE TABLE naive_use (budget text PRIMARY KEY, used bigint NOT NULL) WITH (fillfactor = 50)`,
	} {
		if _, err := h.naive.Exec(ctx, text); err != nil {
			h.naive.Close()
			return fmt.Errorf("creating tables: %w", err)
		}
	}
	return nil
}

// measure charges a new counter for some seconds, of which the first tenth does not
// count. What the counter holds at the end must be what was charged.
func (h *hot) measure(ctx context.Context, way string, seconds float64) (sample, error) {
	h.turns++
	key := decision.BudgetKey{Budget: fmt.Sprint("hot-", h.turns), Subject: `"bench"`}
	if way == hotNaive {
		if _, err := h.naive.Exec(ctx, `INSERT INTO naive_use (budget, used) VALUES ($1, 0)`, key.Budget); err != nil {
			return sample{}, err
		}
		s, n, err := charge(ctx, key, seconds, func(ctx context.Context, _ int, e *audit.Entry) error { return h.naively(ctx, e) })
		return s, errors.Join(err, h.holds(ctx, n, `SELECT used FROM naive_use WHERE budget = $1`, key.Budget))
	}
	stores := make([]*postgres.Store, 1)
	if way == hotThree {
		stores = make([]*postgres.Store, 3)
	}
	for i := range stores {
		var err error
		if stores[i], err = postgres.Open(ctx, h.dsn); err != nil {
			return sample{}, err
		}
	}
	s, n, err := charge(ctx, key, seconds, func(ctx context.Context, caller int, e *audit.Entry) error {
		_, err := stores[caller%len(stores)].Commit(ctx, *e)
		return err
	})
	for _, store := range stores {
		err = errors.Join(err, store.Close())
	}
	return s, errors.Join(err, h.holds(ctx, n, `SELECT used FROM budget_use WHERE budget = $1`, key.Budget))
}

func (h *hot) holds(ctx context.Context, want int64, text string, args ...any) error {
	var got int64
	if err := h.naive.QueryRow(ctx, text, args...).Scan(&got); err != nil {
		return err
	}
	if got != want {
		return fmt.Errorf("the counter holds %d after %d charges", got, want)
	}
	return nil
}

func (h *hot) naively(ctx context.Context, e *audit.Entry) error {
	c := e.Effects[0].(decision.Charge)
	return pgx.BeginFunc(ctx, h.naive, func(tx pgx.Tx) error {
		tag, err := tx.Exec(ctx, naiveChargeSQL, c.Key.Budget, c.Amount, c.Cap)
		if err == nil && tag.RowsAffected() != 1 {
			err = errors.New("a charge was refused")
		}
		if err != nil {
			return err
		}
		_, err = tx.Exec(ctx, naiveRecordSQL, e.Tenant, e.ID, int16(e.Kind), e.Key, e.Digest[:], e.At, e.Caller, e.Principal,
			e.Session, e.Purpose, int16(e.Phase), e.Server, e.Tool, int16(e.Outcome), e.Ticket, e.Bundle, e.Body, e.Leaf[:])
		return err
	})
}

// charge has callers commit entries that charge a counter, each one after the
// other, and tells how many were committed in all.
func charge(ctx context.Context, key decision.BudgetKey, seconds float64, commit func(context.Context, int, *audit.Entry) error) (s sample, n int64, err error) {
	body := make([]byte, 1536) // of the usual size of a record, and not to be compressed
	if _, err := rand.Read(body); err != nil {
		return s, 0, err
	}
	began := time.Now()
	counts, ends := began.Add(time.Duration(0.1*seconds*float64(time.Second))), began.Add(time.Duration(seconds*float64(time.Second)))
	var all atomic.Int64
	var mu sync.Mutex // guards times
	var times []time.Duration
	group, ctx := errgroup.WithContext(ctx)
	for caller := range hotCallers {
		group.Go(func() error {
			var mine []time.Duration
			for asked := time.Now(); asked.Before(ends); asked = time.Now() {
				e, err := hotEntry(key, asked, body)
				if err != nil {
					return err
				}
				if err := commit(ctx, caller, &e); err != nil {
					return err
				}
				all.Add(1)
				if asked.After(counts) {
					mine = append(mine, time.Since(asked))
				}
			}
			mu.Lock()
			defer mu.Unlock()
			times = append(times, mine...)
			return nil
		})
	}
	err = group.Wait()
	slices.Sort(times)
	took := time.Since(counts).Seconds()
	return sample{Rate: float64(len(times)) / took, P50: percentile(times, 0.5).Seconds(), P99: percentile(times, 0.99).Seconds()}, all.Load(), err
}

// hotEntry is a decision that charges a call.
func hotEntry(key decision.BudgetKey, at time.Time, body []byte) (audit.Entry, error) {
	id, err := uuid.NewV7()
	if err != nil {
		return audit.Entry{}, fmt.Errorf("making an id: %w", err)
	}
	return audit.Entry{
		Row: audit.Row{
			Tenant: "bench", ID: id, Kind: audit.Decision, Key: id.String(), At: at.UTC().Truncate(time.Microsecond),
			Caller: "spiffe://bench.example/gateway", Principal: "spiffe://bench.example/agent", Session: "session", Purpose: "support",
			Phase: decision.Call, Server: "filesystem", Tool: "read_text_file", Outcome: decision.Allowed, Bundle: "bundle", Body: body,
		},
		Effects: []decision.Effect{decision.Charge{Key: key, Amount: 1, Cap: hotCap}},
	}, nil
}
