package audit

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"golang.org/x/mod/sumdb/note"

	"github.com/gofrs/uuid/v5"
	"github.com/writpdp/writ/document"
	writv1 "github.com/writpdp/writ/proto/writ/v1"
	"github.com/writpdp/writ/server/decision"
)

const origin = "log.example.org/writ"

var noon = time.Date(2026, 11, 23, 12, 0, 0, 123456789, time.UTC)

// idOf is a UUIDv7 that depends on n alone.
func idOf(n int) [16]byte {
	sum := sha256.Sum256(fmt.Appendf(nil, "id %d", n))
	id := [16]byte(sum[:16])
	binary.BigEndian.PutUint64(id[:8], uint64(noon.UnixMilli()+int64(n))<<16|uint64(binary.BigEndian.Uint16(sum[16:])))
	id[6] = 0x70 | id[6]&0x0f
	id[8] = 0x80 | id[8]&0x3f
	return id
}

func uuidText(id [16]byte) string { return uuid.UUID(id).String() }

func parsed(t testing.TB, text string) *document.Document {
	t.Helper()
	d, err := document.Parse([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// key is the log's key pair, the same in every test.
func key(t testing.TB, seed byte) (*Signer, note.Verifier) {
	t.Helper()
	var secret [32]byte
	secret[0] = seed
	skey, vkey, err := GenerateKey(rand.NewChaCha8(secret), origin)
	if err != nil {
		t.Fatal(err)
	}
	signer, err := NewSigner(origin, skey)
	if err != nil {
		t.Fatal(err)
	}
	verifier, err := note.NewVerifier(vkey)
	if err != nil {
		t.Fatal(err)
	}
	return signer, verifier
}

var write = decision.ToolName{Server: "filesystem", Name: "write_file"}

func snapshot() *decision.Snapshot {
	return &decision.Snapshot{
		At: noon,
		Bundle: &decision.Bundle{
			Digest: fmt.Sprintf("%x", sha256.Sum256([]byte("bundle"))),
			Tools:  map[decision.ToolName]*decision.Tool{write: {ToolName: write, Digest: fmt.Sprintf("%x", sha256.Sum256([]byte("pinned")))}},
		},
	}
}

// request is a call; n makes its ids and token differ.
func request(t testing.TB, n int) *decision.Request {
	token := sha256.Sum256(fmt.Appendf(nil, "token %d", n))
	return &decision.Request{
		ID:     idOf(1_000_000 + n),
		Digest: sha256.Sum256(fmt.Appendf(nil, "request %d", n)),
		Caller: decision.Caller{SPIFFEID: "spiffe://example.org/gateway", Tenant: fmt.Sprintf("tenant-%d", n%3)},
		Principal: decision.Principal{
			Subject: "agent-1", Issuer: "https://issuer.example.org", OnBehalfOf: "human-1", Actors: []string{"agent-0"},
			Purposes: []string{"support"}, Token: token, Expires: noon.Add(time.Hour).Truncate(time.Second),
		},
		Phase: decision.Call, Session: "session-1", Purpose: "support",
		Tool:        decision.ToolRef{ToolName: write, Digest: fmt.Sprintf("%x", sha256.Sum256([]byte("seen")))},
		Arguments:   parsed(t, `{"path":"/tmp/a","data":{"text":"x"}}`),
		Resource:    decision.Resource{Type: "File", ID: "/tmp/a"},
		Destination: decision.Destination{Host: "files.example.org", Vendor: "files", Region: "eu"},
		Ticket:      fmt.Sprintf("CHG-%d", n),
		Cost:        decision.Cost{Calls: 1, Tokens: 200},
		Supports:    []string{"redact", "route", "limit_output"},
		Trace:       decision.Trace{Parent: "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"},
	}
}

func hourly(n int) decision.BudgetKey {
	return decision.BudgetKey{Budget: "calls-per-hour", Subject: fmt.Sprintf(`"agent-%d"`, n%5), Start: noon.Truncate(time.Hour).Unix()}
}

var lifetime = decision.BudgetKey{Budget: "tokens", Subject: `""`}

// allow is a typical decision: nine stages, two budgets, a ticket and a token.
func allow(req *decision.Request, n int) *decision.Decision {
	return &decision.Decision{Findings: []decision.Finding{
		{Stage: "lock", Verdict: decision.Abstain},
		{Stage: "purpose", Verdict: decision.Abstain, Reasons: []decision.Reason{{Code: "purpose.granted", Text: "The purpose grants the tool."}}},
		{Stage: "tool", Verdict: decision.Abstain, Reasons: []decision.Reason{{Code: "tool.pinned", Text: "The tool is pinned."}}},
		{Stage: "content", Verdict: decision.Abstain, Obligations: []decision.Obligation{
			{Duty: decision.Redact{Edits: []document.Edit{{Pointer: "/data/text"}}}}}},
		{Stage: "token", Verdict: decision.Abstain, Effects: []decision.Effect{
			decision.Consume{Token: req.Principal.Token, Expires: req.Principal.Expires}}},
		{Stage: "ticket", Verdict: decision.Abstain, Effects: []decision.Effect{decision.Redeem{Ticket: req.Ticket}}},
		{Stage: "policy", Verdict: decision.Permit, Reasons: []decision.Reason{
			{Code: "policy.permit", Text: "A policy permits it.", Policy: "support-writes"}},
			Obligations: []decision.Obligation{{Policy: "small-results", Duty: decision.LimitOutput{MaxBytes: 4096}}}},
		{Stage: "budget", Verdict: decision.Abstain, Budgets: []decision.BudgetLine{
			{Budget: "calls-per-hour", Unit: decision.Calls, Reserved: 1, Remaining: 999, Cap: 100_000, Resets: noon.Truncate(time.Hour).Add(time.Hour)},
			{Budget: "tokens", Unit: decision.Tokens, Reserved: 200, Remaining: 1_000_000, Cap: 1 << 40}},
			Effects: []decision.Effect{
				decision.Charge{Key: hourly(n), Amount: 1, Cap: 100_000},
				decision.Charge{Key: lifetime, Amount: 200, Cap: 1 << 40}}},
		{Stage: "route", Verdict: decision.Abstain},
	}}
}

func deny(code string) *decision.Decision {
	return &decision.Decision{Findings: []decision.Finding{
		{Stage: "purpose", Verdict: decision.Abstain, Reasons: []decision.Reason{{Code: "purpose.granted", Text: "The purpose grants the tool."}}},
		{Stage: "policy", Verdict: decision.Deny, Reasons: []decision.Reason{
			{Code: code, Text: "A policy forbids it.", Policy: "no-writes", Lift: "A change ticket.", Requestable: true}}},
	}}
}

// memory is a store in memory: it has every column and every table.
type memory struct {
	checkpoints []Checkpoint
	leaves      []Leaf
	tiles       []Tile
	pending     []Row
	orphans     []Row
	uses        []Use
	redemptions []Redemption
	tickets     []TicketRow
	tokens      []UsedToken
	versions    []VersionRow
	archives    []Archive
	lapses      []Lapse
	vaulted     []VaultRow
}

func each[T any](all []T, yield func(T) error) error {
	for _, one := range all {
		if err := yield(one); err != nil {
			return err
		}
	}
	return nil
}

func (m *memory) Checkpoints(_ context.Context, yield func(Checkpoint) error) error {
	return each(m.checkpoints, yield)
}

func (m *memory) Leaves(_ context.Context, from, to int64, yield func(Leaf) error) error {
	byIndex := slices.Clone(m.leaves)
	slices.SortStableFunc(byIndex, func(a, b Leaf) int { return cmp.Compare(a.Index, b.Index) })
	return each(byIndex, func(l Leaf) error {
		if l.Index < from || l.Index >= to {
			return nil
		}
		return yield(l)
	})
}

func (m *memory) Tiles(_ context.Context, yield func(Tile) error) error { return each(m.tiles, yield) }

func (m *memory) PendingRows(_ context.Context, yield func(Row) error) error {
	return each(m.pending, yield)
}

func (m *memory) Records(_ context.Context, tenant string, from, to [16]byte, yield func(Row) error) error {
	all := slices.Clone(m.pending)
	for _, leaf := range m.leaves {
		all = append(all, leaf.Row)
	}
	slices.SortFunc(all, func(a, b Row) int { return cmp.Or(cmp.Compare(a.Tenant, b.Tenant), slices.Compare(a.ID[:], b.ID[:])) })
	return each(all, func(r Row) error {
		if tenant != "" && r.Tenant != tenant || slices.Compare(r.ID[:], from[:]) < 0 || slices.Compare(r.ID[:], to[:]) >= 0 {
			return nil
		}
		return yield(r)
	})
}

func (m *memory) Orphans(_ context.Context, yield func(string, [16]byte) error) error {
	return each(m.orphans, func(r Row) error { return yield(r.Tenant, r.ID) })
}

func (m *memory) Uses(_ context.Context, yield func(Use) error) error { return each(m.uses, yield) }

func (m *memory) Redemptions(_ context.Context, yield func(Redemption) error) error {
	return each(m.redemptions, yield)
}

func (m *memory) TicketRows(_ context.Context, yield func(TicketRow) error) error {
	return each(m.tickets, yield)
}

func (m *memory) UsedTokens(_ context.Context, yield func(UsedToken) error) error {
	return each(m.tokens, yield)
}

func (m *memory) Lapses(_ context.Context, yield func(Lapse) error) error {
	return each(m.lapses, yield)
}

func (m *memory) VaultRows(_ context.Context, yield func(VaultRow) error) error {
	return each(m.vaulted, yield)
}

func (m *memory) Versions(_ context.Context, yield func(VersionRow) error) error {
	return each(m.versions, yield)
}

func (m *memory) Archives(_ context.Context, yield func(Archive) error) error {
	return each(m.archives, yield)
}

// commit applies an entry as a store does.
func (m *memory) commit(e Entry) {
	m.pending = append(m.pending, e.Row)
	if e.Kind == Settlement {
		m.lapses = slices.DeleteFunc(m.lapses, func(l Lapse) bool { return uuid.UUID(l.Decision).String() == e.Key && l.Tenant == e.Tenant })
	} else if at := decision.Lapses(e.Effects); !at.IsZero() {
		m.lapses = append(m.lapses, Lapse{Tenant: e.Tenant, Decision: e.ID, At: at})
	}
	for _, effect := range e.Effects {
		switch effect := effect.(type) {
		case decision.Counting:
			m.charge(e.Tenant, effect)
		case decision.Redeem:
			m.redemptions = append(m.redemptions, Redemption{Tenant: e.Tenant, Ticket: effect.Ticket, Record: e.ID})
			m.redeem(e.Tenant, effect.Ticket)
		case decision.Vault:
			m.vaulted = append(m.vaulted, VaultRow{Tenant: e.Tenant, Token: effect.Token, Class: effect.Class, Sealed: effect.Sealed, Record: e.ID})
		case decision.Consume:
			m.tokens = append(m.tokens, UsedToken{Tenant: e.Tenant, Token: effect.Token, Record: e.ID, Expires: effect.Expires})
		case decision.Ticket:
			m.change(e.Tenant, e.ID, effect)
		case decision.Rollout:
			m.versions = append(m.versions, VersionRow{Chain: RolloutChain, Version: effect.Version, Record: e.ID})
		case decision.Control:
			m.versions = append(m.versions, VersionRow{Chain: ControlChain, Version: effect.Version, Record: e.ID})
		}
	}
}

func (m *memory) redeem(tenant, ticket string) {
	for i := range m.tickets {
		if t := &m.tickets[i]; t.Tenant == tenant && t.Ticket == ticket {
			t.Uses++
			return
		}
	}
	// As one that is older than the records of tickets.
	m.tickets = append(m.tickets, TicketRow{Tenant: tenant, Ticket: ticket, Uses: 1, MaxUses: 9})
}

func (m *memory) change(tenant string, record [16]byte, t decision.Ticket) {
	row := TicketRow{Tenant: tenant, Ticket: t.ID, Version: t.Version, State: t.State, Record: record, MaxUses: t.MaxUses}
	for i := range m.tickets {
		if old := &m.tickets[i]; old.Tenant == tenant && old.Ticket == t.ID {
			row.Uses, *old = old.Uses, row
			return
		}
	}
	m.tickets = append(m.tickets, row)
}

// charge applies an effect as a store does that has no guards.
func (m *memory) charge(tenant string, c decision.Counting) {
	if charge, ok := c.(decision.Charge); ok {
		charge.Cap = math.MaxInt64
		c = charge
	}
	for i := range m.uses {
		if u := &m.uses[i]; u.Tenant == tenant && u.Key == c.Counter() {
			u.Used, _ = c.Apply(u.Used, 0)
			return
		}
	}
	used, _ := c.Apply(0, 0)
	leased := int64(0)
	if c.Counter().Sum() {
		leased = int64(4 * (len(m.uses) % 2)) // of every other counter
	}
	m.uses = append(m.uses, Use{Tenant: tenant, Key: c.Counter(), Used: used + leased, Leased: leased})
}

func (m *memory) tile(level int, index int64) ([]byte, error) {
	for _, t := range m.tiles {
		if t.Level == level && t.Index == index {
			return t.Hashes, nil
		}
	}
	return nil, fmt.Errorf("tile %d of level %d: %w", index, level, ErrNotFound)
}

func (m *memory) newest() Checkpoint {
	if len(m.checkpoints) == 0 {
		return Checkpoint{}
	}
	return m.checkpoints[len(m.checkpoints)-1]
}

// seal takes up to limit pending rows into the tree.
func (m *memory) seal(limit int, extend Extend) error {
	n := min(limit, len(m.pending))
	if n == 0 {
		return nil
	}
	x, err := extend(m.newest(), m.tile, m.pending[:n])
	if err != nil {
		return err
	}
	for _, t := range x.Tiles {
		m.put(t)
	}
	m.checkpoints = append(m.checkpoints, x.Checkpoint)
	for _, row := range m.pending[:n] {
		m.leaves = append(m.leaves, Leaf{Index: int64(len(m.leaves)), Row: row})
	}
	m.pending = m.pending[n:]
	return nil
}

func (m *memory) put(t Tile) {
	for i := range m.tiles {
		if m.tiles[i].Level == t.Level && m.tiles[i].Index == t.Index {
			m.tiles[i] = t
			return
		}
	}
	m.tiles = append(m.tiles, t)
}

// entries are n records: two of three are allowed calls, the rest denials and,
// for every fourth, the settlement of an earlier call.
func entries(t testing.TB, n int) []Entry {
	t.Helper()
	var all []Entry
	for i := 0; len(all) < n; i++ {
		req := request(t, i)
		d := allow(req, i)
		if i%3 == 2 {
			d = deny("policy.forbid")
		}
		e, _, err := Decided(idOf(i), req, snapshot(), d)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, e)
		if i%4 == 0 && i%3 != 2 {
			all = append(all, settle(t, i, e))
		}
	}
	return all[:n]
}

func settle(t testing.TB, n int, decided Entry) Entry {
	t.Helper()
	reserved, err := Reservations(decided.Body)
	if err != nil {
		t.Fatal(err)
	}
	used := map[decision.BudgetKey]int64{}
	for _, r := range reserved.Reservations {
		used[r.Key] = r.Amount
	}
	actual := decision.Cost{Calls: 1, Tokens: 150}
	e, _, err := Settled(idOf(2_000_000+n), reserved.Caller, noon.Add(time.Second), uuidText(decided.ID),
		sha256.Sum256(fmt.Appendf(nil, "report %d", n)), writv1.Outcome_OUTCOME_SUCCEEDED, actual,
		[]*writv1.ObligationReport{{Id: "redact-1", Met: true}}, decision.Settle(reserved.Reservations, actual, used))
	if err != nil {
		t.Fatal(err)
	}
	return e
}

// filled is a log of n sealed records, in chunks, and some pending ones.
func filled(t testing.TB, signer *Signer, n, chunk, pending int) *memory {
	t.Helper()
	m := &memory{}
	for i, e := range entries(t, n+pending) {
		m.commit(e)
		if i < n && (len(m.pending) == chunk || i == n-1) {
			if err := m.seal(chunk, signer.Extend); err != nil {
				t.Fatal(err)
			}
		}
	}
	return m
}
