package request

import "time"

// Kind says what an event tells.
type Kind int

// The kinds; each is one message of the contract.
const (
	// Submitted wakes the scheduler: the request became PENDING.
	Submitted Kind = iota
	// Admitted gives supervisor a run to launch or to go on with.
	Admitted
	// Control hands a person's wish to supervisor.
	Control
	// Changed tells watchers the state.
	Changed
	// ChildEnded tells supervisor that a job which a task forked has ended for good.
	ChildEnded
)

// Action is what a person asked for.
type Action int

// The actions of Control.
const (
	Cancel Action = iota + 1
	Pause
)

// Event is what a change has to tell others.
type Event struct {
	Kind   Kind
	Action Action
	// Record as it was when the event happened.
	Record Record
	At     time.Time
}

// Execution is what supervisor says of a run.
type Execution struct {
	Run     int
	Version int64
	// State of the execution; it has the same names as that of a request, without PENDING.
	State        State
	ErrorCode    string
	ErrorMessage string
	StartedAt    *time.Time
	EndedAt      *time.Time
	// RestartAt asks for the next run, not before this time; RestartSoft keeps the completed tasks of this one.
	RestartAt   *time.Time
	RestartSoft bool
	// ResumeAt asks that a PAUSED run is resumed by itself.
	ResumeAt *time.Time
}

// Newer orders what is told of one request.
func (e Execution) Newer(than Execution) bool {
	return e.Run > than.Run || e.Run == than.Run && e.Version > than.Version
}
