package pack

import (
	"bytes"
	"compress/zlib"
	"crypto/sha1"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"strings"
	"testing"

	"github.com/go-git/go-git/v5/plumbing"
	"github.com/google/go-cmp/cmp"
)

// entry is an object of a pack that a test writes.
type entry struct {
	typ  plumbing.ObjectType
	base plumbing.Hash // of a delta
	data string
	size int // that the header says; 0: the data's
}

func encode(t testing.TB, count int, entries ...entry) []byte {
	t.Helper()
	var b bytes.Buffer
	b.WriteString("PACK\x00\x00\x00\x02")
	_ = binary.Write(&b, binary.BigEndian, uint32(count))
	for _, e := range entries {
		size := e.size
		if size == 0 {
			size = len(e.data)
		}
		first := byte(e.typ)<<4 | byte(size&15)
		for size >>= 4; size > 0; size >>= 7 {
			b.WriteByte(first | 0x80)
			first = byte(size & 0x7f)
		}
		b.WriteByte(first)
		if e.typ == plumbing.REFDeltaObject {
			b.Write(e.base[:])
		}
		z := zlib.NewWriter(&b)
		if _, err := z.Write([]byte(e.data)); err != nil {
			t.Fatal(err)
		}
		if err := z.Close(); err != nil {
			t.Fatal(err)
		}
	}
	sum := sha1.Sum(b.Bytes())
	return append(b.Bytes(), sum[:]...)
}

func hashOf(typ, data string) (h plumbing.Hash) {
	return sha1.Sum(fmt.Appendf(nil, "%s %d\x00%s", typ, len(data), data))
}

// delta makes a text of a base: all of it, and more.
func delta(base, more string, target int) string {
	var b []byte
	b = binary.AppendUvarint(b, uint64(len(base)))
	b = binary.AppendUvarint(b, uint64(target))
	b = append(b, 0x80|0x10, byte(len(base)))
	return string(append(append(b, byte(len(more))), more...))
}

// Objects are known by the hash of what they are, deltas in any order.
func TestUnpack(t *testing.T) {
	one, two, three := "one", "one two", "one two three"
	got, err := Unpack(bytes.NewReader(encode(t, 4,
		entry{typ: plumbing.REFDeltaObject, base: hashOf("blob", two), data: delta(two, " three", len(three))},
		entry{typ: plumbing.REFDeltaObject, base: hashOf("blob", one), data: delta(one, " two", len(two))},
		entry{typ: plumbing.BlobObject, data: one},
		entry{typ: plumbing.REFDeltaObject, base: hashOf("blob", "gone"), data: delta("gone", "x", 5)},
	)))
	if err != nil {
		t.Fatal(err)
	}
	for _, text := range []string{one, two, three} {
		data, ok := got.Object(plumbing.BlobObject, hashOf("blob", text))
		if !ok || string(data) != text {
			t.Errorf("got %q, %v, want %q", data, ok, text)
		}
	}
	if _, ok := got.Object(plumbing.TreeObject, hashOf("blob", one)); ok {
		t.Error("a blob is a tree")
	}
	if _, ok := got.Object(plumbing.BlobObject, hashOf("blob", "gonex")); ok {
		t.Error("a delta without its base is an object")
	}
}

