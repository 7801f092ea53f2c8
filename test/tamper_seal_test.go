package test

import (
	"bytes"
	"strings"
	"testing"

	"github.com/writpdp/writ/server/audit"
)

// sealings are attacks on what the sealer rests on. It must not extend such a
// log; the error says why.
var sealings = []struct {
	name string
	do   func(*testing.T, *scene)
	says string
}{
	{"the body of a record that waits", func(t *testing.T, s *scene) {
		row := s.stored(t, s.pending[3])
		s.raw.set(t, "record", row, "body", flip(row["body"].([]byte), 40))
	}, "does not have its leaf hash"},
	{"the hash of a record that waits", func(t *testing.T, s *scene) {
		row := s.stored(t, s.pending[3])
		s.raw.set(t, "record", row, "leaf", flip(row["leaf"].([]byte), 7))
	}, "does not have its leaf hash"},
	{"the time of a record that waits", func(t *testing.T, s *scene) {
		row := s.stored(t, s.pending[3])
		s.raw.set(t, "record", row, "at", least(s.raw, row["at"])[0])
	}, "no longer wait"},
	{"the last hash of the tile", func(t *testing.T, s *scene) {
		hashes := s.tile(t)["hashes"].([]byte)
		s.raw.set(t, "tile", s.tile(t), "hashes", flip(hashes, len(hashes)-1))
	}, "checking the stored tiles against the checkpoint"},
	{"the first hash of the tile", func(t *testing.T, s *scene) {
		s.raw.set(t, "tile", s.tile(t), "hashes", flip(s.tile(t)["hashes"].([]byte), 0))
	}, "checking the stored tiles against the checkpoint"},
	{"a tile that is longer", func(t *testing.T, s *scene) {
		s.raw.set(t, "tile", s.tile(t), "hashes", append(bytes.Clone(s.tile(t)["hashes"].([]byte)), make([]byte, 32)...))
	}, "checking the stored tiles against the checkpoint"},
	{"no tile", func(t *testing.T, s *scene) { s.raw.exec(t, "DELETE FROM tile") }, audit.ErrNotFound.Error()},
	{"the signature of the newest checkpoint", func(t *testing.T, s *scene) {
		s.raw.set(t, "checkpoint", s.newest(), "note", flip(s.note, len(s.note)-6))
	}, "checking the checkpoint"},
	{"the root of the newest checkpoint", func(t *testing.T, s *scene) {
		s.raw.set(t, "checkpoint", s.newest(), "note", flip(s.note, bytes.Index(s.note, []byte("\n\n"))-5))
	}, "checking the checkpoint"},
	{"the newest checkpoint by another key", func(t *testing.T, s *scene) {
		s.raw.set(t, "checkpoint", s.newest(), "note", resigned(t, s.note))
	}, "checking the checkpoint"},
	{"the size of the newest checkpoint", func(t *testing.T, s *scene) {
		s.raw.set(t, "checkpoint", s.newest(), "size", int64(len(s.leaves)+1))
	}, "checking the checkpoint"},
	{"an older checkpoint as the newest", func(t *testing.T, s *scene) {
		s.raw.drop(t, "checkpoint", s.newest())
	}, "checking the stored tiles against the checkpoint"},
	{"no checkpoint", func(t *testing.T, s *scene) { s.raw.exec(t, "DELETE FROM checkpoint") }, "writing"},
	{"a sealed record that waits again", func(t *testing.T, s *scene) {
		s.raw.add(t, "pending", s.stored(t, s.leaves[2].Row))
	}, "writing"},
	{"a leaf beyond the newest checkpoint", func(t *testing.T, s *scene) {
		s.raw.add(t, "leaf", values{"idx": int64(len(s.leaves)), "tenant": s.pending[9].Tenant, "id": s.raw.id(s.pending[9].ID)})
	}, "writing"},
}

// newest is the newest checkpoint's key.
func (s *scene) newest() values { return values{"size": int64(len(s.leaves))} }

// The sealer refuses to build on what was tampered with: nothing is written, and
// once it is undone, sealing goes on where it was.
func TestTamperSealer(t *testing.T) {
	for engine := range engines {
		t.Run(engine, func(t *testing.T) {
			t.Parallel()
			s := newScene(t, engine)
			for _, attack := range sealings {
				t.Run(attack.name, func(t *testing.T) {
					defer s.restore(t)
					attack.do(t, s)
					before := s.counts(t)
					n, err := s.store.Seal(t.Context(), 100, s.signer.Extend)
					if err == nil || n != 0 || !strings.Contains(err.Error(), attack.says) {
						t.Errorf("sealed %d, %v; want an error that says %q", n, err, attack.says)
					}
					if after := s.counts(t); after != before {
						t.Errorf("wrote: %v rows before, %v after", before, after)
					}
					t.Log(err)
				})
			}
			if got, want := s.seal(t, 100), len(s.pending); got != want {
				t.Errorf("sealed %d, want %d", got, want)
			}
			report, err := s.verify(t, s.olderNote, s.note)
			if err != nil || report.Problem != nil || report.Leaves != int64(len(s.leaves)+len(s.pending)) || report.Pending != 0 {
				t.Errorf("found %+v, %v", report, err)
			}
		})
	}
}

// counts are the rows of the log's tables.
func (s *scene) counts(t *testing.T) [4]int {
	t.Helper()
	var n [4]int
	for i, name := range []string{"leaf", "tile", "checkpoint", "pending"} {
		n[i] = len(s.raw.all(t, name))
	}
	return n
}
