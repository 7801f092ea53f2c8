package postgres

import (
	"errors"
	"syscall"

	"golang.org/x/sys/unix"
)

// limitSilence bounds how long what was sent may go unacknowledged; keep-alive
// does not cover that.
func limitSilence(_, _ string, c syscall.RawConn) error {
	var set error
	err := c.Control(func(fd uintptr) {
		set = unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT, int(goneTime.Milliseconds()))
	})
	if errors.Is(set, unix.EOPNOTSUPP) || errors.Is(set, unix.ENOPROTOOPT) {
		set = nil // a unix socket
	}
	return errors.Join(err, set)
}
