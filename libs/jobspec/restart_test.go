package jobspec_test

import (
	"fmt"
	"testing"

	"github.com/formicary/formicary/libs/jobspec"
)

// What the engine bounds by itself is named where it is written.
func TestRestartsWithoutRetryAreNamed(t *testing.T) {
	_, problems, err := jobspec.Parse("job.yaml", []byte(`job_type: j
tasks:
  - {task_type: a, method: SHELL, script: x, on_exit_code: {5: RESTART_TASK}}
  - {task_type: b, method: SHELL, script: x, retry: 0, on_failed: RESTART_TASK}
  - {task_type: c, method: SHELL, script: x, on_failed: RESTART_JOB}
`))
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, p := range problems {
		got = append(got, fmt.Sprintf("%d:%d %s %s %v", p.Line, p.Column, p.Code, p.Message, p.Warning))
	}
	want := []string{
		"3:61 UNBOUNDED_RESTART RESTART_TASK starts the task again at most 100 times: no retry is written true",
		"5:57 UNBOUNDED_RESTART RESTART_JOB starts the job again at most 100 times: no retry is written true",
	}
	if fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("%q, want %q", got, want)
	}
	if _, problems, err = jobspec.Parse("job.yaml", []byte("job_type: j\nretry: 1\ntasks:\n  - {task_type: c, method: SHELL, script: x, on_failed: RESTART_JOB}\n")); err != nil || len(problems) > 0 {
		t.Errorf("%v, %v", problems, err)
	}
}
