package transport

import (
	"context"
	"crypto/ecdsa"
	"crypto/rand"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"
)

// A new set of files is taken for the next connection; one that was made stays.
func TestFilesAreFollowed(t *testing.T) {
	first, second := newAuthority(t, nil), newAuthority(t, nil)
	p := newPlace(t, first.issue(t, nil, serverID), bundlePEM(first))
	s := open(t, Config{Files: p.files()})
	s.run(t)
	mine := first.issue(t, nil, "spiffe://home.example/gateway")
	server, caller, err := connect(t, s.TLS(), with(mine))
	must(t, err)
	next := second.issue(t, nil, serverID)
	p.swap(t, "second", next, bundlePEM(first, second))
	until(t, "the new certificate is in use", func() bool { return s.now().pair.Leaf.Equal(next.Leaf) })
	for _, peer := range []tls.Certificate{mine, second.issue(t, nil, "spiffe://home.example/gateway")} {
		_, theirs, err := meet(t, s.Source, with(peer))
		if err != nil || !theirs.PeerCertificates[0].Equal(next.Leaf) {
			t.Errorf("while both authorities are trusted: %v", err)
		}
	}
	p.swap(t, "third", next, bundlePEM(second))
	until(t, "the old authority is out", func() bool { return s.now().describe()["home.example"] == 1 })
	if _, _, err := meet(t, s.Source, with(mine)); err == nil {
		t.Error("who comes from the old authority is still let in")
	}
	// The first connection goes on.
	go func() { _, _ = caller.Write([]byte("still here")) }()
	got := make([]byte, len("still here"))
	if _, err := server.Read(got); err != nil || string(got) != "still here" {
		t.Errorf("the connection that was there before: %q, %v", got, err)
	}
	for _, want := range []string{"certificate renewed", "authorities changed"} {
		if !strings.Contains(s.log.String(), want) {
			t.Errorf("the log does not say %q", want)
		}
	}
}

// A set that does not fit together changes nothing; what is wrong is told once,
// and once it is mended it is taken.
func TestHalfWritten(t *testing.T) {
	ours, theirs := newAuthority(t, nil), newAuthority(t, nil)
	first, next := ours.issue(t, nil, serverID), ours.issue(t, nil, serverID)
	below := ours.below(t).issue(t, nil, serverID)
	chain := encode("CERTIFICATE", below.Certificate...)
	long := make([]byte, maxFile+1)
	for _, c := range []struct {
		name  string
		spoil map[string][]byte // files, by name
		want  string
	}{
		{"the key comes later", map[string][]byte{"tls.crt": encode("CERTIFICATE", next.Certificate...)}, "private key does not match"},
		{"the certificate comes later", map[string][]byte{"tls.key": keyPEM(t, next)}, "private key does not match"},
		{"an empty certificate", map[string][]byte{"tls.crt": nil}, "PEM"},
		{"an empty key", map[string][]byte{"tls.key": nil}, "PEM"},
		{"half a certificate", map[string][]byte{"tls.crt": encode("CERTIFICATE", next.Certificate[0])[:200], "tls.key": keyPEM(t, next)}, "PEM"},
		{"half a chain", map[string][]byte{"tls.crt": chain[:len(chain)-100], "tls.key": keyPEM(t, below)}, "ends inside a PEM block"},
		{"no authorities", map[string][]byte{"ca.crt": nil}, "no certificate of an authority"},
		{"half an authority", map[string][]byte{"ca.crt": bundlePEM(ours)[:200]}, "ends inside a PEM block"},
		{"one and a half", map[string][]byte{"ca.crt": bundlePEM(ours, theirs)[:len(bundlePEM(ours))+100]}, "ends inside a PEM block"},
		{"half a SPIFFE bundle", map[string][]byte{"ca.crt": bundleJSON(t, home, ours)[:100]}, "JSON"},
		{"a SPIFFE bundle of nothing", map[string][]byte{"ca.crt": []byte(`{"keys":[]}`)}, "no certificate of an authority"},
		{"others' authorities", map[string][]byte{"ca.crt": bundlePEM(theirs)}, "unknown authority"},
		{"a key among the authorities", map[string][]byte{"ca.crt": append(bundlePEM(ours), keyPEM(t, next)...)}, "no certificate"},
		{"a workload among the authorities", map[string][]byte{"ca.crt": append(bundlePEM(ours), encode("CERTIFICATE", next.Certificate[0])...)}, "no authority's"},
		{"too large", map[string][]byte{"ca.crt": long}, "more than 1048576 bytes"},
		{"a certificate without a SPIFFE ID", func() map[string][]byte {
			c := ours.issue(t, func(c *x509.Certificate) { c.DNSNames = []string{"home.example"} })
			return map[string][]byte{"tls.crt": encode("CERTIFICATE", c.Certificate...), "tls.key": keyPEM(t, c)}
		}(), "exactly one SPIFFE ID"},
		{"a certificate that has expired", func() map[string][]byte {
			c := ours.issue(t, func(c *x509.Certificate) { c.NotAfter = time.Now().Add(-time.Second) }, serverID)
			return map[string][]byte{"tls.crt": encode("CERTIFICATE", c.Certificate...), "tls.key": keyPEM(t, c)}
		}(), "expired"},
		{"a certificate for clients", func() map[string][]byte {
			c := ours.issue(t, func(c *x509.Certificate) { c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth} }, serverID)
			return map[string][]byte{"tls.crt": encode("CERTIFICATE", c.Certificate...), "tls.key": keyPEM(t, c)}
		}(), "serverAuth"},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := newPlace(t, first, bundlePEM(ours))
			s := open(t, Config{Files: p.files()})
			for name, data := range c.spoil {
				p.write(t, name, data)
			}
			for range 3 {
				s.renew(t.Context())
			}
			status, ready := s.Ready()
			if !ready || !strings.Contains(status.Error, c.want) || !s.now().pair.Leaf.Equal(first.Leaf) {
				t.Errorf("ready: %t, error %q, want %q and the first certificate", ready, status.Error, c.want)
			}
			if n := strings.Count(s.log.String(), "the old ones stay"); n != 1 {
				t.Errorf("it is told %d times: %s", n, s.log)
			}
			if strings.Contains(s.log.String(), "PRIVATE") {
				t.Error("the log holds a key")
			}
			if _, err := Open(t.Context(), Config{Files: p.files(), Now: time.Now}); err == nil {
				t.Error("one could start with it")
			}
			p.swap(t, "mended", next, bundlePEM(ours))
			s.renew(t.Context())
			if status, _ := s.Ready(); status.Error != "" || !s.now().pair.Leaf.Equal(next.Leaf) {
				t.Errorf("mended, it is not taken: %q", status.Error)
			}
		})
	}
	p := newPlace(t, first, bundlePEM(ours))
	s := open(t, Config{Files: p.files()})
	must(t, os.Remove(p.path("tls.key")))
	s.renew(t.Context())
	if status, ready := s.Ready(); !ready || !strings.Contains(status.Error, "no such file") {
		t.Errorf("without the key's file: %t, %q", ready, status.Error)
	}
}

