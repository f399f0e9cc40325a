package environ_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/formicary/formicary/libs/jobspec/environ"
	"github.com/formicary/formicary/libs/jobspec/plan"
	"github.com/formicary/formicary/libs/jobspec/source"
	"github.com/formicary/formicary/libs/jobspec/value"
)

// TestEnvFits leaves out what a process cannot take, the longest first.
func TestEnvFits(t *testing.T) {
	vars := value.Vars{"short": "x"}
	for i := range 40 {
		vars[fmt.Sprintf("v%02d", i)] = strings.Repeat("x", 60_000+i)
	}
	task := plan.Task{Spec: plan.Spec{Shell: true, Environment: map[string]string{"kept": strings.Repeat("y", 64_000), "v00": "z"}}}
	env := environ.Of(&task, vars).Vars
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
	task := plan.Task{Spec: plan.Spec{Shell: true, Variables: map[string]any{"own_FILE": "mine"}, Environment: map[string]string{"declared": long}}}
	e := environ.Of(&task, value.Vars{"p": long, "fits": long[1:], "own": long, "t_results": []any{long}, "1bad": long})
	if len(e.Files) != 3 || e.Files["p"] != long || e.Files["declared"] != long || e.Files["t_results"] != `["`+long+`"]` || e.Vars["fits"] != long[1:] || e.Vars["own_FILE"] != "mine" {
		t.Errorf("%d files, %d variables", len(e.Files), len(e.Vars))
	}
	notes := strings.Join(e.Notes, "\n")
	if len(e.Notes) != 4 || !strings.Contains(notes, "$p is not set: its 65537 bytes are too many for the environment. They are in the file that $p_FILE names.") ||
		!strings.Contains(notes, "1 variables (own) are not set") {
		t.Error(notes)
	}
	reserved := environ.Of(&task, value.Vars{"AWS_CONFIG": long, "SSL_CERT": long, "aws": long})
	if len(reserved.Files) != 2 || reserved.Files["aws"] == "" {
		t.Errorf("a submitter chooses what %v name", reserved.Files)
	}
	many := value.Vars{}
	for i := range 30_000 {
		many[fmt.Sprintf("v%05d", i)] = strings.Repeat("y", 40)
	}
	e = environ.Of(&task, many)
	total := 0
	for name, v := range e.Vars {
		total += len(name) + len(v) + 2
	}
	if total > 1<<20 || len(e.Notes) == 0 || !strings.Contains(e.Notes[len(e.Notes)-1], "variables (v") {
		t.Errorf("%d bytes, %d notes", total, len(e.Notes))
	}
	if e := environ.Of(&task, nil); e.Notes == nil || e.Files["declared"] != long {
		t.Error("what is declared is lost")
	}
}

// TestEnvOfWorkersTellsWhatIsLeftOut: workers have no files, so what is too long is said, and how it is had.
func TestEnvOfWorkersTellsWhatIsLeftOut(t *testing.T) {
	long := strings.Repeat("x", 64<<10+1)
	for _, method := range []string{plan.MethodMessaging, plan.MethodWebsocket} {
		task := &plan.Task{Method: method, Spec: plan.Spec{Environment: map[string]string{"declared": long}}}
		e := environ.Of(task, value.Vars{"p": long, "fits": long[1:]})
		notes := strings.Join(e.Notes, "\n")
		if len(e.Files) != 0 || e.Vars["fits"] == "" || e.Vars["p"] != "" || !environ.Wanted(task) ||
			notes != "2 variables (p, declared) are not set: the environment has no room for them. A worker gets the value of a variable that its task declares: variables: {name: '{{.name}}'}." {
			t.Errorf("%s: %d files, %d variables, %s", method, len(e.Files), len(e.Vars), notes)
		}
	}
	if environ.Wanted(&plan.Task{Method: plan.MethodHTTPGet}) {
		t.Error("a request has no environment")
	}
}

func TestReserved(t *testing.T) {
	for _, name := range []string{"PATH", "LD_PRELOAD", "PYTHONPATH", "GIT_CONFIG_COUNT", "HTTP_PROXY", "https_proxy", "NODE_OPTIONS"} {
		if !environ.Reserved(name) {
			t.Errorf("%s can be set by a parameter", name)
		}
	}
	for _, name := range []string{"GIT_BRANCH", "path", "AWS_REGION", "FORMICARY_JOB"} {
		if environ.Reserved(name) {
			t.Errorf("%s is reserved", name)
		}
	}
}

func TestDeclared(t *testing.T) {
	text := []byte("{variables: {PATH: x, a: 1}, params: [{name: LD_PRELOAD}, {name: b}], job_variables: {PATH: y}}")
	root, _ := source.ReadYAML(text, &source.Collector{}, func(line, column int) (int, int) { return line, column })
	job := environ.Declared(root)
	if diff := cmp.Diff([]string{"LD_PRELOAD", "PATH"}, job); diff != "" {
		t.Error(diff)
	}
	for _, c := range []struct {
		own   map[string]any
		items []string
		want  []string
	}{
		{nil, nil, job},
		{map[string]any{"a": 1}, []string{"b"}, job},
		{map[string]any{"BASH_ENV": 1, "PATH": 1}, nil, []string{"BASH_ENV", "LD_PRELOAD", "PATH"}},
		{nil, []string{"IFS"}, []string{"IFS", "LD_PRELOAD", "PATH"}},
	} {
		if diff := cmp.Diff(c.want, environ.WithTask(job, c.own, c.items)); diff != "" {
			t.Errorf("%v %v: %s", c.own, c.items, diff)
		}
	}
}
