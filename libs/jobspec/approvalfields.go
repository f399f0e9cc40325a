package jobspec

import (
	"slices"
	"strings"
	"time"

	"github.com/formicary/formicary/libs/jobspec/plan"
	"github.com/formicary/formicary/libs/jobspec/read"
	"github.com/formicary/formicary/libs/jobspec/schema"
	"github.com/formicary/formicary/libs/jobspec/source"
	"github.com/formicary/formicary/libs/jobspec/value"
)

// Bounds of an approval policy.
const (
	maxApprovals = 1_000
	maxVoters    = 1_000
)

func timeoutActions() []string { return []string{plan.AutoApprove, plan.AutoReject, plan.Escalate} }

// approval reads a policy. Who may vote can depend on outputs of earlier tasks.
func (r *taskFieldReader) approval(n *source.Node, at *source.Pair) {
	a := plan.DefaultApproval()
	emptied := false // a value, or a loop of the template, left nobody where the definition names somebody
	voters := func(v *source.Node) []string {
		names, known := r.names(v)
		writtenSo := r.Program == nil || v.Kind == source.Scalar && !v.Templated
		emptied = emptied || known && len(names) == 0 && !writtenSo && !r.Checking
		return names
	}
	r.Mapping(n, func(p *source.Pair) {
		v := p.Value
		switch p.Key {
		case "min_approvals":
			if least, ok := r.lateInteger(v, 1, maxApprovals); ok {
				a.MinApprovals = least
			}
		case "allowed_users":
			a.AllowedUsers = voters(v)
		case "allowed_roles":
			a.AllowedRoles = voters(v)
		case "require_unanimous":
			a.RequireUnanimous = r.Flag(v)
		case "allow_self_approval":
			a.AllowSelfApproval = r.Flag(v)
		case "sla_deadline":
			a.SLA = r.lateDuration(v)
		case "timeout_action":
			a.TimeoutAction = r.timeoutAction(v)
		case "escalation_recipients":
			a.EscalationRecipients, _ = r.names(v)
		case "escalation_message":
			a.EscalationMessage = r.LongText(v, "escalation_message", read.MaxDescription)
		default:
			r.Unknown(p, schema.Approval)
		}
	}, at)
	if users := len(a.AllowedUsers); users > 0 && len(a.AllowedRoles) == 0 && n.Get("allowed_roles") == nil && a.MinApprovals > users {
		r.Fault(n.Get("min_approvals"), source.CodeInvalidValue, "more approvals are needed than there are allowed_users", "at most "+value.Text(users))
	}
	if emptied && len(a.AllowedUsers)+len(a.AllowedRoles) == 0 {
		// Without names everyone may vote: an empty value must not open what the definition closes.
		r.Fault(n, source.CodeInvalidValue, "the templates name nobody who may vote", "a user or a role, or neither field for everyone")
	}
	r.t.task.Approval = a
}

func (r *taskFieldReader) timeoutAction(n *source.Node) string {
	text, known := r.Text(n)
	text = strings.ToUpper(strings.TrimSpace(text))
	if known && text != "" && !slices.Contains(timeoutActions(), text) {
		r.Fault(n, source.CodeInvalidValue, r.Show(n)+" is no action", "one of "+strings.Join(timeoutActions(), ", "))
	}
	if !known || !slices.Contains(timeoutActions(), text) {
		return plan.Escalate
	}
	return text
}

// names reads texts, each of which can hold several with commas between them. known is false when some are known only
// later.
func (r *taskFieldReader) names(n *source.Node) (out []string, known bool) {
	known = true
	seen := map[string]bool{}
	for _, it := range r.List(n) {
		if !it.Known {
			known = false
			continue
		}
		for name := range strings.SplitSeq(it.Text, ",") {
			name = strings.TrimSpace(name)
			if name == "" || seen[name] {
				continue
			}
			if len(out) == maxVoters {
				r.Fault(n, source.CodeInvalidValue, "there are too many names", "at most "+value.Text(maxVoters))
				return nil, false
			}
			seen[name] = true
			out = append(out, name)
		}
	}
	return out, known
}

// lateInteger and lateDuration are integer and duration for what may be known only when the task starts.
func (r *taskFieldReader) lateInteger(n *source.Node, low, high int) (val int, known bool) {
	if s, ok := r.Scalar(n); !ok || !s.Known {
		return low, false
	}
	return r.Integer(n, low, high)
}

func (r *taskFieldReader) lateDuration(n *source.Node) time.Duration {
	if s, ok := r.Scalar(n); !ok || !s.Known {
		return 0
	}
	return r.Duration(n)
}
