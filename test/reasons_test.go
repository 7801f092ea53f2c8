package test

import (
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/writpdp/writ/server/identity"
)

// Every code that a refused token can have is published, and no other.
func TestTokenCodesArePublished(t *testing.T) {
	data, err := os.ReadFile("../docs/reasons.md")
	if err != nil {
		t.Fatal(err)
	}
	_, section, ok := strings.Cut(string(data), "\n## Tokens\n")
	if !ok {
		t.Fatal("docs/reasons.md has no section on tokens")
	}
	var got []string
	for _, line := range strings.Split(section, "\n") {
		cell, _, _ := strings.Cut(strings.TrimPrefix(line, "| "), " | ")
		for _, m := range regexp.MustCompile("`((?:token|proof|identity)\\.[a-z0-9_.]+)`").FindAllStringSubmatch(cell, -1) {
			if strings.HasPrefix(line, "| `") {
				got = append(got, m[1])
			}
		}
	}
	slices.Sort(got)
	if diff := cmp.Diff(identity.Codes, got); diff != "" {
		t.Errorf("docs/reasons.md (-code +page):\n%s", diff)
	}
}
