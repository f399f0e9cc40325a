package jobspec

import (
	"fmt"
	"regexp"
	"strings"

	"github.com/formicary/formicary/libs/jobspec/graph"
	"github.com/formicary/formicary/libs/jobspec/plan"
	"github.com/formicary/formicary/libs/jobspec/read"
	"github.com/formicary/formicary/libs/jobspec/schema"
	"github.com/formicary/formicary/libs/jobspec/source"
	"github.com/formicary/formicary/libs/jobspec/value"
)

// maxSubject bounds a subject of NATS.
const maxSubject = 255

// forkField reads the fields of FORK_JOB, AWAIT_FORKED_JOB and MESSAGING. It returns false for any other.
func (r *taskFieldReader) forkField(p *source.Pair) bool {
	n, t := p.Value, &r.t.task
	switch p.Key {
	case "fork_job_type":
		r.decidedBy(func() { r.forkType(n) })
	case "fork_job_version", "job_version":
		r.decidedBy(func() { r.forkVersion(p) })
	case "sub_workflow":
		r.decidedBy(func() { r.subWorkflow(n, p) })
	case "cascade_cancel":
		r.flow.fork.CascadeCancel = r.Flag(n)
	case "await_forked_tasks":
		r.decisive(n)
		r.awaited(n)
	case "messaging_request_queue":
		t.Spec.RequestQueue = r.subject(n)
	case "messaging_reply_queue":
		t.Spec.ReplyQueue = r.subject(n)
	default:
		return false
	}
	return true
}

// forkType reads the job to submit. It may be known only when the task starts.
func (r *taskFieldReader) forkType(n *source.Node) {
	text, known := r.Text(n)
	if !known {
		return
	}
	if !read.ValidTaskName(text) {
		r.Fault(n, source.CodeInvalidName, r.Show(n)+" cannot name a job", read.ExpectedName)
		return
	}
	if first := r.flow.forkType; first != nil && r.flow.fork.JobType != text {
		r.Fault(n, source.CodeConflict, "two jobs to submit are given", "one fork_job_type")
		return
	}
	r.flow.forkType, r.flow.fork.JobType = n, text
}

// forkVersion reads a number, a version or a range of versions. What exists, only the submit can tell.
func (r *taskFieldReader) forkVersion(p *source.Pair) {
	text, known := r.Text(p.Value)
	if !known || text == "" {
		return
	}
	if len(text) > value.MaxName || !validRange(text) {
		r.Fault(p.Value, source.CodeInvalidValue, r.Show(p.Value)+" is no version", "a number, a version such as 1.2.3, or a range such as ^1.2, ~1.2 or >=1.2 <2")
		return
	}
	if before := r.flow.fork.Version; before != "" && before != text {
		r.Add(p.Line, p.Column, source.CodeConflict, "two versions of the job to submit are given", "fork_job_version alone")
		return
	}
	r.flow.fork.Version = text
}

// validRange checks the characters of a version or range, and that it holds a number or a wildcard.
func validRange(text string) bool {
	return len(text) > 0 && versionRange.MatchString(text)
}

var versionRange = regexp.MustCompile(`^[\s,|]*((\^|~>?|=|!=|>=?|<=?|=>|=<)?\s*v?([0-9]+|[xX*])(\.([0-9]+|[xX*]))*(-[0-9A-Za-z.-]+)?(\+[0-9A-Za-z.-]+)?[\s,|-]*)+$`)

// subWorkflow reads what goes into the child and what comes out of it.
func (r *taskFieldReader) subWorkflow(n *source.Node, at *source.Pair) {
	fork := &r.flow.fork
	r.Mapping(n, func(p *source.Pair) {
		switch p.Key {
		case "input_params":
			r.flow.params = read.Known(r.Variables(p.Value))
		case "output_variables":
			fork.Outputs = r.outputNames(p.Value)
		case "wait_for_completion":
			fork.Wait = r.Flag(p.Value)
		case "cascade_cancel":
			fork.CascadeCancel = r.Flag(p.Value)
		default:
			r.Unknown(p, schema.SubWorkflow)
		}
	}, at)
}

