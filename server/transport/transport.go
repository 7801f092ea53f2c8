// Package transport owns the TLS of the listeners: the server's X.509-SVID and
// the authorities of its callers' trust domains, from the SPIFFE Workload API or
// from files, followed while the server runs; and which peers a handshake lets
// in. It knows nothing of tenants and roles: it proves a SPIFFE ID, and others say
// what that may do.
//
// A peer's certificate has exactly one SPIFFE ID, is no authority's, may sign a
// handshake, and comes from an authority of the ID's own trust domain. One trust
// domain's authority cannot speak for another's.
package transport

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"go.opentelemetry.io/otel/metric"
)

// Config says where certificates come from. Of WorkloadAPI and Files there is
// one; every other field is required but where its zero value is said.
type Config struct {
	// WorkloadAPI is the address of a SPIFFE Workload API, unix:///path or
	// tcp://ip:port.
	WorkloadAPI string
	// Federated are the trust domains, beside the server's own, whose callers are
	// let in while the Workload API has their bundles. What else it has is not
	// used. Not with Files.
	Federated []spiffeid.TrustDomain
	// Files name the certificates.
	Files *Files
	// TLS12 lets TLS 1.2 in too, with ECDHE and AEAD suites alone; false: TLS 1.3.
	TLS12 bool
	// Every is the time between two looks at the files and at the clock; 0: 5
	// seconds.
	Every time.Duration
	// Patience is how long Open waits for a first certificate of the Workload API
	// that can be used; 0: a minute.
	Patience time.Duration
	// Now is the clock.
	Now func() time.Time
	// Log is told of each change, and why one was not made.
	Log *slog.Logger
	// Report is told each warning once, as long as it lasts; nil: nobody is. It is
	// called by one goroutine at a time.
	Report func(context.Context, Warning)
	// Meter shows how long certificates are still good; nil: nobody does.
	Meter metric.Meter
}

// Files are certificates of a directory that others write to. They are read
// anew all the time, so symbolic links may be swapped below them. A set that does
// not fit together changes nothing.
type Files struct {
	// Certificate is the server's, PEM, followed by what leads to an authority;
	// Key its private key, PEM.
	Certificate, Key string
	// Authorities are those of the server's own trust domain: PEM, or a SPIFFE
	// bundle in JSON.
	Authorities string
	// Bundles are the authorities of other trust domains whose callers are let
	// in.
	Bundles []BundleFile
}

// BundleFile holds the authorities of a trust domain: PEM, or a SPIFFE bundle in
// JSON.
type BundleFile struct {
	TrustDomain spiffeid.TrustDomain
	File        string
}

// Source keeps the material of the listeners' TLS at its newest state. Make one
// with Open. Safe for concurrent use.
type Source struct {
	c     Config
	name  string
	load  func() (*material, error)
	fresh <-chan struct{} // says that load may have something new; nil: nothing does
	close func() error
	count *counts

	mu      sync.Mutex // guards what is below
	current *material
	problem string // why the newest material is not current; empty: it is

	told map[Warning]bool // owned by Run: the warnings that were reported and last
}

// Open reads the first material, and waits for that of a Workload API. The error
// says what is wrong with it.
func Open(ctx context.Context, c Config) (*Source, error) {
	if (c.Files == nil) == (c.WorkloadAPI == "") {
		return nil, errors.New("certificates come from a Workload API or from files")
	}
	if c.Every == 0 {
		c.Every = 5 * time.Second
	}
	if c.Patience == 0 {
		c.Patience = time.Minute
	}
	s := &Source{c: c, close: func() error { return nil }, told: map[Warning]bool{}}
	open := s.openWorkload
	if c.Files != nil {
		open = s.openFiles
	}
	waiting, cancel := context.WithTimeout(ctx, c.Patience)
	defer cancel()
	if err := open(waiting); err != nil {
		return nil, err
	}
	first, err := s.load()
	for err != nil && s.fresh != nil && waiting.Err() == nil {
		select {
		case <-waiting.Done():
		case <-s.fresh:
			first, err = s.load()
		}
	}
	if err != nil {
		return nil, errors.Join(err, s.close())
	}
	s.current = first
	if s.count, err = newCounts(c.Meter, s); err != nil {
		return nil, errors.Join(err, s.close())
	}
	return s, nil
}

