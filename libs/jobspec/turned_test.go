package jobspec_test

import (
	"strings"
	"testing"

	"github.com/formicary/formicary/libs/jobspec"
	"github.com/formicary/formicary/libs/jobspec/source"
)

// TestArgumentsTurnedRound looks for calls that are written in the order of other template languages.
func TestArgumentsTurnedRound(t *testing.T) {
	for action, want := range map[string]bool{
		`trimPrefix "refs/heads/" .ref`:  true,
		`trimSuffix ".git" .ref`:         true,
		`hasPrefix "v" .ref`:             true,
		`hasSuffix "v" .ref`:             true,
		`contains "main" .ref`:           true,
		`contains "a" (print .ref "x")`:  true,
		`replace "/" "-" .ref`:           true,
		`join "," .list`:                 true,
		`split "," .ref`:                 true,
		`.ref | trimPrefix "v"`:          true,
		`.ref | replace "a" "b" | upper`: true,
		`.list | join ","`:               true,
		`.ref | trimPrefix "https://github.com/an-organisation/a-repository/"`: true,
		`split " " "A B"`:                true,
		`trimPrefix "v" "v1"`:            true,
		`trimPrefix .ref "refs/heads/"`:  false,
		`replace .ref "/" "-"`:           false,
		`replace "a-b" "-" .sep`:         true,
		`replace "a-b" .old .new`:        false,
		`contains "main,release" .ref`:   false, // one of several words
		`contains "main release" .ref`:   false,
		`.ref | contains "main,release"`: false,
		`split "A B" " "`:                false,
		`trimPrefix "v1" "v"`:            false,
		`hasPrefix .ref .prefix`:         false,
		`.ref | hasPrefix .text`:         false,
		`join (split .ref ",") "-"`:      false,
		`contains .list "a"`:             false,
		`.ref | default "x"`:             false,
		`semverCompare "^1.2" .ref`:      false,
		`hasPrefix "https://example.com/a-long-literal-path" .prefix`: false,
	} {
		line := "    environment: {X: '{{" + action + "}}'}\n"
		text := "job_type: j\ntasks:\n  - task_type: a\n    method: SHELL\n    script: x\n" + line
		_, warnings, err := jobspec.Parse("job.yaml", []byte(text))
		if err != nil && !strings.Contains(err.Error(), "failed") {
			t.Fatal(err)
		}
		found := false
		for _, w := range warnings {
			found = found || w.Code == source.CodeArgumentOrder && w.Line == 6 && strings.HasPrefix(line[w.Column-1:], strings.Fields(w.Expected)[0])
		}
		if found != want {
			t.Errorf("%s: %v, %v; want %v", action, found, warnings, want)
		}
	}
}

func TestNumberOfArguments(t *testing.T) {
	for action, want := range map[string]string{
		`Percent100 0.5`:               "the function Percent100 has the wrong number of arguments, expected Percent100 part whole",
		`MarkdownLink "a" "b"`:         "expected MarkdownLink text",
		`if .x}}{{lower}}{{end`:        "expected lower text",
		`.x | now`:                     "expected now",
		`replace .x "a"`:               "expected replace text old new",
		`print (trimPrefix .x) "more"`: "expected trimPrefix text prefix",
	} {
		_, _, err := jobspec.Parse("job.yaml", []byte("job_type: j\ntasks:\n  - {task_type: a, method: SHELL, script: '{{"+action+"}}'}\n"))
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %s", action, err, want)
		}
	}
}
