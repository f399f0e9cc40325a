package jobspec_test

import (
	"fmt"
	"math/rand/v2"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/formicary/formicary/libs/jobspec"
	"github.com/formicary/formicary/libs/jobspec/environ"
	"github.com/formicary/formicary/libs/jobspec/source"
	"github.com/formicary/formicary/libs/jobspec/value"
)

const mebibyte = 1 << 20

func fill(s string) string { return strings.Repeat(s, mebibyte/len(s)) }

func aliasBomb() string {
	var b strings.Builder
	b.WriteString("job_type: j\na0: &a0 [x, x, x, x, x, x, x, x, x]\n")
	for i := range 20 {
		fmt.Fprintf(&b, "a%d: &a%d [%s]\n", i+1, i+1, strings.TrimSuffix(strings.Repeat(fmt.Sprintf("*a%d,", i), 9), ","))
	}
	return b.String()
}

func mergeBomb() string {
	var b strings.Builder
	b.WriteString("base: &b\n")
	for i := range 20000 {
		fmt.Fprintf(&b, "  k%d: 1\n", i)
	}
	b.WriteString("list:\n")
	for range 10000 {
		b.WriteString("  - <<: *b\n")
	}
	return b.String()
}

func garbage() string {
	r := rand.New(rand.NewPCG(1, 2))
	b := make([]byte, mebibyte)
	for i := range b {
		b[i] = byte(r.Uint32())
	}
	return string(b)
}

func printableGarbage() string {
	r := rand.New(rand.NewPCG(1, 2))
	const letters = "abc:-[]{}#&*!|>'\"%@`,?\n\n  \t{{}}.$(0)"
	b := make([]byte, mebibyte)
	for i := range b {
		b[i] = letters[r.IntN(len(letters))]
	}
	return string(b)
}

func manyTasks(n int, task string) string {
	var b strings.Builder
	b.WriteString("job_type: j\ntasks:\n")
	for i := range n {
		b.WriteString(strings.NewReplacer("%i", fmt.Sprint(i), "%j", fmt.Sprint(i+1)).Replace(task))
	}
	return b.String()
}

func oneScript(line string) string {
	return "job_type: j\ntasks:\n  - task_type: a\n    method: SHELL\n    script: ['true']\n    description: '" + line + "'\n"
}

