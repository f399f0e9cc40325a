package plan

import (
	"time"

	"github.com/formicary/formicary/libs/jobspec/value"
	"github.com/formicary/formicary/libs/placement"
)

// Decision is what becomes of a task that is about to start.
type Decision struct {
	// Off says that `when` does not hold: the task is SKIPPED and leads nowhere.
	Off bool `json:"off,omitempty"`
	// Skip says that `except` holds: the task is COMPLETED at once.
	Skip bool `json:"skip,omitempty"`
	// AllowFailure keeps a failure of the task from failing the job.
	AllowFailure bool `json:"allow_failure,omitempty"`
	// Fault says why it cannot be decided: the task fails.
	Fault string `json:"fault,omitempty"`
	// Items of a fan-out, in order; empty for a task without.
	Items []Item `json:"items,omitempty"`
	// Wait is the time of a WAIT task.
	Wait time.Duration `json:"wait,omitempty"`
	// Fork, Approval and Webhook are rendered with what is known now.
	Fork     *Fork     `json:"fork,omitempty"`
	Approval *Approval `json:"approval,omitempty"`
	Webhook  *Webhook  `json:"webhook,omitempty"`
	// Variables are those of an EXPIRE_ARTIFACTS task: no claim renders it.
	Variables value.Vars `json:"variables,omitempty"`
	// Class is the placement when it is known only now; nil: that of the plan.
	Class *placement.Class `json:"class,omitempty"`
}
