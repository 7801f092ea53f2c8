package respond_test

import (
	"context"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/writpdp/writ/server/audit"
	"github.com/writpdp/writ/server/decision"
	"github.com/writpdp/writ/server/respond"
)

// counted counts how often the newest locks are asked for.
type counted struct {
	versions
	mu    sync.Mutex
	looks int
}

func (c *counted) Control(ctx context.Context, version int64) (audit.Row, error) {
	if version == 0 {
		c.mu.Lock()
		c.looks++
		c.mu.Unlock()
	}
	return c.versions.Control(ctx, version)
}

func (c *counted) take() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	defer func() { c.looks = 0 }()
	return c.looks
}

// A hint has the locks looked at at once; without hints they are looked at all the
// same; and a flood of hints is no flood of looks.
func TestHints(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := &counted{}
		f, err := respond.Follow(t.Context(), respond.Config{Store: store, Now: time.Now, Report: func(decision.Control, error) {}})
		if err != nil {
			t.Fatal(err)
		}
		ctx, stop := context.WithCancel(t.Context())
		var group sync.WaitGroup
		group.Go(func() { f.Run(ctx) })
		version := func(want int64) {
			t.Helper()
			synctest.Wait()
			if got := f.Control(t.Context()).Version; got != want {
				t.Errorf("version %d, want %d", got, want)
			}
		}
		synctest.Wait()
		if _, err := respond.Set(t.Context(), store, lock("a", time.Hour), by("x")); err != nil {
			t.Fatal(err)
		}
		version(0)
		f.Hint()
		version(1) // no time has passed
		if _, err := respond.Set(t.Context(), store, lock("b", time.Hour), by("x")); err != nil {
			t.Fatal(err)
		}
		time.Sleep(100 * time.Millisecond)
		version(2)
		store.take()
		for range 1000 {
			f.Hint()
			time.Sleep(time.Millisecond)
		}
		synctest.Wait()
		if got := store.take(); got < 50 || got > 120 {
			t.Errorf("a second of hints made it look %d times", got)
		}
		stop()
		group.Wait()
	})
}
