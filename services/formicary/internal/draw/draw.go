// Package draw draws a plan as a flowchart: in the languages of mermaid.js and Graphviz, and as a picture. draw.go
// collects nodes and edges, layout.go places them, svg.go and text.go write.
package draw

import (
	"fmt"
	"sort"
	"strconv"
	"strings"

	"github.com/formicary/formicary/libs/jobspec/plan"
)

// Bounds of a drawing: nobody reads more, and no viewer takes it.
const (
	maxDrawn      = 300
	maxDrawnEdges = 1_500
	maxLabel      = 48
)

// figure is the shape of a node.
type figure uint8

const (
	figureTask figure = iota
	figureCleanup
	figureFanOut
	figureFork
	figureApproval
	figureAction
	figureNote
)

// drawing is a plan as nodes and edges, in the order of the text.
type drawing struct {
	nodes []drawnNode
	edges []drawnEdge
}

// drawnNode is a task, a group of tasks that are alike, or an action.
type drawnNode struct {
	figure figure
	// name as it stands in the plan, detail is the second line.
	name, detail string
}

// drawnEdge leads from one node to another, or back to itself: a sensor polls, a task restarts.
type drawnEdge struct {
	from, to int
	// label holds the keys of the route; a data edge has none.
	label string
	data  bool
}

// of collects what to draw. Above the bound tasks with the same neighbours become one node; what is still too much
// is left out, and a note says so.
func of(p *plan.Plan) *drawing {
	b := &drawingBuilder{plan: p, index: make(map[string]int, len(p.Tasks)), actions: map[string]int{}, seen: map[drawnEdge]int{}}
	for i := range p.Tasks {
		b.index[p.Tasks[i].Name] = i
	}
	b.tasks()
	b.edges()
	if b.hidden > 0 || b.dropped > 0 {
		var parts []string
		if b.hidden > 0 {
			parts = append(parts, counted(b.hidden, "task"))
		}
		if b.dropped > 0 {
			parts = append(parts, counted(b.dropped, "edge"))
		}
		b.out.nodes = append(b.out.nodes, drawnNode{figureNote, "too large to draw", strings.Join(parts, " and ") + " left out"})
	}
	return &b.out
}

func counted(n int, what string) string {
	if n != 1 {
		what += "s"
	}
	return strconv.Itoa(n) + " " + what
}

type drawingBuilder struct {
	plan    *plan.Plan
	out     drawing
	index   map[string]int    // of tasks by name
	node    []int             // of each task, or -1
	actions map[string]int    // nodes by name
	seen    map[drawnEdge]int // edges without label
	hidden  int
	dropped int
}

// tasks makes the nodes.
func (b *drawingBuilder) tasks() {
	tasks := b.plan.Tasks
	b.node = make([]int, len(tasks))
	if len(tasks) <= maxDrawn {
		for i := range tasks {
			b.node[i] = i
			b.out.nodes = append(b.out.nodes, drawnNode{figureOf(&tasks[i]), tasks[i].Name, detailOf(&tasks[i])})
		}
		return
	}
	groups := b.groups()
	for _, members := range groups {
		at := len(b.out.nodes)
		if at >= maxDrawn {
			at = -1
			b.hidden += len(members)
		}
		for _, i := range members {
			b.node[i] = at
		}
		if at < 0 {
			continue
		}
		first := &tasks[members[0]]
		n := drawnNode{figureOf(first), first.Name, detailOf(first)}
		if last := tasks[members[len(members)-1]].Name; len(members) > 1 {
			n.name, n.detail = first.Name+" … "+last, strconv.Itoa(len(members))+" tasks, "+n.detail
		}
		b.out.nodes = append(b.out.nodes, n)
	}
}

// groups puts tasks together that look alike and have the same neighbours.
func (b *drawingBuilder) groups() [][]int {
	into := make([]uint64, len(b.plan.Tasks))
	outOf := make([]uint64, len(b.plan.Tasks))
	b.each(func(from, to int, action, key string, data bool) {
		h := hashOf(key, 1)
		if data {
			h = 2
		}
		outOf[from] += mixed(h, hashOf(action, uint64(to+1)))
		if to >= 0 {
			into[to] += mixed(h, uint64(from))
		}
	})
	type likeness struct {
		into, outOf uint64
		figure      figure
		detail      string
	}
	var groups [][]int
	found := map[likeness]int{}
	for i := range b.plan.Tasks {
		t := &b.plan.Tasks[i]
		key := likeness{into[i], outOf[i], figureOf(t), detailOf(t)}
		g, ok := found[key]
		if !ok {
			g = len(groups)
			found[key] = g
			groups = append(groups, nil)
		}
		groups[g] = append(groups[g], i)
	}
	return groups
}

