package test

import (
	"bytes"
	"crypto/rand"
	"fmt"
	"strings"
	"testing"

	"golang.org/x/mod/sumdb/note"

	"github.com/writpdp/writ/clients/go/writtest"
	"github.com/writpdp/writ/server/audit"
	"github.com/writpdp/writ/server/decision"
)

// attacks are what whoever may write to the tables could want to do. Each does
// it and returns what must be found; Detail is a part of the problem's.
var attacks = []struct {
	name string
	do   func(*testing.T, *scene) *audit.Problem
}{
	{"delete a sealed record", func(t *testing.T, s *scene) *audit.Problem {
		l := s.allowed(t)
		s.raw.drop(t, "record", s.stored(t, l.Row))
		return about(l.Row, l.Index, "body", "missing")
	}},
	{"delete a sealed record and its leaf", func(t *testing.T, s *scene) *audit.Problem {
		l := s.allowed(t)
		s.raw.drop(t, "record", s.stored(t, l.Row))
		s.raw.drop(t, "leaf", s.raw.find(t, "leaf", values{"id": l.ID}))
		return about(s.leaves[l.Index+1].Row, l.Index, "index", "")
	}},
	{"delete a record and close the gap", func(t *testing.T, s *scene) *audit.Problem {
		l := s.allowed(t)
		s.raw.drop(t, "record", s.stored(t, l.Row))
		s.raw.exec(t, "DELETE FROM leaf WHERE idx = $1", l.Index)
		for i := l.Index + 1; i < int64(len(s.leaves)); i++ {
			s.raw.exec(t, "UPDATE leaf SET idx = $1 WHERE idx = $2", i-1, i)
		}
		return about(s.leaves[l.Index+1].Row, l.Index, "leaf", "another record's hash")
	}},
	{"delete the last leaf", func(t *testing.T, s *scene) *audit.Problem {
		last := int64(len(s.leaves) - 1)
		s.raw.exec(t, "DELETE FROM leaf WHERE idx = $1", last)
		return &audit.Problem{What: "index", Index: last, Last: last, Detail: "missing"}
	}},
	{"take the last leaf back into the waiting ones", func(t *testing.T, s *scene) *audit.Problem {
		last := s.leaves[len(s.leaves)-1]
		s.raw.exec(t, "DELETE FROM leaf WHERE idx = $1", last.Index)
		s.raw.add(t, "pending", s.stored(t, last.Row))
		return &audit.Problem{What: "index", Index: last.Index, Last: last.Index, Detail: "missing"}
	}},
	{"swap two leaves", func(t *testing.T, s *scene) *audit.Problem {
		s.swap(t, 9, 11)
		return about(s.leaves[11].Row, 9, "leaf", "another record's hash")
	}},
	{"swap two leaves and their hashes in the tile", func(t *testing.T, s *scene) *audit.Problem {
		s.swap(t, 9, 11)
		s.setHash(t, 9, s.leaves[11].Leaf)
		s.setHash(t, 11, s.leaves[9].Leaf)
		return s.span(9)
	}},
	{"change a record with all its columns and its hash", func(t *testing.T, s *scene) *audit.Problem {
		l := s.allowed(t)
		forged := s.rewrite(t, l)
		return about(forged, l.Index, "leaf", "another record's hash")
	}},
	{"change a record with all its columns, its hash and the tile", func(t *testing.T, s *scene) *audit.Problem {
		l := s.allowed(t)
		forged := s.rewrite(t, l)
		s.setHash(t, l.Index, forged.Leaf)
		return s.span(l.Index)
	}},
	{"make a denial an allow", func(t *testing.T, s *scene) *audit.Problem {
		l := s.leafOf(t, func(r audit.Row) bool { return r.Kind == audit.Decision && r.Outcome == decision.Denied })
		s.raw.set(t, "record", s.stored(t, l.Row), "outcome", int64(decision.Allowed))
		return about(l.Row, l.Index, "outcome", "")
	}},
	{"give a record to another tenant", func(t *testing.T, s *scene) *audit.Problem {
		l := s.allowed(t)
		s.raw.set(t, "record", s.stored(t, l.Row), "tenant", "evil")
		s.raw.set(t, "leaf", values{"idx": l.Index}, "tenant", "evil")
		return about(l.Row, l.Index, "tenant", "")
	}},
	{"insert a record without a leaf", func(t *testing.T, s *scene) *audit.Problem {
		forged := s.forge(t)
		s.raw.add(t, "record", s.raw.record(forged))
		return about(forged, -1, "orphan", "")
	}},
	{"insert a record as a leaf between others", func(t *testing.T, s *scene) *audit.Problem {
		forged := s.forge(t)
		s.raw.add(t, "record", s.raw.record(forged))
		for i := int64(len(s.leaves)) - 1; i >= 20; i-- {
			s.raw.exec(t, "UPDATE leaf SET idx = $1 WHERE idx = $2", i+1, i)
		}
		s.raw.add(t, "leaf", values{"idx": int64(20), "tenant": forged.Tenant, "id": s.raw.id(forged.ID)})
		return about(forged, 20, "leaf", "another record's hash")
	}},
	{"append a leaf", func(t *testing.T, s *scene) *audit.Problem {
		forged, size := s.forge(t), int64(len(s.leaves))
		s.raw.add(t, "record", s.raw.record(forged))
		s.raw.add(t, "leaf", values{"idx": size, "tenant": forged.Tenant, "id": s.raw.id(forged.ID)})
		return &audit.Problem{What: "checkpoint", Index: size, Last: size, Detail: "no checkpoint covers"}
	}},
	{"append a waiting record as a leaf", func(t *testing.T, s *scene) *audit.Problem {
		size := int64(len(s.leaves))
		s.raw.drop(t, "pending", s.raw.find(t, "pending", values{"id": s.pending[0].ID}))
		s.raw.add(t, "leaf", values{"idx": size, "tenant": s.pending[0].Tenant, "id": s.raw.id(s.pending[0].ID)})
		return &audit.Problem{What: "checkpoint", Index: size, Last: size, Detail: "no checkpoint covers"}
	}},
	{"let a sealed record wait again", func(t *testing.T, s *scene) *audit.Problem {
		l := s.allowed(t)
		s.raw.add(t, "pending", s.stored(t, l.Row))
		return about(l.Row, -1, "id", "another record")
	}},
	{"delete a record that waits", func(t *testing.T, s *scene) *audit.Problem {
		s.raw.drop(t, "record", s.stored(t, s.pending[2]))
		return about(s.pending[2], -1, "body", "")
	}},
	{"keep a record from being sealed", func(t *testing.T, s *scene) *audit.Problem {
		s.raw.drop(t, "pending", s.raw.find(t, "pending", values{"id": s.pending[2].ID}))
		return about(s.pending[2], -1, "orphan", "")
	}},
	{"delete an allowed call before it is sealed", func(t *testing.T, s *scene) *audit.Problem {
		call, settlement := s.settledCall(t)
		s.forget(t, call)
		return about(settlement, -1, "settlement", settlement.Key)
	}},
	{"delete an allowed call and its settlement before they are sealed", func(t *testing.T, s *scene) *audit.Problem {
		call, settlement := s.settledCall(t)
		s.forget(t, call)
		s.forget(t, settlement)
		return &audit.Problem{What: "use", Index: -1, Last: -1, Tenant: call.Tenant, Detail: call.Principal}
	}},
	{"delete an allowed result before it is sealed", func(t *testing.T, s *scene) *audit.Problem {
		row := s.waiting(t, func(r audit.Row) bool { return r.Phase == decision.Result })
		s.forget(t, row) // and with it what gave the session its labels
		return &audit.Problem{What: "use", Index: -1, Last: -1, Tenant: row.Tenant, Detail: decision.LabelsKey(row.Session).Budget}
	}},
	{"take its labels from a session", func(t *testing.T, s *scene) *audit.Problem {
		c := labelled(s.raw.all(t, "budget_use"))
		s.raw.set(t, "budget_use", c, "used", c["used"].(int64)&(c["used"].(int64)-1))
		return &audit.Problem{What: "use", Index: -1, Last: -1, Tenant: c["tenant"].(string), Detail: "labels/session"}
	}},
	{"give a session labels", func(t *testing.T, s *scene) *audit.Problem {
		c := labelled(s.raw.all(t, "budget_use"))
		s.raw.set(t, "budget_use", c, "used", c["used"].(int64)|1<<40)
		return &audit.Problem{What: "use", Index: -1, Last: -1, Tenant: c["tenant"].(string), Detail: "labels/session"}
	}},
	{"forget a session", func(t *testing.T, s *scene) *audit.Problem {
		c := labelled(s.raw.all(t, "budget_use"))
		s.raw.drop(t, "budget_use", c)
		return &audit.Problem{What: "use", Index: -1, Last: -1, Tenant: c["tenant"].(string), Detail: "labels/session"}
	}},
	{"put an older rollout into force", func(t *testing.T, s *scene) *audit.Problem {
		l := s.leafOf(t, func(r audit.Row) bool { return r.Kind == audit.Change })
		s.raw.set(t, "rollout", values{"version": int64(3)}, "record", s.raw.id(l.ID))
		row := s.waiting(t, func(r audit.Row) bool { return r.Kind == audit.Change })
		return about(row, -1, "rollout", "another record's")
	}},
	{"take the newest rollout out of force", func(t *testing.T, s *scene) *audit.Problem {
		s.raw.drop(t, "rollout", values{"version": int64(3)})
		row := s.waiting(t, func(r audit.Row) bool { return r.Kind == audit.Change })
		return about(row, -1, "rollout", "the store lacks it")
	}},
	{"put older locks into force", func(t *testing.T, s *scene) *audit.Problem {
		l := s.leafOf(t, func(r audit.Row) bool { return r.Kind == audit.Lock })
		s.raw.set(t, "lock_version", values{"version": int64(4)}, "record", s.raw.id(l.ID))
		row := s.waiting(t, func(r audit.Row) bool { return r.Kind == audit.Lock })
		return about(row, -1, "control", "another record's")
	}},
	{"take the newest lock away", func(t *testing.T, s *scene) *audit.Problem {
		s.raw.drop(t, "lock_version", values{"version": int64(4)})
		row := s.waiting(t, func(r audit.Row) bool { return r.Kind == audit.Lock })
		return about(row, -1, "control", "the store lacks it")
	}},
	{"take a change of a budget away", func(t *testing.T, s *scene) *audit.Problem {
		s.raw.drop(t, "lock_version", values{"version": int64(3)})
		l := s.leafOf(t, func(r audit.Row) bool { return r.Kind == audit.Budget })
		return about(l.Row, l.Index, "control", "the store lacks it")
	}},
	{"give the ticket of a change of a budget back", func(t *testing.T, s *scene) *audit.Problem {
		l := s.leafOf(t, func(r audit.Row) bool { return r.Kind == audit.Budget })
		s.raw.exec(t, "DELETE FROM ticket_use WHERE ticket = $1", "CHG-MORE")
		return about(l.Row, l.Index, "redemption", "the store has no such use")
	}},
	{"delete the archive of a bundle in force", func(t *testing.T, s *scene) *audit.Problem {
		l := s.leafOf(t, func(r audit.Row) bool { return r.Kind == audit.Change })
		s.raw.exec(t, "DELETE FROM bundle WHERE archive = $1", []byte("first"))
		p := about(l.Row, -1, "archive", "the store lacks it")
		p.Record = s.raw.first(t)
		return p
	}},
	{"put other files into a bundle in force", func(t *testing.T, s *scene) *audit.Problem {
		s.raw.exec(t, "UPDATE bundle SET archive = $1 WHERE archive = $2", []byte("other"), []byte("first"))
		return &audit.Problem{What: "archive", Index: -1, Last: -1, Detail: "not what it was"}
	}},
	{"delete the tile", func(t *testing.T, s *scene) *audit.Problem {
		s.raw.exec(t, "DELETE FROM tile")
		return &audit.Problem{What: "tile", Index: -1, Last: -1, Detail: "tile 0 of level 0: it is missing"}
	}},
	{"cut the tile short", func(t *testing.T, s *scene) *audit.Problem {
		tile := s.tile(t)
		s.raw.set(t, "tile", tile, "hashes", tile["hashes"].([]byte)[32:])
		return &audit.Problem{What: "tile", Index: -1, Last: -1, Detail: "tile 0 of level 0"}
	}},
	{"add a tile", func(t *testing.T, s *scene) *audit.Problem {
		s.raw.add(t, "tile", values{"level": int64(1), "idx": int64(0), "hashes": make([]byte, 32)})
		return &audit.Problem{What: "tile", Index: -1, Last: -1, Detail: "tile 0 of level 1: the tree has no such tile"}
	}},
	{"delete the newest checkpoint", func(t *testing.T, s *scene) *audit.Problem {
		s.raw.drop(t, "checkpoint", values{"size": int64(len(s.leaves))})
		covered := int64(len(s.leaves)-1) / sceneChunk * sceneChunk
		return &audit.Problem{What: "checkpoint", Index: covered, Last: int64(len(s.leaves)) - 1, Detail: "no checkpoint covers"}
	}},
	{"delete every checkpoint", func(t *testing.T, s *scene) *audit.Problem {
		s.raw.exec(t, "DELETE FROM checkpoint")
		return &audit.Problem{What: "checkpoint", Index: 0, Last: int64(len(s.leaves)) - 1, Detail: "no checkpoint covers"}
	}},
	{"sign a checkpoint with another key", func(t *testing.T, s *scene) *audit.Problem {
		s.raw.set(t, "checkpoint", values{"size": int64(14)}, "note", resigned(t, s.olderNote))
		return &audit.Problem{What: "checkpoint", Index: -1, Last: -1, Detail: "checkpoint of size 14: "}
	}},
	{"sign a false checkpoint with another key", func(t *testing.T, s *scene) *audit.Problem {
		size := int64(len(s.leaves) + 5)
		text := bytes.Replace(s.note, fmt.Appendf(nil, "\n%d\n", len(s.leaves)), fmt.Appendf(nil, "\n%d\n", size), 1)
		s.raw.add(t, "checkpoint", values{"size": size, "note": resigned(t, text)})
		return &audit.Problem{What: "checkpoint", Index: -1, Last: -1, Detail: fmt.Sprintf("checkpoint of size %d: ", size)}
	}},
	{"put a checkpoint in another's place", func(t *testing.T, s *scene) *audit.Problem {
		s.raw.set(t, "checkpoint", values{"size": int64(7)}, "note", s.olderNote)
		return &audit.Problem{What: "checkpoint", Index: -1, Last: -1, Detail: "checkpoint of size 7: it says size 14"}
	}},
	{"delete a counter", func(t *testing.T, s *scene) *audit.Problem {
		c := charged(s.raw.all(t, "budget_use"))[0]
		s.raw.drop(t, "budget_use", c)
		return &audit.Problem{What: "use", Index: -1, Last: -1, Tenant: c["tenant"].(string), Detail: "the store lacks it"}
	}},
	{"reset a counter", func(t *testing.T, s *scene) *audit.Problem {
		c := charged(s.raw.all(t, "budget_use"))[0]
		s.raw.set(t, "budget_use", c, "used", int64(0))
		return &audit.Problem{What: "use", Index: -1, Last: -1, Tenant: c["tenant"].(string), Detail: "the store lacks it"}
	}},
	{"fill a counter that nothing has charged", func(t *testing.T, s *scene) *audit.Problem {
		c := s.raw.all(t, "budget_use")[0]
		c["subject"], c["used"] = "somebody", int64(3)
		s.raw.add(t, "budget_use", c)
		return &audit.Problem{What: "use", Index: -1, Last: -1, Tenant: c["tenant"].(string), Detail: "no record has charged it"}
	}},
	{"delete a used token", func(t *testing.T, s *scene) *audit.Problem {
		l := s.allowed(t)
		table, token := s.raw.partition(t, "used_token", values{"record": l.ID})
		s.raw.drop(t, table, token)
		return about(l.Row, l.Index, "used token", "does not remember")
	}},
	{"use up a token that nobody used", func(t *testing.T, s *scene) *audit.Problem {
		l := s.allowed(t)
		table, token := s.raw.partition(t, "used_token", values{"record": l.ID})
		token["token"] = flip(token["token"].([]byte), 0)
		s.raw.add(t, table, token)
		return about(l.Row, -1, "used token", "no record used")
	}},
	{"delete a use of a ticket", func(t *testing.T, s *scene) *audit.Problem {
		l := s.redeeming(t)
		s.raw.drop(t, "ticket_use", s.raw.find(t, "ticket_use", values{"record": l.ID}))
		return about(l.Row, l.Index, "redemption", l.Ticket)
	}},
	{"delete a ticket that was used", func(t *testing.T, s *scene) *audit.Problem {
		l := s.redeeming(t)
		s.raw.drop(t, "ticket", values{"tenant": l.Tenant, "id": l.Ticket})
		return &audit.Problem{What: "ticket", Index: -1, Last: -1, Tenant: l.Tenant, Detail: l.Ticket}
	}},
	{"delete a ticket that was never used", func(t *testing.T, s *scene) *audit.Problem {
		row := s.unused(t)
		s.raw.drop(t, "ticket", values{"tenant": row.Tenant, "id": row.Ticket})
		return &audit.Problem{What: "ticket", Index: -1, Last: -1, Tenant: row.Tenant, Detail: row.Ticket}
	}},
	{"approve a ticket", func(t *testing.T, s *scene) *audit.Problem {
		row := s.unused(t)
		s.raw.set(t, "ticket", values{"tenant": row.Tenant, "id": row.Ticket}, "state", int64(decision.TicketRequested))
		return &audit.Problem{What: "ticket", Index: -1, Last: -1, Tenant: row.Tenant, Detail: row.Ticket}
	}},
	{"make a ticket whole again", func(t *testing.T, s *scene) *audit.Problem {
		l := s.redeeming(t)
		s.raw.set(t, "ticket", values{"tenant": l.Tenant, "id": l.Ticket}, "uses", int64(0))
		s.raw.drop(t, "ticket_use", s.raw.find(t, "ticket_use", values{"record": l.ID}))
		return about(l.Row, l.Index, "redemption", l.Ticket)
	}},
	{"cut off all behind an older checkpoint", func(t *testing.T, s *scene) *audit.Problem {
		s.raw.exec(t, "DELETE FROM checkpoint WHERE size > 14")
		s.raw.exec(t, "DELETE FROM pending")
		for _, row := range s.rows()[14:] {
			s.raw.drop(t, "record", s.stored(t, row))
		}
		s.raw.exec(t, "DELETE FROM leaf WHERE idx >= 14")
		tile := s.tile(t)
		s.raw.set(t, "tile", tile, "hashes", tile["hashes"].([]byte)[:14*32])
		return &audit.Problem{What: "use", Index: -1, Last: -1}
	}},
}

