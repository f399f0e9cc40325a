package jobspec_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/formicary/formicary/libs/jobspec/value"
)

func TestEnv(t *testing.T) {
	def := parse(t, `job_type: j
job_variables: {a: job, b: job, c: job, list: [1, x]}
tasks:
  - task_type: t
    method: SHELL
    script: env
    variables: {b: task, c: task, d: task}
    environment: {c: declared, PATH: /bin, FLAG: True, N: 1.10, EMPTY: }
`)
	vars := value.Vars{
		"b": "param", "n": 5.0, "yes": true, "JobID": "id", "PATH": "/evil", "LD_PRELOAD": "x", "a-b": "x", "1x": "x", "none": nil,
		"nul": "a\x00b", "long": strings.Repeat("x", 65<<10), "FORMICARY_OUTPUT": "x", "PYTHONPATH": "/evil", "BASH_ENV": "/evil",
		"https_proxy": "evil", "GIT_SSH_COMMAND": "evil", "GIT_BRANCH": "main",
	}
	p, err := def.Plan(vars)
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]string{
		"a": "job", "b": "param", "c": "declared", "d": "task", "list": `[1,"x"]`, "n": "5", "yes": "true", "JobID": "id", "none": "",
		"GIT_BRANCH": "main", "PATH": "/bin", "FLAG": "True", "N": "1.10", "EMPTY": "",
	}
	if diff := cmp.Diff(want, p.Tasks[0].Env(p.Vars)); diff != "" {
		t.Error(diff)
	}
	// At the claim the job's variables come back among the others and stay below the task's.
	claim := value.Vars{"c": "output"}
	for name, v := range p.Vars {
		if name != "c" {
			claim[name] = v
		}
	}
	if !p.Tasks[0].NeedsRender(value.Vars{"d": 1}) || p.Tasks[0].NeedsRender(value.Vars{"z": 1}) {
		t.Errorf("uses %v", p.Tasks[0].Uses)
	}
	task, err := def.Task("t", claim)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(map[string]any{"b": "param", "c": "output", "d": "task"}, task.Spec.Variables); diff != "" {
		t.Error(diff)
	}
}

// TestEnvReserved exports what changes how programs run only when the definition names it.
func TestEnvReserved(t *testing.T) {
	const text = `job_type: j
%s
tasks:
  - task_type: t
    method: SHELL
    script: env
%s
`
	for _, c := range []struct {
		name, job, task string
		vars            value.Vars
		want            string
	}{
		{"from the request", "", "", value.Vars{"NODE_OPTIONS": "--require /tmp/x"}, ""},
		{"declared parameter", "params: [{name: NODE_OPTIONS}]", "", value.Vars{"NODE_OPTIONS": "x"}, "x"},
		{"job variable", "job_variables: {NODE_OPTIONS: a}", "", nil, "a"},
		{"job variable, list form", "job_variables: [{name: NODE_OPTIONS, value: a}]", "", nil, "a"},
		{"task variable", "", "    variables: {NODE_OPTIONS: a}", nil, "a"},
		{"environment", "", "    environment: {NODE_OPTIONS: a}", value.Vars{"NODE_OPTIONS": "x"}, "a"},
		{"another name", "job_variables: {PYTHONPATH: a}", "", value.Vars{"NODE_OPTIONS": "x"}, ""},
	} {
		p := plan(t, fmt.Sprintf(text, c.job, c.task), c.vars)
		if got := p.Tasks[0].Env(p.Vars)["NODE_OPTIONS"]; got != c.want {
			t.Errorf("%s: %q, want %q", c.name, got, c.want)
		}
	}
}

