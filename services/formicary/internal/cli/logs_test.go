package cli

import (
	"context"
	"errors"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/formicary/formicary/libs/colony"
	"github.com/formicary/formicary/libs/logfile"
	executionv1 "github.com/formicary/formicary/proto/gen/formicary/execution/v1"
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

// TestLogsByPart asks for parts of the logs of a run.
func TestLogsByPart(t *testing.T) {
	id := submit(t, writeText("parts", `job_type: parts
tasks:
  - {task_type: build, method: SHELL, script: ["echo one", "echo two", "echo three"], on_completed: test}
  - {task_type: test, method: SHELL, script: ["echo three of test"]}
`), "parts")
	must(t, "request", "wait", id, "--timeout", "60s")
	for name, c := range map[string]struct {
		args []string
		want string
		code int
	}{
		"tail":             {[]string{"build", "--tail", "1"}, "three\n", exitOK},
		"tail of all":      {[]string{"--tail", "1"}, "build │ three\ntest │ three of test\n", exitOK},
		"task":             {[]string{"--task", "test"}, "three of test\n", exitOK},
		"since":            {[]string{"build", "--since", "1h"}, "one\ntwo\nthree\n", exitOK},
		"since now":        {[]string{"build", "--since", "0s"}, "", exitOK},
		"grep":             {[]string{"--grep", "^t(wo|hree)"}, "build:2: two\nbuild:3: three\ntest:1: three of test\n", exitOK},
		"grep of a task":   {[]string{"test", "--grep", "three"}, "test:1: three of test\n", exitOK},
		"grep for nothing": {[]string{"--grep", "four"}, "", 1},
	} {
		stdout, stderr, code := on(t, append([]string{"request", "logs", id}, c.args...)...)
		if stdout != c.want || code != c.code {
			t.Errorf("%s: exit code %d, %q, want %q; %s", name, code, stdout, c.want, stderr)
		}
	}
	stdout, _, _ := on(t, "request", "logs", id, "build", "--timestamps")
	if !regexp.MustCompile(`(?s)^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z one\n\S+Z two\n\S+Z three\n$`).MatchString(stdout) {
		t.Errorf("with times: %q", stdout)
	}
	for _, bad := range [][]string{{"--grep", "("}, {"--grep", "x", "--follow"}, {"--tail", "-1"}, {"--since", "yesterday"}} {
		if _, stderr, code := on(t, append([]string{"request", "logs", id}, bad...)...); code == exitOK || code == 1 && stderr == "" {
			t.Errorf("%q is taken: exit code %d", bad, code)
		}
	}
}

func TestLogLimit(t *testing.T) {
	id := submit(t, writeText("limited", `job_type: limited
tasks:
  - {task_type: only, method: SHELL, log_limit: 20Ki, script: ["seq 10000"]}
`), "limited")
	must(t, "request", "wait", id, "--timeout", "60s")
	stdout, stderr, code := on(t, "request", "logs", id, "only")
	if code != exitOK || stderr != "" || len(stdout) > 20<<10 || !strings.HasPrefix(stdout, "1\n2\n") || !strings.HasSuffix(stdout, "9999\n10000\n") || !strings.Contains(stdout, "left out here; its log_limit is 20480]\n") {
		t.Errorf("exit code %d, %d bytes, %.50q %s", code, len(stdout), stdout, stderr)
	}
	if stdout, _, _ := on(t, "request", "logs", id, "--grep", "^9999$"); stdout != "only:9999: 9999\n" {
		t.Errorf("behind what was left out: %q", stdout)
	}
}

func TestLogView(t *testing.T) {
	at := time.Date(2026, 11, 29, 16, 0, 0, 1000, time.UTC)
	var p []byte
	for _, r := range []string{"O::group::Build it\n", "Oone\n", "Etw", "Eo\n", "O::endgroup::\n", "Nnote\n", "Ohalf"} {
		p = logfile.Append(p, logfile.Stream(r[0]), at, []byte(r[1:]))
	}
	for _, c := range []struct {
		view logView
		want string
	}{
		{logView{}, "::group::Build it\none\ntwo\n::endgroup::\nnote\nhalf"},
		{logView{styled: true}, "\x1b[1m▸ Build it\x1b[0m\none\n\x1b[31mtw\x1b[0m\x1b[31mo\x1b[0m\n\x1b[2mnote\x1b[0m\nhalf"},
		{logView{times: true}, strings.ReplaceAll("@::group::Build it\n@one\n@two\n@::endgroup::\n@note\n@half", "@", "2026-11-29T16:00:00.000001Z ")},
	} {
		if got := string(c.view.text(&executionv1.WatchTaskLogResponse{Records: true}, p)); got != c.want {
			t.Errorf("%+v: %q, want %q", c.view, got, c.want)
		}
	}
	if got := (&logView{times: true}).text(&executionv1.WatchTaskLogResponse{}, []byte("text of an older ant")); string(got) != "text of an older ant" {
		t.Errorf("text: %q", got)
	}
}

// The logs of all tasks are followed in the attempts and tasks that are wanted, and a search has its limit of what is wanted.
func TestLogsThatAreWanted(t *testing.T) {
	id := submit(t, writeText("wanted", `job_type: wanted
tasks:
  - task_type: a
    method: SHELL
    retry: 1
    delay_between_retries: 1ms
    script: ["seq 1200 | sed s/^/before./", "echo a $FORMICARY_ATTEMPT", "sleep 1.1", "echo after", "test $FORMICARY_ATTEMPT = 2"]
    on_completed: b
  - {task_type: b, method: SHELL, script: ["echo b $FORMICARY_ATTEMPT"], on_completed: c}
  - {task_type: c, method: SHELL, script: ["echo c $FORMICARY_ATTEMPT"]}
`), "wanted")
	if stdout, stderr, _ := on(t, "request", "logs", id, "--follow", "--attempt", "2", "--timeout", "60s"); strings.Contains(stdout, " 1\n") || !strings.Contains(stdout, "a 2\n") {
		t.Errorf("the second attempts: %.300q %s", stdout, stderr)
	}
	if stdout, stderr, _ := on(t, "request", "logs", id, "--follow", "--task", "b", "--task", "c"); stdout != "b │ b 1\nc │ c 1\n" {
		t.Errorf("two tasks: %q %s", stdout, stderr)
	}
	stamped := must(t, "request", "logs", id, "a", "--attempt", "1", "--timestamps")
	place := strings.Index(stamped, " after\n")
	stamp := stamped[strings.LastIndexByte(stamped[:place], '\n')+1 : place]
	stamp = strings.TrimSpace(strings.TrimSuffix(strings.TrimSpace(stamp), "O"))
	found := must(t, "request", "logs", id, "--grep", "before|after", "--since", stamp, "--task", "a", "--attempt", "1")
	if found != "a:1202: after\n" {
		t.Errorf("since %s: %.300q", stamp, found)
	}
	if _, _, code := on(t, "request", "logs", id, "--grep", "before.1$", "--since", "1ms"); code != 1 {
		t.Errorf("nothing found: exit code %d", code)
	}
}
