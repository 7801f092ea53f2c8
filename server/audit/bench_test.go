package audit

import (
	"testing"
	"time"

	"golang.org/x/mod/sumdb/note"
)

func BenchmarkDecided(b *testing.B) {
	req, snap := request(b, 1), snapshot()
	d := allow(req, 1)
	e, _, err := Decided(idOf(1), req, snap, d)
	if err != nil {
		b.Fatal(err)
	}
	b.ReportMetric(float64(len(e.Body)), "body-bytes")
	b.ReportAllocs()
	for b.Loop() {
		if _, _, err := Decided(idOf(1), req, snap, d); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkRowOf(b *testing.B) {
	req := request(b, 1)
	e, _, err := Decided(idOf(1), req, snapshot(), allow(req, 1))
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		if _, err := RowOf(e.Body); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkStrict(b *testing.B) {
	req := request(b, 1)
	e, _, err := Decided(idOf(1), req, snapshot(), allow(req, 1))
	if err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		if err := strict(e.Body); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkExtend seals 1,000 records onto a log of 300.
func BenchmarkExtend(b *testing.B) {
	signer, _ := key(b, 1)
	m := filled(b, signer, 300, 100, 1000)
	for b.Loop() {
		if _, err := signer.Extend(m.newest(), m.tile, m.pending); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(b.Elapsed())/float64(b.N)/1000, "ns/record")
}

// BenchmarkVerify verifies 10,000 records with 100 checkpoints.
func BenchmarkVerify(b *testing.B) {
	signer, verifier := key(b, 1)
	m := filled(b, signer, 10_000, 100, 10)
	for b.Loop() {
		report, err := Verify(b.Context(), m, []note.Verifier{verifier}, Options{Origin: origin, At: noon})
		if err != nil || report.Problem != nil {
			b.Fatal(err, report.Problem)
		}
	}
	b.ReportMetric(float64(b.Elapsed())/float64(time.Millisecond)/float64(b.N), "ms/log")
}
