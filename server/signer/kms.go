package signer

import (
	"bytes"
	"context"
	"crypto"
	"errors"
	"fmt"
	"net"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/sigstore/sigstore/pkg/signature"
	"github.com/sigstore/sigstore/pkg/signature/kms"
	_ "github.com/sigstore/sigstore/pkg/signature/kms/aws" // awskms://
	_ "github.com/sigstore/sigstore/pkg/signature/kms/azure"
	_ "github.com/sigstore/sigstore/pkg/signature/kms/gcp"
	_ "github.com/sigstore/sigstore/pkg/signature/kms/hashivault"
	"github.com/sigstore/sigstore/pkg/signature/options"

	"github.com/writpdp/writ/server/secret"
)

// vaultScheme is that of keys in a Vault.
const vaultScheme = "hashivault://"

// schemes are those that are compiled in. A reference of any other is refused
// before sigstore sees it, which would look for a program of that name.
var schemes = []string{"awskms://", "azurekms://", "gcpkms://", vaultScheme}

const (
	// patience bounds one call of a service whose caller sets no closer bound.
	patience = 10 * time.Second
	// inFlight bounds the calls of a service that does not answer.
	inFlight = 64
)

// probe is what is signed to see whether a key can be used: nothing that anybody
// else would take for a message of theirs.
var probe = []byte("writ: is this key able to sign?\n")

func openKMS(ctx context.Context, c Config) (*Key, error) {
	if !slices.ContainsFunc(schemes, func(s string) bool { return strings.HasPrefix(c.KMS, s) }) {
		return nil, fmt.Errorf("a KMS URI begins with one of %s", strings.Join(schemes, ", "))
	}
	s := &service{config: c, slots: make(chan struct{}, inFlight)}
	if strings.HasPrefix(c.KMS, vaultScheme) {
		if err := c.Vault.check(); err != nil {
			return nil, err
		}
	}
	public, err := s.public(ctx)
	if err != nil {
		return nil, fmt.Errorf("asking for the public key: %w", err)
	}
	algorithm, err := algorithmOf(public)
	if err != nil {
		return nil, err
	}
	k := &Key{public: public, algorithm: algorithm}
	k.sign = func(ctx context.Context, message []byte) ([]byte, error) {
		made, err := s.sign(ctx, algorithm, message)
		if err != nil {
			return nil, fmt.Errorf("signing by %s: %w", c.KMS, err)
		}
		// A key that was rotated signs with another half than the one that is
		// published: such a signature is worth nothing to anybody.
		if !k.Verify(message, made) {
			return nil, fmt.Errorf("signing by %s: the signature is not that of the public key that the service gave out at the start "+
				"(was the key rotated, or does it use another algorithm than %s?)", c.KMS, algorithm)
		}
		return made, nil
	}
	if _, err := k.sign(ctx, probe); err != nil {
		return nil, err
	}
	return k, nil
}

// check refuses what would send the token to whoever listens.
func (v Vault) check() error {
	u, err := url.Parse(v.Address)
	switch {
	case v.Address == "":
		return errors.New("it is not said where the Vault is")
	case err != nil || u.Host == "" || u.User != nil || u.RawQuery != "" || u.Fragment != "":
		return errors.New("the Vault's address is not a plain URL")
	case u.Scheme != "https" && (u.Scheme != "http" || !loopback(u.Hostname())):
		return errors.New("the Vault's address is not https, nor on loopback")
	case v.TokenFile == "":
		return errors.New("it is not said which file holds the Vault's token")
	case v.Version < 0:
		return errors.New("the key's version is negative")
	}
	return nil
}

func loopback(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}

// service is a key in a key management service.
type service struct {
	config Config
	slots  chan struct{}

	mu     sync.Mutex // guards what follows
	client kms.SignerVerifier
	hash   crypto.Hash
	token  string // of a Vault, that client uses
}

// at is the client of the key, made once, and again when the Vault's token or
// the hash is another. It uses what the configuration says, or the platform's own
// workload identity, and lives longer than the call that made it.
func (s *service) at(ctx context.Context, hash crypto.Hash) (kms.SignerVerifier, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	token := ""
	v, vault := s.config.Vault, strings.HasPrefix(s.config.KMS, vaultScheme)
	if vault {
		var err error
		if token, err = secret.ReadLine(v.TokenFile); err != nil {
			return nil, err
		}
	}
	if s.client != nil && s.hash == hash && s.token == token {
		return s.client, nil
	}
	ctx = context.WithoutCancel(ctx)
	opts := []signature.RPCOption{options.WithContext(ctx)}
	if vault {
		mount := v.Mount
		if mount == "" {
			mount = "transit" // and not what the environment says
		}
		opts = append(opts, options.WithRPCAuthOpts(options.RPCAuth{Address: v.Address, Token: token, Path: mount}),
			options.WithKeyVersion(strconv.Itoa(v.Version)))
	}
	client, err := kms.Get(ctx, s.config.KMS, hash, opts...)
	if err != nil {
		return nil, err
	}
	s.client, s.hash, s.token = client, hash, token
	return client, nil
}

func (s *service) public(ctx context.Context) (crypto.PublicKey, error) {
	return bounded(ctx, s.slots, func(ctx context.Context) (crypto.PublicKey, error) {
		client, err := s.at(ctx, crypto.SHA256)
		if err != nil {
			return nil, err
		}
		return client.PublicKey(options.WithContext(ctx))
	})
}

func (s *service) sign(ctx context.Context, a Algorithm, message []byte) ([]byte, error) {
	return bounded(ctx, s.slots, func(ctx context.Context) ([]byte, error) {
		client, err := s.at(ctx, a.hash())
		if err != nil {
			return nil, err
		}
		return client.SignMessage(bytes.NewReader(message), options.WithContext(ctx), options.WithCryptoSignerOpts(a.hash()))
	})
}

// bounded ends when ctx does, or patience: some of the clients listen to no
// context. A call that is left behind keeps its slot until it ends.
func bounded[T any](ctx context.Context, slots chan struct{}, do func(context.Context) (T, error)) (out T, err error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	select {
	case slots <- struct{}{}:
	case <-ctx.Done():
		return out, fmt.Errorf("waiting for earlier calls: %w", ctx.Err())
	}
	type result struct {
		out T
		err error
	}
	done := make(chan result, 1)
	go func() {
		defer func() { <-slots }()
		out, err := do(ctx)
		done <- result{out, err}
	}()
	select {
	case r := <-done:
		return r.out, r.err
	case <-ctx.Done():
		return out, fmt.Errorf("the service does not answer: %w", ctx.Err())
	}
}
