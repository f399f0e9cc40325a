package graph

import (
	"github.com/formicary/formicary/libs/jobspec/plan"
	"github.com/formicary/formicary/libs/jobspec/read"
	"github.com/formicary/formicary/libs/jobspec/source"
)

// maxAncestry bounds the edges that are followed to find out what comes before a task. Beyond it nothing is said about
// the order; a definition that large is made by a loop.
const maxAncestry = 2_000_000

// references checks the tasks that are named elsewhere than in edges: by conditions, by AWAIT_FORKED_JOB and as source of
// a fan-out.
func (g *graph) references(job *plan.Plan) {
	budget := maxAncestry
	for i := range g.nodes {
		t := &g.nodes[i]
		g.ownFork(job, i)
		if len(t.Asked)+len(t.Awaited) == 0 && t.ResultsOf == "" {
			continue
		}
		before := g.upstream(i, &budget)
		for _, ref := range t.Asked {
			g.asked(i, ref, before)
		}
		if k, ok := g.index[t.ResultsOf]; ok && g.nodes[k].Task.FanOut != nil && before != nil && !before[k] {
			g.r.Warn(t.ResultsAt.Line, t.ResultsAt.Column, source.CodeNotUpstream, "the fan-out is over results of "+g.nodes[k].Shown+", which does not end before", "an edge from it")
		}
		for _, ref := range t.Awaited {
			g.await(job, i, ref, before)
		}
	}
}

// asked checks a task that a condition names.
func (g *graph) asked(i int, ref read.TaskRef, before map[int]bool) {
	k, ok := g.index[ref.Name]
	switch {
	case !ok && g.vague:
	case !ok:
		g.unknownTarget(&Edge{Target: ref.Name, At: ref.At})
	case k == i:
		g.r.Fault(ref.At, source.CodeCondition, "the task "+g.nodes[i].Shown+" asks for itself", "a task before it")
	case before != nil && !before[k]:
		g.r.Warn(ref.At.Line, ref.At.Column, source.CodeNotUpstream, "the task "+g.nodes[k].Shown+" does not end before "+g.nodes[i].Shown+" starts", "an edge from it")
	}
}

// await checks a task whose job is waited for. Where no edge leads from it, one is added.
func (g *graph) await(job *plan.Plan, i int, ref read.TaskRef, before map[int]bool) {
	k, ok := g.index[ref.Name]
	switch {
	case !ok && g.vague:
		return
	case !ok:
		g.unknownTarget(&Edge{Target: ref.Name, At: ref.At})
		return
	case k == i || g.nodes[k].MethodKnown && g.nodes[k].Task.Method != plan.MethodForkJob:
		g.r.Fault(ref.At, source.CodeInvalidValue, "the task "+g.nodes[k].Shown+" submits no job", "a task of the method "+plan.MethodForkJob)
		return
	case before != nil && before[k]:
		return
	}
	t := &g.nodes[i]
	t.Task.DependsOn = append(t.Task.DependsOn, ref.Name)
	if i < len(job.Tasks) {
		job.Tasks[i].DependsOn = t.Task.DependsOn
	}
	t.Edges = append(t.Edges, Edge{Target: ref.Name, Known: true, Data: true, At: ref.At})
	g.next[k] = append(g.next[k], arc{i, &t.Edges[len(t.Edges)-1]})
	if g.prev != nil {
		g.prev[i] = append(g.prev[i], k)
	}
}

// upstream returns the tasks from which edges lead to a task, or nil when there is too much to follow.
func (g *graph) upstream(i int, budget *int) map[int]bool {
	if g.prev == nil {
		g.prev = make([][]int, len(g.nodes))
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
