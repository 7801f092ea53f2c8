package source

import (
	"fmt"
	"path/filepath"
	"strings"
	"testing"
)

// What a look at a source costs when there is nothing new, and when all is: of
// 100 files of 30 KB, about as many bytes as 10,000 policies.
func BenchmarkFetch(b *testing.B) {
	r := newRepository(b)
	for i := range 100 {
		write(b, filepath.Join(r.dir, fmt.Sprintf("cedar/%d.cedar", i)), strings.Repeat(fmt.Sprintf("// %d %[1]d\n", i), 3000))
	}
	r.git(b, "add", ".")
	r.commit(b)
	for name, s := range map[string]Source{
		"directory": NewDirectory(r.dir),
		"git/file":  newGit(b, GitConfig{URL: r.url()}),
		"git/http":  newGit(b, GitConfig{URL: r.serve(b, nil)}),
	} {
		at := Position{Revision: take(b, s, Position{}).Revision}
		b.Run(name+"/same", func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				take(b, s, at)
			}
		})
		b.Run(name+"/new", func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				take(b, s, Position{})
			}
		})
	}
}
