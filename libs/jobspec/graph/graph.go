package graph

import (
	"fmt"

	"github.com/formicary/formicary/libs/jobspec/plan"
	"github.com/formicary/formicary/libs/jobspec/read"
	"github.com/formicary/formicary/libs/jobspec/source"
	"github.com/formicary/formicary/libs/jobspec/value"
)

// MaxIncoming bounds the edges into a task that are not made by a loop.
const MaxIncoming = 64

// Node is a task with what the checks need.
type Node struct {
	Task *plan.Task   // gets the edges that Check adds
	At   *source.Node // its name, or the task
	// Named says that the name is known; Shown is the name for messages, without values of variables.
	Named bool
	Shown string
	Edges []Edge
	// MethodKnown says that the method is.
	MethodKnown bool
	Asked       []read.TaskRef // tasks that conditions name
	Awaited     []read.TaskRef // tasks whose jobs are waited for
	// ResultsOf is the task whose results the fan-out is over.
	ResultsOf string
	ResultsAt *source.Node
	// ForkAt is where the job to submit is named.
	ForkAt *source.Node
	// Late says that a part of what decides about the task is known only when it is about to start.
	Late bool
}

// Edge leads from a task to another one that it names: to the next one, or back to one that it depends on.
type Edge struct {
	Target string
	Known  bool
	Data   bool
	Loop   bool // written by a loop of the template
	At     *source.Node
}

// graph is the tasks as numbers, for the checks. Edges lead from what ends first to what waits.
type graph struct {
	r     *read.Reader
	nodes []Node
	index map[string]int
	next  [][]arc
	prev  [][]int  // filled by upstream
	known []string // the names in order, filled by sorted
	// vague says that a name is not known yet, so a target may exist that is not found.
	vague bool
}

type arc struct {
	to int
	at *Edge
}

// Check checks what the tasks of a job say of each other. All of it is linear in tasks and edges.
func Check(r *read.Reader, job *plan.Plan, nodes []Node) {
	g := &graph{r: r, nodes: nodes, index: make(map[string]int, len(nodes)), next: make([][]arc, len(nodes))}
	g.names()
	g.connect()
	g.references(job)
	onCycle := g.cycles()
	if !onCycle {
		g.cleanup()
	}
}

func (g *graph) names() {
	for i := range g.nodes {
		t := &g.nodes[i]
		if !t.Named {
			g.vague = true
			continue
		}
		first, dup := g.index[t.Task.Name]
		if !dup {
			g.index[t.Task.Name] = i
			continue
		}
		line, _ := g.r.At(g.nodes[first].At.Line, g.nodes[first].At.Column)
		g.r.Fault(t.At, source.CodeDuplicateTask, fmt.Sprintf("the task %s is defined in line %d already", t.Shown, line), "each task name once")
	}
}

// connect resolves the targets and counts what leads into a task.
func (g *graph) connect() {
	written := make([]int, len(g.nodes))
	for i := range g.nodes {
		t := &g.nodes[i]
		if t.Named && g.index[t.Task.Name] != i {
			continue // a duplicate: its edges would be those of the first one
		}
		for k := range t.Edges {
			e := &t.Edges[k]
			if !e.Known {
				continue
			}
			to, ok := g.index[e.Target]
			switch {
			case !ok && g.vague:
				continue
			case !ok:
				g.unknownTarget(e)
				continue
			case to == i:
				g.r.Fault(e.At, source.CodeSelfEdge, "the task "+t.Shown+" leads to itself", "another task, or the action RESTART_TASK or EXECUTING")
				continue
			}
			from, into := i, to
			if e.Data {
				from, into = to, i
			}
			g.next[from] = append(g.next[from], arc{into, e})
			if !e.Loop {
				if written[into]++; written[into] == MaxIncoming+1 {
					g.r.Fault(e.At, source.CodeTooManyEdges, "too many edges lead into the task "+g.nodes[into].Shown, fmt.Sprintf("at most %d that are not made by a loop", MaxIncoming))
				}
			}
		}
	}
}

// sorted returns the names of the tasks.
func (g *graph) sorted() []string {
	if g.known == nil {
		g.known = value.SortedKeys(g.index)
	}
	return g.known
}

func (g *graph) unknownTarget(e *Edge) {
	if g.r.Collector.Full() {
		return
	}
	expected := "the name of a task"
	if near := g.r.Collector.Suggest(e.Target, g.sorted()); near != "" && !e.At.Templated {
		expected = near
	}
	shown := source.QuoteName(e.Target)
	if e.At.Templated {
		shown = g.r.ShowName(e.At)
	}
	g.r.Fault(e.At, source.CodeUnknownTask, "the task "+shown+" does not exist", expected)
}
