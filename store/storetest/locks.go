package storetest

import (
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/gofrs/uuid/v5"
	"github.com/google/go-cmp/cmp"

	"github.com/writpdp/writ/server/audit"
	"github.com/writpdp/writ/server/decision"
)

func testLocks(t *testing.T, place Place) {
	for name, test := range map[string]func(*testing.T, Place){
		"Versions": lockVersions, "Fence": lockFence, "FenceInABatch": lockFenceInABatch, "Race": lockRace, "WhileAuditorsRead": lockWhileRead,
	} {
		t.Run(name, func(t *testing.T) { test(t, place) })
	}
}

// locking is the change that makes a version of the locks.
func locking(t *testing.T, version int64, name string) audit.Entry {
	t.Helper()
	lock := decision.Lock{ID: name, Target: decision.Target{Kind: decision.OfAgent, Value: "agent"}, Effect: decision.LockDeny,
		Until: noon.Add(time.Hour), By: "ann", Reason: "It runs wild."}
	e, err := audit.Controlled(uuid.NewV5(uuid.NamespaceOID, fmt.Sprint("locks ", version, name)), audit.ControlFacts{
		At: noon, Actor: "ann", Lock: lock, Reason: "It runs wild.", Control: decision.Control{Version: version, Locks: []decision.Lock{lock}},
	})
	if err != nil {
		t.Fatal(err)
	}
	return e
}

// fenced is an entry that rests on a version of the locks.
func fenced(version int64, request string, effects ...decision.Effect) audit.Entry {
	e := entry(request, "1", effects...)
	e.Fenced, e.Locks = true, version
	return e
}

// Each version follows the one before it, survives a restart, and is seen by
// another replica as soon as it is committed.
func lockVersions(t *testing.T, place Place) {
	open := place(t)
	s, other := open(), open()
	if _, err := s.Control(t.Context(), 0); !errors.Is(err, audit.ErrNotFound) {
		t.Fatalf("a new store: %v", err)
	}
	if _, err := s.Commit(t.Context(), locking(t, 2, "early")); !errors.Is(err, audit.ErrStale) {
		t.Errorf("version 2 first: %v", err)
	}
	var want []audit.VersionRow
	for version := range int64(3) {
		e := locking(t, version+1, "a")
		commit(t, s, e)
		want = append(want, audit.VersionRow{Chain: audit.ControlChain, Version: version + 1, Record: e.ID})
		row, err := other.Control(t.Context(), 0)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(e.Row, row); diff != "" {
			t.Errorf("the newest version (-want +got):\n%s", diff)
		}
	}
	commit(t, s, changed(t, 1, "beside", [32]byte{})) // the rollout counts for itself
	if _, err := s.Commit(t.Context(), locking(t, 3, "late")); !errors.Is(err, audit.ErrStale) {
		t.Errorf("version 3 again: %v", err)
	}
	if err := errors.Join(s.Close(), other.Close()); err != nil {
		t.Fatal(err)
	}
	s = open()
	defer s.Close()
	if diff := cmp.Diff(want, collect(t, versionsOf(audit.ControlChain, s))); diff != "" {
		t.Errorf("versions (-want +got):\n%s", diff)
	}
	for _, version := range []int64{-1, 4} {
		if _, err := s.Control(t.Context(), version); !errors.Is(err, audit.ErrNotFound) {
			t.Errorf("version %d: %v", version, err)
		}
	}
}

// What rests on older locks is not committed; what rests on none is, and so is a
// retry of what was committed before.
func lockFence(t *testing.T, place Place) {
	open := opener(t, place)
	s, other := open(), open()
	before := fenced(0, "before", charge(1, 10))
	commit(t, s, before)
	commit(t, other, locking(t, 1, "a"))
	for version, want := range map[int64]error{0: audit.ErrFenced, 1: nil, 2: audit.ErrFenced} {
		if _, err := s.Commit(t.Context(), fenced(version, fmt.Sprint("by ", version), charge(1, 10))); !errors.Is(err, want) {
			t.Errorf("by version %d: got %v, want %v", version, err, want)
		}
	}
	before.ID, before.Body = idOf("again"), []byte("another record")
	if receipt, err := s.Commit(t.Context(), before); err != nil || receipt.Prior == nil {
		t.Errorf("a retry: %+v, %v", receipt, err)
	}
	commit(t, s, entry("unfenced", "1", charge(1, 10)))
	if got, want := used(t, s, calls)[calls], int64(3); got != want {
		t.Errorf("the counter holds %d, want %d", got, want)
	}
}

// Within a batch the order decides, as it does between batches.
func lockFenceInABatch(t *testing.T, place Place) {
	s := start(t, place)
	var entries []audit.Entry
	for i := range 20 {
		entries = append(entries, fenced(0, fmt.Sprint("old ", i), charge(1, 1000)), fenced(1, fmt.Sprint("new ", i), charge(1, 1000)))
	}
	entries = append(entries, locking(t, 1, "a"))
	got := count(all(t, []Store{s}, entries))
	old, fresh := 0, 0
	for _, row := range collect(t, s.PendingRows) {
		switch {
		case row.Kind == audit.Lock:
		case row.Key[0] == 'o':
			old++
		default:
			fresh++
		}
	}
	if want := old + fresh; got["committed"] != want+1 || int64(want) != used(t, s, calls)[calls] || got[audit.ErrFenced.Error()] != 40-want {
		t.Errorf("%v, with %d old and %d new records and the counter at %d", got, old, fresh, used(t, s, calls)[calls])
	}
}

// Once a change of the locks has returned, nothing is committed by the version
// before, on whatever replica.
func lockRace(t *testing.T, place Place) {
	open := opener(t, place)
	stores := []Store{open(), open()}
	const versions, workers = 10, 8
	var newest atomic.Int64 // that has returned
	var wait sync.WaitGroup
	done := make(chan struct{})
	for w := range workers {
		wait.Go(func() {
			for i := 0; ; i++ {
				select {
				case <-done:
					return
				default:
				}
				since := newest.Load()
				for _, version := range []int64{since, since - 1} {
					if version < 0 {
						continue
					}
					_, err := stores[(w+i)%2].Commit(t.Context(), fenced(version, fmt.Sprint(w, " ", i, " ", version), charge(1, 1<<40)))
					if err != nil && !errors.Is(err, audit.ErrFenced) {
						t.Error(err)
					}
					if err == nil && version < since {
						t.Errorf("committed by version %d, after version %d was in force", version, since)
					}
				}
			}
		})
	}
	for version := range int64(versions) {
		commit(t, stores[version%2], locking(t, version+1, "a"))
		newest.Store(version + 1)
	}
	close(done)
	wait.Wait()
}

// Whoever reads the whole log, for however long, keeps nobody from locking.
func lockWhileRead(t *testing.T, place Place) {
	s := start(t, place)
	commit(t, s, locking(t, 1, "a"))
	err := s.View(t.Context(), func(r audit.Reader) error {
		return r.Versions(t.Context(), func(audit.VersionRow) error {
			commit(t, s, locking(t, 2, "b"))
			return nil
		})
	})
	if err != nil {
		t.Error(err)
	}
}