// Every attack is found, and is named. Undone, all is well again.
func TestTamperAttacks(t *testing.T) {
	for engine := range engines {
		t.Run(engine, func(t *testing.T) {
			t.Parallel()
			s := newScene(t, engine)
			s.whole(t)
			for _, attack := range attacks {
				t.Run(attack.name, func(t *testing.T) {
					defer s.restore(t)
					want := attack.do(t, s)
					report, err := s.verify(t)
					if err != nil {
						t.Fatal(err)
					}
					expect(t, report.Problem, want)
				})
			}
			t.Run("set the store back whole", func(t *testing.T) { setBack(t, s) })
			t.Run("what nobody can see", func(t *testing.T) { unseen(t, s) })
		})
	}
}

// expect compares what was found with what is wanted.
func expect(t *testing.T, got, want *audit.Problem) {
	t.Helper()
	if got == nil {
		t.Fatalf("nothing was found, want %s", want)
	}
	t.Log(got)
	if got.What != want.What || got.Index != want.Index || got.Last != want.Last || got.Record != want.Record ||
		want.Tenant != "" && got.Tenant != want.Tenant || !strings.Contains(got.Detail, want.Detail) {
		t.Errorf("found %s (%q)\n want %s (%q)", got, got.Tenant, want, want.Tenant)
	}
}

