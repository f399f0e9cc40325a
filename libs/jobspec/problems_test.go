package jobspec_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/formicary/formicary/libs/jobspec"
	"github.com/formicary/formicary/libs/jobspec/value"
)

// TestProblems reads faulty definitions and compares what is said of them, with places.
func TestProblems(t *testing.T) {
	const head = "job_type: j\ntasks:\n"
	for _, c := range []struct {
		name, text string
		want       []string
	}{
		{"empty", "", []string{`job.yaml:1:1: the definition is empty, expected a mapping with job_type and tasks [MISSING_FIELD]`}},
		{"no mapping", "- a\n", []string{`job.yaml:1:1: the definition is a list`}},
		{"nothing in it", "{}", []string{
			`job.yaml:1:1: the field job_type is missing, expected the name of the job [MISSING_FIELD]`,
			`job.yaml:1:1: the job has no tasks, expected a list of tasks [MISSING_FIELD]`,
		}},
		{"everything at once", `job_type: j
retrys: 3
max_concurrency: many
timeout: 5
tasks:
  - task_type: a
    method: SHEL
    script: [x]
    on_completed: c
  - task_type: b
    method: SHELL
    scripts: [x]
    fan_out: {}
    slots: 0
`, []string{
			`job.yaml:2:1: the field "retrys" is not known, expected retry [UNKNOWN_FIELD]`,
			`job.yaml:3:18: "many" is out of bounds or no whole number, expected 0 to 100000 [INVALID_VALUE]`,
			`job.yaml:4:10: "5" is no duration`,
			`job.yaml:7:13: "SHEL" is no method, expected SHELL [INVALID_VALUE]`,
			`job.yaml:9:19: the task "c" does not exist, expected a [UNKNOWN_TASK]`,
			`job.yaml:11:13: the field script is missing, expected the lines to run [MISSING_FIELD]`,
			`job.yaml:12:5: the field "scripts" is not known, expected script [UNKNOWN_FIELD]`,
			`job.yaml:13:14: the field source is missing`,
			`job.yaml:14:12: "0" is out of bounds or no whole number, expected 1 to 10000 [INVALID_VALUE]`,
		}},
		{"fields of elsewhere", "job_type: j\nsecrets: [x]\ntasks:\n  - {task: a, method: SHELL, command: x, env: {A: b}, needs: b, image: x, pause_time: 1s}\n  - {task_type: b, method: SHELL, script: x, retry_backoff_policy: {first: 1s}}\n", []string{
			`job.yaml:2:1: the field "secrets" is one of a task, not of the job [UNKNOWN_FIELD]`,
			`job.yaml:4:5: the field task_type is missing`,
			`job.yaml:4:6: the field "task" is not known, expected task_type [UNKNOWN_FIELD]`,
			`job.yaml:4:23: the field script is missing`,
			`job.yaml:4:30: the field "command" is not known, expected script [UNKNOWN_FIELD]`,
			`job.yaml:4:42: the field "env" is not known, expected environment [UNKNOWN_FIELD]`,
			`job.yaml:4:55: the field "needs" is not known, expected dependencies [UNKNOWN_FIELD]`,
			`job.yaml:4:65: the field "image" is not known, expected container.image [UNKNOWN_FIELD]`,
			`job.yaml:4:75: the field "pause_time" is one of the job, not of a task [UNKNOWN_FIELD]`,
			`job.yaml:5:69: the field "first" is not known, expected one of min, max, factor, jitter [UNKNOWN_FIELD]`,
		}},
		{"syntax", "job_type: j\ntasks: [a\nb: c\n", []string{`job.yaml:2:1: the text is no YAML: did not find expected ',' or ']'`}},
		{"indentation", head + "  - task_type: a\n    method: SHELL\n   script: x\n  - task_type: b\n", []string{`job.yaml:5:4: the text is no YAML: did not find expected`}},
		{"colon in text", head + "  - task_type: a: b\n", []string{`job.yaml:3:3: the text is no YAML: mapping values are not allowed in this context`}},
		{"control character", "job_type: é\x00\n", []string{`job.yaml:1:12: a byte here is no printable text`}},
		{"two documents", "job_type: j\n---\na: b\n", []string{`job.yaml:2:1: a second document begins here`}},
		{"duplicate key", head + "  - task_type: a\n    method: SHELL\n    script: x\n    script: y\n", []string{
			`job.yaml:6:5: the key "script" stands in line 5 already, expected each key once [DUPLICATE_KEY]`,
		}},
		{"duplicate task", head + "  - {task_type: a, method: SHELL, script: x}\n  - {task_type: a, method: SHELL, script: x}\n", []string{
			`job.yaml:4:17: the task "a" is defined in line 3 already, expected each task name once [DUPLICATE_TASK]`,
		}},
		{"self edge", head + "  - {task_type: a, method: SHELL, script: x, on_failed: a}\n", []string{`job.yaml:3:57: the task "a" leads to itself`}},
		{"control cycle", head + `  - {task_type: a, method: SHELL, script: x, on_completed: b}
  - {task_type: b, method: SHELL, script: x, on_completed: c}
  - {task_type: c, method: SHELL, script: x, on_exit_code: {3: b}}
`, []string{`job.yaml:5:64: the tasks wait for each other: b → c → b`}},
		{"cycle of both kinds of edges", head + `  - {task_type: a, method: SHELL, script: x, on_completed: b, depends_on: c}
  - {task_type: b, method: SHELL, script: x}
  - {task_type: c, method: SHELL, script: x, dependencies: [b]}
`, []string{`job.yaml:3:75: the tasks wait for each other: a → b → c → a`}},
		{"clean-up that others wait for", head + `  - {task_type: a, method: SHELL, script: x, always_run: true, on_completed: b}
  - {task_type: b, method: SHELL, script: x}
`, []string{`job.yaml:3:78: the task "b" can never start: it waits for "a"`}},
		{"names", "job_type: a b\ntasks:\n  - {task_type: COMPLETED, method: SHELL, script: x}\n  - {task_type: -x, method: SHELL, script: x}\n  - {task_type: '', method: SHELL, script: x}\n", []string{
			`job.yaml:1:11: "a b" cannot name a job`,
			`job.yaml:3:17: "COMPLETED" cannot name a task`,
			`job.yaml:4:17: "-x" cannot name a task`,
			`job.yaml:5:17: "" cannot name a task`,
		}},
		{"routes", head + `  - task_type: a
    method: SHELL
    script: x
    on_completed: [b, FATAL]
    on_exit_code:
      5xy: b
      COMPLETED: b
      APPROVED: b
      7: RESTART_TASK
  - {task_type: b, method: SHELL, script: x}
`, []string{
			`job.yaml:6:19: an action stands among other targets`,
			`job.yaml:8:7: "5xy" is no outcome`,
			`job.yaml:9:7: the outcome COMPLETED leads to different tasks`,
			`job.yaml:10:7: the outcome APPROVED is that of an approval`,
		}},
		{"a mapping by accident", head + "  - task_type: a\n    method: SHELL\n    script:\n      - echo a: b\n", []string{
			`job.yaml:6:9: a mapping stands where text is expected, expected text; in quotes when it holds a colon and a space [INVALID_TYPE]`,
		}},
		{"method of the engine", head + "  - {task_type: a, method: FAN_OUT_JOB}\n", []string{`job.yaml:3:28: the method FAN_OUT_JOB is internal`}},
		{"expression", "job_type: j\nskip_if: params.branch = 'main'\ntasks:\n  - {task_type: a, method: SHELL, script: x}\n", []string{
			`job.yaml:2:24: = is no operator, == compares`,
		}},
		{"timeouts", "job_type: j\ntimeout: 1h\ntimeouts: {run: 2h, total: 3h, gracious: 1s}\ntasks:\n  - {task_type: a, method: SHELL, script: x, timeout: 0, timeouts: {run: -1s}}\n", []string{
			`job.yaml:3:12: timeout and timeouts.run are both given`,
			`job.yaml:3:32: the field "gracious" is not known`,
			`job.yaml:5:55: a timeout of nothing`,
			`job.yaml:5:74: "-1s" is no duration`,
		}},
		{"HTTP", head + "  - {task_type: a, method: HTTP_GET}\n  - {task_type: b, method: HTTP_GET, script: [x, y]}\n", []string{
			`job.yaml:3:28: the field url is missing`,
			`job.yaml:4:46: an HTTP task makes one request`,
		}},
		{"limits", head + "  - {task_type: a, method: SHELL, script: x, cpu_limit: lots, container: {memory_limit: 5 bytes}}\n", []string{
			`job.yaml:3:57: "lots" is no number of processors`,
			`job.yaml:3:89: "5 bytes" is no amount of memory`,
		}},
		{"params", "job_type: j\nparams:\n  - {name: a b}\n  - {name: n, type: intt}\n  - {name: n, type: int, default: x}\n  - {type: enum}\n  - {name: p, pattern: '('}\n  - {name: s, type: secret, default: x}\ntasks:\n  - {task_type: a, method: SHELL, script: x}\n", []string{
			`job.yaml:3:12: the name "a b" cannot be used`,
			`job.yaml:4:21: "intt" is no type, expected int`,
			`job.yaml:5:5: the parameter "n" is given twice`,
			`job.yaml:5:35: the default of "n" is not allowed, expected a whole number`,
			`job.yaml:6:5: the field name is missing`,
			`job.yaml:6:5: the field enum is missing`,
			`job.yaml:7:24: the pattern is no regular expression`,
			`job.yaml:8:5: the secret "s" has a default or an enum, which everybody can read in the definition`,
		}},
		{"template syntax", "job_type: j\n# é\n  x: {{.a}} {{.b)}} {{.c}}\n", []string{`job.yaml:3:13: the template cannot be read: unexpected right paren`}},
		{"unclosed block", "job_type: j\n{{if .a}}\n", []string{`job.yaml:2:1: the block of the template is not closed, expected {{end}}`}},
		{"functions", head + "  - task_type: a{{call .x}}{{SubmitJob 1 2}}{{uper .x}}\n", []string{
			`job.yaml:3:19: the function call is not allowed`,
			`job.yaml:3:47: the template function "uper" does not exist, expected upper`,
		}},
		{"template as a key", head + "  - task_type: a\n    method: SHELL\n    script: x\n    {{.name}}: x\n    on_exit_code:\n      {{.code}}: FAILED\n    environment: &e {'{{.x}}': y}\n    timeouts: {<<: *e}\n", []string{
			`job.yaml:6:5: a template cannot name a field`,
			`job.yaml:8:7: a template cannot name a field`,
			`job.yaml:10:20: the alias names a mapping with templates as keys`,
		}},
		{"fault after a template of several lines", "job_type: j\n{{range $i := Iterate 3}}{{end}}\n{{/* a\ncomment */}}\ntasks:\n  - task_type: a\n    method: {{.m}}\n    script: [é, {{.x}}, {a: b}]\n    retry: x\n", []string{
			`job.yaml:8:25: a mapping stands where text is expected`,
			`job.yaml:9:12: "x" is out of bounds`,
		}},
		{"fault in a loop is told once", head + "{{range $i := Iterate 100}}\n  - task_type: t{{$i}}\n    method: SHELL\n    script: x\n    nope: 1\n{{end}}", []string{
			`job.yaml:7:5: the field "nope" is not known`,
		}},
		{"target made by a template", head + "{{range $i := Iterate 2}}\n  - task_type: t{{$i}}\n    method: SHELL\n    script: x\n    on_completed: t{{Add $i 1}}\n{{end}}", []string{
			`job.yaml:7:19: the task "t{{Add $i 1}}" ("t2") does not exist`,
		}},
		{"names made by a template", head + "{{range $o := split \"A B, A B\" \",\"}}\n  - task_type: \"{{$o}}-A\"\n    method: SHELL\n    script: x\n    retry: '{{$o}}'\n{{end}}", []string{
			`job.yaml:4:16: "{{$o}}-A" ("A B-A") cannot name a task`, `job.yaml:4:16: "{{$o}}-A" (" A B-A") cannot name a task`,
			`job.yaml:7:12: "{{$o}}" ("A B") is out of bounds`, `job.yaml:7:12: "{{$o}}" (" A B") is out of bounds`,
		}},
		{"one name from a template", "job_type: j\njob_variables: {who: 'x y'}\ntasks:\n{{range $w := split .who \" \"}}\n  - {task_type: a, method: SHELL, script: x, environment: {'{{$w}}=': 1}}\n  - {task_type: 'b{{index (split $.who \" \") 0}}', method: SHELL, script: x}\n{{end}}", []string{
			`job.yaml:5:17: the task "a" is defined in line 5 already`, `job.yaml:5:60: the name "{{$w}}=" ("x=") cannot be used`, `job.yaml:5:60: the name "{{$w}}=" ("y=") cannot be used`,
			`job.yaml:6:17: the task "b{{index (split $.who \" \") 0}}" ("bx") is defined in line 6 already`,
		}},
		{"job type of a template", "job_type: {{.x}}\ntasks:\n  - {task_type: a, method: SHELL, script: x}\n", []string{`job.yaml:1:11: job_type is a template`}},
		{"template in a tag or anchor", head + "  - &{{.x}} {task_type: a, method: SHELL, script: x}\n", []string{`job.yaml:`}},
		{"too many edges", fanIn(65), []string{`job.yaml:328:22: too many edges lead into the task "join", expected at most 64`}},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, _, err := jobspec.Parse("job.yaml", []byte(c.text))
			expectProblems(t, err, c.want...)
		})
	}
}

