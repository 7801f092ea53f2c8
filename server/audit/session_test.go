package audit

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/proto"

	writv1 "github.com/writpdp/writ/proto/writ/v1"
	"github.com/writpdp/writ/server/decision"
)

// taken is that a caller, or somebody at the store, takes labels from a session.
func taken(caller string) *Declassification {
	d := &Declassification{At: noon.Truncate(time.Microsecond), Caller: decision.Caller{Tenant: "acme", SPIFFEID: caller}, Actor: "ann (uid 7)", RequestID: [16]byte{6: 0x70, 8: 0x80, 15: 1},
		Digest: [32]byte{1}, Session: "one", Labels: []string{"pii", "secret"}, Reason: "It was a test file.",
		Note: decision.Note{Key: decision.LabelsKey("one"), Op: decision.NoteClear, Amount: 0b1010, Guarded: true, Saw: 0b110}}
	if caller != "" {
		d.Actor, d.Ticket, d.Version, d.AdmittedBy, d.Bundle = caller, "T-1", 2, []string{"desk"}, strings.Repeat("ab", 32)
	}
	return d
}

func TestDeclassificationIsReadBack(t *testing.T) {
	for _, caller := range []string{"", "spiffe://example.org/desk"} {
		d := taken(caller)
		entry, err := Declassified([16]byte{6: 0x70, 8: 0x80, 15: 2}, d)
		if err != nil {
			t.Fatal(err)
		}
		got, err := DeclassificationOf(entry.Body)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(d, got); diff != "" {
			t.Errorf("-want +got:\n%s", diff)
		}
		if entry.Kind != Declassify || entry.Session != "one" || entry.Principal != d.Actor || len(entry.Effects) != 1+min(1, len(caller)) {
			t.Errorf("got %+v", entry)
		}
	}
}

func TestDeclassificationIsChecked(t *testing.T) {
	entry, err := Declassified([16]byte{6: 0x70, 8: 0x80, 15: 2}, taken("spiffe://example.org/desk"))
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		change func(*writv1.SessionEvent)
		want   string
	}{
		"another actor":             {func(e *writv1.SessionEvent) { e.Actor = "spiffe://example.org/other" }, "the actor is not the caller"},
		"nobody admitted it":        {func(e *writv1.SessionEvent) { e.AdmittedBy = nil }, "what admitted it"},
		"no bundle":                 {func(e *writv1.SessionEvent) { e.BundleDigest = "" }, "what admitted it"},
		"no reason":                 {func(e *writv1.SessionEvent) { e.Reason = "" }, "reason"},
		"no labels":                 {func(e *writv1.SessionEvent) { e.Labels = nil }, "no labels"},
		"labels out of order":       {func(e *writv1.SessionEvent) { e.Labels = []string{"b", "a"} }, "not in order"},
		"another session's":         {func(e *writv1.SessionEvent) { e.Note.Subject = `"two"` }, "from the session"},
		"it gives labels":           {func(e *writv1.SessionEvent) { e.Note.Op = writv1.NoteOp_NOTE_OP_JOIN }, "from the session"},
		"a note without a guard":    {func(e *writv1.SessionEvent) { e.Note.Guarded = false }, "none that a decision makes"},
		"bits that are no label's":  {func(e *writv1.SessionEvent) { e.Note.Amount = 1 << 61 }, "none that a decision makes"},
		"a counter of a budget":     {func(e *writv1.SessionEvent) { e.Note.Counter = "budget" }, "none that a decision makes"},
		"no ticket that it redeems": {func(e *writv1.SessionEvent) { e.TicketId = "" }, "redeems no ticket"},
	} {
		t.Run(name, func(t *testing.T) {
			m := &writv1.Record{}
			if err := proto.Unmarshal(entry.Body, m); err != nil {
				t.Fatal(err)
			}
			c.change(m.GetSession())
			body, err := proto.MarshalOptions{Deterministic: true}.Marshal(m)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := RowOf(body); err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v, want %q", err, c.want)
			}
		})
	}
}

// Whatever the order of the records in the log, the books come to what the store holds,
// and to nothing else.
func TestVerifySessions(t *testing.T) {
	key := decision.LabelsKey("one")
	note := func(op decision.NoteOp, amount, saw int64) decision.Note {
		return decision.Note{Key: key, Op: op, Amount: amount, Guarded: true, Saw: saw}
	}
	notes := []decision.Note{note(decision.NoteJoin, 0b110, 0), note(decision.NoteHold, 0, 0b110), note(decision.NoteClear, 0b10, 0b110), note(decision.NoteJoin, 0b10, 0b100)}
	for _, order := range [][]int{{0, 1, 2, 3}, {3, 2, 1, 0}, {2, 0, 3, 1}} {
		b := newBooks(noon)
		for _, i := range order {
			if p := b.apply(&record{Row: Row{Tenant: "acme"}}, -1, notes[i]); p != nil {
				t.Fatal(p)
			}
		}
		for held, good := range map[int64]bool{0b110: true, 0b100: false, 0b10: false, 0: false, 0b111: false} {
			c := b.counters[counter{"acme", key}]
			c.stored = false
			if p := b.use(Use{Tenant: "acme", Key: key, Used: held}); (p == nil) != good {
				t.Errorf("%v: it holds %b: %v", order, held, p)
			}
		}
		b.counters[counter{"acme", key}].stored = false
		if p := b.leftOver(); p == nil || !strings.Contains(p.Detail, "the store lacks it") {
			t.Errorf("a session that is forgotten: %v", p)
		}
	}
}
