package shell

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"syscall"
	"testing"
	"time"

	"github.com/formicary/formicary/libs/testkit"
)

// group makes what the kernel shows of a group with a group below it that holds processes.
func group(t *testing.T, above, below string) *cgroup {
	t.Helper()
	dir := t.TempDir()
	for path, procs := range map[string]string{".": above, "a": "", "a/b": below} {
		if err := os.MkdirAll(filepath.Join(dir, path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, path, "cgroup.procs"), []byte(procs), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	handle, err := os.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = handle.Close() })
	return &cgroup{dir: dir, handle: handle}
}

// A task may make groups below its own: what lives there is asked to end with the rest, and killed with it.
func TestGroupsBelowAGroupAreSeen(t *testing.T) {
	if got := groupPIDs(group(t, "7\n", "8\n9\n").dir); !slices.Equal(got, []int{7, 8, 9}) {
		t.Errorf("%v", got)
	}
	for name, end := range map[string]func(c *cgroup) bool{
		"asked":  func(c *cgroup) bool { return c.terminate(1, map[process]bool{}) },
		"killed": func(c *cgroup) bool { killGroup(c.dir); return true },
	} {
		cmd := exec.CommandContext(t.Context(), "sleep", "300")
		cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		c := group(t, "", fmt.Sprintln(cmd.Process.Pid))
		if !end(c) {
			t.Errorf("%s: nothing is alive", name)
		}
		done := make(chan struct{})
		go func() { defer close(done); _ = cmd.Wait() }()
		testkit.Eventually(t, 10*time.Second, name+": it has ended", func() bool {
			select {
			case <-done:
				return true
			default:
				return false
			}
		})
	}
}

// A group that a task has divided is removed with those below it, and not used again.
func TestDividedGroupsAreRemoved(t *testing.T) {
	c := group(t, "", "")
	if !c.divided() {
		t.Error("it is not seen that the group is divided")
	}
	for _, path := range []string{".", "a", "a/b"} { // files of the kernel are no obstacle there
		if err := os.Remove(filepath.Join(c.dir, path, "cgroup.procs")); err != nil {
			t.Fatal(err)
		}
	}
	removeGroup(c.dir)
	if _, err := os.Stat(c.dir); !os.IsNotExist(err) {
		t.Errorf("it is there: %v", err)
	}
}