// TestEnvFits leaves out what a process cannot take, the longest first.
func TestEnvFits(t *testing.T) {
	vars := value.Vars{"short": "x"}
	for i := range 40 {
		vars[fmt.Sprintf("v%02d", i)] = strings.Repeat("x", 60_000+i)
	}
	p := plan(t, "job_type: j\ntasks:\n  - {task_type: t, method: SHELL, script: env, environment: {kept: "+strings.Repeat("y", 64_000)+", v00: z}}\n", vars)
	env := p.Tasks[0].Env(p.Vars)
	total := 0
	for name, v := range env {
		total += len(name) + len(v) + 2
	}
	if total > 1<<20 || total < 900_000 || env["short"] != "x" || len(env["kept"]) != 64_000 || env["v00"] != "z" || env["v39"] != "" || env["v01"] == "" {
		t.Errorf("%d bytes in %d variables", total, len(env))
	}
}

// TestEnvGivesLongValuesInFiles loses nothing without a word.
func TestEnvGivesLongValuesInFiles(t *testing.T) {
	long := strings.Repeat("x", 64<<10+1)
	p := plan(t, "job_type: j\ntasks:\n  - {task_type: t, method: SHELL, script: env, variables: {own_FILE: mine}, environment: {declared: '{{.p}}'}}\n",
		value.Vars{"p": long, "fits": long[1:], "own": long, "t_results": []any{long}, "1bad": long})
	e := p.Tasks[0].Environment(p.Vars)
	if len(e.Files) != 3 || e.Files["p"] != long || e.Files["declared"] != long || e.Files["t_results"] != `["`+long+`"]` || e.Vars["fits"] != long[1:] || e.Vars["own_FILE"] != "mine" {
		t.Errorf("%d files, %d variables", len(e.Files), len(e.Vars))
	}
	notes := strings.Join(e.Notes, "\n")
	if len(e.Notes) != 4 || !strings.Contains(notes, "$p is not set: its 65537 bytes are too many for the environment. They are in the file that $p_FILE names.") ||
		!strings.Contains(notes, "1 variables (own) are not set") {
		t.Error(notes)
	}
	reserved := p.Tasks[0].Environment(value.Vars{"AWS_CONFIG": long, "SSL_CERT": long, "aws": long})
	if len(reserved.Files) != 2 || reserved.Files["aws"] == "" {
		t.Errorf("a submitter chooses what %v name", reserved.Files)
	}
	many := value.Vars{}
	for i := range 30_000 {
		many[fmt.Sprintf("v%05d", i)] = strings.Repeat("y", 40)
	}
	e = p.Tasks[0].Environment(many)
	total := 0
	for name, v := range e.Vars {
		total += len(name) + len(v) + 2
	}
	if total > 1<<20 || len(e.Notes) == 0 || !strings.Contains(e.Notes[len(e.Notes)-1], "variables (v") {
		t.Errorf("%d bytes, %d notes", total, len(e.Notes))
	}
	if e := p.Tasks[0].Environment(nil); e.Notes == nil || e.Files["declared"] != long {
		t.Error("what is declared is lost")
	}
}

// TestEnvOfWorkersTellsWhatIsLeftOut: workers have no files, so what is too long is said, and how it is had.
func TestEnvOfWorkersTellsWhatIsLeftOut(t *testing.T) {
	long := strings.Repeat("x", 64<<10+1)
	for _, method := range []string{"MESSAGING, messaging_request_queue: q", "WEBSOCKET"} {
		p := plan(t, "job_type: j\ntasks:\n  - {task_type: t, method: "+method+", environment: {declared: '{{.p}}'}}\n", value.Vars{"p": long, "fits": long[1:]})
		task := &p.Tasks[0]
		e := task.Environment(p.Vars)
		notes := strings.Join(e.Notes, "\n")
		if len(e.Files) != 0 || e.Vars["fits"] == "" || e.Vars["p"] != "" || !task.TakesEnvironment() ||
			notes != "2 variables (p, declared) are not set: the environment has no room for them. A worker gets the value of a variable that its task declares: variables: {name: '{{.name}}'}." {
			t.Errorf("%s: %d files, %d variables, %s", method, len(e.Files), len(e.Vars), notes)
		}
	}
}
