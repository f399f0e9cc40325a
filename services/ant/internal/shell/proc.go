package shell

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// process is what /proc/<pid>/stat says of a process.
type process struct {
	pid, parent, group, session int
	zombie                      bool
	start                       uint64             // clock ticks since boot
	status                      syscall.WaitStatus // of a zombie
}

// ticksPerSecond is USER_HZ, the unit of start times; it is 100 on every architecture that Go runs on.
const ticksPerSecond = 100

func readProcess(pid int) (process, bool) {
	raw, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	if err != nil {
		return process{}, false
	}
	end := bytes.LastIndexByte(raw, ')') // the name before it may hold anything
	if end < 0 {
		return process{}, false
	}
	f := strings.Fields(string(raw[end+1:]))
	const state, parent, group, session, start, status = 0, 1, 2, 3, 19, 49
	if len(f) <= start {
		return process{}, false
	}
	p := process{pid: pid, zombie: f[state] == "Z" || f[state] == "X"}
	p.parent, _ = strconv.Atoi(f[parent])
	p.group, _ = strconv.Atoi(f[group])
	p.session, _ = strconv.Atoi(f[session])
	p.start, _ = strconv.ParseUint(f[start], 10, 64)
	if len(f) > status {
		code, _ := strconv.Atoi(f[status])
		p.status = syscall.WaitStatus(code)
	}
	return p, true
}

// environ returns the environment that the process began with; empty for one that is gone or not ours to read.
func environ(pid int) []byte {
	raw, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/environ")
	if err != nil {
		return nil
	}
	return append([]byte{0}, raw...)
}

// variable reports whether an environment has a variable whose text NAME=VALUE begins with prefix.
func variable(env []byte, prefix string) bool {
	return bytes.Contains(env, append([]byte{0}, prefix...))
}

// orphans lists the children that the kernel gave to this process when their parents died: it hands them to the main
// thread. Children that were forked by the main thread are among them.
func orphans() ([]int, error) {
	pid := os.Getpid()
	raw, err := os.ReadFile(fmt.Sprintf("/proc/%d/task/%d/children", pid, pid))
	if err != nil {
		return nil, fmt.Errorf("list children: %w", err)
	}
	return pids(string(raw)), nil
}

// descendants lists the children of pid, theirs and so on.
func descendants(pid int) []int {
	lists, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/children", pid))
	var out []int
	for _, list := range lists {
		raw, err := os.ReadFile(list)
		if err != nil {
			continue
		}
		for _, child := range pids(string(raw)) {
			out = append(append(out, child), descendants(child)...)
		}
	}
	return out
}

// everyone lists all processes.
func everyone() []int {
	d, err := os.Open("/proc")
	if err != nil {
		return nil
	}
	defer func() { _ = d.Close() }()
	names, _ := d.Readdirnames(-1)
	return pids(strings.Join(names, " "))
}

func pids(text string) []int {
	var out []int
	for f := range strings.FieldsSeq(text) {
		if pid, err := strconv.Atoi(f); err == nil {
			out = append(out, pid)
		}
	}
	return out
}

func kill(pid int) { _ = unix.Kill(pid, unix.SIGKILL) }

// reap takes the status of a dead child. Only processes that are surely ours are reaped: the process may share its
// children with other parts of a colony.
func reap(pid int) { _, _ = unix.Wait4(pid, nil, unix.WNOHANG, nil) }

// uptime is the time since boot in the unit of start times.
func uptime() uint64 {
	var ts unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_BOOTTIME, &ts); err != nil {
		return 0
	}
	return uint64(ts.Sec)*ticksPerSecond + uint64(ts.Nsec)/(1e9/ticksPerSecond)
}

// bootTime is when it was ticks after the boot.
func bootTime(ticks uint64) time.Time {
	up := uptime()
	return time.Now().Add(-time.Duration(up-min(up, ticks)) * (time.Second / ticksPerSecond))
}
