package jobspec

import (
	"github.com/formicary/formicary/libs/jobspec/plan"
	"github.com/formicary/formicary/libs/jobspec/source"
)

// limits adapts the bounds of time to the method, when all fields of a task are read. What no ant executes waits for a
// job or for people, who have bounds of their own: it has a timeout only where one is written.
func (r *taskFieldReader) limits(n *source.Node) {
	t := &r.t.task
	waits := r.t.methodKnown && !plan.NeedsAnt(t.Method) || r.flow.jobMode
	if waits && !given(n.Get("timeout")) && !given(n.Get("timeouts").Get("run")) {
		t.Timeout = 0
	}
	t.WaitBounded = waits && t.Timeout > 0
	if at := n.Get("allow_failure"); t.PendingTimeout > 0 && at != nil {
		r.decisive(at) // whether the job waits for the task before its start, see plan.Task
		r.t.settled = r.t.settled && !t.AllowDecided
	}
	if !r.t.methodKnown || r.Moment.Item {
		return
	}
	method := t.Method
	if r.flow.jobMode {
		method = plan.MethodForkJob
	}
	if waits {
		r.idle(n, "pending", "no ant takes a task of method "+method, "timeout, the time that it may wait")
	}
	switch {
	case waits:
		r.idle(n, "grace", "a task of method "+method+" has no process", "timeouts of the job that it waits for, or none")
	case plan.IsHTTP(method):
		r.idle(n, "grace", "a request is given up at once", "")
	}
}

// idle warns of a bound in timeouts that means nothing to the method.
func (r *taskFieldReader) idle(n *source.Node, field, why, expected string) {
	bounds := n.Get("timeouts")
	if bounds == nil {
		return
	}
	for _, p := range bounds.Pairs {
		if p.Key == field && given(p.Value) {
			r.Warn(p.Line, p.Column, source.CodeInactiveField, "timeouts."+field+" does nothing here: "+why, expected)
		}
	}
}

// given says that a field is written and not null.
func given(n *source.Node) bool { return n != nil && n.Kind != source.Null }