// Keys in every form that certificate managers write.
func TestKeyForms(t *testing.T) {
	ours := newAuthority(t, nil)
	c := ours.issue(t, nil, serverID)
	sec1, err := x509.MarshalECPrivateKey(c.PrivateKey.(*ecdsa.PrivateKey))
	must(t, err)
	p := newPlace(t, c, bundlePEM(ours))
	p.write(t, "tls.key", encode("EC PRIVATE KEY", sec1))
	open(t, Config{Files: p.files()})
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	must(t, err)
	template := ours.issue(t, nil, serverID).Leaf
	der, err := x509.CreateCertificate(rand.Reader, template, ours.cert, key.Public(), ours.key)
	must(t, err)
	p.write(t, "tls.crt", encode("CERTIFICATE", der))
	p.write(t, "tls.key", encode("RSA PRIVATE KEY", x509.MarshalPKCS1PrivateKey(key)))
	open(t, Config{Files: p.files()})
}

func aged(from, to time.Time) func(*x509.Certificate) {
	return func(c *x509.Certificate) { c.NotBefore, c.NotAfter = from, to }
}

// What is wrong with a certificate at a time.
func TestWarnings(t *testing.T) {
	day := 24 * time.Hour
	start := time.Date(2026, 11, 1, 0, 0, 0, 0, time.UTC)
	at := func(d time.Duration) time.Time { return start.Add(d) }
	for _, c := range []struct {
		name                 string
		server, ours, theirs time.Duration // lives, from the start
		second               time.Duration // of a second authority of ours; 0: none
		now                  time.Duration
		want                 []string // kind and role
		unready              bool
	}{
		{"all is well", 40 * day, 80 * day, 80 * day, 0, 20 * day, nil, false},
		{"at ninety days", 80 * day, 90 * day, 90 * day, 0, day, nil, false},
		{"longer than ninety days", 80 * day, 90*day + time.Second, 90 * day, 0, day, []string{"long-lived authority"}, false},
		{"all long", 91 * day, 3650 * day, 365 * day, 0, day, []string{"long-lived server", "long-lived authority", "long-lived authority"}, false},
		{"three quarters over", 40 * day, 80 * day, 80 * day, 0, 30 * day, nil, false},
		{"more than three quarters over", 40 * day, 80 * day, 80 * day, 0, 30*day + time.Second, []string{"expiring server"}, false},
		{"an hour's certificate", time.Hour, 80 * day, 80 * day, 0, 46 * time.Minute, []string{"expiring server"}, false},
		{"ten years, a month before its end", 40 * day, 3650 * day, 80 * day, 0, 30 * day, []string{"long-lived authority"}, false},
		{"expired", 10 * day, 80 * day, 80 * day, 0, 10 * day, []string{"expired server"}, true},
		{"our authority has expired", 10 * day, 9 * day, 80 * day, 0, 9*day + 1, []string{"expiring server", "expired authority"}, true},
		{"their authority has expired", 40 * day, 80 * day, 9 * day, 0, 10 * day, []string{"expired authority"}, false},
		{"our old authority ends, there is a new one", 40 * day, 9 * day, 80 * day, 80 * day, 10 * day, nil, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			ours, theirs := newAuthority(t, aged(start, at(c.ours))), newAuthority(t, aged(start, at(c.theirs)))
			mine := []*authority{ours}
			if c.second != 0 {
				mine = append(mine, newAuthority(t, aged(start, at(c.second))))
			}
			p := newPlace(t, ours.issue(t, aged(start, at(c.server)), serverID), bundlePEM(mine...))
			p.write(t, "other", bundlePEM(theirs))
			now := start.Add(time.Second)
			var told []string
			reader := metric.NewManualReader()
			s := open(t, Config{Files: p.files(BundleFile{other, p.path("other")}), Now: func() time.Time { return now },
				Report: func(_ context.Context, w Warning) { told = append(told, w.Kind.String()+" "+string(w.Role)) },
				Meter:  metric.NewMeterProvider(metric.WithReader(reader)).Meter("test")})
			now = at(c.now)
			for range 2 {
				s.warn(t.Context())
			}
			if diff := cmp.Diff(c.want, told); diff != "" {
				t.Errorf("told (-want +got):\n%s", diff)
			}
			status, ready := s.Ready()
			if ready == c.unready || len(status.Warnings) != len(c.want) {
				t.Errorf("ready: %t, warnings %q", ready, status.Warnings)
			}
			if n := strings.Count(s.log.String(), "certificate warning"); n != len(c.want) {
				t.Errorf("the log has %d of them: %s", n, s.log)
			}
			long := map[string]int64{}
			for _, w := range c.want {
				if role, ok := strings.CutPrefix(w, "long-lived "); ok {
					long[role]++
				}
			}
			got := gauges(t, reader)
			last := max(c.ours, c.second)
			want := map[string]float64{
				"writ.certificate.expiry server": (c.server - c.now).Seconds(), "writ.certificate.expiry authority": (min(last, c.theirs) - c.now).Seconds(),
				"writ.certificate.long_lived server": float64(long["server"]), "writ.certificate.long_lived authority": float64(long["authority"]),
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("metrics (-want +got):\n%s", diff)
			}
		})
	}
}

