package storetest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/writpdp/writ/server/audit"
	"github.com/writpdp/writ/server/decision"
)

// testRead reads a store of a little of everything through each reader.
func testRead(t *testing.T, place Place) {
	s := start(t, place)
	for _, tenant := range []string{"bolt", "acme"} {
		create(t, s, tenant, ticket("CHG-1", 9))
	}
	early := decision.BudgetKey{Budget: "calls", Subject: `"acme"`}
	for i, e := range []audit.Entry{
		entry("a", "1", charge(2, 9), consume("a"), redeem("CHG-1"), decision.Charge{Key: early, Amount: 5, Cap: 9}),
		of("bolt", entry("b", "1", charge(3, 9), consume("b"), redeem("CHG-1"))),
		entry("c", "1", charge(4, 9), consume("c"), redeem("CHG-1")),
	} {
		commit(t, s, e)
		if i == 1 {
			seal(t, s, 10, nil)
		}
	}
	t.Run("Uses", func(t *testing.T) {
		want := []audit.Use{{Tenant: "acme", Key: early, Used: 5}, {Tenant: "acme", Key: calls, Used: 6}, {Tenant: "bolt", Key: calls, Used: 3}}
		if diff := cmp.Diff(want, collect(t, s.Uses)); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
	})
	t.Run("Effects", func(t *testing.T) { readEffects(t, s) })
	t.Run("LeafOf", func(t *testing.T) {
		if _, sealed, err := s.LeafOf(t.Context(), "acme", entry("c", "1").ID); err != nil || sealed {
			t.Errorf("of one that waits: %v, %v", sealed, err)
		}
		if _, _, err := s.LeafOf(t.Context(), "acme", idOf("none")); !errors.Is(err, audit.ErrNotFound) {
			t.Errorf("of none: got %v, want %v", err, audit.ErrNotFound)
		}
	})
	t.Run("Records", func(t *testing.T) { readRecords(t, s) })
	t.Run("Stop", func(t *testing.T) { readStop(t, s) })
	t.Run("Interleaved", func(t *testing.T) { readInterleaved(t, s) })
}

