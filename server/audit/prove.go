package audit

import (
	"bytes"
	"errors"
	"fmt"
	"math"

	"github.com/transparency-dev/formats/proof"
	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"
)

// maxProof bounds a proof in bytes: 63 hashes and a checkpoint with the
// signatures of many witnesses.
const maxProof = 64 << 10

// Prove returns the proof that a sealed record stands in the log, as a C2SP
// tlog-proof@v1: an inclusion proof and the checkpoint that it leads to. tile
// reads a stored tile, which may have grown since the checkpoint. The
// checkpoint and the tiles are checked first, so a proof that is returned holds.
func Prove(leaf Leaf, head Checkpoint, tile func(level int, index int64) ([]byte, error), origin string, keys ...note.Verifier) ([]byte, error) {
	tree, err := open(head, origin, note.VerifierList(keys...))
	if err != nil {
		return nil, fmt.Errorf("proving a record: %w", err)
	}
	path, err := include(leaf, tree, tile)
	if err != nil {
		return nil, fmt.Errorf("proving a record: %w", err)
	}
	out := proof.TLogProof{Index: uint64(leaf.Index), Checkpoint: head.Note}
	for _, h := range path {
		out.Hashes = append(out.Hashes, h)
	}
	return out.Marshal(), nil
}

// include is the audit path of a leaf in a tree.
func include(leaf Leaf, tree tlog.Tree, tile func(level int, index int64) ([]byte, error)) (tlog.RecordProof, error) {
	if leaf.Index < 0 || leaf.Index >= tree.N {
		return nil, fmt.Errorf("index %d is not in the checkpoint of size %d", leaf.Index, tree.N)
	}
	path, err := tlog.ProveRecord(tree.N, leaf.Index, tlog.TileHashReader(tree, tiles{read: tile, grown: true}))
	if err != nil {
		return nil, err
	}
	hash := tlog.RecordHash(leaf.Body)
	if err := tlog.CheckRecord(path, tree.N, tree.Hash, leaf.Index, hash); err != nil {
		return nil, fmt.Errorf("the record at index %d is not the one in the tree", leaf.Index)
	}
	return path, nil
}

// Proven is what a proof shows of a record.
type Proven struct {
	// Index is where it stands, Size and Root are of the checkpoint.
	Index, Size int64
	Root        [32]byte
}

// CheckProof checks offline that a proof is for a record's body, in the log of
// an origin that one of keys signs for. It reads the proof only in its one
// canonical form. Signatures of other keys are left alone.
func CheckProof(text, body []byte, origin string, keys ...note.Verifier) (Proven, error) {
	proven, err := checkProof(text, body, origin, note.VerifierList(keys...))
	if err != nil {
		return Proven{}, fmt.Errorf("checking a proof: %w", err)
	}
	return proven, nil
}

func checkProof(text, body []byte, origin string, keys note.Verifiers) (Proven, error) {
	if len(text) > maxProof {
		return Proven{}, fmt.Errorf("it is larger than %d bytes", maxProof)
	}
	var p proof.TLogProof
	if err := p.Unmarshal(text); err != nil {
		return Proven{}, err
	}
	if !bytes.Equal(p.Marshal(), text) {
		return Proven{}, errors.New("it is not in the canonical form")
	}
	tree, err := openNote(p.Checkpoint, origin, keys)
	if err != nil {
		return Proven{}, err
	}
	if p.Index > math.MaxInt64 {
		return Proven{}, errors.New("its index is out of range")
	}
	path := make(tlog.RecordProof, len(p.Hashes))
	for i, h := range p.Hashes {
		path[i] = h
	}
	if err := tlog.CheckRecord(path, tree.N, tree.Hash, int64(p.Index), tlog.RecordHash(body)); err != nil {
		return Proven{}, errors.New("it does not lead from this record to the checkpoint's root")
	}
	return Proven{Index: int64(p.Index), Size: tree.N, Root: tree.Hash}, nil
}
