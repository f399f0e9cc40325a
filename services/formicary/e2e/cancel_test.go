package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// soon is how fast a cancel must have reached everything.
const soon = 15 * time.Second

// TestCancelCascades cancels parents whose children run or wait, and looks what goes on.
func TestCancelCascades(t *testing.T) {
	w := newWorld(t)
	w.embedded()
	w.define("job_type: e2e-long\ntasks:\n  - {task_type: a, method: SHELL, script: [sleep 300]}\n")
	w.define("job_type: e2e-asks\ntasks:\n  - {task_type: a, method: MANUAL}\n")
	w.define("job_type: e2e-short\ntasks:\n  - {task_type: a, method: SHELL, script: [sleep 3]}\n")
	w.define("job_type: e2e-middle\ntasks:\n" + forks("a", "    fork_job_type: e2e-long\n    sub_workflow: {wait_for_completion: true}\n"))
	after := "  - {task_type: long, method: SHELL, script: [sleep 300]}\n"
	tests := []struct {
		name, tasks string
		child       string // state of the child while the parent runs
		want        string // its end
	}{
		{"waited-for", forks("f", "    fork_job_type: e2e-long\n    sub_workflow: {wait_for_completion: true}\n"), "EXECUTING", "CANCELLED"},
		{"waiting", forks("f", "    fork_job_type: e2e-asks\n    sub_workflow: {wait_for_completion: true}\n"), "MANUAL_APPROVAL_REQUIRED", "CANCELLED"},
		{"grandchild", forks("f", "    fork_job_type: e2e-middle\n    sub_workflow: {wait_for_completion: true}\n"), "EXECUTING", "CANCELLED"},
		{
			"awaited", forks("f", "    fork_job_type: e2e-long\n    cascade_cancel: true\n    on_completed: w\n") +
				"  - {task_type: w, method: AWAIT_FORKED_JOB, await_forked_tasks: [f]}\n", "EXECUTING", "CANCELLED",
		},
		{"cascade", forks("f", "    fork_job_type: e2e-long\n    cascade_cancel: true\n    on_completed: long\n") + after, "EXECUTING", "CANCELLED"},
		{"cascade-of-sub-workflow", forks("f", "    fork_job_type: e2e-long\n    sub_workflow: {cascade_cancel: true}\n    on_completed: long\n") + after, "EXECUTING", "CANCELLED"},
		{"free", forks("f", "    fork_job_type: e2e-short\n    on_completed: long\n") + after, "EXECUTING", "COMPLETED"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			w := w.in(t)
			w.define("job_type: e2e-parent-" + tt.name + "\ntasks:\n" + tt.tasks)
			id := w.submit("e2e-parent-"+tt.name, "cancel-"+tt.name, nil)
			child := w.child(id, tt.child)
			below := ""
			if tt.name == "grandchild" {
				below = w.child(child, "EXECUTING")
			}
			began := time.Now()
			w.cancel(id)
			if got := w.ends(soon, id); got.State != "CANCELLED" {
				t.Errorf("the parent ended as %s", got.State)
			}
			if got := w.ends(soon, child); got.State != tt.want {
				t.Errorf("the child ended as %s (%s), want %s", got.State, got.ErrorMessage, tt.want)
			}
			if below != "" {
				if got := w.ends(soon, below); got.State != "CANCELLED" {
					t.Errorf("the grandchild ended as %s", got.State)
				}
			}
			t.Logf("all had ended after %s", time.Since(began))
		})
	}
	w.audit()
}

// in is the world for a subtest.
func (w *world) in(t *testing.T) *world {
	t.Helper()
	sub := *w
	sub.t = t
	return &sub
}

// child waits until a request has one child that is in a state.
func (w *world) child(parent, state string) string {
	w.t.Helper()
	id := ""
	w.eventually("a child of "+parent+" is "+state, func() bool {
		all := w.children(w.t, parent)
		if len(all) != 1 {
			return false
		}
		id = all[0].ID
		return all[0].State == state
	})
	return id
}

// TestFailFastKillsWhatRuns lets one item of a fan-out fail while others run and more wait.
func TestFailFastKillsWhatRuns(t *testing.T) {
	w := newWorld(t)
	w.embedded()
	dir := filepath.Join(w.dir, "items")
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	w.define(fmt.Sprintf(`job_type: e2e-fail-fast
tasks:
  - task_type: items
    method: SHELL
    fan_out: {items: [a, b, bad, c, d, e, f, g], item_var: x, max_parallel: 3, fail_fast: true}
    script:
      - echo $$ > %[1]s/$x
      - if [ $x = bad ]; then while [ ! -e %[1]s/a ] || [ ! -e %[1]s/b ]; do sleep 0.05; done; exit 7; fi
      - exec sleep 300
    on_completed: never
  - {task_type: never, method: SHELL, script: ["false"]}
`, dir))
	id := w.submit("e2e-fail-fast", "fail-fast", nil)
	if got := w.ends(30*time.Second, id); got.State != "FAILED" {
		t.Errorf("ended as %s (%s)", got.State, got.ErrorMessage)
	}
	states := map[string]int{}
	for _, item := range w.tasks(id, "items") {
		states[item.State]++
	}
	if states["FAILED"] != 1 || states["CANCELLED"] != 2 || states["SKIPPED"] != 5 {
		t.Errorf("items ended as %v", states)
	}
	begun, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	if len(begun) != 3 {
		t.Errorf("%d items began, want 3", len(begun))
	}
	for _, f := range begun {
		raw, err := os.ReadFile(filepath.Join(dir, f.Name()))
		if err != nil {
			t.Fatal(err)
		}
		w.within(soon, "the process of item "+f.Name()+" is gone", func() bool { return gone(strings.TrimSpace(string(raw))) })
	}
	w.audit()
}

// gone says that there is no process, or only what is left of one.
func gone(pid string) bool {
	raw, err := os.ReadFile(filepath.Join("/proc", pid, "cmdline"))
	return err != nil || len(raw) == 0
}
