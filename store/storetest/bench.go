package storetest

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/gofrs/uuid/v5"

	"github.com/writpdp/writ/server/audit"
	"github.com/writpdp/writ/server/decision"
)

// DayCalls is the counter that every Load charges.
var DayCalls = decision.BudgetKey{Budget: "calls-per-day", Subject: `"acme"`, Start: noon.Truncate(24 * time.Hour).Unix()}

// Load is the n-th decision of a busy tenant: a token used up, a call charged to
// a counter, and a body of the usual size. Ids are random and in the order of
// time, as they are in service.
func Load(n uint64, counter decision.BudgetKey) audit.Entry {
	body := make([]byte, 1536)
	binary.LittleEndian.PutUint64(body, n)
	leaf := sha256.Sum256(append([]byte{0}, body...))
	return audit.Entry{
		Row: audit.Row{
			Tenant: "acme", ID: uuid.Must(uuid.NewV7()), Kind: audit.Decision, Key: uuid.Must(uuid.NewV7()).String(),
			Digest: leaf, At: time.Now().UTC().Truncate(time.Microsecond),
			Caller: "spiffe://acme.example/gateway", Principal: "spiffe://acme.example/agent", Session: fmt.Sprint("session-", n%100),
			Purpose: "support", Phase: decision.Call, Server: "filesystem", Tool: "read_file", Outcome: decision.Allowed,
			Bundle: "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d", Body: body, Leaf: leaf,
		},
		Effects: []decision.Effect{
			decision.Consume{Token: leaf, Expires: noon.Add(time.Hour)},
			decision.Charge{Key: counter, Amount: 1, Cap: 1 << 60},
		},
	}
}

// Benchmark measures a store that is new and empty.
func Benchmark(b *testing.B, open func(b *testing.B) Store) {
	for _, callers := range []int{1, 64, 256} {
		b.Run(fmt.Sprintf("Commit/callers=%d", callers), func(b *testing.B) {
			benchCommit(b, open(b), callers, func(uint64) decision.BudgetKey { return DayCalls })
		})
	}
	b.Run("Commit/callers=64/counters=1000", func(b *testing.B) {
		benchCommit(b, open(b), 64, func(n uint64) decision.BudgetKey {
			return decision.BudgetKey{Budget: "calls-per-agent", Subject: fmt.Sprint(n % 1000)}
		})
	})
	b.Run("Commit/callers=64/sealing", func(b *testing.B) { benchSealing(b, open(b)) })
	b.Run("Snapshot", func(b *testing.B) { benchSnapshot(b, open(b)) })
}

// benchCommit also tells how long commits take at the median and at the 99th
// percentile.
func benchCommit(b *testing.B, s Store, callers int, counter func(uint64) decision.BudgetKey) {
	var next atomic.Uint64
	times := make([]time.Duration, b.N)
	var wait sync.WaitGroup
	b.ResetTimer()
	for range callers {
		wait.Go(func() {
			for {
				n := next.Add(1)
				if n > uint64(b.N) {
					return
				}
				e := Load(n, counter(n))
				start := time.Now()
				if _, err := s.Commit(context.Background(), e); err != nil {
					b.Error(err)
					return
				}
				times[n-1] = time.Since(start)
			}
		})
	}
	wait.Wait()
	b.StopTimer()
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "commits/s")
	reportTimes(b, times)
}

// benchSealing commits while a sealer works at its usual pace.
func benchSealing(b *testing.B, s Store) {
	skey, _, err := audit.GenerateKey(rand.NewChaCha8([32]byte{1}), origin)
	if err != nil {
		b.Fatal(err)
	}
	signer, err := audit.NewSigner(origin, skey)
	if err != nil {
		b.Fatal(err)
	}
	sealer := audit.NewSealer(audit.SealerConfig{Seal: s.Seal, Extend: signer.Extend, Report: func(err error) { b.Error(err) }})
	ctx, stop := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- sealer.Run(ctx) }()
	benchCommit(b, s, 64, func(uint64) decision.BudgetKey { return DayCalls })
	stop()
	if err := <-done; err != nil {
		b.Error(err)
	}
}

func reportTimes(b *testing.B, times []time.Duration) {
	slices.Sort(times)
	b.ReportMetric(float64(times[len(times)/2].Microseconds()), "p50-us")
	b.ReportMetric(float64(times[len(times)*99/100].Microseconds()), "p99-us")
}

func benchSnapshot(b *testing.B, s Store) {
	for n := range uint64(1000) {
		if _, err := s.Commit(b.Context(), Load(n, DayCalls)); err != nil {
			b.Fatal(err)
		}
	}
	want := decision.Want{Tenant: "acme", Ticket: "CHG-1", Budgets: []decision.BudgetKey{
		DayCalls, {Budget: "tokens-per-day", Subject: `"acme"`, Start: DayCalls.Start}, {Budget: "calls-per-hour", Subject: `"agent"`, Start: noon.Unix()},
	}}
	n := uint64(0)
	for b.Loop() {
		n++
		binary.LittleEndian.PutUint64(want.Token[:], n)
		want.RequestID = uuid.Must(uuid.NewV7())
		if _, err := s.Snapshot(b.Context(), want); err != nil {
			b.Fatal(err)
		}
	}
}
