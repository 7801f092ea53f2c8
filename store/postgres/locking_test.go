package postgres_test

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// lockingJoin is a query that says which of its tables it locks, and so has several.
var lockingJoin = regexp.MustCompile(`(?i)\bFOR\s+(NO\s+KEY\s+UPDATE|UPDATE|KEY\s+SHARE|SHARE)\s+OF\b`)

// No query locks rows of a join: PostgreSQL 18 does not return a row that somebody
// changed while the query waited for it. Each row is locked by a query of its own:
// see lockCountersSQL.
func TestNoJoinLocks(t *testing.T) {
	files, err := filepath.Glob("*.go")
	if err != nil || len(files) == 0 {
		t.Fatalf("%d files: %v", len(files), err)
	}
	for _, file := range files {
		if strings.HasSuffix(file, "_test.go") {
			continue
		}
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for _, at := range lockingJoin.FindAllIndex(text, -1) {
			t.Errorf("%s:%d: %s", file, 1+strings.Count(string(text[:at[0]]), "\n"), text[at[0]:at[1]])
		}
	}
	if !lockingJoin.MatchString("ORDER BY w.n FOR UPDATE OF b") {
		t.Error("nothing would be found")
	}
}
