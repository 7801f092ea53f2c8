package egress_test

import (
	"strings"
	"testing"

	"github.com/writpdp/writ/server/egress"
)

// BenchmarkFind looks through arguments of a kilobyte, without URLs and with some.
func BenchmarkFind(b *testing.B) {
	words := strings.Repeat("A sentence of some words, as agents write them. ", 18)
	for name, args := range map[string]string{
		"clean": `{"title":"Report","body":"` + words + `","tags":["a","b"],"limit":10}`,
		"URLs":  `{"url":"https://www.example.com/a?b=c","links":["https://a.example.com/","https://b.example.com/?next=https%3A%2F%2Fc.example.com%2F"],"body":"` + words + `"}`,
	} {
		b.Run(name, func(b *testing.B) {
			d, finder := object(b, args), egress.NewFinder([]string{"/url"})
			b.ReportAllocs()
			for b.Loop() {
				finder.Find(d)
			}
		})
	}
}
