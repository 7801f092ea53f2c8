package main

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"net"
	"net/url"
	"time"

	"github.com/writpdp/writ/server/identity"
	"github.com/writpdp/writ/test/bench/workload"
)

// trust is what the processes need to believe one another. It is made anew for
// every run and kept in memory.
type trust struct {
	Authority      []byte // PEM
	Server, Client pair
	// Issuer is the private key of the tokens' issuer, in PEM; JWKS its public.
	Issuer, JWKS []byte
}

// pair is a certificate and its key, in PEM.
type pair struct{ Certificate, Key []byte }

const serverID = "spiffe://example.org/writ"

func newTrust(now time.Time) (*trust, error) {
	minter, err := identity.NewMinter(rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("making the issuer: %w", err)
	}
	t := &trust{JWKS: minter.JWKS()}
	if t.Issuer, err = minter.PEM(); err != nil {
		return nil, fmt.Errorf("making the issuer: %w", err)
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("making the authority's key: %w", err)
	}
	authority := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "benchmark"},
		NotBefore: now.Add(-time.Hour), NotAfter: now.Add(24 * time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, authority, authority, key.Public(), key)
	if err != nil {
		return nil, fmt.Errorf("making the authority: %w", err)
	}
	t.Authority = pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	if t.Server, err = issue(authority, key, 2, serverID); err != nil {
		return nil, err
	}
	if t.Client, err = issue(authority, key, 3, workload.Caller); err != nil {
		return nil, err
	}
	return t, nil
}

// issue makes an X.509-SVID for a process on loopback.
func issue(authority *x509.Certificate, by *ecdsa.PrivateKey, serial int64, id string) (pair, error) {
	uri, err := url.Parse(id)
	if err != nil {
		return pair{}, fmt.Errorf("parsing a SPIFFE ID: %w", err)
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return pair{}, fmt.Errorf("making the key of %s: %w", id, err)
	}
	der, err := x509.CreateCertificate(rand.Reader, &x509.Certificate{
		SerialNumber: big.NewInt(serial), Subject: pkix.Name{CommonName: "benchmark"},
		NotBefore: authority.NotBefore, NotAfter: authority.NotAfter,
		URIs: []*url.URL{uri}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, KeyUsage: x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}, authority, key.Public(), by)
	if err != nil {
		return pair{}, fmt.Errorf("making the certificate of %s: %w", id, err)
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return pair{}, fmt.Errorf("encoding the key of %s: %w", id, err)
	}
	return pair{
		Certificate: pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}),
		Key:         pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: private}),
	}, nil
}

func (t *trust) pool() (*x509.CertPool, error) {
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(t.Authority) {
		return nil, errors.New("reading the authority: no certificate in it")
	}
	return pool, nil
}

// server is the TLS of a listener, as `writ serve` has it.
func (t *trust) server() (*tls.Config, error) {
	certificate, err := tls.X509KeyPair(t.Server.Certificate, t.Server.Key)
	if err != nil {
		return nil, fmt.Errorf("reading the server's certificate: %w", err)
	}
	pool, err := t.pool()
	if err != nil {
		return nil, err
	}
	return &tls.Config{
		MinVersion: tls.VersionTLS13, Certificates: []tls.Certificate{certificate},
		ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: pool, NextProtos: []string{"h2", "http/1.1"},
	}, nil
}

// client is the TLS of the load generator.
func (t *trust) client() (*tls.Config, error) {
	certificate, err := tls.X509KeyPair(t.Client.Certificate, t.Client.Key)
	if err != nil {
		return nil, fmt.Errorf("reading the client's certificate: %w", err)
	}
	pool, err := t.pool()
	if err != nil {
		return nil, err
	}
	return &tls.Config{MinVersion: tls.VersionTLS13, Certificates: []tls.Certificate{certificate}, RootCAs: pool}, nil
}
