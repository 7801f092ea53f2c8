package detect

import (
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"sync"

	"github.com/nyaruka/phonenumbers"

	"github.com/writpdp/writ/server/content/detect/leak"
	"github.com/writpdp/writ/server/content/detect/words"
)

// generation changes with what the built-in detectors find, so that nobody takes the
// findings of others for their own.
const generation = "1"

// Bounds of what a bundle says.
const (
	maxCustom  = 64
	maxPattern = 1024
	maxTerms   = 10_000
)

// The limits that hold where a bundle names none, and the most that it can name.
const (
	defaultFindings, mostFindings = 4096, 65_536
	defaultBytes, mostBytes       = 4 << 20, 16 << 20
	defaultWork, mostWork         = 400_000, 4_000_000
)

// Form is detectors.yaml.
type Form struct {
	// Off are detectors that look for nothing.
	Off []string `yaml:"off"`
	// Labels are, by detector, labels in the place of its own.
	Labels map[string][]string `yaml:"labels"`
	// Regions are the countries (ISO 3166) whose phone numbers are known without the
	// country's prefix; none: those of Regions.
	Regions []string `yaml:"regions"`
	// Uninspected are the kinds of what may pass although nobody can look into it.
	Uninspected []string `yaml:"uninspected"`
	// Limits are those of one inspection; 0: the usual.
	Limits struct {
		Findings int `yaml:"findings"`
		Bytes    int `yaml:"bytes"`
		Work     int `yaml:"work"`
	} `yaml:"limits"`
	// Custom are the bundle's own detectors, by id.
	Custom map[string]Custom `yaml:"custom"`
}

// Custom is one detector of a bundle's: exactly one of Regex, Terms and Hashes says
// what it finds.
type Custom struct {
	Labels []string `yaml:"labels"`
	// Regex is a regular expression in RE2's syntax. Its first group, if there is one,
	// is what is found.
	Regex string `yaml:"regex"`
	// Terms are words or phrases, without regard to case.
	Terms []string `yaml:"terms"`
	// Hashes is a file of salted hashes of a column's values.
	Hashes string `yaml:"hashes"`
}

// Kinds are those of a Gap: what may be named as Uninspected.
var Kinds = []string{"archive", "audio", "binary", "cut", "gzip", "image", "nested", "oversize", "pdf", "withheld"}

// Regions are those of phone numbers where a bundle names none.
var Regions = []string{"US", "GB", "DE", "FR", "ES", "IT", "NL", "BE", "AT", "CH", "SE", "NO", "DK", "FI", "PL", "PT", "IE", "AU", "IN", "JP"}

// Set is a bundle's compiled detectors. It is immutable, and safe for concurrent
// use.
type Set struct {
	digest    [32]byte
	detectors []detector
	words     *words.Automaton
	said      []spokenWord
	byLeak    map[string]int
	leaks     *leak.Rules
	leakWords *words.Automaton
	regions   []string
	passes    map[string]bool
	terms     bool // some words or values of the bundle's are looked for
	custom    []custom
	exactSets []exactSet
	findings  int
	bytes     int
	work      int
}

// spokenWord is what a word of a set's automaton is.
type spokenWord struct {
	kinds   kind
	special func(r *reader, start, end int)
	leak    int32 // its number among the keywords of leaks; -1: none
	term    int   // the detector whose term it is; -1: none
}

type custom struct {
	detector int
	regex    *regexp.Regexp
	group    int
}

// Default is a set of the built-in detectors alone.
var Default = sync.OnceValue(func() *Set {
	s, err := (Form{}).Compile(nil)
	if err != nil {
		panic(err) // nothing of a bundle is in it
	}
	return s
})

