package document_test

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/writpdp/writ/document"
)

var names = rapid.SampledFrom([]string{"a", "b", "", "0", "1", "*", "a/b", "~", "~1", "é", "😀"})

// values are value trees in which strings sometimes hold documents.
func values(depth int) *rapid.Generator[any] {
	return rapid.Custom(func(t *rapid.T) any {
		kinds := 5
		if depth > 0 {
			kinds = 8
		}
		switch rapid.IntRange(0, kinds-1).Draw(t, "kind") {
		case 0:
			return nil
		case 1:
			return rapid.Bool().Draw(t, "bool")
		case 2:
			return rapid.Int32().Draw(t, "number")
		case 3:
			return rapid.SampledFrom([]string{"", "x", "[", "{}", "[1]", `"{}"`, document.Mask, "1"}).Draw(t, "string")
		case 4:
			return rapid.Float64Range(-1e6, 1e6).Draw(t, "fraction")
		case 5:
			return rapid.SliceOfN(values(depth-1), 0, 4).Draw(t, "array")
		case 6:
			return rapid.MapOfN(names, values(depth-1), 0, 4).Draw(t, "object")
		}
		data, err := json.Marshal(values(depth-1).Draw(t, "inner"))
		if err != nil {
			t.Fatal(err)
		}
		return string(data)
	})
}

var patterns = rapid.Custom(func(t *rapid.T) string {
	token := rapid.OneOf(names, rapid.Just("*"), rapid.Just("*"))
	var b strings.Builder
	for _, name := range rapid.SliceOfN(token, 0, 5).Draw(t, "tokens") {
		b.WriteByte('/')
		b.WriteString(strings.NewReplacer("~", "~0", "/", "~1").Replace(name))
	}
	return b.String()
})

func drawDocument(t *rapid.T) *document.Document {
	data, err := json.Marshal(values(4).Draw(t, "document"))
	if err != nil {
		t.Fatal(err)
	}
	d, err := document.Parse(data)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func expand(t *rapid.T, d *document.Document, pattern string) []string {
	found, err := d.Expand(pattern)
	if err != nil {
		t.Fatal(err)
	}
	return found
}

// What a pattern matched is masked afterwards, and to mask it again changes
// nothing.
func TestMaskedIsMasked(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		d, pattern := drawDocument(t), patterns.Draw(t, "pattern")
		found := expand(t, d, pattern)
		var all []document.Edit
		for _, pointer := range found {
			all = append(all, document.Edit{Pointer: pointer})
		}
		masked, err := d.Apply(all)
		if err != nil {
			t.Fatal(err)
		}
		again := expand(t, masked, pattern)
		if strings.Join(again, "\n") != strings.Join(found, "\n") {
			t.Fatalf("%s matched %q, and %q in %s", pattern, found, again, masked.Canonical())
		}
		for _, pointer := range again {
			if got := at(t, masked, pointer); got != document.Mask {
				t.Fatalf("%v is at %q of %s", got, pointer, masked.Canonical())
			}
		}
		if twice, err := masked.Apply(all); err != nil || twice.Digest() != masked.Digest() {
			t.Fatalf("masked twice: %v", err)
		}
	})
}

// What a pattern matched is gone afterwards. An element's index is taken by its
// successor, so a pattern that ends in a name is one of objects here.
func TestRemovedIsGone(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		d, pattern := drawDocument(t), patterns.Draw(t, "pattern")
		if pattern == "" {
			t.Skip("the whole document cannot be removed")
		}
		var all []document.Edit
		for _, pointer := range expand(t, d, pattern) {
			all = append(all, document.Edit{Pointer: pointer, Method: document.Removed})
		}
		removed, err := d.Apply(all)
		if err != nil {
			t.Fatal(err)
		}
		if strings.HasSuffix(pattern, "/0") || strings.HasSuffix(pattern, "/1") {
			return
		}
		if left := expand(t, removed, pattern); len(left) > 0 {
			t.Fatalf("%s still matches %q in %s", pattern, left, removed.Canonical())
		}
	})
}

// at finds the value at a pointer in its own way: by masking and looking at
// what changed would be the code under test again.
func at(t *rapid.T, d *document.Document, pointer string) any {
	var value any
	if err := json.Unmarshal(d.Canonical(), &value); err != nil {
		t.Fatal(err)
	}
	if pointer == "" {
		return value
	}
	for token := range strings.SplitSeq(pointer[1:], "/") {
		token = strings.NewReplacer("~1", "/", "~0", "~").Replace(token)
		if text, ok := value.(string); ok {
			value = nil
			if err := json.Unmarshal([]byte(text), &value); err != nil {
				t.Fatal(err)
			}
		}
		switch v := value.(type) {
		case map[string]any:
			value = v[token]
		case []any:
			value = v[strings.IndexByte("0123456789", token[0])]
		default:
			t.Fatal(errors.New("the pointer leads nowhere"))
		}
	}
	return value
}
