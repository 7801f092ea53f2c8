package detect

import (
	"encoding/base64"
	"fmt"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/writpdp/writ/document"
)

// dense are texts as full of what must be looked at as can be, each repeated.
var dense = map[string]string{
	"cards":       "4111 1111 1111 1112 ",
	"digits":      "4111111111111112",
	"groups":      "41 11 ",
	"phones":      "+49 30 1 ",
	"addresses":   "a@b.co ",
	"ats":         "a@",
	"colons":      "a:b:",
	"ipv4":        "1.2.3.4 ",
	"ipv6":        "2001:db8::",
	"hex":         "3a3a3a3a3a3a3a3a ",
	"base64":      "YWJj",
	"islands":     "YWJjZGVmZ2hp ",
	"keywords":    "sk",
	"names":       "api_key=a1b2c3d4e5f6g7h8 ",
	"assignments": "token: x1 ",
	"urls":        "a://b:c@d ",
	"keys":        "-----BEGIN PRIVATE KEY----- ",
	"tokens":      "eyJ.eyJ.",
	"curl":        "curl -H 'x ",
	"words":       "ssn phone card iban passport ",
	"escapes":     "%34%31",
	"wide":        "４１",
	"hidden":      "4\u200b",
	"cells":       "-1.5,",
	"mixed":       "token YWJjZGVmZ2hpamtsbW5vcHFyc3R1dnd4 +1 ssn 536 ",
}

// worked is how much work it takes to look into a text.
func worked(text string) (work int, cut bool) {
	s := Default()
	in := s.begin()
	in.left = 1 << 40 // more than there is work
	in.report(in.read(text, 0, 0, 0))
	work, cut = 1<<40-in.left, in.out.Cut
	in.end()
	return work, cut
}

// Twice the text is no more than twice the work, whatever is in it.
func TestLinear(t *testing.T) {
	for name, piece := range dense {
		half, _ := worked(strings.Repeat(piece, 32<<10/len(piece)))
		whole, _ := worked(strings.Repeat(piece, 64<<10/len(piece)))
		if whole > 2*half+half/8+64 {
			t.Errorf("%s: %d for 32 KiB, %d for 64 KiB", name, half, whole)
		}
		if perByte := float64(whole) / (64 << 10); perByte > 4 {
			t.Errorf("%s: %.1f units of work a byte", name, perByte)
		}
	}
}

// An inspection is cut when it takes too much, and its memory is bounded: the peak is
// printed.
func TestAdversarialMemory(t *testing.T) {
	if testing.Short() {
		t.Skip("it looks into 4 MiB many times")
	}
	for name, piece := range dense {
		text := strings.Repeat(piece, (4<<20-64)/len(piece))
		d, err := document.Parse([]byte(fmt.Sprintf(`{"a":%q}`, "ssn,phone,iban\n1,2,3,"+text)))
		if err != nil {
			t.Fatal(err)
		}
		var before, after runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&before)
		began := time.Now()
		found := Default().Inspect(d)
		took := time.Since(began)
		runtime.ReadMemStats(&after)
		allocated := (after.TotalAlloc - before.TotalAlloc) >> 20
		t.Logf("%-12s %4d MiB allocated, %5d findings, cut %v, %s", name, allocated, len(found.Findings), found.Cut, took.Round(time.Millisecond))
		if allocated > 512 {
			t.Errorf("%s: %d MiB were allocated for 4 MiB", name, allocated)
		}
	}
}

func FuzzInspectText(f *testing.F) {
	for _, piece := range dense {
		f.Add(piece + piece)
	}
	f.Add("card 4111 1111 1111 1111, IBAN DE89 3704 0044 0532 0130 00, ada@example.org, born 12 March 1985")
	f.Add(base64.StdEncoding.EncodeToString([]byte(`{"password":"hunter2"}`)))
	f.Fuzz(func(t *testing.T, text string) {
		sound(t, text, Default().InspectText(text))
	})
}

func sound(t *testing.T, text string, in Inspection) {
	for _, f := range in.Findings {
		if f.Start < 0 || f.End > len(text) || f.Start >= f.End || f.Confidence < 1 || f.Confidence > 100 {
			t.Fatalf("%q: %+v", text, f)
		}
	}
}

func FuzzInspect(f *testing.F) {
	f.Add([]byte(`{"customer":{"name":"Ada","ssn":"536-22-8726"},"n":[4111,"1111"],"t":"{\"a\":[1]}"}`))
	f.Add([]byte(`{"content":[{"type":"text","text":"[\"4111 1111 1111 1111\"]"}]}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		d, err := document.Parse(data)
		if err != nil {
			return
		}
		once, again := Default().Inspect(d), Default().Inspect(d)
		if fmt.Sprint(once) != fmt.Sprint(again) {
			t.Fatalf("%q is looked into with two results:\n%+v\n%+v", data, once, again)
		}
	})
}

// What is folded or unescaped keeps places in order and within the text.
func FuzzPlaces(f *testing.F) {
	f.Add("４１\u200b%34&#x31;\\u0034")
	f.Fuzz(func(t *testing.T, text string) {
		for _, spell := range []func(string) (string, []int32){fold, unescape} {
			out, back := spell(text)
			if back == nil {
				continue
			}
			if len(back) != len(out)+1 || int(back[len(out)]) != len(text) {
				t.Fatalf("%q: %d places for %d bytes", text, len(back), len(out))
			}
			for i := 1; i < len(back); i++ {
				if back[i] < back[i-1] {
					t.Fatalf("%q: places go back at %d", text, i)
				}
			}
		}
	})
}

func FuzzHashes(f *testing.F) {
	good, err := Hashes([]byte("0123456789abcdef"), []string{"Q-77-1234"})
	if err != nil {
		f.Fatal(err)
	}
	f.Add(good)
	f.Fuzz(func(_ *testing.T, data []byte) {
		form := Form{Custom: map[string]Custom{"x": {Labels: []string{"a"}, Hashes: "x.txt"}}}
		if set, err := form.Compile(func(string) ([]byte, error) { return data, nil }); err == nil {
			set.InspectText("Q-77-1234")
		}
	})
}
