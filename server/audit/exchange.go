package audit

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"time"

	"github.com/gofrs/uuid/v5"
	"google.golang.org/protobuf/types/known/timestamppb"

	writv1 "github.com/writpdp/writ/proto/writ/v1"
	"github.com/writpdp/writ/server/decision"
)

// ActorProof is what proved who acts in an exchange.
type ActorProof uint8

// The proofs, with the numbers of writ.v1.ActorProof.
const (
	ByX509SVID ActorProof = iota + 1
	ByJWTSVID
	ByToken
)

// ExchangeFacts is an exchange of tokens, as its record has it.
type ExchangeFacts struct {
	// RequestID is the caller's idempotency key, a UUID in lower case.
	RequestID string
	// Digest covers all that the exchange depends on.
	Digest [32]byte
	Caller decision.Caller
	// At is when it was made.
	At time.Time
	// Actor is who acts, and Proof what proved it.
	Actor string
	Proof ActorProof
	// Parent is the principal token that was exchanged, for ParentAudience; nil:
	// none was.
	Parent         *decision.Principal
	ParentAudience []string
	// Presented are the tokens that the exchange uses up, unless it is refused.
	Presented []decision.Consume
	// Purposes, Tools, Audience and Lifetime are what was asked for.
	Purposes, Tools, Audience []string
	Lifetime                  time.Duration
	// Issued is what was issued; nil: Reasons say why nothing was.
	Issued  *IssuedFacts
	Reasons []decision.Reason
}

// IssuedFacts is what issued tokens say.
type IssuedFacts struct {
	Issuer, Subject, OnBehalfOf       string
	Actors, Purposes, Tools, Audience []string
	// At, NotBefore and Expires are whole seconds.
	At, NotBefore, Expires time.Time
	// Key is the thumbprint of the key that signs.
	Key [32]byte
	// Tokens are their digests: the `jti` of the one at index N is JTI(id, N).
	Tokens [][32]byte
}

// Bounds of an exchange.
const (
	maxIssued    = 64
	maxPresented = 2
	maxRefusals  = 16
)

// JTI is the `jti` of a token of an exchange, so that its record says it.
func JTI(record string, index int) string { return fmt.Sprintf("%s.%d", record, index) }

// Exchanged is the entry of an exchange. id is the new record's UUIDv7.
func Exchanged(id [16]byte, x *ExchangeFacts) (Entry, error) {
	event := &writv1.ExchangeEvent{
		RequestId: x.RequestID, Actor: x.Actor, ActorProof: writv1.ActorProof(x.Proof), ParentAudience: x.ParentAudience,
		Purposes: x.Purposes, Tools: x.Tools, Audience: x.Audience, TtlSeconds: uint32(x.Lifetime / time.Second),
	}
	if x.Parent != nil {
		event.Parent = principalFacts(x.Parent)
	}
	for _, p := range x.Presented {
		event.Presented = append(event.Presented, &writv1.PresentedToken{Digest: p.Token[:], ExpiresAt: stamp(&timestamppb.Timestamp{}, p.Expires)})
	}
	if i := x.Issued; i != nil {
		event.Issued = &writv1.IssuedTokens{
			Issuer: i.Issuer, Subject: i.Subject, OnBehalfOf: i.OnBehalfOf, Actors: i.Actors, Purposes: i.Purposes, Tools: i.Tools,
			Audience: i.Audience, IssuedAt: timestamppb.New(i.At), NotBefore: timestamppb.New(i.NotBefore), ExpiresAt: timestamppb.New(i.Expires),
			KeyThumbprint: i.Key[:],
		}
		for _, token := range i.Tokens {
			event.Issued.TokenDigests = append(event.Issued.TokenDigests, token[:])
		}
	}
	f := decision.Finding{Stage: "exchange", Reasons: x.Reasons}
	event.Reasons = reasons(&f)
	entry, err := enter(&writv1.Record{
		Version: version, Tenant: x.Caller.Tenant, Id: uuid.UUID(id).String(), At: stamp(&timestamppb.Timestamp{}, x.At), Caller: x.Caller.SPIFFEID, RequestDigest: x.Digest[:],
		Event: &writv1.Record_Exchange{Exchange: event},
	})
	if err != nil {
		return Entry{}, fmt.Errorf("encoding the exchange: %w", err)
	}
	return entry, nil
}

