package audit

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/transparency-dev/formats/log"
	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"

	"github.com/writpdp/writ/server/decision"
)

// tampering is one change of a value.
type tampering struct {
	path  string // of the field, dotted
	apply func()
}

// tamperings are changes of every field of a struct, found by reflection, so
// that a field that is added is covered or fails the test. A byte string is
// changed at every stride-th byte, and made longer, shorter and empty.
func tamperings(t *testing.T, v reflect.Value, path string, stride int) []tampering {
	t.Helper()
	var all []tampering
	add := func(name string, apply func()) { all = append(all, tampering{name, apply}) }
	switch value := v.Addr().Interface().(type) {
	case *time.Time:
		add(path, func() { *value = value.Add(time.Microsecond) })
		add(path, func() { *value = value.Add(-time.Hour) })
		return all
	case *[]byte:
		for i := 0; i < len(*value); i += stride {
			add(path, func() { *value = bytes.Clone(*value); (*value)[i] ^= 1 << (i % 8) })
		}
		add(path, func() { *value = append(bytes.Clone(*value), 0) })
		add(path, func() { *value = (*value)[:len(*value)-1] })
		add(path, func() { *value = nil })
		return all
	}
	switch v.Kind() {
	case reflect.Struct:
		for i := range v.NumField() {
			name := strings.TrimPrefix(path+"."+v.Type().Field(i).Name, ".")
			if v.Type().Field(i).Anonymous {
				name = path
			}
			all = append(all, tamperings(t, v.Field(i), name, stride)...)
		}
	case reflect.String:
		add(path, func() { v.SetString(v.String() + "x") })
		if s := v.String(); s != "" {
			add(path, func() { v.SetString(string(s[0]^1) + s[1:]) })
			add(path, func() { v.SetString("") })
		}
	case reflect.Int, reflect.Int64:
		add(path, func() { v.SetInt(v.Int() + 1) })
		add(path, func() { v.SetInt(v.Int() - 1) })
		add(path, func() { v.SetInt(-v.Int() - 7) })
	case reflect.Uint8:
		add(path, func() { v.SetUint(v.Uint() ^ 1) })
		add(path, func() { v.SetUint(v.Uint() ^ 4) })
	case reflect.Array:
		for i := range v.Len() {
			add(path, func() { v.Index(i).SetUint(v.Index(i).Uint() ^ 1<<(i%8)) })
		}
	default:
		t.Fatalf("no tampering with %s, a %s", path, v.Type())
	}
	return all
}

// clone is deep enough that a tampering with one store leaves others alone.
func (m *memory) clone() *memory {
	c := *m
	c.checkpoints, c.leaves, c.tiles, c.pending = slices.Clone(m.checkpoints), slices.Clone(m.leaves), slices.Clone(m.tiles), slices.Clone(m.pending)
	c.uses, c.redemptions, c.tokens = slices.Clone(m.uses), slices.Clone(m.redemptions), slices.Clone(m.tokens)
	c.tickets, c.lapses = slices.Clone(m.tickets), slices.Clone(m.lapses)
	return &c
}

// tamper makes every change of the value that pick chooses, each in a fresh
// copy of the store, and hands the report's problem to judge.
func tamper[T any](t *testing.T, m *memory, stride int, pick func(*memory) *T, judge func(t *testing.T, path string, p *Problem)) {
	t.Helper()
	count := len(tamperings(t, reflect.ValueOf(pick(m.clone())).Elem(), "", stride))
	if count == 0 {
		t.Fatal("nothing to tamper with")
	}
	for i := range count {
		c := m.clone()
		change := tamperings(t, reflect.ValueOf(pick(c)).Elem(), "", stride)[i]
		change.apply()
		p := verify(t, c, Options{}).Problem
		if p == nil {
			t.Errorf("%s: tampering %d is not found", change.path, i)
			continue
		}
		judge(t, change.path, p)
	}
}

func named(t *testing.T, path string, p *Problem, what string, index int64, row Row) {
	t.Helper()
	if p.What != what || p.Index != index || p.Record != row.ID {
		t.Errorf("%s: found %s, want %s of leaf %d, record %s", path, p, what, index, uuidText(row.ID))
	}
}

// stride is 1 where every byte is to be tried, and else a prime, to save time.
func stride(every bool) int {
	if every && !testing.Short() {
		return 1
	}
	return 11
}

func TestTamperLeaf(t *testing.T) {
	signer, _ := key(t, 1)
	m := filled(t, signer, 24, 5, 3)
	for _, i := range []int64{0, 1, 3, 12, 23} { // of both kinds, allowed and denied
		row := m.leaves[i].Row
		tamper(t, m, stride(i < 3), func(c *memory) *Leaf { return &c.leaves[i] }, func(t *testing.T, path string, p *Problem) {
			if path == "Index" { // where it stands now is not where it stood
				named(t, path, p, "index", p.Index, row)
			} else {
				named(t, path, p, strings.ToLower(path), i, row)
			}
			if path != "Tenant" && p.Tenant != row.Tenant {
				t.Errorf("%s: names tenant %q", path, p.Tenant)
			}
		})
	}
}

