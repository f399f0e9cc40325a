package attempt

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/formicary/formicary/libs/jobspec"
	"github.com/formicary/formicary/libs/jobspec/plan"
	"github.com/formicary/formicary/libs/jobspec/source"
	"github.com/formicary/formicary/libs/jobspec/template"
	"github.com/formicary/formicary/libs/jobspec/value"
	"github.com/formicary/formicary/services/supervisor/internal/definition"
	"github.com/formicary/formicary/services/supervisor/internal/engine"
	"github.com/formicary/formicary/services/supervisor/internal/execution"
)

const text = `job_type: job
tasks:
- task_type: build
  method: SHELL
  script:
    - make
  on_completed: report
- task_type: report
  method: SHELL
  script:
    - echo {{.Version}} {{.JobRetry}}
`

// asked gives one definition and counts how often it is asked.
type asked struct {
	text  string
	asked int
	err   error
}

func (s *asked) Definition(context.Context, string, string) (*jobspec.Definition, error) {
	s.asked++
	if s.err != nil {
		return nil, s.err
	}
	def, _, err := jobspec.Parse("job.yaml", []byte(s.text))
	return def, err
}

// claimed is the attempt of a task of the definition.
func claimed(t *testing.T, text, task string, outputs map[string]string) *execution.Claimed {
	t.Helper()
	def, _, err := jobspec.Parse("job.yaml", []byte(text))
	if err != nil {
		t.Fatal(err)
	}
	plan, err := def.Plan(value.Vars{"JobRetry": int64(0), "Version": "none"})
	if err != nil {
		t.Fatal(err)
	}
	x := &execution.Claimed{
		Attempt: execution.Attempt{UID: uuid.New(), State: engine.AttemptRunning},
		Job:     &execution.Context{Vars: []byte(`{"Version":"none","N":3,"F":1.5,"L":[1,"x"]}`), Outputs: outputs, Now: time.Now()},
	}
	x.Job.Retries = 2
	for i := range plan.Tasks {
		if plan.Tasks[i].Name == task {
			x.Task = &plan.Tasks[i]
		}
	}
	return x
}

func TestRenderUsesWhatTheClaimKnows(t *testing.T) {
	src := &asked{text: text}
	m := &Manager{definitions: definition.NewCache(src), store: outputs{}}
	spec, env, err := m.render(t.Context(), claimed(t, text, "build", map[string]string{"Other": "x"}), nil, nil)
	if err != nil || spec.Spec.Script[0] != "make" || src.asked != 0 {
		t.Errorf("%v, %v, definition asked for %d times", spec, err, src.asked)
	}
	if env.Vars["N"] != "3" || env.Vars["F"] != "1.5" || env.Vars["Other"] != "x" {
		t.Errorf("environment %v", env)
	}
	for range 2 {
		spec, env, err = m.render(t.Context(), claimed(t, text, "report", map[string]string{"Version": "v7; rm -rf /"}), nil, nil)
		if err != nil || spec.Spec.Script[0] != "echo v7; rm -rf / 2" {
			t.Errorf("task %v, %v", spec, err)
		}
	}
	if env.Vars["Version"] != "v7; rm -rf /" || src.asked != 1 {
		t.Errorf("environment %v, definition asked for %d times", env, src.asked)
	}
}

// outputs is a store that has them beside what the claim has read.
type outputs map[string]string

func (outputs) Claim(context.Context, []execution.Claim) (map[uuid.UUID]*execution.Claimed, error) {
	return nil, nil
}

func (outputs) Keep(context.Context, []execution.Claim) error { return nil }

func (outputs) Sync(context.Context, []execution.Report) ([]execution.Answer, []uuid.UUID, error) {
	return nil, nil, nil
}

func (outputs) Step(context.Context, []execution.Event) ([]execution.Verdict, error) { return nil, nil }

func (outputs) Inputs(context.Context, uuid.UUID, uuid.UUID, string, []string, []uuid.UUID) ([]execution.Input, error) {
	return nil, nil
}

