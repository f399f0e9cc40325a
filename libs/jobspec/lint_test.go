package jobspec_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/formicary/formicary/libs/jobspec"
	"github.com/formicary/formicary/libs/jobspec/source"
)

const linted = `job_type: j
params:
  - {name: text}
  - {name: count, type: int}
  - {name: mode, enum: [a, b]}
  - {name: tag, pattern: 'v[0-9]+\.[0-9a-z-]+'}
  - {name: loose, pattern: 'v.*'}
  - {name: data, type: json}
job_variables:
  own: fixed
  built: 'x-{{.text}}'
  listed: [a, b]
tasks:
  - task_type: a
    method: SHELL
    variables: {mine: 1, passed: '{{.built}}', round: '{{.round}}'}
    outputs: [{name: declared}]
    script:
      - echo "::set-output name=said::1"
      - echo written=1 >> $FORMICARY_OUTPUT
    after_script: ['{{%s}}']
`

// TestUntrustedInScript pastes values of all kinds into a script.
func TestUntrustedInScript(t *testing.T) {
	for action, want := range map[string]string{
		// What others choose.
		`.text`: "text", `.undeclared`: "undeclared", `.loose`: "loose", `.data.x`: "data.x", `index .data "k"`: "data", `$.text`: "text",
		`upper .text`: "text", `printf "%s-%d" .text .count`: "text", `.text | default "x"`: "text", `join (split .text " ") ","`: "text",
		`$x := .text}}{{$x`: "text", `$x := 1}}{{if .own}}{{$x = .text}}{{end}}{{$x`: "text", `range .items}}{{.}}{{end`: "items",
		`range $i, $v := .items}}{{$i}}{{$v.a}}{{end`: "items", `with .text}}{{.}}{{end`: "text", `.passed`: "passed", `.built`: "built",
		`index . "undeclared"`: "undeclared", `toJson .`: "*", `and .count .text`: "text", `or .count .text`: "text", `html .text`: "text",
		`(Dict "a" .text).a`: "text", `required "x" .text`: "text", `FormatTime .EpochSecs .text`: "text", `.none.ForkedJob`: "none.ForkedJob",
		`with $}}{{.text}}{{end`: "text", `range Iterate 2}}{{$.text}}{{end`: "text", `block "x" .text}}{{.}}{{end`: "text",
		// What the definition, the engine or the type decides.
		`.count`: "", `.mode`: "", `.tag`: "", `.own`: "", `.mine`: "", `.JobID`: "", `.fork.ForkedJobID`: "", `index . "a-status"`: "",
		`.a_ArtifactURL_0`: "", `shellquote .text`: "", `.text | shellquote`: "", `printf "%d" .text`: "", `sha256 .text`: "", `len .text`: "",
		`if .text}}x{{end`: "", `if eq .text "a"}}{{.own}}{{end`: "", `range $i, $v := .items}}{{$i}}{{end`: "", `range Iterate .count}}{{.}}{{end`: "",
		`range .listed}}{{.}}{{end`: "", `.declared`: "", `.said`: "", `.written`: "", `"x"`: "", `FormatTime .text`: "", `atoi .text`: "", `.round`: "",
		`range Dict "a" 1}}{{.}}{{end`: "", `.a_results`: "", `Random 1 5`: "", `urlquery .text`: "",
	} {
		_, warnings, err := jobspec.Parse("job.yaml", []byte(fmt.Sprintf(linted, action)))
		if err != nil {
			t.Fatalf("%s: %v", action, err)
		}
		var got []string
		for _, w := range warnings {
			name := w.Field
			if name == "" {
				name = "*"
			}
			got = append(got, name)
			if w.Code != source.CodeUntrustedInScript || w.Line != 21 || w.Column < 21 || !strings.Contains(w.Expected, "shellquote") {
				t.Errorf("%s: %s", action, w)
			}
		}
		if strings.Join(got, " ") != want {
			t.Errorf("%s: %q, want %q", action, got, want)
		}
	}
}

func TestUntrustedInScriptWording(t *testing.T) {
	_, warnings, err := jobspec.Parse("job.yaml", []byte("job_type: j\ntasks:\n{{range .hosts}}\n  - task_type: 't-{{.}}'\n    script: |\n      a\n      ssh {{.}} {{$.PATH}}\n    method: SHELL\n{{end}}\n  - {task_type: h, method: HTTP_GET, url: '{{.u}}', script: '{{.v}}'}\n"))
	expectProblems(t, err)
	if want := strings.TrimSpace(`
job.yaml:7:11: warning: the value of hosts becomes part of a script: whoever gives it can run commands of their own, expected shellquote, or the variable of the environment: "$hosts" [UNTRUSTED_IN_SCRIPT]
job.yaml:7:17: warning: the value of PATH becomes part of a script: whoever gives it can run commands of their own, expected shellquote [UNTRUSTED_IN_SCRIPT]`); warnings.Error() != want {
		t.Errorf("%s", warnings.Error())
	}
}

// TestUntrustedItems takes the items of a fan-out for what their list is.
func TestUntrustedItems(t *testing.T) {
	for fan, want := range map[string]int{
		"fan_out: {items: [a, b]}": 0, "fan_out: {items: ['{{.x}}']}": 1, "fan_out: {source: list}": 0, "fan_out: {source: found}": 0,
		"fan_out: {source: given}": 1, "matrix: {item: [a, b]}": 0, "description: none": 1, "fan_out: {source: other, item_var: else}": 1,
	} {
		text := "job_type: j\njob_variables: {list: [a]}\ntasks:\n  - {task_type: f, method: SHELL, script: 'echo ::set-output name=found::x', on_completed: a}\n" +
			"  - {task_type: a, method: SHELL, script: 'echo {{.item}}', " + strings.ReplaceAll(fan, "{{.x}}", "{{.y}}") + "}\n"
		_, warnings, err := jobspec.Parse("job.yaml", []byte(text))
		if err != nil {
			t.Logf("%s: %v", fan, err)
		}
		n := strings.Count(warnings.Error(), source.CodeUntrustedInScript)
		if n != want {
			t.Errorf("%s: %d warnings: %v", fan, n, warnings)
		}
	}
}

// TestLintIsBounded lints what grows in all directions.
func TestLintIsBounded(t *testing.T) {
	var b strings.Builder
	b.WriteString("job_type: j\njob_variables:\n")
	for i := range 500 {
		fmt.Fprintf(&b, "  v%d: '{{.v%d}}{{.v%d}}{{.v%d}}'\n", i, (i+1)%500, (i+7)%500, (i+13)%500)
	}
	b.WriteString("tasks:\n  - task_type: a\n    method: SHELL\n    script:\n")
	for i := range 500 {
		fmt.Fprintf(&b, "      - {{$a := print .v%d $.x%d}}{{$a}}\n", i%500, i)
	}
	_, warnings, err := jobspec.Parse("job.yaml", []byte(b.String()))
	if err != nil || len(warnings) == 0 || len(warnings) > 50 {
		t.Errorf("%v, %d warnings", err, len(warnings))
	}
}
