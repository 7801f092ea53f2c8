package postgres

import (
	"net"
	"time"
)

// goneTime is how long the other end may be silent to the transport itself before
// a connection counts as lost. There is no such limit on a commit's answer: a
// synchronous standby may keep it waiting, and cutting the wait short would leave
// a record that the standby does not have.
const goneTime = 30 * time.Second

func dialer() *net.Dialer {
	return &net.Dialer{
		KeepAliveConfig: net.KeepAliveConfig{Enable: true, Idle: goneTime / 3, Interval: goneTime / 6, Count: 4},
		Control:         limitSilence,
	}
}
