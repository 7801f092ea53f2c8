package server

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/gofrs/uuid/v5"
	"google.golang.org/protobuf/proto"

	"github.com/writpdp/writ/document"
	writv1 "github.com/writpdp/writ/proto/writ/v1"
	"github.com/writpdp/writ/server/audit"
	"github.com/writpdp/writ/server/decision"
)

// ShowSession tells which labels a session holds, and its values over events.
func (s *Server) ShowSession(ctx context.Context, caller decision.Caller, in *writv1.SessionServiceShowRequest) (*writv1.SessionServiceShowResponse, error) {
	if err := s.validate(in); err != nil {
		return nil, err
	}
	caller, err := s.admit(caller, decision.ToReadSessions, in.Tenant)
	if err != nil {
		return nil, err
	}
	bundle, at := s.live(), s.now()
	key := decision.LabelsKey(in.SessionId)
	want := decision.Want{Tenant: caller.Tenant, Budgets: []decision.BudgetKey{key}}
	for i := range bundle.Chains {
		want.Budgets = append(want.Budgets, bundle.Chains[i].Keys(in.SessionId, at)...)
	}
	facts, err := s.ledger.Snapshot(ctx, want)
	if err != nil {
		return nil, s.unrecorded(ctx, "reading a session", err)
	}
	out := &writv1.SessionServiceShowResponse{Labels: bundle.LabelNames(decision.Labels(facts.Used[key]))}
	for i := range bundle.Chains {
		rule := &bundle.Chains[i]
		out.Chain = append(out.Chain, &writv1.ChainFacts{Name: rule.ID, Value: rule.Held(in.SessionId, at, facts.Used)})
	}
	return out, nil
}

// declassification is one on its way.
type declassification struct {
	caller decision.Caller // as it works for the tenant
	in     *writv1.SessionServiceDeclassifyRequest
	bundle *decision.Bundle
	names  []string // of the labels, in order
	labels decision.Labels
	at     time.Time
	// says is what the access policies say.
	says   decision.Admission
	digest [32]byte
}

// Declassify takes labels from a session, if the access policies permit it: look,
// decide, commit, answer. It is a record, and nothing that is decided after it rests on
// what was before.
func (s *Server) Declassify(ctx context.Context, caller decision.Caller, in *writv1.SessionServiceDeclassifyRequest) (*writv1.SessionServiceDeclassifyResponse, error) {
	if err := s.validate(in); err != nil {
		return nil, err
	}
	d := &declassification{caller: caller, in: in, bundle: s.live(), names: slices.Sorted(slices.Values(in.Labels)), at: s.now().UTC().Truncate(time.Microsecond)}
	if in.Tenant != "" {
		d.caller.Tenant = in.Tenant
	}
	facts, err := s.mayDeclassify(ctx, d, caller)
	if err != nil {
		return nil, err
	}
	id, err := s.newID()
	if err != nil {
		return nil, internal(s.log, "making an id", err)
	}
	key := decision.LabelsKey(in.SessionId)
	for range attempts {
		held, err := s.ledger.Snapshot(ctx, decision.Want{Tenant: d.caller.Tenant, Budgets: []decision.BudgetKey{key}})
		if err != nil {
			return nil, s.unrecorded(ctx, "reading a session", err)
		}
		record := d.record(key, held.Used[key], facts.Ticket)
		entry, err := audit.Declassified(id, record)
		if err != nil {
			return nil, internal(s.log, "encoding a declassification", err)
		}
		receipt, err := s.ledger.Commit(ctx, entry)
		switch {
		case errors.Is(err, audit.ErrStale):
			if d.spent(facts.Ticket) {
				return nil, failWith(errTicket, "ticket.used_up", "The ticket is used up.")
			}
			continue // the session was given labels meanwhile, or the ticket was used
		case err != nil:
			return nil, s.unrecorded(ctx, "committing a declassification", err)
		case receipt.Prior != nil:
			return s.declassified(d.bundle, receipt.Prior, receipt, true)
		}
		return s.declassified(d.bundle, entry.Body, receipt, false)
	}
	return nil, fail(errContended, "the session is given labels, or the ticket is used, faster than this can be done; ask again with the same request_id")
}

