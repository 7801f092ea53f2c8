package audit

import (
	"bytes"
	"strings"
	"testing"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"
)

// TestAllProofs makes the audit path of every record in every tree up to 300
// from the tiles of the largest, as a store has them.
func TestAllProofs(t *testing.T) {
	signer, _ := key(t, 1)
	rows, m, tree := blanks(300), &memory{}, stored{}
	m.pending = rows
	if err := m.seal(len(rows), signer.Extend); err != nil {
		t.Fatal(err)
	}
	for i, row := range rows {
		tree.add(t, int64(i), tlog.Hash(row.Leaf))
	}
	for size := int64(1); size <= 300; size++ {
		root, err := tlog.TreeHash(size, &tree)
		if err != nil {
			t.Fatal(err)
		}
		for index := range size {
			path, err := include(m.leaves[index], tlog.Tree{N: size, Hash: root}, m.tile)
			if err != nil {
				t.Fatalf("index %d of %d: %v", index, size, err)
			}
			if err := tlog.CheckRecord(path, size, root, index, tlog.Hash(rows[index].Leaf)); err != nil {
				t.Fatalf("index %d of %d: %v", index, size, err)
			}
		}
	}
}

func TestProof(t *testing.T) {
	signer, verifier := key(t, 1)
	_, stranger := key(t, 2)
	m := filled(t, signer, 300, 70, 0)
	for _, head := range m.checkpoints {
		for index := int64(0); index < head.Size; index += 23 {
			text, err := Prove(m.leaves[index], head, m.tile, origin, stranger, verifier)
			if err != nil {
				t.Fatal(err)
			}
			got, err := CheckProof(text, m.leaves[index].Body, origin, verifier)
			if err != nil || got.Index != index || got.Size != head.Size {
				t.Fatalf("index %d of %d: %+v, %v", index, head.Size, got, err)
			}
		}
	}
	head := m.newest()
	text, err := Prove(m.leaves[42], head, m.tile, origin, verifier)
	if err != nil {
		t.Fatal(err)
	}
	if want := "c2sp.org/tlog-proof@v1\nindex 42\n"; !strings.HasPrefix(string(text), want) {
		t.Errorf("proof starts %.60q, want %q", text, want)
	}
	if !bytes.HasSuffix(text, append([]byte("\n\n"), head.Note...)) {
		t.Error("proof does not end with the checkpoint, verbatim")
	}
	body := m.leaves[42].Body
	for i := range text {
		bad := bytes.Clone(text)
		bad[i] ^= 1
		if got, err := CheckProof(bad, body, origin, verifier); err == nil {
			t.Errorf("a proof with byte %d (%q) changed holds: %+v", i, text[i], got)
		}
	}
	for name, bad := range map[string]func() error{
		"other body":    func() error { return check(text, m.leaves[43].Body, origin, verifier) },
		"other origin":  func() error { return check(text, body, "other.example.org", verifier) },
		"other key":     func() error { return check(text, body, origin, stranger) },
		"no key":        func() error { return check(text, body, origin) },
		"empty":         func() error { return check(nil, body, origin, verifier) },
		"trailing line": func() error { return check(append(bytes.Clone(text), '\n'), body, origin, verifier) },
		"carriage return": func() error {
			return check(bytes.Replace(text, []byte("\n"), []byte("\r\n"), 1), body, origin, verifier)
		},
		"too large": func() error { return check(make([]byte, maxProof+1), body, origin, verifier) },
	} {
		if bad() == nil {
			t.Errorf("%s: the proof holds", name)
		}
	}
	// Extra data is not authenticated, and not in the way.
	extra := bytes.Replace(text, []byte("\nindex"), []byte("\nextra AAAA\nindex"), 1)
	if err := check(extra, body, origin, verifier); err != nil {
		t.Errorf("a proof with extra data: %v", err)
	}
}

func check(text, body []byte, origin string, keys ...note.Verifier) error {
	_, err := CheckProof(text, body, origin, keys...)
	return err
}

func TestProveRefuses(t *testing.T) {
	signer, verifier := key(t, 1)
	m := filled(t, signer, 300, 100, 0)
	for name, leaf := range map[string]Leaf{
		"beyond":       {Index: 300, Row: m.leaves[0].Row},
		"negative":     {Index: -1, Row: m.leaves[0].Row},
		"other record": {Index: 5, Row: m.leaves[6].Row},
	} {
		if _, err := Prove(leaf, m.newest(), m.tile, origin, verifier); err == nil {
			t.Errorf("%s: a proof", name)
		}
	}
	m.put(flipped(t, m, 0, 0, 5))
	if _, err := Prove(m.leaves[7], m.newest(), m.tile, origin, verifier); err == nil {
		t.Error("a proof from a changed tile")
	}
}
