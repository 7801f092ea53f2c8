package jwks

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/writpdp/writ/server/identity"
)

// How a URL is read.
const (
	fetchTime    = 10 * time.Second
	leastGood    = time.Minute
	mostGood     = 15 * time.Minute // so that a revoked key is noticed
	defaultGood  = 5 * time.Minute  // where the answer does not say
	urlCooldown  = 30 * time.Second
	maxHeader    = 64 << 10
	maxCAFile    = 1 << 20
	maxDirective = 1 << 31 // seconds
)

// URL follows a key set that is served at an https URL, or at an http URL on
// loopback. caFile has the authorities of its certificate, and is read each time;
// empty: the system's.
func URL(address, caFile string, c Config) (*Source, error) {
	u, err := url.Parse(address)
	switch {
	case err != nil:
		return nil, errors.New("the URL of a key set cannot be parsed")
	case u.Host == "" || u.Fragment != "":
		return nil, errors.New("the URL of a key set has no host, or a fragment")
	case u.User != nil:
		return nil, errors.New("the URL of a key set holds a credential: key sets are public")
	case u.Scheme != "https" && (u.Scheme != "http" || !loopback(u.Hostname())):
		return nil, errors.New("the URL of a key set is not https: on the way anybody could put a key in")
	case u.Scheme == "http" && caFile != "":
		return nil, errors.New("the URL of a key set is not https: authorities have no place beside it")
	}
	if caFile != "" {
		if _, err := authorities(caFile); err != nil {
			return nil, err
		}
	}
	return newSource(c, origin{
		read:  func(ctx context.Context) ([]byte, time.Duration, error) { return fetch(ctx, address, caFile) },
		least: leastGood, most: mostGood, cooldown: urlCooldown,
	})
}

func loopback(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}

func authorities(file string) (*x509.CertPool, error) {
	data, err := readBounded(file, maxCAFile)
	if err != nil {
		return nil, fmt.Errorf("reading the authorities of a key set's URL: %w", err)
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(data) {
		return nil, fmt.Errorf("%s: no certificate in it", file)
	}
	return pool, nil
}

// fetch reads a key set over HTTP, on a connection of its own: they are rare.
func fetch(ctx context.Context, address, caFile string) ([]byte, time.Duration, error) {
	config := &tls.Config{MinVersion: tls.VersionTLS12}
	if caFile != "" {
		pool, err := authorities(caFile)
		if err != nil {
			return nil, 0, err
		}
		config.RootCAs = pool
	}
	ctx, cancel := context.WithTimeout(ctx, fetchTime)
	defer cancel()
	client := &http.Client{
		Transport: &http.Transport{
			Proxy: http.ProxyFromEnvironment, TLSClientConfig: config, ForceAttemptHTTP2: true,
			DisableKeepAlives: true, DisableCompression: true, MaxResponseHeaderBytes: maxHeader,
		},
		// Where keys come from is configured, and not for a server to say.
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	if err != nil {
		return nil, 0, fmt.Errorf("asking for a key set: %w", err)
	}
	request.Header.Set("Accept", "application/jwk-set+json, application/json")
	response, err := client.Do(request)
	if err != nil {
		return nil, 0, fmt.Errorf("asking for a key set: %w", err)
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		return nil, 0, fmt.Errorf("asking for a key set: the answer is %d, not 200", response.StatusCode)
	}
	data, err := io.ReadAll(io.LimitReader(response.Body, identity.MaxKeySet+1))
	if err != nil {
		return nil, 0, fmt.Errorf("reading a key set: %w", err)
	}
	return data, goodFor(response.Header), nil
}

// goodFor is how long an answer says to be good, from Cache-Control and Age.
func goodFor(h http.Header) time.Duration {
	good := defaultGood
	for _, directive := range strings.Split(strings.Join(h.Values("Cache-Control"), ","), ",") {
		name, value, _ := strings.Cut(strings.TrimSpace(directive), "=")
		switch strings.ToLower(name) {
		case "no-store", "no-cache":
			return 0
		case "max-age":
			if n, ok := seconds(strings.Trim(value, `"`)); ok {
				age, _ := seconds(h.Get("Age"))
				good = n - age
			}
		}
	}
	return good
}

func seconds(text string) (time.Duration, bool) {
	n, err := strconv.ParseInt(strings.TrimSpace(text), 10, 64)
	if err != nil || n < 0 {
		return 0, false
	}
	return time.Duration(min(n, maxDirective)) * time.Second, true
}

// readBounded reads a file, or one byte more than it may have.
func readBounded(file string, limit int64) ([]byte, error) {
	f, err := os.Open(file)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return io.ReadAll(io.LimitReader(f, limit+1))
}
