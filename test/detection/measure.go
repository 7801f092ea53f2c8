package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"os"
	"testing/fstest"

	"github.com/writpdp/writ/document"
	"github.com/writpdp/writ/policies/policiestest"
	"github.com/writpdp/writ/server/content/detect"
	"github.com/writpdp/writ/server/policy"
	"github.com/writpdp/writ/test/detection/corpus"
	"github.com/writpdp/writ/test/detection/develop"
	"github.com/writpdp/writ/test/detection/heldout"
)

// seed and size make the half to develop on.
const (
	seed = 20261127
	size = 2600
)

// halves are the corpus. No template, no generator of values and no word of one is
// taken from the other.
var halves = []struct {
	name, made string
	documents  func() ([]corpus.Document, error)
}{
	{"develop", fmt.Sprintf("made by test/detection/develop with seed %d", seed),
		func() ([]corpus.Document, error) { return develop.Documents(seed, size), nil }},
	{"heldout", "made by test/detection/heldout/generate.py with seed 20261127", heldout.Documents},
}

// detectors are the built-in ones, all of them on and with the usual countries for
// telephones.
func detectors() (*detect.Set, error) {
	const name = "detectors.yaml"
	files := policiestest.Sample()
	files[name] = &fstest.MapFile{Data: []byte("off: []\n")}
	bundle, err := policy.Load(files)
	if err != nil {
		return nil, fmt.Errorf("loading the sample bundle: %w", err)
	}
	return bundle.Detect, nil
}

// measure asks detectors about documents.
func measure(set *detect.Set, documents []corpus.Document) (*corpus.Score, error) {
	score := corpus.New()
	for i := range documents {
		d := &documents[i]
		found, err := inspect(set, d)
		if err != nil {
			return nil, err
		}
		score.Add(d, found)
	}
	return score, nil
}

// inspect is what detectors find in a document, of the types that are measured.
func inspect(set *detect.Set, d *corpus.Document) ([]corpus.Label, error) {
	var inspection detect.Inspection
	switch {
	case set == nil:
	case d.JSON:
		parsed, err := document.Parse([]byte(d.Text))
		if err != nil {
			return nil, fmt.Errorf("%s: %w", d.ID, err)
		}
		inspection = set.Inspect(parsed)
	default:
		inspection = set.InspectText(d.Text)
	}
	var found []corpus.Label
	for _, f := range inspection.Findings {
		found = append(found, corpus.Label{Detector: f.Detector, Pointer: f.Pointer, Start: f.Start, End: f.End})
	}
	return found, nil
}

// compare reads what another scanner found: a line for each document, with the labels
// that it would give.
func compare(name string, documents []corpus.Document) (*corpus.Score, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	score := corpus.New()
	lines := bufio.NewScanner(f)
	lines.Buffer(nil, 4<<20)
	for i := range documents {
		if !lines.Scan() {
			return nil, fmt.Errorf("%s: %d lines for %d documents", name, i, len(documents))
		}
		var found []corpus.Label
		if err := json.Unmarshal(lines.Bytes(), &found); err != nil {
			return nil, fmt.Errorf("%s:%d: %w", name, i+1, err)
		}
		score.Add(&documents[i], found)
	}
	return score, lines.Err()
}
