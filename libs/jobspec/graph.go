package jobspec

import (
	"fmt"
	"slices"
	"strings"

	"github.com/formicary/formicary/libs/jobspec/plan"
	"github.com/formicary/formicary/libs/jobspec/read"
	"github.com/formicary/formicary/libs/jobspec/schema"
	"github.com/formicary/formicary/libs/jobspec/source"
	"github.com/formicary/formicary/libs/jobspec/value"
)

// Bounds of the graph and of what is said about it.
const (
	maxIncoming    = 64
	maxCycles      = 20
	maxShownOfLoop = 20
)

// graph is the tasks as numbers, for the checks. Edges lead from what ends first to what waits.
type graph struct {
	r     *reader
	tasks []taskDraft
	index map[string]int
	next  [][]arc
	prev  [][]int  // filled by upstream
	known []string // the names in order, filled by sorted
	// vague says that a name is not known yet, so a target may exist that is not found.
	vague bool
}

type arc struct {
	to int
	at *edge
}

// checkGraph checks what the tasks say of each other. All of it is linear in tasks and edges.
func (r *reader) checkGraph(d *draft) {
	tasks := d.tasks
	g := &graph{r: r, tasks: tasks, index: make(map[string]int, len(tasks)), next: make([][]arc, len(tasks))}
	g.names()
	g.connect()
	g.references(d)
	g.downloads()
	onCycle := g.cycles()
	if !onCycle {
		g.cleanup()
	}
}

func (g *graph) names() {
	for i := range g.tasks {
		t := &g.tasks[i]
		if !t.named {
			g.vague = true
			continue
		}
		first, dup := g.index[t.task.Name]
		if !dup {
			g.index[t.task.Name] = i
			continue
		}
		line, _ := g.r.At(g.tasks[first].node.Line, g.tasks[first].node.Column)
		g.r.Fault(t.node, source.CodeDuplicateTask, fmt.Sprintf("the task %s is defined in line %d already", t.shown, line), "each task name once")
	}
}