func TestUnpackRefuses(t *testing.T) {
	one := "one"
	base := entry{typ: plumbing.BlobObject, data: one}
	on := func(data string) []byte {
		return encode(t, 2, base, entry{typ: plumbing.REFDeltaObject, base: hashOf("blob", one), data: data})
	}
	chain := []entry{{typ: plumbing.BlobObject, data: strings.Repeat("x", MaxObject)}}
	for i := range 20 { // each a file as large as may be
		chain = append(chain, entry{typ: plumbing.BlobObject, data: fmt.Sprint(i) + strings.Repeat("x", MaxObject-9)})
	}
	for name, c := range map[string]struct {
		pack []byte
		says string
	}{
		"nothing":            {nil, "empty"},
		"another file":       {[]byte("PUCK\x00\x00\x00\x02\x00\x00\x00\x00"), "signature"},
		"another version":    {[]byte("PACK\x00\x00\x00\x03\x00\x00\x00\x00"), "version"},
		"fewer objects":      {encode(t, 2, base), "reading a pack"},
		"more objects":       {encode(t, 1, base, base), "checksum"},
		"too many objects":   {encode(t, maxObjects+1), "more than"},
		"longer than said":   {encode(t, 1, entry{typ: plumbing.BlobObject, data: "longer", size: 2}), "exceeds declared size"},
		"shorter than said":  {encode(t, 1, entry{typ: plumbing.BlobObject, data: "short", size: 9}), "shorter than"},
		"no type":            {encode(t, 1, entry{typ: 0, data: "x"}), "unexpected type"},
		"type 5":             {encode(t, 1, entry{typ: 5, data: "x"}), "unexpected type"},
		"empty delta":        {on("\x03"), "malformed delta"},
		"endless delta":      {on(strings.Repeat("\xff", 20)), "malformed delta"},
		"delta off its base": {on(delta("one two", "", 7)), "delta"},
		"delta too short":    {on(delta(one, "x", 9)), "delta"},
		"together":           {encode(t, len(chain), chain...), ErrHeld.Error()},
		"a huge object":      {[]byte("PACK\x00\x00\x00\x02\x00\x00\x00\x01\xbf\xff\xff\xff\xff\xff\x7f"), ErrHeld.Error()},
	} {
		if _, err := Unpack(bytes.NewReader(c.pack)); err == nil || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s: got %v, want %s", name, err, c.says)
		}
	}
}

// A delta of a few bytes that says it becomes gigabytes is never put together,
// and neither is what rests on it.
func TestUnpackDeltaBomb(t *testing.T) {
	one := "one"
	bomb := delta(one, "", 1<<40)
	got, err := Unpack(bytes.NewReader(encode(t, 2, entry{typ: plumbing.BlobObject, data: one},
		entry{typ: plumbing.REFDeltaObject, base: hashOf("blob", one), data: bomb})))
	if err != nil || len(got.by) != 1 {
		t.Errorf("got %v, %v", got, err)
	}
}

// The two files of the SHAttered attack have one SHA-1; whoever could make the
// like could put a signature on another tree. The blocks that show it are enough.
func TestCollisionIsRefused(t *testing.T) {
	// The first 320 bytes of the first file: its prefix and the two blocks.
	shattered, err := hex.DecodeString("255044462d312e330a25e2e3cfd30a0a0a312030206f626a0a3c3c2f57696474682032203020522f4865696768742033203020522f547970652034203020522f537562747970652035203020522f46696c7465722036203020522f436f6c6f7253706163652037203020522f4c656e6774682038203020522f42697473506572436f6d706f6e656e7420383e3e0a73747265616d0affd8fffe00245348412d3120697320646561642121212121852fec092339759c39b1a1c63c4c97e1fffe01" +
		"7f46dc93a6b67e013b029aaa1db2560b45ca67d688c7f84b8c4c791fe02b3df614f86db1690901c56b45c1530afedfb76038e972722fe7ad728f0e4904e046c230570fe9d41398abe12ef5bc942be33542a4802d98b5d70f2a332ec37fac3514e74ddc0f2cc1a874cd0c78305a21566461309789606bd0bf3f98cda8044629a1")
	if err != nil {
		t.Fatal(err)
	}
	h := newHash(plumbing.BlobObject, 0)
	h.Reset() // as the file stands, without a header of Git's
	h.Write(shattered)
	if _, err := sum(h); err == nil {
		t.Error("it is not noticed")
	}
}

const someHash = "0123456789abcdef0123456789abcdef01234567"

func TestReadCommit(t *testing.T) {
	raw := "tree " + someHash + "\nparent " + someHash + "\nauthor a\ngpgsig -----BEGIN\n \n one\n -----END\nencoding x\n\ngpgsig is a word here\n tree too\n"
	got, err := ReadCommit([]byte(raw))
	if err != nil {
		t.Fatal(err)
	}
	hash, err := ReadHash(someHash)
	if err != nil {
		t.Fatal(err)
	}
	want := &Commit{Tree: hash, Parents: []plumbing.Hash{hash}, Signature: "-----BEGIN\n\none\n-----END",
		Payload: []byte("tree " + someHash + "\nparent " + someHash + "\nauthor a\nencoding x\n\ngpgsig is a word here\n tree too\n")}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	for name, raw := range map[string]string{
		"empty":           "",
		"no end":          "tree " + someHash + "\n",
		"no tree":         "author a\n\nx",
		"two trees":       "tree " + someHash + "\ntree " + someHash + "\n\n",
		"short tree":      "tree 0123\n\n",
		"upper-case tree": "tree " + strings.ToUpper(someHash) + "\n\n",
		"two signatures":  "tree " + someHash + "\ngpgsig a\ngpgsig b\n\n",
		"far apart":       "tree " + someHash + "\ngpgsig a\nx y\ngpgsig b\n\n",
		"many parents":    "tree " + someHash + "\n" + strings.Repeat("parent "+someHash+"\n", maxParents+1) + "\n",
	} {
		if got, err := ReadCommit([]byte(raw)); err == nil {
			t.Errorf("%s: got %+v", name, got)
		}
	}
}

