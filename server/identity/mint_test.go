package identity

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/writpdp/writ/server/decision"
)

func TestMint(t *testing.T) {
	first, err := NewMinter(strings.NewReader(strings.Repeat("s", 32)))
	if err != nil {
		t.Fatal(err)
	}
	data, err := first.PEM()
	if err != nil {
		t.Fatal(err)
	}
	// The key survives being stored, and then makes the same token.
	again, err := ReadMinter(data)
	if err != nil {
		t.Fatal(err)
	}
	c := Claims{
		Issuer: testIssuer, Audience: testAudience, Subject: "agent", Purposes: []string{"support"},
		OnBehalfOf: "user:alice", Actors: []string{"gateway", "app", "portal"}, Lifetime: 2 * time.Minute,
	}
	token, err := first.Mint(c, now, "id-1")
	if err != nil {
		t.Fatal(err)
	}
	if same, err := again.Mint(c, now, "id-1"); err != nil || same != token {
		t.Errorf("the stored key made another token: %v", err)
	}
	keys, err := ReadKeys(again.JWKS())
	if err != nil {
		t.Fatal(err)
	}
	v, err := NewVerifier(Config{Issuers: []Issuer{{ID: testIssuer, Keys: keys}}, Audience: testAudience, Leeway: time.Second})
	if err != nil {
		t.Fatal(err)
	}
	got, err := verify(v, token, now)
	if err != nil {
		t.Fatal(err)
	}
	want := decision.Principal{
		Subject: "agent", Issuer: testIssuer, OnBehalfOf: "user:alice", Actors: []string{"gateway", "app", "portal"},
		Purposes: []string{"support"}, Token: got.Token, Expires: now.Add(121 * time.Second),
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if other := newTestVerifier(t); other != nil {
		if _, err := verify(other, token, now); err == nil {
			t.Error("another issuer's keys accept the token")
		}
	}
}

func TestMintRefuses(t *testing.T) {
	m, err := NewMinter(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	good := Claims{Issuer: "i", Audience: "a", Subject: "s", Purposes: []string{"p"}}
	for name, c := range map[string]struct {
		change func(*Claims)
		id     string
	}{
		"no id":             {func(*Claims) {}, ""},
		"no subject":        {func(c *Claims) { c.Subject = "" }, "1"},
		"no issuer":         {func(c *Claims) { c.Issuer = "" }, "1"},
		"no audience":       {func(c *Claims) { c.Audience = "" }, "1"},
		"no purpose":        {func(c *Claims) { c.Purposes = nil }, "1"},
		"wildcard":          {func(c *Claims) { c.Purposes = []string{"*"} }, "1"},
		"too many actors":   {func(c *Claims) { c.Actors = many(9) }, "1"},
		"lifetime too long": {func(c *Claims) { c.Lifetime = MaxLifetime + time.Second }, "1"},
		"lifetime negative": {func(c *Claims) { c.Lifetime = -time.Second }, "1"},
	} {
		claims := good
		c.change(&claims)
		if token, err := m.Mint(claims, now, c.id); err == nil {
			t.Errorf("%s: minted %s", name, token)
		} else if _, ok := errors.AsType[*Error](err); !ok {
			t.Errorf("%s: %v is no *Error", name, err)
		}
	}
	if _, err := m.Mint(good, now, "1"); err != nil {
		t.Errorf("the good claims: %v", err)
	}
}

func TestReadMinterRefuses(t *testing.T) {
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	block := func(kind string, data []byte) []byte {
		return pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: data})
	}
	m, err := NewMinter(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	good, err := m.PEM()
	if err != nil {
		t.Fatal(err)
	}
	for name, data := range map[string][]byte{
		"nothing":       nil,
		"not PEM":       []byte("planted"),
		"other type":    block("EC PRIVATE KEY", der),
		"broken":        block(pemType, []byte("planted")),
		"other key":     block(pemType, der),
		"more than one": append(bytes.Clone(good), good...),
	} {
		if _, err := ReadMinter(data); err == nil || strings.Contains(err.Error(), "planted") {
			t.Errorf("%s: got %v", name, err)
		}
	}
	if _, err := NewMinter(strings.NewReader("short")); err == nil {
		t.Error("a key was made from five bytes")
	}
}
