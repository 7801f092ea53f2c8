package server

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"time"

	"github.com/gofrs/uuid/v5"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	writv1 "github.com/writpdp/writ/proto/writ/v1"
	"github.com/writpdp/writ/server/audit"
	"github.com/writpdp/writ/server/decision"
	"github.com/writpdp/writ/server/identity"
)

// The token types of RFC 8693 that are taken.
const (
	typeJWT    = "urn:ietf:params:oauth:token-type:jwt"
	typeAccess = "urn:ietf:params:oauth:token-type:access_token"
	typeID     = "urn:ietf:params:oauth:token-type:id_token"
)

// Exchange is what exchanging tokens takes. Every field is required but where its
// zero value is said.
type Exchange struct {
	// Mint issues the tokens.
	Mint *identity.Mint
	// Parents verifies the principal tokens that are exchanged.
	Parents *identity.Verifier
	// Proofs verifies JWT-SVIDs and ID tokens.
	Proofs *identity.Proofs
	// Grants are the purposes that an agent of a tenant may ask for who presents
	// no principal token, and the only tools; no tools: any. No purposes: nothing
	// is granted, and so for every agent where Grants is nil.
	Grants func(agent, tenant string) (purposes, tools []string)
	// Audience is who tokens from grants are for.
	Audience []string
	// Limits bound every exchange.
	Limits identity.Limits
}

// presented is what a request for an exchange presents, proved.
type presented struct {
	parent identity.Parent
	ask    identity.Ask
	// nothing says that the agent has no principal token and no grant.
	nothing bool
}

// Exchange takes the same path as a decision: identify, decide, commit, answer.
// until is when the caller's certificate expires; zero: the connection proves
// nobody.
//
// What is presented is used up by the guards of the commit, so of two exchanges of
// the same token one is refused, whatever the order. The tokens are signed after the
// record is durable: what was issued is in the log, and a retry of a lost answer
// signs the same tokens again.
func (s *Server) Exchange(ctx context.Context, caller decision.Caller, until time.Time, in *writv1.ExchangeRequest) (*writv1.ExchangeResponse, error) {
	if err := s.validate(in); err != nil {
		return nil, err
	}
	caller, err := s.admit(caller, decision.ToExchange, in.Tenant)
	if err != nil {
		return nil, err
	}
	if s.exchange == nil {
		return nil, status.Error(codes.Unimplemented, "tokens are not exchanged here")
	}
	at := s.now().UTC().Truncate(time.Microsecond)
	x := &audit.ExchangeFacts{RequestID: in.RequestId, Caller: caller, At: at, Purposes: in.Purposes, Tools: in.Tools, Audience: in.Audience,
		Lifetime: in.Ttl.AsDuration()}
	p, err := s.present(x, until, in)
	if err != nil {
		return nil, err
	}
	if x.Digest, err = exchangeDigest(in, x); err != nil {
		return nil, internal(s.log, "hashing a request", err)
	}
	id, err := s.newID()
	if err != nil {
		return nil, internal(s.log, "making an id", err)
	}
	s.narrow(x, p, id, max(1, int(in.Count)))
	entry, receipt, err := s.record(ctx, id, x)
	if errors.Is(err, audit.ErrStale) && x.Issued != nil {
		x.Issued = nil
		x.Reasons = []decision.Reason{{Code: "token.replayed", Text: "A token that is presented was used before.", Lift: "Present a fresh token: each is accepted once."}}
		entry, receipt, err = s.record(ctx, id, x)
	}
	if err != nil {
		return nil, s.unrecorded(ctx, "recording an exchange", err)
	}
	row := entry.Row
	if receipt.Prior != nil {
		if row, err = audit.RowOf(receipt.Prior); err != nil {
			return nil, internal(s.log, "reading an earlier record", err)
		}
		if x, err = audit.ExchangeOf(receipt.Prior); err != nil {
			return nil, internal(s.log, "reading an earlier exchange", err)
		}
	}
	if x.Issued == nil {
		return nil, fail(errExchange, (&identity.Refusal{Reasons: x.Reasons}).Error())
	}
	out, err := s.issue(ctx, uuid.UUID(row.ID).String(), x.Issued)
	if err != nil {
		return nil, err
	}
	out.ExpiresIn = uint32(max(0, x.Issued.Expires.Sub(at)/time.Second))
	out.Receipt, out.Replayed = audit.ReceiptOf(&row, s.origin, receipt), receipt.Prior != nil
	return out, nil
}

