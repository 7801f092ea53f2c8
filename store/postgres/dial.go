package postgres

import (
	"net"
	"time"
)

// goneTime is how long the other end may be silent to the transport itself before
// a connection counts as lost. How long a commit's answer may take, which a
// synchronous standby may keep waiting, is the server's to say: see watch.
const goneTime = 30 * time.Second

func dialer() *net.Dialer {
	return &net.Dialer{
		KeepAliveConfig: net.KeepAliveConfig{Enable: true, Idle: goneTime / 3, Interval: goneTime / 6, Count: 4},
		Control:         limitSilence,
	}
}