func TestTamperPending(t *testing.T) {
	signer, _ := key(t, 1)
	m := filled(t, signer, 24, 5, 3)
	for i := range m.pending {
		row := m.pending[i]
		tamper(t, m, stride(i == 0), func(c *memory) *Row { return &c.pending[i] }, func(t *testing.T, path string, p *Problem) {
			what := strings.ToLower(path)
			// No tile has a copy of the hash yet, so that a change of the body
			// where no column looks cannot be told from one of the hash.
			if path == "Body" && p.What == "leaf" {
				what = "leaf"
			}
			named(t, path, p, what, -1, row)
		})
	}
}

func TestTamperCheckpoint(t *testing.T) {
	signer, _ := key(t, 1)
	m := filled(t, signer, 24, 5, 0)
	for i := range m.checkpoints {
		tamper(t, m, 1, func(c *memory) *Checkpoint { return &c.checkpoints[i] }, func(t *testing.T, path string, p *Problem) {
			if p.What != "checkpoint" {
				t.Errorf("%s: found %s", path, p)
			}
		})
	}
	other, _ := key(t, 2)
	sign := func(s *Signer, origin string, size uint64, root []byte) []byte {
		text := log.Checkpoint{Origin: origin, Size: size, Hash: root}.Marshal()
		signed, err := note.Sign(&note.Note{Text: string(text)}, s.signer)
		if err != nil {
			t.Fatal(err)
		}
		return signed
	}
	last := len(m.checkpoints) - 1
	right := root(t, m)
	for name, c := range map[string]struct {
		tamper func(*memory)
		want   *Problem
	}{
		"another key": {func(c *memory) { c.checkpoints[last].Note = sign(other, origin, 24, right[:]) },
			&Problem{What: "checkpoint", Index: -1, Last: -1, Detail: "no verifiable signatures"}},
		"another origin": {func(c *memory) { c.checkpoints[last].Note = sign(signer, "other.example.org", 24, right[:]) },
			&Problem{What: "checkpoint", Index: -1, Last: -1, Detail: "origin"}},
		"another size, signed": {func(c *memory) { c.checkpoints[last].Note = sign(signer, origin, 23, right[:]) },
			&Problem{What: "checkpoint", Index: -1, Last: -1, Detail: "says size 23"}},
		"another root, signed": {func(c *memory) { c.checkpoints[last].Note = sign(signer, origin, 24, make([]byte, 32)) },
			&Problem{What: "root", Index: 20, Last: 23, Detail: "size 24"}},
		"an extension line, signed": {func(c *memory) {
			text := string(log.Checkpoint{Origin: origin, Size: 24, Hash: right[:]}.Marshal()) + "more\n"
			signed, err := note.Sign(&note.Note{Text: text}, signer.signer)
			if err != nil {
				t.Fatal(err)
			}
			c.checkpoints[last].Note = signed
		}, &Problem{What: "checkpoint", Index: -1, Last: -1, Detail: "canonical"}},
		"a second signature": {func(c *memory) {
			text := c.checkpoints[last].Note
			line := text[bytes.LastIndex(text, []byte("\n— "))+1:]
			c.checkpoints[last].Note = append(bytes.Clone(text), line...)
		}, &Problem{What: "checkpoint", Index: -1, Last: -1, Detail: "twice"}},
		"dropped": {func(c *memory) { c.checkpoints = c.checkpoints[:last] },
			&Problem{What: "checkpoint", Index: 20, Last: 23, Detail: "no checkpoint covers"}},
		"all dropped": {func(c *memory) { c.checkpoints = nil },
			&Problem{What: "checkpoint", Index: 0, Last: 23, Detail: "no checkpoint covers"}},
		"out of order": {func(c *memory) { c.checkpoints[0], c.checkpoints[1] = c.checkpoints[1], c.checkpoints[0] },
			&Problem{What: "checkpoint", Index: -1, Last: -1, Detail: "stands after"}},
		"twice": {func(c *memory) { c.checkpoints = append(c.checkpoints, c.checkpoints[last]) },
			&Problem{What: "checkpoint", Index: -1, Last: -1, Detail: "stands after"}},
	} {
		t.Run(name, func(t *testing.T) {
			c2 := m.clone()
			c.tamper(c2)
			wants(t, verify(t, c2, Options{}).Problem, c.want)
		})
	}
}

