package jobspec

import (
	"fmt"
	"slices"

	"github.com/formicary/formicary/libs/jobspec/source"
)

// maxAncestors is how many jobs may have submitted each other: one more is refused when it is submitted.
const maxAncestors = 10

// ownFork tells of a task that submits its own job: one that nothing holds back is refused, and one under a condition is
// worth a warning. At the launch it is a fork like any other, bounded by the number of ancestors.
func (g *graph) ownFork(d *draft, i int) {
	t := &g.tasks[i]
	if !g.r.Checking || t.task.Fork == nil || d.plan.JobType == "" || t.task.Fork.JobType != d.plan.JobType {
		return
	}
	at := t.flow.forkType
	if !g.heldBack(i) {
		g.r.Fault(at, source.CodeInvalidValue, "the job would submit itself", "another job, or a condition that ends the chain")
		return
	}
	g.r.Warn(at.Line, at.Column, source.CodeOwnFork, "the job submits itself", fmt.Sprintf("a condition that ends the chain: a job has at most %d ancestors", maxAncestors))
	limit := d.plan.MaxConcurrency
	keyed := d.plan.Concurrency != nil && d.plan.Concurrency.Key != ""
	if limit == 0 || limit > maxAncestors || keyed || !g.waitsFor(t) {
		return
	}
	g.r.Warn(at.Line, at.Column, source.CodeOwnFork,
		fmt.Sprintf("the job waits for runs of itself, and there may be %d at once: when %d wait for each other, none goes on", limit, limit+1),
		fmt.Sprintf("max_concurrency of more than %d, or a fork that nobody waits for", maxAncestors))
}

// heldBack says that something may keep a task from running: a condition, a template, an edge, or an empty list.
func (g *graph) heldBack(i int) bool {
	t := &g.tasks[i]
	if g.r.Shape.Guessed || t.task.When != "" || t.flow.late || t.task.Skip || t.task.FanOut != nil || len(t.task.DependsOn) > 0 {
		return true
	}
	return slices.ContainsFunc(g.next, func(arcs []arc) bool {
		return slices.ContainsFunc(arcs, func(a arc) bool { return a.to == i })
	})
}

// waitsFor says that the job waits for what a task submits.
func (g *graph) waitsFor(t *taskDraft) bool {
	return t.task.Fork.Wait || slices.ContainsFunc(g.tasks, func(other taskDraft) bool {
		return slices.Contains(other.task.AwaitForkedTasks, t.task.Name)
	})
}
