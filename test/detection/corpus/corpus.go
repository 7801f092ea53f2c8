// Package corpus is documents of which it is known what is in them, and what a
// scanner that was asked about them is worth.
package corpus

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"strings"
)

// Label is one thing that is in a document.
type Label struct {
	// Detector is the id of what should find it. Of a decoy it is what the thing
	// really is, such as "order number".
	Detector string `json:"detector"`
	// Pointer names the string that it is in: RFC 6901, going on below strings that
	// hold JSON; empty: the text.
	Pointer string `json:"pointer,omitempty"`
	// Start and End are its bytes there; both 0: the whole value.
	Start int `json:"start"`
	End   int `json:"end"`
}

// Document is one labelled document.
type Document struct {
	ID string `json:"id"`
	// Kind is what it is, such as "ticket".
	Kind string `json:"kind"`
	// Locale is whose data are in it, such as "de-DE".
	Locale string `json:"locale"`
	// JSON says that Text is a document, and not a plain text.
	JSON bool   `json:"json,omitempty"`
	Text string `json:"text"`
	// Labels are all that is in it that a detector should find.
	Labels []Label `json:"labels"`
	// Decoys look like something and are not. A finding on one is false as any other
	// is; they are named so that reports can say what was taken for what.
	Decoys []Label `json:"decoys,omitempty"`
}

// Read reads documents, one in a line of JSON.
func Read(r io.Reader) ([]Document, error) {
	var all []Document
	lines := bufio.NewScanner(r)
	lines.Buffer(nil, 4<<20)
	for lines.Scan() {
		var d Document
		decoder := json.NewDecoder(strings.NewReader(lines.Text()))
		decoder.DisallowUnknownFields()
		if err := decoder.Decode(&d); err != nil {
			return nil, fmt.Errorf("line %d: %w", len(all)+1, err)
		}
		all = append(all, d)
	}
	return all, lines.Err()
}

// Write writes documents as Read reads them.
func Write(w io.Writer, all []Document) error {
	out := json.NewEncoder(w)
	out.SetEscapeHTML(false)
	for i := range all {
		if err := out.Encode(&all[i]); err != nil {
			return fmt.Errorf("writing %s: %w", all[i].ID, err)
		}
	}
	return nil
}
