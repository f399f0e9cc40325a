package jobspec

import (
	"path/filepath"
	"slices"
	"strings"

	"github.com/formicary/formicary/libs/jobspec/condition"
	"github.com/formicary/formicary/libs/jobspec/plan"
	"github.com/formicary/formicary/libs/jobspec/read"
	"github.com/formicary/formicary/libs/jobspec/source"
	"github.com/formicary/formicary/libs/jobspec/value"
)

// flowDraft gathers what the fields of a task say together.
type flowDraft struct {
	fork     plan.Fork
	forkType *source.Node // where the job to submit is named
	params   value.Vars   // of sub_workflow
	// jobMode says that each item of the fan-out is a job.
	jobMode bool
	// itemNames are the variables of the items; nil without a fan-out. itemsKnown says that the list is.
	itemNames   []string
	itemsKnown  bool
	matrixNames [][]any
	// ask is what each item is asked; whenBlocks and allowBlocks say that blocks of the template over the item write the
	// conditions.
	ask                     itemFieldsOf
	whenBlocks, allowBlocks bool
	// resultsOf is the task whose results the fan-out is over.
	resultsOf string
	resultsAt *source.Node
	// late says that a part of the decision is known only when the task is about to start.
	late          bool
	off           bool // when does not hold
	awaitsUnknown bool
}

// decidedBy reads a field that Decide needs: it notes when the value is known only later, and asks for it in Decide.
func (r *taskFieldReader) decidedBy(read func()) {
	if r.Moment.Deciding {
		later := r.Later
		r.Later = false
		read()
		r.Later = later
		return
	}
	late, unset := r.Late, len(r.Unset)
	r.Late = false
	read()
	r.flow.late = r.flow.late || r.Late || len(r.Unset) > unset
	r.Late = r.Late || late
}

// flowField reads the fields about when, how often and with whose consent a task runs. It returns false for any other.
func (r *taskFieldReader) flowField(p *source.Pair) bool {
	n, t := p.Value, &r.t.task
	switch p.Key {
	case "when":
		r.decidedBy(func() { r.when(n) })
	case "except":
		r.decidedBy(func() {
			holds, known := r.Holds(n, "except")
			t.Skip = holds
			r.flow.late = r.flow.late || !known && !r.Moment.Deciding
		})
	case "fan_out", "matrix":
		r.decisive(n) // read together by fanOut
	case "approval_policy":
		r.decidedBy(func() { r.approval(n, p) })
	case "wait":
		r.decidedBy(func() { r.wait(n) })
	case "retry_on":
		r.retryOn(n)
	case "outputs":
		r.outputs(n)
	case "artifact_ids":
		t.ArtifactIDs = read.Texts(r.List(n))
	default:
		return r.forkField(p)
	}
	return true
}

// when reads the condition of a task. It is asked when the task is about to start.
func (r *taskFieldReader) when(n *source.Node) {
	if n.Kind == source.Null || n.Kind == source.Scalar && strings.TrimSpace(n.Text) == "" {
		if r.Program == nil {
			r.Fault(n, source.CodeMissingField, "the condition is empty", "a CEL expression, or no field when")
			return
		}
		r.t.task.When, r.flow.off = "false", !r.flow.whenBlocks // what is left of a template around it
		return
	}
	holds, known := r.Holds(n, "when")
	if n.Kind == source.Scalar && !strings.EqualFold(strings.TrimSpace(n.Text), "true") {
		r.t.task.When = strings.TrimSpace(n.Text)
		if n.Templated {
			r.t.task.When = source.QuoteName(r.Written(n))
		}
	}
	r.flow.off = r.t.task.When != "" && known && !holds && !r.flow.whenBlocks
	switch {
	case !r.Moment.Deciding || known:
	case len(r.flow.itemNames) > 0:
		r.flow.ask.when = n // each item is asked
	default:
		r.Fault(n, source.CodeUndefinedVariable, "the condition depends on what is not known when the task starts", "")
	}
}

