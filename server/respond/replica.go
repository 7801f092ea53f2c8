package respond

import (
	"context"
	"fmt"
	"time"

	"github.com/writpdp/writ/server/decision"
)

// Roll is where the replicas of a store tell of themselves. Safe for concurrent
// use.
type Roll interface {
	// Tell keeps what a replica tells in the place of what it told before, and
	// drops those that told more than decision.ReplicaForgotten earlier.
	Tell(context.Context, decision.Replica) error
	// Leave drops a replica.
	Leave(ctx context.Context, id [16]byte) error
	// Replicas are those that told, by name and id, at most decision.MaxReplicas.
	Replicas(context.Context) ([]decision.Replica, error)
}

const (
	// tellEvery is how often a replica tells that it is there.
	tellEvery = 5 * time.Second
	// Silent is how long after it told a replica is taken for gone, or cut off.
	Silent = 3 * tellEvery
	// leave is how long taking leave may take.
	leave = time.Second
)

// Announce tells whoever asks the store, until ctx is done, which locks a replica
// goes by: as soon as it goes by newer ones, and every few seconds, to say that it
// is there. Then it takes its leave. self has an id and a name. No decision rests
// on it; report is told when the store takes nothing, once, and with nil when it
// does again.
func (f *Follower) Announce(ctx context.Context, to Roll, self decision.Replica, report func(error)) {
	tick := time.NewTicker(interval)
	defer tick.Stop()
	var tried time.Time
	failed, told := false, int64(-1)
	for {
		now, s := f.config.Now(), f.seen.Load()
		since := now.Sub(tried)
		if since < 0 || since >= tellEvery || !failed && s.control.Version != told {
			tried, told = now, s.control.Version
			self.Version, self.Applied, self.Told = s.control.Version, s.since, now
			err := tell(ctx, to, self)
			if ctx.Err() == nil && (err != nil) != failed {
				failed = err != nil
				report(err)
			}
		}
		select {
		case <-ctx.Done():
			ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), leave)
			defer cancel()
			if err := to.Leave(ctx, self.ID); err != nil && !failed {
				report(fmt.Errorf("taking leave of the other servers: %w", err))
			}
			return
		case <-tick.C:
		}
	}
}

func tell(ctx context.Context, to Roll, self decision.Replica) error {
	ctx, cancel := context.WithTimeout(ctx, Fresh)
	defer cancel()
	if err := to.Tell(ctx, self); err != nil {
		return fmt.Errorf("telling which locks are in force here: %w", err)
	}
	return nil
}