// fanIn makes n tasks that all lead to one.
func fanIn(n int) string {
	var b strings.Builder
	b.WriteString("job_type: j\ntasks:\n  - {task_type: join, method: SHELL, script: x}\n")
	for i := range n {
		fmt.Fprintf(&b, "  - task_type: t%d\n    method: SHELL\n    script: x\n    #\n    on_completed:    join\n", i)
	}
	return b.String()
}

func TestEdgesOfLoopsAreNotCounted(t *testing.T) {
	parse(t, fanIn(64))
	p := planOf(t, `job_type: j
tasks:
{{range $i := Iterate 200}}
  - {task_type: t{{$i}}, method: SHELL, script: x, on_completed: join}
{{end}}
  - task_type: join
    method: SHELL
    script: x
  - task_type: other
    method: SHELL
    script: x
    dependencies:
{{range $i := Iterate 200}}
      - t{{$i}}
{{end}}
`, nil)
	if len(p.Tasks) != 202 || len(p.Tasks[201].DependsOn) != 200 {
		t.Errorf("%d tasks", len(p.Tasks))
	}
}

func TestWarnings(t *testing.T) {
	def, warnings, err := jobspec.Parse("job.yaml", []byte(`job_type: j
filter: '{{eq .branch "dev"}}'
tasks:
  - task_type: a
    task_variables: {x: 1}
    script: x
`))
	if err != nil {
		t.Fatal(err)
	}
	want := []string{
		"job.yaml:2:1: warning: the field filter is misspelled, expected skip_if [MISSPELLED_FIELD]",
		"job.yaml:5:5: warning: the field task_variables is misspelled, expected variables [MISSPELLED_FIELD]",
	}
	if got := warnings.Error(); got != strings.Join(want, "\n") {
		t.Errorf("warnings:\n%s", got)
	}
	p, err := def.Plan(value.Vars{"branch": "dev"})
	if err != nil || !p.Skip || p.Tasks[0].Spec.Variables["x"] != int64(1) {
		t.Errorf("%+v, %v", p, err)
	}
}

