package leak

import (
	"strings"
	"testing"

	"github.com/writpdp/writ/server/content/detect/words"
)

// Every rule of gitleaks' and every list of what is allowed can be compiled.
func TestCompiles(t *testing.T) {
	r := Default()
	if r.Size() < 200 || len(r.Words()) < 200 {
		t.Fatalf("%d rules, %d words", r.Size(), len(r.Words()))
	}
	for _, rule := range r.rules {
		if rule.regex().NumSubexp() < rule.group {
			t.Errorf("%s has no group %d", rule.id, rule.group)
		}
		for _, a := range append(rule.allow, r.allow) {
			a.regexes()
			a.stop()
		}
	}
}

// joined keeps those who look for secrets in this file from finding one.
func joined(parts ...string) string { return strings.Join(parts, "") }

func TestFinds(t *testing.T) {
	r := Default()
	a, err := words.New(r.Words())
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct{ text, rule, secret string }{
		{joined("key AK", "IAZ7VRSQ5TJN2XMPLQ here"), "aws-access-token", joined("AK", "IAZ7VRSQ5TJN2XMPLQ")},
		{joined("AK", "IAIOSFODNN7EXAMPLE"), "", ""},
		{joined("gl", "pat-x9Zq4LmT7vB2nK8sW1cR"), "gitlab-pat", joined("gl", "pat-x9Zq4LmT7vB2nK8sW1cR")},
		{joined("sk", "_live_x9Zq4LmT7vB2nK8sW1cR"), "stripe-access-token", joined("sk", "_live_x9Zq4LmT7vB2nK8sW1cR")},
		{joined("SK", "0123456789abcdef0123456789abcdef"), "twilio-api-key", joined("SK", "0123456789abcdef0123456789abcdef")},
		{"the task id is 0123456789abcdef0123456789abcdef", "", ""},
		{"issues.example.org/projects/alpha/issues/1234567890", "", ""},
		{`datadog_key = "0123456789abcdef0123456789abcdef01234567"`, "datadog-access-token", "0123456789abcdef0123456789abcdef01234567"},
		{"access = required", "", ""},
	} {
		rule, secret := "", ""
		run := r.Run()
		a.Find(c.text, func(word, start, end int) bool {
			run.Find(c.text, word, start, end, func(m Match) bool {
				if rule == "" || rule == "generic-api-key" {
					rule, secret = m.Rule, c.text[m.Start:m.End]
				}
				return true
			})
			return true
		})
		if rule != c.rule || secret != c.secret {
			t.Errorf("%q: got %s %q, want %s %q", c.text, rule, secret, c.rule, c.secret)
		}
	}
}

// What is told cheaply not to match does not match: the rules find the same without it.
func TestPossibleLosesNothing(t *testing.T) {
	r := Default()
	a, err := words.New(r.Words())
	if err != nil {
		t.Fatal(err)
	}
	for _, text := range []string{
		joined("SG", ".ngeVfQFYQlKU0ufo8x5d1A.TwL2iGABf9DHoTf-09kqeF8tAmbihYzrnopKc-1s5cr"), joined("xox", "b-1234567890-1234567890123-AbCdEfGhIjKlMnOpQrStUvWx"),
		joined("np", "m_x9Zq4LmT7vB2nK8sW1cR5yH3jD6fG0aP4eU9"), `"api_key": "x9Zq4LmT7vB2nK8sW1cR"`, `secret => 'x9Zq4LmT7vB2nK8sW1cR'`,
		joined("hv", "s.", strings.Repeat("x9Zq4LmT7v", 10)), joined("key=AI", "zaSyD3x9Zq4LmT7vB2nK8sW1cR5yH3jD6fG"), `twitter token : "x9Zq4LmT7vB2nK8sW1cR5yH3j"`,
	} {
		matches, told := map[string]bool{}, map[string]bool{}
		a.Find(text, func(word, start, end int) bool {
			for _, n := range r.byWord[word] {
				rule := r.rules[n]
				matches[rule.id] = rule.regex().MatchString(text)
				told[rule.id] = told[rule.id] || rule.possible(text, start, end)
			}
			return true
		})
		for id, is := range matches {
			if is && !told[id] {
				t.Errorf("%q: %s matches and is told not to", text, id)
			}
		}
	}
}
