package quick

import (
	"regexp"
	"testing"
)

// Patterns are matched as regexp matches them, and a yes is always its yes.
func TestMatcher(t *testing.T) {
	patterns := []string{
		`^[0-9a-f]{2}-7[89ab]$`, `^[A-Za-z0-9._:-]{0,3}$`, `^[a-z][a-z0-9_]{0,2}$`, `^([A-Z]{3})?$`, `^([0-9a-f]{2}-[a-c])?$`, `^a$`, `^ab$`, `^[a-c]{2,}$`,
		// Not matched step by step:
		`^$`, `^[a-z]+(::[a-z]+){0,2}$`, `^(ab)*c+$`, `^(?:ab){2}$`, `^a{3}$`, `^(a)$`, `^(?:ab)?$`, `^(ab)?c?$`, `a`, `^a`, `a$`, `^[^a]$`, `(?i)^k$`, `^(?i:k)a$`, `^a|b$`, `^.$`, `(?m)^a$`, `^(a|bc)$`, `^\bа$`, `[`,
	}
	values := []string{"", "a", "k", "K", "K", "Ka", "ka", "ABC", "ABCD", "0f-79", "0f-7c", "0f-79\n", "\n0f-79", "a\n", "a\na", "ab", "ba", "abab", "ababcc", "abc", "c",
		"a::b", "a::b::c", "a::b::c::d", "a::", "::", "a:b", "ü", "\xff", "a\xff", "._:", "._:-", "a_9", "a_99", "bc", "b", "а", "[", "\x00"}
	for _, pattern := range patterns {
		re, err := regexp.Compile(pattern)
		match := matcher(pattern)
		for _, value := range values {
			if got, want := match(value), err == nil && re.MatchString(value); got != want {
				t.Errorf("%s of %q: got %v, want %v", pattern, value, got, want)
			}
		}
	}
	// Where a step would have to be taken back, no yes is said to what matches.
	if matcher(`^[a-z]{0,9}z$`)("az") {
		t.Error("got a yes that needs a step back")
	}
}

func FuzzMatcher(f *testing.F) {
	f.Add(`^[a-z][a-z0-9._-]{0,63}$`, "support")
	f.Add(`^[A-Za-z_]+(::[A-Za-z_]+){0,4}$`, "Bank::Account")
	f.Add(`^(a*)*(b?){3}$`, "aab")
	f.Add(`^([0-9a-f]{2}-)?$`, "0f-")
	f.Fuzz(func(t *testing.T, pattern, value string) {
		re, err := regexp.Compile(pattern)
		if matcher(pattern)(value) && (err != nil || !re.MatchString(value)) {
			t.Errorf("%q of %q: got a yes", pattern, value)
		}
	})
}
