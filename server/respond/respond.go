// Package respond owns the control state: what people change at run time. It sets and
// lifts locks, and changes budgets for a while, each change a record in the log, and
// follows what others have changed, so that every replica on a store stops the same
// and spends by the same caps. It opens no store.
package respond

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/writpdp/writ/server/audit"
	"github.com/writpdp/writ/server/decision"
)

// Store keeps the control state. Safe for concurrent use.
type Store interface {
	// Commit makes a change durable, once no decision by the version before is
	// under way. audit.ErrStale: another was faster, and nothing was written.
	Commit(context.Context, audit.Entry) (audit.Receipt, error)
	// Control is the record of the change that made a version; 0: the newest.
	// audit.ErrNotFound: there is none.
	Control(ctx context.Context, version int64) (audit.Row, error)
}

// Refusals of a change. Nothing was changed.
var (
	// ErrTaken: one of that id is in force.
	ErrTaken = errors.New("something of this id is in force")
	// ErrUnknown: none of that id is in force.
	ErrUnknown = errors.New("nothing of this id is in force")
	// ErrInvalid: it says too little, or what no record can say, or lasts too long.
	ErrInvalid = errors.New("it cannot be recorded")
	// ErrMany: as many locks, or changes of budgets, are in force as there can be.
	ErrMany = errors.New("there are as many as there can be: end some")
)

// How often a change is made anew because somebody else changed the state meanwhile:
// each adds or takes away one, so no two of them conflict. However fast budgets are
// changed, a lock must get through.
const lockAttempts, budgetAttempts = 512, 16

// Set puts a lock into force. It is durable when Set returns, and from then on no
// replica commits what it stops. Who sets it, and why, is taken from by. The error
// is ErrTaken, ErrMany or ErrInvalid (nothing was changed), or another, and then it is
// unknown whether anything was.
func Set(ctx context.Context, s Store, l decision.Lock, by audit.By) (Made, error) {
	l.By, l.Reason, l.Until = by.Actor, by.Reason, l.Until.UTC().Truncate(time.Microsecond)
	if err := l.Check(); err != nil {
		return Made{}, fmt.Errorf("setting a lock: %w: %w", ErrInvalid, err)
	}
	if lasts := l.Until.Sub(by.At); lasts <= 0 || lasts > decision.MaxLockTime {
		return Made{}, fmt.Errorf("setting a lock: %w: it does not last for up to %d days from now", ErrInvalid, decision.MaxLockTime/(24*time.Hour))
	}
	return change(ctx, s, by, lockAttempts, func(c *audit.ControlFacts) error {
		at, taken := slices.BinarySearchFunc(c.Control.Locks, l.ID, byID)
		switch {
		case taken:
			return ErrTaken
		case len(c.Control.Locks) >= decision.MaxLocks:
			return ErrMany
		}
		c.Lock, c.Control.Locks = l, slices.Insert(c.Control.Locks, at, l)
		return nil
	})
}

// Lift ends a lock before its time. The error is ErrUnknown, or as for Set.
func Lift(ctx context.Context, s Store, id string, by audit.By) (Made, error) {
	return change(ctx, s, by, lockAttempts, func(c *audit.ControlFacts) error {
		at, known := slices.BinarySearchFunc(c.Control.Locks, id, byID)
		if !known {
			return ErrUnknown
		}
		c.Lock, c.Lifted = c.Control.Locks[at], true
		c.Control.Locks = slices.Delete(c.Control.Locks, at, at+1)
		return nil
	})
}

func byID(l decision.Lock, id string) int { return strings.Compare(l.ID, id) }

// Made is a change that was made.
type Made struct {
	audit.ControlFacts
	// Row is its record, and Receipt that of its commit. With Prior the same request
	// had been committed before.
	Row     audit.Row
	Receipt audit.Receipt
}

// prior is the change that the same request made before.
func prior(receipt audit.Receipt) (Made, error) {
	row, err := audit.RowOf(receipt.Prior)
	if err != nil {
		return Made{}, fmt.Errorf("reading an earlier change: %w", err)
	}
	made, err := audit.ControlFactsOf(receipt.Prior)
	if err != nil {
		return Made{}, fmt.Errorf("reading an earlier change: %w", err)
	}
	return Made{ControlFacts: made, Row: row, Receipt: receipt}, nil
}

// change makes the next version of the newest.
func change(ctx context.Context, s Store, by audit.By, attempts int, make func(*audit.ControlFacts) error) (Made, error) {
	at := by.At.UTC().Truncate(time.Microsecond)
	for range attempts {
		last, err := Newest(ctx, s)
		if err != nil {
			return Made{}, err
		}
		next := audit.ControlFacts{At: at, Actor: by.Actor, Reason: by.Reason, Ticket: by.Ticket,
			Control: decision.Control{Version: last.Control.Version + 1, Locks: InForce(last.Control.Locks, at), Adjustments: Adjusted(last.Control.Adjustments, at)}}
		if err := make(&next); err != nil {
			return Made{}, fmt.Errorf("changing the control state: %w", err)
		}
		entry, err := audit.Controlled(by.ID, next)
		if err != nil {
			return Made{}, fmt.Errorf("%w: %w", ErrInvalid, err)
		}
		receipt, err := s.Commit(ctx, entry)
		switch {
		case err == nil && receipt.Prior != nil:
			return prior(receipt)
		case err == nil:
			return Made{ControlFacts: next, Row: entry.Row, Receipt: receipt}, nil
		case !errors.Is(err, audit.ErrStale):
			return Made{}, fmt.Errorf("committing version %d of the control state: %w", next.Control.Version, err)
		}
	}
	return Made{}, fmt.Errorf("others change the control state faster than this change can be made: %w", audit.ErrStale)
}

// InForce are the locks that have not ended at a time.
func InForce(locks []decision.Lock, at time.Time) []decision.Lock {
	return slices.DeleteFunc(slices.Clone(locks), func(l decision.Lock) bool { return !at.Before(l.Until) })
}

// Newest is the change that made what is in force; the zero value: there never was
// one.
func Newest(ctx context.Context, s Store) (audit.ControlFacts, error) {
	c, err := at(ctx, s, 0)
	if errors.Is(err, audit.ErrNotFound) {
		return audit.ControlFacts{}, nil
	}
	return c, err
}

// History is up to limit of some changes, the newest first.
func History(ctx context.Context, s Store, limit int, some func(*audit.ControlFacts) bool) ([]audit.ControlFacts, error) {
	c, err := Newest(ctx, s)
	var all []audit.ControlFacts
	for err == nil && c.Control.Version > 0 && len(all) < limit {
		if some(&c) {
			all = append(all, c)
		}
		if c.Control.Version == 1 {
			break
		}
		c, err = at(ctx, s, c.Control.Version-1)
	}
	return all, err
}

// at reads a version, and wants its record to say that it is it.
func at(ctx context.Context, s Store, version int64) (audit.ControlFacts, error) {
	row, err := s.Control(ctx, version)
	if err != nil {
		return audit.ControlFacts{}, err
	}
	c, err := audit.ControlFactsOf(row.Body)
	if err == nil && version != 0 && c.Control.Version != version {
		err = fmt.Errorf("its record makes version %d", c.Control.Version)
	}
	if err != nil {
		return audit.ControlFacts{}, fmt.Errorf("reading version %d of the control state: %w", version, err)
	}
	return c, nil
}

// OfLocks and OfBudgets are the changes of one sort.
func OfLocks(c *audit.ControlFacts) bool   { return c.Budget == nil }
func OfBudgets(c *audit.ControlFacts) bool { return c.Budget != nil }
