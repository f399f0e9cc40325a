package plan

import "time"

// Resource is a virtual resource that a job or task needs: a counted thing such as a licence or a device.
type Resource struct {
	Type        string   `json:"resource_type"`
	Description string   `json:"description,omitempty"`
	Platform    string   `json:"platform,omitempty"`
	Category    string   `json:"category,omitempty"`
	Tags        []string `json:"tags,omitempty"`
	// Value is how much of it, at least 1.
	Value int `json:"value"`
	// Properties of the resource become variables whose names begin with ContextPrefix.
	Properties    []string `json:"properties,omitempty"`
	ContextPrefix string   `json:"context_prefix,omitempty"`
}

// Deadline is the goal to be ready by. Exactly one of After and At is set.
type Deadline struct {
	// After the submit.
	After time.Duration `json:"after,omitempty"`
	// At is a time of day, "15:04", in Timezone: the next one after the submit.
	At       string `json:"at,omitempty"`
	Timezone string `json:"timezone,omitempty"`
}

// What happens to a run beyond the limit of concurrency.
const (
	ConflictQueue            = "queue"
	ConflictCancelInProgress = "cancel_in_progress"
	ConflictCancelNewest     = "cancel_newest"
)

// Concurrency bounds the runs of a job.
type Concurrency struct {
	// Limit of runs at once; 0 means no limit.
	Limit int `json:"limit"`
	// Key splits the runs into groups, each with the limit of its own; empty: all are one group.
	Key string `json:"key,omitempty"`
	// OnConflict is one of the Conflict constants, queue when none is given.
	OnConflict string `json:"on_conflict"`
}

// Conflicts are the words for OnConflict.
func Conflicts() []string {
	return []string{ConflictQueue, ConflictCancelInProgress, ConflictCancelNewest}
}
