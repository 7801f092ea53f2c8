package audit

import (
	"encoding/hex"
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/proto"

	writv1 "github.com/writpdp/writ/proto/writ/v1"
	"github.com/writpdp/writ/server/decision"
)

func refusal() NoticeFacts {
	return NoticeFacts{
		At: noon.Truncate(1000), Kind: Refused, Actor: "writ on pdp-1", Source: "git https://git.example.org/policies, branch main",
		Commit: strings.Repeat("a1", 20), Digest: ref("a").Digest, Signer: "ann@example.org", Key: "SHA256:abc",
		Why: "it has no signature",
	}
}

func TestNoticeIsReadBack(t *testing.T) {
	want := refusal()
	e, err := Noticed(idOf(4_000_000), want)
	if err != nil {
		t.Fatal(err)
	}
	got, err := NoticeOf(e.Body)
	if diff := cmp.Diff(want, got); err != nil || diff != "" {
		t.Errorf("the notice: %v (-want +got):\n%s", err, diff)
	}
	row := Row{Tenant: decision.System, ID: e.ID, Kind: Notice, Key: uuidText(e.ID), Digest: e.Digest, At: want.At,
		Principal: want.Actor, Bundle: want.Digest, Body: e.Body, Leaf: e.Leaf}
	if diff := cmp.Diff(Entry{Row: row}, e); diff != "" {
		t.Errorf("the entry (-want +got):\n%s", diff)
	}
	if _, err := ChangeOf(e.Body); !errors.Is(err, ErrNotFound) {
		t.Errorf("a notice as a change: %v", err)
	}
	if _, err := NoticeOf(change(t, 1).Body); !errors.Is(err, ErrNotFound) {
		t.Errorf("a change as a notice: %v", err)
	}
	// Held fast: a record that is stored is read by every later version.
	if got, want := hex.EncodeToString(e.Leaf[:]), "5335823ce882c079148301efbe6ef009430babf6f63b4a159272f7177713e383"; got != want {
		t.Errorf("the form of a notice changed: leaf %s, want %s", got, want)
	}
}

// What a source is called or says of itself keeps nothing out of the log, and
// comes out of it as one harmless line.
func TestNoticeIsTamed(t *testing.T) {
	n := refusal()
	n.Why = "first\nsecond\x1b[2J\u202e\xff" + strings.Repeat("é", 2000)
	n.Source = strings.Repeat("s", 5000)
	n.Commit = strings.Repeat("c", 500)
	e, err := Noticed(idOf(1), n)
	if err != nil {
		t.Fatal(err)
	}
	got, err := NoticeOf(e.Body)
	if err != nil {
		t.Fatal(err)
	}
	if !strings.HasPrefix(got.Why, "first second [2J \uFFFDé") || len(got.Why) > 2048 || len(got.Source) != 2048 || len(got.Commit) != 128 {
		t.Errorf("got %.40q of %d bytes, source %d, commit %d", got.Why, len(got.Why), len(got.Source), len(got.Commit))
	}
}

func TestNoticeRefuses(t *testing.T) {
	for want, spoil := range map[string]func(*NoticeFacts){
		"actor is not 1 to":    func(n *NoticeFacts) { n.Actor = "" },
		"kind is unknown":      func(n *NoticeFacts) { n.Kind = 0 },
		"kind is unknown ":     func(n *NoticeFacts) { n.Kind = Expired + 1 },
		"bundle_digest is not": func(n *NoticeFacts) { n.Digest = strings.Repeat("d", 65) },
	} {
		n := refusal()
		spoil(&n)
		if _, err := Noticed(idOf(1), n); err == nil || !strings.Contains(err.Error(), strings.TrimSpace(want)) {
			t.Errorf("%s: got %v", want, err)
		}
	}
	e, err := Noticed(idOf(1), refusal())
	if err != nil {
		t.Fatal(err)
	}
	for want, spoil := range map[string]func(*writv1.Record){
		"a notice is not of the tenant": func(m *writv1.Record) { m.Tenant = "acme" },
		"a notice has a caller":         func(m *writv1.Record) { m.Caller = "spiffe://example.org/x" },
		"why holds a control":           func(m *writv1.Record) { m.GetNotice().Why = "\n" },
		"why is not 0 to 2048":          func(m *writv1.Record) { m.GetNotice().Why = strings.Repeat("x", 2049) },
	} {
		var m writv1.Record
		if err := proto.Unmarshal(e.Body, &m); err != nil {
			t.Fatal(err)
		}
		spoil(&m)
		body, err := proto.MarshalOptions{Deterministic: true}.Marshal(&m)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := RowOf(body); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got %v", want, err)
		}
	}
}
