package audit

import (
	"bytes"
	"fmt"

	"golang.org/x/mod/sumdb/tlog"
)

// tileID names a tile.
type tileID struct {
	level int
	index int64
}

// tiles compares every stored tile with the leaves, and finds missing ones.
func (v *verification) tiles() error {
	seen := map[tileID]bool{}
	err := v.stream(func() error {
		return v.r.Tiles(v.ctx, func(t Tile) error {
			id := tileID{t.Level, t.Index}
			width := v.width(id)
			switch {
			case width == 0:
				return v.fail(badTile(id, "the tree has no such tile"))
			case seen[id]:
				return v.fail(badTile(id, "it is stored twice"))
			case len(t.Hashes) != int(width)*tlog.HashSize:
				return v.fail(badTile(id, fmt.Sprintf("it has %d bytes in the place of %d", len(t.Hashes), width*tlog.HashSize)))
			}
			seen[id] = true
			v.report.Tiles++
			return v.tile(id, t.Hashes)
		})
	})
	if err != nil {
		return err
	}
	for level := range v.nodes {
		for index := int64(0); index*tileWidth < v.edge.size>>(level*tileHeight); index++ {
			if id := (tileID{level, index}); !seen[id] {
				return v.fail(badTile(id, "it is missing"))
			}
		}
	}
	return nil
}

// width is how many hashes a tile has; 0: the tree has no such tile.
func (v *verification) width(id tileID) int64 {
	if id.level < 0 || id.level >= len(v.nodes) || id.index < 0 || id.index > maxSize {
		return 0
	}
	return max(0, min(tileWidth, v.edge.size>>(id.level*tileHeight)-id.index*tileWidth))
}

func (v *verification) tile(id tileID, hashes []byte) error {
	if id.level == 0 && len(hashes) == tileWidth*tlog.HashSize {
		// The leaves' own hashes are not kept; the tile's is.
		if root, err := tileRoot(hashes); err != nil {
			return err
		} else if root != v.nodes[1][id.index] {
			stored := bytes.Clone(hashes)
			v.then = func() error { return v.compare(id, stored) }
			return errFound
		}
		return nil
	}
	first := id.index * tileWidth
	if id.level == 0 {
		first = 0
	}
	for i, want := range v.nodes[id.level][first:][:len(hashes)/tlog.HashSize] {
		if !bytes.Equal(want[:], entry(hashes, i)) {
			if id.level == 0 {
				stored := bytes.Clone(hashes)
				v.then = func() error { return v.compare(id, stored) }
				return errFound
			}
			return v.fail(badTile(id, fmt.Sprintf("entry %d is not the hash of the tile below", i)))
		}
	}
	return nil
}

func entry(hashes []byte, i int) []byte { return hashes[i*tlog.HashSize:][:tlog.HashSize] }

func tileRoot(hashes []byte) (tlog.Hash, error) {
	var e edge
	for i := range len(hashes) / tlog.HashSize {
		if _, err := e.add(tlog.Hash(entry(hashes, i))); err != nil {
			return tlog.Hash{}, err
		}
	}
	return e.root()
}

func badTile(id tileID, detail string) *Problem {
	return &Problem{What: "tile", Index: -1, Last: -1, Detail: fmt.Sprintf("tile %d of level %d: %s", id.index, id.level, detail)}
}

// compare names the leaf whose hash a tile of level 0 has wrong. The leaves gave
// the signed roots, so it is the tile that was changed.
func (v *verification) compare(id tileID, hashes []byte) error {
	first := id.index * tileWidth
	err := v.r.Leaves(v.ctx, first, first+int64(len(hashes)/tlog.HashSize), func(l Leaf) error {
		if i := l.Index - first; i >= 0 && i*tlog.HashSize < int64(len(hashes)) && !bytes.Equal(entry(hashes, int(i)), l.Leaf[:]) {
			return v.fail(about(&l.Row, l.Index, "tile",
				fmt.Sprintf("tile %d of level 0 has another hash than the record", id.index)))
		}
		return nil
	})
	if err != nil || v.report.Problem != nil {
		return err
	}
	return v.fail(badTile(id, "it does not fit the records"))
}

// arbitrate decides, where a body and its leaf hash differ, which of the two was
// changed: the tile has the third copy.
func (v *verification) arbitrate(stored Row, index int64, hash tlog.Hash) error {
	var copied []byte
	err := v.r.Tiles(v.ctx, func(t Tile) error {
		if i := index % tileWidth; t.Level == 0 && t.Index == index/tileWidth && int(i+1)*tlog.HashSize <= len(t.Hashes) {
			copied = bytes.Clone(entry(t.Hashes, int(i)))
		}
		return nil
	})
	switch {
	case err != nil:
		return err
	case bytes.Equal(copied, stored.Leaf[:]):
		return v.fail(about(&stored, index, "body", "its hash is not the leaf's; the tile has the leaf's"))
	case bytes.Equal(copied, hash[:]):
		return v.fail(about(&stored, index, "leaf", "it is not the body's hash; the tile has the body's"))
	}
	return v.fail(about(&stored, index, "leaf", "leaf, tile and the body's hash are three different ones"))
}

// pin looks for the record that keeps the leaves from giving the root of the
// checkpoint of size to: the first whose hash its tile does not have. Where the
// tiles were changed too, only the range can be named.
func (v *verification) pin(from, to int64) error {
	stored := map[int64][]byte{}
	err := v.r.Tiles(v.ctx, func(t Tile) error {
		if t.Level == 0 && t.Index >= from/tileWidth && t.Index <= (to-1)/tileWidth {
			stored[t.Index] = bytes.Clone(t.Hashes)
		}
		return nil
	})
	if err != nil {
		return err
	}
	err = v.r.Leaves(v.ctx, from, to, func(l Leaf) error {
		i, hashes := int(l.Index%tileWidth), stored[l.Index/tileWidth]
		if (i+1)*tlog.HashSize <= len(hashes) && !bytes.Equal(entry(hashes, i), l.Leaf[:]) {
			return v.fail(about(&l.Row, l.Index, "leaf",
				fmt.Sprintf("the tile has another record's hash, and the records do not give the root of the checkpoint of size %d", to)))
		}
		return nil
	})
	if err != nil || v.report.Problem != nil {
		return err
	}
	return v.fail(&Problem{What: "root", Index: from, Last: to - 1,
		Detail: fmt.Sprintf("the records do not give the root of the checkpoint of size %d; the tiles agree with the records", to)})
}
