package audit

import (
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/mod/sumdb/note"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	writv1 "github.com/writpdp/writ/proto/writ/v1"
	"github.com/writpdp/writ/server/decision"
)

func tokenOf(n int) [32]byte { return sha256.Sum256(fmt.Appendf(nil, "token %d", n)) }

// exchanged is an exchange of a delegated token for two.
func exchanged(n int) *ExchangeFacts {
	at := noon.Truncate(time.Microsecond)
	parent := request(&testing.T{}, 7000+n).Principal
	parent.Tools = []string{"filesystem/write_file"}
	return &ExchangeFacts{
		RequestID: uuidText(idOf(5_000_000 + n)), Digest: tokenOf(1000 + n), Caller: decision.Caller{SPIFFEID: "spiffe://example.org/gateway", Tenant: "tenant-1"},
		At: at, Actor: "spiffe://example.org/helper", Proof: ByJWTSVID, Parent: &parent, ParentAudience: []string{"writ"},
		Presented: []decision.Consume{{Token: tokenOf(2000 + n), Expires: at.Add(time.Minute)}, {Token: parent.Token, Expires: parent.Expires}},
		Purposes:  []string{"support"}, Tools: []string{"filesystem/write_file"}, Lifetime: time.Minute,
		Issued: &IssuedFacts{Issuer: "https://writ.example.org", Subject: parent.Subject, OnBehalfOf: parent.OnBehalfOf, Actors: []string{"spiffe://example.org/helper", "agent-0"},
			Purposes: []string{"support"}, Tools: []string{"filesystem/write_file"}, Audience: []string{"writ"}, At: at.Truncate(time.Second), NotBefore: at.Truncate(time.Second),
			Expires: at.Truncate(time.Second).Add(time.Minute), Key: tokenOf(3000), Tokens: [][32]byte{tokenOf(4000 + n), tokenOf(5000 + n)}},
	}
}

func TestExchangeIsReadBack(t *testing.T) {
	want := exchanged(1)
	e, err := Exchanged(idOf(6_000_001), want)
	if err != nil {
		t.Fatal(err)
	}
	got, err := ExchangeOf(e.Body)
	if diff := cmp.Diff(want, got); err != nil || diff != "" {
		t.Errorf("the exchange: %v (-want +got):\n%s", err, diff)
	}
	row := Row{Tenant: "tenant-1", ID: e.ID, Kind: Exchange, Key: want.RequestID, Digest: want.Digest, At: want.At, Caller: want.Caller.SPIFFEID,
		Principal: want.Actor, Purpose: "support", Outcome: decision.Allowed, Body: e.Body, Leaf: e.Leaf}
	if diff := cmp.Diff(Entry{Row: row, Effects: []decision.Effect{want.Presented[0], want.Presented[1]}}, e); diff != "" {
		t.Errorf("the entry (-want +got):\n%s", diff)
	}
	// Held fast: a record that is stored is read by every later version.
	if got, want := hex.EncodeToString(e.Leaf[:]), "81ba3760c0ffc7adf6aa8085644b041ac074d342e761b1c1a2c1137f842dc0ee"; got != want {
		t.Errorf("the form of an exchange changed: leaf %s, want %s", got, want)
	}
	for name, read := range map[string]func([]byte) error{
		"decision": func(b []byte) error { _, err := Respond(b); return err },
		"change":   func(b []byte) error { _, err := ChangeOf(b); return err },
		"notice":   func(b []byte) error { _, err := NoticeOf(b); return err },
		"question": func(b []byte) error { _, err := QuestionOf(b, nil); return err },
		"report":   func(b []byte) error { _, err := ActualOf(b); return err },
	} {
		if err := read(e.Body); !errors.Is(err, ErrNotFound) {
			t.Errorf("an exchange as a %s: %v", name, err)
		}
	}
	if _, err := ExchangeOf(change(t, 1).Body); !errors.Is(err, ErrNotFound) {
		t.Errorf("a change as an exchange: %v", err)
	}

	// A refusal has reasons in the place of tokens, and uses none up.
	refused := exchanged(2)
	refused.Issued, refused.Reasons = nil, []decision.Reason{{Code: "exchange.tools", Text: "Too many.", Lift: "Fewer."}}
	if e, err = Exchanged(idOf(6_000_002), refused); err != nil {
		t.Fatal(err)
	}
	got, err = ExchangeOf(e.Body)
	if diff := cmp.Diff(refused, got); err != nil || diff != "" || e.Outcome != decision.Denied || len(e.Effects) != 0 {
		t.Errorf("the refusal: %v, %v, %v (-want +got):\n%s", err, e.Outcome, e.Effects, diff)
	}
}