func TestTamperTiles(t *testing.T) {
	signer, _ := key(t, 1)
	m := filled(t, signer, 600, 100, 0)
	for i, tile := range m.tiles {
		// Every byte of a hash, of some of the hashes.
		for at := 0; at < len(tile.Hashes); at += 161 {
			c := m.clone()
			c.tiles[i].Hashes = bytes.Clone(tile.Hashes)
			c.tiles[i].Hashes[at] ^= 0x80
			p := verify(t, c, Options{}).Problem
			if tile.Level > 0 {
				wants(t, p, badTile(tileID{tile.Level, tile.Index}, fmt.Sprintf("entry %d is not", at/32)))
				continue
			}
			leaf := m.leaves[int(tile.Index)*256+at/32]
			wants(t, p, about(&leaf.Row, leaf.Index, "tile", "another hash"))
		}
		for name, change := range map[string]func(*memory){
			"level":     func(c *memory) { c.tiles[i].Level++ },
			"top level": func(c *memory) { c.tiles[i].Level = 8 },
			"no level":  func(c *memory) { c.tiles[i].Level = -1 },
			"index":     func(c *memory) { c.tiles[i].Index++ },
			"far":       func(c *memory) { c.tiles[i].Index = 1 << 62 },
			"no index":  func(c *memory) { c.tiles[i].Index = -1 },
			"shorter":   func(c *memory) { c.tiles[i].Hashes = tile.Hashes[:len(tile.Hashes)-32] },
			"longer":    func(c *memory) { c.tiles[i].Hashes = append(bytes.Clone(tile.Hashes), tile.Hashes[:32]...) },
			"a byte":    func(c *memory) { c.tiles[i].Hashes = append(bytes.Clone(tile.Hashes), 0) },
			"empty":     func(c *memory) { c.tiles[i].Hashes = nil },
			"dropped":   func(c *memory) { c.tiles = slices.Delete(c.tiles, i, i+1) },
			"twice":     func(c *memory) { c.tiles = append(c.tiles, tile) },
			"one more":  func(c *memory) { c.tiles = append(c.tiles, Tile{Level: 2, Index: 0, Hashes: make([]byte, 32)}) },
		} {
			c := m.clone()
			change(c)
			if p := verify(t, c, Options{}).Problem; p == nil || p.What != "tile" {
				t.Errorf("tile %d of level %d, %s: found %v", tile.Index, tile.Level, name, p)
			}
		}
	}
}

func TestTamperOrder(t *testing.T) {
	signer, _ := key(t, 1)
	m := filled(t, signer, 24, 5, 3)
	for i := range m.leaves {
		here := m.leaves[i]
		c := m.clone()
		c.leaves = slices.Delete(c.leaves, i, i+1)
		p := verify(t, c, Options{}).Problem
		if p == nil || p.What != "index" || p.Index != int64(i) {
			t.Errorf("leaf %d dropped: found %v", i, p)
		}
		c = m.clone()
		c.leaves = slices.Insert(c.leaves, i, here)
		p = verify(t, c, Options{}).Problem
		if p == nil || p.What != "index" || p.Index != int64(i)+1 {
			t.Errorf("leaf %d twice: found %v", i, p)
		}
		// With the indexes put right the record still stands twice.
		for j := range c.leaves {
			c.leaves[j].Index = int64(j)
		}
		wants(t, verify(t, c, Options{}).Problem, about(&here.Row, int64(i)+1, "id", "another record"))

		c = m.clone()
		c.leaves[i].Row = Row{}
		p = verify(t, c, Options{}).Problem
		if p == nil || p.What != "body" || p.Index != int64(i) || !strings.Contains(p.Detail, "missing") {
			t.Errorf("record of leaf %d gone: found %v", i, p)
		}
		if i == 0 {
			continue
		}
		c = m.clone()
		c.leaves[i-1].Row, c.leaves[i].Row = c.leaves[i].Row, c.leaves[i-1].Row
		wants(t, verify(t, c, Options{}).Problem, about(&here.Row, int64(i)-1, "leaf", "the tile has another record's hash"))
	}
	// A sealed record that stands among the pending ones too, and one that
	// stands nowhere.
	c := m.clone()
	c.pending = append(c.pending, m.leaves[4].Row)
	wants(t, verify(t, c, Options{}).Problem, about(&m.leaves[4].Row, -1, "id", "another record"))
	c = m.clone()
	c.orphans = []Row{m.leaves[4].Row}
	wants(t, verify(t, c, Options{}).Problem, about(&m.leaves[4].Row, -1, "orphan", "neither"))
	// Sealed records without a checkpoint: nobody vouches for them.
	c = m.clone()
	c.leaves = append(c.leaves, Leaf{Index: 24, Row: c.pending[0]})
	c.pending = c.pending[1:]
	wants(t, verify(t, c, Options{}).Problem, &Problem{What: "checkpoint", Index: 24, Last: 24, Detail: "no checkpoint covers"})
}

