package jobspec_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/formicary/formicary/libs/jobspec"
	"github.com/formicary/formicary/libs/jobspec/plan"
	"github.com/formicary/formicary/libs/jobspec/source"
	"github.com/formicary/formicary/libs/jobspec/value"
)

// parse reads a definition that has to be right.
func parse(t testing.TB, text string) *jobspec.Definition {
	t.Helper()
	def, warnings, err := jobspec.Parse("job.yaml", []byte(text))
	if err != nil {
		t.Fatalf("parse: %v", err)
	}
	for _, w := range warnings {
		switch w.Code {
		case source.CodeUntrustedInScript: // most tests paste values
		case source.CodeInactiveField: // and are about the reading
		default:
			t.Fatalf("warnings: %v", warnings)
		}
	}
	return def
}

// planOf renders a definition that has to be right.
func planOf(t testing.TB, text string, vars value.Vars) *plan.Plan {
	t.Helper()
	p, err := parse(t, text).Plan(vars)
	if err != nil {
		t.Fatalf("plan: %v", err)
	}
	return p
}

// problems returns the problems of an error as lines.
func problems(t testing.TB, err error) []string {
	t.Helper()
	if err == nil {
		return nil
	}
	var ps source.Problems
	if !errors.As(err, &ps) {
		t.Fatalf("the error is no Problems: %v", err)
	}
	return strings.Split(ps.Error(), "\n")
}

// expectProblems compares problems with the beginnings of lines that are expected.
func expectProblems(t testing.TB, err error, want ...string) {
	t.Helper()
	got := problems(t, err)
	ok := len(got) == len(want)
	for i := 0; ok && i < len(want); i++ {
		ok = strings.HasPrefix(got[i], want[i])
	}
	if !ok {
		t.Errorf("problems:\n%s\nwant:\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

const hello = `job_type: hello
description: says hello
max_concurrency: 1
job_variables:
  who: world
tasks:
  - task_type: greet
    method: SHELL
    tags: [Linux, amd64]
    script: [echo hello]
    on_completed: bye
  - task_type: bye
    method: SHELL
    script: echo bye
`