func TestExchangeRefuses(t *testing.T) {
	for want, spoil := range map[string]func(*ExchangeFacts){
		"actor_proof is unknown":             func(x *ExchangeFacts) { x.Proof = 0 },
		"actor_proof is unknown ":            func(x *ExchangeFacts) { x.Proof = ByToken + 1 },
		"request_id is not a UUID":           func(x *ExchangeFacts) { x.RequestID = "x" },
		"actor is not 1 to":                  func(x *ExchangeFacts) { x.Actor = "" },
		"actor holds a NUL":                  func(x *ExchangeFacts) { x.Actor = "a\x00" },
		"more tokens or reasons":             func(x *ExchangeFacts) { x.Presented = append(x.Presented, x.Presented[0]) },
		"tokens or reasons, and not both":    func(x *ExchangeFacts) { x.Issued = nil },
		"tokens or reasons, and not both ":   func(x *ExchangeFacts) { x.Reasons = []decision.Reason{{Code: "x"}} },
		"ttl_seconds is out of range":        func(x *ExchangeFacts) { x.Lifetime = 11 * time.Minute },
		"issues 1 to 64 tokens":              func(x *ExchangeFacts) { x.Issued.Tokens = nil },
		"issues 1 to 64 tokens ":             func(x *ExchangeFacts) { x.Issued.Tokens = make([][32]byte, 65) },
		"a token is issued twice":            func(x *ExchangeFacts) { x.Issued.Tokens[1] = x.Issued.Tokens[0] },
		"expires_at is absent, malformed or": func(x *ExchangeFacts) { x.Issued.Expires = x.Issued.Expires.Add(time.Millisecond) },
		"has no decisions, settlements":      func(x *ExchangeFacts) { x.Caller.Tenant = decision.System },
	} {
		x := exchanged(1)
		spoil(x)
		if _, err := Exchanged(idOf(1), x); err == nil || !strings.Contains(err.Error(), strings.TrimSpace(want)) {
			t.Errorf("%s: got %v", want, err)
		}
	}
	e, err := Exchanged(idOf(1), exchanged(1))
	if err != nil {
		t.Fatal(err)
	}
	for want, spoil := range map[string]func(*writv1.ExchangeEvent){
		"token_digest is not 32":         func(m *writv1.ExchangeEvent) { m.Parent.TokenDigest = nil },
		"presented.digest is not 32":     func(m *writv1.ExchangeEvent) { m.Presented[0].Digest = []byte("x") },
		"presented.expires_at is absent": func(m *writv1.ExchangeEvent) { m.Presented[0].ExpiresAt = nil },
		"token_expires_at is absent":     func(m *writv1.ExchangeEvent) { m.Parent.TokenExpiresAt = &timestamppb.Timestamp{Nanos: 1} },
		"key_thumbprint is not 32":       func(m *writv1.ExchangeEvent) { m.Issued.KeyThumbprint = []byte("x") },
		"token_digests is not 32":        func(m *writv1.ExchangeEvent) { m.Issued.TokenDigests[0] = nil },
		"issued_at is absent":            func(m *writv1.ExchangeEvent) { m.Issued.IssuedAt = nil },
	} {
		var m writv1.Record
		if err := proto.Unmarshal(e.Body, &m); err != nil {
			t.Fatal(err)
		}
		spoil(m.GetExchange())
		body, err := proto.MarshalOptions{Deterministic: true}.Marshal(&m)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := RowOf(body); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got %v", want, err)
		}
	}
}

