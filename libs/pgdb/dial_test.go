package pgdb

import (
	"net"
	"syscall"
	"testing"
)

func TestSilentServersAreNoticed(t *testing.T) {
	lis, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = lis.Close() }()
	conn, err := dial(t.Context(), "tcp", lis.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	raw, err := conn.(*net.TCPConn).SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	var limit int
	if cerr := raw.Control(func(fd uintptr) { limit, err = syscall.GetsockoptInt(int(fd), syscall.IPPROTO_TCP, tcpUserTime) }); cerr != nil || err != nil {
		t.Fatal(cerr, err)
	}
	if limit != 15000 {
		t.Errorf("limit %d ms", limit)
	}
}
