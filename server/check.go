package server

import (
	"context"
	"errors"
	"runtime/debug"
	"slices"
	"time"

	"github.com/writpdp/writ/server/audit"
	"github.com/writpdp/writ/server/decision"

	writv1 "github.com/writpdp/writ/proto/writ/v1"
)

// attempts is how often a decision is made anew because others changed what it
// rested on before it was committed.
const attempts = 8

// Decide is the path of a decision: identify, snapshot, decide, commit, answer.
// Every face comes through here.
//
// It fails closed in one place, this one: whoever gets an error must deny, and
// an answer leaves only after its record is durable, or, for classes of actions
// that the bundle names, in the ledger's spool.
func (s *Server) Decide(ctx context.Context, caller decision.Caller, in *writv1.DecideRequest) (*writv1.DecideResponse, error) {
	req, err := s.identify(caller, decision.ToDecide, in)
	if err != nil {
		return nil, err
	}
	id, err := s.newID()
	if err != nil {
		return nil, internal(s.log, "making an id", err)
	}
	remembered := true // until it turns out not to do
	var d decision.Decision
	for range attempts {
		snap, err := s.snapshot(ctx, req, remembered)
		if err != nil {
			return nil, s.unrecorded(ctx, "reading a snapshot", err)
		}
		snap.Inspected = d.Seen(snap.Bundle)
		d = s.decide(req, snap)
		if remembered = false; snap.Remembered && !d.Allowed() {
			continue // nobody is denied on what may have changed
		}
		entry, answer, err := audit.Decided(id, req, snap, &d)
		if err != nil {
			return nil, internal(s.log, "encoding a decision", err)
		}
		if snap.Control != nil && d.Allowed() {
			entry.Fenced, entry.Locks = true, snap.Control.Version
		}
		entry.Async = d.Allowed() && snap.Bundle.MayAnswerEarly(req) && !vaults(entry.Effects)
		receipt, err := s.ledger.Commit(ctx, entry)
		switch {
		case errors.Is(err, audit.ErrStale):
			continue // decide again on what is true now
		case errors.Is(err, audit.ErrFenced):
			if err := s.control.Look(ctx); err != nil {
				return nil, s.unrecorded(ctx, "reading the control state", err)
			}
			continue
		case err != nil:
			return nil, s.unrecorded(ctx, "committing a decision", err)
		case receipt.Prior != nil:
			if answer, err = s.again(receipt); err != nil {
				return nil, err
			}
			return s.enclosed(in, req, answer)
		}
		s.told(snap.Bundle, &d)
		s.counts.decision(ctx, req, answer.Effect)
		answer.Receipt = audit.ReceiptOf(&entry.Row, s.origin, receipt)
		return s.enclosed(in, req, answer)
	}
	return nil, fail(errContended, "other requests change the same budgets, tickets or tokens faster than this one can be decided; ask again with the same request_id")
}

// vaults reports whether something is put into the vault: it is not in the record, so
// a spool would lose it.
func vaults(effects []decision.Effect) bool {
	return slices.ContainsFunc(effects, func(e decision.Effect) bool { _, ok := e.(decision.Vault); return ok })
}

// again gives the answer that was given before.
func (s *Server) again(receipt audit.Receipt) (*writv1.DecideResponse, error) {
	row, err := audit.RowOf(receipt.Prior)
	if err != nil {
		return nil, internal(s.log, "reading an earlier record", err)
	}
	answer, err := audit.Respond(receipt.Prior)
	if err != nil {
		return nil, internal(s.log, "reading an earlier answer", err)
	}
	answer.Receipt = audit.ReceiptOf(&row, s.origin, receipt)
	answer.Replayed = true
	return answer, nil
}

// snapshot is what the decision will rest on. The bundle is taken first, so that
// one decision is made by one bundle.
func (s *Server) snapshot(ctx context.Context, req *decision.Request, remembered bool) (*decision.Snapshot, error) {
	bundle, at := s.bundle(req), s.now().UTC().Truncate(time.Microsecond)
	control := s.known(ctx)
	want := bundle.Want(req, at)
	want.Budgets, want.Remembered = control.Wants(want.Budgets, bundle, req, at), remembered
	facts, err := s.ledger.Snapshot(ctx, want)
	if err != nil {
		return nil, err
	}
	snap := &decision.Snapshot{At: at, Bundle: bundle, Control: control, Facts: facts}
	if s.pseudonyms != nil {
		snap.Keys = s.pseudonyms.Of(req.Caller.Tenant)
	}
	return snap, nil
}

// known is what people have changed at run time, as it is known; nil: nobody follows
// that.
func (s *Server) known(ctx context.Context) *decision.Control {
	if s.control == nil {
		return nil
	}
	return s.control.Control(ctx)
}

// decide decides, and beside it by the bundle's shadow, of which nothing but the
// record ever depends.
func (s *Server) decide(req *decision.Request, snap *decision.Snapshot) decision.Decision {
	d := s.stages.Decide(req, snap)
	if shadow := snap.Bundle.Beside(req.Caller.Tenant); shadow != nil {
		d.Beside = s.beside(req, &decision.Snapshot{At: snap.At, Bundle: shadow, Control: snap.Control, Keys: snap.Keys, Inspected: d.Seen(shadow), Facts: snap.Facts})
	}
	return d
}

// beside survives whatever the shadow's policies do.
func (s *Server) beside(req *decision.Request, snap *decision.Snapshot) (d *decision.Decision) {
	defer func() {
		if cause := recover(); cause != nil {
			s.log.Error("deciding beside", "bundle", snap.Bundle.Digest, "panic", cause, "stack", string(debug.Stack()))
			d = nil
		}
	}()
	decided := s.stages.Decide(req, snap)
	return &decided
}

// Explain decides and commits nothing.
func (s *Server) Explain(ctx context.Context, caller decision.Caller, in *writv1.ExplainRequest) (*writv1.ExplainResponse, error) {
	if in.GetRequest() == nil {
		return nil, invalidField("request", "value is required")
	}
	req, err := s.identify(caller, decision.ToExplain, in.Request)
	if err != nil {
		return nil, err
	}
	id, err := s.newID()
	if err != nil {
		return nil, internal(s.log, "making an id", err)
	}
	snap, err := s.snapshot(ctx, req, false)
	if err != nil {
		return nil, s.unrecorded(ctx, "reading a snapshot", err)
	}
	d := s.decide(req, snap)
	out, err := audit.Explained(id, req, snap, &d)
	if err != nil {
		return nil, internal(s.log, "encoding a decision", err)
	}
	return out, nil
}

// enclosed is an answer with the redacted document, where its request asks for it. It
// is made after the record, which has no part of it, and again for an answer that is
// given again.
func (s *Server) enclosed(in *writv1.DecideRequest, req *decision.Request, answer *writv1.DecideResponse) (*writv1.DecideResponse, error) {
	if !in.ReturnDocuments {
		return answer, nil
	}
	var err error
	if answer.Arguments, answer.Content, err = audit.Rewritten(req, answer); err != nil {
		return nil, internal(s.log, "making the edits of an answer", err)
	}
	return answer, nil
}
