package cli

import (
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/formicary/formicary/libs/colony"
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

// TestOutputOfAttemptsReadsInTheirOrder runs tasks that restart each other, and one that is polled.
func TestOutputOfAttemptsReadsInTheirOrder(t *testing.T) {
	file := writeText("order", `job_type: order
tasks:
  - {task_type: q, method: SHELL, script: ["echo q $FORMICARY_ATTEMPT"], on_completed: r}
  - task_type: r
    method: SHELL
    retry: 3
    delay_between_retries: 1ms
    script: ["echo r $FORMICARY_ATTEMPT", "test $FORMICARY_ATTEMPT = 3 || exit 4"]
    on_completed: s
  - task_type: s
    method: SHELL
    delay_between_retries: 1ms
    script: ["echo s $FORMICARY_ATTEMPT", "test $FORMICARY_ATTEMPT = 4 || exit 3"]
    on_exit_code: {3: EXECUTING}
`)
	const want = "q │ q 1\nr │ r 1\nr │ r 2\nr │ r 3\ns │ s 1\ns │ s 2\ns │ s 3\ns │ s 4\n"
	for range 3 {
		stdout, stderr, code := on(t, "run", file, "--quiet")
		if code != exitOK || stdout != want {
			t.Fatalf("exit code %d\n%s%s", code, stdout, stderr)
		}
	}
}

// slow is a colony that does not end in time.
type slow struct{}

func (slow) Run(ctx context.Context, ready func(colony.Colony)) error {
	ready(colony.Colony{})
	<-ctx.Done()
	return context.DeadlineExceeded
}

func TestOutcomeIsThatOfTheWork(t *testing.T) {
	for _, want := range []error{nil, &exit{code: exitFailed}} {
		err, stop := during(t.Context(), slow{}, func(colony.Colony) error { return want })
		if !errors.Is(err, want) || !errors.Is(stop, context.DeadlineExceeded) {
			t.Errorf("%v, %v; want %v", err, stop, want)
		}
	}
}