// connect resolves the targets and counts what leads into a task.
func (g *graph) connect() {
	written := make([]int, len(g.tasks))
	for i := range g.tasks {
		t := &g.tasks[i]
		if t.named && g.index[t.task.Name] != i {
			continue // a duplicate: its edges would be those of the first one
		}
		for k := range t.edges {
			e := &t.edges[k]
			if !e.known {
				continue
			}
			to, ok := g.index[e.target]
			switch {
			case !ok && g.vague:
				continue
			case !ok:
				g.unknownTarget(e)
				continue
			case to == i:
				g.r.Fault(e.node, source.CodeSelfEdge, "the task "+t.shown+" leads to itself", "another task, or the action RESTART_TASK or EXECUTING")
				continue
			}
			from, into := i, to
			if e.data {
				from, into = to, i
			}
			g.next[from] = append(g.next[from], arc{into, e})
			if !e.loop {
				if written[into]++; written[into] == maxIncoming+1 {
					g.r.Fault(e.node, source.CodeTooManyEdges, "too many edges lead into the task "+g.tasks[into].shown, fmt.Sprintf("at most %d that are not made by a loop", maxIncoming))
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

func (g *graph) unknownTarget(e *edge) {
	if g.r.Collector.Full() {
		return
	}
	expected := "the name of a task"
	if near := g.r.Collector.Suggest(e.target, g.sorted()); near != "" && !e.node.Templated {
		expected = near
	}
	shown := source.QuoteName(e.target)
	if e.node.Templated {
		shown = g.r.ShowName(e.node)
	}
	g.r.Fault(e.node, source.CodeUnknownTask, "the task "+shown+" does not exist", expected)
}

// cycles walks the graph depth first; an edge to a task on the way closes a cycle.
func (g *graph) cycles() bool {
	const (
		fresh = iota
		onWay
		done
	)
	state := make([]uint8, len(g.tasks))
	turn := make([]int, len(g.tasks)) // the next edge of each task
	found := 0
	var way []int
	for start := range g.tasks {
		if state[start] != fresh {
			continue
		}
		way = append(way[:0], start)
		state[start] = onWay
		for len(way) > 0 {
			i := way[len(way)-1]
			if turn[i] == len(g.next[i]) {
				state[i] = done
				way = way[:len(way)-1]
				continue
			}
			a := g.next[i][turn[i]]
			turn[i]++
			switch state[a.to] {
			case fresh:
				state[a.to] = onWay
				way = append(way, a.to)
			case onWay:
				if found++; found <= maxCycles {
					g.reportCycle(way, a)
				}
			}
		}
	}
	return found > 0
}

func (g *graph) reportCycle(way []int, closing arc) {
	from := len(way) - 1
	for way[from] != closing.to {
		from--
	}
	loop := way[from:]
	var b strings.Builder
	for k, i := range loop {
		if k == maxShownOfLoop {
			fmt.Fprintf(&b, "… (%d more) → ", len(loop)-k)
			break
		}
		b.WriteString(g.tasks[i].task.Name + " → ")
	}
	b.WriteString(g.tasks[closing.to].task.Name)
	g.r.Fault(closing.at.node, source.CodeCycle, "the tasks wait for each other: "+b.String(), "no way back; loops are retry, EXECUTING and RESTART_JOB")
}

// cleanup finds tasks that can never start: an always_run task that nothing leads to begins when all tasks without
// always_run have ended, so none of those can wait for it.
func (g *graph) cleanup() {
	incoming := make([]int, len(g.tasks))
	for i := range g.next {
		for _, a := range g.next[i] {
			incoming[a.to]++
		}
	}
	waits := make([]bool, len(g.tasks))
	var queue []int
	for i := range g.tasks {
		if g.tasks[i].task.AlwaysRun && incoming[i] == 0 && !g.tasks[i].open() {
			waits[i] = true
			queue = append(queue, i)
		}
	}
	for len(queue) > 0 {
		i := queue[0]
		queue = queue[1:]
		for _, a := range g.next[i] {
			if waits[a.to] {
				continue
			}
			waits[a.to] = true
			queue = append(queue, a.to)
			if t := &g.tasks[a.to]; !t.task.AlwaysRun {
				g.r.Fault(a.at.node, source.CodeUnreachable, "the task "+t.shown+" can never start: it waits for "+g.tasks[i].shown+", which always_run puts after all others", "always_run on both, or an edge that leads to the first")
			}
		}
	}
}

// open says that an edge of the task is not known yet.
func (t *taskDraft) open() bool {
	for i := range t.edges {
		if !t.edges[i].known {
			return true
		}
	}
	return false
}

// starts reports for each task whether it begins at once, before any other has ended.
func starts(tasks []plan.Task) []bool {
	waits := make(map[string]bool)
	for i := range tasks {
		for _, r := range tasks[i].Routes {
			for _, target := range r.Targets {
				waits[target] = true
			}
		}
	}
	out := make([]bool, len(tasks))
	for i := range tasks {
		out[i] = !waits[tasks[i].Name] && len(tasks[i].DependsOn) == 0 && !tasks[i].AlwaysRun
	}
	return out
}

// maxAncestry bounds the edges that are followed to find out what comes before a task. Beyond it nothing is said about
// the order; a definition that large is made by a loop.
const maxAncestry = 2_000_000

// references checks the tasks that are named elsewhere than in edges: by conditions, by AWAIT_FORKED_JOB and as source of
// a fan-out.
func (g *graph) references(d *draft) {
	budget := maxAncestry
	for i := range g.tasks {
		t := &g.tasks[i]
		g.ownFork(d, i)
		if len(t.refs)+len(t.awaits) == 0 && t.flow.resultsOf == "" {
			continue
		}
		before := g.upstream(i, &budget)
		for _, ref := range t.refs {
			g.asked(i, ref, before)
		}
		if k, ok := g.index[t.flow.resultsOf]; ok && g.tasks[k].task.FanOut != nil && before != nil && !before[k] {
			g.r.Warn(t.flow.resultsAt.Line, t.flow.resultsAt.Column, source.CodeNotUpstream, "the fan-out is over results of "+g.tasks[k].shown+", which does not end before", "an edge from it")
		}
		for _, ref := range t.awaits {
			g.await(d, i, ref, before)
		}
	}
}

// asked checks a task that a condition names.
func (g *graph) asked(i int, ref read.TaskRef, before map[int]bool) {
	k, ok := g.index[ref.Name]
	switch {
	case !ok && g.vague:
	case !ok:
		g.unknownTarget(&edge{target: ref.Name, node: ref.At})
	case k == i:
		g.r.Fault(ref.At, source.CodeCondition, "the task "+g.tasks[i].shown+" asks for itself", "a task before it")
	case before != nil && !before[k]:
		g.r.Warn(ref.At.Line, ref.At.Column, source.CodeNotUpstream, "the task "+g.tasks[k].shown+" does not end before "+g.tasks[i].shown+" starts", "an edge from it")
	}
}

// await checks a task whose job is waited for. Where no edge leads from it, one is added.
func (g *graph) await(d *draft, i int, ref read.TaskRef, before map[int]bool) {
	k, ok := g.index[ref.Name]
	switch {
	case !ok && g.vague:
		return
	case !ok:
		g.unknownTarget(&edge{target: ref.Name, node: ref.At})
		return
	case k == i || g.tasks[k].methodKnown && g.tasks[k].task.Method != plan.MethodForkJob:
		g.r.Fault(ref.At, source.CodeInvalidValue, "the task "+g.tasks[k].shown+" submits no job", "a task of the method "+plan.MethodForkJob)
		return
	case before != nil && before[k]:
		return
	}
	t := &g.tasks[i]
	t.task.DependsOn = append(t.task.DependsOn, ref.Name)
	if i < len(d.plan.Tasks) {
		d.plan.Tasks[i].DependsOn = t.task.DependsOn
	}
	t.edges = append(t.edges, edge{target: ref.Name, known: true, data: true, node: ref.At})
	g.next[k] = append(g.next[k], arc{i, &t.edges[len(t.edges)-1]})
	if g.prev != nil {
		g.prev[i] = append(g.prev[i], k)
	}
}

// upstream returns the tasks from which edges lead to a task, or nil when there is too much to follow.
func (g *graph) upstream(i int, budget *int) map[int]bool {
	if g.prev == nil {
		g.prev = make([][]int, len(g.tasks))
		for from := range g.next {
			*budget -= 1 + len(g.next[from])
			for _, a := range g.next[from] {
				g.prev[a.to] = append(g.prev[a.to], from)
			}
		}
	}
	before := map[int]bool{}
	for queue := []int{i}; len(queue) > 0; queue = queue[1:] {
		for _, from := range g.prev[queue[0]] {
			if *budget--; *budget < 0 {
				return nil
			}
			if !before[from] {
				before[from] = true
				queue = append(queue, from)
			}
		}
	}
	return before
}

// downloads warns of dependencies whose artifacts a task does not get.
func (g *graph) downloads() {
	if !g.r.Checking || !schema.Inactive("task", "artifacts") {
		return
	}
	for i := range g.tasks {
		t := &g.tasks[i]
		for k := range t.edges {
			e := &t.edges[k]
			from, ok := g.index[e.target]
			if !ok || !e.data || !slices.Contains(t.task.Downloads, e.target) {
				continue
			}
			if options := g.tasks[from].task.Spec.Options; options != nil && options.Artifacts != nil {
				g.r.Warn(e.node.Line, e.node.Column, source.CodeInactiveField, "the task waits for "+g.tasks[from].shown+", but this version does not download its artifacts", "")
			}
		}
	}
}
