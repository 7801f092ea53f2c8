package main

import (
	"encoding/json"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/writpdp/writ/document"
	"github.com/writpdp/writ/test/detection/corpus"
	"github.com/writpdp/writ/test/detection/develop"
)

// The bars, over the structured types.
const (
	precision = 0.97
	recall    = 0.95
)

func TestBars(t *testing.T) {
	set, err := detectors()
	if err != nil {
		t.Fatal(err)
	}
	for _, h := range halves {
		documents, err := h.documents()
		if err != nil {
			t.Fatal(err)
		}
		score, err := measure(set, documents)
		if err != nil {
			t.Fatal(err)
		}
		var table strings.Builder
		if err := corpus.Plain(&table, corpus.Table([]string{"writ"}, []*corpus.Score{score})); err != nil {
			t.Fatal(err)
		}
		t.Logf("%s, %s\n%s", h.name, h.made, table.String())
		if got := score.Structured(); got.Precision() < precision || got.Recall() < recall {
			t.Errorf("%s: precision %.3f and recall %.3f, want at least %.2f and %.2f", h.name, got.Precision(), got.Recall(), precision, recall)
		}
	}
}

// The corpus is what it claims: enough of everything, and each label where it says.
func TestCorpus(t *testing.T) {
	total := 0
	for _, h := range halves {
		documents, err := h.documents()
		if err != nil {
			t.Fatal(err)
		}
		total += len(documents)
		count, locales, ids := map[string]int{}, map[string]bool{}, map[string]bool{}
		for i := range documents {
			d := &documents[i]
			if ids[d.ID] {
				t.Errorf("%s is there twice", d.ID)
			}
			ids[d.ID], locales[d.Locale] = true, true
			if err := labelled(d); err != nil {
				t.Errorf("%s: %v\n%s", d.ID, err, d.Text)
			}
			for _, l := range d.Labels {
				count[l.Detector]++
			}
		}
		for _, d := range corpus.Detectors {
			if d.ID != "named-secret" && count[d.ID] < 20 { // labelled as high-entropy
				t.Errorf("%s: %s is there %d times, which says little", h.name, d.ID, count[d.ID])
			}
			delete(count, d.ID)
		}
		if len(count) > 0 {
			t.Errorf("%s: labels of no detector that is measured: %v", h.name, count)
		}
		if len(locales) < 12 {
			t.Errorf("%s: %d locales, want at least 12", h.name, len(locales))
		}
	}
	if total < 5000 {
		t.Errorf("%d documents, want at least 5,000", total)
	}
}

// labelled sees that labels and decoys are within their strings, and apart.
func labelled(d *corpus.Document) error {
	all := slices.Concat(d.Labels, d.Decoys)
	for i, l := range all {
		text, err := textAt(d, l.Pointer)
		if err != nil {
			return err
		}
		if l.End > len(text) || l.Start > l.End || l.Start == l.End && l.End > 0 {
			return fmt.Errorf("%+v is not within %d bytes", l, len(text))
		}
		for _, m := range all[:i] {
			if l.Pointer == m.Pointer && l.Start < m.End && m.Start < l.End {
				return fmt.Errorf("%+v and %+v overlap", l, m)
			}
		}
	}
	return nil
}

// textAt is the string, or the numeral, at a pointer.
func textAt(d *corpus.Document, pointer string) (string, error) {
	if !d.JSON {
		return d.Text, nil
	}
	var at any = d.Text
	for _, token := range append([]string{""}, strings.Split(pointer, "/")[1:]...) {
		if text, ok := at.(string); ok {
			if err := json.Unmarshal([]byte(text), &at); err != nil {
				return "", fmt.Errorf("at %s: %w", pointer, err)
			}
		}
		switch v := at.(type) {
		case map[string]any:
			if token != "" {
				at = v[document.Unescape(token)]
			}
		case []any:
			i, err := strconv.Atoi(token)
			if err != nil || i >= len(v) {
				return "", fmt.Errorf("nothing is at %s", pointer)
			}
			at = v[i]
		default:
			return "", fmt.Errorf("nothing is at %s", pointer)
		}
	}
	switch v := at.(type) {
	case string:
		return v, nil
	case float64:
		return "", nil // labelled as a whole
	}
	return "", fmt.Errorf("a %T is at %s", at, pointer)
}

func TestDocumentsAreOfTheirSeed(t *testing.T) {
	once, again, other := develop.Documents(1, 50), develop.Documents(1, 50), develop.Documents(2, 50)
	text := func(all []corpus.Document) string {
		var b strings.Builder
		if err := corpus.Write(&b, all); err != nil {
			t.Fatal(err)
		}
		return b.String()
	}
	if text(once) != text(again) {
		t.Error("the same seed made different documents")
	}
	if text(once) == text(other) {
		t.Error("different seeds made the same documents")
	}
}

// What the command writes, and another scanner's findings of it.
func TestRun(t *testing.T) {
	dir := t.TempDir()
	if err := run(&strings.Builder{}, "develop", false, false, dir, ""); err != nil {
		t.Fatal(err)
	}
	f, err := os.Open(dir + "/develop.jsonl")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	documents, err := corpus.Read(f)
	if err != nil {
		t.Fatal(err)
	}
	if len(documents) != size {
		t.Fatalf("%d documents were written, want %d", len(documents), size)
	}
	if err := os.WriteFile(dir+"/develop.found.jsonl", []byte(strings.Repeat("[]\n", size)), 0o600); err != nil {
		t.Fatal(err)
	}
	var out strings.Builder
	if err := run(&out, "develop", true, false, "", dir); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"develop: 2600 documents", "beside precision", "structured, together", "missed\n"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("%q is not in:\n%s", want, out.String())
		}
	}
	if err := os.WriteFile(dir+"/develop.found.jsonl", []byte("[]\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := run(&out, "develop", false, true, "", dir); err == nil {
		t.Error("findings for one document are taken for those of all")
	}
}