// ExchangeOf is the exchange that a body records. Another record's is ErrNotFound.
func ExchangeOf(body []byte) (*ExchangeFacts, error) {
	r, err := decode(body)
	if err != nil {
		return nil, err
	}
	e := r.exchange
	if e == nil {
		return nil, fmt.Errorf("reading an exchange: %w", ErrNotFound)
	}
	x := &ExchangeFacts{RequestID: e.RequestId, Digest: r.Digest, Caller: decision.Caller{SPIFFEID: r.Caller, Tenant: r.Tenant}, At: r.At,
		Actor: e.Actor, Proof: ActorProof(e.ActorProof), ParentAudience: e.ParentAudience, Purposes: e.Purposes, Tools: e.Tools, Audience: e.Audience,
		Lifetime: time.Duration(e.TtlSeconds) * time.Second}
	if e.Parent != nil {
		p := principalOf(e.Parent)
		x.Parent = &p
	}
	for _, p := range e.Presented {
		x.Presented = append(x.Presented, decision.Consume{Token: [32]byte(p.Digest), Expires: p.ExpiresAt.AsTime()})
	}
	if i := e.Issued; i != nil {
		x.Issued = &IssuedFacts{Issuer: i.Issuer, Subject: i.Subject, OnBehalfOf: i.OnBehalfOf, Actors: i.Actors, Purposes: i.Purposes, Tools: i.Tools,
			Audience: i.Audience, At: i.IssuedAt.AsTime(), NotBefore: i.NotBefore.AsTime(), Expires: i.ExpiresAt.AsTime(), Key: [32]byte(i.KeyThumbprint)}
		for _, token := range i.TokenDigests {
			x.Issued.Tokens = append(x.Issued.Tokens, [32]byte(token))
		}
	}
	for _, reason := range e.Reasons {
		x.Reasons = append(x.Reasons, decision.Reason{Code: reason.Code, Text: reason.Text, Lift: reason.Lift})
	}
	return x, nil
}

func (r *record) readExchange(event *writv1.ExchangeEvent) error {
	r.exchange, r.Kind = event, Exchange
	switch {
	case event.ActorProof < writv1.ActorProof_ACTOR_PROOF_X509_SVID || event.ActorProof > writv1.ActorProof_ACTOR_PROOF_TOKEN:
		return errors.New("actor_proof is unknown")
	case len(event.Presented) > maxPresented || len(event.Reasons) > maxRefusals:
		return errors.New("more tokens or reasons than an exchange has")
	case (event.Issued == nil) == (len(event.Reasons) == 0):
		return errors.New("an exchange has tokens or reasons, and not both")
	case event.TtlSeconds > uint32(10*time.Minute/time.Second):
		return errors.New("ttl_seconds is out of range")
	}
	if _, err := identify(event.RequestId); err != nil {
		return fmt.Errorf("request_id %w", err)
	}
	if err := text("actor", event.Actor, 1, 2048); err != nil {
		return err
	}
	if p := event.Parent; p != nil {
		if _, err := digest("token_digest", p.TokenDigest); err != nil {
			return err
		}
		if _, err := moment("token_expires_at", p.TokenExpiresAt); err != nil {
			return err
		}
	}
	var presented []decision.Effect
	for _, p := range event.Presented {
		token, err := digest("presented.digest", p.GetDigest())
		if err != nil {
			return err
		}
		expires, err := moment("presented.expires_at", p.GetExpiresAt())
		if err != nil {
			return err
		}
		presented = append(presented, decision.Consume{Token: token, Expires: expires})
	}
	r.Key, r.Principal, r.Outcome = event.RequestId, event.Actor, decision.Denied
	if len(event.Purposes) == 1 {
		r.Purpose = event.Purposes[0]
	}
	if event.Issued == nil {
		return nil
	}
	r.Outcome, r.effects = decision.Allowed, presented
	return checkIssued(event.Issued)
}

func checkIssued(i *writv1.IssuedTokens) error {
	for _, t := range []struct {
		name string
		at   *timestamppb.Timestamp
	}{{"issued_at", i.IssuedAt}, {"not_before", i.NotBefore}, {"expires_at", i.ExpiresAt}} {
		if at, err := moment(t.name, t.at); err != nil || at.Nanosecond() != 0 {
			return fmt.Errorf("%s is absent, malformed or finer than a second", t.name)
		}
	}
	if _, err := digest("key_thumbprint", i.KeyThumbprint); err != nil {
		return err
	}
	if len(i.TokenDigests) == 0 || len(i.TokenDigests) > maxIssued {
		return fmt.Errorf("an exchange issues 1 to %d tokens", maxIssued)
	}
	seen := map[[sha256.Size]byte]bool{}
	for _, d := range i.TokenDigests {
		token, err := digest("token_digests", d)
		if err != nil {
			return err
		}
		if seen[token] {
			return errors.New("a token is issued twice")
		}
		seen[token] = true
	}
	return nil
}
