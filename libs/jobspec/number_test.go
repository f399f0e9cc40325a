package jobspec_test

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/formicary/formicary/libs/jobspec"
	"github.com/formicary/formicary/libs/jobspec/environ"
	"github.com/formicary/formicary/libs/jobspec/plan"
	"github.com/formicary/formicary/libs/jobspec/value"
)

// throughJSON is what becomes of values between the services: JSON.
func throughJSON(t *testing.T, vars value.Vars) value.Vars {
	t.Helper()
	raw, err := json.Marshal(vars)
	if err != nil {
		t.Fatal(err)
	}
	out := value.Vars{}
	if err := json.Unmarshal(raw, &out); err != nil {
		t.Fatal(err)
	}
	return out
}

const manyDigits = "12345678901234567890123"

func TestNumbersKeepTheirDigits(t *testing.T) {
	for _, digits := range []string{
		"9007199254740993", "-9007199254740993", "1234567890123456", "9223372036854775807", manyDigits, "0.12345678901234567891", "100000000000000000000",
	} {
		def := parse(t, `job_type: j
job_variables: {v: `+digits+`, l: [{x: `+digits+`}]}
params:
  - {name: n, type: number, default: `+digits+`}
  - {name: j, type: json}
tasks:
  - task_type: a
    method: SHELL
    variables: {own: `+digits+`, own_list: [`+digits+`]}
    script: ['{{.v}} {{.n}} {{.p}} {{.t}} {{.own}} {{.j | toJson}} {{index (index .l 0) "x"}}']
    on_completed: f
  - task_type: f
    method: FORK_JOB
    fork_job_type: other
    sub_workflow: {input_params: {n: `+digits+`, p: "{{.p}}", q: "{{.n}}"}}
    on_completed: m
  - task_type: m
    method: SHELL
    fan_out: {items: [`+digits+`], item_var: it}
    script: x
`)
		// p: a number of JSON, t: text.
		params, err := def.CheckParams(value.Vars{"p": json.Number(digits), "t": digits, "j": `{"a":[` + digits + `]}`})
		if err != nil {
			t.Errorf("%s: %v", digits, err)
			continue
		}
		params, err = def.RecheckParams(throughJSON(t, params), def)
		if err != nil {
			t.Errorf("%s: %v", digits, err)
			continue
		}
		rendered, err := def.Plan(params)
		if err != nil {
			t.Errorf("%s: %v", digits, err)
			continue
		}
		raw, err := json.Marshal(rendered)
		if err != nil {
			t.Fatal(err)
		}
		read := &plan.Plan{}
		if err := json.Unmarshal(raw, read); err != nil {
			t.Fatal(err)
		}
		same := func(what, got string) {
			t.Helper()
			if got != digits {
				t.Errorf("%s: %s is %s", digits, what, got)
			}
		}
		words := strings.Fields(read.Tasks[0].Spec.Script[0])
		for i, word := range words {
			same("word "+string(rune('0'+i)), strings.TrimSuffix(strings.TrimPrefix(word, `{"a":[`), `]}`))
		}
		env := environ.Of(&read.Tasks[0], throughJSON(t, rendered.Vars)).Vars
		for _, name := range []string{"v", "n", "p", "t", "own"} {
			same("$"+name, env[name])
		}
		same("$own_list", strings.Trim(env["own_list"], "[]"))
		raw, err = json.Marshal(read.Tasks[1].Fork.Params)
		if err != nil {
			t.Fatal(err)
		}
		for part := range strings.SplitSeq(strings.Trim(string(raw), "{}"), ",") {
			same("fork "+part, strings.Trim(part[4:], `"`))
		}
		raw, err = json.Marshal(read.Tasks[2].FanOut.Items)
		if err != nil {
			t.Fatal(err)
		}
		same("item", strings.Trim(string(raw), "[]"))
	}
}

func TestNumbersThatNothingHoldsAreRefused(t *testing.T) {
	_, _, err := jobspec.Parse("job.yaml", []byte(`job_type: j
params: [{name: n, type: int, default: 12345678901234567890}, {name: m, type: number, default: 1e400}, {name: j, type: json, default: "[1e400]"}]
tasks: [{task_type: a, method: SHELL, script: x}]
`))
	expectProblems(t, err, `job.yaml:2:40: the default of "n" is not allowed, expected a whole number from -2^63 to 2^63-1 [INVALID_VALUE]`,
		`job.yaml:2:96: the default of "m" is not allowed, expected a number that is 0 or between 4.9e-324 and 1.8e308 [INVALID_VALUE]`,
		`job.yaml:2:135: the default of "j" is not allowed, expected JSON with numbers that are 0 or between 4.9e-324 and 1.8e308 [INVALID_VALUE]`)
	def := parse(t, `job_type: j
params: [{name: n, type: int}, {name: m, type: number}, {name: j, type: json}]
tasks: [{task_type: a, method: SHELL, script: x}]
`)
	_, err = def.CheckParams(value.Vars{"n": 1e16, "m": "1e400", "j": `{"x":1e400}`, "free": json.Number("1e400")})
	expectProblems(t, err,
		`job.yaml: the parameter "free" holds a number that is too large or too small, expected numbers that are 0 or between 4.9e-324 and 1.8e308, or text [INVALID_PARAM]`,
		`job.yaml: the parameter "n" has a value that is not allowed, expected a whole number; one of this size as text, so that it keeps its digits`,
		`job.yaml: the parameter "m" has a value that is not allowed, expected a number that is 0 or between 4.9e-324 and 1.8e308`,
		`job.yaml: the parameter "j" has a value that is not allowed, expected JSON with numbers that are 0 or between 4.9e-324 and 1.8e308`)
	for _, text := range []string{"5.0", "1e3"} { // of these no text would help
		_, err = def.CheckParams(value.Vars{"n": text, "m": 1, "j": 1})
		expectProblems(t, err, `job.yaml: the parameter "n" has a value that is not allowed, expected a whole number without point and exponent`)
	}
}