// The books hold an exchange to what it used up: a token that is exchanged again,
// or one that the store has forgotten, is found.
func TestVerifyExchanges(t *testing.T) {
	signer, verifier := key(t, 1)
	made := func(second int) *memory {
		m := filled(t, signer, 10, 5, 0)
		for i, n := range []int{1, second} {
			e, err := Exchanged(idOf(6_000_100+i), exchanged(n))
			if err != nil {
				t.Fatal(err)
			}
			m.commit(e)
		}
		if err := m.seal(10, signer.Extend); err != nil {
			t.Fatal(err)
		}
		return m
	}
	verify := func(m *memory) *Problem {
		report, err := Verify(t.Context(), m, []note.Verifier{verifier}, Options{Origin: origin, At: noon})
		if err != nil {
			t.Fatal(err)
		}
		return report.Problem
	}
	if p := verify(made(101)); p != nil {
		t.Errorf("a good log: %v", p)
	}
	if p := verify(made(1)); p == nil {
		t.Error("the same exchange twice is not found")
	}
	m := made(101)
	m.tokens = m.tokens[:len(m.tokens)-1]
	if p := verify(m); p == nil || p.What != "used token" {
		t.Errorf("a forgotten token: %v", p)
	}
	e, err := Exchanged(idOf(6_000_200), func() *ExchangeFacts {
		x := exchanged(102)
		x.Presented[0].Token = tokenOf(2001)
		return x
	}())
	if err != nil {
		t.Fatal(err)
	}
	m = made(101)
	m.commit(e)
	if p := verify(m); p == nil || p.What != "used token" {
		t.Errorf("a token that is exchanged twice: %v", p)
	}
}

// A key that is elsewhere extends the log as one that is here, and one that fails
// does not.
func TestSignerBy(t *testing.T) {
	public, private, err := ed25519.GenerateKey(rand.NewChaCha8([32]byte{9}))
	if err != nil {
		t.Fatal(err)
	}
	away := errors.New("the KMS is away")
	var fails error
	signer, err := NewSignerBy(origin, public, func(message []byte) ([]byte, error) { return ed25519.Sign(private, message), fails })
	if err != nil {
		t.Fatal(err)
	}
	vkey, err := PublicKey(origin, public)
	if err != nil {
		t.Fatal(err)
	}
	verifier, err := note.NewVerifier(vkey)
	if err != nil {
		t.Fatal(err)
	}
	m := filled(t, signer, 20, 10, 5)
	report, err := Verify(t.Context(), m, []note.Verifier{verifier}, Options{Origin: origin, At: noon})
	if err != nil || report.Problem != nil {
		t.Errorf("%v, %v", report.Problem, err)
	}
	fails = away
	before := len(m.checkpoints)
	if err := m.seal(5, signer.Extend); !errors.Is(err, away) || len(m.checkpoints) != before {
		t.Errorf("a key that fails: %v", err)
	}
	for _, bad := range []string{"", "with space", "with+plus"} {
		if _, err := NewSignerBy(bad, public, nil); err == nil {
			t.Errorf("a signer for the origin %q", bad)
		}
	}
}

// A signer tells nothing of its key, wherever it is printed.
func TestSignerIsHidden(t *testing.T) {
	skey, _, err := GenerateKey(strings.NewReader(strings.Repeat("canary-seed-", 8)), origin)
	if err != nil {
		t.Fatal(err)
	}
	signer, err := NewSigner(origin, skey)
	if err != nil {
		t.Fatal(err)
	}
	type inside struct {
		signer *Signer
		value  Signer
	}
	var out strings.Builder
	for _, value := range []any{signer, *signer, inside{signer, *signer}, []*Signer{signer}} {
		for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%x", "%d"} {
			fmt.Fprintf(&out, verb, value)
		}
		text, err := json.Marshal(value)
		if err != nil {
			t.Error(err)
		}
		out.Write(text)
		slog.New(slog.NewJSONHandler(&out, nil)).Info("x", "signer", value)
	}
	for _, form := range []string{"canary", "63616e617279", "99 97 110 97 114 121", "0x63, 0x61, 0x6e", "Y2FuYXJ5", "PRIVATE"} {
		if strings.Contains(out.String(), form) {
			t.Errorf("the key is told, as %s", form)
		}
	}
}
