package server

import (
	"context"
	"fmt"
	"time"

	"github.com/gofrs/uuid/v5"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	writv1 "github.com/writpdp/writ/proto/writ/v1"
	"github.com/writpdp/writ/server/audit"
	"github.com/writpdp/writ/server/decision"
)

// Lapses tells which reservations nobody has settled in time. Safe for concurrent
// use.
type Lapses interface {
	// Due are decisions whose reservations have lapsed by a time, the oldest first,
	// at most a number.
	Due(ctx context.Context, at time.Time, limit int) ([]audit.Lapse, error)
}

const (
	// lapseEvery is how often it is looked for what has lapsed.
	lapseEvery = time.Second
	// lapsesAtOnce bounds how much is looked at in one go.
	lapsesAtOnce = 256
)

// lapse gives back, until ctx is done, what nobody has settled in time. Every replica
// does: the record of a decision's settlement is one, whoever makes it.
func (s *Server) lapse(ctx context.Context) error {
	tick := time.NewTicker(lapseEvery)
	defer tick.Stop()
	failed := false
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
			err := s.lapseDue(ctx)
			if err != nil && !failed && ctx.Err() == nil {
				s.log.Error("giving back reservations that have lapsed", "error", err)
			}
			failed = err != nil
		}
	}
}

// lapseDue gives back all that has lapsed by now.
func (s *Server) lapseDue(ctx context.Context) error {
	for {
		due, err := s.lapses.Due(ctx, s.now(), lapsesAtOnce)
		if err != nil {
			return err
		}
		for _, l := range due {
			if err := s.lapseOne(ctx, l); err != nil {
				return fmt.Errorf("decision %s of tenant %q: %w", uuid.UUID(l.Decision), l.Tenant, err)
			}
		}
		if len(due) < lapsesAtOnce {
			return nil
		}
	}
}

// lapseOne settles a decision that nobody has settled.
func (s *Server) lapseOne(ctx context.Context, l audit.Lapse) error {
	row, err := s.ledger.Record(ctx, l.Tenant, l.Decision)
	if err != nil {
		return err
	}
	reserved, err := audit.Reservations(row.Body)
	if err != nil {
		return err
	}
	id := uuid.UUID(l.Decision).String()
	_, err = s.commitReport(ctx, &report{
		caller: decision.Caller{Tenant: l.Tenant}, decision: id, digest: digest(nil, l.Tenant, "lapsed"),
		outcome: writv1.Outcome_OUTCOME_LAPSED, reserved: reserved,
		settle: decision.Lapse,
	})
	if status.Code(err) == codes.AlreadyExists {
		return nil // somebody has settled it meanwhile
	}
	return err
}
