package storetest

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/writpdp/writ/server/decision"
)

// Each replica stands there as it told last, until it leaves, or told so long ago
// that another forgets it.
func testReplicas(t *testing.T, place Place) {
	open := place(t)
	s, other := open(), open()
	replica := func(name string, version int64, told time.Time) decision.Replica {
		return decision.Replica{ID: idOf("replica %s", name), Name: name, Version: version, Applied: told.Add(-time.Minute), Told: told}
	}
	tell := func(r decision.Replica) {
		t.Helper()
		if err := s.Tell(t.Context(), r); err != nil {
			t.Fatal(err)
		}
	}
	want := func(all ...decision.Replica) {
		t.Helper()
		slices.SortFunc(all, func(a, b decision.Replica) int { return strings.Compare(a.Name, b.Name) })
		got, err := other.Replicas(t.Context())
		if diff := cmp.Diff(all, got, cmpopts.EquateEmpty()); err != nil || diff != "" {
			t.Errorf("replicas: %v (-want +got):\n%s", err, diff)
		}
	}
	want()
	a, b := replica("host-a/1", 0, noon), replica("host-B/1", 3, noon.Add(time.Second))
	tell(a)
	tell(b)
	want(a, b)
	a = replica("host-a/1", 4, noon.Add(2*time.Second))
	a.Name = "host-a/2"
	tell(a)
	want(a, b)
	// To the microsecond, those of an hour ago stay.
	c := replica("host-c/1", 4, b.Told.Add(decision.ReplicaForgotten))
	tell(c)
	want(a, b, c)
	c.Told = c.Told.Add(time.Microsecond)
	tell(c)
	want(a, c)
	for range 2 {
		if err := s.Leave(t.Context(), a.ID); err != nil {
			t.Fatal(err)
		}
		want(c)
	}
	for name, r := range map[string]decision.Replica{
		"no name": replica("", 1, noon), "a long name": replica(strings.Repeat("x", decision.MaxReplicaName+1), 1, noon), "before any version": replica("x", -1, noon),
	} {
		if err := s.Tell(t.Context(), r); err == nil {
			t.Errorf("%s: it is entered", name)
		}
	}
	want(c)
	for i := range decision.MaxReplicas {
		tell(replica(fmt.Sprint("many-", i), 1, c.Told))
	}
	if got, err := other.Replicas(t.Context()); err != nil || len(got) != decision.MaxReplicas {
		t.Errorf("%d are listed, want %d: %v", len(got), decision.MaxReplicas, err)
	}
}
