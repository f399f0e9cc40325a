package jobspec

import (
	"fmt"
	"go/ast"
	"go/parser"
	gotoken "go/token"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/formicary/formicary/libs/jobspec/template"
	"github.com/formicary/formicary/libs/testkit/doctest"
)

// TestEveryFunctionIsUsed holds the definition with everything against the list of functions.
func TestEveryFunctionIsUsed(t *testing.T) {
	text, err := os.ReadFile("testdata/every_field.yaml")
	if err != nil {
		t.Fatal(err)
	}
	words := regexp.MustCompile(`\w+`).FindAllString(string(text), -1)
	for _, name := range template.FunctionNames() {
		if !slices.Contains(words, name) {
			t.Errorf("the function %s is not used", name)
		}
	}
}

// docHost answers the functions that need a host.
type docHost struct{ submitted int }

func (h *docHost) CountByState(string, []string) (int, error) { return 2, nil }

func (h *docHost) Submit(string, string, map[string]any) (string, error) {
	h.submitted++
	return "id-" + strconv.Itoa(h.submitted), nil
}

// TestFunctionExamples runs the example of every function.
func TestFunctionExamples(t *testing.T) {
	for _, f := range template.FunctionTable() {
		text := "job_type: j\ntasks:\n  - task_type: a\n    method: SHELL\n    script: x\n    environment:\n      OUT: |-\n        " + f.Example + "|\n"
		def, warnings, err := Parse("job.yaml", []byte(text))
		if err != nil || len(warnings) > 0 {
			t.Errorf("%s: %v %v", f.Name, err, warnings)
			continue
		}
		plan, err := def.PlanWith(&docHost{}, template.ExampleVars())
		if err != nil {
			t.Errorf("%s: %v", f.Name, err)
			continue
		}
		if got := strings.TrimSuffix(plan.Tasks[0].Spec.Environment["OUT"], "|"); got != f.Gives {
			t.Errorf("%s gives %q, want %q", f.Example, got, f.Gives)
		}
		if !strings.Contains(f.Example, f.Name) {
			t.Errorf("the example of %s does not use it", f.Name)
		}
		if own, known := template.FunctionNamed(f.Name); known {
			checkArguments(t, f, own)
		}
	}
}

// checkArguments holds the arguments that are documented against those that are taken.
func checkArguments(t *testing.T, f template.FunctionDoc, own template.Function) {
	t.Helper()
	words := strings.Fields(f.Args)
	least, most := 0, len(words)
	for _, word := range words {
		if !strings.HasPrefix(word, "[") && !strings.HasSuffix(word, "…") {
			least++
		}
		if strings.HasSuffix(word, "…") {
			most = -1
		}
	}
	repeats := most == -1 && (own.Least == least+1 || f.Name == "Dict")
	if own.Most != most || own.Least != least && !repeats {
		t.Errorf("%s takes %d to %d arguments, its documentation says %q", f.Name, own.Least, own.Most, f.Args)
	}
}

// TestEveryFunctionIsDocumented finds the names that the code knows, and holds the page against the table.
func TestEveryFunctionIsDocumented(t *testing.T) {
	var coded []string
	for _, file := range []string{"template/funcs.go", "template/funcs_text.go", "template/host.go"} {
		parsed, err := parser.ParseFile(gotoken.NewFileSet(), file, nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		for _, d := range parsed.Decls {
			if fn, ok := d.(*ast.FuncDecl); ok && slices.Contains([]string{"FunctionNamed", "textFunction", "hostFunction"}, fn.Name.Name) {
				coded = append(coded, casesOf(fn)...)
			}
		}
	}
	coded = append(coded, "and", "or")
	slices.Sort(coded)
	documented := template.FunctionNames()
	slices.Sort(documented)
	if diff := cmp.Diff(coded, documented); diff != "" {
		t.Errorf("functions of the code and of the table: %s", diff)
	}
	doctest.Hold(t, "../../docs/functions.md", "functions", functionsTable())
}

// TestEveryBuiltinIsDocumented holds the built-in variables that the code knows against their table, and the page.
func TestEveryBuiltinIsDocumented(t *testing.T) {
	parsed, err := parser.ParseFile(gotoken.NewFileSet(), "template/builtin.go", nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	coded := []string{template.VarJobState, template.VarFanOutIndex}
	for _, d := range parsed.Decls {
		if fn, ok := d.(*ast.FuncDecl); ok && slices.Contains([]string{"IsBuiltin", "IsCounter"}, fn.Name.Name) {
			coded = append(coded, casesOf(fn)...)
		}
	}
	var documented []string
	var page strings.Builder
	page.WriteString("| variable | what it is | known from |\n|---|---|---|\n")
	for _, b := range template.BuiltinTable() {
		fmt.Fprintf(&page, "| `%s` | %s | %s |\n", b.Name, b.Doc, b.Known)
		if template.IsBuiltin(b.Name) {
			documented = append(documented, b.Name)
		}
	}
	slices.Sort(coded)
	slices.Sort(documented)
	if diff := cmp.Diff(coded, documented); diff != "" {
		t.Errorf("built-in variables of the code and of the table: %s", diff)
	}
	doctest.Hold(t, "../../docs/language.md", "built-in variables", page.String())
}

func casesOf(fn *ast.FuncDecl) []string {
	var out []string
	ast.Inspect(fn, func(n ast.Node) bool {
		clause, ok := n.(*ast.CaseClause)
		if !ok {
			return true
		}
		for _, e := range clause.List {
			if lit, ok := e.(*ast.BasicLit); ok {
				if name, err := strconv.Unquote(lit.Value); err == nil {
					out = append(out, name)
				}
			}
		}
		return false
	})
	return out
}

// functionsTable is the table of functions as Markdown.
func functionsTable() string {
	code := func(s string) string {
		if s == "" {
			return ""
		}
		return "`" + strings.ReplaceAll(strings.ReplaceAll(s, "|", `\|`), "\n", "⏎") + "`"
	}
	var b strings.Builder
	b.WriteString("| function | what it gives | example | prints |\n|---|---|---|---|\n")
	for _, f := range template.FunctionTable() {
		fmt.Fprintf(&b, "| %s | %s | %s | %s |\n", code(strings.TrimSpace(f.Name+" "+f.Args)), strings.ReplaceAll(f.Doc, "|", `\|`), code(f.Example), code(f.Gives))
	}
	return b.String()
}
