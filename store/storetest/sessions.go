package storetest

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"

	"github.com/gofrs/uuid/v5"

	"github.com/writpdp/writ/server/audit"
	"github.com/writpdp/writ/server/decision"
)

// testSessions is what a session's counters promise.
func testSessions(t *testing.T, place Place) {
	for name, test := range map[string]func(*testing.T, Place){"Seen": sessionSeen, "Counted": sessionCounted, "Window": sessionWindow, "Declassified": sessionDeclassified} {
		t.Run(name, func(t *testing.T) { test(t, place) })
	}
}

var labels = decision.LabelsKey("session-1")

func join(bits, saw int64) decision.Note {
	return decision.Note{Key: labels, Op: decision.NoteJoin, Amount: bits, Guarded: true, Saw: saw}
}

func hold(saw int64) decision.Note {
	return decision.Note{Key: labels, Op: decision.NoteHold, Guarded: true, Saw: saw}
}

// sessionSeen: what gives a session labels, and what was decided on those that it held
// before, race on two replicas: of those decided on nothing, none is committed after the
// labels are there. A restart forgets nothing.
func sessionSeen(t *testing.T, place Place) {
	open := opener(t, place)
	stores := []Store{open(), open()}
	var group sync.WaitGroup
	var mu sync.Mutex
	done := map[string]int{}
	for i := range 40 {
		group.Go(func() {
			name, note := "calls", hold(0)
			if i%10 == 0 {
				name, note = "results", join(0b100, 0)
			}
			_, err := stores[i%2].Commit(context.WithoutCancel(t.Context()), entry(uuid.NewV5(uuid.NamespaceOID, fmt.Sprint("seen ", i)).String(), "1", note))
			mu.Lock()
			defer mu.Unlock()
			switch {
			case err == nil:
				done[name]++
			case !errors.Is(err, audit.ErrStale):
				t.Error(err)
			}
		})
	}
	group.Wait()
	if done["results"] != 1 {
		t.Errorf("%d results are committed that saw nothing, want 1", done["results"])
	}
	for _, s := range append(stores, open()) {
		if got, want := used(t, s, labels)[labels], int64(0b100); got != want {
			t.Errorf("the session holds %b, want %b", got, want)
		}
		wantStale(t, s, entry("late", "1", hold(0)))
	}
	commit(t, stores[0], entry("more", "1", join(0b10, 0b100)))
	commit(t, stores[1], entry("the same", "1", join(0b10, 0b110)))
	wantStale(t, stores[1], entry("less", "1", join(0b10, 0b100)))
	if got, want := used(t, stores[0], labels)[labels], int64(0b110); got != want {
		t.Errorf("the session holds %b, want %b", got, want)
	}
}

// sessionCounted: what is added without a guard is added once each, retries included.
func sessionCounted(t *testing.T, place Place) {
	open := opener(t, place)
	stores := []Store{open(), open()}
	key := decision.BudgetKey{Budget: "count/calls", Subject: `"session-1"`}
	var group sync.WaitGroup
	for i := range 30 {
		group.Go(func() {
			e := entry(uuid.NewV5(uuid.NamespaceURL, fmt.Sprint("counted ", i/2)).String(), "1", decision.Note{Key: key, Op: decision.NoteAdd, Amount: 2})
			if _, err := stores[i%2].Commit(context.WithoutCancel(t.Context()), e); err != nil {
				t.Error(err)
			}
		})
	}
	group.Wait()
	if got, want := used(t, stores[1], key)[key], int64(30); got != want {
		t.Errorf("it holds %d, want %d", got, want)
	}
	commit(t, stores[0], entry("anew", "1", decision.Note{Key: key, Op: decision.NoteSet, Amount: 1, Guarded: true, Saw: 30}))
	wantStale(t, stores[1], entry("too late", "1", decision.Note{Key: key, Op: decision.NoteSet, Amount: 0, Guarded: true, Saw: 30}))
	if got, want := used(t, open(), key)[key], int64(1); got != want {
		t.Errorf("it holds %d, want %d", got, want)
	}
}

// sessionWindow: a guard looks at all parts of a window.
func sessionWindow(t *testing.T, place Place) {
	open := opener(t, place)
	stores := []Store{open(), open()}
	at := func(part int64) decision.BudgetKey {
		return decision.BudgetKey{Budget: "count/lately", Subject: `"session-1"`, Start: noon.Unix() + part*300}
	}
	add := func(part, saw int64) decision.Note {
		return decision.Note{Key: at(part), Op: decision.NoteAdd, Amount: 1, Guarded: true, Saw: saw, Length: 3600}
	}
	commit(t, stores[0], entry("first", "1", add(0, 0)))
	commit(t, stores[1], entry("second", "1", add(5, 1)))
	wantStale(t, stores[0], entry("blind", "1", add(5, 1)))
	commit(t, stores[0], entry("third", "1", add(12, 2)))
	commit(t, stores[0], entry("fourth", "1", add(13, 2))) // the first is out of reach
}

// sessionDeclassified: labels that are taken are gone, and what saw them is stale.
func sessionDeclassified(t *testing.T, place Place) {
	open := opener(t, place)
	stores := []Store{open(), open()}
	clear := func(name string, bits, saw int64) audit.Entry {
		e := entry(name, "1", decision.Note{Key: labels, Op: decision.NoteClear, Amount: bits, Guarded: true, Saw: saw})
		e.Kind = audit.Declassify
		return e
	}
	commit(t, stores[0], entry("given", "1", join(0b110, 0)))
	wantStale(t, stores[1], clear("blind", 0b10, 0))
	commit(t, stores[1], clear("taken", 0b10, 0b110))
	wantStale(t, stores[0], entry("late", "1", hold(0b110)))
	commit(t, stores[0], entry("seen", "1", hold(0b100)))
	commit(t, stores[0], clear("nothing", 0b10, 0b100))
	if got, want := used(t, open(), labels)[labels], int64(0b100); got != want {
		t.Errorf("the session holds %b, want %b", got, want)
	}
}
