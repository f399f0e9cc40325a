package cli

import (
	"encoding/json"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/formicary/formicary/libs/colony"
	"github.com/formicary/formicary/libs/testkit"
)

// What runs on the ant's host is listed and ended: a task, and a process that nobody knows of.
func TestExecutors(t *testing.T) {
	place := filepath.Join(shared.dir, "executors-place")
	id := submit(t, write("executors", `script: ["echo $FORMICARY_WORKDIR $FORMICARY_ATTEMPT_UID >`+place+`.part && mv `+place+`.part `+place+`", "sleep 300"]`), "executors")
	testkit.Eventually(t, 60*time.Second, "the task runs", func() bool { _, err := os.Stat(place); return err == nil })
	said, err := os.ReadFile(place)
	if err != nil {
		t.Fatal(err)
	}
	dir, uid, _ := strings.Cut(strings.TrimSpace(string(said)), " ")
	stray, orphan := uuid.NewString(), exec.CommandContext(t.Context(), "sleep", "300")
	orphan.Env = append(os.Environ(), "FORMICARY_WORKDIR="+filepath.Dir(filepath.Dir(dir))+"/0/work", "FORMICARY_ATTEMPT_UID="+stray)
	if err := orphan.Start(); err != nil {
		t.Fatal(err)
	}

	list := must(t, "ant", "executors", "list")
	for _, line := range []string{uid, stray} {
		_, row, found := strings.Cut(list, line)
		row, _, _ = strings.Cut(row, "\n")
		if !found || !strings.Contains(row, "SHELL") || strings.Contains(row, "LEFT") != (line == stray) || strings.Contains(row, id) != (line == uid) {
			t.Errorf("%s is listed as %q in\n%s", line, row, list)
		}
	}
	var rest struct {
		Executors []struct {
			ID   string `json:"id"`
			Task string `json:"task"`
		} `json:"executors"`
	}
	col, err := colony.Load(shared.file, os.Getenv)
	if err != nil {
		t.Fatal(err)
	}
	res, err := http.Get("http://" + col.HTTP + "/api/v1/executors") //nolint:noctx // a test
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = res.Body.Close() }()
	if err := json.NewDecoder(res.Body).Decode(&rest); err != nil || len(rest.Executors) < 2 {
		t.Errorf("REST says %+v, %v", rest, err)
	}

	if out := must(t, "ant", "executors", "rm", stray, "-o", "name"); out != stray+"\n" {
		t.Errorf("ended %q", out)
	}
	if err := orphan.Wait(); err == nil || !strings.Contains(err.Error(), "killed") {
		t.Errorf("the process that was left ended with %v", err)
	}
	if _, stderr, code := on(t, "ant", "executors", "rm", stray); code != exitNotFound || !strings.Contains(stderr, "executors list") {
		t.Errorf("ended again: %d %s", code, stderr)
	}
	must(t, "ant", "executors", "rm", uid)
	testkit.Eventually(t, 60*time.Second, "the attempt is lost", func() bool {
		out, _, _ := on(t, "request", "get", id, "-o", "json")
		return strings.Contains(out, "ended by an operator")
	})
	on(t, "request", "cancel", id)
}
