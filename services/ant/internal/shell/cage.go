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
	// started in it: dead but not reaped, so its number is still its own.
	kill(shell int) (alive bool)
	// ask sends TERM to what is alive in it outside the process group of shell, which has had it, and reports whether
	// anything is alive. told remembers who was asked: nobody is twice.
	ask(shell int, told map[process]bool) (alive bool)
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

// kinship is the cage where no cgroup can be made. The ant is a subreaper, so whatever loses its parent becomes its
// child; it belongs to the attempt when it is in the shell's session, carries the attempt's uid in its environment, or
// descends from one that does. A process that left the session and cleaned its environment escapes until the ant's end.
type kinship struct {
	mark      string // FORMICARY_ATTEMPT_UID=…
	subreaper bool
}

func (k *kinship) enter(*syscall.SysProcAttr) {}
func (k *kinship) free(bool)                  {}

func (k *kinship) kill(shell int) bool {
	_ = unix.Kill(-shell, unix.SIGKILL)
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

func (k *kinship) ask(shell int, told map[process]bool) bool {
	all := k.members(shell)
	for _, p := range all {
		for _, pid := range append([]int{p.pid}, descendants(p.pid)...) {
			term(pid, shell, told)
		}
	}
	return len(all) > 0
}

// term asks a process to end that was not asked yet.
func term(pid, shell int, told map[process]bool) {
	p, ok := readProcess(pid)
	if who := (process{pid: p.pid, start: p.start}); ok && !p.zombie && p.group != shell && !told[who] {
		told[who] = true
		_ = unix.Kill(pid, unix.SIGTERM)
	}
}

// members are the living processes that lost their parents; they stand for their descendants. The dead are reaped.
func (k *kinship) members(shell int) []process {
	var alive []process
	for _, pid := range k.candidates() {
		if pid == shell || pid == os.Getpid() {
			continue
		}
		p, ok := readProcess(pid)
		if !ok || p.session != shell && !variable(environ(pid), k.mark) {
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

func (k *kinship) candidates() []int {
	if k.subreaper {
		if list, err := adopted(); err == nil {
			return list
		}
	}
	return everyone()
}

// becomeSubreaper makes orphans of this process's descendants its children.
func becomeSubreaper() bool {
	return unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) == nil
}

// buried remembers dead children between two rounds of the sexton.
type buried map[process]struct{}

// bury reaps adopted children that have been dead for a whole round, in another session than our own: orphans of tasks
// that died before anybody looked at them. Whoever forked a child itself waits for it at once, so nobody's status is
// taken.
func (b buried) bury() {
	list, err := adopted()
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