// Compile makes a set. read reads a file of the bundle. The error is a *FormError.
func (f Form) Compile(read func(name string) ([]byte, error)) (*Set, error) {
	s := &Set{detectors: builtIn(), leaks: leak.Default(), regions: Regions, passes: map[string]bool{},
		findings: f.Limits.Findings, bytes: f.Limits.Bytes, work: f.Limits.Work}
	s.byLeak = map[string]int{leak.APIKey: apiKey, leak.CloudKey: cloudKey, leak.JWT: jwt, leak.Named: namedSecret,
		leak.OAuth: oauthToken, leak.PrivateKey: privateKey, leak.Webhook: webhookURL}
	sum := sha256.New()
	terms, err := f.own(s, read, func(data []byte) { sum.Write(data) })
	if err != nil {
		return nil, err
	}
	for _, step := range []func(*Set) error{f.switches, f.passing, f.limits} {
		if err := step(s); err != nil {
			return nil, err
		}
	}
	if err := s.vocabulary(terms); err != nil {
		return nil, at(err, "custom")
	}
	said, err := json.Marshal(f)
	if err != nil {
		return nil, fmt.Errorf("writing the detectors down: %w", err)
	}
	sum.Write([]byte(generation))
	sum.Write(said)
	s.digest = [32]byte(sum.Sum(nil))
	return s, nil
}

// FormError says what is wrong with detectors.yaml, and where.
type FormError struct {
	// Path are the keys that lead there.
	Path []string
	Err  error
}

func (e *FormError) Error() string { return strings.Join(e.Path, ".") + ": " + e.Err.Error() }

// Unwrap is what is wrong.
func (e *FormError) Unwrap() error { return e.Err }

func at(err error, path ...string) error { return &FormError{Path: path, Err: err} }

// nameForm is that of detectors and labels.
var nameForm = regexp.MustCompile(`^[a-z0-9][a-z0-9._-]{0,63}$`)

func checkLabels(labels []string) error {
	for _, l := range labels {
		if !nameForm.MatchString(l) {
			return fmt.Errorf("the label %q is not of the form %s", l, nameForm)
		}
	}
	if len(labels) > 16 {
		return errors.New("more than 16 labels")
	}
	return nil
}

// own adds the bundle's own detectors, and returns their terms.
func (f Form) own(s *Set, read func(string) ([]byte, error), sum func([]byte)) (map[string]int, error) {
	terms := map[string]int{}
	if len(f.Custom) > maxCustom {
		return nil, at(fmt.Errorf("more than %d detectors", maxCustom), "custom")
	}
	for _, id := range sorted(f.Custom) {
		c, number := f.Custom[id], len(s.detectors)
		err := checkLabels(c.Labels)
		switch {
		case err != nil:
		case !nameForm.MatchString(id):
			err = fmt.Errorf("the id is not of the form %s", nameForm)
		case slices.ContainsFunc(s.detectors, func(d detector) bool { return d.id == id }):
			err = errors.New("a built-in detector has the same id")
		case len(c.Labels) == 0:
			err = errors.New("it has no labels")
		case c.ways() != 1:
			err = errors.New("it needs exactly one of regex, terms and hashes")
		case c.Regex != "":
			err = s.pattern(number, c.Regex)
		case c.Hashes != "":
			err = s.hashes(number, c.Hashes, read, sum)
		default:
			for _, t := range c.Terms {
				t = strings.ToLower(strings.TrimSpace(t))
				if terms[t] = number; len(t) < 3 || len(t) > 128 {
					err = errors.New("a term is shorter than 3 or longer than 128 bytes")
				}
			}
		}
		if err != nil {
			return nil, at(err, "custom", id)
		}
		s.detectors = append(s.detectors, detector{id: id, labels: slices.Sorted(slices.Values(c.Labels))})
	}
	if len(terms) > maxTerms {
		return nil, at(fmt.Errorf("more than %d terms", maxTerms), "custom")
	}
	return terms, nil
}

func (s *Set) pattern(number int, text string) error {
	if len(text) > maxPattern {
		return fmt.Errorf("the regular expression is longer than %d bytes", maxPattern)
	}
	re, err := regexp.Compile(text)
	if err != nil {
		return fmt.Errorf("reading the regular expression: %w", err)
	}
	if re.MatchString("") {
		return errors.New("the regular expression matches an empty text")
	}
	s.custom = append(s.custom, custom{detector: number, regex: re, group: min(1, re.NumSubexp())})
	return nil
}

