// Package bench breaks the cost of one decision down into its parts. Run
//
//	go test -bench . ./test/bench
//
// and read cpu-us/op: microseconds of CPU on all cores together, garbage
// collection included, which is what adds up. Whole servers are measured by
// test/bench/run.
package bench

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"log/slog"
	"path/filepath"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/gofrs/uuid/v5"

	writv1 "github.com/writpdp/writ/proto/writ/v1"
	"github.com/writpdp/writ/server"
	"github.com/writpdp/writ/server/audit"
	"github.com/writpdp/writ/server/decision"
	"github.com/writpdp/writ/server/decision/stage"
	"github.com/writpdp/writ/server/identity"
	"github.com/writpdp/writ/server/policy"
	"github.com/writpdp/writ/store/sqlite"
	"github.com/writpdp/writ/test/bench/workload"
)

var caller = decision.Caller{SPIFFEID: workload.Caller, Tenant: workload.Tenant}

// kit is a bundle and who asks it.
type kit struct {
	bundle *decision.Bundle
	agency *workload.Agency
	tokens *identity.Verifier
}

func newKit(b *testing.B) *kit {
	b.Helper()
	files, err := workload.Sample()
	must(b, err)
	k := &kit{}
	k.bundle, err = policy.Load(files)
	must(b, err)
	minter, err := identity.NewMinter(rand.Reader)
	must(b, err)
	k.agency = workload.NewAgency(minter, k.bundle.Tools[workload.Tool].Digest, rand.Reader)
	k.tokens, err = workload.Verifier(minter.JWKS())
	must(b, err)
	return k
}

// request is the request on the wire.
func (k *kit) request(b *testing.B, i int) *writv1.DecideRequest {
	b.Helper()
	r, err := k.agency.Request(i, time.Now(), time.Now())
	must(b, err)
	return r
}

// asked captures how the server understands a request, and on what it decides.
type asked struct {
	request  *decision.Request
	snapshot *decision.Snapshot
}

// ask takes a request through a server up to its stages.
func (k *kit) ask(b *testing.B, ledger server.Ledger) asked {
	b.Helper()
	var a asked
	s := k.server(b, ledger, decision.Pipeline{{Name: "capture", Judge: func(r *decision.Request, s *decision.Snapshot, _ *decision.Decision) decision.Finding {
		a = asked{r, s}
		return decision.Finding{}
	}}})
	_, err := s.Decide(b.Context(), caller, k.request(b, 0))
	must(b, err)
	return a
}

func (k *kit) server(b *testing.B, ledger server.Ledger, stages decision.Pipeline) *server.Server {
	b.Helper()
	s, err := server.New(server.Config{
		Ledger: ledger, Bundle: func(*decision.Request) *decision.Bundle { return k.bundle }, Live: func() *decision.Bundle { return k.bundle }, Stages: stages, Tokens: k.tokens,
		Caller: func(*tls.ConnectionState) (decision.Caller, error) { return caller, nil },
		Origin: workload.Origin, BaseURL: "http://127.0.0.1", Now: time.Now, Random: rand.Reader, Log: slog.New(slog.DiscardHandler),
	})
	must(b, err)
	return s
}

// entry is what a decision on a request commits.
func (k *kit) entry(b *testing.B) audit.Entry {
	b.Helper()
	a := k.ask(b, nowhere{})
	d := stage.All.Decide(a.request, a.snapshot)
	if !d.Allowed() {
		b.Fatalf("the request is denied: %+v", d.Findings)
	}
	e, _, err := audit.Decided(uuid.Must(uuid.NewV7()), a.request, a.snapshot, &d)
	must(b, err)
	return e
}

// again is an entry as another request would commit it.
func again(e audit.Entry) audit.Entry {
	e.ID, e.Key, e.At = uuid.Must(uuid.NewV7()), uuid.Must(uuid.NewV7()).String(), time.Now().UTC()
	effects := make([]decision.Effect, len(e.Effects))
	for i, effect := range e.Effects {
		if consume, ok := effect.(decision.Consume); ok {
			rand.Read(consume.Token[:])
			effect = consume
		}
		effects[i] = effect
	}
	e.Effects = effects
	return e
}

func openSQLite(b *testing.B) *sqlite.Store {
	b.Helper()
	s, err := sqlite.Open(b.Context(), filepath.Join(b.TempDir(), "writ.db"))
	must(b, err)
	b.Cleanup(func() { must(b, s.Close()) })
	return s
}

// nowhere is a ledger that keeps nothing, so that what is left is the cost of
// everything else.
type nowhere struct{}

func (nowhere) Snapshot(context.Context, decision.Want) (decision.Facts, error) {
	return decision.Facts{}, nil
}

func (nowhere) Commit(context.Context, audit.Entry) (audit.Receipt, error) {
	return audit.Receipt{}, nil
}

func (nowhere) Record(context.Context, string, [16]byte) (audit.Row, error) {
	return audit.Row{}, audit.ErrNotFound
}

// each runs f for every operation, one after the other.
func each(b *testing.B, f func() error) {
	b.ReportAllocs()
	before := cpu(b)
	for b.Loop() {
		if err := f(); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric((cpu(b)-before).Seconds()*1e6/float64(b.N), "cpu-us/op")
}

// crowd runs f for every operation from 64 callers at once; f is told which it
// is.
func crowd(b *testing.B, f func(i int) error) {
	b.ReportAllocs()
	b.SetParallelism(32) // times the two CPUs that the figures are for
	var next atomic.Int64
	before := cpu(b)
	b.ResetTimer()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			if err := f(int(next.Add(1)) - 1); err != nil {
				b.Error(err)
				return
			}
		}
	})
	b.ReportMetric((cpu(b)-before).Seconds()*1e6/float64(b.N), "cpu-us/op")
}

// cpu is the CPU time of this process so far.
func cpu(b *testing.B) time.Duration {
	b.Helper()
	var u syscall.Rusage
	must(b, syscall.Getrusage(syscall.RUSAGE_SELF, &u))
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

func must(b testing.TB, err error) {
	b.Helper()
	if err != nil {
		b.Fatal(err)
	}
}
