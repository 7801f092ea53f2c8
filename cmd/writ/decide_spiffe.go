package main

import (
	"context"
	"crypto/tls"
	"fmt"

	"github.com/spiffe/go-spiffe/v2/bundle/x509bundle"
	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"github.com/spiffe/go-spiffe/v2/svid/x509svid"
	"github.com/spiffe/go-spiffe/v2/workloadapi"

	client "github.com/writpdp/writ/clients/go"
)

// given are this caller's SVID, and the authorities of the trust domains that it
// knows, as they are now: one question needs no others.
type given struct {
	*x509svid.SVID
	*x509bundle.Set
}

// spiffe is the TLS of a caller that knows the PDP by its SPIFFE ID. Its own SVID
// comes from a Workload API or from files.
func (c connection) spiffe(ctx context.Context) (*tls.Config, error) {
	files := c.CA != "" && c.Cert != "" && c.Key != ""
	switch {
	case c.ServerID == "":
		return nil, usageError("--workload-api goes with --server-id")
	case c.WorkloadAPI == "" && !files:
		return nil, usageError("--server-id goes with --workload-api, or with --ca, --cert and --key")
	case c.WorkloadAPI != "" && c.CA+c.Cert+c.Key != "":
		return nil, usageError("--workload-api goes without --ca, --cert and --key")
	}
	server, err := spiffeid.FromString(c.ServerID)
	if err != nil {
		return nil, usageError("--server-id: " + err.Error())
	}
	var from given
	if files {
		if from.SVID, err = x509svid.Load(c.Cert, c.Key); err != nil {
			return nil, fmt.Errorf("reading this caller's certificate: %w", err)
		}
		bundle, err := x509bundle.Load(server.TrustDomain(), c.CA)
		if err != nil {
			return nil, fmt.Errorf("reading the authorities: %w", err)
		}
		from.Set = x509bundle.NewSet(bundle)
	} else {
		all, err := workloadapi.FetchX509Context(ctx, workloadapi.WithAddr(c.WorkloadAPI))
		if err != nil {
			return nil, fmt.Errorf("asking the Workload API for an SVID: %w", err)
		}
		from = given{all.DefaultSVID(), all.Bundles}
	}
	return client.SPIFFE(from, server)
}
