package audit

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/gofrs/uuid/v5"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/writpdp/writ/document"
	writv1 "github.com/writpdp/writ/proto/writ/v1"
	"github.com/writpdp/writ/server/decision"
)

// Reveal is the kind of what is asked about tokens of redactions.
const Reveal Kind = 40

// VaultRow is what a token of a redaction stands for, as its table has it.
type VaultRow struct {
	Tenant, Token, Class string
	Sealed               []byte
	// Record is the decision that put it there.
	Record [16]byte
}

// RevealFacts is a question about a token, as it is recorded.
type RevealFacts struct {
	At time.Time
	// Tenant is whose log has it; Of is the tenant that was named, where that is
	// another.
	Tenant, Of string
	// Caller is the caller's SPIFFE ID; empty: it was asked at the store.
	Caller string
	// Actor is who asked.
	Actor                 string
	Forgets               bool
	Outcome               writv1.RevealOutcome
	Token, Reason, Ticket string
	// Class is what the token is of, of what was done.
	Class string
	// Version is the version of the ticket that it uses up; 0: it uses up none.
	Version int64
}

// Revealed is the entry of a question about a token. id is the record's UUIDv7.
func Revealed(id [16]byte, f RevealFacts) (Entry, error) {
	event := &writv1.RevealEvent{Actor: f.Actor, Action: writv1.RevealAction_REVEAL_ACTION_REVEAL, Outcome: f.Outcome,
		Token: f.Token, Reason: f.Reason, TicketId: f.Ticket, Of: f.Of, Class: f.Class, RedeemedVersion: f.Version}
	if f.Forgets {
		event.Action = writv1.RevealAction_REVEAL_ACTION_FORGET
	}
	data, err := proto.MarshalOptions{Deterministic: true}.Marshal(event)
	if err != nil {
		return Entry{}, fmt.Errorf("encoding a question about a token: %w", err)
	}
	sum := sha256.Sum256(data)
	entry, err := enter(&writv1.Record{Version: version, Tenant: f.Tenant, Id: uuid.UUID(id).String(), At: stamp(&timestamppb.Timestamp{}, f.At),
		Caller: f.Caller, RequestDigest: sum[:], Event: &writv1.Record_Reveal{Reveal: event}})
	if err != nil {
		return Entry{}, fmt.Errorf("encoding a question about a token: %w", err)
	}
	return entry, nil
}

// RevealedOf reads a question about a token. A body of anything else is ErrNotFound.
func RevealedOf(body []byte) (RevealFacts, error) {
	r, err := decode(body)
	if err != nil {
		return RevealFacts{}, err
	}
	e := r.reveal
	if e == nil {
		return RevealFacts{}, fmt.Errorf("reading a question about a token: %w", ErrNotFound)
	}
	return RevealFacts{At: r.At, Tenant: r.Tenant, Of: e.Of, Caller: r.Caller, Actor: e.Actor, Outcome: e.Outcome, Token: e.Token, Reason: e.Reason,
		Ticket: e.TicketId, Class: e.Class, Version: e.RedeemedVersion, Forgets: e.Action == writv1.RevealAction_REVEAL_ACTION_FORGET}, nil
}

func (r *record) readReveal(id string, e *writv1.RevealEvent) error {
	r.reveal, r.Kind = e, Reveal
	if err := by(e.GetActor(), e.GetReason(), e.GetTicketId()); err != nil {
		return err
	}
	if err := errors.Join(line("of", e.Of, 0, 128), line("class", e.Class, 0, 1024)); err != nil {
		return err
	}
	_, ok := document.TokenOf(e.Token)
	switch {
	case !ok:
		return errors.New("token is malformed")
	case e.Action < writv1.RevealAction_REVEAL_ACTION_REVEAL || e.Action > writv1.RevealAction_REVEAL_ACTION_FORGET:
		return errors.New("action is unknown")
	case e.Outcome < writv1.RevealOutcome_REVEAL_OUTCOME_DONE || e.Outcome > writv1.RevealOutcome_REVEAL_OUTCOME_UNKNOWN:
		return errors.New("outcome is unknown")
	case e.Of != "" && e.Outcome == writv1.RevealOutcome_REVEAL_OUTCOME_DONE:
		return errors.New("another tenant's token was told")
	case e.Outcome != writv1.RevealOutcome_REVEAL_OUTCOME_DONE && (e.Class != "" || e.RedeemedVersion != 0):
		return errors.New("what was not done has a class or uses up a ticket")
	case e.RedeemedVersion < 0 || e.RedeemedVersion > 0 && (e.TicketId == "" || r.Caller == ""):
		return errors.New("it uses up a ticket that is not named, or that nobody looked up")
	case e.RedeemedVersion == 0 && e.TicketId != "" && r.Caller != "" && e.Outcome == writv1.RevealOutcome_REVEAL_OUTCOME_DONE:
		return errors.New("a ticket is named for it and not used up")
	}
	r.Key, r.Principal, r.Ticket = id, e.Actor, e.TicketId
	if e.Action == writv1.RevealAction_REVEAL_ACTION_FORGET && e.Outcome == writv1.RevealOutcome_REVEAL_OUTCOME_DONE {
		r.effects = []decision.Effect{decision.Forget{Token: e.Token}}
	}
	if e.RedeemedVersion > 0 {
		r.effects = append(r.effects, decision.Redeem{Ticket: e.TicketId, Version: e.RedeemedVersion})
	}
	return nil
}

