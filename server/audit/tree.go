package audit

import (
	"errors"
	"fmt"

	"golang.org/x/mod/sumdb/tlog"
)

// tileHeight and tileWidth are those of C2SP tlog-tiles.
const (
	tileHeight = 8
	tileWidth  = 1 << tileHeight
)

// edge is the right edge of a tree: the newest complete node of each level,
// which is all that tlog reads to add a record and to hash the root.
type edge struct {
	size  int64
	count [64]int64 // complete nodes of a level; the newest is count-1
	node  [64]tlog.Hash
}

// ReadHashes is tlog.HashReader's.
func (e *edge) ReadHashes(indexes []int64) ([]tlog.Hash, error) {
	hashes := make([]tlog.Hash, len(indexes))
	for i, index := range indexes {
		level, n := tlog.SplitStoredHashIndex(index)
		if e.count[level] != n+1 {
			return nil, fmt.Errorf("node %d of level %d is not on the edge", n, level)
		}
		hashes[i] = e.node[level]
	}
	return hashes, nil
}

// add returns the nodes that a leaf completes, of each level from 0 up.
func (e *edge) add(leaf tlog.Hash) ([]tlog.Hash, error) {
	hashes, err := tlog.StoredHashesForRecordHash(e.size, leaf, e)
	if err != nil {
		return nil, err
	}
	for level, h := range hashes {
		e.count[level], e.node[level] = e.size>>level+1, h
	}
	e.size++
	return hashes, nil
}

func (e *edge) root() (tlog.Hash, error) { return tlog.TreeHash(e.size, e) }

// growth is a tree being extended: its edge, and the entries of the tiles that
// change.
type growth struct {
	edge
	entries map[int64]tlog.Hash // by stored index
}

// grow starts from a tree whose head is trusted. What it reads from the tiles is
// checked against the head.
func grow(head tlog.Tree, tile func(level int, index int64) ([]byte, error)) (*growth, error) {
	g := &growth{edge: edge{size: head.N}, entries: map[int64]tlog.Hash{}}
	if head.N == 0 {
		return g, nil
	}
	var indexes []int64
	for level := range 63 {
		if head.N>>level&1 == 1 {
			indexes = append(indexes, tlog.StoredHashIndex(level, head.N>>level-1))
		}
	}
	for level := 0; head.N>>level > 0; level += tileHeight {
		end := head.N >> level
		for n := end &^ (tileWidth - 1); n < end; n++ {
			indexes = append(indexes, tlog.StoredHashIndex(level, n))
		}
	}
	hashes, err := tlog.TileHashReader(head, tiles{read: tile}).ReadHashes(indexes)
	if err != nil {
		return nil, fmt.Errorf("checking the stored tiles against the checkpoint of size %d: %w", head.N, err)
	}
	for i, index := range indexes {
		level, n := tlog.SplitStoredHashIndex(index)
		if e := &g.edge; e.count[level] <= n {
			e.count[level], e.node[level] = n+1, hashes[i]
		}
		if level%tileHeight == 0 {
			g.entries[index] = hashes[i]
		}
	}
	return g, nil
}

func (g *growth) add(leaf tlog.Hash) error {
	n := g.size
	hashes, err := g.edge.add(leaf)
	if err != nil {
		return err
	}
	for level := 0; level < len(hashes); level += tileHeight {
		g.entries[tlog.StoredHashIndex(level, n>>level)] = hashes[level]
	}
	return nil
}

// tiles are those that are new or longer than in the tree of size from.
func (g *growth) tiles(from int64) ([]Tile, error) {
	read := tlog.HashReaderFunc(func(indexes []int64) ([]tlog.Hash, error) {
		hashes := make([]tlog.Hash, len(indexes))
		for i, index := range indexes {
			h, ok := g.entries[index]
			if !ok {
				return nil, errors.New("an entry of a tile is missing")
			}
			hashes[i] = h
		}
		return hashes, nil
	})
	var out []Tile
	for _, t := range tlog.NewTiles(tileHeight, from, g.size) {
		data, err := tlog.ReadTileData(t, read)
		if err != nil {
			return nil, err
		}
		out = append(out, Tile{Level: t.L, Index: t.N, Hashes: data})
	}
	return out, nil
}

// tiles reads stored tiles for tlog, which checks them.
type tiles struct {
	read func(level int, index int64) ([]byte, error)
	// grown says that the tiles may have grown since the head that they are
	// checked against.
	grown bool
}

// Height is tlog.TileReader's.
func (tiles) Height() int { return tileHeight }

// ReadTiles is tlog.TileReader's.
func (t tiles) ReadTiles(wanted []tlog.Tile) ([][]byte, error) {
	data := make([][]byte, len(wanted))
	for i, w := range wanted {
		hashes, err := t.read(w.L, w.N)
		if err != nil {
			return nil, fmt.Errorf("reading tile %d of level %d: %w", w.N, w.L, err)
		}
		width := w.W * tlog.HashSize
		if t.grown && len(hashes) > width {
			hashes = hashes[:width]
		}
		if len(hashes) != width {
			return nil, fmt.Errorf("tile %d of level %d has %d bytes in the place of %d", w.N, w.L, len(hashes), width)
		}
		data[i] = hashes
	}
	return data, nil
}

// SaveTiles is tlog.TileReader's; nothing is cached.
func (tiles) SaveTiles([]tlog.Tile, [][]byte) {}
