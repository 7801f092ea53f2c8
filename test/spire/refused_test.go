package spire_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"math/big"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/spiffe/go-spiffe/v2/bundle/x509bundle"
	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"github.com/spiffe/go-spiffe/v2/svid/x509svid"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	writ "github.com/writpdp/writ/clients/go"
)

// unregistered is a process that SPIRE does not know: it gets no SVID, and without
// one, or with one that it made itself, no connection.
func unregistered(t *testing.T, s *scene, p *pdp) {
	t.Helper()
	out, err := exec.Command(s.domain.program("spire-agent"), "api", "fetch", "x509", "-socketPath", s.domain.workloadAPI).CombinedOutput()
	if err == nil || !strings.Contains(string(out), "no identity issued") {
		t.Errorf("a process of root, who is not registered: %v: %s", err, out)
	}
	fetch := exec.Command(s.domain.program("spire-agent"), "api", "fetch", "x509", "-socketPath", s.domain.workloadAPI)
	fetch.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: userStranger, Gid: userStranger}}
	if out, err = fetch.CombinedOutput(); err == nil || !strings.Contains(string(out), "no identity issued") {
		t.Errorf("a process of an unregistered user: %v: %s", err, out)
	}
	authorities, err := x509bundle.Load(spiffeid.RequireTrustDomainFromString("example.org"), s.domain.bundle(t))
	must(t, err)
	refused(t, s, p, "a certificate of its own making", given{selfMade(t, s.domain.id("gateway/first")), authorities})
	config, err := writ.SPIFFE(given{selfMade(t, s.domain.id("gateway/first")), authorities}, spiffeid.RequireFromString(s.domain.id("writ")))
	must(t, err)
	config.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return &tls.Certificate{}, nil }
	conn, err := tls.Dial("tcp", p.grpc, config)
	if err == nil { // TLS 1.3 tells with the first answer
		_, err = conn.Read(make([]byte, 1))
		conn.Close()
	}
	if err == nil {
		t.Error("without a certificate there is a connection")
	}
}

// given is a source of SVIDs that does not change.
type given struct {
	*x509svid.SVID
	*x509bundle.Bundle
}

// selfMade is a certificate that nobody signed but its own key.
func selfMade(t *testing.T, id string) *x509svid.SVID {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	must(t, err)
	uri, err := url.Parse(id)
	must(t, err)
	template := &x509.Certificate{SerialNumber: big.NewInt(1), KeyUsage: x509.KeyUsageDigitalSignature, URIs: []*url.URL{uri},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	must(t, err)
	leaf, err := x509.ParseCertificate(der)
	must(t, err)
	return &x509svid.SVID{ID: spiffeid.RequireFromString(id), Certificates: []*x509.Certificate{leaf}, PrivateKey: key}
}

// once asks with an SVID, over both faces, and returns what fails.
func once(t *testing.T, s *scene, p *pdp, with given) (overGRPC, overJSON error) {
	t.Helper()
	one, err := newPoint(s.assign(t, p), with, 5*time.Second)
	must(t, err)
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	return one.decide(ctx), one.evaluate(ctx)
}

func refused(t *testing.T, s *scene, p *pdp, who string, with given) {
	t.Helper()
	overGRPC, overJSON := once(t, s, p, with)
	// An alert may be lost where the client writes while it comes.
	if _, unconnected := errors.AsType[*url.Error](overJSON); status.Code(overGRPC) != codes.Unavailable || !unconnected {
		t.Errorf("%s: got %v over gRPC and %v over JSON, want no connection", who, overGRPC, overJSON)
	}
}

// foreign is a workload of another trust domain, whose bundle SPIRE hands out: a
// PDP takes it only where its own configuration says so.
func foreign(t *testing.T, s *scene, p *pdp, entry string) {
	t.Helper()
	partner := newDomain(t, s.domain.programs, s.path("partner"), "partner.example")
	minted := s.path("minted")
	must(t, os.Mkdir(minted, 0o700))
	partner.ask(t, "x509", "mint", "-spiffeID", partner.id("gateway/a"), "-ttl", "10m", "-write", minted)
	svid, err := x509svid.Load(filepath.Join(minted, "svid.pem"), filepath.Join(minted, "key.pem"))
	must(t, err)
	authorities, err := x509bundle.Load(spiffeid.RequireTrustDomainFromString("example.org"), s.domain.bundle(t))
	must(t, err)
	them := given{svid, authorities}
	refused(t, s, p, "of an unknown trust domain", them)

	s.domain.ask(t, "bundle", "set", "-id", "spiffe://partner.example", "-path", partner.bundle(t))
	s.domain.ask(t, "entry", "update", "-entryID", entry, "-parentID", s.domain.id("node"), "-spiffeID", s.domain.id("writ"),
		"-selector", fmt.Sprint("unix:uid:", userPDP), "-x509SVIDTTL", fmt.Sprint(int(svidLife.Seconds())), "-federatesWith", "spiffe://partner.example")
	federated := s.serve(t, "federated", "  federates_with: [partner.example]")
	var overGRPC, overJSON error
	until(t, "a federated workload gets answers", func() bool {
		overGRPC, overJSON = once(t, s, federated, them)
		return overGRPC == nil && overJSON == nil
	})
	// The first PDP is of the same entry, so it has been given that bundle too.
	refused(t, s, p, "of a trust domain that SPIRE knows and the configuration does not", them)
}
