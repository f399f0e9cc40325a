package jobspec_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/formicary/formicary/libs/jobspec"
	"github.com/formicary/formicary/libs/jobspec/condition"
	"github.com/formicary/formicary/libs/jobspec/plan"
	"github.com/formicary/formicary/libs/jobspec/source"
	"github.com/formicary/formicary/libs/jobspec/value"
)

// conditional is a job with a condition of a task; the task `build` ends before it.
func conditional(field, text string) string {
	return `job_type: j
tasks:
  - task_type: build
    method: SHELL
    script: make
    on_completed: ship
  - task_type: ship
    method: SHELL
    script: ship
    ` + field + `: ` + text + "\n"
}

func facts() condition.Facts {
	return condition.Facts{Tasks: map[string]condition.TaskFact{
		"build": {State: "COMPLETED", ExitCode: 3, Outputs: map[string]string{"version": "1.2", "empty": ""}, Result: "log"},
	}}
}

func TestWhen(t *testing.T) {
	vars := value.Vars{
		"branch": "main", "n": 3, "f": 2.5, "yes": true, "no": false, "word": "true", "list": []any{"a", "b"},
		"config": map[string]any{"regions": []any{map[string]any{"name": "eu"}}}, "a-b": "x", "JobID": "7", "JobRetry": 2,
	}
	for _, c := range []struct {
		when string
		off  bool
	}{
		{`params.branch == 'main'`, false},
		{`params.branch != 'main'`, true},
		{`vars.branch.startsWith('ma') && tasks.build.exit_code == 3`, false},
		{`tasks.build.state == 'COMPLETED'`, false},
		{`tasks["build"].outputs.version == "1.2"`, false},
		{`tasks.build.outputs.nothing == ''`, false},
		{`has(tasks.build.outputs.nothing)`, true},
		{`has(tasks.build.outputs.empty)`, false},
		{`tasks.build.result.contains('o')`, false},
		{`params.absent == null`, false},
		{`params.absent == 'x'`, true},
		{`has(params.absent)`, true},
		{`has(params.branch) && params.branch == 'main'`, false},
		{`params.n > 2 && params.f < 3`, false},
		{`params.n == 3.0`, false},
		{`params.yes`, false},
		{`params.no`, true},
		{`params.word`, false},
		{`params.absent`, true},
		{`"!params.yes"`, true},
		{`params.list[1] in params.list && size(params.list) == 2`, false},
		{`"!('c' in params.list)"`, false},
		{`params.list.exists(x, x == 'c')`, true},
		{`vars.config.regions[0].name == 'eu'`, false},
		{`params['a-b'] == 'x'`, false},
		{`vars.exists(k, k == 'branch')`, false},
		{`params.branch.matches('^m.*n$')`, false},
		{`params.branch.upperAscii() == 'MAIN'`, false},
		{`params.branch.split('a')[1] == 'in'`, false},
		{`job.id == '7' && job.type == 'j' && job.retry == 2`, false},
		{`true`, false},
		{`False`, true},
		{`'{{eq .branch "main"}}'`, false},
		{`'{{if eq .branch "dev"}} true {{end}}'`, true},
	} {
		def := parse(t, conditional("when", c.when))
		got, err := def.Decide("ship", vars, facts())
		if err != nil {
			t.Errorf("%s: %v", c.when, err)
		} else if got.Off != c.off {
			t.Errorf("%s: off %t, want %t", c.when, got.Off, c.off)
		}
		p, err := def.Plan(vars)
		if err != nil || p.Tasks[1].Skip || p.Tasks[1].Decide != (c.when != "true") {
			t.Errorf("%s: plan %+v, %v", c.when, p, err)
		}
	}
}

