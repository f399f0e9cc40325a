package e2e

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// runner is `formicary run` in a temporary directory of its own.
type runner struct {
	w    *world
	dir  string // takes notes
	tmp  string // where the run has its directory
	file string
}

// newRunner writes a job that notes what it starts: a child that leaves the session and hides from its shell, and what
// always runs.
func newRunner(t *testing.T) *runner {
	t.Helper()
	w := newWorld(t)
	r := &runner{w: w, dir: filepath.Join(w.dir, "notes"), tmp: filepath.Join(w.dir, "tmp"), file: filepath.Join(w.dir, "job.yaml")}
	for _, d := range []string{r.dir, r.tmp} {
		if err := os.Mkdir(d, 0o711); err != nil {
			t.Fatal(err)
		}
	}
	text := fmt.Sprintf(`job_type: e2e-run
tasks:
  - task_type: a
    method: SHELL
    timeouts: {grace: 1s}
    script:
      - setsid sh -c 'echo $$ > %[1]s/child; exec sleep 300' &
      - while [ ! -s %[1]s/child ]; do sleep 0.05; done
      - touch %[1]s/begun
      - while :; do echo tick; sleep 0.2; done
  - {task_type: z, method: SHELL, always_run: true, script: ["echo always >> %[1]s/always"]}
`, r.dir)
	if err := os.WriteFile(r.file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return r
}

// start runs the job and waits until its task has begun.
func (r *runner) start(out io.Writer) (*exec.Cmd, *bytes.Buffer) {
	r.w.t.Helper()
	var stderr bytes.Buffer
	cmd := exec.Command(filepath.Join(binDir, "formicary"), "run", r.file)
	cmd.Env = append(os.Environ(), "TMPDIR="+r.tmp)
	cmd.Stdout, cmd.Stderr = out, &stderr
	cmd.Dir = r.dir
	if err := cmd.Start(); err != nil {
		r.w.t.Fatal(err)
	}
	r.w.exists(filepath.Join(r.dir, "begun"))
	return cmd, &stderr
}

// places lists the directories of runs.
func (r *runner) places() []string {
	r.w.t.Helper()
	entries, err := os.ReadDir(r.tmp)
	if err != nil {
		r.w.t.Fatal(err)
	}
	var names []string
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names
}

// TestInterruptedRunEndsItsJob interrupts `formicary run` in every way that can be caught: the job is cancelled, what always
// runs runs, and nothing is left.
func TestInterruptedRunEndsItsJob(t *testing.T) {
	for _, sig := range []syscall.Signal{syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP, syscall.SIGQUIT, syscall.SIGPIPE} {
		t.Run(sig.String(), func(t *testing.T) {
			if signal.Ignored(sig) { // as under nohup: the run would inherit that, and heed it
				heard := make(chan os.Signal, 1)
				signal.Notify(heard, sig)
				defer signal.Stop(heard)
			}
			r := newRunner(t)
			var out io.Writer
			var reader, writer *os.File
			if sig == syscall.SIGPIPE {
				var err error
				if reader, writer, err = os.Pipe(); err != nil {
					t.Fatal(err)
				}
				out = writer
			}
			cmd, stderr := r.start(out)
			if sig == syscall.SIGPIPE { // as when `head` has read enough
				_ = writer.Close()
				_ = reader.Close()
			} else if err := cmd.Process.Signal(sig); err != nil {
				t.Fatal(err)
			}
			_ = cmd.Wait()
			if code := cmd.ProcessState.ExitCode(); code != 7 {
				t.Errorf("exit code %d, want 7: %s", code, stderr)
			}
			if got := read(t, filepath.Join(r.dir, "always")); got != "always\n" {
				t.Errorf("what always runs noted %q", got)
			}
			if pid := strings.TrimSpace(read(t, filepath.Join(r.dir, "child"))); !gone(pid) {
				t.Errorf("the child %s lives on", pid)
			}
			if left := r.places(); len(left) > 0 {
				t.Errorf("%v is left", left)
			}
		})
	}
}

// TestNextRunSweepsAKilledOne kills `formicary run`, which nothing can catch: the next run ends and removes what it left,
// and leaves alone what lives.
func TestNextRunSweepsAKilledOne(t *testing.T) {
	r := newRunner(t)
	killed, _ := r.start(nil)
	if err := killed.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = killed.Wait()
	if n := len(r.places()); n != 1 {
		t.Fatalf("%d directories are left by the killed run, want 1", n)
	}
	pid := strings.TrimSpace(read(t, filepath.Join(r.dir, "child")))
	for _, name := range []string{"begun", "child"} {
		_ = os.Remove(filepath.Join(r.dir, name))
	}
	second, stderr := r.start(nil)
	if n := len(r.places()); n != 1 {
		t.Errorf("%d directories, want only that of the run that lives: %s", n, stderr)
	}
	if !gone(pid) {
		t.Errorf("the child %s of the killed run lives on", pid)
	}
	quick := exec.Command(filepath.Join(binDir, "formicary"), "run", r.file, "--timeout", "1s")
	quick.Env = append(os.Environ(), "TMPDIR="+r.tmp)
	if out, err := quick.CombinedOutput(); err == nil || quick.ProcessState.ExitCode() != 8 {
		t.Errorf("a third run ended with %v: %s", err, out)
	}
	if n := len(r.places()); n != 1 {
		t.Errorf("%d directories after a third run, want that of the second", n)
	}
	_ = second.Process.Signal(syscall.SIGTERM)
	limit := time.AfterFunc(time.Minute, func() { _ = second.Process.Kill() })
	_ = second.Wait()
	limit.Stop()
	if code := second.ProcessState.ExitCode(); code != 7 {
		t.Errorf("the second run ended with %d: %s", code, stderr)
	}
	if left := r.places(); len(left) > 0 {
		t.Errorf("%v is left", left)
	}
}
