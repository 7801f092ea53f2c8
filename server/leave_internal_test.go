package server

import (
	"crypto/x509"
	"testing"
	"time"
)

func TestLeaveBy(t *testing.T) {
	start := time.Date(2026, 11, 26, 12, 0, 0, 0, time.UTC)
	day := 24 * time.Hour
	for _, c := range []struct{ life, at, want time.Duration }{ // since the start
		{time.Hour, 0, 50 * time.Minute},
		{time.Hour, 30 * time.Minute, 50 * time.Minute},
		{time.Hour, 40 * time.Minute, 50 * time.Minute},
		{time.Hour, 50 * time.Minute, 55 * time.Minute},
		{time.Hour, 58 * time.Minute, 59 * time.Minute},
		{time.Hour, time.Hour, time.Hour},
		{time.Minute, 0, 50 * time.Second},
		{day, 0, day - 10*time.Minute},
		{365 * day, 300 * day, 365*day - 10*time.Minute},
	} {
		leaf := &x509.Certificate{NotBefore: start, NotAfter: start.Add(c.life)}
		if got := leaveBy(leaf, start.Add(c.at)).Sub(start); got != c.want {
			t.Errorf("a life of %s, at %s: got %s, want %s", c.life, c.at, got, c.want)
		}
	}
}
