package audit

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/gofrs/uuid/v5"
	"google.golang.org/protobuf/types/known/timestamppb"

	writv1 "github.com/writpdp/writ/proto/writ/v1"
	"github.com/writpdp/writ/server/decision"
)

// sessionFacts is what a record keeps of what a decision saw of its session.
func sessionFacts(b *decision.Bundle, state *decision.SessionState) *writv1.SessionFacts {
	if state == nil || state.Nothing() && state.Added == 0 {
		return nil
	}
	facts := &writv1.SessionFacts{LabelsSeen: state.Looked.Labels, Added: b.LabelNames(state.Added)}
	if state.Looked.Labels {
		facts.Labels, facts.LabelBits = b.LabelNames(state.Seen), uint64(state.Seen)
	}
	for i := range b.Chains {
		if state.Chain(i) {
			facts.Chain = append(facts.Chain, &writv1.ChainFacts{Name: b.Chains[i].ID, Value: state.Values[i]})
		}
	}
	return facts
}

// Seen is what a record says that its decision saw of its session.
type Seen struct {
	// LabelsSeen says whether it saw the labels, and Seen which.
	LabelsSeen bool
	Seen       decision.Labels
	// Values are the values over events that it saw, by name.
	Values map[string]int64
}

func seenOf(facts *writv1.SessionFacts) (s Seen) {
	s.LabelsSeen, s.Seen = facts.GetLabelsSeen(), decision.Labels(facts.GetLabelBits())
	for _, c := range facts.GetChain() {
		if s.Values == nil {
			s.Values = map[string]int64{}
		}
		s.Values[c.Name] = c.Value
	}
	return s
}

// checkSession refuses what sessionFacts cannot have written.
func checkSession(facts *writv1.SessionFacts, session string) error {
	switch {
	case facts == nil:
		return nil
	case session == "":
		return errors.New("session: there is none")
	case len(facts.Chain) > decision.MaxChains || len(facts.Labels) > decision.MaxLabel || len(facts.Added) > decision.MaxLabel:
		return errors.New("session: more labels or values than there can be")
	case len(facts.Labels) != len(decision.Labels(facts.LabelBits).Numbers()) || facts.LabelBits>>(decision.MaxLabel+1) != 0 || facts.LabelBits&1 != 0:
		return errors.New("session: the labels and their bits are not the same")
	case !facts.LabelsSeen && len(facts.Labels) > 0:
		return errors.New("session: it has labels that nobody looked at")
	}
	for _, names := range [][]string{facts.Labels, facts.Added} {
		if err := checkLabels(names); err != nil {
			return fmt.Errorf("session: %w", err)
		}
	}
	for i, c := range facts.Chain {
		if err := text("session: the name of a value", c.GetName(), 1, 64); err != nil {
			return err
		}
		if c.Value < 0 || i > 0 && c.Name <= facts.Chain[i-1].Name {
			return errors.New("session: a value is negative, or not in order")
		}
	}
	return nil
}

func checkLabels(names []string) error {
	for i, name := range names {
		if err := text("a label", name, 1, 64); err != nil {
			return err
		}
		if i > 0 && name <= names[i-1] {
			return errors.New("labels are not in order")
		}
	}
	return nil
}

func noteFacts(n decision.Note) *writv1.NoteFacts {
	facts := &writv1.NoteFacts{Counter: n.Key.Budget, Subject: n.Key.Subject, Op: writv1.NoteOp(n.Op), Amount: n.Amount,
		Guarded: n.Guarded, Saw: n.Saw, LengthSeconds: n.Length}
	if n.Key.Start != 0 {
		facts.WindowStart = &timestamppb.Timestamp{Seconds: n.Key.Start}
	}
	if !n.Guarded {
		facts.Saw = 0
	}
	return facts
}

func noteOf(facts *writv1.NoteFacts) (decision.Note, error) {
	key, err := keyOf(facts.GetCounter(), facts.GetSubject(), facts.GetWindowStart())
	if err != nil {
		return decision.Note{}, fmt.Errorf("note.%w", err)
	}
	n := decision.Note{Key: key, Op: decision.NoteOp(facts.GetOp()), Amount: facts.GetAmount(), Guarded: facts.GetGuarded(), Saw: facts.GetSaw(),
		Length: facts.GetLengthSeconds()}
	if facts.GetOp() > writv1.NoteOp_NOTE_OP_SET || !n.Whole() {
		return decision.Note{}, errors.New("note is none that a decision makes")
	}
	return n, nil
}