func TestConditionFaultsAtUpload(t *testing.T) {
	for _, c := range []struct{ field, text, want string }{
		{"when", `params.branch = 'x'`, "job.yaml:10:25: = is no operator"},
		{"when", `parms.branch == 'x'`, "job.yaml:10:11: undeclared reference to 'parms'"},
		{"when", `"parms.branch == 'x'"`, "job.yaml:10:12: undeclared reference to 'parms'"},
		{"when", "|\n      params.a == 'x' &&\n        parms.b == 'y'", "job.yaml:12:9: undeclared reference to 'parms'"},
		{"when", ">-\n      params.a == 'x' &&\n      parms.b == 'y'", "job.yaml:12:7: undeclared reference to 'parms'"},
		{"when", "'params.a == ''x'' && parms.b'", "job.yaml:10:34: undeclared reference to 'parms'"},
		{"when", `tasks.build.exitcode == 0`, "job.yaml:10:22: undefined field 'exitcode'"},
		{"when", `tasks.build.exit_code == '0'`, "job.yaml:10:33: found no matching overload for '_==_'"},
		{"when", `tasks.bild.exit_code == 0`, `job.yaml:10:11: the task "bild" does not exist, expected build`},
		{"when", `params.a && tasks.ship.exit_code == 0`, `job.yaml:10:23: the task "ship" asks for itself`},
		{"when", `size(params.x)`, "job.yaml:10:11: the expression is int"},
		{"when", `never`, "job.yaml:10:11: undeclared reference to 'never'"},
		{"when", `params.list.join() == 'x'`, "job.yaml:10:27: the function join is not available"},
		{"when", `size([1].filter(vars, vars > 0)) > 0`, "job.yaml:10:27: the name vars is taken"},
		{"except", `params.a ==`, "job.yaml:10:24: mismatched input"},
		{"when", "params.a == [" + strings.Repeat("1, ", 400) + "1]" + strings.Repeat(" + [1]", 60), "job.yaml:10:11: max recursion depth exceeded"},
		{"when", strings.Repeat("(", 200) + "true" + strings.Repeat(")", 200), "job.yaml:10:13: "},
		{"when", "params.a == '" + strings.Repeat("x", 5000) + "'", "job.yaml:10:13: "},
	} {
		_, _, err := jobspec.Parse("job.yaml", []byte(conditional(c.field, c.text)))
		got := problems(t, err)
		if len(got) != 1 || !strings.HasPrefix(got[0], c.want[:min(len(c.want), 13)]) || !strings.Contains(got[0], strings.TrimSpace(c.want[strings.Index(c.want, ": ")+1:])) {
			t.Errorf("%.60s:\n%s\nwant %s", c.text, strings.Join(got, "\n"), c.want)
		}
	}
}

func TestConditionWarnsOfTasksThatAreNotBefore(t *testing.T) {
	text := conditional("when", "tasks.other.exit_code == 0") + "  - {task_type: other, method: SHELL, script: x}\n"
	_, warnings, err := jobspec.Parse("job.yaml", []byte(text))
	if err != nil || len(warnings) != 1 || !strings.HasPrefix(warnings[0].String(), `job.yaml:10:11: warning: the task "other" does not end before "ship" starts`) {
		t.Errorf("%v, %v", warnings, err)
	}
	_, _, err = jobspec.Parse("job.yaml", []byte("job_type: j\nskip_if: tasks.a.exit_code == 0\ntasks:\n  - {task_type: a, method: SHELL, script: x}\n"))
	expectProblems(t, err, `job.yaml:2:10: the task "a" has not run when skip_if is asked`)
}

func TestConditionsOfPlans(t *testing.T) {
	text := "job_type: j\nskip_if: params.branch != 'main'\ntasks:\n  - {task_type: a, method: SHELL, script: x, except: params.fast == true}\n"
	def := parse(t, text)
	for _, c := range []struct {
		vars         value.Vars
		skip, except bool
		decide       bool
	}{
		{value.Vars{"branch": "main", "fast": true}, false, true, false},
		{value.Vars{"branch": "dev", "fast": false}, true, false, false},
		{nil, true, false, true}, // fast may be an output
	} {
		p, err := def.Plan(c.vars)
		if err != nil || p.Skip != c.skip || p.Tasks[0].Skip != c.except || p.Tasks[0].Decide != c.decide {
			t.Errorf("%v: %+v, %v", c.vars, p, err)
		}
	}
	task, err := def.Task("a", value.Vars{"fast": true})
	if err != nil || !task.Skip {
		t.Errorf("%+v, %v", task, err)
	}
}