// hostile are texts that must be refused, quickly, with the code that says why.
func hostile() []struct{ name, text, code string } {
	const bombLoop = `{{range Iterate 10000}}{{range Iterate 10000}}{{end}}{{end}}`
	return []struct{ name, text, code string }{
		{"too large", strings.Repeat("a", mebibyte+1), source.CodeSize},
		{"unknown fields of a loop", "job_type: j\ntasks:\n{{range Iterate 9000}}\n  - aa: x\n    bb: x\n    cc: x\n    dd: x\n{{end}}\n", source.CodeUnknownField},
		{"binary garbage", garbage(), source.CodeEncoding},
		{"garbage", printableGarbage(), ""},
		{"alias bomb", aliasBomb(), source.CodeAliases},
		{"merge bomb", mergeBomb(), source.CodeAliases},
		{"alias of itself", "job_type: j\ntasks: &t [*t]\n", source.CodeAliases},
		{"merge of itself", "a: &a\n  <<: *a\n", source.CodeAliases},
		{"deep lists", fill("["), ""},
		{"deep mappings", fill("{"), ""},
		{"deep in bounds of the reader", strings.Repeat("[", 5000) + strings.Repeat("]", 5000), source.CodeDepth},
		{"deep block", fill("- "), ""},
		{"many items", "job_type: j\nx: [" + strings.Repeat("a,", 500_000) + "]", source.CodeNodes},
		{"many keys", fill("a: b\n"), source.CodeNodes},
		{"many question marks", fill("?\n"), source.CodeNodes},
		{"many comments", fill("#\n"), source.CodeNodes},
		{"many documents", fill("---\n"), ""},
		{"open quote", "a: \"" + fill("x\n")[8:], source.CodeSyntax},
		{"huge number", "job_type: j\nretry: " + strings.Repeat("9", 900_000) + "\ntasks: []\n", ""},
		{"huge exponent", "job_type: j\nretry_backoff_policy: {factor: 1e99999999}\ntasks: []\n", ""},
		{"blank", fill(" "), ""},
		{"newlines", fill("\n"), ""},
		{"tabs", fill("\t"), ""},
		{"open braces", fill("{{"), ""},
		{"braces", fill("{{}}"), ""},
		{"many actions", fill("{{.a}} "), source.CodeTemplateLimit},
		{"many variables", fill("{{$a := 1}}"), source.CodeTemplateLimit},
		{"uses of many variables", strings.Repeat("{{$a:=1}}", 20_000) + strings.Repeat("{{$a}}", 20_000), source.CodeTemplateLimit},
		{"deep blocks", strings.Repeat("{{if 1}}", 50_000), source.CodeTemplateLimit},
		{"else chain", "{{if 1}}" + strings.Repeat("{{else if 1}}", 40_000) + "{{end}}", source.CodeTemplateLimit},
		{"deep parentheses", "{{" + strings.Repeat("(", 500_000), source.CodeTemplateSyntax},
		{"many unknown functions", strings.Repeat("{{iterrate}}", 40_000), source.CodeTemplateSyntax},
		{"nested loops", bombLoop, source.CodeTemplateLimit},
		{"loop without a body", `{{range 9223372036854775807}}{{end}}`, source.CodeTemplateLimit},
		{"long loop", `{{range Iterate 9999}}` + strings.Repeat("{{$x := 1}}", 1000) + `{{end}}`, source.CodeTemplateLimit},
		{"recursive template", `{{define "a"}}{{template "a" .}}{{end}}{{template "a" .}}`, source.CodeTemplateLimit},
		{"branching template", `{{define "a"}}{{template "b"}}{{template "b"}}{{end}}{{define "b"}}{{template "a"}}{{template "a"}}{{end}}{{template "a"}}`, source.CodeTemplateLimit},
		{"output", `{{range Iterate 10000}}` + strings.Repeat("x", 1000) + `{{end}}`, source.CodeTemplateLimit},
		{"doubling", `{{$x := "aaaaaaaaaaaaaaaa"}}{{range Iterate 40}}{{$x = print $x $x}}{{end}}` + oneScript("{{$x}}"), source.CodeTemplateLimit},
		{"doubling by replace", `{{$x := "aaaaaaaaaaaaaaaa"}}{{range Iterate 40}}{{$x = replace $x "a" "aa"}}{{end}}` + oneScript("{{$x}}"), ""},
		{"work on long text", `{{$x := "` + strings.Repeat("a", 500_000) + `"}}{{range Iterate 10000}}{{$y := lower $x}}{{end}}`, source.CodeTemplateLimit},
		{"wide printf", oneScript(`{{printf "%999999999d" 1}}`), source.CodeTemplateLimit},
		{"starred printf", oneScript(`{{printf "%*d" 999999999 1}}`), source.CodeTemplateLimit},
		{"Iterate", `{{range Iterate 10001}}{{end}}`, source.CodeTemplateLimit},
		{"growing lists", `{{$x := Iterate 10000}}{{range Iterate 10000}}{{$x = Dict "a" $x "b" $x}}{{end}}`, source.CodeTemplateLimit},
		{"duplicate tasks", manyTasks(3_000, "  - {task_type: a, method: SHELL, script: x}\n"), source.CodeDuplicateTask},
		{"cycle", manyTasks(9_999, "  - {task_type: t%i, method: SHELL, script: x, on_completed: t%j}\n") + "  - {task_type: t9999, method: SHELL, script: x, on_completed: t0}\n", source.CodeCycle},
		{"unknown targets", manyTasks(3_000, "  - {task_type: t%i, method: SHELL, script: x, on_completed: x%i}\n"), source.CodeUnknownTask},
		{"self edges", manyTasks(3_000, "  - {task_type: t%i, method: SHELL, script: x, on_completed: t%i}\n"), source.CodeSelfEdge},
		{"too many tasks", manyTasks(10_001, "  - {task_type: t%i, method: SHELL}\n"), source.CodeTooManyTasks},
		{"one long line", "job_type: jé\nskip_if: {{if .x}}true{{end}}\ntasks: [" + strings.Repeat("{task_type: t, method: SHELL, script: x, on_completed: b, dependencies: [c, d]},", 3_000) + "]", source.CodeDuplicateTask},
		{"approvers", flowJob("method: MANUAL\napproval_policy: {allowed_users: '" + names(100_000, ",") + "'}"), source.CodeInvalidValue},
		{"awaited", flowJob("method: AWAIT_FORKED_JOB\nawait_forked_tasks: [" + names(30_000, ", ") + "]"), source.CodeTooManyEdges},
		{"awaited by many", manyTasks(3_000, "  - {task_type: t%i, method: AWAIT_FORKED_JOB, await_forked_tasks: [x%i]}\n"), source.CodeUnknownTask},
		{"include of a matrix", flowJob("method: SHELL\nscript: x\nmatrix:\n  a: [" + names(1_000, ", ") + "]\n  include: [{" + names(10_000, ": 1, ") + "}]"), source.CodeInvalidValue},
		{"unknown fields", manyTasks(3_000, "  - {tusk_type: t%i, mehtod: SHELL}\n"), source.CodeUnknownField},
	}
}

