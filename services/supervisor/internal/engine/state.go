package engine

import (
	"time"

	"github.com/formicary/formicary/libs/jobspec"
)

// Policy is the part of a plan that decides about the job as a whole. It is stored with the execution.
type Policy struct {
	FailFast       bool            `json:"fail_fast,omitempty"`
	Retry          int             `json:"retry,omitempty"` // further runs after a failed one
	Backoff        jobspec.Backoff `json:"backoff"`         // delay before such a run
	Timeout        time.Duration   `json:"timeout,omitempty"`
	CleanupTimeout time.Duration   `json:"cleanup_timeout,omitempty"`
	PauseTime      time.Duration   `json:"pause_time,omitempty"`
	// Restart is set by RESTART_JOB: the run ends FAILED and a new one is asked for, which keeps completed tasks.
	Restart bool `json:"restart,omitempty"`
	// AutoResume is set by PAUSE_JOB: the pause ends by itself after PauseTime.
	AutoResume bool `json:"auto_resume,omitempty"`
}

// Job is an execution: one run of a request.
type Job struct {
	Run        int
	State      JobState
	Version    int64 // rises with every change of State
	Policy     Policy
	TasksTotal int
	TasksOpen  int
	NormalOpen int
	Running    int
	// Failing: a failure was not handled, nothing new starts but handlers and always_run.
	Failing bool
	// Stopping: what runs was told to stop and only always_run may start; when DeadlineAt passes it is stopped too.
	Stopping        bool
	CancelRequested bool
	PauseRequested  bool
	ErrorCode       string
	ErrorMessage    string
	StartedAt       *time.Time // first dispatch
	EndedAt         *time.Time
	// DeadlineAt is the job's timeout, or the end of its clean-up once Stopping.
	DeadlineAt  *time.Time
	RestartAt   *time.Time
	RestartSoft bool
	ResumeAt    *time.Time
}

// Task is one task of the run as far as the engine needs it.
type Task struct {
	Idx      int
	State    TaskState
	Trailing bool // always_run that waits for nothing: runs when every task without always_run has ended
	Waiting  int
	Control  int
	Taken    int
	Broken   bool
	// Handler: activated through the route of a failure, or follows a task that was; it runs in a failing job too.
	Handler bool
	// Reuse: it completed in the run before with the ExitCode, Outputs and Result that stand here; it completes again
	// without running when its turn comes.
	Reuse bool
	// Spec is the planned task; read only.
	Spec *jobspec.Task
	// Attempts made so far; UserTries and InfraTries are spent of retry and of the budget for lost attempts.
	Attempts     int
	UserTries    int
	InfraTries   int
	ReadyAt      *time.Time
	WakeAt       *time.Time // when a WAITING task becomes READY; nil while it waits for a resume
	ExitCode     int
	FailureClass string
	Message      string
	Outputs      map[string]string // set by the attempt that completed it
	Result       string
	WaitGate     string
	WaitReason   string
	StartedAt    *time.Time // first dispatch
	EndedAt      *time.Time

	// Changed is set when anything above changed; From is the state before the first change.
	Changed bool
	From    TaskState

	taken   []string // names of the tasks its outcome leads to, once it ended
	handled bool     // taken are handlers of its failure
}

// Edge leads from a task to one that waits for it.
type Edge struct {
	From, To int
	Control  bool // a route of From names To; otherwise To depends on From
}

// State is the loaded part of a run and what a step asks to be done.
type State struct {
	Job Job
	// JobChanged says that Job differs from what was loaded; JobMoved that its State does.
	JobChanged bool
	JobMoved   bool
	Tasks      map[int]*Task
	// Out are the outgoing edges of a task. A task without an entry has edges that were not loaded.
	Out map[int][]Edge
	// AllOpen says that every task that has not ended is among Tasks.
	AllOpen bool
	// TrailingLoaded says that every trailing task that has not ended is.
	TrailingLoaded bool

	// Stop are running tasks whose attempt must be told to stop, in order.
	Stop []int
	// Withdraw are tasks that were DISPATCHED and whose attempt ends CANCELLED at once, in order. If the attempt was
	// claimed meanwhile the caller must have loaded the task as RUNNING: it holds the row's lock.
	Withdraw []int

	queue     []int // ended tasks whose outgoing edges are not resolved yet
	sweeping  sweep
	needOut   []int
	needTrail bool
	needOpen  bool
}

// sweep is what must be done with every task that has not ended.
type sweep uint8

const (
	sweepNone   sweep = 0
	sweepPause  sweep = 1 << (iota - 1) // keep what could start from starting
	sweepFail                           // nothing new but handlers and always_run
	sweepStop                           // stop what runs, nothing new but always_run
	sweepEnd                            // stop everything
	sweepResume                         // what the pause held may start
)

// Need is what must be loaded before a step is complete.
type Need struct {
	// Out: load the outgoing edges of these tasks and the tasks they lead to.
	Out []int
	// Trailing: load the trailing tasks that have not ended and set TrailingLoaded.
	Trailing bool
	// Open: load every task that has not ended and set AllOpen and TrailingLoaded.
	Open bool
}

// Empty says that the step is complete.
func (n Need) Empty() bool { return len(n.Out) == 0 && !n.Trailing && !n.Open }

// Need returns what is missing.
func (s *State) Need() Need {
	return Need{Out: s.needOut, Trailing: s.needTrail, Open: s.needOpen}
}

// Outcome is how an attempt ended.
type Outcome struct {
	State        AttemptState // a terminal one
	Claimed      bool         // false: it was never started, which costs no retry
	ExitCode     int
	FailureClass string // "", user, oom, timeout, infra, cancelled or rejected
	Message      string
	Outputs      map[string]string
	Body         string
	// NotBefore is when the next attempt of a lost one may be dispatched, so that two never overlap.
	NotBefore time.Time
	// Random in [0, 1) spreads the delay before the next attempt.
	Random float64
}

// Reused is how a task of the run before completed.
type Reused struct {
	ExitCode int
	Outputs  map[string]string
	Result   string
}
