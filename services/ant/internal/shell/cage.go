package shell

import (
	"bytes"
	"os"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// cage knows the processes of one attempt.
type cage interface {
	// enter makes a process start in the cage.
	enter(attr *syscall.SysProcAttr)
	// kill kills what is in the cage and reports whether something was alive in it. shell is the process that was
	// started in it: dead but not reaped, so its number is still its own; 0 when nobody knows whose the number is now.
	kill(shell int) (alive bool)
	// terminate sends TERM to what is alive in it outside the process group of shell, which has had it, and reports whether
	// anything is alive. asked remembers them: nobody is twice.
	terminate(shell int, asked map[process]bool) (alive bool)
	// free gives the cage back, empty or not.
	free(empty bool)
}

const (
	killPatience = 5 * time.Second
	firstPause   = 50 * time.Microsecond
	longestPause = 20 * time.Millisecond
	leavePause   = 100 * time.Millisecond // while a process uses its grace
)

// clear kills until nothing is alive in the cage; it gives up on processes that the kernel does not let go.
func clear(c cage, shell int) (empty bool) {
	pause := firstPause
	for begun := time.Now(); c.kill(shell); {
		if time.Since(begun) > killPatience {
			return false
		}
		time.Sleep(pause) // the kernel gives no event for this that were cheaper
		pause = min(2*pause, longestPause)
	}
	return true
}

// processTree is the cage where no cgroup can be made. The ant is a subreaper, so whatever loses its parent becomes its
// child; it belongs to the attempt when it is in the shell's session, carries the attempt's uid in its environment, or
// descends from one that does. A process that left the session and cleaned its environment escapes until the ant's end.
type processTree struct {
	mark      string // FORMICARY_ATTEMPT_UID=…
	subreaper bool
}

func (k *processTree) enter(*syscall.SysProcAttr) {}
func (k *processTree) free(bool)                  {}

func (k *processTree) kill(shell int) bool {
	killSession(shell)
	all := k.members(shell)
	for _, p := range all {
		family := descendants(p.pid)
		kill(p.pid)
		for _, d := range family {
			kill(d)
		}
	}
	return len(all) > 0
}

func (k *processTree) terminate(shell int, asked map[process]bool) bool {
	all := k.members(shell)
	for _, p := range all {
		for _, pid := range append([]int{p.pid}, descendants(p.pid)...) {
			term(pid, shell, asked)
		}
	}
	return len(all) > 0
}

// term asks a process to end that was not asked yet.
func term(pid, shell int, asked map[process]bool) {
	p, ok := readProcess(pid)
	if who := (process{pid: p.pid, start: p.start}); ok && !p.zombie && p.group != shell && !asked[who] {
		asked[who] = true
		_ = unix.Kill(pid, unix.SIGTERM)
	}
}

// killSession kills the process group of a shell.
func killSession(shell int) {
	if shell > 0 {
		_ = unix.Kill(-shell, unix.SIGKILL)
	}
}

// members are the living processes that lost their parents; they stand for their descendants. The dead are reaped.
func (k *processTree) members(shell int) []process {
	var alive []process
	for _, pid := range k.candidates() {
		if pid == shell || pid == os.Getpid() {
			continue
		}
		p, ok := readProcess(pid)
		if !ok || (shell == 0 || p.session != shell) && !variable(environ(pid), k.mark) {
			continue
		}
		if p.zombie {
			if p.parent == os.Getpid() {
				reap(pid)
			}
			continue
		}
		alive = append(alive, p)
	}
	return alive
}

func (k *processTree) candidates() []int {
	if k.subreaper {
		if list, err := orphans(); err == nil {
			return list
		}
	}
	return everyone()
}

// becomeSubreaper makes orphans of this process's descendants its children.
func becomeSubreaper() bool {
	return unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) == nil
}

// zombies remembers dead children between two rounds.
type zombies map[process]struct{}

// reap reaps orphans that have been dead for a whole round, in another session than our own: orphans of tasks
// that died before anybody looked at them. Whoever forked a child itself waits for it at once, so nobody's status is
// taken.
func (b zombies) reap() {
	list, err := orphans()
	if err != nil {
		return
	}
	own, _ := unix.Getsid(0)
	seen := map[process]struct{}{}
	for _, pid := range list {
		p, ok := readProcess(pid)
		if !ok || !p.zombie || p.session == own {
			continue
		}
		if _, before := b[p]; before {
			reap(pid)
			continue
		}
		seen[p] = struct{}{}
	}
	for p := range b {
		delete(b, p)
	}
	for p := range seen {
		b[p] = struct{}{}
	}
}

func trimmed(path string) string {
	raw, err := os.ReadFile(path)
	if err != nil {
		return ""
	}
	return string(bytes.TrimSpace(raw))
}