func TestFunctionsCountAllDigits(t *testing.T) {
	for text, want := range map[string]string{
		`{{Add 9223372036854775807 1}}`:                                               "9223372036854775808",
		`{{Add .big 1}}`:                                                              "12345678901234567890124",
		`{{lt 9007199254740992 9007199254740993}}`:                                    "true",
		`{{eq 9007199254740993 .near}}`:                                               "false",
		`{{ge .big "12345678901234567890122"}}`:                                       "true",
		`{{gt .big "12345678901234567890124"}}`:                                       "false",
		`{{eq .big .same}}`:                                                           "true",
		`{{index (fromJson "[12345678901234567890123]") 0}}`:                          manyDigits,
		`{{.big | printf "%v %s %d" .big .big}}`:                                      manyDigits + " " + manyDigits + " " + manyDigits,
		`{{print .big}} {{len (print .big)}} {{if .big}}yes{{end}} {{.big | toJson}}`: manyDigits + " 23 yes " + manyDigits,
	} {
		p := planOf(t, "job_type: j\ntasks:\n  - task_type: a\n    method: SHELL\n    script: ['"+text+"']\n", value.Vars{
			"big": json.Number(manyDigits), "same": json.Number("1234567890123456789012.3e1"), "near": 9007199254740992.0,
		})
		if got := p.Tasks[0].Spec.Script[0]; got != want {
			t.Errorf("%s: %s, want %s", text, got, want)
		}
	}
}

func TestConditionsSeeLargeNumbers(t *testing.T) {
	def := parse(t, "job_type: j\nskip_if: params.n > 12345678901234567889u && params.l.exists(x, x > 1e22)\ntasks: [{task_type: a, method: SHELL, script: x}]\n")
	p, err := def.Plan(value.Vars{"n": json.Number("12345678901234567890"), "l": []any{json.Number(manyDigits)}})
	if err != nil || !p.Skip {
		t.Error(p, err)
	}
}

func TestJSONParametersAreReadOnce(t *testing.T) {
	old := parse(t, "job_type: j\nparams: [{name: v, type: json, required: true}, {name: w}]\ntasks: [{task_type: a, method: SHELL, script: ['{{.v | toJson}}']}]\n")
	next := parse(t, "job_type: j\nparams: [{name: v, type: json}, {name: w, type: json}]\ntasks: [{task_type: a, method: SHELL, script: ['{{.v | toJson}}', '{{.w | toJson}}']}]\n")
	for text, want := range map[string]string{
		`"123"`: `"123"`, `"[1]"`: `"[1]"`, `"null"`: `"null"`, `"str"`: `"str"`, `""`: `""`, `"\"1\""`: `"\"1\""`, `null`: `null`, `123`: `123`, `[1]`: `[1]`, `{"a":"1"}`: `{"a":"1"}`,
	} {
		params, err := old.CheckParams(value.Vars{"v": text, "w": `"7"`})
		if err != nil {
			t.Errorf("%s: %v", text, err)
			continue
		}
		for range 3 { // launches, restarts
			if params, err = old.RecheckParams(throughJSON(t, params), old); err != nil {
				t.Fatalf("%s: %v", text, err)
			}
		}
		p, err := old.Plan(params)
		if err != nil || p.Tasks[0].Spec.Script[0] != want {
			t.Errorf("%s: %v %v", text, p, err)
		}
		// Another version takes the value of v as it is, and reads w, which was text.
		if params, err = next.RecheckParams(throughJSON(t, params), old); err != nil {
			t.Fatalf("%s: %v", text, err)
		}
		p, err = next.Plan(params)
		if err != nil || p.Tasks[0].Spec.Script[0] != want || p.Tasks[0].Spec.Script[1] != `"7"` {
			t.Errorf("%s: %v %v", text, p, err)
		}
	}
	if _, err := old.CheckParams(value.Vars{"v": "str"}); err == nil {
		t.Error("what is no JSON is taken")
	}
}
