package shell

import (
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/formicary/formicary/libs/mask"
	"github.com/formicary/formicary/services/ant/internal/executor"
)

// TestSecretsLeaveNoTrace gives a task secrets in files, a variable and its script; afterwards nothing of them is on the disk or
// in memory, and the next task finds nothing.
func TestSecretsLeaveNoTrace(t *testing.T) {
	const canary = "canary-8472-shell"
	dir := filepath.Join(t.TempDir(), "work")
	e := start(t, dir, true)
	task := executor.Task{
		Environment: map[string]string{"TOKEN": canary}, Secrets: []executor.Secret{{File: "ssh/id", Value: canary + "\n", Variable: "KEY_FILE"}, {File: "x", Value: "other-secret"}},
		Masks: mask.New([]string{canary}), Script: []string{
			"test " + canary + " = \"$TOKEN\"", `test "$(cat "$KEY_FILE")" = "$TOKEN"`, `stat -c %a "$KEY_FILE" "$(dirname "$KEY_FILE")"`, `case "$KEY_FILE" in "$FORMICARY_WORKDIR"/*) exit 9;; esac`, `echo at "$KEY_FILE"`,
		},
	}
	end, out := execute(t, e, task, nil)
	at := strings.TrimSpace(out[strings.LastIndex(out, "at ")+3:])
	if end.Class != executor.None || !strings.HasPrefix(out, "400\n700\n") {
		t.Fatalf("%+v, printed %q", end, out)
	}
	if _, err := os.Stat(inMemory); err == nil && !strings.HasPrefix(at, inMemory) {
		t.Errorf("the file is at %s, and there is %s", at, inMemory)
	}
	if _, err := os.Stat(filepath.Dir(filepath.Dir(at))); !os.IsNotExist(err) {
		t.Errorf("the directory of secrets is still there: %v", err)
	}
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		raw, err := os.ReadFile(path)
		if strings.Contains(string(raw), canary) {
			t.Errorf("%s still holds a secret", path)
		}
		return err
	})
	if err != nil {
		t.Error(err)
	}
	task.Secrets[0].File = "../../x"
	if end, _ := execute(t, e, task, nil); end.Class != executor.Rejected || !strings.Contains(end.Message, "want a path below the directory of secrets") {
		t.Errorf("a file outside: %+v", end)
	}
}

// TestSecretsOfAnEarlierLife are removed when the ant comes back.
func TestSecretsOfAnEarlierLife(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "work")
	b := &workspace{dir: filepath.Join(dir, "1")}
	if err := os.MkdirAll(b.dir, 0o700); err != nil {
		t.Fatal(err)
	}
	at, err := b.secret(executor.Secret{File: "a", Value: "canary"})
	if err != nil {
		t.Fatal(err)
	}
	start(t, dir, true)
	if _, err := os.Stat(at); !os.IsNotExist(err) {
		t.Errorf("%s: %v", at, err)
	}
}
