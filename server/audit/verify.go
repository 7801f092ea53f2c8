package audit

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"time"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"
)

// Options are what a verification needs beside the store and the keys.
type Options struct {
	// Origin is the log's name. Required.
	Origin string
	// At is the present. A token that expired before may have been forgotten by
	// the store; with a zero At every token that was used must be there.
	At time.Time
	// Known are checkpoint notes that were kept outside of the store, by a
	// witness or an earlier verification: the log must still contain them. A
	// store that was set back to an older state fits in every other way.
	Known [][]byte
}

// errFound ends a stream whose verdict is known.
var errFound = errors.New("a problem was found")

// Verify recomputes everything that a store keeps of a log from the bodies of
// its records, and reports the first thing that does not fit, in this order:
// checkpoints and their signatures; leaf by leaf the index, body, hash, columns,
// ids, effects and caps, and at every checkpoint's size the root; tiles; pending
// records, as the leaves; settlements and caps; orphans; counters; archives of bundles;
// what is left of the redemptions, used tokens and versions of the rollout and the control state. keys
// are the log's public keys, of which each checkpoint needs one.
//
// A log that does not fit is no error: the error is for what could not be read
// or was cut short, and then nothing is known.
//
// It streams. In memory it holds about 100 bytes a record (ids, to see each
// once), 40 a checkpoint, the rows of counters, redemptions and tokens, one
// archive, and for each version of the control state the changes of budgets that
// were in force.
func Verify(ctx context.Context, r Reader, keys []note.Verifier, o Options) (Report, error) {
	if o.Origin == "" || len(keys) == 0 {
		return Report{}, errors.New("verifying the log: no origin or no key")
	}
	v := &verification{ctx: ctx, r: r, keys: note.VerifierList(keys...), options: o, books: newBooks(o.At)}
	for _, step := range []struct {
		name string
		run  func() error
	}{
		{"checkpoints", v.checkpoints},
		{"redemptions", v.redemptions},
		{"used tokens", v.tokens},
		{"versions", v.versions},
		{"leaves", v.leaves},
		{"tiles", v.tiles},
		{"pending records", v.pending},
		{"orphans", v.orphans},
		{"uses", v.uses},
		{"tickets", v.tickets},
		{"lapses", v.lapses},
		{"vault", v.vault},
		{"archives", v.archives},
	} {
		err := step.run()
		if p, ok := errors.AsType[*Problem](err); ok {
			v.report.Problem = p
		}
		if v.report.Problem != nil {
			return v.report, nil
		}
		if err == nil {
			err = ctx.Err()
		}
		if err != nil {
			return Report{}, fmt.Errorf("verifying the log: reading the %s: %w", step.name, err)
		}
	}
	v.report.Problem = v.books.leftOver()
	return v.report, nil
}

// verification is the state of one Verify.
type verification struct {
	ctx     context.Context
	r       Reader
	keys    note.Verifiers
	options Options
	report  Report

	heads []tlog.Tree // by ascending size
	met   int         // heads whose root the leaves gave
	edge  edge
	// nodes are the entries of all tiles above level 0, by level; nodes[0] are
	// those of the last tile of level 0, where it is not complete. A complete
	// one has its hash in nodes[1].
	nodes [8][]tlog.Hash
	books books
	// then finds out more about a problem, once the stream has ended in which
	// it was seen.
	then func() error
}

func (v *verification) fail(p *Problem) error {
	v.report.Problem = p
	return errFound
}

// stream runs a stream to its end, then what it asked for.
func (v *verification) stream(read func() error) error {
	err := read()
	if then := v.then; then != nil {
		v.then = nil
		return then()
	}
	return err
}

func (v *verification) checkpoints() error {
	var last int64
	err := v.r.Checkpoints(v.ctx, func(c Checkpoint) error {
		head, err := open(c, v.options.Origin, v.keys)
		if err == nil && head.N <= last {
			err = fmt.Errorf("the checkpoint of size %d stands after that of size %d", head.N, last)
		}
		if err != nil {
			return v.fail(&Problem{What: "checkpoint", Index: -1, Last: -1, Detail: err.Error()})
		}
		last = head.N
		v.heads = append(v.heads, head)
		v.report.Checkpoints++
		return nil
	})
	if err != nil {
		return err
	}
	for _, text := range v.options.Known {
		head, err := openNote(text, v.options.Origin, v.keys)
		if err != nil {
			return fmt.Errorf("a known checkpoint: %w", err)
		}
		v.heads = append(v.heads, head)
	}
	slices.SortStableFunc(v.heads, func(a, b tlog.Tree) int { return cmp.Compare(a.N, b.N) })
	return nil
}

