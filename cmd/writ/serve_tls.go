package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"strings"
	"time"

	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"github.com/spiffe/go-spiffe/v2/workloadapi"

	"github.com/writpdp/writ/server/audit"
	"github.com/writpdp/writ/server/telemetry"
	"github.com/writpdp/writ/server/transport"
)

// tlsSection says where the server's certificate and the authorities of its
// callers come from: a SPIFFE Workload API, or files.
type tlsSection struct {
	// WorkloadAPI is the API's address, such as unix:///run/spire/agent.sock, or
	// the word environment: what SPIFFE_ENDPOINT_SOCKET says.
	WorkloadAPI string `yaml:"workload_api"`
	// FederatesWith are further trust domains of which the Workload API's bundles
	// are used.
	FederatesWith []string `yaml:"federates_with"`
	// CertFile is the server's certificate and KeyFile its key. ClientCAFile holds
	// the authorities of its trust domain.
	CertFile     string `yaml:"cert_file"`
	KeyFile      string `yaml:"key_file"`
	ClientCAFile string `yaml:"client_ca_file"`
	// TrustBundles are the authorities of further trust domains.
	TrustBundles []struct {
		TrustDomain string `yaml:"trust_domain"`
		File        string `yaml:"file"`
	} `yaml:"trust_bundles"`
	// MinVersion is "1.3", or "1.2"; empty: 1.3.
	MinVersion string `yaml:"min_version"`
}

// inEnvironment stands for the address that the environment gives.
const inEnvironment = "environment"

// paths are those that are relative to the configuration's file. All must be
// named.
func (t *tlsSection) paths() []*string {
	var all []*string
	if t.WorkloadAPI == "" {
		all = append(all, &t.CertFile, &t.KeyFile, &t.ClientCAFile)
	}
	for i := range t.TrustBundles {
		all = append(all, &t.TrustBundles[i].File)
	}
	return all
}

// check checks what needs no file. t may be nil.
func (t *tlsSection) check() error {
	if t == nil {
		return nil
	}
	files := t.CertFile != "" || t.KeyFile != "" || t.ClientCAFile != "" || len(t.TrustBundles) > 0
	switch {
	case t.WorkloadAPI != "" && files:
		return errors.New("tls: certificates come from workload_api or from files, not from both; trust domains of the workload_api are under federates_with")
	case t.WorkloadAPI == "" && len(t.FederatesWith) > 0:
		return errors.New("tls.federates_with goes with workload_api; for files name trust_bundles")
	case t.MinVersion != "" && t.MinVersion != "1.3" && t.MinVersion != "1.2":
		return fmt.Errorf("tls.min_version is %.20q and neither 1.3 nor 1.2", t.MinVersion)
	}
	return nil
}

// source is what the section says.
func (t *tlsSection) source() (transport.Config, error) {
	c := transport.Config{TLS12: t.MinVersion == "1.2", Now: time.Now}
	if t.WorkloadAPI == "" {
		c.Files = &transport.Files{Certificate: t.CertFile, Key: t.KeyFile, Authorities: t.ClientCAFile}
		for _, b := range t.TrustBundles {
			domain, err := spiffeid.TrustDomainFromString(b.TrustDomain)
			if err != nil {
				return c, fmt.Errorf("tls.trust_bundles: trust_domain %.100q: %w", b.TrustDomain, err)
			}
			c.Files.Bundles = append(c.Files.Bundles, transport.BundleFile{TrustDomain: domain, File: b.File})
		}
		return c, nil
	}
	if c.WorkloadAPI = t.WorkloadAPI; c.WorkloadAPI == inEnvironment {
		if c.WorkloadAPI = os.Getenv(workloadapi.SocketEnv); c.WorkloadAPI == "" {
			return c, fmt.Errorf("tls.workload_api: %s is not in the environment", workloadapi.SocketEnv)
		}
	}
	target, err := workloadapi.TargetFromAddress(c.WorkloadAPI)
	if err != nil {
		return c, fmt.Errorf("tls.workload_api: %w", err)
	}
	if strings.HasPrefix(c.WorkloadAPI, "tcp:") && !loopback(target) {
		return c, errors.New("tls.workload_api: it hands out private keys in the plain, so it is a unix socket or on loopback")
	}
	for _, name := range t.FederatesWith {
		domain, err := spiffeid.TrustDomainFromString(name)
		if err != nil {
			return c, fmt.Errorf("tls.federates_with: %.100q: %w", name, err)
		}
		c.Federated = append(c.Federated, domain)
	}
	return c, nil
}

// certificateNotices are the records of what is wrong with a certificate.
var certificateNotices = map[transport.Kind]audit.NoticeKind{
	transport.LongLived: audit.LongLived, transport.Expiring: audit.Expiring, transport.Expired: audit.Expired,
}

// certificates opens the source of the listeners' certificates; nil without TLS.
func (c *config) certificates(ctx context.Context, store *servedStore, metrics *telemetry.Metrics, log *slog.Logger) (*transport.Source, error) {
	if c.TLS == nil {
		return nil, nil
	}
	from, err := c.TLS.source()
	if err != nil {
		return nil, err
	}
	actor, err := thisServer()
	if err != nil {
		return nil, err
	}
	var source *transport.Source
	from.Log, from.Meter = log, metrics.Meter()
	from.Report = func(ctx context.Context, w transport.Warning) {
		notice(ctx, log, store, audit.NoticeFacts{Kind: certificateNotices[w.Kind], Actor: actor, Source: source.Name(), Key: w.Certificate, Why: w.Text})
	}
	if source, err = transport.Open(ctx, from); err != nil {
		return nil, fmt.Errorf("tls: %w", err)
	}
	return source, nil
}