// checkExcept refuses a condition about an item and about other tasks: an item that is a task is asked at its claim,
// which knows what the tasks have given but not how they ended. It would never hold.
func (r *taskFieldReader) checkExcept(n *source.Node) {
	if n == nil || n.Kind != source.Scalar || n.Templated || len(r.flow.itemNames) == 0 || r.flow.jobMode {
		return
	}
	c := r.Moment.Conditions.Find(n.Text, r.Items)
	if c == nil || !c.Uses.AllTasks && len(c.Uses.Tasks) == 0 {
		return
	}
	if _, used := r.itemOf(c); used || c.Uses.All {
		r.Fault(n, source.CodeCondition, "except asks for the item and for a task, and there is no moment that knows both", `an output of that task, or vars["TASK-status"]`)
	}
}

// itemOf returns the first variable of an item that a condition asks for.
func (r *taskFieldReader) itemOf(c *condition.Condition) (name string, used bool) {
	for _, name := range r.flow.itemNames {
		if _, used := c.Uses.Vars[name]; used {
			return name, true
		}
	}
	return "", false
}

// finish checks what the fields say together.
func (r *taskFieldReader) finish(n *source.Node) {
	t := &r.t.task
	if r.flow.jobMode {
		switch {
		case n.Get("method") == nil:
			t.Method = plan.MethodForkJob
		case t.Method != plan.MethodForkJob:
			r.Fault(n.Get("method"), source.CodeConflict, "fan_out.fork_job_type makes jobs of the items", plan.MethodForkJob)
		}
	}
	if dir := t.Spec.WorkingDir; t.Method == plan.MethodShell && dir != "" && !filepath.IsLocal(dir) {
		at := n.Get("working_dir")
		r.Fault(at, source.CodeInvalidValue, "the working directory "+r.Show(at)+" is outside of that of the attempt", "a path below it, such as build")
	}
	waits := r.waitsForApproval()
	switch {
	case t.Method == plan.MethodManual && t.Approval == nil:
		t.Approval = plan.DefaultApproval()
	case t.Approval != nil && t.Method != plan.MethodManual && !waits:
		r.Fault(n.Get("approval_policy"), source.CodeConflict, "approval_policy is for the method MANUAL and the action WAIT_FOR_APPROVAL", "one of them, or no policy")
	}
	r.approvalRoutes(n, waits)
	if t.Method == plan.MethodForkJob {
		r.forkOf(n)
	}
	r.checkExcept(n.Get("except"))
	ownLate := t.Method == plan.MethodExpireArtifacts && (r.Late || len(r.Unset) > 0) // no claim renders it
	t.Decide = t.FanOut != nil || t.Method == plan.MethodForkJob || t.When != "" || r.flow.late || ownLate
	r.t.flow = r.flow
	r.t.refs = r.Moment.Refs
}

// forkOf completes the job that is submitted. The variables of the task are parameters too, as they have always been
// said to be; those of sub_workflow go before them.
func (r *taskFieldReader) forkOf(n *source.Node) {
	t := &r.t.task
	fork := r.flow.fork
	if len(t.Spec.Variables)+len(r.flow.params) > 0 {
		fork.Params = value.Merged(read.Known(value.Merged(t.Spec.Variables)), r.flow.params)
	}
	if t.FanOut != nil {
		fork.Wait = true
		fork.Params = value.Merged(fork.Params, read.Known(value.Merged(r.Machine.Scope.Item)))
	}
	t.Fork = &fork
	if n.Get("fork_job_type") == nil && !r.flow.jobMode {
		r.Fault(n, source.CodeMissingField, "the field fork_job_type is missing", "the job to submit")
	}
}

// waitsForApproval reports whether an outcome of the task waits for an approval.
func (r *taskFieldReader) waitsForApproval() bool {
	return slices.ContainsFunc(r.t.task.Routes, func(route plan.Route) bool { return slices.Contains(route.Targets, plan.ActionWaitForApproval) })
}