// record commits an exchange.
func (s *Server) record(ctx context.Context, id [16]byte, x *audit.ExchangeFacts) (audit.Entry, audit.Receipt, error) {
	entry, err := audit.Exchanged(id, x)
	if err != nil {
		return entry, audit.Receipt{}, err
	}
	receipt, err := s.ledger.Commit(ctx, entry)
	return entry, receipt, err
}

// present proves who asks, with what, and enters it into the facts.
func (s *Server) present(x *audit.ExchangeFacts, until time.Time, in *writv1.ExchangeRequest) (p presented, err error) {
	switch {
	case (in.ActorToken == "") != (in.ActorTokenType == ""):
		return p, invalidField("actor_token_type", "is there with actor_token and only with it")
	case (in.SubjectToken == "") != (in.SubjectTokenType == ""):
		return p, invalidField("subject_token_type", "is there with subject_token and only with it")
	case in.ActorToken != "" && in.ActorToken == in.SubjectToken:
		return p, invalidField("subject_token", "is the actor_token")
	}
	own, latest, err := s.actor(x, until, in)
	if err != nil {
		return p, err
	}
	p.ask = identity.Ask{Actor: x.Actor, Purposes: in.Purposes, Tools: in.Tools, Audience: in.Audience, Lifetime: x.Lifetime}
	var delegated *identity.Parent
	switch in.SubjectTokenType {
	case typeID:
		proof, err := s.exchange.Proofs.Human(in.SubjectToken, x.At)
		if err != nil {
			return p, identityError(err)
		}
		p.ask.OnBehalfOf = proof.Subject
		if proof.NotAfter.Before(latest) {
			latest = proof.NotAfter
		}
		x.Presented = append(x.Presented, decision.Consume{Token: proof.Token, Expires: proof.Forgotten})
	case typeAccess:
		if delegated, err = s.exchanged(x, in.SubjectToken); err != nil {
			return p, err
		}
	}
	switch {
	case delegated != nil:
		p.parent = *delegated
	case own != nil:
		p.parent = *own
	default:
		p.parent, p.nothing = s.granted(x)
	}
	// Nothing that was needed to prove the asker may have expired before the token.
	if p.parent.Expires.IsZero() || latest.Before(p.parent.Expires) {
		p.parent.Expires = latest
	}
	return p, nil
}

// actor proves who acts, until when, and enters it. own is the actor's principal
// token; nil: it was proved by something else.
func (s *Server) actor(x *audit.ExchangeFacts, until time.Time, in *writv1.ExchangeRequest) (own *identity.Parent, latest time.Time, err error) {
	switch in.ActorTokenType {
	case typeJWT:
		proof, err := s.exchange.Proofs.Agent(in.ActorToken, x.At)
		if err != nil {
			return nil, latest, identityError(err)
		}
		x.Actor, x.Proof = proof.Subject, audit.ByJWTSVID
		x.Presented = append(x.Presented, decision.Consume{Token: proof.Token, Expires: proof.Forgotten})
		return nil, proof.NotAfter, nil
	case typeAccess:
		if own, err = s.exchanged(x, in.ActorToken); err != nil {
			return nil, latest, err
		}
		x.Actor, x.Proof = own.Holder(), audit.ByToken
		return own, own.Expires, nil
	}
	if until.IsZero() {
		return nil, latest, invalidField("actor_token", "is required: this connection proves nobody")
	}
	x.Actor, x.Proof = x.Caller.SPIFFEID, audit.ByX509SVID
	return nil, until, nil
}

// exchanged verifies a principal token and enters it. The last one that is entered
// is the parent: the subject's goes before the actor's own.
func (s *Server) exchanged(x *audit.ExchangeFacts, token string) (*identity.Parent, error) {
	parent, principal, err := s.exchange.Parents.Parent(token, x.At)
	if err != nil {
		return nil, identityError(err)
	}
	x.Parent, x.ParentAudience = &principal, parent.Audience
	x.Presented = append(x.Presented, decision.Consume{Token: principal.Token, Expires: principal.Expires})
	return &parent, nil
}

// granted is what an agent without a principal token may ask for.
func (s *Server) granted(x *audit.ExchangeFacts) (p identity.Parent, nothing bool) {
	var purposes, tools []string
	if s.exchange.Grants != nil {
		purposes, tools = s.exchange.Grants(x.Actor, x.Caller.Tenant)
	}
	return identity.Parent{Subject: x.Actor, Purposes: purposes, Tools: tools, Audience: s.exchange.Audience}, len(purposes) == 0
}

