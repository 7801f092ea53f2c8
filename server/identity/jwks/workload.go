package jwks

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/spiffe/go-spiffe/v2/bundle/jwtbundle"
	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"github.com/spiffe/go-spiffe/v2/workloadapi"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/writpdp/writ/server/identity"
)

// Workload is the keys with which trust domains sign JWT-SVIDs, as the SPIFFE
// Workload API tells them: at once when they change. It is a
// workloadapi.JWTBundleWatcher. JWT-SVIDs carry no purposes, so they are no
// principal tokens: they prove an agent to whoever issues it some.
type Workload struct {
	Config
	domains map[spiffeid.TrustDomain]*domain

	mu    sync.Mutex // guards what follows
	since time.Time  // when the agent went away; zero: it is there
}

// domain is the keys of a trust domain, an identity.KeySource.
type domain struct {
	maxAge time.Duration
	held   atomic.Pointer[domainKeys]
}

type domainKeys struct {
	keys identity.Keys
	// lost is when the agent went away; zero: it is there, and would say if the
	// keys were others.
	lost time.Time
}

// NewWorkload follows the keys of these trust domains.
func NewWorkload(c Config, domains ...spiffeid.TrustDomain) (*Workload, error) {
	if err := c.check(); err != nil {
		return nil, fmt.Errorf("following the keys of trust domains: %w", err)
	}
	w := &Workload{Config: c, domains: map[spiffeid.TrustDomain]*domain{}}
	for _, td := range domains {
		w.domains[td] = &domain{maxAge: c.MaxAge}
	}
	return w, nil
}

// Domain is the keys of one of the trust domains; nil: it is none of them.
func (w *Workload) Domain(td spiffeid.TrustDomain) identity.KeySource {
	d, ok := w.domains[td]
	if !ok {
		return nil
	}
	return d
}

// Run watches the Workload API until ctx is done. Without options it is that of
// SPIFFE_ENDPOINT_SOCKET.
func (w *Workload) Run(ctx context.Context, options ...workloadapi.ClientOption) error {
	err := workloadapi.WatchJWTBundles(ctx, w, options...)
	if err != nil && ctx.Err() == nil {
		return fmt.Errorf("watching the Workload API: %w", err)
	}
	return nil
}

// OnJWTBundlesUpdate takes the keys of all trust domains. Keys that cannot be used
// change nothing; a domain that is gone has none.
func (w *Workload) OnJWTBundlesUpdate(set *jwtbundle.Set) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.since = time.Time{}
	for td, d := range w.domains {
		keys, err := keysOf(set, td)
		if err != nil {
			d.lose(w.Now())
			w.Log.Error("trust domain's keys cannot be used: the last ones stay", "trust_domain", td.String(), "error", err, "max_age", w.MaxAge.String())
			continue
		}
		was := d.held.Swap(&domainKeys{keys: keys})
		if was == nil || !was.keys.Equal(keys) {
			w.Log.Info("trust domain's keys", "trust_domain", td.String(), "keys", keys.IDs())
		}
	}
}

// keysOf reads the keys of a trust domain, as any other key set.
func keysOf(set *jwtbundle.Set, td spiffeid.TrustDomain) (identity.Keys, error) {
	bundle, ok := set.Get(td)
	if !ok || bundle.Empty() {
		return identity.Keys{}, nil
	}
	data, err := bundle.Marshal()
	if err != nil {
		return identity.Keys{}, errors.New("they cannot be encoded")
	}
	return identity.ReadKeys(data)
}

// OnJWTBundlesWatchError tells that the agent is away: the last keys stay, up to
// MaxAge.
func (w *Workload) OnJWTBundlesWatchError(err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if !w.since.IsZero() || status.Code(err) == codes.Canceled { // told already, or told to stop
		return
	}
	w.since = w.Now()
	for _, d := range w.domains {
		d.lose(w.since)
	}
	w.Log.Warn("the Workload API is away: the last keys stay", "error", err, "max_age", w.MaxAge.String())
}

// lose notes since when the keys may be old.
func (d *domain) lose(at time.Time) {
	if was := d.held.Load(); was != nil && was.lost.IsZero() {
		d.held.Store(&domainKeys{was.keys, at})
	}
}

// At is the keys, if nobody failed to confirm them for MaxAge.
func (d *domain) At(at time.Time) (identity.Keys, bool) {
	h := d.held.Load()
	if h == nil || !h.lost.IsZero() && !at.Before(h.lost.Add(d.maxAge)) {
		return identity.Keys{}, false
	}
	return h.keys, true
}

// Missed does nothing: the Workload API tells changes by itself.
func (*domain) Missed() {}