// setBack: a store that was set back to an older state fits in itself. Whoever
// kept a newer checkpoint elsewhere sees it.
func setBack(t *testing.T, s *scene) {
	defer s.restore(t)
	s.raw.restore(t, s.older)
	for _, known := range [][][]byte{nil, {s.olderNote}} {
		if report, err := s.verify(t, known...); err != nil || report.Problem != nil {
			t.Errorf("with %d known checkpoints: %v, %v", len(known), report.Problem, err)
		}
	}
	report, err := s.verify(t, s.note)
	if err != nil {
		t.Fatal(err)
	}
	expect(t, report.Problem, &audit.Problem{What: "index", Index: 14, Last: int64(len(s.leaves)) - 1, Detail: "missing"})
}

// unseen is what no verification can find, so that its limits are known: the
// log vouches for what was sealed and for what that has changed.
func unseen(t *testing.T, s *scene) {
	for name, do := range map[string]func(){
		// A later checkpoint vouches for the same records.
		"delete an older checkpoint": func() { s.raw.drop(t, "checkpoint", values{"size": int64(14)}) },
		// It has changed nothing. Its receipt names a record that is not there.
		"delete a denial before it is sealed": func() {
			s.forget(t, s.waiting(t, func(r audit.Row) bool { return r.Kind == audit.Decision && r.Outcome == decision.Denied }))
		},
		// Whoever can do this could as well have asked.
		"add a denial that is not sealed": func() {
			forged := s.forge(t)
			s.raw.add(t, "record", s.raw.record(forged))
			s.raw.add(t, "pending", s.raw.record(forged))
		},
	} {
		t.Run(name, func(t *testing.T) {
			defer s.restore(t)
			do()
			if report, err := s.verify(t, s.olderNote, s.note); err != nil || report.Problem != nil {
				t.Errorf("found %v, %v", report.Problem, err)
			}
		})
	}
}

// resigned is a checkpoint's text, signed by another key of the same name.
func resigned(t *testing.T, text []byte) []byte {
	t.Helper()
	private, _, err := note.GenerateKey(rand.Reader, writtest.Origin)
	if err != nil {
		t.Fatal(err)
	}
	signer, err := note.NewSigner(private)
	if err != nil {
		t.Fatal(err)
	}
	body, _, _ := bytes.Cut(text, []byte("\n\n"))
	signed, err := note.Sign(&note.Note{Text: string(body) + "\n"}, signer)
	if err != nil {
		t.Fatal(err)
	}
	return signed
}

// labelled is the first counter of a session's labels.
func labelled(rows []values) values {
	for _, r := range rows {
		if r["budget"] == "labels/session" && r["used"].(int64) != 0 {
			return r
		}
	}
	return nil
}