// narrow decides what is issued, or why nothing is.
func (s *Server) narrow(x *audit.ExchangeFacts, p presented, id [16]byte, count int) {
	if p.nothing {
		x.Reasons = []decision.Reason{{Code: "exchange.grant", Text: "The agent is granted no purpose, and presents no token that carries one.",
			Lift: "Present a principal token, or grant the agent purposes in the configuration."}}
		return
	}
	g, err := identity.Narrow(p.parent, p.ask, s.exchange.Limits, x.At)
	if refusal, ok := errors.AsType[*identity.Refusal](err); ok {
		x.Reasons = refusal.Reasons
		return
	}
	m := s.exchange.Mint
	if !m.Fits(g) {
		x.Reasons = []decision.Reason{{Code: "exchange.size", Text: fmt.Sprintf("A token that says all that would be larger than %d bytes.", identity.MaxToken),
			Lift: "Ask for fewer tools or audiences."}}
		return
	}
	x.Issued = &audit.IssuedFacts{Issuer: m.Issuer().ID, Subject: g.Subject, OnBehalfOf: g.OnBehalfOf, Actors: g.Actors, Purposes: g.Purposes, Tools: g.Tools,
		Audience: g.Audience, At: g.Issued, NotBefore: g.NotBefore, Expires: g.Expires, Key: m.Thumbprint()}
	for i := range count {
		x.Issued.Tokens = append(x.Issued.Tokens, m.Digest(audit.JTI(uuid.UUID(id).String(), i)))
	}
}

// issue signs the tokens of a recorded exchange.
func (s *Server) issue(ctx context.Context, id string, i *audit.IssuedFacts) (*writv1.ExchangeResponse, error) {
	m := s.exchange.Mint
	if i.Key != m.Thumbprint() || i.Issuer != m.Issuer().ID {
		return nil, fail(errExchange, "exchange.key: The tokens of this exchange were to be signed by a key that does not sign any more; exchange anew, with another request_id.")
	}
	g := identity.Grant{Subject: i.Subject, OnBehalfOf: i.OnBehalfOf, Actors: i.Actors, Purposes: i.Purposes, Tools: i.Tools, Audience: i.Audience,
		Issued: i.At, NotBefore: i.NotBefore, Expires: i.Expires}
	out := &writv1.ExchangeResponse{IssuedTokenType: typeAccess, TokenType: "Bearer", Purposes: i.Purposes, Tools: i.Tools, Audience: i.Audience}
	for n := range i.Tokens {
		token, err := m.Token(ctx, g, audit.JTI(id, n))
		switch {
		case err != nil && ctx.Err() != nil:
			return nil, fail(errDeadline, "the deadline passed before the tokens were signed; ask again with the same request_id")
		case err != nil:
			s.log.Error("signing exchanged tokens", "error", err)
			return nil, fail(errNotSigned, "the tokens could not be signed; ask again with the same request_id")
		case n == 0:
			out.AccessToken = token
		default:
			out.FurtherAccessTokens = append(out.FurtherAccessTokens, token)
		}
	}
	return out, nil
}

// exchangeDigest covers all that an exchange depends on: the message, with the
// digests of the tokens in the place of the tokens, and who sent it. So nobody who
// does not have the tokens can fetch what they were exchanged for.
func exchangeDigest(in *writv1.ExchangeRequest, x *audit.ExchangeFacts) ([32]byte, error) {
	bare := proto.CloneOf(in)
	bare.SubjectToken, bare.ActorToken, bare.Tenant = "", "", "" // the last is the caller's
	data, err := proto.MarshalOptions{Deterministic: true}.Marshal(bare)
	if err != nil {
		return [32]byte{}, err
	}
	parts := []string{x.Caller.Tenant, x.Caller.SPIFFEID, x.Actor, strconv.Itoa(int(x.Proof))}
	for _, p := range x.Presented {
		parts = append(parts, fmt.Sprintf("%x", p.Token))
	}
	return digest(data, parts...), nil
}

// keySet publishes the keys that exchanged tokens are verified with. A cache may
// keep them for less than a key is published before it signs and after it did.
func keySet(jwks []byte) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/jwk-set+json")
		w.Header().Set("Cache-Control", "public, max-age=300")
		w.Header().Set("X-Content-Type-Options", "nosniff")
		_, _ = w.Write(jwks) // whoever left does not read it
	})
}
