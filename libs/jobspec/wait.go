package jobspec

import (
	"fmt"
	"time"

	"github.com/formicary/formicary/libs/jobspec/plan"
	"github.com/formicary/formicary/libs/jobspec/read"
	"github.com/formicary/formicary/libs/jobspec/source"
	"github.com/formicary/formicary/libs/jobspec/value"
)

// wait reads how long a task of the method WAIT waits.
func (r *taskFieldReader) wait(n *source.Node) {
	d, known := r.timeToWait(n)
	r.t.task.Wait = d
	switch {
	case known || r.Checking:
	case !r.Moment.Deciding:
		r.flow.late = true
	case len(r.flow.itemNames) > 0:
		r.flow.ask.wait = n // each item has its own
	default:
		r.Fault(n, source.CodeUndefinedVariable, "the time to wait is not known when the task starts", "")
	}
}

// timeToWait reads a time; known is false when only a later moment can tell.
func (r *reader) timeToWait(n *source.Node) (d time.Duration, known bool) {
	s, ok := r.Scalar(n)
	switch {
	case !ok:
		return 0, true
	case !s.Known:
		return 0, false
	}
	d, err := read.ParseDuration(value.Text(s.Value))
	if err != nil || d <= 0 {
		r.Fault(n, source.CodeInvalidValue, r.ShowGiven(n)+" is no time to wait", "more than 0 and up to 365 days, such as 90s, 10m or 1h30m")
	}
	return d, true
}

// checkWait refuses a wait that the bounds of the task or of the job end before it is over.
func (r *reader) checkWait(p *plan.Plan, root, n *source.Node, t *plan.Task) {
	at := n.Get("wait")
	if at == nil || t.Wait == 0 {
		return
	}
	for _, bound := range [...]struct {
		of   string
		most time.Duration
		in   *source.Node
	}{{"task", t.Timeout, n}, {"task", t.TotalTimeout, n}, {"job", p.Timeout, root}, {"job", p.TotalTimeout, root}} {
		known := !r.Checking || !templated(bound.in.Get("timeout")) && !templated(bound.in.Get("timeouts"))
		if known && bound.most > 0 && t.Wait >= bound.most {
			r.Fault(at, source.CodeConflict, fmt.Sprintf("the task waits %s, and the timeout of the %s is %s", t.Wait, bound.of, bound.most), "a shorter wait, or a longer timeout of the "+bound.of)
			return
		}
	}
}

// templated says that a value, or one of a mapping, is a template.
func templated(n *source.Node) bool {
	if n == nil {
		return false
	}
	for i := range n.Pairs {
		if n.Pairs[i].Value.Templated {
			return true
		}
	}
	return n.Templated
}