func TestReadTag(t *testing.T) {
	head := "object " + someHash + "\ntype commit\ntag v1\ntagger a\n\nmessage\n"
	signature := "-----BEGIN SSH SIGNATURE-----\nx\n-----END SSH SIGNATURE-----\n"
	got, err := ReadTag([]byte(head + signature))
	if err != nil || got.Name != "v1" || got.Object.String() != someHash || string(got.Payload) != head || got.Signature != signature {
		t.Errorf("got %+v, %v", got, err)
	}
	if got, err := ReadTag([]byte(head)); err != nil || got.Signature != "" || string(got.Payload) != head {
		t.Errorf("without a signature: got %+v, %v", got, err)
	}
	for _, raw := range []string{"", head[:20], strings.Replace(head, "commit", "tree", 1), strings.Replace(head, "tag v1\n", "", 1), "\n\n" + head,
		strings.Replace(head, someHash, "x", 1)} {
		if got, err := ReadTag([]byte(raw)); err == nil {
			t.Errorf("%q: got %+v", raw, got)
		}
	}
}

func TestReadTree(t *testing.T) {
	line := "100644 a\x00" + strings.Repeat("h", 20)
	if got, err := ReadTree([]byte(line + "40000 b\x00" + strings.Repeat("i", 20))); err != nil || len(got) != 2 || got[1].Mode != Directory || got[1].Name != "b" {
		t.Errorf("got %+v, %v", got, err)
	}
	for _, raw := range []string{"x", line[:len(line)-1], line + "1", "100644a\x00" + strings.Repeat("h", 20),
		"100644 \x00" + strings.Repeat("h", 20), "40000 ..\x00" + strings.Repeat("h", 20), "100644 a/b\x00" + strings.Repeat("h", 20)} {
		if got, err := ReadTree([]byte(raw)); err == nil {
			t.Errorf("%q: got %+v", raw, got)
		}
	}
}

// Whatever a server sends is read or refused.
func FuzzUnpack(f *testing.F) {
	one := "one"
	f.Add(encode(f, 2, entry{typ: plumbing.BlobObject, data: one}, entry{typ: plumbing.REFDeltaObject, base: hashOf("blob", one), data: delta(one, " two", 7)}))
	f.Add(encode(f, 1, entry{typ: plumbing.CommitObject, data: "tree " + someHash + "\n\nx"}))
	f.Fuzz(func(t *testing.T, data []byte) {
		o, err := Unpack(bytes.NewReader(data))
		if err != nil {
			return
		}
		for hash, found := range o.by {
			if found.typ == plumbing.CommitObject {
				_, _ = o.Descends(hash, plumbing.ZeroHash)
			}
			if got := hashOf(found.typ.String(), string(found.data)); got != hash {
				t.Errorf("%s is kept as %s", got, hash)
			}
		}
	})
}

func FuzzReadObjects(f *testing.F) {
	f.Add([]byte("tree " + someHash + "\ngpgsig a\n b\n\nx"))
	f.Add([]byte("object " + someHash + "\ntype commit\ntag v1\n\nx\n-----BEGIN PGP SIGNATURE-----\n"))
	f.Add([]byte("40000 b\x00" + strings.Repeat("i", 20)))
	f.Fuzz(func(t *testing.T, raw []byte) {
		if c, err := ReadCommit(raw); err == nil && len(c.Payload) > len(raw) {
			t.Error("the payload is longer than the commit")
		}
		if g, err := ReadTag(raw); err == nil && string(g.Payload)+g.Signature != string(raw) {
			t.Error("the tag is not its payload and its signature")
		}
		if entries, err := ReadTree(raw); err == nil {
			for _, e := range entries {
				if e.Name == "" || e.Name == ".." || strings.Contains(e.Name, "/") {
					t.Errorf("the name %q", e.Name)
				}
			}
		}
	})
}
