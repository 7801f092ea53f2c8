package storetest

import (
	"bytes"
	"errors"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/writpdp/writ/server/audit"
	"github.com/writpdp/writ/server/decision"
)

func testRows(t *testing.T, place Place) {
	t.Run("EveryColumn", func(t *testing.T) { rowsColumns(t, place) })
	t.Run("Extremes", func(t *testing.T) { rowsExtremes(t, place) })
	t.Run("List", func(t *testing.T) { rowsList(t, place) })
}

// fill gives every field of a row a value of its own, so that a column that is
// forgotten, or swapped with another, is found. A field of a new type fails.
func fill(t *testing.T, row *audit.Row) {
	t.Helper()
	v := reflect.ValueOf(row).Elem()
	for i := range v.NumField() {
		field, name := v.Field(i), v.Type().Field(i).Name
		switch f := field.Addr().Interface().(type) {
		case *string:
			*f = "the " + strings.ToLower(name)
		case *[16]byte:
			*f = idOf("%s", name)
		case *[32]byte:
			*f = digest("%s", name)
		case *[]byte:
			*f = []byte("the bytes of " + name)
		case *time.Time:
			*f = time.Date(2026, 2, 3, 4, 5, 6, 789012000, time.UTC)
		case *audit.Kind:
			*f = audit.Decision
		case *decision.Phase:
			*f = decision.Result
		case *decision.Outcome:
			*f = decision.Redacted
		default:
			t.Fatalf("the field %s has a type that the suite does not know", name)
		}
	}
}

func rowsColumns(t *testing.T, place Place) {
	s := start(t, place)
	var row audit.Row
	fill(t, &row)
	commit(t, s, audit.Entry{Row: row})
	checkEverywhere(t, s, row)
}

// checkEverywhere reads a store's one row through every reader there is.
func checkEverywhere(t *testing.T, s Store, row audit.Row) {
	t.Helper()
	got, err := s.Record(t.Context(), row.Tenant, row.ID)
	if err != nil {
		t.Fatal(err)
	}
	listed, err := s.List(t.Context(), row.Tenant, [16]byte{}, 10)
	if err != nil {
		t.Fatal(err)
	}
	everybody, err := s.List(t.Context(), "", [16]byte{}, 10)
	if err != nil {
		t.Fatal(err)
	}
	pending := collect(t, s.PendingRows)
	var sealed []audit.Row
	seal(t, s, 10, func(rows []audit.Row) { sealed = append(sealed, rows...) })
	leaves := leaves(t, s, 0, 10)
	if len(listed) != 1 || len(everybody) != 1 || len(pending) != 1 || len(sealed) != 1 || len(leaves) != 1 {
		t.Fatalf("%d listed, %d of all tenants, %d waiting, %d sealed, %d leaves; want one of each",
			len(listed), len(everybody), len(pending), len(sealed), len(leaves))
	}
	for from, got := range map[string]audit.Row{
		"Record": got, "List": listed[0], "List of every tenant": everybody[0], "PendingRows": pending[0], "Seal": sealed[0], "Leaves": leaves[0].Row,
	} {
		if !bytes.Equal(row.Body, got.Body) {
			t.Errorf("%s: the body of %d bytes is not the one of %d bytes", from, len(got.Body), len(row.Body))
		}
		want := row
		want.Body, got.Body = nil, nil // may be too large to compare by parts
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", from, diff)
		}
	}
}

// rowsExtremes stores the empty and the large.
func rowsExtremes(t *testing.T, place Place) {
	t.Run("Empty", func(t *testing.T) {
		s := start(t, place)
		row := audit.Row{Tenant: "t", Kind: audit.Settlement, Key: "k", At: time.Unix(0, 0).UTC(), Body: []byte{0}}
		commit(t, s, audit.Entry{Row: row})
		checkEverywhere(t, s, row)
	})
	t.Run("Large", func(t *testing.T) {
		s := start(t, place)
		row := entry("k", "1").Row
		row.Tenant, row.Key, row.Session = strings.Repeat("t", 128), strings.Repeat("k", 128), strings.Repeat("s", 128)
		row.Principal, row.Caller = strings.Repeat("→", 600), `"'\%_;--{}[],`
		row.Body = make([]byte, audit.MaxBody)
		for i := range row.Body {
			row.Body[i] = byte(i * i >> 8)
		}
		commit(t, s, audit.Entry{Row: row, Effects: []decision.Effect{
			decision.Charge{Key: decision.BudgetKey{Budget: strings.Repeat("b", 128), Subject: noise(2048)}, Amount: 1, Cap: 1},
		}})
		checkEverywhere(t, s, row)
	})
}

// noise is text that does not compress.
func noise(n int) string {
	var b strings.Builder
	for i := 0; b.Len() < n; i++ {
		for _, c := range digest("%d", i) {
			b.WriteByte('!' + c%90)
		}
	}
	return b.String()[:n]
}

func rowsList(t *testing.T, place Place) {
	s := start(t, place)
	const n = 25
	for i := range n {
		e := entry(string(rune('a'+i)), "1")
		e.ID = [16]byte{1, byte(i)}
		e.Tenant = []string{"acme", "bolt", "acme", "corp"}[i%4]
		commit(t, s, e)
	}
	for tenant, want := range map[string]int{"acme": 13, "bolt": 6, "corp": 6, "": n, "nobody": 0} {
		var seen [][16]byte
		var after [16]byte
		for {
			rows, err := s.List(t.Context(), tenant, after, 4)
			if err != nil {
				t.Fatal(err)
			}
			if len(rows) == 0 {
				break
			}
			if len(rows) > 4 {
				t.Fatalf("a page has %d records", len(rows))
			}
			for _, r := range rows {
				if tenant != "" && r.Tenant != tenant {
					t.Errorf("a record of %s among those of %s", r.Tenant, tenant)
				}
				seen = append(seen, r.ID)
			}
			after = rows[len(rows)-1].ID
		}
		if got := len(seen); got != want {
			t.Errorf("%d records of %q, want %d", got, tenant, want)
		}
		for i := 1; i < len(seen); i++ {
			if string(seen[i][:]) >= string(seen[i-1][:]) {
				t.Errorf("%x stands after %x", seen[i], seen[i-1])
			}
		}
	}
	for _, limit := range []int{-1, 0, 1 << 40} {
		if rows, err := s.List(t.Context(), "", [16]byte{}, limit); err != nil || len(rows) == 0 {
			t.Errorf("a limit of %d: %d records, %v", limit, len(rows), err)
		}
	}
	if _, err := s.Record(t.Context(), "acme", idOf("none")); !errors.Is(err, audit.ErrNotFound) {
		t.Errorf("no such record: got %v, want %v", err, audit.ErrNotFound)
	}
}