// TLS is the listeners' configuration. Each handshake is by the material of its
// moment.
func (s *Source) TLS() *tls.Config {
	return &tls.Config{
		MinVersion: tls.VersionTLS12, // the handshake's own configuration says which
		NextProtos: protocols(),
		GetConfigForClient: func(*tls.ClientHelloInfo) (*tls.Config, error) {
			return s.now().config, nil
		},
	}
}

// Run follows the certificates until ctx is done, then lets go of the Workload
// API.
func (s *Source) Run(ctx context.Context) error {
	again := time.NewTicker(s.c.Every)
	defer again.Stop()
	for {
		s.warn(ctx)
		select {
		case <-ctx.Done():
			return s.close()
		case <-s.fresh:
		case <-again.C:
		}
		s.renew(ctx)
	}
}

func (s *Source) now() *material {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.current
}

// renew takes the newest material if it is another and all of it is good.
func (s *Source) renew(ctx context.Context) {
	next, err := s.load()
	problem := ""
	if err != nil {
		problem = err.Error()
	}
	s.mu.Lock()
	old, before := s.current, s.problem
	s.problem = problem
	if err == nil && !next.equal(old) {
		s.current = next
	}
	s.mu.Unlock()
	switch {
	case err != nil:
		if problem != before {
			s.count.refused.Add(ctx, 1)
			s.c.Log.Error("the newest certificates cannot be used, the old ones stay", "source", s.name, "error", err)
		}
		return
	case before != "":
		s.c.Log.Info("the newest certificates can be used again", "source", s.name)
	}
	if next.certificate != old.certificate {
		s.count.renewed.Add(ctx, 1, roleServer)
		s.c.Log.Info("certificate renewed", "spiffe_id", next.id.String(), "not_after", next.pair.Leaf.NotAfter, "sha256", next.certificate)
	}
	if next.authorities != old.authorities {
		s.count.renewed.Add(ctx, 1, roleAuthority)
		s.c.Log.Info("authorities changed", "trust_domains", next.describe())
	}
}

// warn reports the warnings that are new.
func (s *Source) warn(ctx context.Context) {
	m := s.now()
	lasting := map[Warning]bool{}
	for _, w := range m.warnings(s.c.Now()) {
		lasting[w] = true
		if s.told[w] {
			continue
		}
		level := slog.LevelWarn
		if w.Kind == Expired {
			level = slog.LevelError
		}
		s.c.Log.Log(ctx, level, "certificate warning", "kind", w.Kind.String(), "role", string(w.Role), "sha256", w.Certificate, "why", w.Text)
		if s.c.Report != nil {
			s.c.Report(ctx, w)
		}
	}
	s.told = lasting
}

// Name says where the certificates come from.
func (s *Source) Name() string { return s.name }

// Status is the state of the certificates. It holds nothing secret.
type Status struct {
	// Source is where they come from.
	Source string `json:"source"`
	// SPIFFEID is the server's, and NotAfter when its certificate ends.
	SPIFFEID string    `json:"spiffe_id"`
	NotAfter time.Time `json:"not_after"`
	// TrustDomains are those whose callers are let in, and when the last
	// authority of each ends.
	TrustDomains map[string]time.Time `json:"trust_domains"`
	// Error is why the newest certificates are not in use; empty: they are.
	Error string `json:"error,omitzero"`
	// Warnings are sentences.
	Warnings []string `json:"warnings,omitzero"`
}

// Ready is the status, and whether callers can be served: not once the server's
// certificate, or the last authority of its own trust domain, has expired.
func (s *Source) Ready() (Status, bool) {
	s.mu.Lock()
	m, problem := s.current, s.problem
	s.mu.Unlock()
	status := Status{Source: s.name, SPIFFEID: m.id.String(), NotAfter: m.pair.Leaf.NotAfter.UTC(), TrustDomains: map[string]time.Time{}, Error: problem}
	for _, b := range m.bundles.Bundles() {
		status.TrustDomains[b.TrustDomain().Name()] = newest(b.X509Authorities()).NotAfter.UTC()
	}
	ready := true
	for _, w := range m.warnings(s.c.Now()) {
		status.Warnings = append(status.Warnings, w.Text)
		ready = ready && !w.fatal
	}
	for _, domain := range m.missing {
		status.Warnings = append(status.Warnings, fmt.Sprintf("there is no bundle of the trust domain %s: its callers are refused", domain))
	}
	return status, ready
}
