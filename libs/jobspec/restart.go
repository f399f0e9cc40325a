package jobspec

import (
	"fmt"

	"github.com/formicary/formicary/libs/jobspec/plan"
	"github.com/formicary/formicary/libs/jobspec/source"
)

// restarts warns of actions that are bounded by the engine only.
func (r *reader) restarts(root, n *source.Node, t *plan.Task) {
	for _, route := range t.Routes {
		switch target := route.Targets[0]; {
		case target == plan.ActionRestartTask && n.Get("retry") == nil:
			r.unbounded(n, route.Key, "the task", target, "retry of the task")
		case target == plan.ActionRestartJob && root.Get("retry") == nil:
			r.unbounded(n, route.Key, "the job", target, "retry of the job")
		}
	}
}

func (r *reader) unbounded(n *source.Node, key, what, action, expected string) {
	at := routeNode(n, key)
	r.Warn(at.Line, at.Column, source.CodeUnboundedRestart, fmt.Sprintf("%s starts %s again at most %d times: no retry is written", action, what, plan.MaxRestarts), expected)
}
