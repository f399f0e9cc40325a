package jobspec

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/formicary/formicary/libs/jobspec/source"
	"github.com/formicary/formicary/libs/jobspec/value"
)

// What no ant executes has the timeout that is written, and none otherwise: it waits for a job or for people.
func TestTimeoutsByMethod(t *testing.T) {
	const defaults = "job_type: j\ntasks:\n- {task_type: f, method: FORK_JOB, fork_job_type: c}\n- task_type: a\n%s"
	for section, want := range map[string]time.Duration{
		"  script: [x]\n  method: SHELL":                                                       time.Hour,
		"  script: [x]\n  method: SHELL\n  timeout: 2s":                                        2 * time.Second,
		"  method: HTTP_GET\n  url: http://x":                                                  time.Hour,
		"  method: MANUAL":                                                                     0,
		"  method: MANUAL\n  timeout: 2s":                                                      2 * time.Second,
		"  method: MANUAL\n  timeout: ~":                                                       0,
		"  method: MANUAL\n  timeouts: {run: 2s}":                                              2 * time.Second,
		"  method: MANUAL\n  timeouts: {run: ~, total: 3s}":                                    0,
		"  method: FORK_JOB\n  fork_job_type: c":                                               0,
		"  method: FORK_JOB\n  fork_job_type: c\n  timeout: 1h":                                time.Hour,
		"  method: AWAIT_FORKED_JOB\n  await_forked_tasks: [f]":                                0,
		"  method: AWAIT_FORKED_JOB\n  await_forked_tasks: [f]\n  timeout: 2s":                 2 * time.Second,
		"  method: EXPIRE_ARTIFACTS\n  timeout: 2s":                                            2 * time.Second,
		"  method: FORK_JOB\n  fan_out: {items: [1], fork_job_type: c}":                        0,
		"  method: FORK_JOB\n  fan_out: {items: [1], fork_job_type: c}\n  timeout: 2s":         2 * time.Second,
		"  method: FORK_JOB\n  fan_out: {items: [1], fork_job_type: c}\n  timeouts: {run: 2s}": 2 * time.Second,
	} {
		d, _, err := Parse("", fmt.Appendf(nil, defaults, section))
		if err != nil {
			t.Errorf("%s: %v", section, err)
			continue
		}
		plan, err := d.Plan(nil)
		if err != nil {
			t.Errorf("%s: %v", section, err)
			continue
		}
		if got := plan.Tasks[1].Timeout; got != want {
			t.Errorf("%s: the timeout is %s, want %s", section, got, want)
		}
	}
}

func TestBoundsThatDoNothing(t *testing.T) {
	for section, want := range map[string]string{
		"  script: [x]\n  method: SHELL\n  timeouts: {pending: 1s, run: 1s, total: 1s, grace: 1s}": "",
		"  method: MANUAL\n  timeouts: {pending: 1s, run: 1s, total: 1s}":                          "5:14",
		"  method: FORK_JOB\n  fork_job_type: c\n  timeouts: {run: 1s, grace: 1s}":                 "6:23",
		"  method: HTTP_GET\n  url: http://x\n  timeouts: {pending: 1s, grace: 1s}":                "6:27",
	} {
		_, problems, err := Parse("", []byte("job_type: j\ntasks:\n- task_type: a\n"+section))
		if err != nil {
			t.Error(err)
		}
		var got []string
		for _, p := range problems {
			if p.Code != source.CodeInactiveField || !p.Warning || !strings.Contains(p.Message, "does nothing here") {
				t.Errorf("%s: %v", section, p)
			}
			got = append(got, fmt.Sprintf("%d:%d", p.Line, p.Column))
		}
		if strings.Join(got, " ") != want {
			t.Errorf("%s: %v, want a warning at %q", section, problems, want)
		}
	}
}

