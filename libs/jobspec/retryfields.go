package jobspec

import (
	"fmt"
	"strings"

	"github.com/formicary/formicary/libs/jobspec/plan"
	"github.com/formicary/formicary/libs/jobspec/read"
	"github.com/formicary/formicary/libs/jobspec/schema"
	"github.com/formicary/formicary/libs/jobspec/source"
)

// maxCodes bounds the keys of retry_on.
const maxCodes = 200

// retryOn reads which failures are tried again. What is not named is not tried again, but lost attempts: these have
// DefaultInfra of their own when nothing is said. In the list form the names share retry, in the mapping a number is a
// budget of its own and true shares retry.
func (r *taskFieldReader) retryOn(n *source.Node) {
	on := &plan.RetryOn{Infra: plan.Budget{Own: plan.DefaultInfra}}
	switch n.Kind {
	case source.Null:
		return
	case source.Map:
		for i := range n.Pairs {
			r.retryBudget(on, &n.Pairs[i])
		}
	default:
		for _, it := range r.PlannedList(n) {
			r.retryWord(on, it)
		}
	}
	if len(on.Codes) > maxCodes {
		r.Fault(n, source.CodeInvalidValue, "there are too many codes", fmt.Sprintf("at most %d", maxCodes))
		return
	}
	r.t.task.RetryOn = on
}

func (r *taskFieldReader) retryWord(on *plan.RetryOn, it read.Item) {
	if !it.Known {
		r.UnknownNow(it.Node, false)
		return
	}
	switch strings.ToLower(strings.TrimSpace(it.Text)) {
	case plan.ClassUser, "*":
		on.Any = true
	case plan.ClassTimeout:
		on.Timeout.Shared = true
	case plan.ClassOOM:
		on.OOM.Shared = true
	case plan.ClassInfra: // its own budget, as without being named
	default:
		r.retryCode(on, it)
	}
}

func (r *taskFieldReader) retryCode(on *plan.RetryOn, it read.Item) {
	code := strings.TrimSpace(it.Text)
	if k, err := plan.ParseKey(code); err != nil || k.State != "" || k.Any {
		r.Fault(it.Node, source.CodeInvalidValue, r.Show(it.Node)+" is no failure", "an exit code, a range such as 64-78 or 5xx, user, timeout, oom or infra")
		return
	}
	on.Codes = append(on.Codes, code)
}

func (r *taskFieldReader) retryBudget(on *plan.RetryOn, p *source.Pair) {
	switch p.Key {
	case "codes":
		for _, it := range r.PlannedList(p.Value) {
			if it.Known && strings.TrimSpace(it.Text) == "*" {
				on.Any = true
				continue
			}
			if it.Known {
				r.retryCode(on, it)
			} else {
				r.UnknownNow(it.Node, false)
			}
		}
	case plan.ClassUser:
		on.Any = r.Flag(p.Value)
	case plan.ClassTimeout:
		on.Timeout = r.budget(p.Value)
	case plan.ClassOOM:
		on.OOM = r.budget(p.Value)
	case plan.ClassInfra:
		on.Infra = r.budget(p.Value)
	default:
		r.Unknown(p, schema.RetryOn)
	}
}

// budget reads a number of its own, or whether retry is shared.
func (r *taskFieldReader) budget(n *source.Node) plan.Budget {
	text, ok := r.Planned(n)
	switch {
	case !ok:
	case strings.EqualFold(text, "true"):
		return plan.Budget{Shared: true}
	case strings.EqualFold(text, "false"), text == "":
	default:
		own, _ := r.Integer(n, 0, schema.MaxRetry)
		return plan.Budget{Own: own}
	}
	return plan.Budget{}
}
