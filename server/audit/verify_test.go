package audit

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"
	"google.golang.org/protobuf/proto"

	writv1 "github.com/writpdp/writ/proto/writ/v1"
)

// verify runs Verify and fails on errors; a problem is the result.
func verify(t testing.TB, r Reader, o Options) Report {
	t.Helper()
	_, verifier := key(t, 1)
	o.Origin = origin
	report, err := Verify(t.Context(), r, []note.Verifier{verifier}, o)
	if err != nil {
		t.Fatal(err)
	}
	return report
}

// wants fails unless the problem has these properties; Detail is a part of it.
func wants(t testing.TB, got, want *Problem) {
	t.Helper()
	if got == nil {
		t.Fatalf("nothing was found, want %s", want)
	}
	if got.What != want.What || got.Index != want.Index || got.Last != want.Last || got.Record != want.Record ||
		got.Tenant != want.Tenant || !strings.Contains(got.Detail, want.Detail) {
		t.Errorf("found %s (%q)\n want %s (%q)", got, got.Tenant, want, want.Tenant)
	}
}

func TestVerify(t *testing.T) {
	signer, _ := key(t, 1)
	for _, c := range []struct{ sealed, chunk, pending int }{
		{0, 1, 0}, {0, 1, 3}, {1, 1, 0}, {24, 5, 4}, {255, 100, 0}, {256, 256, 1}, {257, 256, 0}, {512, 64, 3}, {700, 33, 9},
	} {
		t.Run(fmt.Sprint(c), func(t *testing.T) {
			m := filled(t, signer, c.sealed, c.chunk, c.pending)
			report := verify(t, m, Options{})
			if report.Problem != nil {
				t.Fatal(report.Problem)
			}
			var settlements int64
			for _, l := range m.leaves {
				if l.Kind == Settlement {
					settlements++
				}
			}
			for _, r := range m.pending {
				if r.Kind == Settlement {
					settlements++
				}
			}
			want := Report{
				Leaves: int64(c.sealed), Pending: int64(c.pending), Settlements: settlements,
				Checkpoints: int64(len(m.checkpoints)), Tiles: int64(len(m.tiles)), Counters: int64(len(m.uses)),
				Redemptions: int64(len(m.redemptions)), Tokens: int64(len(m.tokens)), Root: root(t, m),
			}
			if report != want {
				t.Errorf("report is %+v, want %+v", report, want)
			}
		})
	}
}

// root is the tree's, as tlog has it.
func root(t testing.TB, m *memory) [32]byte {
	t.Helper()
	tree := stored{}
	for _, l := range m.leaves {
		tree.add(t, l.Index, tlog.Hash(l.Leaf))
	}
	h, err := tlog.TreeHash(int64(len(m.leaves)), &tree)
	if err != nil {
		t.Fatal(err)
	}
	return h
}

// TestSettledBeforeDecided: the order of the log is not that of the commits.
func TestSettledBeforeDecided(t *testing.T) {
	signer, _ := key(t, 1)
	m := &memory{}
	call, _ := decided(t, 1, allow(request(t, 1), 1))
	m.commit(call)
	m.commit(settle(t, 1, call))
	slices.Reverse(m.pending)
	if err := m.seal(1, signer.Extend); err != nil {
		t.Fatal(err)
	}
	if report := verify(t, m, Options{}); report.Problem != nil || report.Settlements != 1 {
		t.Errorf("report is %+v", report)
	}
}

func TestForgottenTokens(t *testing.T) {
	signer, _ := key(t, 1)
	m := filled(t, signer, 24, 5, 0)
	gone := m.tokens[3]
	m.tokens = slices.Delete(m.tokens, 3, 4)
	if report := verify(t, m, Options{At: gone.Expires.Add(time.Second)}); report.Problem != nil {
		t.Errorf("an expired token that was forgotten: %v", report.Problem)
	}
	i := slices.IndexFunc(m.leaves, func(l Leaf) bool { return l.ID == gone.Record })
	want := about(&m.leaves[i].Row, int64(i), "used token", "does not remember")
	wants(t, verify(t, m, Options{At: gone.Expires}).Problem, want)
	wants(t, verify(t, m, Options{}).Problem, want)
}

// TestSetBack: a store that was set back to an older state fits in itself; a
// checkpoint that was kept elsewhere shows it.
func TestSetBack(t *testing.T) {
	signer, _ := key(t, 1)
	known := filled(t, signer, 24, 5, 0).newest().Note
	older := filled(t, signer, 20, 5, 0)
	if report := verify(t, older, Options{}); report.Problem != nil {
		t.Fatal(report.Problem)
	}
	wants(t, verify(t, older, Options{Known: [][]byte{known}}).Problem,
		&Problem{What: "index", Index: 20, Last: 23, Detail: "missing"})
	if report := verify(t, filled(t, signer, 30, 5, 0), Options{Known: [][]byte{known}}); report.Problem != nil {
		t.Error(report.Problem)
	}

	// A log that was rewritten from its second record on, and signed again.
	fork := &memory{}
	all := entries(t, 30)
	for _, e := range append(all[:1:1], all[3:]...) {
		fork.commit(e)
	}
	if err := fork.seal(27, signer.Extend); err != nil {
		t.Fatal(err)
	}
	wants(t, verify(t, fork, Options{Known: [][]byte{known}}).Problem, &Problem{What: "root", Index: 0, Last: 23, Detail: "size 24"})

	_, verifier := key(t, 1)
	for _, bad := range [][]byte{nil, []byte("x"), known[:len(known)-1]} {
		if _, err := Verify(t.Context(), older, []note.Verifier{verifier}, Options{Origin: origin, Known: [][]byte{bad}}); err == nil {
			t.Errorf("the known checkpoint %q is taken", bad)
		}
	}
}