func TestHowLongAJobMayWaitForItsStart(t *testing.T) {
	const shell = "method: SHELL, script: [x], "
	const none = -1 // what follows when no ant takes the task is foreseen: the job does not wait for one
	for text, want := range map[string]time.Duration{
		"tasks: [{task_type: a, " + shell + "}]":                                                                                       0,
		"timeouts: {pending: 3s}\ntasks: [{task_type: a, " + shell + "}]":                                                              3 * time.Second,
		"tasks: [{task_type: a, " + shell + "timeouts: {pending: 2s}}]":                                                                2 * time.Second,
		"timeouts: {pending: 3s}\ntasks: [{task_type: a, " + shell + "timeouts: {pending: 2s}}, {task_type: b, " + shell + "}]":        2 * time.Second,
		"timeouts: {pending: 1s}\ntasks: [{task_type: a, " + shell + "timeouts: {pending: 2s}}]":                                       time.Second,
		"tasks: [{task_type: a, " + shell + "on_completed: b}, {task_type: b, " + shell + "timeouts: {pending: 2s}}]":                  0,
		"tasks: [{task_type: a, " + shell + "allow_failure: true, timeouts: {pending: 2s}}]":                                           none,
		"tasks: [{task_type: a, " + shell + "on_failed: b, timeouts: {pending: 2s}}, {task_type: b, " + shell + "}]":                   none,
		"tasks: [{task_type: a, " + shell + "on_exit_code: {TIMED_OUT: b}, timeouts: {pending: 2s}}, {task_type: b, " + shell + "}]":   none,
		"tasks: [{task_type: a, " + shell + "on_exit_code: {7: b}, timeouts: {pending: 2s}}, {task_type: b, " + shell + "}]":           2 * time.Second,
		"tasks: [{task_type: a, " + shell + "allow_failure: true, timeouts: {pending: 2s}}, {task_type: c, tags: [x], " + shell + "}]": 0,
		"tasks: [{task_type: a, " + shell + "allow_failure: true}]":                                                                    0,
		"timeouts: {pending: '{{.wait}}'}\ntasks: [{task_type: a, " + shell + "}]":                                                     7 * time.Second,
		"tasks: [{task_type: a, " + shell + "timeouts: {pending: '{{.wait}}'}}]":                                                       7 * time.Second,
		"tasks: [{task_type: a, " + shell + "allow_failure: '{{.yes}}', timeouts: {pending: 2s}}]":                                     none,
		"{{if .yes}}timeouts: {pending: 4s}{{end}}\ntasks: [{task_type: a, " + shell + "}]":                                            4 * time.Second,
	} {
		d, _, err := Parse("", []byte("job_type: j\n"+text))
		if err != nil {
			t.Errorf("%s: %v", text, err)
			continue
		}
		start, err := d.Start(value.Vars{"wait": "7s", "yes": true})
		if err != nil || start.Pending != max(want, 0) || (len(start.Classes) == 0) != (want == none) {
			t.Errorf("%s: %+v, %v, want %s", text, start, err, want)
		}
	}
}

// A header that no message can hold is refused when it is read, or rendered, with its place.
func TestHeadersThatCannotBeSent(t *testing.T) {
	const text = `job_type: j
%swebhook: {url: "https://h.example", headers: {X-A: %s}}
tasks:
- task_type: a
  method: HTTP_GET
  url: https://h.example
  headers: {X-B: %s}
  webhook: {url: "https://h.example", headers: {%s: v}}
`
	for name, tt := range map[string]struct{ job, task, hook, want string }{
		"right":           {"v", "'{{.v}}'", "X-C", ""},
		"of the job":      {`"a\nb"`, "v", "X-C", "2:"},
		"of the task":     {"v", `"a\rb"`, "X-C", "7:"},
		"a name":          {"v", "v", "'X C'", "8:"},
		"rendered":        {"'{{.bad}}'", "v", "X-C", "2:"},
		"rendered, task":  {"v", "'{{.bad}}'", "X-C", "7:"},
		"a tab is a text": {`"a\tb"`, "v", "X-C", ""},
	} {
		d, _, err := Parse("", fmt.Appendf(nil, text, "", tt.job, tt.task, tt.hook))
		if err == nil {
			_, err = d.Plan(value.Vars{"v": "v", "bad": "secret\nX-D: 1"})
		}
		got := ""
		if err != nil {
			got = strings.TrimPrefix(err.Error(), ":")
		}
		if tt.want == "" && err != nil || !strings.HasPrefix(got, tt.want) || strings.Contains(got, "secret") {
			t.Errorf("%s: %v", name, err)
		}
	}
}