// TestLooseStructure uploads definitions whose structure depends on parameters.
func TestLooseStructure(t *testing.T) {
	const text = `job_type: j
tasks:
  - task_type: a
    method: {{if .docker}}DOCKER{{else}}SHELL{{end}}
    script: x
{{if .deploy}}
    on_completed: deploy
  - task_type: deploy
    method: SHELL
    script: x
{{else}}
    on_completed: report
  - task_type: report
    method: SHELL
    script: x
{{end}}
{{range .regions}}
  - task_type: region-{{.}}
    method: SHELL
    script: x
    on_completed: done-{{.}}
  - task_type: done-{{.}}
    method: SHELL
    script: x
{{end}}
`
	def, _, err := jobspec.Parse("job.yaml", []byte(text))
	if err != nil {
		t.Fatal(err)
	}
	p, err := def.Plan(value.Vars{"deploy": true, "regions": []string{"eu", "us"}})
	if err != nil || len(p.Tasks) != 6 {
		t.Errorf("%+v %v", p, err)
	}
	_, err = def.Plan(value.Vars{"regions": []string{"top secret"}})
	expectProblems(t, err,
		`job.yaml:18:16: "region-{{.}}" cannot name a task`,
		`job.yaml:22:16: "done-{{.}}" cannot name a task`)
	_, err = def.Plan(value.Vars{"regions": []string{"x", "x"}})
	expectProblems(t, err,
		`job.yaml:18:16: the task "region-{{.}}" is defined in line 18 already`,
		`job.yaml:22:16: the task "done-{{.}}" is defined in line 22 already`)
	_, _, err = jobspec.Parse("job.yaml", []byte(text+"    retrie: 1\n{{if .x}}    nope: 1{{else}}    slots: x{{end}}\n"))
	expectProblems(t, err,
		`job.yaml:26:5: the field "retrie" is not known`,
		`job.yaml:27:14: the field "nope" is not known`,
		`job.yaml:27:40: "x" is out of bounds`)
}