// TestRecordsThatDoNotAgree seals records whose signatures and hashes are right
// and that cannot all be true.
func TestRecordsThatDoNotAgree(t *testing.T) {
	signer, _ := key(t, 1)
	call, _ := decided(t, 0, allow(request(t, 0), 0))
	denial, _ := decided(t, 2, deny("policy.forbid"))
	settled := settle(t, 0, call)
	for name, c := range map[string]struct {
		entries []Entry
		at      int // the entry that is named; -1: none
		what    string
		detail  string
	}{
		"settled twice":          {[]Entry{call, settled, changed(t, settled, func(m *writv1.Record) { rename(m, idOf(5)) })}, 2, "key", "another record"},
		"id twice":               {[]Entry{call, settled, changed(t, settled, func(m *writv1.Record) { m.GetSettlement().DecisionId = uuidText(idOf(7)) })}, 2, "id", "another record"},
		"request answered again": {[]Entry{denial, changed(t, denial, func(m *writv1.Record) { rename(m, idOf(5)) })}, 1, "key", "another record"},
		"a denial settled": {[]Entry{denial, changed(t, settled, func(m *writv1.Record) {
			m.Tenant, m.GetSettlement().DecisionId, m.GetSettlement().Effects = denial.Tenant, uuidText(denial.ID), nil
		})}, 1, "settlement", "no allowed decision"},
		"nothing settled": {[]Entry{settled}, 0, "settlement", uuidText(call.ID)},
		"settled by another tenant": {[]Entry{call, changed(t, settled, func(m *writv1.Record) {
			m.Tenant = "tenant-9"
		})}, 1, "settlement", "no allowed decision"},
		"a settlement settled": {[]Entry{call, settled, changed(t, settled, func(m *writv1.Record) {
			rename(m, idOf(5))
			m.GetSettlement().DecisionId = uuidText(settled.ID)
		})}, 2, "settlement", "no allowed decision"},
		"more refunded than charged": {[]Entry{call, changed(t, settled, func(m *writv1.Record) {
			m.GetSettlement().Effects[0].GetCharge().Amount = -201
		})}, -1, "use", ""},
		"over the cap": {[]Entry{changed(t, call, func(m *writv1.Record) {
			charge(m).Amount, charge(m).Cap = 11, 10
		})}, -1, "use", "over the cap of 10"},
		"token used twice": {[]Entry{call, changed(t, call, func(m *writv1.Record) {
			rename(m, idOf(5))
			m.GetDecision().Response.RequestId = uuidText(idOf(6))
		})}, 1, "used token", "another record"},
	} {
		t.Run(name, func(t *testing.T) {
			for _, sealed := range []bool{true, false} {
				m := &memory{}
				for _, e := range c.entries {
					m.commit(e)
				}
				if name == "token used twice" {
					m.tokens = m.tokens[:1]
				}
				if sealed {
					if err := m.seal(len(m.pending), signer.Extend); err != nil {
						t.Fatal(err)
					}
				}
				want := &Problem{What: c.what, Index: -1, Last: -1, Tenant: "tenant-0", Detail: c.detail}
				if c.at >= 0 {
					row := c.entries[c.at].Row
					want.Tenant, want.Record = row.Tenant, row.ID
					if sealed {
						want.Index, want.Last = int64(c.at), int64(c.at)
					}
				}
				wants(t, verify(t, m, Options{}).Problem, want)
			}
		})
	}
}

// changed is an entry with its record changed and encoded anew.
func changed(t testing.TB, e Entry, change func(*writv1.Record)) Entry {
	t.Helper()
	m := &writv1.Record{}
	if err := proto.Unmarshal(e.Body, m); err != nil {
		t.Fatal(err)
	}
	change(m)
	e, err := enter(m)
	if err != nil {
		t.Fatal(err)
	}
	return e
}

func rename(m *writv1.Record, id [16]byte) {
	m.Id = uuidText(id)
	if d := m.GetDecision(); d != nil {
		d.Response.DecisionId = m.Id
	} else {
		m.GetSettlement().Response.SettlementId = m.Id
	}
}

