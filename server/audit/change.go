package audit

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	writv1 "github.com/writpdp/writ/proto/writ/v1"
	"github.com/writpdp/writ/server/decision"
)

// Action is the kind of a change.
type Action uint8

// The actions, with the numbers of writ.v1.ChangeAction.
const (
	Activate Action = iota + 1
	Rollback
	Halt
)

// String is the action in capitals.
func (a Action) String() string {
	return strings.TrimPrefix(writv1.ChangeAction(a).String(), "CHANGE_ACTION_")
}

// By is who makes a change, why and when.
type By struct {
	Actor, Reason string
	// Ticket approves the change; empty: none is named.
	Ticket string
	At     time.Time
	// ID is the new record's, a UUIDv7.
	ID [16]byte
}

// ChangeFacts is a change of which bundles decide, as its record has it.
type ChangeFacts struct {
	// At is when it was made.
	At     time.Time
	Action Action
	// Actor is who made it: 1 to 2048 bytes.
	Actor string
	// Reason is why: 1 to 1024 bytes.
	Reason string
	// Ticket approves it: at most 128 bytes; empty: none was named.
	Ticket string
	// Rollout is the state after it.
	Rollout decision.Rollout
}

// Bounds of a change, in bytes and numbers.
const (
	maxActor   = 2048
	maxReason  = 1024
	maxTenants = 256
)

// Changed is the entry of a change. id is the new record's UUIDv7. Committed, it
// makes the rollout the newest, or is ErrStale where another change was faster.
func Changed(id [16]byte, c ChangeFacts) (Entry, error) {
	event := &writv1.ChangeEvent{
		Actor: c.Actor, Action: writv1.ChangeAction(c.Action), Reason: c.Reason, TicketId: c.Ticket, Rollout: rolloutFacts(&c.Rollout),
	}
	entry, err := enterSystem(id, c.At, event, &writv1.Record{Event: &writv1.Record_Change{Change: event}})
	if err != nil {
		return Entry{}, fmt.Errorf("encoding the change: %w", err)
	}
	return entry, nil
}

// ChangeOf is the change that a body records. Another record's is ErrNotFound.
func ChangeOf(body []byte) (ChangeFacts, error) {
	r, err := decode(body)
	if err != nil {
		return ChangeFacts{}, err
	}
	if r.change == nil {
		return ChangeFacts{}, fmt.Errorf("reading a change: %w", ErrNotFound)
	}
	rollout, ok := r.effects[0].(decision.Rollout)
	if !ok {
		return ChangeFacts{}, fmt.Errorf("reading a change: %w", ErrNotFound) // readChange lets none pass
	}
	return ChangeFacts{
		At: r.At, Action: Action(r.change.Action), Actor: r.change.Actor, Reason: r.change.Reason,
		Ticket: r.change.TicketId, Rollout: rollout,
	}, nil
}

// line is a text that a terminal shows as it is: no control characters, and none
// that turn the direction of what follows.
func line(name, value string, least, most int) error {
	if err := text(name, value, least, most); err != nil {
		return err
	}
	for _, r := range value {
		if wild(r) {
			return fmt.Errorf("%s holds a control character", name)
		}
	}
	return nil
}

func rolloutFacts(r *decision.Rollout) *writv1.Rollout {
	facts := &writv1.Rollout{
		Version: r.Version, Live: bundleFacts(&r.Live), Mode: writv1.RolloutMode(r.Mode), Share: hundredths(r.Share), Tenants: r.Tenants,
		DenialMargin: hundredths(r.Margin.Denials), ErrorMargin: hundredths(r.Margin.Errors),
	}
	if r.Candidate != (decision.BundleRef{}) {
		facts.Candidate = bundleFacts(&r.Candidate)
	}
	return facts
}

// hundredths keeps what is out of range out of range.
func hundredths(n int) uint32 {
	if n < 0 || n > decision.Whole {
		return decision.Whole + 1
	}
	return uint32(n)
}

func bundleFacts(b *decision.BundleRef) *writv1.BundleRef {
	return &writv1.BundleRef{Digest: b.Digest, ArchiveDigest: b.Archive[:]}
}