// Declassification is what takes labels from a session.
type Declassification struct {
	// At is when it was made, and Caller.Tenant for whose session. Its SPIFFE ID is
	// empty where no caller asked for it over the wire; then Actor is who did.
	At     time.Time
	Caller decision.Caller
	Actor  string
	// RequestID is the idempotency key, and Digest covers all that was asked.
	RequestID [16]byte
	Digest    [32]byte
	Session   string
	// Labels are the names of those that were to be taken, in order.
	Labels []string
	Reason string
	// Ticket approves it; empty: none was named. Version is the one that it uses up.
	Ticket  string
	Version int64
	// AdmittedBy are the access policies that permitted it, in order, of the bundle of
	// this digest; none without a caller.
	AdmittedBy []string
	Bundle     string
	// Note is what it changes: it clears bits of the session's labels.
	Note decision.Note
}

// Declassified is the entry of a declassification. id is the new record's UUIDv7.
// Committed, it is in force, or ErrStale where the session was given labels meanwhile.
func Declassified(id [16]byte, d *Declassification) (Entry, error) {
	event := &writv1.SessionEvent{RequestId: uuid.UUID(d.RequestID).String(), Actor: cmp.Or(d.Caller.SPIFFEID, d.Actor), SessionId: d.Session, Labels: d.Labels,
		Reason: d.Reason, TicketId: d.Ticket, RedeemedVersion: d.Version, AdmittedBy: d.AdmittedBy[:min(len(d.AdmittedBy), maxPolicies)],
		BundleDigest: d.Bundle, Note: noteFacts(d.Note)}
	entry, err := enter(&writv1.Record{
		Version: version, Tenant: d.Caller.Tenant, Id: uuid.UUID(id).String(), At: stamp(&timestamppb.Timestamp{}, d.At),
		Caller: d.Caller.SPIFFEID, RequestDigest: d.Digest[:], Event: &writv1.Record_Session{Session: event},
	})
	if err != nil {
		return Entry{}, fmt.Errorf("encoding a declassification: %w", err)
	}
	return entry, nil
}

// DeclassificationOf is the declassification that a body records. Another record's is
// ErrNotFound.
func DeclassificationOf(body []byte) (*Declassification, error) {
	r, err := decode(body)
	if err != nil {
		return nil, err
	}
	e := r.declassed
	if e == nil {
		return nil, fmt.Errorf("reading a declassification: %w", ErrNotFound)
	}
	d := &Declassification{At: r.At, Caller: decision.Caller{SPIFFEID: r.Caller, Tenant: r.Tenant}, Actor: e.Actor, RequestID: uuid.FromStringOrNil(e.RequestId),
		Digest: r.Digest, Session: e.SessionId, Labels: e.Labels, Reason: e.Reason, Ticket: e.TicketId, Version: e.RedeemedVersion,
		AdmittedBy: e.AdmittedBy, Bundle: e.BundleDigest}
	d.Note, err = noteOf(e.Note)
	return d, err
}

func (r *record) readSession(e *writv1.SessionEvent) error {
	r.declassed, r.Kind = e, Declassify
	if _, err := identify(e.GetRequestId()); err != nil {
		return fmt.Errorf("request_id %w", err)
	}
	if err := errors.Join(by(e.Actor, e.Reason, e.TicketId), line("session_id", e.SessionId, 1, 128), checkLabels(e.Labels)); err != nil {
		return err
	}
	note, err := noteOf(e.Note)
	if err != nil {
		return err
	}
	switch {
	case r.Caller != "" && (e.Actor != r.Caller || len(e.AdmittedBy) == 0 || !hexDigest(e.BundleDigest)):
		return errors.New("the actor is not the caller, or nothing says what admitted it")
	case r.Caller == "" && (len(e.AdmittedBy) > 0 || e.BundleDigest != "" || e.RedeemedVersion > 0):
		return errors.New("nobody called, and something is admitted or redeemed")
	case note.Op != decision.NoteClear || note.Key != decision.LabelsKey(e.SessionId):
		return errors.New("note does not take labels from the session")
	case len(e.Labels) == 0 || len(e.Labels) > decision.MaxLabel || len(e.AdmittedBy) > maxPolicies:
		return errors.New("there are no labels, or too many of them or of access policies")
	case e.RedeemedVersion < 0 || r.Caller != "" && (e.RedeemedVersion > 0) != (e.TicketId != ""):
		return errors.New("it redeems no ticket, or one that it does not name")
	}
	for _, policy := range e.AdmittedBy {
		if err := line("admitted_by", policy, 1, 256); err != nil {
			return err
		}
	}
	r.Key, r.Principal, r.Session, r.Ticket, r.Bundle = e.RequestId, e.Actor, e.SessionId, e.TicketId, e.BundleDigest
	r.effects = []decision.Effect{note}
	if e.RedeemedVersion > 0 {
		r.effects = append(r.effects, decision.Redeem{Ticket: e.TicketId, Version: e.RedeemedVersion})
	}
	return nil
}

func hexDigest(digest string) bool {
	return len(digest) == 64 && !slices.ContainsFunc([]byte(digest), func(c byte) bool { return (c < '0' || c > '9') && (c < 'a' || c > 'f') })
}
