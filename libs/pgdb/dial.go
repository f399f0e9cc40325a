package pgdb

import (
	"context"
	"net"
	"syscall"
	"time"
)

const (
	dialTime    = 5 * time.Second
	silentLimit = 15 * time.Second // what is sent and not acknowledged for so long ends the connection
	tcpUserTime = 18               // TCP_USER_TIMEOUT of Linux, which package syscall does not name
)

// dial connects so that a server that vanished without a word is noticed in seconds: transactions that run without a
// deadline would otherwise hang until the kernel gives up, a quarter of an hour later.
func dial(ctx context.Context, network, addr string) (net.Conn, error) {
	d := net.Dialer{
		Timeout:         dialTime,
		KeepAliveConfig: net.KeepAliveConfig{Enable: true, Idle: dialTime, Interval: dialTime, Count: 3},
		Control: func(network, _ string, raw syscall.RawConn) error {
			if network == "unix" {
				return nil
			}
			var failed error
			err := raw.Control(func(fd uintptr) {
				failed = syscall.SetsockoptInt(int(fd), syscall.IPPROTO_TCP, tcpUserTime, int(silentLimit/time.Millisecond))
			})
			if err != nil {
				return err
			}
			return failed
		},
	}
	return d.DialContext(ctx, network, addr)
}
