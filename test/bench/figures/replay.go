package main

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"path/filepath"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/writpdp/writ/document"
	"github.com/writpdp/writ/server/audit"
	"github.com/writpdp/writ/server/decision"
	"github.com/writpdp/writ/server/decision/stage"
	"github.com/writpdp/writ/server/policy"
	"github.com/writpdp/writ/server/replay"
	"github.com/writpdp/writ/store/sqlite"
	"github.com/writpdp/writ/test/bench/workload"
)

// replayFigure is the figure that needs no server.
const replayFigure = "replay_records_per_second"

// replays fills an embedded store with records and replays them with the bundle
// that made them: how many a second, reading included.
func (b *bench) replays(ctx context.Context) error {
	files, err := workload.Sample()
	if err != nil {
		return err
	}
	bundle, err := policy.Load(files)
	if err != nil {
		return err
	}
	path := filepath.Join(b.dir, "replay.db")
	began := time.Now()
	if err := b.fill(ctx, path, bundle); err != nil {
		return fmt.Errorf("filling a store: %w", err)
	}
	b.note("a store of %d records was filled in %.0f s", b.records, time.Since(began).Seconds())
	store, err := sqlite.OpenReadOnly(ctx, path)
	if err != nil {
		return err
	}
	began = time.Now()
	report, err := replay.Run(ctx, replay.Config{Bundle: bundle, Samples: 3, Record: store.Record,
		Records: func(ctx context.Context, yield func(audit.Row) error) error {
			last := [16]byte{0: 0xff}
			return store.View(ctx, func(r audit.Reader) error { return r.Records(ctx, "", [16]byte{}, last, yield) })
		}})
	took := time.Since(began).Seconds()
	if err = errors.Join(err, store.Close()); err != nil {
		return err
	}
	if report.Total.Sum() != int64(b.records) || report.Total.Changed() > 0 {
		return fmt.Errorf("of %d records the replay made %v", b.records, report.Total)
	}
	b.note("replayed in %.2f s: %d unchanged, %d undetermined", took, report.Total[replay.Unchanged], report.Total[replay.Undetermined])
	b.results.replayed = float64(b.records) / took
	return nil
}

// commit is a store's method.
type commit func(context.Context, audit.Entry) (audit.Receipt, error)

// fillers are how many commit at once.
const fillers = 64

// fill commits records as a server makes them: of three, one call that rests on a
// text that records withhold, its result with a redacting policy, and one call
// that rests on nothing that is withheld.
func (b *bench) fill(ctx context.Context, path string, bundle *decision.Bundle) error {
	store, err := sqlite.Open(ctx, path)
	if err != nil {
		return err
	}
	at := time.Now().UTC().Truncate(time.Microsecond)
	group, ctx := errgroup.WithContext(ctx)
	for worker := range fillers {
		group.Go(func() error {
			for i := 3 * worker; i < b.records; i += 3 * fillers {
				if err := fillThree(ctx, store.Commit, bundle, at, i, min(3, b.records-i)); err != nil {
					return err
				}
			}
			return nil
		})
	}
	return errors.Join(group.Wait(), store.Close())
}

func fillThree(ctx context.Context, commit commit, bundle *decision.Bundle, at time.Time, first, n int) error {
	notes := decision.ToolName{Server: "memory", Name: "create_entities"}
	for i := first; i < first+n; i++ {
		req := &decision.Request{ID: fillID(2*i + 1), Digest: sha256.Sum256(fmt.Append(nil, i)),
			Caller: decision.Caller{SPIFFEID: workload.Caller, Tenant: workload.Tenant},
			Principal: decision.Principal{Subject: workload.Agent(first / 3), Issuer: workload.Issuer, Purposes: []string{"support"},
				Token: sha256.Sum256(fmt.Append(nil, "token ", i)), Expires: at.Add(time.Hour)},
			Phase: decision.Call, Session: fmt.Sprintf("session-%07d", first), Purpose: "support",
			Cost: decision.Cost{Calls: 1}, Supports: []string{"redact", "limit_output"}}
		snap := &decision.Snapshot{At: at.Add(time.Duration(i) * time.Millisecond / 10).Truncate(time.Microsecond), Bundle: bundle}
		args := fmt.Sprintf(`{"path":"/srv/files/customers-%05d.json","head":100}`, first%100_000)
		req.Tool.ToolName = workload.Tool
		switch i - first {
		case 1:
			req.Phase, req.CallID = decision.Result, fillID(2*first)
			req.Content = decision.Content{Digest: sha256.Sum256([]byte(args)), Size: 5000}
		case 2:
			req.Tool.ToolName, req.Session = notes, req.Session+"-notes" // who has read files takes none
			args = fmt.Sprintf(`{"entities":[{"name":"customer-%d","entityType":"customer","observations":["called","asked for an invoice"]}]}`, i)
		}
		req.Tool.Digest = bundle.Tools[req.Tool.ToolName].Digest
		var err error
		if req.Arguments, err = document.ParseObject([]byte(args)); err != nil {
			return err
		}
		if req.Phase == decision.Result {
			doc, err := document.ParseObject([]byte(`{"content":[{"type":"text","text":"plain"}],"structuredContent":{"content":"plain"}}`))
			if err != nil {
				return err
			}
			req.Content.Document = doc
			snap.Call = &decision.CallFacts{Allowed: true, Caller: req.Caller.SPIFFEID, Principal: req.Principal.Subject, Session: req.Session,
				Purpose: req.Purpose, Tool: req.Tool.ToolName, ArgumentsDigest: req.Arguments.Digest()}
		}
		d := stage.All.Decide(req, snap)
		if !d.Allowed() {
			return fmt.Errorf("a request is denied: %+v", d.Findings)
		}
		entry, _, err := audit.Decided(fillID(2*i), req, snap, &d)
		if err != nil {
			return err
		}
		if _, err := commit(ctx, entry); err != nil {
			return err
		}
	}
	return nil
}

// fillID is the n-th UUIDv7.
func fillID(n int) (id [16]byte) {
	binary.BigEndian.PutUint64(id[:8], uint64(1_700_000_000_000+n)<<16)
	sum := sha256.Sum256(fmt.Append(nil, "id ", n))
	copy(id[8:], sum[:])
	id[6], id[8] = 0x70, 0x80|id[8]&0x3f
	return id
}