// TestProblemsHoldNoValues renders definitions that fail with a value that must not be shown.
func TestProblemsHoldNoValues(t *testing.T) {
	for _, field := range []string{
		"retry: {{.x}}", "timeout: {{.x}}", "method: {{.x}}", "on_completed: {{.x}}", "tags: '|{{.x}}'", "slots: {{.x}}",
		"cpu_limit: {{.x}}", "execution: {{.x}}", "allow_failure: {{.x}}", "description: '{{index .x 1}}'", "working_dir: '{{atoi .x}}'",
		"description: '{{range .x}}{{end}}'", "description: '{{.x.field}}'", "description: '{{Add .x 1}}'", "description: '{{lt .x 1}}'",
		"description: '{{fromJson .x}}'", "description: '{{template .x}}'", "timeouts: {{.x}}", "on_exit_code: {{.x}}",
		"description: '{{semverCompare .x .x}}'", "description: '{{FormatTime .x}}'", "description: '{{printf .x 1}}{{slice .x 99}}'",
		"depends_on: {{.x}}", "retry_backoff_policy: {factor: '{{.x}}'}", "variables: {{.x}}", "environment: ['{{.x}}']",
	} {
		def, _, err := jobspec.Parse("job.yaml", []byte("job_type: j\ntasks:\n  - task_type: a\n    script: x\n    "+field+"\n"))
		if err == nil {
			_, err = def.Plan(value.Vars{"x": "hunter2"})
		}
		if err == nil {
			t.Errorf("%s: accepted", field)
		} else if strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%s: %v", field, err)
		}
	}
}

