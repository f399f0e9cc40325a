package graph_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/formicary/formicary/libs/jobspec/graph"
	"github.com/formicary/formicary/libs/jobspec/plan"
	"github.com/formicary/formicary/libs/jobspec/read"
	"github.com/formicary/formicary/libs/jobspec/source"
	"github.com/formicary/formicary/libs/jobspec/template"
)

// nodes makes tasks of words: "a>b" leads from a to b, "a<b" makes a depend on b, "a!" is always_run, "a?" has an edge
// that is not known yet.
func nodes(words ...string) []graph.Node {
	out := make([]graph.Node, len(words))
	for i, word := range words {
		name := word[:1]
		at := &source.Node{Kind: source.Scalar, Line: i + 1, Column: 1, Text: name}
		out[i] = graph.Node{Task: &plan.Task{Name: name, Method: plan.MethodShell}, At: at, Named: true, Shown: fmt.Sprintf("%q", name), MethodKnown: true}
		for k := 1; k < len(word); k++ {
			switch word[k] {
			case '!':
				out[i].Task.AlwaysRun = true
			case '?':
				out[i].Edges = append(out[i].Edges, graph.Edge{At: at})
			default:
				k++
				out[i].Edges = append(out[i].Edges, graph.Edge{Target: word[k : k+1], Known: true, Data: word[k-1] == '<', At: at})
			}
		}
	}
	return out
}

// check checks tasks of the job "own", which stand in a line each. It returns the problems as line and code.
func check(of []graph.Node, checking bool) (problems string, warnings []source.Problem) {
	text := []byte(strings.Repeat("x\n", len(of)))
	lines, shape := source.NewLines(text), &template.Shape{Text: text}
	shape.Parse(lines)
	r := &read.Reader{
		Collector: &source.Collector{File: "f"}, Source: lines, Shape: shape,
		Machine: template.NewMachine(&template.Scope{}), Checking: checking,
	}
	graph.Check(r, &plan.Plan{JobType: "own"}, of)
	var out []string
	for _, p := range r.Collector.List {
		out = append(out, fmt.Sprint(p.Line, " ", p.Code))
	}
	return strings.Join(out, ", "), r.Collector.List
}

func TestEdges(t *testing.T) {
	for words, want := range map[string]string{
		"a>b b":           "",
		"a b<a":           "",
		"a a":             "2 " + source.CodeDuplicateTask,
		"a>c b":           "1 " + source.CodeUnknownTask,
		"a>a":             "1 " + source.CodeSelfEdge,
		"a>b b>a":         "2 " + source.CodeCycle,
		"a<c b<a c<b":     "1 " + source.CodeCycle,
		"a>b b!":          "",
		"a!>b b":          "1 " + source.CodeUnreachable,
		"a!?>b b":         "",
		"a>b>c b>d c>d d": "",
	} {
		if got, _ := check(nodes(strings.Fields(words)...), true); got != want {
			t.Errorf("%s: %s, want %s", words, got, want)
		}
	}
}

// TestUnknownNames: a target that is not found may be a task whose name is not known yet.
func TestUnknownNames(t *testing.T) {
	of := nodes("a>c", "b")
	of[1].Named = false
	if got, _ := check(of, true); got != "" {
		t.Error(got)
	}
}

func TestReferences(t *testing.T) {
	for name, c := range map[string]struct {
		words string
		set   func(of []graph.Node)
		want  string
	}{
		"a task before": {"a>b b", func(of []graph.Node) { of[1].Asked = []read.TaskRef{{Name: "a", At: of[1].At}} }, ""},
		"a task beside": {"a b", func(of []graph.Node) { of[1].Asked = []read.TaskRef{{Name: "a", At: of[1].At}} }, "2 " + source.CodeNotUpstream},
		"itself":        {"a", func(of []graph.Node) { of[0].Asked = []read.TaskRef{{Name: "a", At: of[0].At}} }, "1 " + source.CodeCondition},
		"no task":       {"a", func(of []graph.Node) { of[0].Asked = []read.TaskRef{{Name: "z", At: of[0].At}} }, "1 " + source.CodeUnknownTask},
		"results of one beside": {"a b", func(of []graph.Node) {
			of[0].Task.FanOut = &plan.FanOut{}
			of[1].ResultsOf, of[1].ResultsAt = "a", of[1].At
		}, "2 " + source.CodeNotUpstream},
		"a task without a job":   {"a b", func(of []graph.Node) { of[1].Awaited = []read.TaskRef{{Name: "a", At: of[1].At}} }, "2 " + source.CodeInvalidValue},
		"its own job":            {"a", func(of []graph.Node) { of[0].Task.Fork, of[0].ForkAt = &plan.Fork{JobType: "own"}, of[0].At }, "1 " + source.CodeInvalidValue},
		"its own job after some": {"a>b b", func(of []graph.Node) { of[1].Task.Fork, of[1].ForkAt = &plan.Fork{JobType: "own"}, of[1].At }, "2 " + source.CodeOwnFork},
	} {
		of := nodes(strings.Fields(c.words)...)
		c.set(of)
		if got, list := check(of, true); got != c.want {
			t.Errorf("%s: %v, want %s", name, list, c.want)
		}
	}
}

// TestAwaitedTasks: who waits for the job of a task starts after it.
func TestAwaitedTasks(t *testing.T) {
	of := nodes("a", "b")
	of[0].Task.Method = plan.MethodForkJob
	of[1].Awaited = []read.TaskRef{{Name: "a", At: of[1].At}}
	if got, _ := check(of, false); got != "" {
		t.Error(got)
	}
	if diff := cmp.Diff([]string{"a"}, of[1].Task.DependsOn); diff != "" {
		t.Error(diff)
	}
}

func TestStarts(t *testing.T) {
	tasks := []plan.Task{
		{Name: "first", Routes: []plan.Route{{Targets: []string{"next"}}}},
		{Name: "next"},
		{Name: "after", DependsOn: []string{"first"}},
		{Name: "cleanup", AlwaysRun: true},
		{Name: "alone"},
	}
	if diff := cmp.Diff([]bool{true, false, false, false, true}, graph.Starts(tasks)); diff != "" {
		t.Error(diff)
	}
}
