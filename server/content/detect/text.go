package detect

import (
	"strings"

	"github.com/writpdp/writ/server/content/detect/leak"
)

// match is a finding within one string.
type match struct {
	detector   int
	start, end int
	confidence uint8
	validator  string
	encoding   string
}

// token is a run of ASCII letters and digits.
type token struct {
	start, end int
	digits     int
}

// hit is a word that says something, in a text.
type hit struct {
	kinds      kind
	start, end int
}

// Classes of bytes, as bits: what a text must have for there to be anything.
const (
	digit = 1 << iota
	alpha
	high     // beyond ASCII
	atSign   // @
	assign   // : or =
	coded    // % \ &
	wideOnly // + / - _, with alpha and digit those of base64
)

var class = func() (c [256]uint8) {
	for b := range 256 {
		switch {
		case b >= '0' && b <= '9':
			c[b] = digit
		case b >= 'a' && b <= 'z', b >= 'A' && b <= 'Z':
			c[b] = alpha
		case b >= 0x80:
			c[b] = high
		}
	}
	c['@'], c[':'], c['='] = atSign, assign, assign
	c['%'], c['\\'], c['&'] = coded, coded, coded
	c['+'], c['/'], c['-'], c['_'] = wideOnly, wideOnly, wideOnly, wideOnly
	return c
}()

// reader looks into one string. Those for what is encoded in it are its own children.
type reader struct {
	*inspector
	s       string
	about   kind // what is said of the string by the names above it
	level   int  // how many strings it is within
	decoded int  // how often it was decoded
	tokens  []token
	hits    []hit
	hit     int // the first hit that can be near
	matches []match
	columns table
}

// read finds what is in a string.
func (in *inspector) read(s string, about kind, level, decoded int) []match {
	r := &in.readers[level]
	r.inspector, r.s, r.about, r.level, r.decoded = in, s, about, level, decoded
	r.tokens, r.hits, r.hit, r.matches = r.tokens[:0], r.hits[:0], 0, r.matches[:0]
	r.look()
	return r.matches
}

func (r *reader) look() {
	var has uint8
	for i := range len(r.s) {
		has |= class[r.s[i]]
	}
	if has&high != 0 {
		if text, back := fold(r.s); back != nil {
			r.through(text, back, "")
			return
		}
	}
	r.custom()
	if has&(digit|atSign|high|assign) == 0 && len(r.s) < 16 && !r.set.terms {
		return // no number, address, assignment or key is without
	}
	r.columns.sep = 0
	if has&digit != 0 && len(r.s) >= 32 {
		r.table()
	}
	r.words()
	r.walk(has)
	r.hit = 0 // from the beginning again: near goes forward
	for i := 0; i < len(r.tokens) && !r.out.Cut; i++ {
		r.number(i)
	}
	if has&coded != 0 && r.decoded < maxDecoded {
		if text, back := unescape(r.s); back != nil {
			r.through(text, back, "url")
		}
	}
	if len(r.matches) > 1 {
		r.matches = settle(r.matches)
	}
}

// through looks into another spelling of the string, and puts what it finds where it
// comes from. back is, for every byte of the text and its end, the place it stands for.
func (r *reader) through(text string, back []int32, encoding string) {
	decoded := r.decoded
	if encoding != "" {
		decoded++
	}
	for _, m := range r.inspector.read(text, r.about, r.level+1, decoded) {
		m.start, m.end = int(back[m.start]), int(back[m.end])
		if m.encoding == "" {
			m.encoding = encoding
		}
		r.matches = append(r.matches, m)
	}
}

// add keeps a match, where its detector is on.
func (r *reader) add(detector, start, end int, confidence uint8, validator string) {
	if len(r.matches) > r.set.findings {
		r.out.Cut = true
		return
	}
	if !r.set.detectors[detector].off {
		r.matches = append(r.matches, match{detector: detector, start: start, end: end, confidence: confidence, validator: validator})
	}
}

// words finds words that say something, and keywords of secrets.
func (r *reader) words() {
	r.run.Reset()
	r.set.words.Find(r.s, func(word, start, end int) bool {
		w := &r.set.said[word]
		if w.kinds != 0 && whole(r.s, start, end) {
			r.hits = append(r.hits, hit{w.kinds, start, end})
			if w.kinds&ofSecret != 0 {
				r.assigned(end)
			}
			if w.kinds&(ofName|ofTitle) != 0 {
				r.person(w.kinds, end)
			}
		}
		if w.term >= 0 && whole(r.s, start, end) {
			r.add(w.term, start, end, 90, "term")
		}
		if w.special != nil {
			w.special(r, start, end)
		}
		if w.leak >= 0 && r.afford() {
			r.leaks(int(w.leak), start, end)
		}
		return !r.out.Cut
	})
}

