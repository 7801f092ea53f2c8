package document_test

import (
	"fmt"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/writpdp/writ/document"
)

// Parsers are used again: after an error, after a large document, and by others
// at the same time, nothing of one document is in another or in its error.
func TestParsersDoNotMix(t *testing.T) {
	var group sync.WaitGroup
	for i := range 8 {
		group.Go(func() {
			for j := range 200 {
				name, value := fmt.Sprintf("n%d-%d", i, j), fmt.Sprintf("v%d-%d", i, j)
				if j%50 == 0 {
					value = strings.Repeat(value, 4000)
				}
				good := fmt.Sprintf(`{%q:[%q,{"\u0061":%d}],"b":{}}`, name, value, j)
				want := fmt.Sprintf("at /%s/1/a: duplicate key", name)
				if _, err := document.Parse(fmt.Appendf(nil, `{%q:[%q,{"a":1,"a":2}]}`, name, value)); err == nil || err.Error() != want {
					t.Errorf("got %v, want %s", err, want)
				}
				d, err := document.Parse([]byte(good))
				if err != nil {
					t.Error(err)
					return
				}
				members, err := document.Members([]byte(good))
				if err != nil {
					t.Error(err)
					return
				}
				if diff := cmp.Diff(d.Value(), any(members)); diff != "" {
					t.Errorf("-parsed +members:\n%s", diff)
				}
				if text := fmt.Sprintf(`{"b":{},%q:[%q,{"a":%d}]}`, name, value, j); string(d.Canonical()) != text || d.Nodes() != 6 || d.Depth() != 3 {
					t.Errorf("got %s, %d values, depth %d", d.Canonical(), d.Nodes(), d.Depth())
				}
				if list := members[name].([]any); list[0] != value {
					t.Errorf("got %v", list[0])
				}
			}
		})
	}
	group.Wait()
}
