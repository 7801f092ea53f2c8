//go:build !linux

package postgres

import "syscall"

// limitSilence does nothing: only Linux bounds how long what was sent may go
// unacknowledged. Elsewhere keep-alive alone finds a lost connection.
func limitSilence(_, _ string, _ syscall.RawConn) error { return nil }
