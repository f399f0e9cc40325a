package condition_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/formicary/formicary/libs/jobspec/condition"
	"github.com/formicary/formicary/libs/jobspec/template"
	"github.com/formicary/formicary/libs/jobspec/value"
)

func get(t *testing.T, text string, items ...string) *condition.Condition {
	t.Helper()
	var set condition.Set
	c, err := set.Get(text, items)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// holds evaluates an expression over facts.
func holds(t *testing.T, text string, facts *condition.Facts) (bool, error) {
	t.Helper()
	c := get(t, text)
	if len(c.Issues) > 0 {
		t.Fatalf("%s: %+v", text, c.Issues)
	}
	activation, _ := c.Uses.Activation(&template.Scope{Vars: facts.Vars}, facts, false)
	return c.Holds(activation)
}

func facts() *condition.Facts {
	return &condition.Facts{
		Vars: value.Vars{"n": int64(3), "s": "x", "yes": "TRUE", "list": []any{"a", "b"}, "m": map[string]any{"k": "v"}},
		Tasks: map[string]condition.TaskFact{
			"build": {State: "FAILED", ExitCode: 3, FailureClass: "user", Outputs: map[string]string{"tag": "v1"}},
		},
	}
}

func TestHolds(t *testing.T) {
	for text, want := range map[string]bool{
		"params.n == 3": true, "params.n > 3.5": false, "vars.s == 'x' && 'b' in vars.list": true, "vars.m.k == 'v'": true,
		"vars.yes": true, "vars.unset": false, "vars.unset == null": true, "has(vars.unset)": false, "has(vars.s)": true,
		"tasks.build.state == 'FAILED' && tasks.build.exit_code == 3": true, "tasks.build.outputs.tag == 'v1'": true, "tasks.build.outputs.other == ''": true,
		"tasks['other'].state == ''": true, "vars.s.matches('^x$')": true,
	} {
		if got, err := holds(t, text, facts()); err != nil || got != want {
			t.Errorf("%s: %v, %v; want %v", text, got, err, want)
		}
	}
}

// TestWhatFails names the kind of fault and no value.
func TestWhatFails(t *testing.T) {
	for text, want := range map[string]string{
		"vars.m.other == 'v'": "a key that is not there", "vars.s + 1 == 2": "the wrong type", "vars.s": "neither true nor false", "vars.list": "neither true nor false",
		"vars.list.all(a, vars.list.all(b, vars.big.all(c, vars.big.all(d, c + d != ''))))": "works too much",
	} {
		f := facts()
		f.Vars["big"] = slices.Repeat([]any{strings.Repeat("secret", 100)}, 1000)
		if got, err := holds(t, text, f); err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "secret") {
			t.Errorf("%s: %v, %v; want %q", text, got, err, want)
		}
	}
}

// TestIssues counts places in characters, over the lines of the text.
func TestIssues(t *testing.T) {
	for text, want := range map[string]condition.Issue{
		"params.n = 3":          {At: 9, Message: "= is no operator, == compares"},
		"'a' + 'b'":             {Message: "the expression is string and not true or false"},
		"nobody.n == 3":         {Message: "undeclared reference to 'nobody'"},
		"'ä' == 'ä' &&\nnobody": {At: 14, Message: "undeclared reference to 'nobody'"},
	} {
		if c := get(t, text); len(c.Issues) != 1 || c.Issues[0] != want {
			t.Errorf("%q: %+v, want %+v", text, c.Issues, want)
		}
	}
}

func TestUses(t *testing.T) {
	u := get(t, "has(vars.a) && params.b == vars['c'] && tasks.build.outputs.tag == item", "item").Uses
	if probed, ok := u.Vars["a"]; !ok || !probed {
		t.Errorf("a is looked at only by has(): %v", u.Vars)
	}
	for _, name := range []string{"b", "c", "item"} {
		if probed, ok := u.Vars[name]; !ok || probed {
			t.Errorf("%s is read: %v", name, u.Vars)
		}
	}
	if u.All || u.AllTasks || u.Tasks["build"] == nil {
		t.Errorf("%+v", u)
	}
	if u = get(t, "vars[params.name] == '' || tasks[params.task].state == ''").Uses; !u.All || !u.AllTasks {
		t.Errorf("names that are computed may be any: %+v", u)
	}
}

// TestSetIsBounded: what a definition can ask to be compiled has an end, and is compiled once.
func TestSetIsBounded(t *testing.T) {
	var set condition.Set
	first, err := set.Get("params.n == 1", nil)
	if err != nil || set.Find("params.n == 1", nil) != first || set.Find("params.n == 1", []string{"n"}) != nil {
		t.Errorf("%v is not found again: %v", first, err)
	}
	for i := 0; ; i++ {
		c, err := set.Get("params.n == "+strings.Repeat(" ", i)+strings.Repeat("'x' + ", 500)+"'x'", nil)
		if err != nil || i > 10_000 {
			t.Fatalf("%d: %v", i, err)
		}
		if len(c.Issues) > 0 && strings.Contains(c.Issues[0].Message, "too many expressions") {
			break
		}
	}
}