// mayDeclassify asks who may, with the ticket that is named. Nobody is told anything of
// sessions and tickets who may not.
func (s *Server) mayDeclassify(ctx context.Context, d *declassification, caller decision.Caller) (facts decision.Facts, err error) {
	no := fail(errForbidden, fmt.Sprintf("no access policy permits the caller the action %s for this tenant", decision.ToDeclassify))
	if decision.CheckTenant(d.caller.Tenant) != nil || d.bundle.Agents[caller.SPIFFEID] {
		return facts, no // an agent vouches for nothing that agents were given to see
	}
	asked := decision.Declassification{Session: d.in.SessionId, Labels: d.names}
	admits := func() { d.says = d.bundle.Access.AdmitsDeclassification(caller, d.caller.Tenant, &asked) }
	if admits(); !d.says.Admitted && !d.says.NeedsTicket {
		return facts, no
	}
	var unknown []string
	if d.labels, unknown = d.bundle.LabelsOf(d.names); len(unknown) > 0 {
		return facts, fail(errLabelUnknown, fmt.Sprintf("the bundle has no label %q", unknown[0]))
	}
	data, err := proto.MarshalOptions{Deterministic: true}.Marshal(d.in)
	if err != nil {
		return facts, internal(s.log, "hashing a request", err)
	}
	d.digest = digest(data, d.caller.Tenant, caller.SPIFFEID)
	text, err := json.Marshal(map[string]any{"labels": d.names, "session": d.in.SessionId})
	if err != nil {
		return facts, internal(s.log, "hashing a declassification", err)
	}
	arguments, err := document.ParseObject(text)
	if err != nil {
		return facts, internal(s.log, "hashing a declassification", err)
	}
	tool := decision.ToolName{Server: decision.SessionTools, Name: "declassify"}
	if d.in.TicketId != "" {
		if facts, err = s.ticket(ctx, d.caller.Tenant, d.in.TicketId); err != nil {
			return facts, err
		}
		if !d.spent(facts.Ticket) { // a retry of what used it up gets its answer
			ticket, refused, err := s.covering(d.caller, d.in.TicketId, tool, arguments, d.bundle, facts, d.at)
			if err != nil {
				return facts, err
			}
			if refused != nil {
				return facts, failWith(errTicket, refused.Code, refused.Text)
			}
			facts.Ticket = ticket
		}
		asked.Ticket = facts.Ticket
		admits()
	}
	switch {
	case d.says.Admitted:
		return facts, nil
	case d.says.NeedsTicket:
		return facts, needsTicket(caller.SPIFFEID, tool, arguments)
	}
	return facts, no
}

// spent reports whether a ticket that is named is used up: then the commit's guard
// fails, but for who asks once more.
func (d *declassification) spent(t *decision.Ticket) bool {
	return d.in.TicketId != "" && t != nil && t.Uses >= t.MaxUses
}

func (d *declassification) record(key decision.BudgetKey, held int64, ticket *decision.Ticket) *audit.Declassification {
	r := &audit.Declassification{At: d.at, Caller: d.caller, RequestID: uuid.FromStringOrNil(d.in.RequestId), Digest: d.digest, Session: d.in.SessionId,
		Labels: d.names, Reason: d.in.Reason, Ticket: d.in.TicketId, AdmittedBy: d.says.Policies, Bundle: d.bundle.Digest,
		Note: decision.Note{Key: key, Op: decision.NoteClear, Amount: int64(d.labels), Guarded: true, Saw: held}}
	if ticket != nil {
		r.Version = ticket.Version
	}
	return r
}

// declassified is the answer, from the record.
func (s *Server) declassified(b *decision.Bundle, body []byte, receipt audit.Receipt, again bool) (*writv1.SessionServiceDeclassifyResponse, error) {
	row, err := audit.RowOf(body)
	if err != nil {
		return nil, internal(s.log, "reading a record", err)
	}
	record, err := audit.DeclassificationOf(body)
	if err != nil {
		return nil, internal(s.log, "reading a declassification", err)
	}
	was := decision.Labels(record.Note.Saw)
	return &writv1.SessionServiceDeclassifyResponse{Taken: b.LabelNames(was & decision.Labels(record.Note.Amount)),
		Left: b.LabelNames(was &^ decision.Labels(record.Note.Amount)), Receipt: audit.ReceiptOf(&row, s.origin, receipt), Replayed: again}, nil
}
