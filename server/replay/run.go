package replay

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"runtime"
	"sync"
	"time"

	"github.com/gofrs/uuid/v5"
	"golang.org/x/sync/errgroup"

	"github.com/writpdp/writ/server/audit"
	"github.com/writpdp/writ/server/decision"
)

// Config is what is replayed.
type Config struct {
	// Bundle is the one that decides.
	Bundle *decision.Bundle
	// Alike are, by the digests of the bundles that made the records, the
	// policies that match as those of Bundle do. What records tell of them need
	// not be found out again. A bundle's own are all alike.
	Alike map[string]map[string]decision.PolicyKind
	// Only records that were decided at From or later and before To are decided
	// again; a zero time bounds nothing.
	From, To time.Time
	// Records streams the records, of each tenant in the order of the log. What
	// is passed to yield may be reused after it returns.
	Records func(ctx context.Context, yield func(audit.Row) error) error
	// Record finds one record; audit.ErrNotFound: there is none. It is called
	// concurrently, while Records streams.
	Record func(ctx context.Context, tenant string, id [16]byte) (audit.Row, error)
	// Samples is how many records a group names of each class.
	Samples int
	// Progress, if there is one, is told how many records were read, now and then.
	Progress func(records int64)
}

// Bounds of what is in memory.
const (
	batchSize  = 128      // records
	batchBytes = 4 << 20  // of their bodies
	recent     = 64 << 20 // bytes of bodies to which others may refer soon
)

// Run replays. Its memory is bounded but for what differs from the records: one
// entry for each counter, and for each decision that comes out otherwise.
func Run(ctx context.Context, c Config) (*Report, error) {
	r := &run{Config: c, bodies: bodies{by: map[id][]byte{}}}
	workers := runtime.GOMAXPROCS(0)
	todo, ordered := make(chan *batch, 2*workers), make(chan *batch, 4*workers)
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error {
		defer close(todo)
		defer close(ordered)
		return r.read(ctx, todo, ordered)
	})
	for range workers {
		group.Go(func() error {
			for b := range todo {
				if err := r.prepare(ctx, b); err != nil {
					return err
				}
			}
			return nil
		})
	}
	report := newReport(c.Samples)
	group.Go(func() error { return r.apply(ctx, ordered, report) })
	if err := group.Wait(); err != nil {
		return nil, err
	}
	return report, nil
}

type run struct {
	Config
	bodies bodies
}

// batch is some records in their order.
type batch struct {
	rows []audit.Row
	size int // bytes of their bodies
	// Below are the workers' until ready is closed.
	prepared []prepared
	ready    chan struct{}
}

// prepared is a decision, a report with the decision that it is on, or a
// declassification.
type prepared struct {
	*Candidate
	actual *audit.Actual // nil: a decision, or a declassification
	taken  *audit.Declassification
}

func newBatch() *batch {
	return &batch{rows: make([]audit.Row, 0, batchSize), ready: make(chan struct{})}
}

func (r *run) read(ctx context.Context, todo, ordered chan<- *batch) error {
	b := newBatch()
	send := func() error {
		for _, to := range []chan<- *batch{ordered, todo} {
			select {
			case to <- b:
			case <-ctx.Done():
				return ctx.Err()
			}
		}
		b = newBatch()
		return nil
	}
	err := r.Records(ctx, func(row audit.Row) error {
		if row.Kind != audit.Decision && row.Kind != audit.Settlement && row.Kind != audit.Declassify {
			return nil // nothing was asked
		}
		if row.At.Before(r.From) || !r.To.IsZero() && !row.At.Before(r.To) {
			return nil
		}
		row.Body = bytes.Clone(row.Body)
		if row.Kind == audit.Decision {
			r.bodies.add(id{row.Tenant, row.ID}, row.Body)
		}
		b.rows = append(b.rows, row)
		if b.size += len(row.Body); len(b.rows) < batchSize && b.size < batchBytes {
			return nil
		}
		return send()
	})
	if err == nil && len(b.rows) > 0 {
		err = send()
	}
	return err
}

func (r *run) prepare(ctx context.Context, b *batch) error {
	b.prepared = make([]prepared, len(b.rows))
	for i := range b.rows {
		row := &b.rows[i]
		var err error
		if b.prepared[i], err = r.one(ctx, row); err != nil {
			return fmt.Errorf("record %s of the tenant %q: %w", uuid.UUID(row.ID), row.Tenant, err)
		}
	}
	close(b.ready)
	return nil
}

func (r *run) one(ctx context.Context, row *audit.Row) (prepared, error) {
	if row.Kind == audit.Decision {
		c, err := r.decide(ctx, row)
		return prepared{Candidate: c}, err
	}
	if row.Kind == audit.Declassify {
		taken, err := audit.DeclassificationOf(row.Body)
		return prepared{taken: taken}, err
	}
	actual, err := audit.ActualOf(row.Body)
	if err != nil {
		return prepared{}, err
	}
	body, err := r.body(ctx, id{row.Tenant, actual.Decision})
	if err != nil {
		return prepared{}, err
	}
	q, err := audit.QuestionOf(body, nil)
	if err != nil {
		return prepared{}, err
	}
	return prepared{actual: actual, Candidate: &Candidate{question: q, counted: counted(r.Bundle, q)}}, nil
}

func (r *run) decide(ctx context.Context, row *audit.Row) (*Candidate, error) {
	var call []byte
	if row.Phase == decision.Result {
		named, err := audit.CallOf(row.Body)
		if err != nil {
			return nil, err
		}
		if call, err = r.body(ctx, id{row.Tenant, named}); errors.Is(err, audit.ErrNotFound) {
			call = nil // the result says so itself
		} else if err != nil {
			return nil, err
		}
	}
	q, err := audit.QuestionOf(row.Body, call)
	if err != nil {
		return nil, err
	}
	return Prepare(r.Bundle, r.Alike[q.Bundle], q), nil
}

// body is another record's, which was most likely read just before.
func (r *run) body(ctx context.Context, at id) ([]byte, error) {
	if body := r.bodies.get(at); body != nil {
		return body, nil
	}
	row, err := r.Record(ctx, at.tenant, at.id)
	if err != nil {
		return nil, err
	}
	return row.Body, nil
}

// apply takes up the batches in order.
func (r *run) apply(ctx context.Context, ordered <-chan *batch, report *Report) error {
	w := NewWorld(r.Bundle, r.From)
	records := int64(0)
	for b := range ordered {
		select {
		case <-b.ready:
		case <-ctx.Done():
			return ctx.Err()
		}
		for _, p := range b.prepared {
			if p.taken != nil {
				w.Declassify(p.taken.Caller.Tenant, p.taken.Note)
				continue
			}
			if p.actual != nil {
				w.Settle(p.actual, p.Candidate)
				report.Settlements++
				continue
			}
			report.add(p.question, w.Decide(p.Candidate))
		}
		if records += int64(len(b.prepared)); r.Progress != nil {
			r.Progress(records)
		}
	}
	return nil
}

// bodies are the last ones that were read.
type bodies struct {
	mu    sync.Mutex // guards what follows
	by    map[id][]byte
	order []id
	size  int
}

func (b *bodies) add(at id, body []byte) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.by[at] = body
	b.order = append(b.order, at)
	for b.size += len(body); b.size > recent && len(b.order) > 1; b.order = b.order[1:] {
		b.size -= len(b.by[b.order[0]])
		delete(b.by, b.order[0])
	}
}

func (b *bodies) get(at id) []byte {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.by[at]
}
