package test

import (
	"context"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/gofrs/uuid/v5"

	"github.com/writpdp/writ/clients/go/writtest"
	"github.com/writpdp/writ/policies"
	writv1 "github.com/writpdp/writ/proto/writ/v1"
	"github.com/writpdp/writ/server/audit"
	"github.com/writpdp/writ/server/decision"
	"github.com/writpdp/writ/server/policy"
	"github.com/writpdp/writ/server/replay"
)

// recorder is a store as a replay reads it.
type recorder interface {
	writtest.Store
	View(ctx context.Context, f func(audit.Reader) error) error
}

// replayed replays all records of a store.
func replayed(t *testing.T, s recorder, bundle *decision.Bundle) *replay.Report {
	t.Helper()
	var last [16]byte
	for i := range last {
		last[i] = 0xff
	}
	r, err := replay.Run(t.Context(), replay.Config{
		Bundle: bundle, Samples: 5, Record: s.Record,
		Records: func(ctx context.Context, yield func(audit.Row) error) error {
			return s.View(ctx, func(r audit.Reader) error { return r.Records(ctx, "", [16]byte{}, last, yield) })
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// The bundle that decided a record decides it again as it did: every case, on
// both stores, after all of them were recorded.
func TestReplayOfTheSameBundle(t *testing.T) {
	cases := readCases(t)
	for engine, open := range engines {
		t.Run(engine, func(t *testing.T) {
			t.Parallel()
			store, _ := open(t)
			current := cases[0]
			p := writtest.Start(t, writtest.Config{
				Store:  store,
				Now:    func() time.Time { return current.Given.Now },
				Tenant: func() string { return current.Name },
			})
			asked := int64(0)
			for _, c := range cases {
				current = c
				playWire(t, p, c, askGRPC)
				asked += int64(len(c.Steps))
			}
			r := replayed(t, store.(recorder), p.Bundle)
			if got := r.Total.Sum(); got != asked {
				t.Errorf("%d decisions were replayed, %d were made", got, asked)
			}
			if r.Total.Changed() > 0 {
				t.Errorf("the same bundle changes: %v", r.Total)
				for _, g := range r.Groups() {
					t.Log(g.By, g.Value, g.Counts, g.Samples)
				}
			}
			for ground, n := range r.Because[replay.Undetermined] {
				t.Logf("undetermined %d: %s", n, ground)
			}
			t.Logf("%v", r.Total)
		})
	}
}

var _ = fmt.Sprint
var _ = slices.Sort[[]int]
var _ = uuid.Nil
var _ = policies.Files
var _ = policy.Load
var _ writv1.Effect
