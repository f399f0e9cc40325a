package request

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"strings"
	"time"

	"github.com/formicary/formicary/libs/errs"
	"github.com/formicary/formicary/libs/jobspec"
	"github.com/formicary/formicary/libs/jobspec/plan"
	"github.com/formicary/formicary/libs/jobspec/source"
	"github.com/formicary/formicary/libs/jobspec/template"
	"github.com/formicary/formicary/libs/jobspec/value"
	"github.com/formicary/formicary/services/job-manager/internal/config"
	"github.com/formicary/formicary/services/job-manager/internal/errorcode"
)

// Launch is what supervisor needs to begin a run.
type Launch struct {
	Record Record
	// Plan and Vars are JSON; empty when the run cannot be launched.
	Plan, Vars []byte
	// ErrorCode and ErrorMessage say why it cannot.
	ErrorCode, ErrorMessage string
	Skipped, Cancelled      bool
	// ErrorRules that apply to the job, as JSON; empty for none.
	ErrorRules []byte
	// TotalTimeout of the plan; 0 means no bound.
	TotalTimeout time.Duration
	// Audience hears of the job: that of the plan, or, where there is none, what the definition says without templates.
	Audience plan.Audience
	// Fault says that the run could not be rendered in this call, and Reason why; only Record is set beside them.
	Fault  Fault
	Reason string
}

// Fault says what is to be done about a run that could not be rendered.
type Fault int

// The faults.
const (
	NoFault Fault = iota
	// NotReached: the time or size of the call was used up.
	NotReached
	// Slow: it takes longer than a run may take beside others.
	Slow
	// Away: something that it asks for is away.
	Away
	// Broken: it fails by its own fault.
	Broken
)

func faulty(rec Record, f Fault, reason string) Launch {
	return Launch{Record: rec, Fault: f, Reason: reason}
}

// Memorable says that the launch holds what has to be known of the request later.
func (l *Launch) Memorable() bool {
	return l.TotalTimeout > 0 || !l.Audience.Empty() || l.Record.Audience != nil && l.Plan != nil
}

// TotalDeadline is when the total timeout passes: it counts from the submission, or the last restart by a person.
func (l *Launch) TotalDeadline() time.Time {
	since := l.Record.CreatedAt
	if l.Record.RestartedAt != nil {
		since = *l.Record.RestartedAt
	}
	return since.Add(l.TotalTimeout)
}

// NewLaunch renders the definition for the current run of rec. What is wrong with it stands in the launch: trying again
// would not help. An error is one of the host that is not for people.
func NewLaunch(rec Record, def *jobspec.Definition, view *config.View, host template.Host, now time.Time) (Launch, error) {
	l := Launch{Record: rec}
	err := l.render(def, view, host, now)
	if err == nil {
		return l, nil
	}
	if _, ok := errors.AsType[source.Problems](err); ok || forGood(err) {
		l = failedLaunch(rec, err)
		l.Audience = def.Audience
		return l, nil
	}
	return Launch{}, err
}

// forGood says that an error is for the caller, and that trying again would not help.
func forGood(err error) bool {
	switch errs.CodeOf(err) {
	case errs.CodeUnknown, errs.CodeUnavailable, errs.CodeAborted, errs.CodeExhausted:
		return false
	default:
		return true
	}
}

func failedLaunch(rec Record, err error) Launch {
	return Launch{Record: rec, ErrorCode: errorcode.JobLaunch, ErrorMessage: short(message(err))}
}

// message is the text of an error with all its violations.
func message(err error) string {
	e, ok := errors.AsType[*errs.Error](err)
	if !ok || len(e.Violations) == 0 {
		return err.Error()
	}
	faults := make([]string, len(e.Violations))
	for i, v := range e.Violations {
		faults[i] = strings.TrimPrefix(v.Field+": ", ": ") + v.Description
	}
	return err.Error() + ": " + strings.Join(faults, "; ")
}

// maxMessage bounds the message of a failed launch, in bytes: many of them travel in one event.
const maxMessage = 2 << 10

func short(message string) string {
	if len(message) <= maxMessage {
		return message
	}
	return strings.ToValidUTF8(message[:maxMessage], "") + "…"
}

// Unwanted says that the run is to be recorded as CANCELLED instead of being begun.
func (r *Record) Unwanted() bool {
	return r.State == Cancelled || r.CancelRequestedAt != nil && !r.State.Terminal()
}

func (l *Launch) render(def *jobspec.Definition, view *config.View, host template.Host, now time.Time) error {
	params := value.Vars{}
	if err := json.Unmarshal(l.Record.Params, &params); err != nil {
		return fmt.Errorf("read the parameters: %w", err)
	}
	params, err := def.RecheckParams(params, def)
	if err != nil {
		return err
	}
	rendered, err := def.PlanWith(host, seen(def, view, Variables(&l.Record, params, now)))
	if err != nil {
		return err
	}
	l.Skipped = rendered.Skip
	l.TotalTimeout, l.Audience = rendered.TotalTimeout, plan.Audience{Notify: rendered.Notify, Webhook: rendered.Webhook}
	if l.Plan, err = json.Marshal(rendered); err != nil {
		return fmt.Errorf("encode the plan: %w", err)
	}
	if l.Vars, err = json.Marshal(rendered.Vars); err != nil {
		return fmt.Errorf("encode the variables: %w", err)
	}
	return nil
}

// Variables are the built-in variables of a run and above them the parameters of its request. Those of tasks
// (TaskType, TaskRetry) are added where a task is rendered.
func Variables(rec *Record, params value.Vars, now time.Time) value.Vars {
	now = now.UTC()
	vars := value.Vars{
		"JobID":           rec.ID.String(),
		"JobType":         rec.JobType,
		"JobRetry":        int64(rec.Retries),
		"JobElapsedSecs":  int64(0),
		"UserID":          rec.CreatedBy,
		"OrganizationID":  rec.OrgID,
		"WorkflowVersion": int64(rec.DefinitionVersion),
		"DateYear":        int64(now.Year()),
		"DateMonth":       int64(now.Month()),
		"DateDay":         int64(now.Day()),
		"YearDay":         int64(now.YearDay()),
		"FullDate":        now.Format(time.DateOnly),
		"EpochSecs":       now.Unix(),
	}
	maps.Copy(vars, params)
	return vars
}
