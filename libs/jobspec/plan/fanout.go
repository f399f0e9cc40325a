package plan

import (
	"strconv"
	"time"

	"github.com/formicary/formicary/libs/jobspec/value"
	"github.com/formicary/formicary/libs/placement"
)

// FanOut makes one task run once for each of a list of items.
type FanOut struct {
	// Source names the variable that holds the list (a list, or JSON text of one); empty when Items are written down.
	Source string `json:"source,omitempty"`
	// Items as far as the plan knows them.
	Items []any `json:"items,omitempty"`
	// Matrix says that the items are the product of lists: maps whose entries are variables of the item.
	Matrix bool `json:"matrix,omitempty"`
	// ItemVar is the variable that holds the item; "item" when none is given, "matrix" of a matrix.
	ItemVar string `json:"item_var"`
	// MaxParallel items run at once; 0 means no limit. Of the jobs of a fan-out no more than 500 do, whatever it says.
	MaxParallel int `json:"max_parallel,omitempty"`
	// FailFast cancels the items that run, and starts no other, when one has failed.
	FailFast bool `json:"fail_fast,omitempty"`
	// MinSuccess items must complete for the task to complete, MinSuccessPercent of them in hundredths; 0: all.
	MinSuccess        int `json:"min_success,omitempty"`
	MinSuccessPercent int `json:"min_success_percent,omitempty"`
}

// MaxItems bounds the items of one fan-out.
const MaxItems = 10_000

// Needed returns how many of total items must complete.
func (f *FanOut) Needed(total int) int {
	switch {
	case f.MinSuccess > 0:
		return min(f.MinSuccess, total)
	case f.MinSuccessPercent > 0:
		return (total*f.MinSuccessPercent + 99) / 100
	}
	return total
}

// Item is one of the runs that a fan-out makes.
type Item struct {
	// Name of its task, unique in the plan: "build[3]", of a matrix "build[linux,1.26]".
	Name string `json:"name"`
	// Value of the item.
	Value any `json:"value"`
	// Off says that `when` does not hold for the item: it is SKIPPED, and counts for nothing.
	Off bool `json:"off,omitempty"`
	// AllowFailure says that it may fail: then it counts for nothing either.
	AllowFailure bool `json:"allow_failure,omitempty"`
	// Wait is the time of an item of a WAIT task when that depends on the item.
	Wait time.Duration `json:"wait,omitempty"`
	// Fault says why the item cannot be started, which fails it alone: what it is given is of no use.
	Fault string `json:"fault,omitempty"`
	// Class is its placement when that depends on the item; nil: that of the task.
	Class *placement.Class `json:"class,omitempty"`
}

// ItemResult is how an item ended: one entry of the list in {task}_results.
type ItemResult struct {
	Index        int               `json:"index"`
	Status       string            `json:"status"` // COMPLETED, FAILED, SKIPPED or CANCELLED
	ExitCode     int               `json:"exit_code"`
	ErrorCode    string            `json:"error_code,omitempty"`
	ErrorMessage string            `json:"error_message,omitempty"`
	AllowFailure bool              `json:"allow_failure,omitempty"` // its own: its failure counts for nothing
	Outputs      map[string]string `json:"outputs,omitempty"`
	// TimedOut says of a failed item that its time was over; it is not told.
	TimedOut bool `json:"-"`
}

// ResultsSuffix ends the name of the variable that holds the results of a fan-out: a list with one ItemResult for each
// item, in order.
const ResultsSuffix = "_results"

// ResultsVar names the variable that holds the results of a fan-out.
func ResultsVar(task string) string { return task + ResultsSuffix }

// Modes of a fan-out: its items are tasks of this job, or jobs of their own.
const (
	ModeTask = "task"
	ModeJob  = "job"
)

// maxItemOutputs bounds the items whose state and outputs become variables of their own: variables for each item of a
// large fan-out would be copied into every later task. The list of results has all of them.
const maxItemOutputs = 200

// Variables that an item, and the tasks after the fan-out, see.
const (
	varFanOutItemCount = "FanOutItemCount"
	varFanOutSource    = "FanOutSource"
	varFanOutMode      = "FanOutMode"
)

// GroupOutputs returns the outputs of a task whose items have ended, in the order of the items.
func GroupOutputs(t *Task, mode string, results []ItemResult) map[string]string {
	if results == nil {
		results = []ItemResult{}
	}
	out := map[string]string{
		ResultsVar(t.Name): value.JSON(results),
		varFanOutItemCount: strconv.Itoa(len(results)),
		varFanOutMode:      mode,
		varFanOutSource:    "",
	}
	item := DefaultItemVar
	if t.FanOut != nil {
		out[varFanOutSource], item = t.FanOut.Source, t.FanOut.ItemVar
	}
	artifacts := 0
	for i := range results[:min(len(results), maxItemOutputs)] {
		r := &results[i]
		for _, address := range ArtifactsIn(r.Outputs) {
			if artifacts++; artifacts <= MostArtifacts {
				out[ArtifactVar(t.Name, artifacts)] = address
			}
		}
		prefix := item + "_" + strconv.Itoa(i)
		for key, v := range r.Outputs {
			out[prefix+"_"+key] = v
		}
		out[prefix+"_status"] = r.Status
		out[prefix+"_exit_code"] = strconv.Itoa(r.ExitCode)
		if r.ErrorCode != "" {
			out[prefix+"_error_code"] = r.ErrorCode
		}
		if r.ErrorMessage != "" {
			out[prefix+"_error_message"] = r.ErrorMessage
		}
	}
	return out
}

// DefaultItemVar is the variable that holds the item when none is given.
const DefaultItemVar = "item"
