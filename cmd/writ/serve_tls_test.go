package main

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc/credentials"
)

// embedded is a site whose store is in a directory, with changes to its
// configuration: old, new, …
func embedded(t testing.TB, edits ...string) *site {
	t.Helper()
	s := newSite(t)
	edits = append([]string{"database_file: database", "data_dir: data"}, edits...)
	s.write(t, "writ.yaml", strings.NewReplacer(edits...).Replace(goodConfig))
	return s
}

// probe asks the plain listener.
func (p *process) probe(t testing.TB, path string) (int, string) {
	t.Helper()
	response, err := http.Get("http://" + p.probes + path)
	must(t, err)
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	must(t, err)
	return response.StatusCode, string(body)
}

// until waits for a condition.
func until(t testing.TB, what string, holds func() bool) {
	t.Helper()
	end := time.NewTimer(time.Minute)
	defer end.Stop()
	again := time.NewTicker(20 * time.Millisecond)
	defer again.Stop()
	for !holds() {
		select {
		case <-end.C:
			t.Fatalf("waited in vain: %s", what)
		case <-again.C:
		}
	}
}

// reissue gives the server a certificate, which change makes another.
func (s *site) reissue(t testing.TB, change func(*x509.Certificate)) {
	t.Helper()
	save(t, s.ca.issue(t, func(c *x509.Certificate) {
		c.DNSNames, c.IPAddresses = []string{"localhost"}, []net.IP{net.IPv4(127, 0, 0, 1)}
		change(c)
	}, "spiffe://example.org/writ"), s.path("server.pem"), s.path("server.key"))
}

// The plain listener has health and metrics, and nothing else; the others do not
// have these.
func TestServeProbes(t *testing.T) {
	s := embedded(t)
	p := s.serve(t)
	if code, body := p.probe(t, "/healthz"); code != http.StatusOK || body != "ok\n" {
		t.Errorf("health: %d %s", code, body)
	}
	code, body := p.probe(t, "/readyz")
	var ready struct {
		Ready        bool
		Bundle       struct{ Name string }
		Certificates struct {
			Source   string
			SPIFFEID string `json:"spiffe_id"`
			Warnings []string
		}
	}
	if err := json.Unmarshal([]byte(body), &ready); err != nil || code != http.StatusOK || !ready.Ready || ready.Bundle.Name != "sample" ||
		ready.Certificates.SPIFFEID != "spiffe://example.org/writ" || len(ready.Certificates.Warnings) != 0 {
		t.Errorf("readiness: %d %s", code, body)
	}
	code, metrics := p.probe(t, "/metrics")
	for _, want := range []string{"writ_certificate_expiry_seconds{role=\"server\"} ", "writ_certificate_long_lived{role=\"authority\"} 0\n", "writ_locks_version 0\n", "writ_locks_age_seconds ", "go_goroutines "} {
		if code != http.StatusOK || !strings.Contains(metrics, want) {
			t.Errorf("metrics: %d, without %q", code, want)
		}
	}
	for _, path := range []string{"/", "/access/v1/evaluation", "/.well-known/authzen-configuration", "/debug/pprof/", "/healthz/", "/metrics/x"} {
		if code, body := p.probe(t, path); code != http.StatusNotFound {
			t.Errorf("%s: %d %s", path, code, body)
		}
	}
	response, err := http.Post("http://"+p.probes+"/readyz", "text/plain", strings.NewReader("x"))
	must(t, err)
	response.Body.Close()
	if response.StatusCode != http.StatusMethodNotAllowed {
		t.Errorf("POST: %d", response.StatusCode)
	}
	client := http.Client{Transport: &http.Transport{TLSClientConfig: s.client(s.ca.issue(t, nil, testGateway))}}
	defer client.CloseIdleConnections()
	for _, path := range []string{"/healthz", "/readyz", "/metrics"} {
		response, err := client.Get("https://" + p.http + path)
		must(t, err)
		response.Body.Close()
		if response.StatusCode != http.StatusNotFound {
			t.Errorf("%s of the JSON listener: %d", path, response.StatusCode)
		}
	}
}