func TestNegativeSumIsFound(t *testing.T) {
	signer, _ := key(t, 1)
	call, _ := decided(t, 0, allow(request(t, 0), 0))
	m := &memory{}
	m.commit(call)
	m.commit(changed(t, settle(t, 0, call), func(r *writv1.Record) { r.GetSettlement().Effects[0].GetCharge().Amount = -300 }))
	if err := m.seal(2, signer.Extend); err != nil {
		t.Fatal(err)
	}
	// The store has cut its use off at 0, the records say -100.
	wants(t, verify(t, m, Options{}).Problem, &Problem{What: "use", Index: -1, Last: -1, Tenant: "tenant-0", Detail: "the records charge -100"})
	m.uses = slices.DeleteFunc(m.uses, func(u Use) bool { return u.Key == lifetime })
	wants(t, verify(t, m, Options{}).Problem, &Problem{What: "use", Index: -1, Last: -1, Tenant: "tenant-0", Detail: "refund 100 more"})
}

// broken fails one stream, or ends it without an error once ctx is done.
type broken struct {
	*memory
	err error
}

func (b broken) Uses(context.Context, func(Use) error) error { return b.err }

func TestVerifyIsNotCutShort(t *testing.T) {
	signer, verifier := key(t, 1)
	m := filled(t, signer, 24, 5, 0)
	gone := errors.New("the connection is gone")
	if _, err := Verify(t.Context(), broken{m, gone}, []note.Verifier{verifier}, Options{Origin: origin}); !errors.Is(err, gone) {
		t.Errorf("error is %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := Verify(ctx, m, []note.Verifier{verifier}, Options{Origin: origin}); !errors.Is(err, context.Canceled) {
		t.Errorf("error is %v", err)
	}
	if _, err := Verify(t.Context(), m, nil, Options{Origin: origin}); err == nil {
		t.Error("verified without a key")
	}
	if _, err := Verify(t.Context(), m, []note.Verifier{verifier}, Options{}); err == nil {
		t.Error("verified without an origin")
	}
}

// unreadable has a leaf that no Leaf can hold.
type unreadable struct {
	*memory
	at int
}

func (u unreadable) Leaves(ctx context.Context, from, to int64, yield func(Leaf) error) error {
	return u.memory.Leaves(ctx, from, to, func(l Leaf) error {
		if l.Index == int64(u.at) {
			return fmt.Errorf("reading the leaves: %w", about(&l.Row, -1, "kind", "257 is out of range"))
		}
		return yield(l)
	})
}

// TestWhatNoFieldCanHold: a reader that meets such a value says so as a problem,
// which is a verdict, not a failure.
func TestWhatNoFieldCanHold(t *testing.T) {
	signer, _ := key(t, 1)
	m := filled(t, signer, 24, 5, 0)
	wants(t, verify(t, unreadable{m, 7}, Options{}).Problem, about(&m.leaves[7].Row, 7, "kind", "257"))
	odd := badUse("tenant-1", lifetime, "its window does not start at a whole second")
	wants(t, verify(t, broken{m, fmt.Errorf("reading the counters: %w", odd)}, Options{}).Problem, odd)
}

// reuse hands out the same memory again and again, as Reader allows.
type reuse struct{ *memory }

func (r reuse) Leaves(ctx context.Context, from, to int64, yield func(Leaf) error) error {
	return r.memory.Leaves(ctx, from, to, func(l Leaf) error {
		l.Body = bytes.Clone(l.Body)
		defer clear(l.Body)
		return yield(l)
	})
}

func (r reuse) Tiles(ctx context.Context, yield func(Tile) error) error {
	return r.memory.Tiles(ctx, func(t Tile) error {
		t.Hashes = bytes.Clone(t.Hashes)
		defer clear(t.Hashes)
		return yield(t)
	})
}

func (r reuse) Checkpoints(ctx context.Context, yield func(Checkpoint) error) error {
	return r.memory.Checkpoints(ctx, func(c Checkpoint) error {
		c.Note = bytes.Clone(c.Note)
		defer clear(c.Note)
		return yield(c)
	})
}

func TestReaderMayReuse(t *testing.T) {
	signer, _ := key(t, 1)
	m := filled(t, signer, 300, 50, 3)
	if report := verify(t, reuse{m}, Options{}); report.Problem != nil {
		t.Error(report.Problem)
	}
	m.put(flipped(t, m, 0, 0, 70))
	wants(t, verify(t, reuse{m}, Options{}).Problem, about(&m.leaves[2].Row, 2, "tile", "another hash"))
}

func TestProblemIsOneLine(t *testing.T) {
	id := idOf(1)
	for _, c := range []struct {
		p    Problem
		want string
	}{
		{Problem{What: "body", Index: 3, Last: 3, Tenant: "t", Record: id, Detail: "d"}, "leaf 3, record " + uuidText(id) + ` of tenant "t", body: d`},
		{Problem{What: "root", Index: 3, Last: 9, Detail: "d"}, "leaves 3 to 9, root: d"},
		{Problem{What: "use", Index: -1, Last: -1, Detail: "d"}, "use: d"},
	} {
		if got := c.p.String(); got != c.want {
			t.Errorf("%q, want %q", got, c.want)
		}
	}
}
