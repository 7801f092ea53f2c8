package writ

import (
	"crypto/tls"
	"errors"

	"github.com/spiffe/go-spiffe/v2/bundle/x509bundle"
	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"github.com/spiffe/go-spiffe/v2/spiffetls/tlsconfig"
	"github.com/spiffe/go-spiffe/v2/svid/x509svid"
)

// SVIDs is where a caller's X.509-SVID and the bundles of trust domains come from.
// go-spiffe's *workloadapi.X509Source is one: it keeps both at their newest state.
type SVIDs interface {
	x509svid.Source
	x509bundle.Source
}

// SPIFFE is what Config.TLS is for a caller with X.509-SVIDs: each connection is
// made with the SVID of its moment, and to a server that proves, by its trust
// domain's bundle, to be one of the SPIFFE IDs, under whatever name it was reached.
// At least one is needed.
func SPIFFE(from SVIDs, servers ...spiffeid.ID) (*tls.Config, error) {
	if from == nil || len(servers) == 0 {
		return nil, errors.New("there is no source of SVIDs, or no SPIFFE ID of a server")
	}
	config := tlsconfig.MTLSClientConfig(from, from, tlsconfig.AuthorizeOneOf(servers...))
	config.MinVersion = tls.VersionTLS13
	return config, nil
}
