package execution

import (
	"time"

	"github.com/google/uuid"

	"github.com/formicary/formicary/services/supervisor/internal/engine"
)

// View is a run as people see it.
type View struct {
	Run
	Job       engine.Job
	CreatedAt time.Time
}

// TaskView is a task as people see it.
type TaskView struct {
	engine.Task
	Name         string
	Method       string
	Class        string
	AllowFailure bool
	WaitsFor     []string // of a BLOCKED task
	ClassGate    string   // why its class is not placed
	ClassReason  string
	Attempts     []AttemptView
}

// AttemptView is an attempt as people see it.
type AttemptView struct {
	UID          uuid.UUID
	Number       int
	State        engine.AttemptState
	Ant          string
	ExitCode     int
	FailureClass string
	Message      string
	DispatchedAt time.Time
	StartedAt    *time.Time
	EndedAt      *time.Time
	LogBytes     int64
}

// Log is where the output of an attempt is.
type Log struct {
	TaskState engine.TaskState
	Exists    bool // the attempt does; the rest is unset otherwise
	UID       uuid.UUID
	Attempt   int
	State     engine.AttemptState
	Key       string // of the final object; empty when the log is empty
	Size      int64
}
