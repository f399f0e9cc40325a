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
	Planned   int // tasks of the plan: the items of fan-outs have indexes from there on
	CreatedAt time.Time
}

// Page asks for tasks of a run: those of the plan, or the items of one of them.
type Page struct {
	View   *View
	Group  string // the items of this task; empty for the tasks of the plan
	After  int    // index of the last task of the page before; -1 for the first page
	Limit  int
	States []string // only these; empty for all
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
	Group        string      // of an item: the task that made it
	ChildID      uuid.UUID   // the job that it forked
	Children     []ChildView // that it waits for
	Approval     string      // what it waits for people for
	Attempts     []AttemptView
}

// ChildView is a child that a task waits for.
type ChildView struct {
	Kind     string // job or chore
	JobType  string
	State    string    // of its row
	Request  uuid.UUID // zero before it was submitted
	RunState string    // of its newest run; empty before that began
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
	Usage        *Usage    // nil when its ant did not tell
	Cache        *CacheUse // nil when it asked for none
}

// Log is where the output of an attempt is.
type Log struct {
	TaskState engine.TaskState
	Exists    bool // the attempt does; the rest is unset otherwise
	UID       uuid.UUID
	Attempt   int
	State     engine.AttemptState
	Task      string // in lists
	StoredLog
}

// StoredLog is the final log of an attempt.
type StoredLog struct {
	Key    string // of the object; empty when the log is empty
	Bytes  int64  // the offset that follows the log
	SHA256 string // of the object, hex
	Format LogFormat
	Stored int64 // size of the object
}

// LogFormat is how a log is kept.
type LogFormat int16

// The formats.
const (
	LogText    LogFormat = 0 // the bytes that were printed
	LogRecords LogFormat = 1 // records in frames: libs/logfile
)
