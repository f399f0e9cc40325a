package jobspec_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/formicary/formicary/libs/jobspec"
	"github.com/formicary/formicary/libs/jobspec/environ"
	"github.com/formicary/formicary/libs/jobspec/source"
	"github.com/formicary/formicary/libs/jobspec/template"
	"github.com/formicary/formicary/libs/jobspec/value"
)

// host submits to nowhere. The same key is the same submission.
type host struct {
	byKey  map[string]string
	calls  []string
	counts int
	err    error
}

func (h *host) CountByState(jobType string, states []string) (int, error) {
	h.counts++
	h.calls = append(h.calls, jobType+" in "+strings.Join(states, ","))
	return 2, h.err
}

func (h *host) Submit(jobType, description string, params map[string]any) (string, error) {
	if h.err != nil {
		return "", h.err
	}
	key, _ := params[template.SubmitUserKey].(string)
	delete(params, template.SubmitUserKey)
	raw, _ := json.Marshal(params)
	h.calls = append(h.calls, jobType+" "+description+" "+string(raw))
	if h.byKey == nil {
		h.byKey = map[string]string{}
	}
	if _, ok := h.byKey[key]; !ok {
		h.byKey[key] = fmt.Sprintf("id%d", len(h.byKey)+1)
	}
	return h.byKey[key], nil
}

const submitting = `job_type: parent
job_variables:
  child: sub
  first: '{{SubmitJob "init" "once"}}'
tasks:
  - task_type: start
    method: SHELL
    script:
{{- range $i := Iterate 2 }}
      - echo {{SubmitJob $.child "part" (print "N=" $i) "A=b=c"}} {{$.first}}
{{- end }}
{{ if lt (CountByJobTypeAndState "sub" "PENDING" "executing") 5 }}
    on_completed: more
  - task_type: more
    method: SHELL
    variables:
      ids: '{{SubmitJobsFromJSON "sub" .items "ALL=1"}}'
    script: ['echo {{len (SubmitJobsFromJSON "sub" .items)}} {{.JobRetry}}']
{{ end }}
`

// TestHost launches a job that submits others: each submission happens once, whatever is rendered again.
func TestHost(t *testing.T) {
	def := parse(t, submitting)
	vars := value.Vars{"JobID": "j", "items": `[{"x": 1, "_description": "one", "_user_key": "mine"}, {"ALL": 2}]`}
	h := &host{}
	p, err := def.PlanWith(h, vars)
	if err != nil {
		t.Fatal(err)
	}
	want := []string{
		`init once {}`, `sub in PENDING,EXECUTING`, `sub part {"A":"b=c","N":"0"}`, `sub part {"A":"b=c","N":"1"}`,
		`sub one {"ALL":"1","x":1}`, `sub  {"ALL":2}`, `sub one {"x":1}`, `sub  {"ALL":2}`,
	}
	if diff := cmp.Diff(want, h.calls); diff != "" {
		t.Error(diff)
	}
	if got := p.Tasks[0].Spec.Script; cmp.Diff([]string{"echo id2 id1", "echo id3 id1"}, got) != "" {
		t.Errorf("%q", got)
	}
	if len(vars) != 2 {
		t.Errorf("the caller's variables changed: %v", vars)
	}
	// The claim knows the results, through JSON, and asks nobody.
	raw, err := json.Marshal(p.Vars)
	if err != nil {
		t.Fatal(err)
	}
	known := value.Vars{}
	if err := json.Unmarshal(raw, &known); err != nil {
		t.Fatal(err)
	}
	known["JobRetry"] = 1
	task, err := def.Task("more", known)
	if err != nil || task.Spec.Script[0] != "echo 2 1" || task.Spec.Variables["ids"] != `["id4","id5"]` {
		t.Errorf("%+v, %v", task, err)
	}
	for name := range environ.Of(task, known).Vars {
		if strings.Contains(name, "Submit") {
			t.Errorf("%s is in the environment", name)
		}
	}
	// A launch that is repeated asks for the same.
	before := len(h.byKey)
	again, err := def.PlanWith(h, vars)
	if err != nil || len(h.byKey) != before || cmp.Diff(p.Tasks, again.Tasks) != "" {
		t.Errorf("%v: %d submissions, %d before; %s", err, len(h.byKey), before, cmp.Diff(p.Tasks, again.Tasks))
	}
	// Where jobs would be placed is known without submitting.
	if classes, err := def.StartClasses(vars); err != nil || len(classes) != 1 {
		t.Errorf("%v, %v", classes, err)
	}
}

func TestHostRefusals(t *testing.T) {
	line := func(action string) string {
		return "job_type: j\ntasks:\n  - task_type: a\n    method: SHELL\n    script: ['true']\n    description: '{{" + action + "}}'\n"
	}
	_, err := parse(t, line(`SubmitJob "a" "b"`)).Plan(nil)
	expectProblems(t, err, `job.yaml:6:21: the function SubmitJob is available at the launch of a job only`)
	for action, want := range map[string]string{
		`SubmitJob "a" "b" "c"`:                                                  "a parameter is not written NAME=VALUE",
		`SubmitJob "" "b"`:                                                       "the type of the job is empty",
		`SubmitJobsFromJSON "a" "["`:                                             "the value is no JSON",
		`SubmitJobsFromJSON "a" "[1]"`:                                           "an item is no object of parameters",
		`range Iterate 1001}}{{SubmitJob "a" ""`:                                 "",
		`SubmitJob (index . "build.ForkedJobID") "b"`:                            "the variable build.ForkedJobID is not set",
		`range Iterate 1001}}{{SubmitJob "a" ""}}{{end}}{{if 1}}x{{end`:          "the template submits more than 1000 jobs",
		`range Iterate 1001}}{{CountByJobTypeAndState "a"}}{{end}}{{if 1}}{{end`: "the template counts jobs more than 1000 times",
	} {
		def, _, err := jobspec.Parse("job.yaml", []byte(line(action)))
		if err == nil {
			_, err = def.PlanWith(&host{}, value.Vars{"JobID": "j"})
		}
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", action, err, want)
		}
	}
	// What fails outside of the definition is no fault of it.
	failure := errors.New("no connection")
	_, err = parse(t, line(`SubmitJob "a" "b"`)).PlanWith(&host{err: failure}, nil)
	if problems := (source.Problems{}); !errors.Is(err, failure) || errors.As(err, &problems) {
		t.Errorf("%v", err)
	}
}
