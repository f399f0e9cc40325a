package request

import (
	"encoding/json"
	"fmt"
	"maps"
	"strings"
	"time"

	"github.com/formicary/formicary/libs/jobspec"
)

// Launch is what supervisor needs to begin a run.
type Launch struct {
	Record Record
	// Plan and Vars are JSON; empty when the run cannot be launched.
	Plan, Vars []byte
	// ErrorCode and ErrorMessage say why it cannot.
	ErrorCode, ErrorMessage string
	Skipped, Cancelled      bool
}

const codeLaunch = "ERR_JOB_LAUNCH"

// NewLaunch renders the definition for the current run of rec. What is wrong stands in the launch: trying again would
// not help.
func NewLaunch(rec Record, def *jobspec.Definition, now time.Time) Launch {
	l := Launch{Record: rec}
	if err := l.render(def, now); err != nil {
		return failedLaunch(rec, err)
	}
	return l
}

func failedLaunch(rec Record, err error) Launch {
	return Launch{Record: rec, ErrorCode: codeLaunch, ErrorMessage: short(err.Error())}
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

func (l *Launch) render(def *jobspec.Definition, now time.Time) error {
	params := jobspec.Vars{}
	if err := json.Unmarshal(l.Record.Params, &params); err != nil {
		return fmt.Errorf("read the parameters: %w", err)
	}
	// JSON knows one kind of number; the declared types come back by the check.
	params, err := def.CheckParams(params)
	if err != nil {
		return err
	}
	plan, err := def.Plan(Variables(&l.Record, params, now))
	if err != nil {
		return err
	}
	l.Skipped = plan.Skip
	if l.Plan, err = json.Marshal(plan); err != nil {
		return fmt.Errorf("encode the plan: %w", err)
	}
	if l.Vars, err = json.Marshal(plan.Vars); err != nil {
		return fmt.Errorf("encode the variables: %w", err)
	}
	return nil
}

// Variables are the built-in variables of a run and above them the parameters of its request. Those of tasks
// (TaskType, TaskRetry) are added where a task is rendered.
func Variables(rec *Record, params jobspec.Vars, now time.Time) jobspec.Vars {
	now = now.UTC()
	vars := jobspec.Vars{
		"JobID":           rec.ID.String(),
		"JobType":         rec.JobType,
		"JobRetry":        int64(rec.Run - 1),
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
