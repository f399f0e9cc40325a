package jobspec_test

import (
	"encoding/json"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/formicary/formicary/libs/jobspec/value"
)

const typedParams = `job_type: j
required_params: [branch, region, count]
job_variables: {region: eu}
params:
  - {name: count, type: int, default: 3, description: how many}
  - {name: ratio, type: number}
  - {name: dry, type: bool, default: false}
  - {name: size, type: enum, enum: [small, large], default: small}
  - {name: wait, type: duration}
  - {name: data, type: json}
  - {name: tag, pattern: 'v\d+', required: true}
tasks:
  - {task_type: a, method: SHELL, script: x}
`

func TestCheckParams(t *testing.T) {
	def := parse(t, typedParams)
	for _, c := range []struct {
		name string
		in   value.Vars
		want value.Vars
	}{
		{"text", value.Vars{
			"branch": "main", "tag": "v1", "count": "5", "ratio": "0.5", "dry": "true", "size": "large", "wait": "1m", "data": `{"a":[1]}`, "more": "x",
		}, value.Vars{
			"branch": "main", "tag": "v1", "count": int64(5), "ratio": 0.5, "dry": true, "size": "large", "wait": "1m",
			"data": map[string]any{"a": []any{int64(1)}}, "more": "x",
		}},
		{"defaults and numbers of JSON", value.Vars{"branch": json.Number("7"), "tag": "v22", "ratio": 2.0, "wait": "", "data": []string{"x"}}, value.Vars{
			"branch": int64(7), "tag": "v22", "count": int64(3), "ratio": int64(2), "dry": false, "size": "small", "data": []any{"x"},
		}},
	} {
		got, err := def.CheckParams(c.in)
		if err != nil {
			t.Errorf("%s: %v", c.name, err)
		}
		if diff := cmp.Diff(c.want, got); diff != "" {
			t.Errorf("%s: %s", c.name, diff)
		}
	}
	_, err := def.CheckParams(value.Vars{
		"tag": "hunter2", "count": "hunter2", "ratio": "hunter2", "dry": "hunter2", "size": "hunter2", "wait": "hunter2", "data": "hunter2", "a b": 1, "f": func() {},
	})
	expectProblems(t, err,
		`job.yaml: the name of the parameter cannot be used`,
		`job.yaml: the parameter "f" is of a kind that cannot be used`,
		`job.yaml: the parameter "count" has a value that is not allowed, expected a whole number [INVALID_PARAM]`,
		`job.yaml: the parameter "ratio" has a value that is not allowed, expected a number`,
		`job.yaml: the parameter "dry" has a value that is not allowed, expected true or false`,
		`job.yaml: the parameter "size" has a value that is not allowed, expected one of small, large`,
		`job.yaml: the parameter "wait" has a value that is not allowed, expected a duration`,
		`job.yaml: the parameter "data" has a value that is not allowed, expected JSON`,
		`job.yaml: the parameter "tag" has a value that is not allowed, expected text that matches v\d+`,
		`job.yaml: the parameter "branch" is missing, expected a value for it [MISSING_PARAM]`)
	_, err = def.CheckParams(nil)
	expectProblems(t, err, `job.yaml: the parameter "tag" is missing`, `job.yaml: the parameter "branch" is missing`)
}

func TestParamsOfTemplatedDefinition(t *testing.T) {
	def := parse(t, "job_type: j\nrequired_params: [x, y, z]\njob_variables: {x: 1, y: '{{.z}}'}\ntasks:\n  - {task_type: a, method: SHELL, script: 'echo {{.x}} {{.y}}'}\n")
	if _, err := def.CheckParams(value.Vars{"z": 1}); err == nil {
		t.Error("y has no value of its own")
	}
	p, err := def.Plan(value.Vars{"z": 5})
	if err != nil || p.Tasks[0].Spec.Script[0] != "echo 1 5" || p.Vars["y"] != "5" {
		t.Errorf("%+v %v", p, err)
	}
}

func TestUnknownParams(t *testing.T) {
	def := parse(t, typedParams)
	got := def.UnknownParams(value.Vars{"cuont": 1, "branch": "x", "region": "us", "tag": "v1", "whatever": 1, "debug": true})
	expectProblems(t, got,
		`job.yaml: warning: "cuont" is no parameter of j; did you mean count? [UNKNOWN_PARAM]`,
		`job.yaml: warning: "whatever" is no parameter of j [UNKNOWN_PARAM]`,
	)
	free := parse(t, "job_type: j\ntasks:\n  - {task_type: a, method: SHELL, script: x}\n")
	if got := free.UnknownParams(value.Vars{"x": 1}); got != nil {
		t.Errorf("a job without params: %v", got)
	}
}
