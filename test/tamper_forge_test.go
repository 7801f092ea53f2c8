package test

import (
	"bytes"
	"fmt"
	"slices"
	"testing"

	"github.com/gofrs/uuid/v5"
	"google.golang.org/protobuf/proto"

	writv1 "github.com/writpdp/writ/proto/writ/v1"
	"github.com/writpdp/writ/server/audit"
	"github.com/writpdp/writ/server/decision"
)

// about is a problem with one record.
func about(row audit.Row, index int64, what, detail string) *audit.Problem {
	return &audit.Problem{What: what, Index: index, Last: index, Tenant: row.Tenant, Record: row.ID, Detail: detail}
}

// leafOf is the first sealed record that fits, not one of the first chunk.
func (s *scene) leafOf(t *testing.T, fits func(audit.Row) bool) audit.Leaf {
	t.Helper()
	for _, l := range s.leaves[sceneChunk:] {
		if fits(l.Row) {
			return l
		}
	}
	t.Fatal("the scene has no such record")
	return audit.Leaf{}
}

// allowed is a sealed, allowed call.
func (s *scene) allowed(t *testing.T) audit.Leaf {
	t.Helper()
	return s.leafOf(t, func(r audit.Row) bool { return r.Phase == decision.Call && r.Outcome == decision.Allowed })
}

// redeeming is a sealed call that redeemed a ticket.
func (s *scene) redeeming(t *testing.T) audit.Leaf {
	t.Helper()
	return s.leafOf(t, func(r audit.Row) bool {
		return r.Kind == audit.Decision && r.Ticket != "" && r.Outcome != decision.Denied
	})
}

// unused is the record of an approved ticket that nobody redeemed.
func (s *scene) unused(t *testing.T) audit.Row {
	t.Helper()
	used := func(r audit.Row) bool {
		return slices.ContainsFunc(s.rows(), func(by audit.Row) bool {
			return by.Kind == audit.Decision && by.Outcome != decision.Denied && by.Tenant == r.Tenant && by.Ticket == r.Ticket
		})
	}
	for _, r := range s.rows() {
		if r.Kind != audit.Ticket || used(r) {
			continue
		}
		if c, err := audit.TicketChangeOf(r.Body); err == nil && c.Ticket.State == decision.TicketApproved {
			return r
		}
	}
	t.Fatal("the scene has no such ticket")
	return audit.Row{}
}

// waiting is the first record that waits and fits.
func (s *scene) waiting(t *testing.T, fits func(audit.Row) bool) audit.Row {
	t.Helper()
	i := slices.IndexFunc(s.pending, fits)
	if i < 0 {
		t.Fatal("no such record waits")
	}
	return s.pending[i]
}

// settledCall is a call that waits, with its settlement, which waits too.
func (s *scene) settledCall(t *testing.T) (call, settlement audit.Row) {
	t.Helper()
	settlement = s.waiting(t, func(r audit.Row) bool { return r.Kind == audit.Settlement })
	return s.waiting(t, func(r audit.Row) bool { return uuid.UUID(r.ID).String() == settlement.Key }), settlement
}

// stored is a record's row in its table.
func (s *scene) stored(t *testing.T, r audit.Row) values {
	t.Helper()
	return s.raw.find(t, "record", values{"id": r.ID})
}

// forget deletes a record that waits, as if it had never been.
func (s *scene) forget(t *testing.T, r audit.Row) {
	t.Helper()
	s.raw.drop(t, "pending", s.raw.find(t, "pending", values{"id": r.ID}))
	s.raw.drop(t, "record", s.stored(t, r))
}

// swap changes the places of two leaves.
func (s *scene) swap(t *testing.T, a, b int64) {
	t.Helper()
	for _, move := range [][2]int64{{a, -1}, {b, a}, {-1, b}} {
		s.raw.exec(t, "UPDATE leaf SET idx = $1 WHERE idx = $2", move[1], move[0])
	}
}

// tile is the one tile that the scene's tree has.
func (s *scene) tile(t *testing.T) values {
	t.Helper()
	return s.raw.find(t, "tile", values{"level": int64(0), "idx": int64(0)})
}

// setHash changes a leaf's hash in its tile.
func (s *scene) setHash(t *testing.T, index int64, hash [32]byte) {
	t.Helper()
	tile := s.tile(t)
	hashes := bytes.Clone(tile["hashes"].([]byte))
	copy(hashes[index*32:], hash[:])
	s.raw.set(t, "tile", tile, "hashes", hashes)
}

// span is the problem with the chunk that a leaf was sealed in.
func (s *scene) span(index int64) *audit.Problem {
	first := index / sceneChunk * sceneChunk
	last := min(first+sceneChunk, int64(len(s.leaves))) - 1
	return &audit.Problem{What: "root", Index: first, Last: last,
		Detail: fmt.Sprintf("do not give the root of the checkpoint of size %d; the tiles agree", last+1)}
}

// rewrite changes a sealed record, with all that follows from its bytes but the
// tree: another agent did it.
func (s *scene) rewrite(t *testing.T, l audit.Leaf) audit.Row {
	t.Helper()
	before := s.stored(t, l.Row)
	forged := changed(t, l.Row, func(m *writv1.Record) { m.GetDecision().Principal.Subject = "spiffe://example.org/agent/other" })
	for column, value := range s.raw.record(forged) {
		s.raw.set(t, "record", before, column, value)
	}
	return forged
}

// forge is a denial that was never asked for, right in every column and its
// hash.
func (s *scene) forge(t *testing.T) audit.Row {
	t.Helper()
	denied := s.leafOf(t, func(r audit.Row) bool { return r.Kind == audit.Decision && r.Outcome == decision.Denied })
	return changed(t, denied.Row, func(m *writv1.Record) {
		m.Id = newID(t).String()
		m.GetDecision().Response.DecisionId, m.GetDecision().Response.RequestId = m.Id, newID(t).String()
	})
}

// changed is a record with its body changed, and all columns as they follow.
func changed(t *testing.T, r audit.Row, change func(*writv1.Record)) audit.Row {
	t.Helper()
	m := &writv1.Record{}
	if err := proto.Unmarshal(r.Body, m); err != nil {
		t.Fatal(err)
	}
	change(m)
	body, err := proto.MarshalOptions{Deterministic: true}.Marshal(m)
	if err != nil {
		t.Fatal(err)
	}
	forged, err := audit.RowOf(body)
	if err != nil {
		t.Fatal(err)
	}
	return forged
}

// record is a record as a row of its table.
func (r raw) record(of audit.Row) values {
	return values{
		"tenant": of.Tenant, "id": r.id(of.ID), "kind": int64(of.Kind), "key": of.Key, "digest": of.Digest[:], "at": r.at(of.At),
		"caller": of.Caller, "principal": of.Principal, "session": of.Session, "purpose": of.Purpose, "phase": int64(of.Phase),
		"server": of.Server, "tool": of.Tool, "outcome": int64(of.Outcome), "ticket": of.Ticket, "bundle": of.Bundle,
		"body": of.Body, "leaf": of.Leaf[:],
	}
}