// approvalRoutes checks the routes of approvals.
func (r *taskFieldReader) approvalRoutes(n *source.Node, waits bool) {
	t := &r.t.task
	for _, route := range t.Routes {
		ofApproval := route.Key == plan.OutcomeApproved || route.Key == plan.OutcomeRejected
		target := route.Targets[0]
		switch {
		case ofApproval && t.Method != plan.MethodManual && !waits:
			r.routeFault(n, route.Key, "the outcome "+route.Key+" is that of an approval", "the method MANUAL, or the action WAIT_FOR_APPROVAL for another outcome")
		case target == plan.ActionWaitForApproval && (ofApproval || t.Method == plan.MethodManual):
			r.routeFault(n, route.Key, "an approval leads to another one of the same task", "a task of the method MANUAL")
		case target == plan.ActionExecuting && (ofApproval || t.Method == plan.MethodManual):
			r.routeFault(n, route.Key, "an approval is nothing to poll", "another action or a task")
		}
	}
}

// routeFault reports a route at its key.
func (r *taskFieldReader) routeFault(n *source.Node, key, message, expected string) {
	r.Fault(routeNode(n, key), source.CodeInvalidRoute, message, expected)
}

// routeNode is where the route of a key is written.
func routeNode(n *source.Node, key string) *source.Node {
	at := n
	if codes := n.Get("on_exit_code"); codes != nil {
		for i := range codes.Pairs {
			if p := &codes.Pairs[i]; strings.EqualFold(p.Key, key) {
				at = &source.Node{Kind: source.Scalar, Line: p.Line, Column: p.Column, Text: key}
			}
		}
	}
	switch {
	case at == n && key == plan.OutcomeCompleted && n.Get("on_completed") != nil:
		at = n.Get("on_completed")
	case at == n && key == plan.OutcomeFailed && n.Get("on_failed") != nil:
		at = n.Get("on_failed")
	}
	return at
}

// checkOwnMethod checks the fields that the methods of the engine, and those of messages, need.
func (r *taskFieldReader) checkOwnMethod(n, at *source.Node) {
	t := &r.t.task
	switch t.Method {
	case plan.MethodAwaitForkedJob:
		if len(t.AwaitForkedTasks) == 0 && !r.flow.awaitsUnknown {
			r.Fault(at, source.CodeMissingField, "the field await_forked_tasks is missing", "names of FORK_JOB tasks")
		}
	case plan.MethodWait:
		if !given(n.Get("wait")) {
			r.Fault(at, source.CodeMissingField, "the field wait is missing", "how long it waits, such as 10m")
		}
	case plan.MethodMessaging:
		if n.Get("messaging_request_queue") == nil {
			r.Fault(at, source.CodeMissingField, "the field messaging_request_queue is missing", "the subject that the request is sent to")
		}
		if t.Spec.RequestQueue != "" && t.Spec.RequestQueue == t.Spec.ReplyQueue {
			r.Fault(n.Get("messaging_reply_queue"), source.CodeConflict, "requests and replies are on the same subject", "two subjects")
		}
	case plan.MethodFanOutJob:
		r.Fault(at, source.CodeUnsupportedMethod, "the method FAN_OUT_JOB is internal", "fan_out on a task of the method that the items have")
	}
}

// checkForeign refuses fields of other methods: they would do nothing.
func (r *taskFieldReader) checkForeign(n *source.Node) {
	if !r.t.methodKnown {
		return
	}
	for _, of := range [...]struct{ field, method string }{
		{"wait", plan.MethodWait},
		{"fork_job_type", plan.MethodForkJob},
		{"sub_workflow", plan.MethodForkJob},
		{"await_forked_tasks", plan.MethodAwaitForkedJob},
		{"messaging_request_queue", plan.MethodMessaging},
		{"messaging_reply_queue", plan.MethodMessaging},
	} {
		if v := n.Get(of.field); v != nil && v.Kind != source.Null && r.t.task.Method != of.method {
			r.Fault(v, source.CodeConflict, "the field "+of.field+" is for the method "+of.method, "that method, or no such field")
		}
	}
}
