package respond_test

import (
	"context"
	"errors"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/writpdp/writ/server/audit"
	"github.com/writpdp/writ/server/decision"
	"github.com/writpdp/writ/server/respond"
)

// roll keeps what it is told, in memory.
type roll struct {
	mu   sync.Mutex
	told []decision.Replica
	left [][16]byte
	err  error
}

func (r *roll) Tell(_ context.Context, of decision.Replica) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.told = append(r.told, of)
	return r.err
}

func (r *roll) Leave(ctx context.Context, id [16]byte) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.left = append(r.left, id)
	return errors.Join(ctx.Err(), r.err)
}

func (r *roll) Replicas(context.Context) ([]decision.Replica, error) { return nil, nil }

func (r *roll) fail(err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.err = err
}

// take is what was told since it was last taken.
func (r *roll) take() []decision.Replica {
	r.mu.Lock()
	defer r.mu.Unlock()
	told := r.told
	r.told = nil
	return told
}

// versions is a store of locks that has a record of each version.
type versions struct {
	mu  sync.Mutex
	all []audit.Row
}

func (v *versions) Commit(_ context.Context, e audit.Entry) (audit.Receipt, error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.all = append(v.all, e.Row)
	return audit.Receipt{}, nil
}

func (v *versions) Control(_ context.Context, version int64) (audit.Row, error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if version == 0 {
		version = int64(len(v.all))
	}
	if version < 1 || version > int64(len(v.all)) {
		return audit.Row{}, audit.ErrNotFound
	}
	return v.all[version-1], nil
}

// A replica tells of itself at once when it goes by newer locks, and every few
// seconds; where it is not heard it complains once and tries no more often; and it
// takes its leave.
func TestAnnounce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store, roll := &versions{}, &roll{}
		began := time.Now()
		f, err := respond.Follow(t.Context(), respond.Config{Store: store, Now: time.Now, Report: func(decision.Control, error) {}})
		if err != nil {
			t.Fatal(err)
		}
		self := decision.Replica{ID: [16]byte{1}, Name: "host/1"}
		var reports []error
		ctx, stop := context.WithCancel(t.Context())
		var group sync.WaitGroup
		group.Go(func() { f.Announce(ctx, roll, self, func(err error) { reports = append(reports, err) }) })
		want := func(all ...decision.Replica) {
			t.Helper()
			synctest.Wait()
			if diff := cmp.Diff(all, roll.take()); diff != "" {
				t.Errorf("after %s (-want +got):\n%s", time.Since(began), diff)
			}
		}
		told := func(version int64, applied, told time.Duration) decision.Replica {
			r := self
			r.Version, r.Applied, r.Told = version, began.Add(applied), began.Add(told)
			return r
		}
		want(told(0, 0, 0))
		time.Sleep(2050 * time.Millisecond)
		want()
		if _, err := respond.Set(t.Context(), store, lock("l", time.Hour), by("x")); err != nil {
			t.Fatal(err)
		}
		if err := f.Look(t.Context()); err != nil {
			t.Fatal(err)
		}
		time.Sleep(100 * time.Millisecond)
		want(told(1, 2050*time.Millisecond, 2100*time.Millisecond))
		time.Sleep(5 * time.Second)
		want(told(1, 2050*time.Millisecond, 7100*time.Millisecond))

		// It is not heard, and then it is.
		roll.fail(errAway)
		time.Sleep(10 * time.Second)
		want(told(1, 2050*time.Millisecond, 12100*time.Millisecond), told(1, 2050*time.Millisecond, 17100*time.Millisecond))
		roll.fail(nil)
		time.Sleep(5 * time.Second)
		want(told(1, 2050*time.Millisecond, 22100*time.Millisecond))
		stop()
		group.Wait()
		if len(reports) != 2 || !errors.Is(reports[0], errAway) || reports[1] != nil {
			t.Errorf("reports: %v", reports)
		}
		if diff := cmp.Diff([][16]byte{self.ID}, roll.left); diff != "" {
			t.Errorf("left (-want +got):\n%s", diff)
		}
	})
}