func (v *verification) leaves() error {
	// From the least number there is: a negative index must not go unseen.
	err := v.stream(func() error { return v.r.Leaves(v.ctx, math.MinInt64, math.MaxInt64, v.leaf) })
	if p, ok := errors.AsType[*Problem](err); ok {
		unreadable := *p // it is the leaf that is due
		unreadable.Index, unreadable.Last = v.edge.size, v.edge.size
		return v.fail(&unreadable)
	}
	if err != nil {
		return err
	}
	size := v.edge.size
	root, err := v.edge.root()
	if err != nil {
		return err
	}
	v.report.Root = root
	if v.met < len(v.heads) {
		head := v.heads[v.met]
		return v.fail(&Problem{What: "index", Index: size, Last: head.N - 1,
			Detail: fmt.Sprintf("the checkpoint of size %d covers records that are missing", head.N)})
	}
	if sealed := v.before(math.MaxInt64); sealed < size {
		return v.fail(&Problem{What: "checkpoint", Index: sealed, Last: size - 1, Detail: "no checkpoint covers these records"})
	}
	return nil
}

// before is the largest size below another of which the root was found right.
func (v *verification) before(size int64) int64 {
	for _, head := range slices.Backward(v.heads[:v.met]) {
		if head.N < size {
			return head.N
		}
	}
	return 0
}

func (v *verification) leaf(l Leaf) error {
	at := v.edge.size
	if l.Index != at {
		return v.fail(about(&l.Row, at, "index", fmt.Sprintf("index %d stands where %d is due", l.Index, at)))
	}
	if len(l.Body) == 0 {
		return v.fail(about(&l.Row, at, "body", "it is missing"))
	}
	if hash := tlog.RecordHash(l.Body); hash != l.Leaf {
		stored := l.Row
		v.then = func() error { return v.arbitrate(stored, at, hash) }
		return errFound
	}
	r, p := fit(&l.Row, at)
	if p == nil {
		p = v.books.enter(r, at)
	}
	if p != nil {
		return v.fail(p)
	}
	if err := v.grow(tlog.Hash(l.Leaf)); err != nil {
		return err
	}
	v.report.Leaves++
	v.count(r)
	return v.roots()
}

func (v *verification) grow(leaf tlog.Hash) error {
	n := v.edge.size
	hashes, err := v.edge.add(leaf)
	if err != nil {
		return err
	}
	if n%tileWidth == 0 {
		v.nodes[0] = v.nodes[0][:0]
	}
	for level := 0; level < len(hashes); level += tileHeight {
		v.nodes[level/tileHeight] = append(v.nodes[level/tileHeight], hashes[level])
	}
	return nil
}

// roots compares the root with every checkpoint of the size reached.
func (v *verification) roots() error {
	for v.met < len(v.heads) && v.heads[v.met].N == v.edge.size {
		root, err := v.edge.root()
		if err != nil {
			return err
		}
		if head := v.heads[v.met]; root != head.Hash {
			from := v.before(head.N)
			v.then = func() error { return v.pin(from, head.N) }
			return errFound
		}
		v.met++
	}
	return nil
}

func (v *verification) count(r *record) {
	switch r.Kind {
	case Settlement:
		v.report.Settlements++
	case Exchange:
		v.report.Exchanges++
	case Change:
		v.report.Changes++
	case Lock:
		v.report.Locks++
	case Budget:
		v.report.Budgets++
	case Ticket:
		v.report.Tickets++
	case Reveal:
		v.report.Reveals++
	}
}

func (v *verification) pending() error {
	err := v.r.PendingRows(v.ctx, func(row Row) error {
		r, p := fit(&row, -1)
		if p == nil {
			p = v.books.enter(r, -1)
		}
		if p != nil {
			return v.fail(p)
		}
		v.report.Pending++
		v.count(r)
		return nil
	})
	if err != nil {
		return err
	}
	if p := v.books.unsettled(); p != nil {
		return v.fail(p)
	}
	if p := v.books.unversioned(); p != nil {
		return v.fail(p)
	}
	return nil
}

func (v *verification) orphans() error {
	return v.r.Orphans(v.ctx, func(tenant string, id [16]byte) error {
		return v.fail(&Problem{What: "orphan", Index: -1, Last: -1, Tenant: tenant, Record: id,
			Detail: "the record is neither sealed nor pending"})
	})
}
