package bench

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"buf.build/go/protovalidate"
	"github.com/gofrs/uuid/v5"
	"google.golang.org/protobuf/proto"

	"github.com/writpdp/writ/document"
	writv1 "github.com/writpdp/writ/proto/writ/v1"
	"github.com/writpdp/writ/server"
	"github.com/writpdp/writ/server/audit"
	"github.com/writpdp/writ/server/decision"
	"github.com/writpdp/writ/server/decision/stage"
	"github.com/writpdp/writ/server/identity"
	"github.com/writpdp/writ/server/policy"
	"github.com/writpdp/writ/server/quick"
	"github.com/writpdp/writ/test/bench/workload"
)

// BenchmarkDecide is the pure core: every stage on one snapshot.
func BenchmarkDecide(b *testing.B) {
	a := newKit(b).ask(b, nowhere{})
	each(b, func() error {
		if d := stage.All.Decide(a.request, a.snapshot); !d.Allowed() {
			return fmt.Errorf("denied: %+v", d.Findings)
		}
		return nil
	})
}

// BenchmarkIdentify is what happens to a request before its stages.
func BenchmarkIdentify(b *testing.B) {
	k := newKit(b)
	request := k.request(b, 0)
	wire, err := proto.Marshal(request)
	must(b, err)
	rules, err := protovalidate.New(protovalidate.WithMessages(request))
	must(b, err)
	b.Run("unmarshal", func(b *testing.B) {
		each(b, func() error { return proto.Unmarshal(wire, &writv1.DecideRequest{}) })
	})
	b.Run("rules", func(b *testing.B) {
		each(b, func() error { return rules.Validate(request) })
	})
	sure, err := quick.Compile(request)
	must(b, err)
	// What a request that keeps the rules meets in the place of protovalidate.
	b.Run("quick", func(b *testing.B) {
		each(b, func() error {
			if !sure.Keeps(request) {
				return errors.New("the rules are not all kept")
			}
			return nil
		})
	})
	token := identity.Presented{Token: request.PrincipalToken}
	principal, err := k.tokens.Verify(token, time.Now())
	must(b, err)
	for name, at := range map[string]time.Time{
		"token":       principal.Expires.Add(-time.Second), // past exp, where no signature is remembered
		"token/again": time.Now(),                          // the token lives longer than a benchmark needs
	} {
		b.Run(name, func(b *testing.B) {
			each(b, func() error {
				_, err := k.tokens.Verify(token, at)
				return err
			})
		})
	}
	b.Run("arguments", func(b *testing.B) {
		each(b, func() error {
			_, err := document.ParseObject(request.Arguments)
			return err
		})
	})
}

// BenchmarkStage is the costly parts within the stages.
func BenchmarkStage(b *testing.B) {
	k := newKit(b)
	a := k.ask(b, nowhere{})
	tool := k.bundle.Tools[workload.Tool]
	b.Run("schema", func(b *testing.B) {
		each(b, func() error {
			if broken := tool.Input.Check(a.request.Arguments); broken != nil {
				return fmt.Errorf("the arguments break the schema: %v", broken)
			}
			return nil
		})
	})
	query := a.snapshot.Query(a.request, &decision.Decision{})
	judge := func(name string, policies decision.Policies) {
		b.Run("policies/"+name, func(b *testing.B) {
			each(b, func() error {
				if r := policies.Judge(query); len(r.Permits) == 0 {
					return fmt.Errorf("not permitted: %+v", r)
				}
				return nil
			})
		})
	}
	judge("sample", k.bundle.Policies)
	for _, n := range []int{10, 10_000} {
		files, err := workload.Policies(n)
		must(b, err)
		bundle, err := policy.Load(files)
		must(b, err)
		judge(fmt.Sprint(n), bundle.Policies)
	}
}

// BenchmarkRecord is the making of the record and the answer.
func BenchmarkRecord(b *testing.B) {
	a := newKit(b).ask(b, nowhere{})
	d := stage.All.Decide(a.request, a.snapshot)
	id := uuid.Must(uuid.NewV7())
	var entry audit.Entry
	var answer *writv1.DecideResponse
	b.Run("decided", func(b *testing.B) {
		each(b, func() (err error) {
			entry, answer, err = audit.Decided(id, a.request, a.snapshot, &d)
			return err
		})
	})
	b.Run("receipt", func(b *testing.B) {
		each(b, func() error {
			answer.Receipt = audit.ReceiptOf(&entry.Row, workload.Origin, audit.Receipt{Size: 1})
			return nil
		})
	})
	b.Run("marshal", func(b *testing.B) {
		each(b, func() error {
			_, err := proto.Marshal(answer)
			return err
		})
	})
	b.ReportMetric(float64(len(entry.Body)), "record-bytes")
}

// BenchmarkStore is the embedded store under 64 callers.
func BenchmarkStore(b *testing.B) {
	k := newKit(b)
	b.Run("snapshot", func(b *testing.B) {
		s := openSQLite(b)
		a := k.ask(b, s)
		want := k.bundle.Want(a.request, a.snapshot.At)
		crowd(b, func(int) error {
			_, err := s.Snapshot(b.Context(), want)
			return err
		})
	})
	b.Run("commit", func(b *testing.B) {
		s := openSQLite(b)
		entry := k.entry(b)
		entries := make([]audit.Entry, b.N)
		for i := range entries {
			entries[i] = again(entry)
		}
		crowd(b, func(i int) error {
			_, err := s.Commit(b.Context(), entries[i])
			return err
		})
	})
}

// BenchmarkServer is the whole path but for the network, under 64 callers: with
// a ledger that keeps nothing, and with the embedded store.
func BenchmarkServer(b *testing.B) {
	k := newKit(b)
	run := func(b *testing.B, ledger server.Ledger) {
		s := k.server(b, ledger, stage.All)
		requests := make([]*writv1.DecideRequest, b.N)
		for i := range requests {
			requests[i] = k.request(b, i)
		}
		crowd(b, func(i int) error {
			answer, err := s.Decide(b.Context(), caller, requests[i])
			if err == nil && answer.Effect != writv1.Effect_EFFECT_ALLOW {
				err = fmt.Errorf("denied: %v", answer.Reasons)
			}
			return err
		})
	}
	b.Run("ledger=none", func(b *testing.B) { run(b, nowhere{}) })
	b.Run("ledger=sqlite", func(b *testing.B) { run(b, openSQLite(b)) })
}
