package audit

import (
	"bytes"
	"cmp"
	"errors"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	gocmp "github.com/google/go-cmp/cmp"
	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"
	"pgregory.net/rapid"
)

// stored is tlog's own way to keep a tree: every hash in one list.
type stored []tlog.Hash

func (s *stored) add(t testing.TB, n int64, leaf tlog.Hash) {
	hashes, err := tlog.StoredHashesForRecordHash(n, leaf, s)
	if err != nil {
		t.Fatal(err)
	}
	*s = append(*s, hashes...)
}

// ReadHashes is tlog.HashReader's.
func (s *stored) ReadHashes(indexes []int64) ([]tlog.Hash, error) {
	var out []tlog.Hash
	for _, i := range indexes {
		out = append(out, (*s)[i])
	}
	return out, nil
}

// blanks are rows with nothing but a body and its hash, which is all that
// sealing looks at.
func blanks(n int) []Row {
	rows := make([]Row, n)
	for i := range rows {
		rows[i] = Row{Body: []byte{byte(i), byte(i >> 8), byte(i >> 16)}}
		rows[i].Leaf = tlog.RecordHash(rows[i].Body)
	}
	return rows
}

// TestExtendInChunks seals the same records in chunks of any size: checkpoints
// and tiles must be those of tlog's own tree.
func TestExtendInChunks(t *testing.T) {
	signer, verifier := key(t, 1)
	rapid.Check(t, func(t *rapid.T) {
		chunks := rapid.SliceOfN(rapid.OneOf(rapid.IntRange(1, 5), rapid.IntRange(1, 400), rapid.Just(256)), 1, 6).Draw(t, "chunks")
		m, tree, size := &memory{}, stored{}, 0
		for _, n := range chunks {
			m.pending = append(m.pending, blanks(size + n)[size:]...)
			for _, row := range m.pending {
				hashes, err := tlog.StoredHashesForRecordHash(int64(size), tlog.Hash(row.Leaf), &tree)
				if err != nil {
					t.Fatal(err)
				}
				tree = append(tree, hashes...)
				size++
			}
			if err := m.seal(n, signer.Extend); err != nil {
				t.Fatal(err)
			}
			head, err := open(m.newest(), origin, note.VerifierList(verifier))
			if err != nil {
				t.Fatal(err)
			}
			if want, err := tlog.TreeHash(int64(size), &tree); err != nil || head.Hash != want || head.N != int64(size) {
				t.Fatalf("head is %v, want %v of size %d (%v)", head, want, size, err)
			}
		}
		var want []Tile
		for _, tile := range tlog.NewTiles(tileHeight, 0, int64(size)) {
			data, err := tlog.ReadTileData(tile, &tree)
			if err != nil {
				t.Fatal(err)
			}
			want = append(want, Tile{Level: tile.L, Index: tile.N, Hashes: data})
		}
		slices.SortFunc(m.tiles, func(a, b Tile) int { return cmp.Or(a.Level-b.Level, int(a.Index-b.Index)) })
		if diff := gocmp.Diff(want, m.tiles); diff != "" {
			t.Fatalf("tiles (-want +got):\n%s", diff)
		}
	})
}

// TestExtendLevels crosses the borders of tiles of level 1 and 2.
func TestExtendLevels(t *testing.T) {
	if testing.Short() {
		t.Skip("65,537 records and more")
	}
	signer, verifier := key(t, 1)
	rows := blanks(1<<16 + 300)
	m, tree := &memory{}, stored{}
	for i, row := range rows {
		tree.add(t, int64(i), tlog.Hash(row.Leaf))
	}
	for _, size := range []int{1<<16 - 1, 1 << 16, 1<<16 + 1, 1<<16 + 300} {
		m.pending = rows[len(m.leaves):size]
		if err := m.seal(size, signer.Extend); err != nil {
			t.Fatal(err)
		}
		head, err := open(m.newest(), origin, note.VerifierList(verifier))
		if err != nil {
			t.Fatal(err)
		}
		if want, err := tlog.TreeHash(int64(size), &tree); err != nil || head.Hash != want {
			t.Fatalf("root of size %d is %v, want %v (%v)", size, head.Hash, want, err)
		}
	}
	top, err := m.tile(2, 0)
	if err != nil || len(top) != tlog.HashSize {
		t.Errorf("the tile of level 2 has %d bytes (%v), want one hash", len(top), err)
	}
}

