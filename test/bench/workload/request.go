package workload

import (
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"io"
	"time"

	"github.com/gofrs/uuid/v5"

	writv1 "github.com/writpdp/writ/proto/writ/v1"
	"github.com/writpdp/writ/server/decision"
	"github.com/writpdp/writ/server/identity"
)

// What every server under load believes.
const (
	Tenant   = "acme"
	Caller   = "spiffe://example.org/gateway"
	Issuer   = "https://issuer.example.org"
	Audience = "writ"
	Origin   = "bench.example.org/log"
)

// Tool is what Request calls.
var Tool = decision.ToolName{Server: "filesystem", Name: "read_text_file"}

// Agency mints tokens for the agents and writes their requests. It is safe for
// concurrent use if its source of randomness is.
type Agency struct {
	minter *identity.Minter
	random io.Reader
	digest string
}

// NewAgency takes the issuer's key, and the digest of Tool's definition in the
// bundle that is asked.
func NewAgency(minter *identity.Minter, digest string, random io.Reader) *Agency {
	return &Agency{minter: minter, random: random, digest: digest}
}

// Verifier accepts the tokens of a minter.
func Verifier(jwks []byte) (*identity.Verifier, error) {
	keys, err := identity.ReadKeys(jwks)
	if err != nil {
		return nil, fmt.Errorf("reading the issuer's keys: %w", err)
	}
	return identity.NewVerifier(identity.Config{Issuers: []identity.Issuer{{ID: Issuer, Keys: keys}}, Audience: Audience})
}

// Token is a fresh token of the i-th agent, valid for ten minutes.
func (a *Agency) Token(i int, at time.Time) (string, error) {
	id, err := a.id(at)
	if err != nil {
		return "", err
	}
	return a.minter.Mint(identity.Claims{Issuer: Issuer, Audience: Audience, Subject: Agent(i),
		OnBehalfOf: "clerk@eu.example.org", Purposes: []string{"support"}, Lifetime: identity.MaxLifetime}, at, id.String())
}

// Request is the i-th request: an agent of the support desk is about to read a
// file, as an MCP gateway asks it. Three budgets of the sample bundle count it,
// and it is charged to one. Each has a token of its own, for a token is accepted
// once. at is when the token is minted, and sent the time that the request's id
// tells: that of requests which are made in advance grows, as on the way.
func (a *Agency) Request(i int, at, sent time.Time) (*writv1.DecideRequest, error) {
	token, err := a.Token(i, at)
	if err != nil {
		return nil, fmt.Errorf("minting a token: %w", err)
	}
	id, err := a.id(sent)
	if err != nil {
		return nil, err
	}
	var trace [24]byte
	if _, err := io.ReadFull(a.random, trace[:]); err != nil {
		return nil, fmt.Errorf("reading randomness: %w", err)
	}
	return &writv1.DecideRequest{
		RequestId: id.String(), Phase: writv1.Phase_PHASE_CALL, PrincipalToken: token,
		SessionId: fmt.Sprintf("session-%04d", i%1000), Purpose: "support",
		Tool:                 &writv1.Tool{Server: Tool.Server, Name: Tool.Name, DefinitionDigest: a.digest},
		Arguments:            fmt.Appendf(nil, `{"path":"/srv/files/customers-%05d.json","head":100}`, i%100_000),
		SupportedObligations: []string{"redact", "route", "filter_tools", "limit_output", "notify", "step_up", "watermark"},
		Trace:                &writv1.TraceContext{Traceparent: fmt.Sprintf("00-%s-%s-01", hex.EncodeToString(trace[:16]), hex.EncodeToString(trace[16:]))},
	}, nil
}

// id is a UUIDv7: the time in milliseconds, then randomness.
func (a *Agency) id(at time.Time) (uuid.UUID, error) {
	var id uuid.UUID
	if _, err := io.ReadFull(a.random, id[:]); err != nil {
		return id, fmt.Errorf("reading randomness: %w", err)
	}
	var ms [8]byte
	binary.BigEndian.PutUint64(ms[:], uint64(at.UnixMilli()))
	copy(id[:6], ms[2:])
	id.SetVersion(7)
	id.SetVariant(uuid.VariantRFC9562)
	return id, nil
}
