package enginetest

import (
	"fmt"
	"net"
	"os"
	"runtime"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/formicary/formicary/libs/testkit"
)

// Listen returns a listener at 127.0.0.1 of the network that the engine itself is in, which is another one than that of the
// test for a private engine.
func (e *Engine) Listen(t testing.TB) net.Listener {
	t.Helper()
	lis, err := e.listen()
	if err != nil {
		testkit.Missing(t, "listen beside the engine: %v", err)
	}
	t.Cleanup(func() { _ = lis.Close() })
	return lis
}

func (e *Engine) listen() (net.Listener, error) {
	pid, err := e.PID()
	if err != nil {
		return nil, err
	}
	theirs, err := os.Open(fmt.Sprintf("/proc/%d/ns/net", pid))
	if err != nil {
		return nil, fmt.Errorf("network of the engine: %w", err)
	}
	defer func() { _ = theirs.Close() }()
	type result struct {
		lis net.Listener
		err error
	}
	done := make(chan result)
	go func() {
		runtime.LockOSThread() // and never unlocked: the thread ends with the goroutine
		if err := unix.Setns(int(theirs.Fd()), unix.CLONE_NEWNET); err != nil {
			done <- result{err: fmt.Errorf("enter the network of the engine: %w", err)}
			return
		}
		lis, err := net.Listen("tcp", "127.0.0.1:0")
		done <- result{lis, err}
	}()
	r := <-done
	return r.lis, r.err
}

// PID is the number of the engine's process.
func (e *Engine) PID() (int, error) {
	socket, ok := strings.CutPrefix(e.Host, "unix://")
	if !ok {
		return 0, fmt.Errorf("the engine %s is not on this machine", e.Host)
	}
	conn, err := net.DialUnix("unix", nil, &net.UnixAddr{Name: socket, Net: "unix"})
	if err != nil {
		return 0, err
	}
	defer func() { _ = conn.Close() }()
	raw, err := conn.SyscallConn()
	if err != nil {
		return 0, err
	}
	var cred *syscall.Ucred
	var credErr error
	err = raw.Control(func(fd uintptr) {
		cred, credErr = syscall.GetsockoptUcred(int(fd), syscall.SOL_SOCKET, syscall.SO_PEERCRED)
	})
	if err == nil {
		err = credErr
	}
	if err != nil {
		return 0, fmt.Errorf("process of the engine: %w", err)
	}
	return int(cred.Pid), nil
}
