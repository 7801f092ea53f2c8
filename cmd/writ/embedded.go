package main

import (
	"context"
	"errors"
	"log/slog"
	"path/filepath"
	"time"

	"github.com/writpdp/writ/server"
	"github.com/writpdp/writ/server/audit"
	"github.com/writpdp/writ/server/clock"
	"github.com/writpdp/writ/server/respond"
	"github.com/writpdp/writ/server/rollout"
	"github.com/writpdp/writ/server/telemetry"
	"github.com/writpdp/writ/store/postgres"
	"github.com/writpdp/writ/store/spool"
	"github.com/writpdp/writ/store/sqlite"
)

// servedStore is a store with all that serving from it takes.
type servedStore struct {
	dataStore
	// ledger takes what is decided: the store itself, or a spool before it.
	ledger server.Ledger
	// flush brings what the ledger answered early into the store; nil: nothing
	// is.
	flush func(context.Context) error
	// forget forgets tokens that expired long before a time.
	forget func(ctx context.Context, at time.Time) error
	// listen calls changed when somebody may have changed something, until ctx is
	// done; nil: nobody tells.
	listen func(ctx context.Context, changed func(postgres.Topic), report func(error))
	// clock is the store's; nil: this machine's.
	clock func(context.Context) (time.Time, error)
	close func() error
}

// openEmbedded opens the store of a data directory with its spool, for one
// process alone.
func openEmbedded(ctx context.Context, dir string, log *slog.Logger) (*servedStore, error) {
	store, err := sqlite.Open(ctx, filepath.Join(dir, fileStore))
	if err != nil {
		return nil, err
	}
	front, err := spool.Open(ctx, filepath.Join(dir, dirSpool), store, spool.Config{Now: time.Now,
		Report: func(err error) { log.Error("the spool", "error", err) }})
	if err != nil {
		return nil, errors.Join(err, store.Close())
	}
	return &servedStore{dataStore: store, ledger: front, flush: front.Flush, forget: front.ForgetTokens,
		close: func() error { return errors.Join(front.Close(), store.Close()) }}, nil
}

// openServed opens the store that a configuration names.
func (c *config) openServed(ctx context.Context, log *slog.Logger) (*servedStore, error) {
	if c.DataDir != "" {
		return openEmbedded(ctx, c.DataDir, log)
	}
	dsn, err := readDSN(c.DatabaseFile)
	if err != nil {
		return nil, err
	}
	if err := postgres.CheckServed(ctx, dsn, c.AllowFailoverLoss); err != nil {
		return nil, err
	}
	store, err := postgres.Open(ctx, dsn)
	if err != nil {
		return nil, err
	}
	served := &servedStore{dataStore: store, ledger: store, forget: store.ForgetTokens, clock: store.Clock, close: store.Close}
	if c.Notify == nil || *c.Notify {
		served.listen = store.Listen
	}
	return served, nil
}

// hint has the followers look when the store tells of a change, until ctx is done.
func (s *servedStore) hint(ctx context.Context, locks *respond.Follower, bundles *rollout.Follower, log *slog.Logger) {
	if s.listen == nil {
		return
	}
	s.listen(ctx, func(of postgres.Topic) {
		switch of {
		case postgres.LocksChanged:
			locks.Hint()
		case postgres.RolloutChanged:
			bundles.Hint()
		}
	}, func(err error) {
		if err != nil {
			log.Warn("the database does not tell of changes: they are seen at the next look", "error", err)
			return
		}
		log.Info("the database tells of changes")
	})
}

// compareClocks begins to compare the store's clock with this server's; nil: they are
// one.
func (s *servedStore) compareClocks(ctx context.Context, metrics *telemetry.Metrics, log *slog.Logger) (*clock.Watch, error) {
	if s.clock == nil {
		return nil, nil
	}
	w, err := clock.Start(ctx, clock.Config{Store: s.clock, Now: time.Now, Report: func(s clock.State) {
		if s.Off() {
			log.Error("the clocks are too far apart", "database_ahead", s.Ahead.String(), "within", s.Within.String())
			return
		}
		log.Info("the clocks agree", "database_ahead", s.Ahead.String(), "within", s.Within.String())
	}})
	if err != nil {
		return nil, err
	}
	return w, w.Observe(metrics.Meter())
}

// forgetEvery is how often tokens are forgotten: each time those of one hour, if
// it is time.
const forgetEvery = 10 * time.Minute

// forgetTokens forgets tokens until ctx ends. A failure costs only space.
func (s *servedStore) forgetTokens(ctx context.Context, log *slog.Logger) {
	tick := time.NewTicker(forgetEvery)
	defer tick.Stop()
	for {
		if err := s.forget(ctx, time.Now()); err != nil && ctx.Err() == nil {
			log.Error("the store remembers tokens that it need not", "error", err)
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
	}
}

// sealer seals a store's log.
func (s *servedStore) sealer(signer *audit.Signer, log *slog.Logger) *audit.Sealer {
	return audit.NewSealer(audit.SealerConfig{Seal: s.Seal, Extend: signer.Extend,
		Report: func(err error) { log.Error("sealing the log", "error", err) }})
}
