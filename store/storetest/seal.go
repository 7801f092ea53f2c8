package storetest

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/writpdp/writ/server/audit"
)

func testSeal(t *testing.T, place Place) {
	for name, test := range map[string]func(*testing.T, Place){
		"Order": sealOrder, "Together": sealTogether, "DuringCommits": sealDuring, "Failures": sealFailures,
		"Tiles": sealTiles, "Receipts": sealReceipts, "Large": sealLarge,
	} {
		t.Run(name, func(t *testing.T) { test(t, place) })
	}
}

// extension is a checkpoint of the right size and nothing else.
func extension(last audit.Checkpoint, rows []audit.Row) audit.Extension {
	size := last.Size + int64(len(rows))
	return audit.Extension{Checkpoint: audit.Checkpoint{Size: size, Note: fmt.Appendf(nil, "size %d", size)}}
}

// seal seals once, tells what, and returns how many.
func seal(t *testing.T, s Store, max int, tell func([]audit.Row)) int {
	t.Helper()
	n, err := s.Seal(t.Context(), max, func(last audit.Checkpoint, _ func(int, int64) ([]byte, error), rows []audit.Row) (audit.Extension, error) {
		if tell != nil {
			tell(rows)
		}
		return extension(last, rows), nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return n
}

func sealOrder(t *testing.T, place Place) {
	s := start(t, place)
	if got, want := seal(t, s, 10, func([]audit.Row) { t.Error("extended by nothing") }), 0; got != want {
		t.Errorf("sealed %d, want %d", got, want)
	}
	if got, err := s.Checkpoint(t.Context()); err != nil || got.Size != 0 || got.Note != nil {
		t.Errorf("the checkpoint of an empty log: %v, %v", got, err)
	}
	var want []string
	for i := range 10 {
		// Committed in an order that is neither that of time nor that of ids.
		e := entry(fmt.Sprint(i*7%10), "1")
		e.At = noon.Add(time.Duration(i*3%5) * time.Second)
		e.ID = [16]byte{byte(i * 7 % 10)}
		commit(t, s, e)
		want = append(want, fmt.Sprintf("%d %x", e.At.Unix(), e.ID))
	}
	slices.Sort(want)
	for i, n := range []int{4, 4, 2, 0} {
		if got := seal(t, s, 4, nil); got != n {
			t.Errorf("sealing %d took %d, want %d", i, got, n)
		}
	}
	var got []string
	for i, leaf := range leaves(t, s, 0, 100) {
		if leaf.Index != int64(i) {
			t.Errorf("index %d stands at %d", leaf.Index, i)
		}
		got = append(got, fmt.Sprintf("%d %x", leaf.At.Unix(), leaf.ID))
		index, sealed, err := s.LeafOf(t.Context(), leaf.Tenant, leaf.ID)
		if err != nil || !sealed || index != leaf.Index {
			t.Errorf("LeafOf says %d, %v, %v; want %d", index, sealed, err, leaf.Index)
		}
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("the order (-want +got):\n%s", diff)
	}
	var sizes []int64
	for _, c := range collect(t, s.Checkpoints) {
		sizes = append(sizes, c.Size)
	}
	if diff := cmp.Diff([]int64{4, 8, 10}, sizes); diff != "" {
		t.Errorf("checkpoints (-want +got):\n%s", diff)
	}
	newest, err := s.Checkpoint(t.Context())
	if diff := cmp.Diff(audit.Checkpoint{Size: 10, Note: []byte("size 10")}, newest); err != nil || diff != "" {
		t.Errorf("the newest checkpoint: %v (-want +got):\n%s", err, diff)
	}
	if got := leaves(t, s, 3, 5); len(got) != 2 || got[0].Index != 3 || got[1].Index != 4 {
		t.Errorf("leaves 3 to 5: %v", got)
	}
}

// sealTogether has two sealers on two stores: nothing is sealed twice or left.
func sealTogether(t *testing.T, place Place) {
	open := opener(t, place)
	stores := []Store{open(), open()}
	const n = 300
	for i := range n {
		commit(t, stores[0], entry(fmt.Sprint(i), "1"))
	}
	var wait sync.WaitGroup
	sealed := make([]int, len(stores))
	for i, s := range stores {
		wait.Go(func() {
			for len(collect(t, s.PendingRows)) > 0 {
				sealed[i] += seal(t, s, 7, nil)
			}
		})
	}
	wait.Wait()
	if got, want := sealed[0]+sealed[1], n; got != want {
		t.Errorf("sealed %v, want %d in all", sealed, want)
	}
	checkLog(t, stores[0], n)
}

// checkLog holds that n records are sealed, each once, without a gap.
func checkLog(t *testing.T, s Store, n int) {
	t.Helper()
	seen := map[[16]byte]bool{}
	for i, leaf := range leaves(t, s, 0, 1<<40) {
		if leaf.Index != int64(i) || seen[leaf.ID] || len(leaf.Body) == 0 {
			t.Fatalf("leaf %d is record %x at %d", i, leaf.ID, leaf.Index)
		}
		seen[leaf.ID] = true
	}
	if got, want := len(seen), n; got != want {
		t.Errorf("%d leaves, want %d", got, want)
	}
	if got := collect(t, s.PendingRows); len(got) != 0 {
		t.Errorf("%d records wait", len(got))
	}
	if got := orphans(t, s); len(got) != 0 {
		t.Errorf("orphans: %x", got)
	}
}

// sealDuring seals while others commit, and reads meanwhile: in no moment's view
// is there an orphan, or a record both sealed and waiting.
func sealDuring(t *testing.T, place Place) {
	open := opener(t, place)
	s, sealer := open(), open()
	const n = 400
	var entries []audit.Entry
	for i := range n {
		entries = append(entries, entry(fmt.Sprint(i), "1", charge(1, 1000)))
	}
	done := make(chan map[string]int, 1)
	go func() { done <- count(all(t, []Store{s}, entries)) }()
	for running := true; running; {
		seal(t, sealer, 50, nil)
		checkView(t, s)
		select {
		case got := <-done:
			if diff := cmp.Diff(map[string]int{"committed": n}, got); diff != "" {
				t.Errorf("results (-want +got):\n%s", diff)
			}
			running = false
		default:
		}
	}
	for seal(t, sealer, 50, nil) > 0 {
	}
	checkLog(t, s, n)
}

func checkView(t *testing.T, s Store) {
	t.Helper()
	err := s.View(t.Context(), func(r audit.Reader) error {
		var used int64
		for _, u := range collect(t, r.Uses) {
			used += u.Used
		}
		sealed, waiting := leaves(t, r, 0, 1<<40), collect(t, r.PendingRows)
		if got, want := int64(len(sealed)+len(waiting)), used; got != want {
			t.Errorf("%d sealed and %d waiting, %d charged", len(sealed), len(waiting), want)
		}
		if checkpoints := collect(t, r.Checkpoints); len(checkpoints) > 0 {
			if got, want := checkpoints[len(checkpoints)-1].Size, int64(len(sealed)); got != want {
				t.Errorf("the checkpoint has size %d, want %d", got, want)
			}
		}
		if got := orphans(t, r); len(got) != 0 {
			t.Errorf("orphans: %x", got)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

func sealFailures(t *testing.T, place Place) {
	s := start(t, place)
	for i := range 3 {
		commit(t, s, entry(fmt.Sprint(i), "1"))
	}
	broken := errors.New("no signature")
	for name, extend := range map[string]audit.Extend{
		"an error": func(audit.Checkpoint, func(int, int64) ([]byte, error), []audit.Row) (audit.Extension, error) {
			return audit.Extension{}, broken
		},
		"another size": func(last audit.Checkpoint, _ func(int, int64) ([]byte, error), rows []audit.Row) (audit.Extension, error) {
			return extension(last, rows[1:]), nil
		},
		"a broken tile": func(last audit.Checkpoint, _ func(int, int64) ([]byte, error), rows []audit.Row) (audit.Extension, error) {
			e := extension(last, rows)
			e.Tiles = []audit.Tile{{Hashes: make([]byte, 31)}}
			return e, nil
		},
		"a missing tile": func(_ audit.Checkpoint, tile func(int, int64) ([]byte, error), _ []audit.Row) (audit.Extension, error) {
			_, err := tile(0, 7)
			if !errors.Is(err, audit.ErrNotFound) {
				t.Errorf("a tile that is not there: %v", err)
			}
			return audit.Extension{}, err
		},
	} {
		n, err := s.Seal(t.Context(), 10, extend)
		if err == nil || n != 0 {
			t.Errorf("%s: sealed %d, %v", name, n, err)
		}
		if name == "an error" && !errors.Is(err, broken) {
			t.Errorf("got %v, want %v", err, broken)
		}
	}
	gone, cancel := context.WithCancel(t.Context())
	cancel()
	if n, err := s.Seal(gone, 10, nil); err == nil || n != 0 {
		t.Errorf("a sealer who left: sealed %d, %v", n, err)
	}
	if _, err := s.Seal(t.Context(), 0, nil); err == nil {
		t.Error("a max of 0: no error")
	}
	if got := len(leaves(t, s, 0, 10)); got != 0 {
		t.Errorf("%d leaves", got)
	}
	// Nothing of it stands in the way.
	if got, want := seal(t, s, 10, nil), 3; got != want {
		t.Errorf("sealed %d, want %d", got, want)
	}
	checkLog(t, s, 3)
}

func sealTiles(t *testing.T, place Place) {
	s := start(t, place)
	if _, err := s.Tile(t.Context(), 0, 0); !errors.Is(err, audit.ErrNotFound) {
		t.Errorf("no tile: got %v, want %v", err, audit.ErrNotFound)
	}
	for round := range 3 {
		commit(t, s, entry(fmt.Sprint(round), "1"))
		_, err := s.Seal(t.Context(), 1, func(last audit.Checkpoint, tile func(int, int64) ([]byte, error), rows []audit.Row) (audit.Extension, error) {
			e := extension(last, rows)
			hashes := []byte(nil)
			if round > 0 {
				var err error
				if hashes, err = tile(0, 1<<33); err != nil {
					return audit.Extension{}, err
				}
			}
			e.Tiles = []audit.Tile{{Level: 0, Index: 1 << 33, Hashes: append(slices.Clone(hashes), rows[0].Leaf[:]...)}, {Level: 7, Index: int64(round), Hashes: rows[0].Leaf[:]}}
			return e, nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	hashes, err := s.Tile(t.Context(), 0, 1<<33)
	if err != nil {
		t.Fatal(err)
	}
	if got, want := len(hashes), 96; got != want {
		t.Errorf("the tile has %d bytes, want %d", got, want)
	}
	var places []string
	for _, tile := range collect(t, s.Tiles) {
		places = append(places, fmt.Sprintf("%d/%d:%d", tile.Level, tile.Index, len(tile.Hashes)))
	}
	slices.Sort(places)
	if got, want := strings.Join(places, " "), fmt.Sprintf("0/%d:96 7/0:32 7/1:32 7/2:32", int64(1)<<33); got != want {
		t.Errorf("tiles %s, want %s", got, want)
	}
}

// sealReceipts holds a receipt's promise: the record stands at an index of at
// least its size.
func sealReceipts(t *testing.T, place Place) {
	s := start(t, place)
	sizes := map[[16]byte]int64{}
	for i := range 12 {
		e := entry(fmt.Sprint(i), "1")
		sizes[e.ID] = commit(t, s, e).Size
		if i%3 == 2 {
			seal(t, s, 2, nil)
		}
		for j := range i + 1 {
			replay, err := s.Commit(t.Context(), entry(fmt.Sprint(j), "2"))
			if err != nil || replay.Prior == nil {
				t.Fatalf("replay of %d: %v, %v", j, replay, err)
			}
			id := entry(fmt.Sprint(j), "1").ID
			sizes[id] = max(sizes[id], replay.Size)
		}
	}
	if sizes[entry("11", "1").ID] == 0 {
		t.Error("the last receipt knows of no checkpoint")
	}
	for seal(t, s, 100, nil) > 0 {
	}
	for id, size := range sizes {
		index, sealed, err := s.LeafOf(t.Context(), "acme", id)
		if err != nil || !sealed || index < size {
			t.Errorf("record %x stands at %d (%v, %v), its receipts say %d", id, index, sealed, err, size)
		}
	}
}

// sealLarge holds that large bodies are sealed in batches that fit the memory.
func sealLarge(t *testing.T, place Place) {
	s := start(t, place)
	const n = 12
	for i := range n {
		e := entry(fmt.Sprint(i), "1")
		e.Body = append(make([]byte, audit.MaxBody-1), byte(i))
		commit(t, s, e)
	}
	var batches []int
	for left := n; left > 0; {
		sealed := seal(t, s, 1000, nil)
		batches = append(batches, sealed)
		left -= sealed
		if sealed == 0 {
			break
		}
	}
	if diff := cmp.Diff([]int{8, 4}, batches); diff != "" {
		t.Errorf("batches (-want +got):\n%s", diff)
	}
}
