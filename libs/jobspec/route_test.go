package jobspec_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/formicary/formicary/libs/jobspec"
	"github.com/formicary/formicary/libs/jobspec/plan"
)

func TestMatch(t *testing.T) {
	p := planOf(t, `job_type: j
tasks:
  - task_type: a
    method: SHELL
    script: x
    on_failed: any
    on_completed: ok
    on_exit_code: {3: exact, 2-5: narrow, 1-99: wide, 4xx: class, TIMED_OUT: late, "*": rest}
{{range split "any,ok,exact,narrow,wide,class,late,rest" ","}}
  - {task_type: {{.}}, method: SHELL, script: x}
{{end}}
`, nil)
	for _, c := range []struct {
		outcome string
		code    int
		want    string
	}{
		{plan.OutcomeFailed, 3, "exact"},
		{plan.OutcomeFailed, 4, "narrow"},
		{plan.OutcomeFailed, 50, "wide"},
		{plan.OutcomeFailed, 404, "class"},
		{plan.OutcomeFailed, 700, "any"},
		{plan.OutcomeFailed, 0, "any"},
		{plan.OutcomeCompleted, 0, "ok"},
		{plan.OutcomeTimedOut, 3, "late"},
		{"CANCELLED", 0, "rest"},
	} {
		r, ok := p.Tasks[0].Match(c.outcome, c.code)
		if !ok || r.Targets[0] != c.want {
			t.Errorf("%s %d: %v, want %s", c.outcome, c.code, r, c.want)
		}
	}
}

func TestBackoff(t *testing.T) {
	grow := plan.Backoff{Min: time.Second, Max: 10 * time.Second, Factor: 2}
	spread := plan.Backoff{Min: time.Second, Factor: 2, Jitter: true}
	for _, c := range []struct {
		b       plan.Backoff
		attempt int
		random  float64
		want    time.Duration
	}{
		{plan.Backoff{Delay: time.Second}, 7, 0.5, time.Second},
		{plan.Backoff{Delay: time.Second, Jitter: true}, 1, 0.5, 1500 * time.Millisecond},
		{grow, 1, 0, time.Second},
		{grow, 3, 0, 4 * time.Second},
		{grow, 5, 0, 10 * time.Second},
		{spread, 1, 0.5, time.Second},
		{spread, 3, 0.5, 2500 * time.Millisecond},
		{spread, 1_000_000, 0.999, 30 * 24 * time.Hour},
		{plan.Backoff{}, 0, 0, 0},
	} {
		if got := c.b.For(c.attempt, c.random); got != c.want && (c.attempt < 1000 || got > c.want) {
			t.Errorf("%+v attempt %d: %v, want %v", c.b, c.attempt, got, c.want)
		}
	}
}

// TestRequires tells depends_on from dependencies: the engine treats them differently where control edges lead to a task.
func TestRequires(t *testing.T) {
	def, _, err := jobspec.Parse("job.yaml", []byte(`job_type: j
tasks:
  - {task_type: a, method: SHELL, script: x}
  - {task_type: b, method: SHELL, script: x}
  - {task_type: c, method: FORK_JOB, fork_job_type: k}
  - {task_type: d, method: AWAIT_FORKED_JOB, await_forked_tasks: [c], dependencies: [a, b], depends_on: [b]}
`))
	if err != nil {
		t.Fatal(err)
	}
	plan, err := def.Plan(nil)
	if err != nil {
		t.Fatal(err)
	}
	d := plan.Tasks[3]
	if got := fmt.Sprint(d.DependsOn, d.Downloads, d.Requires); got != "[a b c] [a b] [b]" {
		t.Errorf("waits for, downloads, requires %s", got)
	}
}
