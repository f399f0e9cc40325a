package jobspec_test

import (
	"testing"
	"time"

	"github.com/formicary/formicary/libs/jobspec"
)

func TestMatch(t *testing.T) {
	p := plan(t, `job_type: j
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
		{jobspec.OutcomeFailed, 3, "exact"},
		{jobspec.OutcomeFailed, 4, "narrow"},
		{jobspec.OutcomeFailed, 50, "wide"},
		{jobspec.OutcomeFailed, 404, "class"},
		{jobspec.OutcomeFailed, 700, "any"},
		{jobspec.OutcomeFailed, 0, "any"},
		{jobspec.OutcomeCompleted, 0, "ok"},
		{jobspec.OutcomeTimedOut, 3, "late"},
		{"CANCELLED", 0, "rest"},
	} {
		r, ok := p.Tasks[0].Match(c.outcome, c.code)
		if !ok || r.Targets[0] != c.want {
			t.Errorf("%s %d: %v, want %s", c.outcome, c.code, r, c.want)
		}
	}
}

func TestBackoff(t *testing.T) {
	grow := jobspec.Backoff{Min: time.Second, Max: 10 * time.Second, Factor: 2}
	spread := jobspec.Backoff{Min: time.Second, Factor: 2, Jitter: true}
	for _, c := range []struct {
		b       jobspec.Backoff
		attempt int
		random  float64
		want    time.Duration
	}{
		{jobspec.Backoff{Delay: time.Second}, 7, 0.5, time.Second},
		{jobspec.Backoff{Delay: time.Second, Jitter: true}, 1, 0.5, 1500 * time.Millisecond},
		{grow, 1, 0, time.Second},
		{grow, 3, 0, 4 * time.Second},
		{grow, 5, 0, 10 * time.Second},
		{spread, 1, 0.5, time.Second},
		{spread, 3, 0.5, 2500 * time.Millisecond},
		{spread, 1_000_000, 0.999, 30 * 24 * time.Hour},
		{jobspec.Backoff{}, 0, 0, 0},
	} {
		if got := c.b.For(c.attempt, c.random); got != c.want && (c.attempt < 1000 || got > c.want) {
			t.Errorf("%+v attempt %d: %v, want %v", c.b, c.attempt, got, c.want)
		}
	}
}
