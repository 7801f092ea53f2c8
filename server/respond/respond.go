// Package respond owns the kill switches: it sets and lifts locks, each change a
// record in the log, and follows what others have changed, so that every replica
// on a store stops the same. It opens no store.
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

// Store keeps the locks. Safe for concurrent use.
type Store interface {
	// Commit makes a change durable, once no decision by the locks before is under
	// way. audit.ErrStale: another was faster, and nothing was written.
	Commit(context.Context, audit.Entry) (audit.Receipt, error)
	// Locks is the record of the change that made a version; 0: the newest.
	// audit.ErrNotFound: there is none.
	Locks(ctx context.Context, version int64) (audit.Row, error)
}

// Refusals of a change. Nothing was changed.
var (
	// ErrTaken: a lock of that id is in force.
	ErrTaken = errors.New("there is a lock of this id")
	// ErrUnknown: no lock of that id is in force.
	ErrUnknown = errors.New("there is no lock of this id")
	// ErrMany: as many locks are in force as there can be.
	ErrMany = fmt.Errorf("there are %d locks: lift some", decision.MaxLocks)
)

// attempts is how often a change is made anew because somebody else changed the
// locks meanwhile: each adds or takes away one, so no two of them conflict.
const attempts = 16

// Set puts a lock into force. It is durable when Set returns, and from then on no
// replica commits what it stops. Who sets it, and why, is taken from by. The error
// is ErrTaken, ErrMany, that of a lock that says too little or lasts too long
// (nothing was changed), or another, and then it is unknown whether anything was.
func Set(ctx context.Context, s Store, l decision.Lock, by audit.By) (audit.LockFacts, error) {
	l.By, l.Reason, l.Until = by.Actor, by.Reason, l.Until.UTC().Truncate(time.Microsecond)
	if err := l.Check(); err != nil {
		return audit.LockFacts{}, fmt.Errorf("setting a lock: %w", err)
	}
	if lasts := l.Until.Sub(by.At); lasts <= 0 || lasts > decision.MaxLockTime {
		return audit.LockFacts{}, fmt.Errorf("setting a lock: it does not last for up to %d days from now", decision.MaxLockTime/(24*time.Hour))
	}
	return change(ctx, s, by, func(c *audit.LockFacts) error {
		at, taken := slices.BinarySearchFunc(c.Locks.Locks, l.ID, byID)
		switch {
		case taken:
			return ErrTaken
		case len(c.Locks.Locks) >= decision.MaxLocks:
			return ErrMany
		}
		c.Lock, c.Locks.Locks = l, slices.Insert(c.Locks.Locks, at, l)
		return nil
	})
}

// Lift ends a lock before its time. The error is ErrUnknown, or as for Set.
func Lift(ctx context.Context, s Store, id string, by audit.By) (audit.LockFacts, error) {
	return change(ctx, s, by, func(c *audit.LockFacts) error {
		at, known := slices.BinarySearchFunc(c.Locks.Locks, id, byID)
		if !known {
			return ErrUnknown
		}
		c.Lock, c.Lifted = c.Locks.Locks[at], true
		c.Locks.Locks = slices.Delete(c.Locks.Locks, at, at+1)
		return nil
	})
}

func byID(l decision.Lock, id string) int { return strings.Compare(l.ID, id) }

// change makes the next version of the newest.
func change(ctx context.Context, s Store, by audit.By, make func(*audit.LockFacts) error) (audit.LockFacts, error) {
	at := by.At.UTC().Truncate(time.Microsecond)
	for range attempts {
		last, err := Newest(ctx, s)
		if err != nil {
			return audit.LockFacts{}, err
		}
		next := audit.LockFacts{At: at, Actor: by.Actor, Reason: by.Reason, Ticket: by.Ticket,
			Locks: decision.Locks{Version: last.Locks.Version + 1, Locks: InForce(last.Locks.Locks, at)}}
		if err := make(&next); err != nil {
			return next, fmt.Errorf("changing the locks: %w", err)
		}
		entry, err := audit.Locked(by.ID, next)
		if err != nil {
			return next, err
		}
		if _, err = s.Commit(ctx, entry); err == nil {
			return next, nil
		}
		if !errors.Is(err, audit.ErrStale) {
			return next, fmt.Errorf("committing version %d of the locks: %w", next.Locks.Version, err)
		}
	}
	return audit.LockFacts{}, fmt.Errorf("others change the locks faster than this change can be made: %w", audit.ErrStale)
}

// InForce are the locks that have not ended at a time.
func InForce(locks []decision.Lock, at time.Time) []decision.Lock {
	return slices.DeleteFunc(slices.Clone(locks), func(l decision.Lock) bool { return !at.Before(l.Until) })
}

// Newest is the change that made what is in force; the zero value: there never was
// a lock.
func Newest(ctx context.Context, s Store) (audit.LockFacts, error) {
	c, err := at(ctx, s, 0)
	if errors.Is(err, audit.ErrNotFound) {
		return audit.LockFacts{}, nil
	}
	return c, err
}

// History is up to limit changes, the newest first.
func History(ctx context.Context, s Store, limit int) ([]audit.LockFacts, error) {
	c, err := Newest(ctx, s)
	var all []audit.LockFacts
	for err == nil && c.Locks.Version > 0 && len(all) < limit {
		if all = append(all, c); c.Locks.Version == 1 {
			break
		}
		c, err = at(ctx, s, c.Locks.Version-1)
	}
	return all, err
}

// at reads a version, and wants its record to say that it is it.
func at(ctx context.Context, s Store, version int64) (audit.LockFacts, error) {
	row, err := s.Locks(ctx, version)
	if err != nil {
		return audit.LockFacts{}, err
	}
	c, err := audit.LockFactsOf(row.Body)
	if err == nil && version != 0 && c.Locks.Version != version {
		err = fmt.Errorf("its record makes version %d", c.Locks.Version)
	}
	if err != nil {
		return audit.LockFacts{}, fmt.Errorf("reading version %d of the locks: %w", version, err)
	}
	return c, nil
}
