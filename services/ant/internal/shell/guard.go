package shell

import (
	_ "embed"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// guard is a process that outlives an ant that is killed. It is a small shell script: it waits until the ant is dead, then
// until the ant's next life has taken over or the time is over that the ant may be without an answer from supervisor;
// then it kills what runs, because supervisor may give it to another ant soon.
//
// It holds the reading ends of the pipes of all tasks: without that, what a task prints while no ant is there would be
// lost when the task ends, and would end the task before. They wait, unread, in a socket of which it has the other end.
type guard struct {
	process *os.Process
	alive   *os.File // the guard reads it: it ends when the ant does
	in, out int      // the socket's ends; the guard has a copy of out

	mu   sync.Mutex
	held map[*workspace]bool
}

//go:embed guard.sh
var guardScript string

// guardFile names the life that is responsible; a guard of another one ends.
const guardFile = "guard"

// newGuard starts a guard for this life of the ant. base is where the groups of tasks are; lease is the file with the time of the last
// good Sync.
func newGuard(dir, base, lease string, after time.Duration) (*guard, error) {
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return nil, fmt.Errorf("make guard: %w", err)
	}
	g := &guard{in: pair[0], out: pair[1], held: map[*workspace]bool{}}
	read, alive, err := os.Pipe()
	if err != nil {
		g.closeSocket()
		return nil, fmt.Errorf("make guard: %w", err)
	}
	defer func() { _ = read.Close() }()
	null, err := os.OpenFile(os.DevNull, os.O_RDWR, 0)
	if err != nil {
		g.closeSocket()
		return nil, errors.Join(err, alive.Close())
	}
	defer func() { _ = null.Close() }()
	hold, err := unix.FcntlInt(uintptr(g.out), unix.F_DUPFD_CLOEXEC, 0)
	if err != nil {
		g.closeSocket()
		return nil, errors.Join(err, alive.Close())
	}
	end := os.NewFile(uintptr(hold), "socket")
	defer func() { _ = end.Close() }()
	life := fmt.Sprintf("%d-%d", os.Getpid(), time.Now().UnixNano())
	g.alive = alive
	g.process, err = os.StartProcess(shell, []string{"sh", "-c", guardScript, "formicary-guard", life, dir, base, lease, strconv.Itoa(int(after.Seconds()))},
		&os.ProcAttr{Dir: "/", Env: []string{"PATH=" + defaultPath}, Files: []*os.File{read, null, null, end}, Sys: &syscall.SysProcAttr{Setsid: true}})
	if err != nil {
		g.closeSocket()
		return nil, errors.Join(fmt.Errorf("start guard: %w", err), alive.Close())
	}
	if err := os.WriteFile(filepath.Join(dir, guardFile), []byte(life+"\n"), 0o600); err != nil {
		g.close()
		return nil, fmt.Errorf("name guard: %w", err)
	}
	return g, nil
}

// hold lets the guard have the pipes of a workspace.
func (g *guard) hold(b *workspace) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	err := g.send(b)
	if errors.Is(err, unix.EAGAIN) || errors.Is(err, unix.ETOOMANYREFS) { // full of those that are gone
		err = g.refresh(b)
	}
	if err != nil {
		return fmt.Errorf("let the pipes of a task be held: %w", err)
	}
	g.held[b] = true
	return nil
}

func (g *guard) send(some ...*workspace) error {
	var fds []int
	for _, b := range some {
		fds = append(fds, b.pipes[:]...)
	}
	return unix.Sendmsg(g.in, []byte{0}, unix.UnixRights(fds...), nil, unix.MSG_NOSIGNAL)
}

// most is how many workspaces go into one message: it takes 253 files.
const mostHeld = 100

// refresh takes everything back and lets the guard have what is in use, and b. g.mu is held.
func (g *guard) refresh(b *workspace) error {
	buf, control := make([]byte, 1), make([]byte, unix.CmsgSpace(4*2*mostHeld))
	for {
		_, n, _, _, err := unix.Recvmsg(g.out, buf, control, unix.MSG_CMSG_CLOEXEC)
		if err != nil {
			break
		}
		messages, _ := unix.ParseSocketControlMessage(control[:n])
		for _, m := range messages {
			fds, _ := unix.ParseUnixRights(&m)
			for _, fd := range fds {
				_ = unix.Close(fd)
			}
		}
	}
	some := []*workspace{b}
	for h := range g.held {
		if some = append(some, h); len(some) == mostHeld {
			if err := g.send(some...); err != nil {
				return err
			}
			some = some[:0]
		}
	}
	if len(some) == 0 {
		return nil
	}
	return g.send(some...)
}

// forget says that the workspace is gone.
func (g *guard) forget(b *workspace) {
	g.mu.Lock()
	defer g.mu.Unlock()
	delete(g.held, b)
}

func (g *guard) closeSocket() {
	_ = unix.Close(g.in)
	_ = unix.Close(g.out)
}

// close ends the guard: the ant ends for good and has ended everything itself.
func (g *guard) close() {
	_ = unix.Kill(-g.process.Pid, unix.SIGKILL)
	_, _ = g.process.Wait()
	_ = g.alive.Close()
	g.closeSocket()
}
