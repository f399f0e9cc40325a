package cli

import (
	"strings"
	"testing"
)

// TestLogsOfATaskAreFollowedToItsEnd follows one task from before it began, over retries of the task and of the job.
func TestLogsOfATaskAreFollowedToItsEnd(t *testing.T) {
	for name, text := range map[string]string{
		"retry-of-task": "tasks:\n  - task_type: only\n    method: SHELL\n    retry: 1\n    delay_between_retries: 300ms\n" +
			"    script: [\"echo begin $FORMICARY_ATTEMPT\", \"sleep 0.3\", \"test $FORMICARY_ATTEMPT = 2\"]\n",
		"retry-of-job": "retry: 1\ndelay_between_retries: 300ms\ntasks:\n  - task_type: only\n    method: SHELL\n" +
			"    script: [\"echo begin $FORMICARY_RUN\", \"sleep 0.3\", \"test $FORMICARY_RUN = 2\"]\n",
	} {
		t.Run(name, func(t *testing.T) {
			id := submit(t, writeText(name, "job_type: "+name+"\n"+text), name)
			stdout, stderr, code := on(t, "request", "logs", id, "only", "--follow", "--timeout", "60s")
			if code != exitOK || stdout != "begin 1\nbegin 2\n" {
				t.Errorf("exit code %d\n%s%s", code, stdout, stderr)
			}
			if stdout, _, _ := on(t, "request", "logs", id, "only", "--follow", "--attempt", "1", "--run", "1"); stdout != "begin 1\n" {
				t.Errorf("only the first: %q", stdout)
			}
		})
	}
}

func TestLogsWaitForTheRequest(t *testing.T) {
	id := submit(t, writeText("never", "job_type: never\ntasks:\n  - {task_type: only, method: SHELL, tags: [nobody], script: [\"true\"]}\n"), "never")
	ended := make(chan string, 1)
	go func() {
		stdout, stderr, code := on(t, "request", "logs", id, "only", "-f", "--timeout", "60s")
		if code != exitOK || stdout != "" {
			ended <- stdout + stderr
		}
		close(ended)
	}()
	if _, stderr, code := on(t, "request", "logs", id, "only", "-f", "--timeout", "1s"); code != exitRunning || !strings.Contains(stderr, "still running") {
		t.Errorf("exit code %d: %s", code, stderr)
	}
	must(t, "request", "cancel", id)
	if what := <-ended; what != "" {
		t.Errorf("ended with %s", what)
	}
}
