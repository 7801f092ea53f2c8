// Package leak finds secrets by gitleaks' own rules. It takes them from gitleaks'
// module as they are and applies each where one of its keywords stands, within a
// bounded window. What needs the name of a file is left out, for there is none.
package leak

import (
	"fmt"
	"regexp"
	"regexp/syntax"
	"slices"
	"strings"
	"sync"

	"github.com/pelletier/go-toml/v2"
	"github.com/zricethezav/gitleaks/v8/config"

	"github.com/writpdp/writ/server/content/detect/words"
)

// The detectors that rules belong to.
const (
	APIKey     = "api-key"
	CloudKey   = "cloud-key"
	JWT        = "jwt"
	Named      = "named-secret"
	OAuth      = "oauth-token"
	PrivateKey = "private-key"
	Webhook    = "webhook-url"
)

// maxWindow bounds what one rule looks at around a keyword, on either side, in bytes.
const maxWindow = 1024

// Rules are compiled rules, immutable and safe for concurrent use.
type Rules struct {
	rules  []*rule
	words  []string
	byWord [][]int32 // rules by the number of a word
	allow  allowlist
}

// rule is one of gitleaks' rules.
type rule struct {
	id, detector string
	// regex is compiled when first needed: all of them take a fifth of a second, and
	// most are never needed.
	regex   func() *regexp.Regexp
	group   int
	entropy float64
	// assigned says that it looks for NAME = VALUE.
	assigned bool
	// edge says that a match begins with a keyword, at the beginning of a word.
	edge bool
	// least and reach are the shortest and longest match in bytes, these at most
	// maxWindow.
	least, reach int
	allow        []allowlist
}

type allowlist struct {
	regexes func() []*regexp.Regexp
	stop    func() *words.Automaton
	target  string
}

// form is what of gitleaks' configuration is read.
type form struct {
	Allowlist allowForm
	Rules     []struct {
		ID          string
		Regex       string
		Path        string
		SecretGroup int
		Entropy     float64
		Keywords    []string
		Allowlists  []allowForm
	}
}

type allowForm struct {
	Condition   string
	Paths       []string
	RegexTarget string
	Regexes     []string
	StopWords   []string
}

// Default are the rules of the gitleaks that is compiled in. It panics where they
// cannot be read: a test reads and compiles all of them.
var Default = sync.OnceValue(func() *Rules {
	r, err := read(config.DefaultConfig)
	if err != nil {
		panic(fmt.Sprintf("reading gitleaks' rules: %v", err))
	}
	return r
})

// ours are rules in the place of which detect has checks of its own.
var ours = []string{"jwt", "private-key"}

func read(text string) (*Rules, error) {
	var in form
	if err := toml.Unmarshal([]byte(text), &in); err != nil {
		return nil, err
	}
	r := &Rules{allow: in.Allowlist.compile()}
	number := map[string]int{}
	for _, f := range in.Rules {
		if f.Regex == "" || f.Path != "" || slices.Contains(ours, f.ID) {
			continue
		}
		tree, err := syntax.Parse(f.Regex, syntax.Perl)
		if err != nil {
			return nil, fmt.Errorf("rule %s: %w", f.ID, err)
		}
		least, most := lengths(tree)
		one := &rule{id: f.ID, detector: detectorOf(f.ID), group: f.SecretGroup, entropy: f.Entropy, least: least, reach: min(most, maxWindow),
			assigned: strings.Contains(f.Regex, `(?:=|>|:{1,3}=|\|\||:|=>|\?=|,)`),
			regex:    sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(f.Regex) })}
		for _, a := range f.Allowlists {
			if !strings.EqualFold(a.Condition, "AND") || len(a.Paths) == 0 {
				one.allow = append(one.allow, a.compile())
			}
		}
		one.edge = strings.HasPrefix(f.Regex, `\b`) && slices.ContainsFunc(f.Keywords, func(w string) bool { return len(w) <= 3 && strings.ContainsAny(w, ".-") })
		for _, word := range f.Keywords {
			word = strings.ToLower(word)
			if _, known := number[word]; !known {
				number[word] = len(r.words)
				r.words, r.byWord = append(r.words, word), append(r.byWord, nil)
			}
			r.byWord[number[word]] = append(r.byWord[number[word]], int32(len(r.rules)))
		}
		r.rules = append(r.rules, one)
	}
	return r, nil
}

func (f allowForm) compile() allowlist {
	return allowlist{target: f.RegexTarget,
		regexes: sync.OnceValue(func() (all []*regexp.Regexp) {
			for _, text := range f.Regexes {
				all = append(all, regexp.MustCompile(text))
			}
			return all
		}),
		stop: sync.OnceValue(func() *words.Automaton {
			a, err := words.New(f.StopWords)
			if err != nil {
				panic(err) // the words are gitleaks' own, and a test reads them all
			}
			return a
		})}
}

// detectorOf is the detector that a rule belongs to.
func detectorOf(id string) string {
	has := func(parts ...string) bool {
		return slices.ContainsFunc(parts, func(p string) bool { return strings.Contains(id, p) })
	}
	begins := func(parts ...string) bool {
		return slices.ContainsFunc(parts, func(p string) bool { return strings.HasPrefix(id, p) })
	}
	switch {
	case has("webhook"):
		return Webhook
	case id == "private-key", id == "age-secret-key":
		return PrivateKey
	case begins("jwt"):
		return JWT
	case begins("aws-", "gcp-", "azure-", "alibaba-", "digitalocean-", "cloudflare-", "yandex-"):
		return CloudKey
	case id == "curl-auth-user", has("password"), id == "sidekiq-sensitive-url":
		return Named
	case begins("stripe-"):
		return APIKey
	case begins("github-", "gitlab-", "slack-"), has("oauth", "access-token", "refresh-token", "user-token", "bot-token", "auth-header"):
		return OAuth
	}
	return APIKey
}

// lengths are the fewest and the most bytes that an expression matches. A character
// counts as one byte: gitleaks' rules are about ASCII.
func lengths(re *syntax.Regexp) (least, most int) {
	switch re.Op {
	case syntax.OpLiteral:
		return len(re.Rune), len(re.Rune)
	case syntax.OpCharClass, syntax.OpAnyChar, syntax.OpAnyCharNotNL:
		return 1, 1
	case syntax.OpCapture:
		return lengths(re.Sub[0])
	case syntax.OpConcat:
		for _, sub := range re.Sub {
			l, m := lengths(sub)
			least, most = least+l, min(most+m, 2*maxWindow)
		}
	case syntax.OpAlternate:
		least = 2 * maxWindow
		for _, sub := range re.Sub {
			l, m := lengths(sub)
			least, most = min(least, l), max(most, m)
		}
	case syntax.OpStar:
		return 0, 2 * maxWindow
	case syntax.OpPlus:
		least, _ = lengths(re.Sub[0])
		return least, 2 * maxWindow
	case syntax.OpQuest:
		_, most = lengths(re.Sub[0])
		return 0, most
	case syntax.OpRepeat:
		l, m := lengths(re.Sub[0])
		if most = 2 * maxWindow; re.Max >= 0 {
			most = min(most, m*re.Max)
		}
		return l * re.Min, most
	}
	return least, most
}
