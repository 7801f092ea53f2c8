package leak

import (
	"math"
	"strings"
)

// Match is a secret in a text.
type Match struct {
	// Rule is gitleaks' name of the rule, Detector the one that it belongs to.
	Rule, Detector string
	// Start and End are the secret's place in the text.
	Start, End int
}

// Words are the rules' keywords. Whoever finds one in a text, without regard to
// case, calls Find with its number.
func (r *Rules) Words() []string { return r.words }

// Size is the number of rules.
func (r *Rules) Size() int { return len(r.rules) }

// Run is the state of looking into one text.
type Run struct {
	rules *Rules
	// done is, by rule, up to where keywords need no further look.
	done map[int32]int
	// Work counts the expressions that were run, by what they were run over: they take
	// up to a tenth of a microsecond a byte.
	Work int
}

// Run begins to look into texts.
func (r *Rules) Run() *Run { return &Run{rules: r, done: map[int32]int{}} }

// Reset begins another text.
func (r *Run) Reset() { clear(r.done) }

// Find applies the rules of a keyword that stands at a place of a text. Keywords
// must come in the order of their ends. It stops where found answers false.
func (r *Run) Find(text string, word, start, end int, found func(Match) bool) {
	for _, n := range r.rules.byWord[word] {
		rule := r.rules.rules[n]
		if end <= r.done[n] || !rule.possible(text, start, end) {
			continue
		}
		// A further keyword close by is within the same window.
		from, to := max(0, start-rule.reach), min(len(text), end+rule.reach+ahead)
		r.done[n] = end + ahead
		if to == len(text) {
			r.done[n] = to
		}
		r.Work += 1 + (to-from)/8
		for _, at := range rule.regex().FindAllStringSubmatchIndex(text[from:to], -1) {
			s, e := rule.secret(at)
			m := Match{Rule: rule.id, Detector: rule.detector, Start: from + s, End: from + e}
			if r.rules.allowed(rule, text, m, from+at[0], from+at[1]) {
				continue
			}
			if !found(m) {
				return
			}
		}
	}
}

// ahead is how far beyond its reach a rule looks at once, in bytes.
const ahead = 256

// Possible reports whether some rule of a keyword that stands in a name can be about
// a value that the name is given.
func (r *Rules) Possible(word int) bool {
	for _, n := range r.byWord[word] {
		if r.rules[n].assigned {
			return true
		}
	}
	return false
}

// possible tells cheaply the places where a rule cannot match.
func (r *rule) possible(text string, start, end int) bool {
	if r.assigned {
		return assigned(text, end)
	}
	switch r.id {
	case "curl-auth-header", "curl-auth-user":
		return true // they go across spaces
	}
	if r.edge && start > 0 && word[text[start-1]] || r.id == "twilio-api-key" && text[start:end] != "SK" {
		return false
	}
	// A match is one word: as much of one as stands around the keyword.
	from, to := start, end
	for from > 0 && start-from < r.reach && solid[text[from-1]] {
		from--
	}
	for to < len(text) && to-end < r.reach && solid[text[to]] {
		to++
	}
	return to-from >= r.least-1 // the last character may be what follows a word
}

// assigned reports whether what stands after a name can be an assignment of
// something that has a digit.
func assigned(text string, i int) bool {
	for limit := min(len(text), i+64); ; i++ {
		if i >= limit {
			return false
		}
		if c := text[i]; strings.IndexByte("=>:|?,", c) >= 0 {
			break
		} else if !named[c] {
			return false
		}
	}
	for limit := min(len(text), i+16); i < limit && strings.IndexByte("=>:|?,`'\" \t\r\n", text[i]) >= 0; {
		i++
	}
	digit, from := false, i
	for i < len(text) && i-from < 160 && solid[text[i]] {
		digit = digit || text[i] >= '0' && text[i] <= '9'
		i++
	}
	return digit && i-from >= 8
}

// solid are the characters of secrets, named those between a name and its value, word
// those of words.
var solid, named, word = func() (s, n, w [256]bool) {
	for c := range 256 {
		w[c] = c >= '0' && c <= '9' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c == '_'
		s[c] = w[c] || strings.IndexByte("-.~+/=:@|%\\*#$", byte(c)) >= 0
		n[c] = w[c] || strings.IndexByte("-. \t\r\n'\"", byte(c)) >= 0
	}
	return s, n, w
}()

// secret is the place of the secret within a match: the rule's group, or the first
// that holds something.
func (r *rule) secret(at []int) (start, end int) {
	if r.group > 0 {
		return at[2*r.group], at[2*r.group+1]
	}
	for i := 2; i+1 < len(at); i += 2 {
		if at[i+1] > at[i] {
			return at[i], at[i+1]
		}
	}
	return at[0], at[1]
}

// allowed reports whether a match is none by the rules' own word: what has too little
// entropy, and what their lists allow.
func (r *Rules) allowed(rule *rule, text string, m Match, from, to int) bool {
	secret := text[m.Start:m.End]
	if rule.entropy > 0 && Entropy(secret) <= rule.entropy {
		return true
	}
	if rule.id == "generic-api-key" && !strings.ContainsAny(secret, "0123456789") {
		return true
	}
	if r.allow.has(secret, secret) {
		return true
	}
	for _, list := range rule.allow {
		target := secret
		switch list.target {
		case "match":
			target = text[from:to]
		case "line":
			target = line(text, from, to)
		}
		if list.has(secret, target) {
			return true
		}
	}
	return false
}

func (a *allowlist) has(secret, target string) bool {
	for _, re := range a.regexes() {
		if re.MatchString(target) {
			return true
		}
	}
	stopped := false
	a.stop().Find(secret, func(int, int, int) bool {
		stopped = true
		return false
	})
	return stopped
}

// line is what stands around a place up to the ends of its lines, bounded.
func line(text string, from, to int) string {
	start := max(0, from-maxWindow)
	if i := strings.LastIndexByte(text[start:from], '\n'); i >= 0 {
		start += i + 1
	}
	end := min(len(text), to+maxWindow)
	if i := strings.IndexByte(text[to:end], '\n'); i >= 0 {
		end = to + i
	}
	return text[start:end]
}

// Entropy is Shannon's, of a text's bytes, in bits a byte.
func Entropy(s string) float64 {
	var count [256]int
	for i := range len(s) {
		count[s[i]]++
	}
	e := 0.0
	for _, n := range count {
		if n > 0 {
			p := float64(n) / float64(len(s))
			e -= p * math.Log2(p)
		}
	}
	return e
}

// Of are the rules that are run.
func (r *Run) Of() *Rules { return r.rules }
