package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// TestKilledColonyFinishesItsJob kills the whole colony in the middle of a job and starts it again on the same data.
func TestKilledColonyFinishesItsJob(t *testing.T) {
	t.Parallel() // it waits most of the time
	w := newWorld(t)
	journal := filepath.Join(w.dir, "journal")
	if err := os.WriteFile(journal, nil, 0o666); err != nil {
		t.Fatal(err)
	}
	up := w.embedded()
	w.define("job_type: e2e-crash\ntasks:\n" +
		fmt.Sprintf("  - task_type: a\n    method: SHELL\n    on_completed: b\n    script:\n      - |\n        %s\n", script(journal, "sleep 1")) +
		fmt.Sprintf("  - task_type: b\n    method: SHELL\n    script:\n      - |\n        %s\n", script(journal, "true")))
	id := w.submit("e2e-crash", "crash", nil)
	w.eventually("the task has started", func() bool {
		raw, err := os.ReadFile(journal)
		return err == nil && strings.Contains(string(raw), "beat")
	})
	up.signal(syscall.SIGKILL)
	up.start()
	w.ready()
	if got := w.ends(2*time.Minute, id); got.State != "COMPLETED" {
		t.Errorf("ended as %s (%s %s)", got.State, got.ErrorCode, got.ErrorMessage)
	}
	if starts := checkJournal(t, journal); starts < 2 || starts > 3 { // 3: what ended while nobody looked runs again
		t.Errorf("%d attempts started; want 2, or 3", starts)
	}
	w.audit()
}

// TestEndlessLineCostsNoMemory runs a task that prints 1 GiB without a newline.
func TestEndlessLineCostsNoMemory(t *testing.T) {
	if testing.Short() {
		t.Skip("prints 1 GiB")
	}
	w := newWorld(t)
	w.separate("ant-1")
	w.define("job_type: e2e-flood\ntasks:\n  - task_type: flood\n    method: SHELL\n    timeout: 3m\n    script:\n      - head -c 1073741824 /dev/zero | tr '\\0' x\n")
	before := memory(t, w.procs["ant-1"].pid(), "VmRSS:")
	id := w.submit("e2e-flood", "flood", nil)
	if got := w.ends(3*time.Minute, id); got.State != "COMPLETED" {
		t.Errorf("ended as %s (%s %s)", got.State, got.ErrorCode, got.ErrorMessage)
	}
	if grown := memory(t, w.procs["ant-1"].pid(), "VmHWM:") - before; grown > 100 {
		t.Errorf("the ant grew by %d MiB", grown)
	} else {
		t.Logf("the ant grew by %d MiB", grown)
	}
	w.audit()
}

// memory reads a figure of a process's status, in MiB.
func memory(t *testing.T, pid int, field string) int {
	t.Helper()
	raw, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(raw)) {
		if f := strings.Fields(line); len(f) > 1 && f[0] == field {
			kib, err := strconv.Atoi(f[1])
			if err != nil {
				t.Fatal(err)
			}
			return kib >> 10
		}
	}
	t.Fatalf("no %s in the status of %d", field, pid)
	return 0
}
