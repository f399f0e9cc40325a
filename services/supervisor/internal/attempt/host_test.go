package attempt

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"

	"github.com/formicary/formicary/libs/errs"
	"github.com/formicary/formicary/libs/jobspec/template"
	"github.com/formicary/formicary/services/supervisor/internal/definition"
	"github.com/formicary/formicary/services/supervisor/internal/execution"
)

const submitting = `job_type: job
tasks:
- task_type: find
  method: SHELL
  script: [find]
  on_completed: [put, other]
- task_type: put
  method: SHELL
  environment: {IDS: '{{if .Rows}}{{SubmitJobsFromJSON "other" .Rows}}{{end}}'}
  script:
  - 'echo {{if .Rows}}{{SubmitJob "one" "d" (printf "A=%s" (default "none" .Late))}} {{CountByJobTypeAndState "one"}}{{end}}'
- task_type: other
  method: SHELL
  script: ['echo {{.Rows}}']
`

// board is a host that notes what it is asked for.
type board struct {
	asked []string
	err   error
}

func (b *board) CountByState(jobType string, _ []string) (int, error) {
	b.asked = append(b.asked, "count "+jobType)
	return 5, b.err
}

func (b *board) Submit(jobType, _ string, params map[string]any) (string, error) {
	b.asked = append(b.asked, fmt.Sprint("submit ", jobType, " ", params["A"], params["N"]))
	return jobType + "-id", b.err
}

// A template submits at the claim what it could not at the launch, and only when all that it looks at has been read.
func TestTemplatesSubmitAtTheClaim(t *testing.T) {
	b := &board{}
	m := &Manager{
		definitions: definition.NewCache(&asked{text: submitting}), store: outputs{"Late": "late"},
		hosts: func(context.Context, *execution.Claimed) template.Host { return b },
	}
	x := func(task string) *execution.Claimed {
		return claimed(t, submitting, task, map[string]string{"Rows": `[{"N":1},{"N":2}]`})
	}
	task, _, err := m.render(t.Context(), x("put"))
	if err != nil || task.Spec.Script[0] != "echo one-id 5" || task.Spec.Environment["IDS"] != `["other-id","other-id"]` {
		t.Errorf("%+v, %v", task, err)
	}
	slices.Sort(b.asked)
	if want := []string{"count one", "submit one late<nil>", "submit other <nil> 1", "submit other <nil> 2"}; !slices.Equal(b.asked, want) {
		t.Errorf("asked for %q, want %q", b.asked, want)
	}
	b.asked = nil
	if _, _, err = m.render(t.Context(), x("other")); err != nil || len(b.asked) > 0 {
		t.Errorf("another task asks for %v, %v", b.asked, err)
	}
	b.err = errs.NotFound("DEFINITION_NOT_FOUND", "no such job")
	if _, _, err = m.render(t.Context(), x("put")); !isFault(err) {
		t.Errorf("a job that is not there: %v", err)
	}
	b.err = errs.Unavailable("AWAY", "away")
	if _, _, err = m.render(t.Context(), x("put")); err == nil || isFault(err) {
		t.Errorf("a host that is away: %v", err)
	}
	b.err = errors.New("lost")
	if _, _, err = m.render(t.Context(), x("put")); err == nil || isFault(err) {
		t.Errorf("a host that fails: %v", err)
	}
}
