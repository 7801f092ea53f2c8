package audit

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/gofrs/uuid/v5"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	writv1 "github.com/writpdp/writ/proto/writ/v1"
	"github.com/writpdp/writ/server/decision"
)

// Bounds of a record. What a decision holds beyond maxReasons is left out of the
// record and the answer; beyond the others there is no record, so no answer.
const (
	// MaxBody is the largest body, in bytes.
	MaxBody = 8 << 20

	maxReasons = 1024
	maxItems   = 256 // obligations, budgets and effects, each
	version    = 1
)

// Decided is the entry of a decision and the answer to its request. id is the
// new record's UUIDv7; the decision is dated snap.At, to the microsecond. The
// answer has no receipt yet. An error means that the decision does not fit into
// a record, so there must be no answer.
func Decided(id [16]byte, req *decision.Request, snap *decision.Snapshot, d *decision.Decision) (Entry, *writv1.DecideResponse, error) {
	found := findings(d)
	response, err := answer(id, req, snap, d, found)
	if err != nil {
		return Entry{}, nil, fmt.Errorf("encoding the decision: %w", err)
	}
	event := requestFacts(req)
	event.Findings = found
	event.Response = response
	recordDocuments(event, req, snap.Bundle, d)
	event.Inspection = inspectionFacts(d.Inspection())
	event.Session = sessionFacts(snap.Bundle, d.Session())
	event.Egress = egressFacts(req, d)
	event.Result = resultFacts(d.Looked(), snap.Call)
	event.Facts = snapshotFacts(req, snap, d, response.Effect == writv1.Effect_EFFECT_DENY)
	if event.Effects, err = effectFacts(d.Effects(), &req.Principal); err != nil {
		return Entry{}, nil, fmt.Errorf("encoding the decision: %w", err)
	}
	if d.Beside != nil {
		if event.Shadow, err = shadowFacts(snap.Bundle.Shadow.Digest, d.Beside, response); err != nil {
			return Entry{}, nil, fmt.Errorf("encoding what the shadow decided: %w", err)
		}
	}
	entry, err := enter(&writv1.Record{
		Version: version, Tenant: req.Caller.Tenant, Id: response.DecisionId, At: stamp(&timestamppb.Timestamp{}, snap.At),
		Caller: req.Caller.SPIFFEID, RequestDigest: req.Digest[:],
		Event: &writv1.Record_Decision{Decision: event},
	})
	if err != nil {
		return Entry{}, nil, fmt.Errorf("encoding the decision: %w", err)
	}
	seal(&entry, d.Effects())
	return entry, response, nil
}

// Settled is the entry of a report on an allowed action, and the answer to it,
// without a receipt yet. id is the new record's UUIDv7, digest that of the
// report: the same decision with another is refused by the commit.
func Settled(
	id [16]byte, caller decision.Caller, at time.Time, decisionID string, digest [32]byte,
	outcome writv1.Outcome, actual decision.Cost, reports []*writv1.ObligationReport, s decision.Settlement,
) (Entry, *writv1.SettleResponse, error) {
	response := &writv1.SettleResponse{SettlementId: uuid.UUID(id).String(), Budgets: budgetLines(s.Budgets)}
	effects, err := effectFacts(s.Effects, nil)
	if err != nil {
		return Entry{}, nil, fmt.Errorf("encoding the settlement: %w", err)
	}
	entry, err := enter(&writv1.Record{
		Version: version, Tenant: caller.Tenant, Id: response.SettlementId, At: stamp(&timestamppb.Timestamp{}, at),
		Caller: caller.SPIFFEID, RequestDigest: digest[:],
		Event: &writv1.Record_Settlement{Settlement: &writv1.SettlementEvent{
			DecisionId: decisionID, Outcome: outcome, Actual: cost(&writv1.Cost{}, actual), Obligations: reports,
			Response: response, Effects: effects,
			LockVersion: s.Control.Version, Adjustments: adjustmentsFacts(s.Control.Adjustments),
		}},
	})
	if err != nil {
		return Entry{}, nil, fmt.Errorf("encoding the settlement: %w", err)
	}
	return entry, response, nil
}

// enterSystem encodes a record of the tenant writ:system, whose request is its
// own event, unless it has the digest of another. m has nothing but these.
func enterSystem(id [16]byte, at time.Time, event proto.Message, m *writv1.Record) (Entry, error) {
	request, err := proto.MarshalOptions{Deterministic: true}.Marshal(event)
	if err != nil {
		return Entry{}, err
	}
	if digest := sha256.Sum256(request); m.RequestDigest == nil {
		m.RequestDigest = digest[:]
	}
	m.Version, m.Tenant, m.Id = version, decision.System, uuid.UUID(id).String()
	m.At = stamp(&timestamppb.Timestamp{}, at)
	return enter(m)
}

// system refuses what no record of the tenant writ:system can be. what is the
// record.
func (r *record) system(what string) error {
	switch {
	case r.Tenant != decision.System:
		return fmt.Errorf("%s is not of the tenant %q", what, decision.System)
	case r.Caller != "":
		return fmt.Errorf("%s has a caller", what)
	}
	return nil
}

// by refuses who cannot have made a change, and why.
func by(actor, reason, ticket string) error {
	return errors.Join(line("actor", actor, 1, maxActor), line("reason", reason, 1, maxReason), line("ticket_id", ticket, 0, 128))
}

// enter encodes a record. Row and effects are derived from the message as RowOf
// derives them from the bytes, so that what is committed beside the bytes cannot
// say anything else, and a record that RowOf would refuse is never committed.
// Reading the bytes back as well would cost as much as all the rest.
func enter(message *writv1.Record) (Entry, error) {
	body, err := proto.MarshalOptions{Deterministic: true}.Marshal(message)
	if err != nil {
		return Entry{}, err
	}
	if len(body) > MaxBody {
		return Entry{}, fmt.Errorf("the body is larger than %d bytes", MaxBody)
	}
	r, err := derive(message, body)
	if err != nil {
		return Entry{}, err
	}
	return Entry{Row: r.Row, Effects: r.effects}, nil
}

// ReceiptOf is what a caller is told of a row's commit to the log of an origin.
func ReceiptOf(row *Row, origin string, r Receipt) *writv1.Receipt {
	leaf := row.Leaf
	return &writv1.Receipt{
		RecordId: uuid.UUID(row.ID).String(), LeafHash: leaf[:], LogOrigin: origin, LogSize: uint64(max(0, r.Size)), Spooled: r.Spooled,
	}
}

// stamp is a time to the microsecond, which is what every store can keep.
func stamp(m *timestamppb.Timestamp, at time.Time) *timestamppb.Timestamp {
	at = at.Truncate(time.Microsecond)
	m.Seconds, m.Nanos = at.Unix(), int32(at.Nanosecond())
	return m
}

// identify reads a UUID in the one form that Writ writes.
func identify(text string) ([16]byte, error) {
	id, err := uuid.FromString(text)
	if err != nil || id.IsZero() || len(text) != 36 || strings.ToLower(text) != text {
		return [16]byte{}, errors.New("is not a UUID in lower case")
	}
	return id, nil
}
