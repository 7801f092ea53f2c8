// Package detect finds personal data, secrets and what else a bundle names in
// documents and texts. It is pure: the same bytes give the same findings.
package detect

import (
	"slices"

	"github.com/writpdp/writ/document"
)

// Set is a bundle's compiled detectors. It is immutable, and safe for concurrent
// use.
type Set struct {
	digest [32]byte
}

// Digest identifies what the set finds: sets with the same one find the same.
func (s *Set) Digest() [32]byte { return s.digest }

// Inspect looks into every string, number and member name of a document, and into
// the documents that its strings hold.
func (s *Set) Inspect(*document.Document) Inspection { return Inspection{By: s.digest} }

// InspectText looks into a plain text.
func (s *Set) InspectText(string) Inspection { return Inspection{By: s.digest} }

// Labels are what a detector says of the data that it finds; nil: the set has no such
// detector.
func (s *Set) Labels(string) []string { return nil }

// Finding is one thing that a detector found.
type Finding struct {
	// Detector is its id, and Labels are what it says of the data, in order.
	Detector string
	Labels   []string
	// Pointer names the value that it is in: RFC 6901, going on below strings that
	// hold JSON, as document.Finder does; empty: the whole document, or the text.
	Pointer string
	// Start and End are the bytes of the string there; both 0: the whole value.
	Start, End int
	// Confidence is from 1 to 100.
	Confidence uint8
	// Validator is what checked it beyond its form, such as "luhn"; empty: nothing did.
	Validator string
	// Encoding is what it was decoded from, such as "base64"; the span is then that
	// of what was decoded. Empty: it was not encoded.
	Encoding string
}

// Gap is something that was not looked into.
type Gap struct {
	// Pointer is as a finding's.
	Pointer string
	// Kind is what it is, such as "image".
	Kind string
}

// Inspection is what was found in one document or text.
type Inspection struct {
	// By is the digest of the set that looked.
	By       [32]byte
	Findings []Finding
	// Gaps are what was not looked into.
	Gaps []Gap
	// Cut says that there was more than may be told.
	Cut bool
	// Skipped says that nothing was looked into, because it was refused already.
	Skipped bool
	// Unknown says that it is not known what was found: of a record that does not
	// tell.
	Unknown bool
}

// Labels are what the findings say of the data, in order.
func (i *Inspection) Labels() []string {
	if i == nil {
		return nil
	}
	var all []string
	for f := range i.Findings {
		all = append(all, i.Findings[f].Labels...)
	}
	slices.Sort(all)
	return slices.Compact(all)
}

// Detectors are the ids of those that found something, in order.
func (i *Inspection) Detectors() []string {
	if i == nil {
		return nil
	}
	var all []string
	for f := range i.Findings {
		if id := i.Findings[f].Detector; id != "" {
			all = append(all, id)
		}
	}
	slices.Sort(all)
	return slices.Compact(all)
}

// Whole reports whether all of a document was looked into.
func (i *Inspection) Whole() bool {
	return i != nil && len(i.Gaps) == 0 && !i.Cut && !i.Skipped && !i.Unknown
}
