package replay

import (
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/writpdp/writ/server/audit"
	"github.com/writpdp/writ/server/decision"
)

// Sessions hold in a replay what they would have held: labels of results, and values
// over events.
func TestWorldRemembersSessions(t *testing.T) {
	classes := map[Class]int{}
	rapid.Check(t, func(t *rapid.T) {
		draw := func(name string) *ledger {
			p := permits{not: rapid.SampledFrom([]string{"", "", "a", "b"}).Draw(t, name+" denies"),
				strict: rapid.SampledFrom([]string{"", "pii", "secret"}).Draw(t, name+" strict"), most: rapid.Int64Range(0, 4).Draw(t, name+" most")}
			b := bundle(t, name, p)
			for _, tool := range tools {
				b.Tools[tool].Labels = rapid.SampledFrom([][]string{nil, {"pii"}, {"secret"}, {"pii", "secret"}}).Draw(t, name+" labels")
			}
			rule := &b.Chains[0]
			rule.Of.Tools = rapid.SampledFrom([][]decision.ToolPattern{nil, {{Server: "s", Name: "b"}}}).Draw(t, name+" tools")
			rule.Kind = rapid.SampledFrom([]decision.ChainKind{decision.Counts, decision.Formerly}).Draw(t, name+" kind")
			switch rapid.IntRange(0, 2).Draw(t, name+" span") {
			case 0:
				rule.Length = 3600
			case 1:
				rule.Since = &decision.EventRule{Phases: []decision.Phase{decision.Result}, Labels: 1 << b.Labels["secret"]}
			}
			return newLedger(b)
		}
		before, after := draw("old"), draw("new")
		if rapid.IntRange(0, 3).Draw(t, "alike") == 0 {
			after = newLedger(before.bundle)
		}
		world := NewWorld(after.bundle, time.Time{})
		bodies := map[[16]byte][]byte{}
		var requests []*decision.Request
		at := noon
		for n := range rapid.IntRange(1, 30).Draw(t, "steps") {
			at = at.Add(time.Duration(rapid.IntRange(1, 30).Draw(t, "minutes")) * time.Minute)
			id := idOf(n + 1)
			if rapid.IntRange(0, 9).Draw(t, "declassify") == 0 {
				taken(t, before, after, world, id, at)
				continue
			}
			req := drawRequest(t, id, requests, false)
			if req.Session = rapid.SampledFrom([]string{"", "one", "two"}).Draw(t, "session"); req.Phase == decision.Result {
				i := slices.IndexFunc(requests, func(r *decision.Request) bool { return r.ID == req.CallID })
				req.Session = requests[i].Session
			}
			requests = append(requests, req)
			old, snap := before.decide(id, req, at)
			entry, _, err := audit.Decided(id, req, snap, &old)
			if err != nil {
				t.Fatal(err)
			}
			before.apply(id, &old)
			bodies[id] = entry.Body
			want, _ := after.decide(id, req, at)
			after.apply(id, &want)
			q, err := audit.QuestionOf(entry.Body, bodies[req.CallID])
			if err != nil {
				t.Fatal(err)
			}
			got := world.Decide(Prepare(after.bundle, nil, q))
			wanted := map[[2]bool]Class{{true, true}: Unchanged, {false, false}: Unchanged, {true, false}: WouldDeny, {false, true}: WouldAllow}[[2]bool{old.Allowed(), want.Allowed()}]
			if got.Class != wanted {
				t.Fatalf("step %d, a %s of %s in %q: got %v (%v), want %v\nrecorded %+v\nwanted %+v", n, req.Phase, req.Tool, req.Session, got.Class, got.Because, wanted, old.Findings, want.Findings)
			}
			classes[got.Class]++
		}
	})
	if classes[WouldDeny] == 0 || classes[WouldAllow] == 0 || classes[Unchanged] == 0 {
		t.Errorf("got %v", classes)
	}
}

// taken takes a label from a session of both ledgers and of the world.
func taken(t *rapid.T, before, after *ledger, world *World, id [16]byte, at time.Time) {
	key := decision.LabelsKey(rapid.SampledFrom([]string{"one", "two"}).Draw(t, "of"))
	label := rapid.SampledFrom([]string{"pii", "secret"}).Draw(t, "label")
	note := decision.Note{Key: key, Op: decision.NoteClear, Amount: 1 << before.bundle.Labels[label], Guarded: true, Saw: before.used[key]}
	entry, err := audit.Declassified(id, &audit.Declassification{At: at, Caller: decision.Caller{Tenant: "acme"}, Actor: "a test", RequestID: id,
		Session: key.Subject[1 : len(key.Subject)-1], Labels: []string{label}, Reason: "to test", Note: note})
	if err != nil {
		t.Fatal(err)
	}
	back, err := audit.DeclassificationOf(entry.Body)
	if err != nil {
		t.Fatal(err)
	}
	for _, l := range []*ledger{before, after} {
		l.used[key] &^= note.Amount
	}
	world.Declassify("acme", back.Note)
}