func TestExceptIsLateWithOutputs(t *testing.T) {
	for _, text := range []string{`tasks.build.outputs.version == '1.2'`, `params.version == '1.2'`, `'{{eq .version "1.2"}}'`} {
		def := parse(t, conditional("except", text))
		p, err := def.Plan(value.Vars{"x": 1})
		if err != nil {
			t.Fatal(err)
		}
		ship := p.Tasks[1]
		lenient := strings.Contains(text, "{{") // eq counts what is not set as nothing
		if ship.Skip || ship.Decide == lenient {
			t.Errorf("%s: %+v", text, ship)
		}
		d, err := def.Decide("ship", value.Vars{"version": "1.2"}, facts())
		if err != nil || !d.Skip || d.Off {
			t.Errorf("%s: %+v, %v", text, d, err)
		}
	}
}

func TestHostileConditionsEnd(t *testing.T) {
	big := strings.Repeat("a", 64<<10)
	ten := make([]any, 10_000)
	for i := range ten {
		ten[i] = int64(i)
	}
	vars := value.Vars{"big": big, "huge": big + "x", "ten": ten, "s": strings.Repeat("ab", 8<<10), "pattern": "(a*)*$"}
	for _, text := range []string{
		"params.ten.all(a, params.ten.all(b, params.ten.all(c, c >= 0)))",
		"params.ten.all(a, size(params.big) > 0)",
		"params.ten.all(a, params.big == params.big)",
		"params.ten.all(a, params.ten == params.ten)",
		"params.ten.all(a, params.ten.map(b, b + a) != [])",
		"params.ten.all(a, !params.s.matches('(a|b|ab)*c{50}$'))",
		"params.big.matches(params.pattern)",
		"params.ten.all(a, params.big.split('') != [])",
		"params.ten.all(a, (params.big + params.big + params.big + params.big).contains('b') == false)",
		"params.ten.all(a, 9999 in params.ten)",
		"params.ten.all(a, params.big.lowerAscii().trim().indexOf('b') < 0)",
		"params.huge == ''",
		strings.Repeat("[", 40) + "1" + strings.Repeat("]", 40) + " == []",
		strings.Repeat("[1,2].map(x, ", 6) + "[params.big]" + strings.Repeat(")", 6) + " != []",
		"vars.all(k, vars.all(l, vars.all(m, vars.all(n, vars.all(o, vars[k] != 'x')))))",
		"params.ten.map(a, string(a) + params.big).all(x, x != '')",
		"params.big.contains(params.big + 'x') || params.ten.exists(a, params.big.contains(params.big))",
	} {
		def, _, err := jobspec.Parse("job.yaml", []byte(conditional("when", "\""+text+"\"")))
		if err != nil {
			continue // refused even earlier
		}
		var d *plan.Decision
		took := time.Hour
		for range 5 { // the best one: the machine may be busy with something else
			took = min(took, cost(func() { d, err = def.Decide("ship", vars, facts()) }))
			if took < limitOfHostile {
				break
			}
		}
		if took > limitOfHostile {
			t.Errorf("%.60s: %s", text, took)
		}
		if err == nil && !strings.HasPrefix(text, "[") && !strings.Contains(text, "||") {
			t.Errorf("%.60s: %+v", text, d)
		}
		if err != nil && (strings.Contains(err.Error(), "aaaa") || !strings.Contains(err.Error(), "job.yaml:10:11: the condition ")) {
			t.Errorf("%.60s: %.300s", text, err)
		}
		t.Logf("%8s %.60s %.120v", took.Round(time.Millisecond), text, err)
	}
}

func TestLargeListsAreNoHostility(t *testing.T) {
	list := make([]any, 10_000)
	for i := range list {
		list[i] = map[string]any{"name": fmt.Sprint("region-", i), "on": i%2 == 0}
	}
	def := parse(t, conditional("when", "params.list.filter(x, x.on).exists(x, x.name == 'region-9998')"))
	d, err := def.Decide("ship", value.Vars{"list": list}, facts())
	if err != nil || d.Off {
		t.Errorf("%+v, %v", d, err)
	}
}