// hashOf and mixed are sums of neighbours that do not depend on their order: a plan can have hundreds of thousands of
// edges. Two that are equal by accident only make a drawing coarser.
func hashOf(text string, h uint64) uint64 {
	for i := range len(text) {
		h = (h ^ uint64(text[i])) * 1099511628211
	}
	return h
}

func mixed(a, b uint64) uint64 {
	h := (a*0x9E3779B97F4A7C15 ^ b) + 0x9E3779B97F4A7C15
	h = (h ^ h>>30) * 0xBF58476D1CE4E5B9
	h = (h ^ h>>27) * 0x94D049BB133111EB
	return h ^ h>>31
}

// each calls back for every edge of the plan; to is -1 when it leads to an action.
func (b *drawingBuilder) each(edge func(from, to int, action, key string, data bool)) {
	for i := range b.plan.Tasks {
		t := &b.plan.Tasks[i]
		for _, name := range t.DependsOn {
			if from, ok := b.index[name]; ok {
				edge(from, i, "", "", true)
			}
		}
		for _, route := range t.Routes {
			for _, target := range route.Targets {
				to, ok := b.index[target]
				switch {
				case ok:
					edge(i, to, "", route.Key, false)
				case target == plan.ActionExecuting || target == plan.ActionRestartTask:
					edge(i, i, "", route.Key+" "+target, false)
				default:
					edge(i, -1, target, route.Key, false)
				}
			}
		}
	}
}

func (b *drawingBuilder) edges() {
	b.each(func(from, to int, action, key string, data bool) {
		source := b.node[from]
		if source < 0 {
			return
		}
		if to < 0 {
			b.edge(drawnEdge{from: source, to: b.action(action), data: data}, key)
			return
		}
		target := b.node[to]
		if target < 0 || source == target && to != from { // left out, or within a group
			return
		}
		b.edge(drawnEdge{from: source, to: target, data: data}, key)
	})
	sort.SliceStable(b.out.edges, func(i, j int) bool {
		x, y := b.out.edges[i], b.out.edges[j]
		return x.from < y.from || x.from == y.from && x.to < y.to
	})
}

// edge adds an edge; those between the same nodes are one, with all their keys.
func (b *drawingBuilder) edge(e drawnEdge, key string) {
	if at, ok := b.seen[e]; ok {
		old := &b.out.edges[at]
		if key != "" && len(old.label) < 2*maxLabel && !strings.Contains(", "+old.label+", ", ", "+key+", ") {
			old.label += ", " + key
		}
		return
	}
	if len(b.out.edges) >= maxDrawnEdges {
		b.dropped++
		return
	}
	b.seen[e] = len(b.out.edges)
	e.label = key
	b.out.edges = append(b.out.edges, e)
}

func (b *drawingBuilder) action(name string) int {
	at, ok := b.actions[name]
	if !ok {
		at = len(b.out.nodes)
		b.actions[name] = at
		b.out.nodes = append(b.out.nodes, drawnNode{figureAction, name, ""})
	}
	return at
}

func figureOf(t *plan.Task) figure {
	switch {
	case t.FanOut != nil:
		return figureFanOut
	case t.Method == plan.MethodForkJob || t.Method == plan.MethodAwaitForkedJob:
		return figureFork
	case t.Method == plan.MethodManual:
		return figureApproval
	case t.AlwaysRun:
		return figureCleanup
	}
	return figureTask
}

// detailOf says how the task is executed.
func detailOf(t *plan.Task) string {
	detail := t.Method
	switch {
	case t.Fork != nil && t.Fork.JobType != "":
		detail += " " + t.Fork.JobType
	case t.Approval != nil && t.Approval.MinApprovals > 1:
		detail += fmt.Sprintf(", %d approvals", t.Approval.MinApprovals)
	}
	if f := t.FanOut; f != nil {
		switch {
		case len(f.Items) > 0:
			detail += fmt.Sprintf(" × %d", len(f.Items))
		case f.Source != "":
			detail += " × " + f.Source
		default:
			detail += " × n"
		}
		if f.Matrix {
			detail += ", matrix"
		}
	}
	if t.AlwaysRun {
		detail += ", always"
	}
	if t.When != "" {
		detail += ", when"
	}
	return detail
}

// shortened cuts a label, and replaces what no line can show.
func shortened(text string) string {
	out := make([]rune, 0, maxLabel)
	for _, c := range text {
		if c < ' ' || c == 0x7F || c == 0xFFFD || c == 0xFFFE || c == 0xFFFF {
			c = ' '
		}
		if len(out) == maxLabel {
			return string(out[:maxLabel-1]) + "…"
		}
		out = append(out, c)
	}
	return string(out)
}
