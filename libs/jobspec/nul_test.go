package jobspec_test

import (
	"strconv"
	"strings"
	"testing"

	"github.com/formicary/formicary/libs/jobspec"
	"github.com/formicary/formicary/libs/jobspec/source"
	"github.com/formicary/formicary/libs/jobspec/value"
)

func TestNULIsRefusedWhereItStands(t *testing.T) {
	const tasks = "\ntasks:\n  - {task_type: a, method: SHELL, script: x}\n"
	const task = "job_type: j\ntasks:\n  - task_type: a\n    method: SHELL\n    script: x\n    "
	for _, before := range []string{
		"job_type: j\ndescription: ", "job_type: ", "job_type: j\nurl: ", "job_type: j\nplatform: ", "job_type: j\nsem_version: ",
		"job_type: j\nwebhook: {url: https://x.example, headers: {a: ", "job_type: j\njob_variables: {a: ", "job_type: j\njob_variables: {l: [{x: ",
		"job_type: j\nnotify: {email: {recipients: [", "job_type: j\nrequired_params: [", "job_type: j\nparams: [{name: p, default: ",
		"job_type: j\nparams: [{name: p, description: ", "job_type: j\nskip_if: ", "job_type: j\nnobody_knows: ",
		task + "on_failed: ", task + "url: ", task + "environment: {A: ", task + "tags: [", task + "description: ", task + "on_exit_code: {1: ",
		task + "when: ", task + "headers: {a: ", task + "fan_out: {items: [", task + "outputs: [", task + "working_dir: ", task + "after_script: [",
	} {
		for _, nul := range []string{`"\0"`, `"a\x00b"`, `"a\u0000"`, `"\U00000000{{.x}}"`} {
			open := strings.Count(before, "{") + strings.Count(before, "[") - strings.Count(before, "}") - strings.Count(before, "]")
			text := before + nul
			for i := len(before) - 1; open > 0; i-- {
				switch before[i] {
				case '{':
					text += "}"
					open--
				case '[':
					text += "]"
					open--
				}
			}
			if !strings.Contains(before, "tasks:") {
				text += tasks
			}
			_, _, err := jobspec.Parse("job.yaml", []byte(text+"\n"))
			lines := strings.Split(before, "\n")
			place := "job.yaml:" + strconv.Itoa(len(lines)) + ":" + strconv.Itoa(len(lines[len(lines)-1])+1) + ": "
			if err == nil || !strings.Contains(err.Error(), place) || !strings.Contains(err.Error(), source.CodeEncoding) {
				t.Errorf("%q: %v, want %s", text, err, place)
			}
		}
	}
	for _, text := range []string{"job_type: j\njob_variables: {\"a\\0\": 1}" + tasks, task + "environment: {\"A\\0\": x}\n", "job_type: j\n\"b\\0\": 1" + tasks} {
		if _, _, err := jobspec.Parse("job.yaml", []byte(text)); err == nil || !strings.Contains(err.Error(), source.CodeEncoding) {
			t.Errorf("%q: %v", text, err)
		}
	}
}

func TestTemplatesGiveNoNUL(t *testing.T) {
	for _, val := range []string{`"a\x00"`, `"\u0000"`, `(fromJson "[\"\\u0000\"]")`, `"\xff"`, `(printf "%c" 0)`, `(Dict "\x00" 1)`} {
		_, _, err := jobspec.Parse("job.yaml", []byte("job_type: j\ntasks:\n  - task_type: a\n    method: SHELL\n    script: ['echo {{"+val+"}}']\n"))
		if err == nil || !strings.Contains(err.Error(), "job.yaml:5:") || !strings.Contains(err.Error(), "the character NUL") {
			t.Errorf("%s: %v", val, err)
		}
	}
}

func TestParametersHoldNoNUL(t *testing.T) {
	def := parse(t, hello)
	for name, v := range map[string]any{"a": "\x00", "b": []any{"\xff"}, "c": map[string]any{"\x00": 1}, "d": map[string]any{"x": []any{"a\x00"}}} {
		if _, err := def.CheckParams(value.Vars{name: v}); err == nil || !strings.Contains(err.Error(), "holds the character NUL") {
			t.Errorf("%s: %v", name, err)
		}
	}
}