// A certificate that lives too long is told by every means, and served with; so is
// one that is renewed while the server runs.
func TestServeWarnsOfCertificates(t *testing.T) {
	s := embedded(t)
	s.reissue(t, func(c *x509.Certificate) { c.NotAfter = c.NotBefore.Add(100 * 24 * time.Hour) })
	p := s.serve(t)
	with := credentials.NewTLS(s.client(s.ca.issue(t, nil, testGateway)))
	stays := p.dial(t, with)
	_, err := stays.Decide(t.Context(), s.listing(t))
	must(t, err)
	until(t, "the record of the certificate", func() bool {
		return strings.Contains(succeed(t, "log", "list", "--data", s.path("data"), "--tenant", "writ:system"), "certificate  LONG_LIVED")
	})
	if code, body := p.probe(t, "/readyz"); code != http.StatusOK || !strings.Contains(body, "the server's certificate of spiffe://example.org/writ lives for 100 days") {
		t.Errorf("readiness: %d %s", code, body)
	}
	if _, metrics := p.probe(t, "/metrics"); !strings.Contains(metrics, "writ_certificate_long_lived{role=\"server\"} 1\n") {
		t.Errorf("metrics: %s", metrics)
	}
	if !strings.Contains(p.stderr.String(), `"msg":"certificate warning","kind":"long-lived","role":"server"`) {
		t.Errorf("the log: %s", p.stderr)
	}
	s.reissue(t, func(c *x509.Certificate) {})
	until(t, "the new certificate", func() bool { return strings.Contains(p.stderr.String(), `"msg":"certificate renewed"`) })
	if code, body := p.probe(t, "/readyz"); code != http.StatusOK || strings.Contains(body, "warnings") {
		t.Errorf("readiness: %d %s", code, body)
	}
	if _, err := stays.Decide(t.Context(), s.listing(t)); err != nil {
		t.Errorf("on the connection that was there before: %v", err)
	}
	if _, err := p.dial(t, with).Decide(t.Context(), s.listing(t)); err != nil {
		t.Errorf("on a new connection: %v", err)
	}
	// One that ends before anybody renews it.
	s.reissue(t, func(c *x509.Certificate) {
		c.NotBefore, c.NotAfter = time.Now().Add(-time.Hour), time.Now().Add(12*time.Second)
	})
	until(t, "it is about to expire", func() bool { _, body := p.probe(t, "/readyz"); return strings.Contains(body, "was not renewed") })
	until(t, "it has expired", func() bool {
		code, body := p.probe(t, "/readyz")
		return code == http.StatusServiceUnavailable && strings.Contains(body, "expired at")
	})
	if code := p.stop(t, os.Interrupt); code != exitOK {
		t.Errorf("exit code %d: %s", code, p.stderr)
	}
	if report := succeed(t, "log", "verify", "--data", s.path("data"), "--key", s.path("log.pub")); !strings.Contains(report, "OK") {
		t.Errorf("the log: %s", report)
	}
}

