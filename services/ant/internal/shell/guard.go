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
//
// While the ant lives it has another guard if one is killed.
type guard struct {
	args    []string // of the script, behind the life
	in, out int      // the socket's ends; the guard has a copy of out
	watched chan struct{}

	mu      sync.Mutex
	held    map[*workspace]bool
	process *os.Process
	alive   *os.File // the guard reads it: it ends when the ant does
	closed  bool
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
	g := &guard{
		args: []string{dir, base, lease, strconv.Itoa(int(after.Seconds()))}, in: pair[0], out: pair[1],
		watched: make(chan struct{}), held: map[*workspace]bool{},
	}
	if err := g.start(); err != nil {
		g.closeSocket()
		return nil, err
	}
	go g.watch()
	return g, nil
}

// start starts the process.
func (g *guard) start() error {
	read, alive, err := os.Pipe()
	if err != nil {
		return fmt.Errorf("make guard: %w", err)
	}
	defer func() { _ = read.Close() }()
	null, err := os.OpenFile(os.DevNull, os.O_RDWR, 0)
	if err != nil {
		return errors.Join(err, alive.Close())
	}
	defer func() { _ = null.Close() }()
	hold, err := unix.FcntlInt(uintptr(g.out), unix.F_DUPFD_CLOEXEC, 0)
	if err != nil {
		return errors.Join(err, alive.Close())
	}
	end := os.NewFile(uintptr(hold), "socket")
	defer func() { _ = end.Close() }()
	life := fmt.Sprintf("%d-%d", os.Getpid(), time.Now().UnixNano())
	args := append([]string{"sh", "-c", guardScript, "formicary-guard", life}, g.args...)
	process, err := os.StartProcess(shell, args,
		&os.ProcAttr{Dir: "/", Env: []string{"PATH=" + defaultPath}, Files: []*os.File{read, null, null, end}, Sys: &syscall.SysProcAttr{Setsid: true}})
	if err != nil {
		return errors.Join(fmt.Errorf("start guard: %w", err), alive.Close())
	}
	if err := os.WriteFile(filepath.Join(g.args[0], guardFile), []byte(life+"\n"), 0o600); err != nil {
		_ = process.Kill()
		_, _ = process.Wait()
		return errors.Join(fmt.Errorf("name guard: %w", err), alive.Close())
	}
	if g.alive != nil {
		_ = g.alive.Close()
	}
	g.process, g.alive = process, alive
	return nil
}

// watch starts the process again whenever it ends, until the guard is closed.
func (g *guard) watch() {
	defer close(g.watched)
	for {
		g.mu.Lock()
		process := g.process
		g.mu.Unlock()
		if process != nil {
			_, _ = process.Wait()
		}
		g.mu.Lock()
		if g.closed {
			g.mu.Unlock()
			return
		}
		g.process = nil
		err := g.start()
		g.mu.Unlock()
		if err != nil {
			time.Sleep(guardAgain)
		}
	}
}

const guardAgain = 100 * time.Millisecond

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
	g.mu.Lock()
	g.closed = true
	if g.process != nil {
		_ = unix.Kill(-g.process.Pid, unix.SIGKILL)
	}
	g.mu.Unlock()
	<-g.watched
	_ = g.alive.Close()
	g.closeSocket()
}
