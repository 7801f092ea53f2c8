// Package heldout is the half of the corpus that no detector is developed on:
// generate.py makes it.
package heldout

import (
	"bytes"
	"compress/gzip"
	_ "embed"
	"fmt"

	"github.com/writpdp/writ/test/detection/corpus"
)

//go:embed heldout.jsonl.gz
var packed []byte

// Documents are all of them.
func Documents() ([]corpus.Document, error) {
	unpacked, err := gzip.NewReader(bytes.NewReader(packed))
	if err != nil {
		return nil, fmt.Errorf("unpacking the held-out documents: %w", err)
	}
	defer unpacked.Close()
	all, err := corpus.Read(unpacked)
	if err != nil {
		return nil, fmt.Errorf("reading the held-out documents: %w", err)
	}
	return all, nil
}