// leaks applies gitleaks' rules of a keyword.
func (r *reader) leaks(word, start, end int) {
	before := r.run.Work
	r.run.Find(r.s, word, start, end, func(m leak.Match) bool {
		r.add(r.set.byLeak[m.Detector], m.Start, m.End, leakConfidence(m), "gitleaks/"+m.Rule)
		return true
	})
	r.spend(r.run.Work - before)
}

func leakConfidence(m leak.Match) uint8 {
	if m.Rule == "generic-api-key" {
		return 70
	}
	return 90
}

// walk goes over the string once: it collects the tokens, and looks at what stands
// around an @ and a colon, and at runs that can be encoded.
func (r *reader) walk(has uint8) {
	s := r.s
	wide, colons := 0, 0 // where a run of base64 began; up to where colons were seen
	for i := 0; i < len(s) && !r.out.Cut; {
		c := class[s[i]]
		if c&(digit|alpha) != 0 {
			start, digits := i, 0
			for i < len(s) && class[s[i]]&(digit|alpha) != 0 {
				digits += int(class[s[i]] & digit)
				i++
			}
			if digits > 0 || i-start <= 4 && s[start] <= 'Z' && has&digit != 0 || i-start == 2 && i < len(s) && s[i] == '-' || len(r.set.exactSets) > 0 {
				if r.tokens = append(r.tokens, token{start, i, digits}); len(r.tokens) > r.left {
					r.out.Cut = true
				}
			}
			continue
		}
		if c != wideOnly {
			if i-wide >= minIsland {
				r.island(wide, i)
			}
			wide = i + 1
		}
		switch {
		case c == atSign:
			r.address(i)
		case s[i] == ':' && i >= colons && i > 0 && has&digit != 0:
			colons = r.colons(i)
		}
		i++
	}
	if len(s)-wide >= minIsland {
		r.island(wide, len(s))
	}
}

// near is what words around a place say of it, and the names above the string: up to
// so many bytes before, and on the same line some after. The nearest word before
// decides between a number of somebody's and one of an order.
func (r *reader) near(start, end int) kind {
	const before, after, most = 56, 28, 12
	if said, known := r.columns.said(r.s, start); known && said != 0 {
		return r.about&^ofOther | said
	}
	k := r.about
	for r.hit < len(r.hits) && r.hits[r.hit].end <= start {
		r.hit++
	}
	i := r.hit
	for i > 0 && r.hits[i-1].end > start {
		i--
	}
	other := r.about&ofOther != 0
	for n, seen := i-1, 0; n >= 0 && seen < most && start-r.hits[n].end <= before; n-- {
		h := r.hits[n]
		if strings.Contains(r.s[h.end:start], "\n\n") {
			break
		}
		if seen == 0 && h.kinds&ofOther != 0 && h.kinds&persons == 0 {
			other = true
		} else if seen == 0 {
			other = false
		}
		if !other || seen > 0 {
			k |= h.kinds &^ (ofOther | justID)
		}
		seen++
		if h.kinds&ofOther != 0 && h.kinds&persons == 0 {
			break // what stands before another number's word is about something else
		}
	}
	if other {
		k = k&^persons&^ofPhone | r.about&^ofOther | ofOther
	} else {
		k &^= ofOther
	}
	for n, seen := i, 0; n < len(r.hits) && seen < most && r.hits[n].start-end <= after; n++ {
		h := r.hits[n]
		if h.start < end {
			continue
		}
		if strings.ContainsAny(r.s[end:h.start], "\n,;:|") || h.end < len(r.s) && (r.s[h.end] == ':' || r.s[h.end] == '=') {
			break
		}
		k |= h.kinds &^ (ofOther | justID)
		seen++
	}
	return k
}

// persons are the kinds of numbers that are somebody's.
const persons = ofPhone | ofCard | ofSSN | ofITIN | ofNINO | ofNHS | ofVAT | ofDNI | ofNIR | ofSteuer | ofPESEL | ofBSN | ofBelgian | ofNIF |
	ofPersonnummer | ofHETU | ofCPR | ofFodsel | ofNational | ofPassport | ofLicence | ofBirth

// settle keeps, of matches that overlap, the most certain, and of these the longest.
// They come in no order; what is kept is in the order of the text.
func settle(all []match) []match {
	sortMatches(all)
	kept := all[:0]
	for _, m := range all {
		if n := len(kept); n > 0 && m.start < kept[n-1].end {
			if better(m, kept[n-1]) {
				kept[n-1] = m
			}
			continue
		}
		kept = append(kept, m)
	}
	return kept
}

func better(a, b match) bool {
	if weak(a) != weak(b) {
		return weak(b)
	}
	if a.confidence != b.confidence {
		return a.confidence > b.confidence
	}
	return a.end-a.start > b.end-b.start
}

// weak reports whether a match says only that something is secret.
func weak(m match) bool { return m.detector == namedSecret || m.detector == highEntropy }
