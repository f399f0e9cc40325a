package definition

import (
	"errors"
	"fmt"
	"maps"

	"github.com/formicary/formicary/libs/exact"
	"github.com/formicary/formicary/libs/jobspec"
	"github.com/formicary/formicary/libs/jobspec/condition"
	"github.com/formicary/formicary/libs/jobspec/plan"
	"github.com/formicary/formicary/libs/jobspec/template"
	"github.com/formicary/formicary/libs/jobspec/value"
	"github.com/formicary/formicary/services/supervisor/internal/execution"
)

// ErrFault says that a task can never be rendered, which is its own fault: what it is made of cannot be read, or
// rendering it panics.
var ErrFault = errors.New("it cannot be rendered")

// Question is what is asked about a task that is about to start. Its Vars are its own: an answer adds to them.
type Question struct {
	Task string
	// Item is set for an item of a fan-out in job mode; Task is the name of its group then.
	Item *execution.Item
	Vars value.Vars
	// Tasks that have ended, by name.
	Tasks map[string]condition.TaskFact
	// Lookups, if set, notes what is looked at.
	Lookups *template.Lookups
}

// Decide answers. A task that cannot be decided is decided to fail, whatever the reason is.
func Decide(def *jobspec.Definition, q Question) *plan.Decision {
	q.setJob()
	d, err := safely(func() (*plan.Decision, error) {
		facts := condition.Facts{Vars: q.Vars, Tasks: q.Tasks, Lookups: q.Lookups}
		if q.Item != nil {
			return def.DecideItem(q.Task, q.Item.Item, q.Item.Index, q.Vars, facts)
		}
		return def.Decide(q.Task, q.Vars, facts)
	})
	if err != nil {
		return &plan.Decision{Fault: err.Error()}
	}
	return d
}

// setJob adds what a rendering knows of the job, which is no variable of the process.
func (q *Question) setJob() {
	if state, ok := q.Vars["JobState"].(string); ok {
		template.SetJob(q.Vars, state)
	}
}

// Task renders a task, or an item of it, with what is known now.
func Task(def *jobspec.Definition, q Question) (*plan.Task, error) {
	q.setJob()
	return safely(func() (*plan.Task, error) {
		if q.Item != nil {
			return def.ItemWith(q.Task, q.Item.Item, q.Item.Index, q.Vars, q.Lookups)
		}
		return def.TaskWith(q.Task, q.Vars, q.Lookups)
	})
}

// safely turns a panic of what renders foreign text into an error.
func safely[T any](f func() (*T, error)) (v *T, err error) {
	defer func() {
		if p := recover(); p != nil {
			v, err = nil, fmt.Errorf("%w: %v", ErrFault, p)
		}
	}()
	v, err = f()
	if err == nil && v == nil {
		err = ErrFault
	}
	return v, err
}

// Variables are those of the run, what only its state knows and, above all, the outputs of earlier tasks.
func Variables(c *execution.Context, task string, retries int) (value.Vars, error) {
	vars, err := Decode(c.Vars)
	if err != nil {
		return nil, fmt.Errorf("%w: read variables of execution %s: %w", ErrFault, c.ID, err)
	}
	vars["JobRetry"] = int64(c.Retries)
	vars["TaskType"], vars["TaskRetry"] = task, int64(retries)
	began := c.CreatedAt
	if c.StartedAt != nil {
		began = *c.StartedAt
	}
	vars["JobElapsedSecs"] = int64(c.Now.Sub(began).Seconds())
	for k, v := range c.Outputs {
		vars[k] = v
	}
	if c.Outlook != "" {
		vars["JobState"] = c.Outlook
	}
	return vars, nil
}

// ItemVariables are what an item adds to the variables of its run; of a matrix each dimension is one, too.
func ItemVariables(f *plan.FanOut, item *execution.Item) value.Vars {
	vars := value.Vars{template.VarFanOutIndex: int64(item.Index)}
	if dims, ok := item.Value.(map[string]any); ok && f.Matrix {
		maps.Copy(vars, dims)
	}
	vars[f.ItemVar] = item.Value
	return vars
}

// Decode reads a JSON object. Numbers keep their digits.
func Decode(raw []byte) (value.Vars, error) {
	if len(raw) == 0 {
		return value.Vars{}, nil
	}
	vars, err := exact.DecodeObject(raw)
	if vars == nil {
		vars = map[string]any{}
	}
	return vars, err
}

// DecodeValue reads any JSON value. Numbers keep their digits.
func DecodeValue(raw []byte) (any, error) {
	if len(raw) == 0 {
		return nil, nil
	}
	return exact.Decode(raw)
}