// TestTamperRewrite changes a record with its columns, its hash and, in the
// second round, its tile: whoever has the database but not the key.
func TestTamperRewrite(t *testing.T) {
	signer, _ := key(t, 1)
	m := filled(t, signer, 24, 5, 0)
	for i := range m.leaves {
		c := m.clone()
		row := &c.leaves[i].Row
		body := bytes.Replace(row.Body, []byte("spiffe://example.org/gateway"), []byte("spiffe://example.org/gatewaX"), 1)
		rewritten, err := RowOf(body)
		if err != nil {
			t.Fatal(err)
		}
		*row = rewritten
		wants(t, verify(t, c, Options{}).Problem, about(row, int64(i), "leaf", "the tile has another record's hash"))

		tile := bytes.Clone(c.tiles[0].Hashes)
		copy(tile[i*tlog.HashSize:], rewritten.Leaf[:])
		c.tiles[0].Hashes = tile
		both := m.clone()
		both.leaves[i].Body, both.leaves[i].Leaf[0] = body, both.leaves[i].Leaf[0]^1
		wants(t, verify(t, both, Options{}).Problem, about(row, int64(i), "leaf", "three different ones"))

		first := i / 5 * 5
		last := min(first+4, 23)
		wants(t, verify(t, c, Options{}).Problem, &Problem{What: "root", Index: int64(first), Last: int64(last), Detail: "the tiles agree with the records"})
	}
}

func TestTamperTables(t *testing.T) {
	signer, _ := key(t, 1)
	m := filled(t, signer, 24, 5, 3)
	is := func(what string) func(*testing.T, string, *Problem) {
		return func(t *testing.T, path string, p *Problem) {
			if p.What != what {
				t.Errorf("%s: found %s, want %s", path, p, what)
			}
		}
	}
	for i := range m.uses {
		tamper(t, m, 1, func(c *memory) *Use { return &c.uses[i] }, is("use"))
	}
	for i := range m.redemptions {
		tamper(t, m, 1, func(c *memory) *Redemption { return &c.redemptions[i] }, is("redemption"))
	}
	for i := range m.tickets {
		tamper(t, m, 1, func(c *memory) *TicketUse { return &c.tickets[i] }, is("ticket"))
	}
	for i := range m.tokens {
		tamper(t, m, 1, func(c *memory) *UsedToken { return &c.tokens[i] }, is("used token"))
	}
	by := m.redemptions[2].Record
	leaf := m.leaves[slices.IndexFunc(m.leaves, func(l Leaf) bool { return l.ID == by })]
	more := Use{Tenant: "tenant-0", Key: decision.BudgetKey{Budget: "b"}}
	for name, c := range map[string]struct {
		tamper func(*memory)
		want   *Problem
	}{
		"use dropped":        {func(c *memory) { c.uses = c.uses[1:] }, &Problem{What: "use", Index: -1, Last: -1, Tenant: m.uses[0].Tenant, Detail: "the store lacks it"}},
		"use twice":          {func(c *memory) { c.uses = append(c.uses, c.uses[0]) }, &Problem{What: "use", Index: -1, Last: -1, Tenant: m.uses[0].Tenant, Detail: "twice"}},
		"use that is none":   {func(c *memory) { c.uses = append(c.uses, more) }, &Problem{What: "use", Index: -1, Last: -1, Tenant: "tenant-0", Detail: "no record has"}},
		"redemption dropped": {func(c *memory) { c.redemptions = slices.Delete(c.redemptions, 2, 3) }, about(&leaf.Row, leaf.Index, "redemption", "no such use")},
		"redemption twice":   {func(c *memory) { c.redemptions = append(c.redemptions, c.redemptions[2]) }, about(&leaf.Row, -1, "redemption", "twice")},
		"redemption that is none": {func(c *memory) {
			c.redemptions = append(c.redemptions, Redemption{Tenant: leaf.Tenant, Ticket: "CHG-1000", Record: by})
		}, about(&leaf.Row, -1, "redemption", "CHG-1000")},
		"token twice": {func(c *memory) { c.tokens = append(c.tokens, c.tokens[0]) }, &Problem{What: "used token", Index: -1, Last: -1, Tenant: m.tokens[0].Tenant, Record: m.tokens[0].Record, Detail: "twice"}},
		"token that is none": {func(c *memory) {
			c.tokens = append(c.tokens, UsedToken{Tenant: leaf.Tenant, Token: sha256.Sum256(nil), Record: by})
		}, &Problem{What: "used token", Index: -1, Last: -1, Tenant: leaf.Tenant, Record: by, Detail: "no record used"}},
	} {
		t.Run(name, func(t *testing.T) {
			c2 := m.clone()
			c.tamper(c2)
			wants(t, verify(t, c2, Options{}).Problem, c.want)
		})
	}
}
