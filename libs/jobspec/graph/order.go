package graph

import (
	"fmt"
	"strings"

	"github.com/formicary/formicary/libs/jobspec/plan"
	"github.com/formicary/formicary/libs/jobspec/source"
)

// Bounds of what is said about cycles.
const (
	maxCycles      = 20
	maxShownOfLoop = 20
)

// cycles walks the graph depth first; an edge to a task on the way closes a cycle.
func (g *graph) cycles() bool {
	const (
		fresh = iota
		onWay
		done
	)
	state := make([]uint8, len(g.nodes))
	turn := make([]int, len(g.nodes)) // the next edge of each task
	found := 0
	var way []int
	for start := range g.nodes {
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
		b.WriteString(g.nodes[i].Task.Name + " → ")
	}
	b.WriteString(g.nodes[closing.to].Task.Name)
	g.r.Fault(closing.at.At, source.CodeCycle, "the tasks wait for each other: "+b.String(), "no way back; loops are retry, EXECUTING and RESTART_JOB")
}

// cleanup finds tasks that can never start: an always_run task that nothing leads to begins when all tasks without
// always_run have ended, so none of those can wait for it.
func (g *graph) cleanup() {
	incoming := make([]int, len(g.nodes))
	for i := range g.next {
		for _, a := range g.next[i] {
			incoming[a.to]++
		}
	}
	waits := make([]bool, len(g.nodes))
	var queue []int
	for i := range g.nodes {
		if g.nodes[i].Task.AlwaysRun && incoming[i] == 0 && !g.nodes[i].open() {
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
			if t := &g.nodes[a.to]; !t.Task.AlwaysRun {
				g.r.Fault(a.at.At, source.CodeUnreachable, "the task "+t.Shown+" can never start: it waits for "+g.nodes[i].Shown+", which always_run puts after all others", "always_run on both, or an edge that leads to the first")
			}
		}
	}
}

// open says that an edge of the task is not known yet.
func (t *Node) open() bool {
	for i := range t.Edges {
		if !t.Edges[i].Known {
			return true
		}
	}
	return false
}

// Starts reports for each task whether it begins at once, before any other has ended.
func Starts(tasks []plan.Task) []bool {
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