func vaultFacts(v *decision.Vault) *writv1.EffectFacts {
	return &writv1.EffectFacts{Effect: &writv1.EffectFacts_Vaulted{Vaulted: &writv1.VaultFacts{Token: v.Token, Class: v.Class, SealedDigest: v.Digest[:]}}}
}

// vaultOf is the way back, without what is sealed.
func vaultOf(f *writv1.VaultFacts) (decision.Vault, error) {
	if _, ok := document.TokenOf(f.GetToken()); !ok || len(f.SealedDigest) != 32 {
		return decision.Vault{}, errors.New("vaulted.token or its digest is malformed")
	}
	if err := text("vaulted.class", f.Class, 0, 1024); err != nil {
		return decision.Vault{}, err
	}
	return decision.Vault{Token: f.Token, Class: f.Class, Digest: [32]byte(f.SealedDigest)}, nil
}

// seal puts into an entry what its record has the digests of alone.
func seal(entry *Entry, effects []decision.Effect) {
	for i, effect := range effects { // they are those of the record, one by one
		if v, ok := effect.(decision.Vault); ok {
			entry.Effects[i] = v
		}
	}
}

// vaultKey is a token of a tenant.
type vaultKey struct{ tenant, token string }

// kept is what the records say of a token.
type kept struct {
	class  string
	digest [32]byte
	// records are those that put it into the vault.
	records map[[16]byte]bool
	// forgotten says that some record erased it, stored that the store has it.
	forgotten, stored bool
}

// vault takes up an effect on the vault. A token is always of the same value, so it
// is sealed alike unless the key was changed.
func (b *books) vault(r *record, token string) *kept {
	key := vaultKey{r.Tenant, token}
	k := b.vaulted[key]
	if k == nil {
		k = &kept{records: map[[16]byte]bool{}}
		b.vaulted[key] = k
	}
	return k
}

func (b *books) keep(r *record, index int64, v *decision.Vault) *Problem {
	k := b.vault(r, v.Token)
	if len(k.records) > 0 && (k.class != v.Class || k.digest != v.Digest) {
		return about(&r.Row, index, "vault", "the record's token stands for something else than in an earlier record")
	}
	k.class, k.digest, k.records[r.ID] = v.Class, v.Digest, true
	return nil
}

// vaultRow compares a stored row with the records.
func (b *books) vaultRow(row *VaultRow) *Problem {
	k := b.vaulted[vaultKey{row.Tenant, row.Token}]
	switch {
	case k == nil || !k.records[row.Record]:
		return badVault(row.Tenant, row.Record, "no such record put the token there")
	case k.stored:
		return badVault(row.Tenant, row.Record, "it is stored twice")
	case k.class != row.Class:
		return badVault(row.Tenant, row.Record, "it is stored with another class than the record's")
	case k.digest != sha256.Sum256(row.Sealed):
		return badVault(row.Tenant, row.Record, "what is stored is not what the record's token stands for")
	}
	k.stored = true
	return nil
}

// lackingVault is the first token, by name, that the store lacks and nobody had
// forgotten. One that was forgotten and tokenised again may be there or not: in which
// order, the log does not tell.
func (b *books) lackingVault() *Problem {
	var lacking []vaultKey
	for key, k := range b.vaulted {
		if len(k.records) > 0 && !k.stored && !k.forgotten {
			lacking = append(lacking, key)
		}
	}
	if len(lacking) == 0 {
		return nil
	}
	first := slices.MinFunc(lacking, func(a, b vaultKey) int { return cmp.Or(cmp.Compare(a.tenant, b.tenant), cmp.Compare(a.token, b.token)) })
	var record [16]byte
	for id := range b.vaulted[first].records {
		if record == [16]byte{} || bytes.Compare(id[:], record[:]) < 0 {
			record = id
		}
	}
	return badVault(first.tenant, record, "the store lacks what the record's token stands for, and nobody had it forgotten")
}

func badVault(tenant string, record [16]byte, detail string) *Problem {
	return &Problem{What: "vault", Index: -1, Last: -1, Tenant: tenant, Record: record, Detail: detail}
}

// vault compares the stored tokens with the records.
func (v *verification) vault() error {
	err := v.r.VaultRows(v.ctx, func(row VaultRow) error {
		if p := v.books.vaultRow(&row); p != nil {
			return v.fail(p)
		}
		v.report.Vaulted++
		return nil
	})
	if err != nil {
		return err
	}
	if p := v.books.lackingVault(); p != nil {
		return v.fail(p)
	}
	return nil
}
