package document_test

import (
	"encoding/json"
	"math/rand/v2"
	"os"
	"testing"

	"github.com/writpdp/writ/document"
)

// vector is one of testdata/redaction-vectors.json, which is for clients in any
// language: a document or a text, edits, and what they make of it, or that they
// cannot be made.
type vector struct {
	Name     string
	Document json.RawMessage
	Text     *string
	Edits    []struct {
		Pointer, Method, Replacement string
		Start, End                   int
	}
	Result json.RawMessage
	Error  bool
}

func readVectors(t *testing.T) []vector {
	data, err := os.ReadFile("testdata/redaction-vectors.json")
	if err != nil {
		t.Fatal(err)
	}
	var all []vector
	if err := json.Unmarshal(data, &all); err != nil {
		t.Fatal(err)
	}
	return all
}

func (v *vector) edits(t *testing.T) []document.Edit {
	var all []document.Edit
	for _, e := range v.Edits {
		method, ok := document.MethodOf(e.Method)
		if !ok {
			t.Fatalf("no method %q", e.Method)
		}
		all = append(all, document.Edit{Pointer: e.Pointer, Method: method, Start: e.Start, End: e.End, Replacement: e.Replacement})
	}
	return all
}

// apply is what edits make of a vector, in the form of RFC 8785.
func (v *vector) apply(t *testing.T, edits []document.Edit) (string, error) {
	if v.Text != nil {
		got, err := document.ApplyText(*v.Text, edits)
		data, _ := json.Marshal(got)
		return string(parse(t, string(data)).Canonical()), err
	}
	got, err := parse(t, string(v.Document)).Apply(edits)
	if err != nil {
		return "", err
	}
	return string(got.Canonical()), nil
}

// The order of the edits makes no difference.
func TestRedactionVectors(t *testing.T) {
	for _, v := range readVectors(t) {
		t.Run(v.Name, func(t *testing.T) {
			edits := v.edits(t)
			for range 6 {
				got, err := v.apply(t, edits)
				switch {
				case v.Error && err == nil:
					t.Errorf("got %s, want an error", got)
				case !v.Error && err != nil:
					t.Error(err)
				case !v.Error && got != string(parse(t, string(v.Result)).Canonical()):
					t.Errorf("got %s, want %s", got, v.Result)
				}
				rand.Shuffle(len(edits), func(i, j int) { edits[i], edits[j] = edits[j], edits[i] })
			}
		})
	}
}
