package words_test

import (
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/writpdp/writ/server/content/detect/words"
)

type hit struct{ word, start, end int }

func find(t interface{ Fatal(...any) }, list []string, text string) []hit {
	a, err := words.New(list)
	if err != nil {
		t.Fatal(err)
	}
	var all []hit
	a.Find(text, func(word, start, end int) bool {
		all = append(all, hit{word, start, end})
		return true
	})
	slices.SortFunc(all, func(a, b hit) int { return (a.end-b.end)*1000 + a.word - b.word })
	return all
}

// The automaton finds what looking for each word at each place finds.
func TestFindsWhatLookingFinds(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		word := rapid.StringMatching(`[abA_\x80é]{1,4}`)
		list := rapid.SliceOfN(word, 1, 8).Draw(t, "words")
		text := rapid.StringMatching(`[abAB_é]{0,40}`).Draw(t, "text")
		var want []hit
		for end := range len(text) + 1 {
			for n, w := range list {
				if start := end - len(w); start >= 0 && ascii(text[start:end]) == ascii(w) {
					want = append(want, hit{n, start, end})
				}
			}
		}
		if got := find(t, list, text); !slices.Equal(got, want) {
			t.Fatalf("got %v, want %v", got, want)
		}
	})
}

// ascii is a text with ASCII letters in lower case, and no others.
func ascii(s string) string {
	return strings.Map(func(r rune) rune {
		if 'A' <= r && r <= 'Z' {
			return r + 'a' - 'A'
		}
		return r
	}, s)
}

func TestBounds(t *testing.T) {
	if _, err := words.New([]string{"a", ""}); err == nil {
		t.Error("an empty word was taken")
	}
	if _, err := words.New([]string{strings.Repeat("a", words.MaxBytes+1)}); err == nil {
		t.Error("more than MaxBytes was taken")
	}
}

func BenchmarkFind(b *testing.B) {
	a, err := words.New([]string{"password", "secret", "token", "akia", "ghp_", "passport"})
	if err != nil {
		b.Fatal(err)
	}
	text := strings.Repeat("The quick brown fox jumps over the lazy dog. ", 200)
	b.SetBytes(int64(len(text)))
	for b.Loop() {
		a.Find(text, func(int, int, int) bool { return true })
	}
}