// Callers of another trust domain are let in by that one's authorities, where the
// configuration has them.
func TestServeFederates(t *testing.T) {
	s := embedded(t, "  client_ca_file: ca.pem\n", "  client_ca_file: ca.pem\n  trust_bundles:\n    - trust_domain: partner.example\n      file: partner.pem\n",
		"callers:\n", "callers:\n  - spiffe_id: spiffe://partner.example/*\n    tenant: partner\n")
	partner := newAuthority(t)
	s.write(t, "partner.pem", string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: partner.cert.Raw})))
	p := s.serve(t)
	listing := []string{"--tool", "filesystem/list_directory", "--args", `{"path":"/srv/files/"}`, "--server-id"}
	if code, out := s.decide(t, p, append(listing, "spiffe://example.org/writ")...); code != exitOK {
		t.Errorf("to a server that is known by its SPIFFE ID: %d %s", code, out)
	}
	for _, id := range []string{"spiffe://example.org/other", "spiffe://partner.example/writ"} {
		if code, out := s.decide(t, p, append(listing, id, "--wait", "2s")...); code != exitFailed {
			t.Errorf("to a server that is not %s: %d %s", id, code, out)
		}
	}
	ask := func(c tls.Certificate) error {
		_, err := p.dial(t, credentials.NewTLS(s.client(c))).Decide(t.Context(), s.listing(t))
		return err
	}
	must(t, ask(partner.issue(t, nil, "spiffe://partner.example/gateway")))
	must(t, ask(s.ca.issue(t, nil, testGateway)))
	if err := ask(partner.issue(t, nil, testGateway)); err == nil {
		t.Error("the partner's authority speaks for us")
	}
	if err := ask(s.ca.issue(t, nil, "spiffe://partner.example/gateway")); err == nil {
		t.Error("our authority speaks for the partner")
	}
}

func TestTLSSectionRefuses(t *testing.T) {
	const files = "  cert_file: server.pem\n  key_file: server.key\n  client_ca_file: ca.pem\n"
	for _, c := range []struct{ name, section, says string }{
		{"nothing", "  min_version: \"1.3\"\n", "not named"},
		{"a file is missing", "  cert_file: server.pem\n  key_file: server.key\n", "not named"},
		{"both sources", "  workload_api: unix:///run/agent.sock\n" + files, "not from both"},
		{"both sources of federation", "  workload_api: unix:///run/agent.sock\n  trust_bundles:\n    - trust_domain: partner.example\n      file: ca.pem\n", "not from both"},
		{"federation by name with files", files + "  federates_with: [partner.example]\n", "goes with workload_api"},
		{"an old version", files + "  min_version: \"1.1\"\n", `is "1.1" and neither`},
		{"no address", "  workload_api: /run/agent.sock\n", "tls.workload_api: workload endpoint socket"},
		{"an address by name", "  workload_api: tcp://localhost:8081\n", "tls.workload_api: "},
		{"an address of another machine", "  workload_api: tcp://192.0.2.1:8081\n", "in the plain"},
		{"an environment without it", "  workload_api: environment\n", "SPIFFE_ENDPOINT_SOCKET is not in the environment"},
		{"no trust domain", "  workload_api: unix:///run/agent.sock\n  federates_with: [\"spiffe://Partner\"]\n", "tls.federates_with: "},
		{"a bundle of no trust domain", files + "  trust_bundles:\n    - file: ca.pem\n", "tls.trust_bundles: "},
		{"a bundle without a file", files + "  trust_bundles:\n    - trust_domain: partner.example\n", "not named"},
		{"one's own bundle twice", files + "  trust_bundles:\n    - trust_domain: example.org\n      file: ca.pem\n", "there are others of the trust domain"},
		{"one authority of two", files + "  trust_bundles:\n    - trust_domain: partner.example\n      file: ca.pem\n", "have the same authority"},
		{"an unknown key", files + "  ca_file: ca.pem\n", "unknown field"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Setenv("SPIFFE_ENDPOINT_SOCKET", "")
			s := embedded(t, files, c.section)
			if code, _, errs := writ(t, "serve", "--config", s.path("writ.yaml")); code != exitFailed || !strings.Contains(errs, c.says) {
				t.Errorf("exit code %d: %s, want %q", code, errs, c.says)
			}
		})
	}
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	defer taken.Close()
	s := embedded(t, "probes: 127.0.0.1:0", "probes: "+taken.Addr().String())
	if code, _, errs := writ(t, "serve", "--config", s.path("writ.yaml")); code != exitFailed || !strings.Contains(errs, "listening for probes") {
		t.Errorf("an address that is taken: exit code %d: %s", code, errs)
	}
}
