package jobspec

import (
	"fmt"

	"github.com/formicary/formicary/libs/jobspec/source"
)

// MaxRestarts is how often RESTART_TASK starts a task again, and RESTART_JOB a job, where no retry is written, and how
// often a job pauses itself by PAUSE_JOB in any case.
const MaxRestarts = 100

// Restarts is how many times something that has written a retry, or none, may be started again by an action.
func Restarts(retry int, given bool) int {
	if given || retry > 0 {
		return retry
	}
	return MaxRestarts
}

// restarts warns of actions that are bounded by the engine only.
func (r *reader) restarts(root, n *source.Node, t *Task) {
	for _, route := range t.Routes {
		switch target := route.Targets[0]; {
		case target == ActionRestartTask && n.Get("retry") == nil:
			r.unbounded(n, route.Key, "the task", target, "retry of the task")
		case target == ActionRestartJob && root.Get("retry") == nil:
			r.unbounded(n, route.Key, "the job", target, "retry of the job")
		}
	}
}

func (r *reader) unbounded(n *source.Node, key, what, action, expected string) {
	at := routeNode(n, key)
	r.warn(at.Line, at.Column, source.CodeUnboundedRestart, fmt.Sprintf("%s starts %s again at most %d times: no retry is written", action, what, MaxRestarts), expected)
}
