package storetest

import (
	"bytes"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"testing"

	"github.com/gofrs/uuid/v5"
	"github.com/google/go-cmp/cmp"

	"github.com/writpdp/writ/server/audit"
	"github.com/writpdp/writ/server/decision"
)

func testRollout(t *testing.T, place Place) {
	for name, test := range map[string]func(*testing.T, Place){
		"Versions": rolloutVersions, "Race": rolloutRace, "Neighbours": rolloutNeighbours, "Archives": rolloutArchives,
	} {
		t.Run(name, func(t *testing.T) { test(t, place) })
	}
}

// changed is the change that makes a version, as audit encodes it; name makes it
// another than others of that version.
func changed(t *testing.T, version int64, name string, archive [32]byte) audit.Entry {
	t.Helper()
	bundle := digest("bundle %s", name)
	e, err := audit.Changed(uuid.NewV5(uuid.NamespaceOID, fmt.Sprint("change ", version, name)), audit.ChangeFacts{
		At: noon, Action: audit.Activate, Actor: "ann", Reason: "Because of " + name,
		Rollout: decision.Rollout{Version: version, Live: decision.BundleRef{Digest: hex.EncodeToString(bundle[:]), Archive: archive}},
	})
	if err != nil {
		t.Fatal(err)
	}
	return e
}

// versionsOf are the versions of one chain.
func versionsOf(chain audit.Chain, s Store) func(context.Context, func(audit.VersionRow) error) error {
	return func(ctx context.Context, yield func(audit.VersionRow) error) error {
		return s.Versions(ctx, func(row audit.VersionRow) error {
			if row.Chain != chain {
				return nil
			}
			return yield(row)
		})
	}
}

// Each version follows the one before it, survives a restart, and is seen by
// another replica as soon as it is committed.
func rolloutVersions(t *testing.T, place Place) {
	open := place(t)
	s, other := open(), open()
	if _, err := s.Rollout(t.Context(), 0); !errors.Is(err, audit.ErrNotFound) {
		t.Fatalf("a new store: %v", err)
	}
	if _, err := s.Commit(t.Context(), changed(t, 2, "early", [32]byte{})); !errors.Is(err, audit.ErrStale) {
		t.Errorf("version 2 first: %v", err)
	}
	var want []audit.VersionRow
	for version := range int64(3) {
		e := changed(t, version+1, "a", [32]byte{})
		commit(t, s, e)
		want = append(want, audit.VersionRow{Chain: audit.RolloutChain, Version: version + 1, Record: e.ID})
		row, err := other.Rollout(t.Context(), 0)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(e.Row, row); diff != "" {
			t.Errorf("the newest version (-want +got):\n%s", diff)
		}
		if receipt, err := other.Commit(t.Context(), e); err != nil || receipt.Prior != nil {
			t.Errorf("the same change again: %+v, %v", receipt, err)
		}
	}
	if _, err := s.Commit(t.Context(), changed(t, 3, "late", [32]byte{})); !errors.Is(err, audit.ErrStale) {
		t.Errorf("version 3 again: %v", err)
	}
	if err := errors.Join(s.Close(), other.Close()); err != nil {
		t.Fatal(err)
	}
	s = open()
	defer s.Close()
	if diff := cmp.Diff(want, collect(t, versionsOf(audit.RolloutChain, s))); diff != "" {
		t.Errorf("versions (-want +got):\n%s", diff)
	}
	for _, r := range want {
		row, err := s.Rollout(t.Context(), r.Version)
		if err != nil || row.ID != r.Record {
			t.Errorf("version %d: %v, %v", r.Version, row.ID, err)
		}
	}
	for _, version := range []int64{-1, 4} {
		if _, err := s.Rollout(t.Context(), version); !errors.Is(err, audit.ErrNotFound) {
			t.Errorf("version %d: %v", version, err)
		}
	}
}

// Of those who make the same version at once, one does, whatever replica each
// asks.
func rolloutRace(t *testing.T, place Place) {
	open := opener(t, place)
	stores := []Store{open(), open()}
	for version := range int64(10) {
		entries := make([]audit.Entry, 8)
		for i := range entries {
			entries[i] = changed(t, version+1, fmt.Sprint(i), [32]byte{})
		}
		want := map[string]int{"committed": 1, audit.ErrStale.Error(): 7}
		if diff := cmp.Diff(want, count(all(t, stores, entries))); diff != "" {
			t.Errorf("version %d (-want +got):\n%s", version+1, diff)
		}
	}
	if got, want := len(collect(t, versionsOf(audit.RolloutChain, stores[0]))), 10; got != want {
		t.Errorf("%d versions, want %d", got, want)
	}
}

// A change that comes too late leaves the decisions of its batch alone.
func rolloutNeighbours(t *testing.T, place Place) {
	s := start(t, place)
	commit(t, s, changed(t, 1, "first", [32]byte{}))
	var entries []audit.Entry
	for i := range 20 {
		entries = append(entries, entry(fmt.Sprint("beside ", i), "1", charge(1, 1000)), changed(t, 1, fmt.Sprint("late ", i), [32]byte{}))
	}
	want := map[string]int{"committed": 20, audit.ErrStale.Error(): 20}
	if diff := cmp.Diff(want, count(all(t, []Store{s}, entries))); diff != "" {
		t.Error(diff)
	}
	if got, want := used(t, s, calls)[calls], int64(20); got != want {
		t.Errorf("the counter holds %d, want %d", got, want)
	}
}

func rolloutArchives(t *testing.T, place Place) {
	open := opener(t, place)
	s, other := open(), open()
	large := bytes.Repeat([]byte{0, 1, 2, 0xff}, 1<<20)
	want := map[[32]byte]int{}
	for _, body := range [][]byte{[]byte("small"), large, {0}, large} {
		digest, err := s.KeepArchive(t.Context(), body)
		if err != nil {
			t.Fatal(err)
		}
		want[digest] = len(body)
		got, err := other.Archive(t.Context(), digest)
		if err != nil || !bytes.Equal(got, body) {
			t.Errorf("%d bytes came back as %d: %v", len(body), len(got), err)
		}
	}
	if _, err := s.Archive(t.Context(), digest("none")); !errors.Is(err, audit.ErrNotFound) {
		t.Errorf("an archive that is not there: %v", err)
	}
	got := map[[32]byte]int{}
	err := s.Archives(context.WithoutCancel(t.Context()), func(a audit.Archive) error {
		got[a.Digest] = len(a.Body)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("archives (-want +got):\n%s", diff)
	}
}
