// Package rollout owns which policy bundles decide: it changes that, each change a
// record in the log, and follows what others have changed, so that every replica
// on a store decides by the same. It reads no files and opens no store.
package rollout

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"time"

	"github.com/writpdp/writ/server/audit"
	"github.com/writpdp/writ/server/decision"
	"github.com/writpdp/writ/server/policy/archive"
)

// Store keeps the rollout. Safe for concurrent use.
type Store interface {
	// Commit makes a change durable. audit.ErrStale: another was faster, and
	// nothing was written.
	Commit(context.Context, audit.Entry) (audit.Receipt, error)
	// Rollout is the record of the change that made a version; 0: the newest.
	// audit.ErrNotFound: there is none.
	Rollout(ctx context.Context, version int64) (audit.Row, error)
	// KeepArchive makes an archive durable under its SHA-256.
	KeepArchive(ctx context.Context, archive []byte) ([32]byte, error)
	// Archive is what was kept; audit.ErrNotFound: nothing was.
	Archive(ctx context.Context, digest [32]byte) ([]byte, error)
}

// Refusals of a change, beside audit.ErrStale. Nothing was changed.
var (
	// ErrLive: the bundle is in force as it would be after the change.
	ErrLive = errors.New("it is in force already")
	// ErrNone: nothing is in force by the store, so there is nothing to try a
	// candidate out beside, or to go back from.
	ErrNone = errors.New("no bundle was activated in this store yet")
	// ErrFirst: no other bundle was live before.
	ErrFirst = errors.New("no other bundle was live before")
)

// Trial is how a bundle is tried out. The zero value puts it into force, whole.
type Trial struct {
	Mode decision.RolloutMode
	// Share, Tenants and Margin are as in decision.Rollout; Tenants in any order.
	Share   int
	Tenants []string
	Margin  decision.Margin
}

// Activate puts the bundle at the root of a file system into force, or tries it
// out. Its archive is durable before the change is, and the change before it
// returns; replicas follow. The error is ErrLive, ErrNone, audit.ErrStale, that of
// a bundle that does not load (nothing was changed), or another, and then it is
// unknown whether anything was changed.
func Activate(ctx context.Context, s Store, bundle fs.FS, trial Trial, by audit.By) (audit.ChangeFacts, error) {
	packed, loaded, err := archive.Pack(bundle)
	if err != nil {
		return audit.ChangeFacts{}, err
	}
	last, err := Newest(ctx, s)
	if err != nil && !(errors.Is(err, ErrNone) && trial.Mode == 0) {
		return audit.ChangeFacts{}, err
	}
	ref := decision.BundleRef{Digest: loaded.Digest, Archive: sha256.Sum256(packed)}
	next := decision.Rollout{Version: last.Rollout.Version + 1, Live: ref}
	if trial.Mode != 0 {
		next.Live, next.Candidate = last.Rollout.Live, ref
		next.Mode, next.Share, next.Margin = trial.Mode, trial.Share, trial.Margin
		next.Tenants = slices.Compact(slices.Sorted(slices.Values(trial.Tenants)))
	}
	if last.Rollout.Live == ref && (trial.Mode != 0 || last.Rollout.Mode == 0) {
		return audit.ChangeFacts{}, fmt.Errorf("activating the bundle %.12s: %w", loaded.Digest, ErrLive)
	}
	if _, err := s.KeepArchive(ctx, packed); err != nil {
		return audit.ChangeFacts{}, err
	}
	return commit(ctx, s, audit.Activate, next, by)
}

// Rollback takes a candidate out, and where there is none puts the bundle into
// force that was live before. The errors are those of Activate, and ErrFirst.
func Rollback(ctx context.Context, s Store, by audit.By) (audit.ChangeFacts, error) {
	last, err := Newest(ctx, s)
	if err != nil {
		return audit.ChangeFacts{}, err
	}
	next := decision.Rollout{Version: last.Rollout.Version + 1, Live: last.Rollout.Live}
	if last.Rollout.Candidate == (decision.BundleRef{}) {
		if next.Live, err = before(ctx, s, last.Rollout); err != nil {
			return audit.ChangeFacts{}, err
		}
	}
	return commit(ctx, s, audit.Rollback, next, by)
}

// before is the bundle that was live before the one that is.
func before(ctx context.Context, s Store, r decision.Rollout) (decision.BundleRef, error) {
	for version := r.Version - 1; version > 0; version-- {
		c, err := at(ctx, s, version)
		if err != nil {
			return decision.BundleRef{}, err
		}
		if c.Rollout.Live != r.Live {
			return c.Rollout.Live, nil
		}
	}
	return decision.BundleRef{}, ErrFirst
}

// halt takes the candidate of a rollout out.
func halt(ctx context.Context, s Store, r decision.Rollout, by audit.By) (audit.ChangeFacts, error) {
	return commit(ctx, s, audit.Halt, decision.Rollout{Version: r.Version + 1, Live: r.Live}, by)
}

func commit(ctx context.Context, s Store, action audit.Action, next decision.Rollout, by audit.By) (audit.ChangeFacts, error) {
	c := audit.ChangeFacts{At: by.At.UTC().Truncate(time.Microsecond), Action: action, Actor: by.Actor, Reason: by.Reason, Ticket: by.Ticket, Rollout: next}
	entry, err := audit.Changed(by.ID, c)
	if err != nil {
		return c, err
	}
	_, err = s.Commit(ctx, entry)
	if errors.Is(err, audit.ErrStale) {
		return c, fmt.Errorf("somebody else made version %d meanwhile: look at it and decide again: %w", next.Version, err)
	}
	if err != nil {
		return c, fmt.Errorf("committing version %d of the rollout: %w", next.Version, err)
	}
	return c, nil
}

// Newest is the change that made what is in force; ErrNone: nothing is.
func Newest(ctx context.Context, s Store) (audit.ChangeFacts, error) {
	c, err := at(ctx, s, 0)
	if errors.Is(err, audit.ErrNotFound) {
		err = ErrNone
	}
	return c, err
}

// History is up to limit changes, the newest first.
func History(ctx context.Context, s Store, limit int) ([]audit.ChangeFacts, error) {
	c, err := Newest(ctx, s)
	if errors.Is(err, ErrNone) {
		return nil, nil
	}
	var all []audit.ChangeFacts
	for ; err == nil && len(all) < limit; c, err = at(ctx, s, c.Rollout.Version-1) {
		if all = append(all, c); c.Rollout.Version == 1 {
			break
		}
	}
	return all, err
}

// at reads a version, and wants its record to say that it is it.
func at(ctx context.Context, s Store, version int64) (audit.ChangeFacts, error) {
	row, err := s.Rollout(ctx, version)
	if err != nil {
		return audit.ChangeFacts{}, err
	}
	c, err := audit.ChangeOf(row.Body)
	if err == nil && version != 0 && c.Rollout.Version != version {
		err = fmt.Errorf("its record makes version %d", c.Rollout.Version)
	}
	if err != nil {
		return audit.ChangeFacts{}, fmt.Errorf("reading version %d of the rollout: %w", version, err)
	}
	return c, nil
}
