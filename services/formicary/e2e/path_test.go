package e2e

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// TestColonyInAnyDirectory starts a colony, and a run, in directories whose names mean something somewhere, or are longer
// than the path of a socket may be.
func TestColonyInAnyDirectory(t *testing.T) {
	for name, sub := range map[string]string{
		"characters": `a b\c,d'e"f%20g$h;i[j]*k=l:é世`,
		"long":       strings.Repeat("long/", 30),
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			w.data = filepath.Join(w.dir, sub)
			up := w.embedded()
			w.define("job_type: e2e-path\ntasks:\n  - {task_type: a, method: SHELL, script: [\"echo it=works >> $FORMICARY_OUTPUT\", \"pwd\"]}\n")
			w.finishes(w.submit("e2e-path", "first", nil), "COMPLETED")
			up.signal(syscall.SIGKILL)
			up.start()
			w.ready()
			w.finishes(w.submit("e2e-path", "second", nil), "COMPLETED")
			w.audit()
			up.signal(syscall.SIGTERM)

			tmp := filepath.Join(w.dir, "tmp", sub)
			if err := os.MkdirAll(tmp, 0o711); err != nil {
				t.Fatal(err)
			}
			file := filepath.Join(tmp, "job.yaml")
			if err := os.WriteFile(file, []byte("job_type: run\ntasks:\n  - {task_type: a, method: SHELL, script: [\"echo ran\"]}\n"), 0o600); err != nil {
				t.Fatal(err)
			}
			cmd := exec.Command(filepath.Join(binDir, "formicary"), "run", "-q", file)
			cmd.Env = append(os.Environ(), "TMPDIR="+tmp)
			if out, err := cmd.CombinedOutput(); err != nil || string(out) != "a │ ran\n" {
				t.Errorf("%v: %s", err, out)
			}
			if left, _ := os.ReadDir(tmp); len(left) != 1 {
				t.Errorf("%v is left", left)
			}
		})
	}
}
