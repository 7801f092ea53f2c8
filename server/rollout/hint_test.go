package rollout_test

import (
	"context"
	"path/filepath"
	"sync"
	"testing"
	"testing/synctest"

	"github.com/writpdp/writ/server/rollout"
	"github.com/writpdp/writ/store/sqlite"
)

// A hint has the rollout looked at at once.
func TestHint(t *testing.T) {
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		store, err := sqlite.Open(t.Context(), filepath.Join(dir, "writ.db"))
		must(t, err)
		activate(t, store, "a", rollout.Trial{})
		r := follow(t, store)
		ctx, stop := context.WithCancel(t.Context())
		var group sync.WaitGroup
		group.Go(func() { r.Run(ctx) })
		activate(t, store, "b", rollout.Trial{})
		r.Hint()
		synctest.Wait()
		if got := r.Bundle(request("s")).Name; got != "b" {
			t.Errorf("%s decides", got)
		}
		stop()
		group.Wait()
		must(t, store.Close())
	})
}
