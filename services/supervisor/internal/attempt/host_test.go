package attempt

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"testing"

	"github.com/google/uuid"

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
	task, _, err := m.render(t.Context(), x("put"), nil, nil)
	if err != nil || task.Spec.Script[0] != "echo one-id 5" || task.Spec.Environment["IDS"] != `["other-id","other-id"]` {
		t.Errorf("%+v, %v", task, err)
	}
	slices.Sort(b.asked)
	if want := []string{"count one", "submit one late<nil>", "submit other <nil> 1", "submit other <nil> 2"}; !slices.Equal(b.asked, want) {
		t.Errorf("asked for %q, want %q", b.asked, want)
	}
	b.asked = nil
	if _, _, err = m.render(t.Context(), x("other"), nil, nil); err != nil || len(b.asked) > 0 {
		t.Errorf("another task asks for %v, %v", b.asked, err)
	}
	b.err = errs.NotFound("DEFINITION_NOT_FOUND", "no such job")
	if _, _, err = m.render(t.Context(), x("put"), nil, nil); !isFault(err) {
		t.Errorf("a job that is not there: %v", err)
	}
	b.err = errs.Unavailable("AWAY", "away")
	if _, _, err = m.render(t.Context(), x("put"), nil, nil); err == nil || isFault(err) {
		t.Errorf("a host that is away: %v", err)
	}
	b.err = errors.New("lost")
	if _, _, err = m.render(t.Context(), x("put"), nil, nil); err == nil || isFault(err) {
		t.Errorf("a host that fails: %v", err)
	}
}

// tired is a host that answers a few times only, as one whose claim has no time left.
type tired struct {
	board
	left int
}

func (b *tired) CountByState(jobType string, states []string) (int, error) {
	if b.left--; b.left < 0 {
		return 0, context.DeadlineExceeded
	}
	n, err := b.board.CountByState(jobType, states)
	return n + len(b.asked), err
}

func (b *tired) Submit(jobType, description string, params map[string]any) (string, error) {
	if b.left--; b.left < 0 {
		return "", context.DeadlineExceeded
	}
	return b.board.Submit(jobType, description, params)
}

// A claim that has no time for all that a template asks is made again: it goes on where the last one ended, and what has
// been counted stays as it was.
func TestAClaimGoesOnWhereTheLastOneEnded(t *testing.T) {
	text := `job_type: job
tasks:
- task_type: find
  method: SHELL
  script: [find]
  on_completed: put
- task_type: put
  method: SHELL
  script:
  - 'echo {{if .Rows}}{{CountByJobTypeAndState "one"}} {{SubmitJobsFromJSON "other" .Rows}} {{range $i := Iterate 3}}{{SubmitJob "one" "d" (printf "A=%v" $i)}} {{end}}{{CountByJobTypeAndState "one"}}{{end}}'
`
	b := &tired{}
	m := &Manager{
		definitions: definition.NewCache(&asked{text: text}), store: outputs{},
		hosts: func(context.Context, *execution.Claimed) template.Host { return b },
	}
	x := claimed(t, text, "put", map[string]string{"Rows": `[{"N":1},{"N":2},{"N":3},{"N":4}]`})
	var scripts []string
	for range 12 {
		b.left = 2
		task, _, err := m.render(t.Context(), x, nil, nil)
		if err == nil {
			scripts = append(scripts, task.Spec.Script[0])
		} else if isFault(err) {
			t.Fatal(err)
		}
	}
	const want = `echo 6 ["other-id","other-id","other-id","other-id"] one-id one-id one-id 14`
	if len(scripts) < 5 || slices.ContainsFunc(scripts, func(s string) bool { return s != want }) {
		t.Errorf("rendered %q, want %q", scripts, want)
	}
	if len(b.asked) != 9 {
		t.Errorf("asked %q", b.asked)
	}
	other := *x
	other.UID = uuid.New()
	b.left = 100
	if _, _, err := m.render(t.Context(), &other, nil, nil); err != nil || len(b.asked) != 18 {
		t.Errorf("another attempt: %v, asked %d times", err, len(b.asked))
	}
}

// What hosts answer is forgotten, the oldest first, before it is too much.
func TestAnswersAreBounded(t *testing.T) {
	var a answers
	first, last := uuid.New(), uuid.Nil
	a.put(first, "q", 1)
	for range 60 {
		last = uuid.New()
		for i := range 1000 {
			a.put(last, strconv.Itoa(i), i)
		}
	}
	sum := 0
	for _, own := range a.of {
		sum += len(own)
	}
	_, old := a.get(first, "q")
	_, young := a.get(last, "7")
	if sum > mostAnswers || sum != a.count || len(a.of) != len(a.order) || old || !young {
		t.Errorf("%d answers, %d counted, of %d attempts; the first known: %t, the last: %t", sum, a.count, len(a.of), old, young)
	}
}