// find is the number of a detector; -1: there is none.
func (s *Set) find(id string) int {
	return slices.IndexFunc(s.detectors, func(d detector) bool { return d.id == id })
}

func (f Form) switches(s *Set) error {
	for _, id := range f.Off {
		n := s.find(id)
		if n < 0 {
			return at(fmt.Errorf("there is no detector %q", id), "off")
		}
		s.detectors[n].off = true
	}
	for _, id := range sorted(f.Labels) {
		n := s.find(id)
		if n < 0 {
			return at(errors.New("there is no such detector"), "labels", id)
		}
		if err := checkLabels(f.Labels[id]); err != nil {
			return at(err, "labels", id)
		}
		s.detectors[n].labels = slices.Sorted(slices.Values(f.Labels[id]))
	}
	return nil
}

func (f Form) passing(s *Set) error {
	for _, kind := range f.Uninspected {
		if !slices.Contains(Kinds, kind) {
			return at(fmt.Errorf("%q is none of %s", kind, strings.Join(Kinds, ", ")), "uninspected")
		}
		s.passes[kind] = true
	}
	known := phonenumbers.GetSupportedRegions()
	for _, region := range f.Regions {
		if !known[region] {
			return at(fmt.Errorf("%q is no region that phone numbers are known of", region), "regions")
		}
	}
	if len(f.Regions) > 0 {
		s.regions = slices.Clone(f.Regions)
	}
	return nil
}

func (f Form) limits(s *Set) error {
	for _, l := range []struct {
		name        string
		value       *int
		usual, most int
	}{{"findings", &s.findings, defaultFindings, mostFindings}, {"bytes", &s.bytes, defaultBytes, mostBytes}, {"work", &s.work, defaultWork, mostWork}} {
		if *l.value < 0 || *l.value > l.most {
			return at(fmt.Errorf("%d is not within 0 to %d", *l.value, l.most), "limits", l.name)
		}
		if *l.value == 0 {
			*l.value = l.usual
		}
	}
	return nil
}

// vocabulary makes the automaton of everything that is looked for by word.
func (s *Set) vocabulary(terms map[string]int) error {
	s.terms = len(terms)+len(s.exactSets) > 0
	number := map[string]int{}
	var list []string
	of := func(word string) *spokenWord {
		n, known := number[word]
		if !known {
			n = len(list)
			number[word], list = n, append(list, word)
			s.said = append(s.said, spokenWord{leak: -1, term: -1})
		}
		return &s.said[n]
	}
	for i, word := range vocabulary().list {
		of(word).kinds = vocabulary().kinds[i]
	}
	for _, word := range sorted(specials) {
		of(word).special = specials[word]
	}
	for i, word := range s.leaks.Words() {
		of(word).leak = int32(i)
	}
	for _, word := range sorted(terms) {
		of(word).term = terms[word]
	}
	var err error
	if s.words, err = words.New(list); err != nil {
		return err
	}
	s.leakWords, err = words.New(s.leaks.Words())
	return err
}

// Digest identifies what the set finds: sets with the same one find the same.
func (s *Set) Digest() [32]byte { return s.digest }

// Labels are what a detector says of the data, in order; nil: there is none such, or
// it is off.
func (s *Set) Labels(id string) []string {
	if n := s.find(id); n >= 0 && !s.detectors[n].off {
		return slices.Clone(s.detectors[n].labels)
	}
	return nil
}

// Detectors are the ids of the detectors that are on, those built in first.
func (s *Set) Detectors() []string {
	var all []string
	for _, d := range s.detectors {
		if !d.off {
			all = append(all, d.id)
		}
	}
	return all
}

// Passes reports whether the bundle says that a kind of gap may pass.
func (s *Set) Passes(kind string) bool { return s.passes[kind] }
