package adversarial

import (
	"fmt"
	"runtime"
	"runtime/debug"
	"runtime/metrics"
	"strings"
	"testing"

	"github.com/writpdp/writ/document"
	"github.com/writpdp/writ/server/content"
	"github.com/writpdp/writ/server/content/result"
)

// most is the most that may be on the heap at any time while a document of 4 MiB is
// read and checked, beyond what was there before.
const most = 160 << 20

// peak is the most that is on the heap while f runs, as far as looking all the time
// sees it, beyond what is there before. What nobody holds any more is collected soon.
func peak(f func()) uint64 {
	defer debug.SetGCPercent(debug.SetGCPercent(10))
	heap := func() uint64 {
		sample := []metrics.Sample{{Name: "/memory/classes/heap/objects:bytes"}}
		metrics.Read(sample)
		return sample[0].Value.Uint64()
	}
	runtime.GC()
	before := heap()
	done, highest := make(chan struct{}), make(chan uint64)
	go func() {
		seen := before
		for {
			select {
			case <-done:
				highest <- max(seen, heap())
				return
			default:
				seen = max(seen, heap())
				runtime.Gosched()
			}
		}
	}()
	f()
	close(done)
	return <-highest - before
}

// fill is a document of about 4 MiB: a start, as many parts as go in, an end.
func fill(start string, part func(int) string, end string) string {
	var b strings.Builder
	b.WriteString(start)
	for i := 0; b.Len() < 4<<20-64; i++ {
		if i > 0 {
			b.WriteByte(',')
		}
		b.WriteString(part(i))
	}
	b.WriteString(end)
	return b.String()
}

func fixed(text string) func(int) string { return func(int) string { return text } }

// A document of 4 MiB, four times what a request may carry, is read and checked, or
// refused, within a bound of memory, whatever is in it.
func TestMemory(t *testing.T) {
	parsed, err := document.Parse([]byte(`{"$defs":{"any":{"anyOf":[{"type":"string","format":"email"},{"type":"array","items":{"$ref":"#/$defs/any"}},{"type":"object","additionalProperties":{"$ref":"#/$defs/any"}}]}},
		"type":"object","properties":{"a":{"$ref":"#/$defs/any"},"content":{},"structuredContent":{"$ref":"#/$defs/any"}}}`))
	if err != nil {
		t.Fatal(err)
	}
	schema, err := content.Compile(parsed)
	if err != nil {
		t.Fatal(err)
	}
	worst := uint64(0)
	for _, c := range []struct{ name, text string }{
		{"one text", fill(`{"a":"`, fixed("x"), `"}`)},
		{"one text of escapes", `{"a":"` + strings.Repeat(`\u0041`, 4<<20/6) + `"}`},
		{"texts", fill(`{"a":[`, fixed(`"aaaaaaaaaaaaaaaaaaaaaaa"`), `]}`)},
		{"zeros", fill(`{"a":[`, fixed("0"), `]}`)},
		{"empty lists", fill(`{"a":[`, fixed("[]"), `]}`)},
		{"empty objects", fill(`{"a":[`, fixed("{}"), `]}`)},
		{"members", fill(`{"a":{`, func(i int) string { return fmt.Sprintf(`"%020d":""`, i) }, `}}`)},
		{"members of objects", fill(`{"a":[`, fixed(`{"a":{"b":{"c":""}},"d":"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"}`), `]}`)},
		{"numbers", fill(`{"a":[`, fixed(`1.234567890123456789012`), `]}`)},
		{"one number", `{"a":` + strings.Repeat("1", 4<<20) + `}`},
		{"one name", `{"` + strings.Repeat("k", 4<<20) + `":1}`},
		{"a name twice", `{"` + strings.Repeat("k", 2<<20) + `":1,"` + strings.Repeat("k", 2<<20) + `":1}`},
		{"brackets", `{"a":` + strings.Repeat("[", 4<<20)},
		{"deep lists", fill(`{"a":[`, fixed(strings.Repeat("[", 60)+strings.Repeat("]", 60)), `]}`)},
		{"blocks", fill(`{"content":[`, fixed(`{"type":"text","text":"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"}`), `],"structuredContent":{"x":"y"}}`)},
		{"blocks of no type", fill(`{"content":[`, fixed(`{"type":"tttttttttttttttttttttttttttttttttttttttttttttttttttttttttttttttt"}`), `]}`)},
		{"texts that break the schema", fill(`{"a":[`, fixed(`123456789012345678901234e-24`), `]}`)},
	} {
		data := []byte(c.text)
		what := "refused when read"
		took := peak(func() {
			d, err := document.Parse(data)
			if err != nil {
				return
			}
			found := schema.Check(d)
			_, misfits := result.FormOf(d)
			misfits = append(misfits, result.Misfits(schema, d)...)
			what = fmt.Sprintf("%d violations as arguments, %d as a result", len(found), len(misfits))
		})
		worst = max(worst, took)
		t.Logf("memory %-28s %4.1f MiB for %.1f MiB: %s", c.name, float64(took)/(1<<20), float64(len(data))/(1<<20), what)
		if took > most {
			t.Errorf("%s: %d bytes, more than %d", c.name, took, most)
		}
	}
	t.Logf("memory at most %.1f MiB", float64(worst)/(1<<20))
}
