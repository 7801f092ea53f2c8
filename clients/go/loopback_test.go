package writ

import (
	"strings"
	"testing"
)

// A name can resolve to anything, so plaintext is held to loopback when the
// address is known.
func TestPlaintextIsDialledOnlyToLoopback(t *testing.T) {
	for _, addr := range []string{"192.0.2.1:7070", "[2001:db8::1]:7070"} {
		conn, err := dialLoopback(t.Context(), addr)
		if conn != nil || err == nil || !strings.Contains(err.Error(), "loopback addresses only") {
			t.Errorf("%s: got %v, %v", addr, conn, err)
		}
	}
}
