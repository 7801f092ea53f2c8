package identity

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"github.com/spiffe/go-spiffe/v2/svid/x509svid"

	"github.com/writpdp/writ/server/decision"
)

const maxID = 2048 // bytes of a SPIFFE ID, as the standard has it

// CallerRule says which tenant a caller works for.
type CallerRule struct {
	// ID is a SPIFFE ID, or a prefix of SPIFFE IDs that ends in "/*": then it
	// covers every ID with at least one more path segment.
	ID string
	// Tenant is the tenant's name, as decision.CheckTenant has it.
	Tenant string
}

// Callers knows the callers by their SPIFFE IDs. Immutable.
type Callers struct {
	exact  map[string]string // tenant by SPIFFE ID
	prefix map[string]string // tenant by SPIFFE ID, without the "/*"
}

// NewCallers refuses rules that are invalid or that name the same ID twice, and
// no rules at all, because then nobody could ever call.
func NewCallers(rules []CallerRule) (*Callers, error) {
	if len(rules) == 0 {
		return nil, errors.New("reading caller rules: there are none")
	}
	c := &Callers{exact: map[string]string{}, prefix: map[string]string{}}
	for _, r := range rules {
		if err := c.add(r); err != nil {
			return nil, fmt.Errorf("reading the caller rule for %q: %w", r.ID, err)
		}
	}
	return c, nil
}

func (c *Callers) add(r CallerRule) error {
	into := c.exact
	name, wild := strings.CutSuffix(r.ID, "/*")
	if wild {
		into = c.prefix
	}
	if _, err := spiffeid.FromString(name); err != nil {
		return fmt.Errorf("parsing the SPIFFE ID: %w", err)
	}
	if err := decision.CheckTenant(r.Tenant); err != nil {
		return err
	}
	if _, twice := into[name]; twice {
		return errors.New("there are two rules for it")
	}
	into[name] = r.Tenant
	return nil
}

// Caller is the caller with a SPIFFE ID. An exact rule wins over a prefix, a
// longer prefix over a shorter one. The error is an *Error.
func (c *Callers) Caller(id spiffeid.ID) (decision.Caller, error) {
	name := id.String()
	if name == "" || len(name) > maxID {
		return decision.Caller{}, unknown("the caller has no SPIFFE ID of at most %d bytes", maxID)
	}
	if tenant, ok := c.exact[name]; ok {
		return decision.Caller{SPIFFEID: name, Tenant: tenant}, nil
	}
	// Cut whole segments only, so that no ID matches half a name.
	root := len(name) - len(id.Path())
	for end := strings.LastIndexByte(name, '/'); end >= root; end = strings.LastIndexByte(name[:end], '/') {
		if tenant, ok := c.prefix[name[:end]]; ok {
			return decision.Caller{SPIFFEID: name, Tenant: tenant}, nil
		}
	}
	return decision.Caller{}, unknown("no rule knows the caller's SPIFFE ID")
}

// FromTLS is the SPIFFE ID of the peer at a time, once the handshake verified its
// chain: the listener must verify client certificates
// (tls.RequireAndVerifyClientCert) against the authorities of the ID's own trust
// domain, as server/transport does. A connection outlives its handshake, so a
// certificate that has ended since proves nobody. A leaf that could itself sign
// certificates is no SVID. The error is an *Error.
func FromTLS(state tls.ConnectionState, at time.Time) (spiffeid.ID, error) {
	if !state.HandshakeComplete || len(state.VerifiedChains) == 0 || len(state.VerifiedChains[0]) == 0 {
		return spiffeid.ID{}, unknown("the connection has no verified client certificate")
	}
	leaf := state.VerifiedChains[0][0]
	if leaf.IsCA || leaf.KeyUsage&(x509.KeyUsageCertSign|x509.KeyUsageCRLSign) != 0 {
		return spiffeid.ID{}, unknown("the client certificate is an authority's")
	}
	if at.After(leaf.NotAfter) {
		return spiffeid.ID{}, unknown("the client certificate has expired since the connection was made; connect again")
	}
	id, err := x509svid.IDFromCert(leaf)
	if err != nil {
		return spiffeid.ID{}, unknown("the client certificate has not exactly one SPIFFE ID")
	}
	return id, nil
}
