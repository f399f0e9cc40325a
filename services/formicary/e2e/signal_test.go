package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// TestTerminatedColonyTellsItsTasks ends colonies by SIGTERM while tasks run: these get TERM, their grace and after_script,
// and run again when the colony is back. A second signal kills what does not want to end.
func TestTerminatedColonyTellsItsTasks(t *testing.T) {
	w := newWorld(t)
	dir := filepath.Join(w.dir, "notes")
	if err := os.Mkdir(dir, 0o777); err != nil {
		t.Fatal(err)
	}
	up := w.embedded("--drain-timeout", "500ms")
	w.define(fmt.Sprintf(`job_type: e2e-term
tasks:
  - task_type: a
    method: SHELL
    script:
      - if [ -e %[1]s/begun ]; then exit 0; fi
      - trap 'sleep 4; echo trapped >> %[1]s/notes; exit 0' TERM
      - touch %[1]s/begun
      - sleep 60 & wait
    after_script: ["echo after >> %[1]s/notes"]
`, dir))
	id := w.submit("e2e-term", "term", nil)
	w.exists(filepath.Join(dir, "begun"))
	up.signal(syscall.SIGTERM)
	if got := read(t, filepath.Join(dir, "notes")); got != "trapped\nafter\n" {
		t.Errorf("the script noted %q", got)
	}
	up.start()
	w.ready()
	w.finishes(id, "COMPLETED")
	w.audit()

	w.define(fmt.Sprintf(`job_type: e2e-deaf
tasks:
  - {task_type: a, method: SHELL, timeouts: {grace: 100s}, script: ["trap '' TERM", "echo $$ > %s/pid", "while :; do sleep 0.1; done"]}
`, dir))
	w.submit("e2e-deaf", "deaf", nil)
	w.exists(filepath.Join(dir, "pid"))
	began := time.Now()
	if err := syscall.Kill(up.pid(), syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	w.within(5*time.Second, "the end is announced", func() bool {
		raw, _ := os.ReadFile(filepath.Join(w.dir, "up.log"))
		return strings.Count(string(raw), "once more to kill them") == 2 && time.Since(began) > time.Second
	})
	if gone(strings.TrimSpace(read(t, filepath.Join(dir, "pid")))) {
		t.Error("the task was killed before its grace ended")
	}
	up.signal(syscall.SIGTERM)
	if took := time.Since(began); took > 20*time.Second {
		t.Errorf("the colony ended after %s", took)
	}
	if !gone(strings.TrimSpace(read(t, filepath.Join(dir, "pid")))) {
		t.Error("the task lives on")
	}
}

// exists waits for a file.
func (w *world) exists(path string) {
	w.t.Helper()
	w.eventually(path+" exists", func() bool {
		info, err := os.Stat(path)
		return err == nil && (info.Size() > 0 || filepath.Base(path) == "begun")
	})
}

func read(t *testing.T, path string) string {
	t.Helper()
	raw, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(raw)
}
