package graph

import (
	"fmt"
	"slices"

	"github.com/formicary/formicary/libs/jobspec/plan"
	"github.com/formicary/formicary/libs/jobspec/source"
)

// maxAncestors is how many jobs may have submitted each other: one more is refused when it is submitted.
const maxAncestors = 10

// ownFork tells of a task that submits its own job: one that nothing holds back is refused, and one under a condition is
// worth a warning. At the launch it is a fork like any other, bounded by the number of ancestors.
func (g *graph) ownFork(job *plan.Plan, i int) {
	t := &g.nodes[i]
	if !g.r.Checking || t.Task.Fork == nil || job.JobType == "" || t.Task.Fork.JobType != job.JobType {
		return
	}
	at := t.ForkAt
	if !g.heldBack(i) {
		g.r.Fault(at, source.CodeInvalidValue, "the job would submit itself", "another job, or a condition that ends the chain")
		return
	}
	g.r.Warn(at.Line, at.Column, source.CodeOwnFork, "the job submits itself", fmt.Sprintf("a condition that ends the chain: a job has at most %d ancestors", maxAncestors))
	limit := job.MaxConcurrency
	keyed := job.Concurrency != nil && job.Concurrency.Key != ""
	if limit == 0 || limit > maxAncestors || keyed || !g.waitsFor(t) {
		return
	}
	g.r.Warn(at.Line, at.Column, source.CodeOwnFork,
		fmt.Sprintf("the job waits for runs of itself, and there may be %d at once: when %d wait for each other, none goes on", limit, limit+1),
		fmt.Sprintf("max_concurrency of more than %d, or a fork that nobody waits for", maxAncestors))
}

// heldBack says that something may keep a task from running: a condition, a template, an edge, or an empty list.
func (g *graph) heldBack(i int) bool {
	t := &g.nodes[i]
	if g.r.Shape.Guessed || t.Task.When != "" || t.Late || t.Task.Skip || t.Task.FanOut != nil || len(t.Task.DependsOn) > 0 {
		return true
	}
	return slices.ContainsFunc(g.next, func(arcs []arc) bool {
		return slices.ContainsFunc(arcs, func(a arc) bool { return a.to == i })
	})
}

// waitsFor says that the job waits for what a task submits.
func (g *graph) waitsFor(t *Node) bool {
	return t.Task.Fork.Wait || slices.ContainsFunc(g.nodes, func(other Node) bool {
		return slices.Contains(other.Task.AwaitForkedTasks, t.Task.Name)
	})
}