func (outputs) Places(context.Context, []uuid.UUID) (map[uuid.UUID]execution.LogPlace, error) {
	return nil, nil
}

func (outputs) NoteUploads(context.Context, map[uuid.UUID]execution.LogPlace) error { return nil }

func (o outputs) OutputsOf(_ context.Context, _ uuid.UUID, names []string) (map[string]string, error) {
	if slices.Contains(names, template.UsesAll) {
		return o, nil
	}
	found := map[string]string{}
	for _, name := range names {
		if v, ok := o[name]; ok {
			found[name] = v
		}
	}
	return found, nil
}

// A branch that is taken at the claim may look at what the plan did not, and that at more.
func TestRenderFindsWhatThePlanDidNotLookAt(t *testing.T) {
	for script, want := range map[string]string{
		`echo {{if eq .Version "v2"}}{{.sum}}{{end}}`:                                                    "echo 3",
		`echo {{if eq .Version "v2"}}{{index . .name}}{{end}}`:                                           "echo 3",
		`echo {{if eq .Version "v2"}}{{index . (index . .more)}}{{end}}`:                                 "echo 3",
		`echo {{if eq .Version "v2"}}{{index . "build-status"}}{{end}}`:                                  "echo COMPLETED",
		`echo {{if eq .Version "v2"}}{{range $k, $v := .}}{{if eq $k "sum"}}{{$v}}{{end}}{{end}}{{end}}`: "echo 3",
	} {
		text := strings.Replace(text, "echo {{.Version}} {{.JobRetry}}", "'"+script+"'", 1)
		stored := outputs{"sum": "3", "name": "sum", "more": "name", "build-status": "COMPLETED", "other": strings.Repeat("x", 1000)}
		m := &Manager{definitions: definition.NewCache(&asked{text: text}), store: stored}
		for range 2 {
			task, env, err := m.render(t.Context(), claimed(t, text, "report", map[string]string{"Version": "v2"}), nil, nil)
			if err != nil || task.Spec.Script[0] != want || env.Vars["sum"] != "" {
				t.Errorf("%s: %v, %v", script, task, err)
			}
		}
	}
}

func TestRenderTellsFaultsFromOutages(t *testing.T) {
	x := claimed(t, text, "report", map[string]string{"Version": "v"})
	m := &Manager{definitions: definition.NewCache(&asked{err: errors.New("no job-manager")})}
	var bad source.Problems
	if _, _, err := m.render(t.Context(), x, nil, nil); err == nil || errors.As(err, &bad) {
		t.Errorf("outage: %v", err)
	}
	x.Task.Name = "gone"
	m = &Manager{definitions: definition.NewCache(&asked{text: text}), store: outputs{}}
	if _, _, err := m.render(t.Context(), x, nil, nil); !errors.As(err, &bad) {
		t.Errorf("a task that the definition does not have: %v", err)
	}
}

func TestTimeoutIsWhatIsLeft(t *testing.T) {
	began := time.Now()
	tests := map[string]struct {
		timeout, total, after, want time.Duration
	}{
		"none":           {},
		"its own":        {timeout: time.Minute, want: time.Minute},
		"rest of total":  {timeout: time.Minute, total: 90 * time.Second, after: time.Minute, want: 30 * time.Second},
		"only the total": {total: time.Minute, after: 20 * time.Second, want: 40 * time.Second},
		"nothing left":   {timeout: time.Minute, total: time.Minute, after: time.Hour, want: time.Second},
	}
	for name, tt := range tests {
		x := &execution.Claimed{
			Task: &plan.Task{Timeout: tt.timeout, TotalTimeout: tt.total}, StartedAt: &began, Began: began.Add(tt.after),
			Job: &execution.Context{Now: began.Add(2 * time.Hour)}, // the same at every claim
		}
		if got := timeout(x); got != tt.want {
			t.Errorf("%s: %s, want %s", name, got, tt.want)
		}
	}
}