func TestExtendRefuses(t *testing.T) {
	signer, _ := key(t, 1)
	other, _ := key(t, 2)
	full := func() *memory {
		m := filled(t, signer, 300, 100, 5)
		return m
	}
	for name, c := range map[string]struct {
		tamper func(*memory)
		want   string
	}{
		"body": {func(m *memory) {
			m.pending[2].Body = bytes.Replace(m.pending[2].Body, []byte("agent"), []byte("agenT"), 1)
		}, "of tenant \"tenant-"},
		"leaf":         {func(m *memory) { m.pending[2].Leaf[0] ^= 1 }, "does not have its leaf hash"},
		"partial tile": {func(m *memory) { m.put(flipped(t, m, 0, 1, 7)) }, "inconsistent tile"},
		"upper tile":   {func(m *memory) { m.put(flipped(t, m, 1, 0, 7)) }, "inconsistent tile"},
		"longer tile": {func(m *memory) {
			tile := flipped(t, m, 0, 1, 7)
			tile.Hashes = append(tile.Hashes, tile.Hashes[:32]...)
			m.put(tile)
		}, "in the place of"},
		"missing tile":     {func(m *memory) { m.tiles = m.tiles[:0] }, "no such record"},
		"checkpoint":       {func(m *memory) { m.checkpoints[2].Note[40] ^= 1 }, "checkpoint of size 300"},
		"checkpoint size":  {func(m *memory) { m.checkpoints[2].Size-- }, "says size 300"},
		"older checkpoint": {func(m *memory) { m.checkpoints = m.checkpoints[:2] }, "tile 0 of level 0 has"},
		"no checkpoint":    {func(m *memory) { m.checkpoints[2].Note = nil }, "malformed note"},
		"foreign key": {func(m *memory) {
			m2 := filled(t, other, 300, 100, 5)
			m.checkpoints = m2.checkpoints
		}, "no verifiable signatures"},
		"nothing": {func(m *memory) { m.pending = nil }, "no records"},
	} {
		t.Run(name, func(t *testing.T) {
			m := full()
			c.tamper(m)
			_, err := signer.Extend(m.newest(), m.tile, m.pending)
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("error is %v, want one with %q", err, c.want)
			}
			if name == "body" && !strings.Contains(err.Error(), uuidText(m.pending[2].ID)) {
				t.Errorf("error %v does not name the record", err)
			}
		})
	}
}

// flipped is a copy of a stored tile with one byte changed.
func flipped(t testing.TB, m *memory, level int, index int64, at int) Tile {
	t.Helper()
	data, err := m.tile(level, index)
	if err != nil {
		t.Fatal(err)
	}
	data = bytes.Clone(data)
	data[at] ^= 1
	return Tile{Level: level, Index: index, Hashes: data}
}

func TestKeys(t *testing.T) {
	random := rand.NewChaCha8([32]byte{3})
	skey, vkey, err := GenerateKey(random, origin)
	if err != nil {
		t.Fatal(err)
	}
	for _, bad := range []string{"", "with space", "with+plus"} {
		if _, _, err := GenerateKey(random, bad); err == nil {
			t.Errorf("a key for the origin %q", bad)
		}
	}
	if _, err := NewSigner("other.example.org", skey); err == nil {
		t.Error("a signer whose key has another name")
	}
	if _, err := NewSigner(origin, vkey); err == nil || strings.Contains(err.Error(), vkey) {
		t.Errorf("a public key as secret: %v", err)
	}
	if _, err := NewSigner(origin, skey, "nonsense"); err == nil {
		t.Error("a broken retired key")
	}

	// After a change of keys the log goes on.
	old, verifier := key(t, 1)
	m := filled(t, old, 20, 10, 5)
	fresh, err := NewSigner(origin, skey)
	if err != nil {
		t.Fatal(err)
	}
	if err := m.seal(5, fresh.Extend); err == nil {
		t.Error("a new key extends the log of an unknown one")
	}
	oldSecret := [32]byte{1}
	_, oldPublic, err := GenerateKey(rand.NewChaCha8(oldSecret), origin)
	if err != nil {
		t.Fatal(err)
	}
	if fresh, err = NewSigner(origin, skey, oldPublic); err != nil {
		t.Fatal(err)
	}
	if err := m.seal(5, fresh.Extend); err != nil {
		t.Fatal(err)
	}
	freshVerifier, err := note.NewVerifier(vkey)
	if err != nil {
		t.Fatal(err)
	}
	report, err := Verify(t.Context(), m, []note.Verifier{verifier, freshVerifier}, Options{Origin: origin})
	if err != nil || report.Problem != nil {
		t.Errorf("%v, %v", report.Problem, err)
	}
}

func TestTileErrorIsKept(t *testing.T) {
	signer, _ := key(t, 1)
	m := filled(t, signer, 20, 10, 5)
	broken := errors.New("the disk is gone")
	_, err := signer.Extend(m.newest(), func(int, int64) ([]byte, error) { return nil, broken }, m.pending)
	if !errors.Is(err, broken) {
		t.Errorf("error is %v", err)
	}
}
