package transport

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"slices"

	"github.com/spiffe/go-spiffe/v2/bundle/x509bundle"
	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"github.com/spiffe/go-spiffe/v2/workloadapi"
)

func (s *Source) openWorkload(ctx context.Context) error {
	s.name = "workload API " + s.c.WorkloadAPI
	api, err := workloadapi.NewX509Source(ctx, workloadapi.WithClientOptions(
		workloadapi.WithAddr(s.c.WorkloadAPI), workloadapi.WithLogger(workloadLog{s.c.Log})))
	if errors.Is(err, context.DeadlineExceeded) {
		return fmt.Errorf("waiting for an X.509-SVID from the Workload API at %s: there was none for %s: %w", s.c.WorkloadAPI, s.c.Patience, err)
	}
	if err != nil {
		return fmt.Errorf("asking the Workload API at %s for an X.509-SVID: %w", s.c.WorkloadAPI, err)
	}
	s.fresh, s.close = api.Updated(), api.Close
	s.load = func() (*material, error) { return s.ask(api) }
	return nil
}

// ask puts together what the Workload API has handed out. Where it did so between
// two lines here, it says that there is something new again.
func (s *Source) ask(api *workloadapi.X509Source) (*material, error) {
	svid, err := api.GetX509SVID()
	if err != nil {
		return nil, fmt.Errorf("reading the server's X.509-SVID: %w", err)
	}
	pair := tls.Certificate{PrivateKey: svid.PrivateKey}
	for _, c := range svid.Certificates {
		pair.Certificate = append(pair.Certificate, c.Raw)
	}
	own, err := api.GetX509BundleForTrustDomain(svid.ID.TrustDomain())
	if err != nil {
		return nil, fmt.Errorf("reading the bundle of the server's trust domain: %w", err)
	}
	bundles, missing := []*x509bundle.Bundle{own}, []spiffeid.TrustDomain(nil)
	for _, domain := range s.c.Federated {
		if domain == own.TrustDomain() {
			continue
		}
		b, err := api.GetX509BundleForTrustDomain(domain)
		if err != nil || checkAuthorities(b.X509Authorities()) != nil {
			missing = append(missing, domain) // theirs to mend; ours go on
			continue
		}
		bundles = append(bundles, b)
	}
	m, err := newMaterial(pair, slices.Clone(svid.Certificates), bundles, &s.c)
	if err != nil {
		return nil, err
	}
	m.missing = missing
	return m, nil
}

// workloadLog passes on what the library says: of its own it tries again for ever.
type workloadLog struct{ log *slog.Logger }

func (l workloadLog) Debugf(format string, args ...any) { l.say(slog.LevelDebug, format, args) }
func (l workloadLog) Infof(format string, args ...any)  { l.say(slog.LevelInfo, format, args) }
func (l workloadLog) Warnf(format string, args ...any)  { l.say(slog.LevelWarn, format, args) }
func (l workloadLog) Errorf(format string, args ...any) { l.say(slog.LevelWarn, format, args) }

func (l workloadLog) say(level slog.Level, format string, args []any) {
	l.log.Log(context.Background(), level, "the Workload API", "says", fmt.Sprintf(format, args...))
}