// readEffects reads what the three records used up.
func readEffects(t *testing.T, s Store) {
	redemptions, tokens := map[audit.Redemption]bool{}, map[audit.UsedToken]bool{}
	for key, tenant := range map[string]string{"a": "acme", "b": "bolt", "c": "acme"} {
		id, used := entry(key, "1").ID, consume(key)
		redemptions[audit.Redemption{Tenant: tenant, Ticket: "CHG-1", Record: id}] = true
		tokens[audit.UsedToken{Tenant: tenant, Token: used.Token, Record: id, Expires: used.Expires}] = true
	}
	if diff := cmp.Diff(redemptions, set(collect(t, s.Redemptions))); diff != "" {
		t.Errorf("redemptions (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(tokens, set(collect(t, s.UsedTokens))); diff != "" {
		t.Errorf("tokens (-want +got):\n%s", diff)
	}
	rows := map[audit.TicketRow]bool{}
	for tenant, uses := range map[string]int64{"acme": 2, "bolt": 1} {
		rows[audit.TicketRow{Tenant: tenant, Ticket: "CHG-1", Version: 1, State: decision.TicketApproved, Record: ticketed(t, tenant, ticket("CHG-1", 9)).ID,
			MaxUses: 9, Uses: uses}] = true
	}
	if diff := cmp.Diff(rows, set(collect(t, s.TicketRows))); diff != "" {
		t.Errorf("tickets (-want +got):\n%s", diff)
	}
}

func set[T comparable](all []T) map[T]bool {
	m := map[T]bool{}
	for _, one := range all {
		m[one] = true
	}
	return m
}

// readRecords reads the records of decisions and tickets, sealed or not, by tenant and id.
func readRecords(t *testing.T, s Store) {
	least, most := [16]byte{}, [16]byte(bytes.Repeat([]byte{0xff}, 16))
	a, b, c := entry("a", "1").Row, of("bolt", entry("b", "1")).Row, entry("c", "1").Row
	made, others := ticketed(t, "acme", ticket("CHG-1", 9)).Row, ticketed(t, "bolt", ticket("CHG-1", 9)).Row
	byID := func(rows ...audit.Row) []audit.Row {
		slices.SortFunc(rows, func(a, b audit.Row) int { return bytes.Compare(a.ID[:], b.ID[:]) })
		return rows
	}
	before := func(one audit.Row, rows ...audit.Row) []audit.Row {
		return slices.DeleteFunc(byID(rows...), func(r audit.Row) bool { return bytes.Compare(r.ID[:], one.ID[:]) >= 0 })
	}
	from := func(one audit.Row, rows ...audit.Row) []audit.Row {
		return slices.DeleteFunc(byID(rows...), func(r audit.Row) bool { return bytes.Compare(r.ID[:], one.ID[:]) < 0 })
	}
	for _, test := range []struct {
		name, tenant string
		from, to     [16]byte
		want         []audit.Row
	}{
		{"all", "", least, most, append(byID(a, c, made), byID(b, others)...)},
		{"a tenant's", "acme", least, most, byID(a, c, made)},
		{"another's", "bolt", least, most, byID(b, others)},
		{"nobody's", "cove", least, most, nil},
		{"of a name that needs quoting", "a'; DROP TABLE record; --", least, most, nil},
		{"from one on", "acme", made.ID, most, from(made, a, c, made)},
		{"before one", "acme", least, made.ID, before(made, a, c)},
		{"none", "acme", c.ID, c.ID, nil},
	} {
		got := collect(t, func(ctx context.Context, yield func(audit.Row) error) error {
			return s.View(ctx, func(r audit.Reader) error { return r.Records(ctx, test.tenant, test.from, test.to, yield) })
		})
		if diff := cmp.Diff(test.want, got, cmpopts.EquateEmpty()); diff != "" {
			t.Errorf("%s (-want +got):\n%s", test.name, diff)
		}
		if n, err := s.CountRecords(t.Context(), test.tenant, test.from, test.to); err != nil || n != int64(len(test.want)) {
			t.Errorf("%s: counted %d, %v, want %d", test.name, n, err, len(test.want))
		}
	}
}

// readStop ends every stream by an error of its caller's.
func readStop(t *testing.T, s Store) {
	stop := errors.New("enough")
	ctx := t.Context()
	commit(t, s, entry("waits", "1"))
	for name, read := range map[string]func() error{
		"Checkpoints": func() error { return s.Checkpoints(ctx, func(audit.Checkpoint) error { return stop }) },
		"Leaves":      func() error { return s.Leaves(ctx, 0, 9, func(audit.Leaf) error { return stop }) },
		"PendingRows": func() error { return s.PendingRows(ctx, func(audit.Row) error { return stop }) },
		"Records": func() error {
			return s.Records(ctx, "", [16]byte{}, [16]byte(bytes.Repeat([]byte{0xff}, 16)), func(audit.Row) error { return stop })
		},
		"Uses":        func() error { return s.Uses(ctx, func(audit.Use) error { return stop }) },
		"Redemptions": func() error { return s.Redemptions(ctx, func(audit.Redemption) error { return stop }) },
		"TicketRows":  func() error { return s.TicketRows(ctx, func(audit.TicketRow) error { return stop }) },
		"UsedTokens":  func() error { return s.UsedTokens(ctx, func(audit.UsedToken) error { return stop }) },
		"View":        func() error { return s.View(ctx, func(audit.Reader) error { return stop }) },
	} {
		for range 40 { // as many as to run out of connections, were one lost
			if err := read(); !errors.Is(err, stop) {
				t.Fatalf("%s: got %v, want %v", name, err, stop)
			}
		}
	}
	gone, cancel := context.WithCancel(ctx)
	cancel()
	if err := s.Leaves(gone, 0, 9, func(audit.Leaf) error { return nil }); err == nil {
		t.Error("a reader who left: no error")
	}
	if _, err := s.Snapshot(gone, decision.Want{Tenant: "acme"}); err == nil {
		t.Error("a snapshot for one who left: no error")
	}
}

// readInterleaved reads and commits while a stream is open.
func readInterleaved(t *testing.T, s Store) {
	err := s.PendingRows(t.Context(), func(row audit.Row) error {
		if _, err := s.Record(t.Context(), row.Tenant, row.ID); err != nil {
			return err
		}
		_, err := s.Commit(t.Context(), entry(fmt.Sprintf("beside %x", row.ID), "1"))
		return err
	})
	if err != nil {
		t.Error(err)
	}
}
