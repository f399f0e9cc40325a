package schema

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/formicary/formicary/libs/jobspec/plan"
	"github.com/formicary/formicary/libs/jobspec/value"
	"github.com/formicary/formicary/libs/testkit/doctest"
)

// activeFields lists the fields that the engine acts on, as far as definitions without containers and pods reach them.
func activeFields() []string {
	tables := activities()
	seen := map[string]bool{}
	var out []string
	var walk func(level string)
	walk = func(level string) {
		if seen[level] {
			return
		}
		seen[level] = true
		for _, name := range value.SortedKeys(tables[level]) {
			a := tables[level][name]
			if a.Inactive || len(a.Methods) > 0 && !slices.Contains(a.Methods, plan.MethodShell) {
				continue
			}
			out = append(out, level+"."+name)
			for _, next := range a.Levels {
				walk(next)
			}
		}
	}
	walk("job")
	walk("task")
	return out
}

// TestEveryFieldHasATest demands for each field of the language a test that fails when the engine ignores it, unless the
// tables say that nothing acts on it.
func TestEveryFieldHasATest(t *testing.T) {
	list, err := os.ReadFile("../testdata/field_tests.txt")
	if err != nil {
		t.Fatal(err)
	}
	tests := map[string]string{}
	for line := range strings.Lines(string(list)) {
		field, test, ok := strings.Cut(strings.TrimSpace(line), " ")
		if field == "" || strings.HasPrefix(field, "#") {
			continue
		}
		if _, twice := tests[field]; twice || !ok {
			t.Errorf("the line of %s is no field and its test, or is there twice", field)
		}
		tests[field] = test
	}
	for _, field := range activeFields() {
		switch test := tests[field]; {
		case test == "":
			t.Errorf("%s has no test that fails when the engine ignores it: name one in testdata/field_tests.txt, or mark the field as inactive", field)
		case !strings.HasPrefix(test, "- "):
			checkTest(t, field, test)
		}
		delete(tests, field)
	}
	for field := range tests {
		t.Errorf("%s is no field that the engine acts on", field)
	}
}

// checkTest finds a test by its name. Where its cases are named after fields, the field must be among them.
func checkTest(t *testing.T, field, test string) {
	t.Helper()
	dir, name, _ := strings.Cut(test, ".")
	files, err := filepath.Glob(filepath.Join("../../..", dir, "*_test.go"))
	if err != nil {
		t.Fatal(err)
	}
	declared := regexp.MustCompile(`(?m)^func ` + regexp.QuoteMeta(name) + `\(t \*testing\.T\)`)
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if !declared.Match(text) {
			continue
		}
		_, last, _ := strings.Cut(field, ".")
		byField := strings.HasPrefix(name, "TestFields")
		if byField && !strings.Contains(string(text), `"`+field+`"`) && !strings.Contains(string(text), "task_type: "+last) && !strings.Contains(string(text), `task_type: `+last+",") {
			t.Errorf("%s: %s has no case of this name", field, test)
		}
		return
	}
	t.Errorf("%s: there is no test %s", field, test)
}

// TestInactiveFieldsAreDocumented holds the list of the language's page against the tables.
func TestInactiveFieldsAreDocumented(t *testing.T) {
	var inactive, ofPods, ofKubernetes, ofScripts []string
	tables := activities()
	for level, table := range tables {
		for name, a := range table {
			shown := "`" + name + "`"
			if level != "job" && level != "task" {
				shown = "`" + level + "." + name + "`"
			}
			switch {
			case a.Inactive && a.Idle != "":
				inactive = append(inactive, shown+" other than `"+a.Idle+"`")
			case a.Inactive:
				inactive = append(inactive, shown)
			case slices.Contains(a.Methods, plan.MethodShell):
				ofScripts = append(ofScripts, shown)
			case slices.Equal(a.Methods, []string{plan.MethodKubernetes}):
				ofKubernetes = append(ofKubernetes, shown)
			case len(a.Methods) > 0:
				ofPods = append(ofPods, shown)
			}
		}
	}
	slices.Sort(inactive)
	slices.Sort(ofPods)
	slices.Sort(ofKubernetes)
	slices.Sort(ofScripts)
	doctest.Hold(t, "../../../docs/language.md", "inactive fields",
		"- "+strings.Join(slices.Compact(inactive), ", ")+"\n- of other methods than `DOCKER` and `KUBERNETES`: "+strings.Join(slices.Compact(ofPods), ", ")+
			"; the image of `container`\n- of other methods than `KUBERNETES`: "+strings.Join(slices.Compact(ofKubernetes), ", ")+"\n- of methods without a directory, which `SHELL`, `DOCKER` and `KUBERNETES` have: "+strings.Join(ofScripts, ", ")+"\n")
}
