// Package lane owns what every store does the same way on its way to a durable
// record: collecting concurrent commits into batches, checking entries, and
// deciding which entries of a batch commit, given the stored state they meet. It
// reads and writes no database.
package lane

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"sync"

	"github.com/writpdp/writ/server/audit"
)

// Sentinels of the stores, beside those of package audit.
var (
	// ErrClosed: the lane takes no more entries. The entry was not queued, so
	// nothing was written.
	ErrClosed = errors.New("the store is closed")
)

// Outcome is what became of one entry. Err is nil, audit.ErrStale,
// audit.ErrFenced, audit.ErrReused, or says that nothing is known about the record.
type Outcome struct {
	Receipt audit.Receipt
	Err     error
}

// Config bounds a lane. The zero value of each field is its default.
type Config struct {
	// Batch is the most entries in one flush; 0: 256.
	Batch int
	// BatchBytes ends a batch once its bodies hold as much, in bytes; 0: 8 MiB.
	BatchBytes int
	// Queue is the most entries waiting for a flush; 0: 4096.
	Queue int
	// QueueBytes is the most that their bodies may hold, in bytes; 0: 256 MiB.
	QueueBytes int
}

func (c Config) withDefaults() Config {
	for _, bound := range []struct {
		field *int
		value int
	}{{&c.Batch, 256}, {&c.BatchBytes, 8 << 20}, {&c.Queue, 4096}, {&c.QueueBytes, 256 << 20}} {
		if *bound.field <= 0 {
			*bound.field = bound.value
		}
	}
	return c
}

// Lane is natural group commit: while one batch is being flushed the next one
// gathers, and it is flushed as soon as the lane is idle. There is no timer: an
// entry that comes alone is flushed alone, at once.
type Lane struct {
	flush  func([]audit.Entry) []Outcome
	config Config
	wake   chan struct{} // holds one token: there may be something to do
	done   chan struct{} // closed when the lane's goroutine has ended

	mu     sync.Mutex // guards all below
	queue  []*waiter
	bytes  int
	closed bool
}

type waiter struct {
	entry  audit.Entry
	answer chan Outcome // takes the one answer without a reader
}

// New starts a lane. flush makes a batch durable and returns the outcome of each
// entry, in order; it is called from one goroutine, and no caller's context
// reaches it, for a flush that is cut short in the middle of a commit leaves
// records that nobody can vouch for.
func New(flush func([]audit.Entry) []Outcome, c Config) *Lane {
	l := &Lane{flush: flush, config: c.withDefaults(), wake: make(chan struct{}, 1), done: make(chan struct{})}
	go l.run()
	return l
}

// Commit queues an entry and waits for its outcome. The error is audit.ErrStale
// or audit.ErrReused (nothing was written), audit.ErrFull or ErrClosed (likewise),
// that of an entry which Check refuses (likewise), or another, and then the
// outcome is unknown. A caller whose context ends leaves its own wait only: the entry may
// still be committed, and a retry with the same key tells.
func (l *Lane) Commit(ctx context.Context, e audit.Entry) (audit.Receipt, error) {
	if err := Check(&e); err != nil {
		return audit.Receipt{}, fmt.Errorf("checking the entry: %w", err)
	}
	if err := ctx.Err(); err != nil {
		return audit.Receipt{}, fmt.Errorf("queueing the entry: %w", err)
	}
	w := &waiter{entry: e, answer: make(chan Outcome, 1)}
	if err := l.push(w); err != nil {
		return audit.Receipt{}, err
	}
	select {
	case o := <-w.answer:
		return o.Receipt, o.Err
	case <-ctx.Done():
		return audit.Receipt{}, fmt.Errorf("waiting for the commit: %w", ctx.Err())
	}
}

// CommitAll commits entries, in their order and beside those that others queue,
// and returns the outcome of each once it is known; see Commit for the errors. It
// waits for room in the queue.
func (l *Lane) CommitAll(entries []audit.Entry) []Outcome {
	outcomes := make([]Outcome, len(entries))
	waiters := make([]*waiter, 0, len(entries))
	first := 0 // the first that is not answered
	for i := range entries {
		w := &waiter{entry: entries[i], answer: make(chan Outcome, 1)}
		err := Check(&entries[i])
		if err != nil {
			err = fmt.Errorf("checking the entry: %w", err)
		} else {
			for err = l.push(w); errors.Is(err, audit.ErrFull) && first < len(waiters); err = l.push(w) {
				outcomes[first] = <-waiters[first].answer
				first++
			}
		}
		if err != nil {
			w.answer <- Outcome{Err: err}
		}
		waiters = append(waiters, w)
	}
	for ; first < len(waiters); first++ {
		outcomes[first] = <-waiters[first].answer
	}
	return outcomes
}

func (l *Lane) push(w *waiter) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	switch {
	case l.closed:
		return ErrClosed
	case len(l.queue) >= l.config.Queue || l.bytes+len(w.entry.Body) > l.config.QueueBytes:
		return audit.ErrFull
	}
	l.queue = append(l.queue, w)
	l.bytes += len(w.entry.Body)
	l.signal()
	return nil
}

// signal leaves a token for the lane's goroutine, if there is none yet.
func (l *Lane) signal() {
	select {
	case l.wake <- struct{}{}:
	default:
	}
}

// Close takes no more entries, flushes those that wait, and returns when the
// last is answered or ctx ends. It may be called more than once.
func (l *Lane) Close(ctx context.Context) error {
	l.mu.Lock()
	l.closed = true
	l.signal()
	l.mu.Unlock()
	select {
	case <-l.done:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("flushing what waits: %w", ctx.Err())
	}
}

func (l *Lane) run() {
	defer close(l.done)
	for {
		batch, more := l.take()
		if !more {
			return
		}
		if len(batch) == 0 {
			<-l.wake
			continue
		}
		entries := make([]audit.Entry, len(batch))
		for i, w := range batch {
			entries[i] = w.entry
		}
		outcomes := l.flush(entries)
		for i, w := range batch {
			if i < len(outcomes) {
				w.answer <- outcomes[i]
			} else {
				w.answer <- Outcome{Err: errors.New("flushing: the entry has no outcome")}
			}
		}
		// The callers just answered are runnable and will often commit again:
		// letting them go first makes one full batch where a lone early entry
		// would cost the others a flush of waiting.
		runtime.Gosched()
	}
}

// take removes the next batch from the queue. more is false when there is none
// and there never will be.
func (l *Lane) take() (batch []*waiter, more bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	n, bytes := 0, 0
	for n < len(l.queue) && n < l.config.Batch && bytes < l.config.BatchBytes {
		bytes += len(l.queue[n].entry.Body)
		n++
	}
	batch = append(batch, l.queue[:n]...)
	rest := copy(l.queue, l.queue[n:])
	clear(l.queue[rest:])
	l.queue = l.queue[:rest]
	l.bytes -= bytes
	return batch, n > 0 || !l.closed
}