// gauges are the values by instrument and role.
func gauges(t *testing.T, reader metric.Reader) map[string]float64 {
	t.Helper()
	var all metricdata.ResourceMetrics
	must(t, reader.Collect(t.Context(), &all))
	values := map[string]float64{}
	for _, m := range all.ScopeMetrics[0].Metrics {
		switch data := m.Data.(type) {
		case metricdata.Gauge[float64]:
			for _, p := range data.DataPoints {
				role, _ := p.Attributes.Value("role")
				values[m.Name+" "+role.AsString()] = p.Value
			}
		case metricdata.Gauge[int64]:
			for _, p := range data.DataPoints {
				role, _ := p.Attributes.Value("role")
				values[m.Name+" "+role.AsString()] = float64(p.Value)
			}
		}
	}
	return values
}

// A warning that was over and comes again is told again.
func TestWarningComesBack(t *testing.T) {
	ours := newAuthority(t, nil)
	old := ours.issue(t, aged(time.Now().Add(-time.Hour), time.Now().Add(time.Minute)), serverID)
	p := newPlace(t, old, bundlePEM(ours))
	told := 0
	s := open(t, Config{Files: p.files(), Report: func(context.Context, Warning) { told++ }})
	s.warn(t.Context())
	p.swap(t, "good", ours.issue(t, nil, serverID), bundlePEM(ours))
	s.renew(t.Context())
	s.warn(t.Context())
	p.swap(t, "old", old, bundlePEM(ours))
	s.renew(t.Context())
	s.warn(t.Context())
	s.warn(t.Context())
	if told != 2 {
		t.Errorf("told %d times, want 2", told)
	}
}

func TestOpenRefuses(t *testing.T) {
	for name, c := range map[string]Config{
		"nothing": {},
		"both":    {WorkloadAPI: "unix:///nothing", Files: &Files{}},
	} {
		if _, err := Open(t.Context(), c); err == nil || !strings.Contains(err.Error(), "from a Workload API or from files") {
			t.Errorf("%s: %v", name, err)
		}
	}
	many := make([]*authority, maxAuthorities+1)
	for i := range many {
		many[i] = newAuthority(t, nil)
	}
	p := newPlace(t, many[0].issue(t, nil, serverID), bundlePEM(many...))
	_, err := p.files().read(&Config{Now: time.Now})
	if want := fmt.Sprintf("more than %d certificates", maxAuthorities); err == nil || !strings.Contains(err.Error(), want) {
		t.Errorf("too many authorities: got %v, want %q", err, want)
	}
}