// names returns n names with a separator behind each.
func names(n int, separator string) string {
	var b strings.Builder
	for i := range n {
		b.WriteString("n" + strconv.Itoa(i) + separator)
	}
	return b.String()
}

// TestManyVariablesOfATask reads a task with as many variables as a definition can name. Looking each of them up in a
// list of all took ten seconds.
func TestManyVariablesOfATask(t *testing.T) {
	var printed, reserved strings.Builder
	vars := value.Vars{}
	for i := range 40_000 {
		vars["a"+strconv.Itoa(i)] = "x"
		fmt.Fprintf(&printed, "  - {{.a%d}}\n", i)
		fmt.Fprintf(&reserved, "  LD_%d: x\n", i)
	}
	for name, text := range map[string]string{
		"printed":         flowJob("method: SHELL\nscript:\n" + printed.String()),
		"names to export": flowJob("method: SHELL\nscript: x\nvariables:\n" + reserved.String()),
		"names of a job":  "job_variables:\n" + reserved.String() + flowJob("method: SHELL\nscript: x"),
		"required":        "required_params: [" + names(900, ", ") + strings.Repeat("n899, ", 100_000) + "]\n" + flowJob("method: SHELL\nscript: x"),
	} {
		took := cost(func() {
			p, err := parse(t, text).Plan(vars)
			if err != nil {
				t.Fatalf("%s: %v", name, err)
			}
			environ.Of(&p.Tasks[0], p.Vars)
		})
		if took > 30*limitOfHostile {
			t.Errorf("%s: %s", name, took)
		}
	}
}

// TestHostile compares the time with that of a definition of the largest size that is accepted: absolute times say
// little beside other tests and under the race detector.
func TestHostile(t *testing.T) {
	unit := time.Hour
	for range 3 {
		unit = min(unit, cost(func() { parse(t, chain(10_000)) }))
	}
	limit := time.Second + 8*unit
	for _, c := range hostile() {
		t.Run(c.name, func(t *testing.T) {
			if testing.Short() && len(c.text) > 200_000 {
				t.Skip("large")
			}
			var err error
			took := cost(func() { _, _, err = jobspec.Parse("job.yaml", []byte(c.text)) })
			t.Logf("%v", took)
			if err == nil {
				t.Fatal("accepted")
			}
			lines := problems(t, err)
			if len(lines) > 210 {
				t.Errorf("%d problems", len(lines))
			}
			if c.code != "" && !strings.Contains(err.Error(), "["+c.code+"]") {
				t.Errorf("want %s, got %.300s", c.code, err)
			}
			if took > limit {
				t.Errorf("took %v, the largest definition %v", took, unit)
			}
		})
	}
}

// TestHostileVariables renders harmless definitions with hostile values.
func TestHostileVariables(t *testing.T) {
	deep := any("x")
	for range 100_000 {
		deep = []any{deep}
	}
	wide := make([]any, 300_000)
	for i := range wide {
		wide[i] = "x"
	}
	def := parse(t, `job_type: j
tasks:
{{range .items}}
  - task_type: a
    method: SHELL
    script: ['echo {{toJson .}}', 'echo {{.}}']
{{end}}
`)
	for name, v := range map[string]any{"deep": deep, "func": func() {}, "channel": make(chan int), "not JSON": complex(1, 1)} {
		if _, err := def.CheckParams(value.Vars{"items": v}); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
	for name, v := range map[string]any{"wide": wide, "number": int64(1) << 62, "func": func() {}} {
		if _, err := def.Plan(value.Vars{"items": v}); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
	long := parse(t, oneScript(strings.Repeat("{{.x}}", 1000)))
	_, err := long.Plan(value.Vars{"x": strings.Repeat("y", 1<<20)})
	if err == nil || !strings.Contains(err.Error(), source.CodeTemplateLimit) {
		t.Errorf("long: %v", err)
	}
}