func TestConditionErrorsHoldNoValues(t *testing.T) {
	vars := value.Vars{"secret": "canary-8472", "m": map[string]any{}}
	for _, text := range []string{"params.m[params.secret] == 1", "int(params.secret) == 1", "params.secret > 1", "params.secret", "timestamp(params.secret) == timestamp(params.secret)", "1 / size(params.m) == 1"} {
		_, err := parse(t, conditional("when", text)).Decide("ship", vars, facts())
		if err == nil || strings.Contains(err.Error(), "canary") {
			t.Errorf("%s: %v", text, err)
		}
	}
}

// FuzzCondition compiles and evaluates any expression: it ends, its faults lie in the text and hold no values.
func FuzzCondition(f *testing.F) {
	for _, text := range []string{
		"params.x == 'a'", "tasks.build.exit_code in [1, 2]", "has(params.x) && params.x.matches('a+')", "vars.l.exists(x, x == 'a')", "job.id", "true ? false : true",
		"params.l.map(x, x + x).filter(y, y != '')", "[", "'", "\"\\u0041\"", "1 +", "timestamp('2020-01-01T00:00:00Z').getFullYear() > 1", "params[params.x]", "tasks.all(t, tasks[t].state == '')", "condition.celTask{exit_code: 1}.exit_code == 1", "\u00e9 == 1",
	} {
		f.Add(text, "v")
	}
	f.Fuzz(func(t *testing.T, text, x string) {
		const secret = "canary-8472"
		if strings.ContainsAny(text, "\x00\r\n\u0085\u2028\u2029") || strings.Contains(text, "{{") {
			t.Skip()
		}
		whole := conditional("when", "'"+strings.ReplaceAll(text, "'", "''")+"'")
		def, _, err := jobspec.Parse("f", []byte(whole))
		if err == nil {
			vars := value.Vars{"x": secret + x, "l": []any{secret, "a"}, "m": map[string]any{"k": secret}}
			if took := cost(func() { _, err = def.Decide("ship", vars, facts()) }); took > 20*limitOfHostile {
				t.Errorf("took %s", took)
			}
		}
		if err != nil {
			checkPlaces(t, whole, err)
			if strings.Contains(err.Error(), secret) && !strings.Contains(text, secret) {
				t.Errorf("the value is shown: %v", err)
			}
		}
	})
}

// TestTemplatesThatRenderExpressions warns of conditions that look like expressions and hold nowhere.
func TestTemplatesThatRenderExpressions(t *testing.T) {
	for text, want := range map[string]bool{
		`{{.n}} == 5`:          true,
		`!{{.n}}`:              true,
		`{{.a}} && {{.b}}`:     true,
		`params.x == '{{.n}}'`: true,
		`x{{.n}}`:              true,
		`{{.n}}`:               false,
		`{{eq .n 5}}`:          false,
		` {{.n}} {{.m}} `:      false,
		`{{if .n}}true{{end}}`: false,
		`true {{.n}}`:          false,
		`vars.n == 5`:          false,
	} {
		for _, field := range []string{"when", "except"} {
			_, warnings, err := jobspec.Parse("job.yaml", []byte(conditional(field, `"`+text+`"`)))
			if err != nil {
				t.Fatal(err)
			}
			checkExpressionWarning(t, field+": "+text, warnings, want)
		}
		_, warnings, err := jobspec.Parse("job.yaml", []byte("job_type: j\nskip_if: \""+text+"\"\ntasks:\n  - {task_type: a, method: SHELL, script: x}\n"))
		if err != nil {
			t.Fatal(err)
		}
		checkExpressionWarning(t, "skip_if: "+text, warnings, want)
	}
}

func checkExpressionWarning(t *testing.T, what string, warnings source.Problems, want bool) {
	t.Helper()
	found := false
	for _, w := range warnings {
		found = found || w.Code == source.CodeCondition && strings.Contains(w.Message, "renders an expression") && w.Line > 0
	}
	if found != want {
		t.Errorf("%s: %v, want a warning %v", what, warnings, want)
	}
}
