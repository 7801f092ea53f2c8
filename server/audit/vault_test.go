package audit

import (
	"crypto/sha256"
	"strings"
	"testing"

	"google.golang.org/protobuf/proto"

	"github.com/writpdp/writ/document"
	writv1 "github.com/writpdp/writ/proto/writ/v1"
	"github.com/writpdp/writ/server/decision"
)

// What the vault holds is what the records say, or verification names it.
func TestVaultIsAsItsRecords(t *testing.T) {
	token := document.Replacement(document.Tokenised, [20]byte{1})
	sealed := []byte("sealed")
	put := decision.Vault{Token: token, Class: "email", Digest: sha256.Sum256(sealed)}
	decided := func(n byte, v decision.Vault) *record {
		return &record{Row: Row{Tenant: "acme", ID: [16]byte{n}, Kind: Decision, Key: string([]byte{'k', n})}, effects: []decision.Effect{v}}
	}
	forgot := &record{Row: Row{Tenant: "acme", ID: [16]byte{9}, Kind: Reveal, Key: "f"}, effects: []decision.Effect{decision.Forget{Token: token}}}
	row := VaultRow{Tenant: "acme", Token: token, Class: "email", Sealed: sealed, Record: [16]byte{1}}
	with := func(change func(*VaultRow)) []VaultRow { r := row; change(&r); return []VaultRow{r} }
	other := put
	other.Digest[0] ^= 1
	for _, test := range []struct {
		name    string
		records []*record
		rows    []VaultRow
		want    string
	}{
		{"as it is", []*record{decided(1, put), decided(2, put)}, []VaultRow{row}, ""},
		{"of the second", []*record{decided(1, put), decided(2, put)}, with(func(r *VaultRow) { r.Record = [16]byte{2} }), ""},
		{"forgotten", []*record{decided(1, put), forgot}, nil, ""},
		{"forgotten and put again", []*record{decided(1, put), forgot, decided(2, put)}, with(func(r *VaultRow) { r.Record = [16]byte{2} }), ""},
		{"gone", []*record{decided(1, put)}, nil, "nobody had it forgotten"},
		{"another record", []*record{decided(1, put)}, with(func(r *VaultRow) { r.Record = [16]byte{3} }), "no such record"},
		{"another tenant", []*record{decided(1, put)}, with(func(r *VaultRow) { r.Tenant = "bolt" }), "no such record"},
		{"another token", []*record{decided(1, put)}, with(func(r *VaultRow) { r.Token += "x" }), "no such record"},
		{"another class", []*record{decided(1, put)}, with(func(r *VaultRow) { r.Class = "phone" }), "another class"},
		{"changed", []*record{decided(1, put)}, with(func(r *VaultRow) { r.Sealed = []byte("sealee") }), "not what the record's token stands for"},
		{"twice", []*record{decided(1, put)}, []VaultRow{row, row}, "stored twice"},
		{"two values of one token", []*record{decided(1, put), decided(2, other)}, []VaultRow{row}, "something else than in an earlier record"},
	} {
		b := newBooks(noon)
		var p *Problem
		for _, r := range test.records {
			for _, e := range r.effects {
				if p == nil {
					p = b.apply(r, -1, e)
				}
			}
		}
		for i := range test.rows {
			if p == nil {
				p = b.vaultRow(&test.rows[i])
			}
		}
		if p == nil {
			p = b.lackingVault()
		}
		switch {
		case test.want == "" && p != nil:
			t.Errorf("%s: %v", test.name, p)
		case test.want != "" && (p == nil || p.What != "vault" || !strings.Contains(p.Detail, test.want)):
			t.Errorf("%s: got %v, want %q", test.name, p, test.want)
		}
	}
}

// A record of a question about a token is read as it was written, or not at all.
func TestRevealed(t *testing.T) {
	token := document.Replacement(document.Tokenised, [20]byte{1})
	facts := RevealFacts{At: noon.Truncate(1000), Tenant: "acme", Caller: "spiffe://example.org/desk", Actor: "spiffe://example.org/desk",
		Outcome: writv1.RevealOutcome_REVEAL_OUTCOME_DONE, Token: token, Reason: "A complaint.", Ticket: "CHG-1", Class: "email", Version: 2}
	entry, err := Revealed([16]byte{1}, facts)
	if err != nil {
		t.Fatal(err)
	}
	row, err := RowOf(entry.Body)
	if err != nil || row.Kind != Reveal || row.Tenant != "acme" || row.Principal != facts.Actor || row.Ticket != "CHG-1" || len(entry.Effects) != 1 {
		t.Errorf("got %+v, %v", row, err)
	}
	if got, err := RevealedOf(entry.Body); err != nil || got != facts {
		t.Errorf("got %+v, %v, want %+v", got, err, facts)
	}
	facts.Forgets = true
	if entry, err = Revealed([16]byte{2}, facts); err != nil || len(entry.Effects) != 2 {
		t.Errorf("got %+v, %v", entry.Effects, err)
	}
	for name, change := range map[string]func(*writv1.Record){
		"no actor":           func(r *writv1.Record) { r.GetReveal().Actor = "" },
		"no reason":          func(r *writv1.Record) { r.GetReveal().Reason = "" },
		"a reason of lines":  func(r *writv1.Record) { r.GetReveal().Reason = "a\nb" },
		"no token":           func(r *writv1.Record) { r.GetReveal().Token = "[token:x]" },
		"a hash":             func(r *writv1.Record) { r.GetReveal().Token = document.Replacement(document.Hashed, [20]byte{}) },
		"no action":          func(r *writv1.Record) { r.GetReveal().Action = 0 },
		"an unknown outcome": func(r *writv1.Record) { r.GetReveal().Outcome = 9 },
		"another's, told":    func(r *writv1.Record) { r.GetReveal().Of = "bolt" },
		"a ticket, not used": func(r *writv1.Record) { r.GetReveal().RedeemedVersion = 0 },
		"no ticket, used up": func(r *writv1.Record) { r.GetReveal().TicketId = "" },
		"refused, with a class": func(r *writv1.Record) {
			r.GetReveal().Outcome, r.GetReveal().RedeemedVersion = writv1.RevealOutcome_REVEAL_OUTCOME_REFUSED, 0
		},
		"of the system": func(r *writv1.Record) { r.Tenant = decision.System },
	} {
		var r writv1.Record
		if err := proto.Unmarshal(entry.Body, &r); err != nil {
			t.Fatal(err)
		}
		change(&r)
		body, err := proto.MarshalOptions{Deterministic: true}.Marshal(&r)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := RowOf(body); err == nil {
			t.Errorf("%s: it was read", name)
		}
	}
}