func (r *record) readChange(id string, event *writv1.ChangeEvent) error {
	r.change, r.Kind = event, Change
	rollout, err := rolloutOf(event.GetRollout())
	if err != nil {
		return fmt.Errorf("rollout: %w", err)
	}
	if err := r.system("a change"); err != nil {
		return err
	}
	switch {
	case event.Action < writv1.ChangeAction_CHANGE_ACTION_ACTIVATE || event.Action > writv1.ChangeAction_CHANGE_ACTION_HALT:
		return errors.New("action is unknown")
	case event.Action == writv1.ChangeAction_CHANGE_ACTION_HALT && rollout.Candidate != (decision.BundleRef{}):
		return errors.New("a halt leaves a candidate")
	}
	if err := by(event.Actor, event.Reason, event.TicketId); err != nil {
		return err
	}
	r.Key, r.Principal, r.Ticket, r.Bundle = id, event.Actor, event.TicketId, rollout.Live.Digest
	r.effects = []decision.Effect{rollout}
	return nil
}

// rolloutOf is the way back; it refuses what makes no sense, so that nothing has
// to when it decides.
func rolloutOf(facts *writv1.Rollout) (r decision.Rollout, err error) {
	if facts == nil {
		return r, errors.New("it is missing")
	}
	if facts.Version < 1 {
		return r, errors.New("version is not positive")
	}
	r = decision.Rollout{Version: facts.Version, Tenants: facts.Tenants}
	if r.Live, err = bundleOf(facts.Live); err != nil {
		return r, fmt.Errorf("live: %w", err)
	}
	for _, n := range []uint32{facts.Share, facts.DenialMargin, facts.ErrorMargin} {
		if n > decision.Whole {
			return r, fmt.Errorf("a share or margin is more than %d", decision.Whole)
		}
	}
	r.Share = int(facts.Share)
	r.Margin = decision.Margin{Denials: int(facts.DenialMargin), Errors: int(facts.ErrorMargin)}
	if facts.Mode < 0 || facts.Mode > writv1.RolloutMode_ROLLOUT_MODE_CANARY {
		return r, errors.New("mode is unknown")
	}
	r.Mode = decision.RolloutMode(facts.Mode)
	if facts.Candidate == nil {
		if r.Mode != 0 || r.Share != 0 || len(r.Tenants) != 0 || r.Margin != (decision.Margin{}) {
			return r, errors.New("there is no candidate, and how it is tried out")
		}
		return r, nil
	}
	if r.Candidate, err = bundleOf(facts.Candidate); err != nil {
		return r, fmt.Errorf("candidate: %w", err)
	}
	return r, checkTrial(&r)
}

func checkTrial(r *decision.Rollout) error {
	switch {
	case r.Candidate.Digest == r.Live.Digest:
		return errors.New("the candidate is the live bundle")
	case r.Mode == 0:
		return errors.New("there is a candidate and no mode")
	case r.Mode == decision.Shadow && (r.Share != 0 || len(r.Tenants) != 0):
		return errors.New("a shadow has a share or tenants")
	case r.Mode == decision.Canary && r.Share == 0:
		return errors.New("a canary has no share")
	case len(r.Tenants) > maxTenants:
		return fmt.Errorf("more than %d tenants", maxTenants)
	}
	for i, tenant := range r.Tenants {
		if err := line("tenants", tenant, 1, 128); err != nil {
			return err
		}
		if i > 0 && tenant <= r.Tenants[i-1] {
			return errors.New("tenants are not in order, or one is there twice")
		}
	}
	return nil
}

func bundleOf(ref *writv1.BundleRef) (decision.BundleRef, error) {
	sum, err := hex.DecodeString(ref.GetDigest())
	if err != nil || len(sum) != sha256.Size || hex.EncodeToString(sum) != ref.GetDigest() {
		return decision.BundleRef{}, errors.New("digest is not 32 bytes in lower-case hex")
	}
	archive, err := digest("archive_digest", ref.GetArchiveDigest())
	return decision.BundleRef{Digest: ref.GetDigest(), Archive: archive}, err
}

// archives are those that a rollout names.
func archives(r *decision.Rollout) [][32]byte {
	all := [][32]byte{r.Live.Archive}
	if r.Candidate != (decision.BundleRef{}) {
		all = append(all, r.Candidate.Archive)
	}
	return slices.Compact(all)
}
