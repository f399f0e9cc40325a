package e2e

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// TestPausedHostLosesNothing stops every process of a colony of one ant, databases and tasks included, for longer than a
// lease, as a suspended machine does, and lets them go on: nothing has been lost, so nothing is done again.
func TestPausedHostLosesNothing(t *testing.T) {
	t.Parallel() // it waits most of the time
	w := newWorld(t)
	journal, end := filepath.Join(w.dir, "journal"), filepath.Join(w.dir, "end")
	if err := os.WriteFile(journal, nil, 0o666); err != nil {
		t.Fatal(err)
	}
	w.embedded()
	w.define("job_type: e2e-pause\ntasks:\n" + fmt.Sprintf("  - task_type: a\n    method: SHELL\n    script:\n      - |\n        %s\n",
		script(journal, fmt.Sprintf("while [ ! -e %s ]; do sleep 0.2; done", end))))
	id := w.submit("e2e-pause", "pause", nil)
	w.eventually("the task has started", func() bool {
		raw, err := os.ReadFile(journal)
		return err == nil && strings.Contains(string(raw), "beat")
	})
	all := w.processes()
	for _, pid := range all {
		_ = syscall.Kill(pid, syscall.SIGSTOP)
	}
	<-time.After(40 * time.Second) // a lease takes 30 s
	for _, pid := range all {
		_ = syscall.Kill(pid, syscall.SIGCONT)
	}
	<-time.After(10 * time.Second) // sweeps and Syncs have come by
	if err := os.WriteFile(end, nil, 0o666); err != nil {
		t.Fatal(err)
	}
	if got := w.ends(2*time.Minute, id); got.State != "COMPLETED" {
		t.Errorf("ended as %s (%s %s)", got.State, got.ErrorCode, got.ErrorMessage)
	}
	if starts := checkJournal(t, journal); starts != 1 {
		t.Errorf("%d attempts started", starts)
	}
	w.audit()
}

// processes are those that name the world's directory on their command line and all that they have started.
func (w *world) processes() (pids []int) {
	w.t.Helper()
	entries, err := os.ReadDir("/proc")
	if err != nil {
		w.t.Fatal(err)
	}
	children := map[int][]int{}
	var roots []int
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil || pid == os.Getpid() {
			continue
		}
		stat, err := os.ReadFile(filepath.Join("/proc", e.Name(), "stat"))
		if err != nil {
			continue // it has ended
		}
		fields := strings.Fields(string(stat[bytes.LastIndexByte(stat, ')')+1:]))
		parent, err := strconv.Atoi(fields[1])
		if err != nil {
			w.t.Fatal(err)
		}
		children[parent] = append(children[parent], pid)
		if line, err := os.ReadFile(filepath.Join("/proc", e.Name(), "cmdline")); err == nil && bytes.Contains(line, []byte(w.dir)) {
			roots = append(roots, pid)
		}
	}
	seen := map[int]bool{}
	for len(roots) > 0 {
		pid := roots[0]
		roots = append(roots[1:], children[pid]...)
		if !seen[pid] {
			seen[pid] = true
			pids = append(pids, pid)
		}
	}
	if len(pids) < 5 {
		w.t.Fatalf("found only %v", pids)
	}
	return pids
}