// outputNames reads a mapping of the child's outputs to their names here, or a list of {name, value} or names.
func (r *taskFieldReader) outputNames(n *source.Node) []plan.OutputName {
	var out []plan.OutputName
	add := func(at *source.Node, name, as string) {
		if as == "" {
			as = name
		}
		if !value.ValidName(name) || !value.ValidName(as) {
			r.Fault(at, source.CodeInvalidName, "the name of an output cannot be used", read.ExpectedVariable)
			return
		}
		out = append(out, plan.OutputName{Name: name, As: as})
	}
	switch n.Kind {
	case source.Null:
	case source.Map:
		for i := range n.Pairs {
			p := &n.Pairs[i]
			if as, ok := r.Text(p.Value); ok {
				add(p.Value, p.Key, as)
			}
		}
	case source.List:
		for _, item := range n.Items {
			if item.Kind == source.Map {
				name, as := r.namedOutput(item)
				if name != "" {
					add(item, name, as)
				}
			} else if name, ok := r.Text(item); ok {
				add(item, name, "")
			}
		}
	case source.Scalar:
		r.Fault(n, source.CodeInvalidType, "output_variables is "+n.Kind.String(), "a mapping of the child's outputs to names here, or a list of name and value")
	}
	return out
}

func (r *taskFieldReader) namedOutput(item *source.Node) (name, as string) {
	nameKnown, asKnown := true, true
	for i := range item.Pairs {
		switch p := &item.Pairs[i]; p.Key {
		case "name":
			name, nameKnown = r.Text(p.Value)
		case "value":
			as, asKnown = r.Text(p.Value)
		default:
			r.UnknownField(p, []string{"name", "value"})
		}
	}
	if item.Get("name") == nil {
		r.Fault(item, source.CodeMissingField, "the field name is missing", "the name of an output of the child")
	}
	if !nameKnown || !asKnown {
		return "", ""
	}
	return name, as
}

// awaited reads the FORK_JOB tasks whose jobs are waited for. The graph checks them. As with edges, those that a loop
// of the template writes are not counted.
func (r *taskFieldReader) awaited(n *source.Node) {
	seen := map[string]bool{}
	written := 0
	items := r.PlannedList(n)
	for _, it := range items {
		if !it.Known {
			r.UnknownNow(it.Node, false)
			r.flow.awaitsUnknown = true
			continue
		}
		for name := range strings.SplitSeq(it.Text, ",") {
			name = strings.TrimSpace(name)
			if name == "" || seen[name] {
				continue
			}
			seen[name] = true
			if !r.byLoop(n, it, items) {
				written++
			}
			if written > graph.MaxIncoming || len(seen) > maxTargets {
				r.Fault(n, source.CodeTooManyEdges, "there are too many names", fmt.Sprintf("at most %d that are not made by a loop", graph.MaxIncoming))
				r.t.awaits = nil
				return
			}
			r.t.task.AwaitForkedTasks = append(r.t.task.AwaitForkedTasks, name)
			r.t.awaits = append(r.t.awaits, read.TaskRef{Name: name, At: it.Node})
		}
	}
}

// subject reads a subject of NATS that tasks may use.
func (r *taskFieldReader) subject(n *source.Node) string {
	text, known := r.Text(n)
	if known && !validSubject(text) {
		r.Fault(n, source.CodeInvalidValue, r.Show(n)+" is no subject for tasks", "words with points between them, without spaces, * and >, not beginning with formicary., $ or _INBOX")
		return ""
	}
	return text
}

// validSubject keeps tasks away from the subjects of the system itself.
func validSubject(text string) bool {
	if text == "" || len(text) > maxSubject {
		return false
	}
	lower := strings.ToLower(text)
	if strings.HasPrefix(lower, "formicary.") || lower == "formicary" || text[0] == '$' || strings.HasPrefix(text, "_INBOX") {
		return false
	}
	for word := range strings.SplitSeq(text, ".") {
		if word == "" || strings.ContainsFunc(word, func(c rune) bool { return c <= ' ' || c == 0x7F || c == '*' || c == '>' }) {
			return false
		}
	}
	return true
}