// TestNamesOfALaunch tells which name a template gave, unless it holds what the definition does not declare.
func TestNamesOfALaunch(t *testing.T) {
	text := "job_type: j\nparams: [{name: oses}]\njob_variables: {suffix: '!'}\ntasks:\n{{range $o := split .oses \",\"}}\n  - {task_type: 'PRE-{{$o}}-A', method: SHELL, script: x, on_completed: 'after-{{$o}}'}\n{{end}}\n  - {task_type: last, method: SHELL, script: x}\n"
	for name, c := range map[string]struct {
		pre  string
		vars value.Vars
		want []string
	}{
		"a parameter":   {"", value.Vars{"oses": "A B"}, []string{`job.yaml:6:17: "-{{$o}}-A" ("-A B-A") cannot name a task`}},
		"a target":      {"x", value.Vars{"oses": "b"}, []string{`job.yaml:6:71: the task "after-{{$o}}" ("after-b") does not exist`}},
		"twice":         {"x", value.Vars{"oses": "a,a"}, []string{`job.yaml:6:17: the task "x-{{$o}}-A" ("x-a-A") is defined in line 6 already`}},
		"own variable":  {"{{$.suffix}}", value.Vars{"oses": "a"}, []string{`job.yaml:6:17: "{{$.suffix}}-{{$o}}-A" ("!-a-A") cannot name a task`}},
		"replaced":      {"{{$.suffix}}", value.Vars{"oses": "a", "suffix": "? ?"}, []string{`job.yaml:6:17: "{{$.suffix}}-{{$o}}-A" cannot name a task`}},
		"no parameter":  {"{{$.other}}", value.Vars{"oses": "a", "other": "hunter 2"}, []string{`job.yaml:6:17: "{{$.other}}-{{$o}}-A" cannot name a task`}},
		"all variables": {"{{print $}}", value.Vars{"oses": "a"}, []string{`job.yaml:6:17: "{{print $}}-{{$o}}-A" cannot name a task`}},
	} {
		def, _, err := jobspec.Parse("job.yaml", []byte(strings.Replace(text, "PRE", c.pre, 1)))
		if err != nil {
			t.Fatal(err)
		}
		_, err = def.Plan(c.vars)
		got := problems(t, err)
		for i, want := range c.want {
			if i >= len(got) || !strings.HasPrefix(got[i], want) {
				t.Errorf("%s: %q, want %q", name, got, c.want)
				break
			}
		}
	}
}
