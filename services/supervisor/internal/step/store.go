package step

import (
	"context"
	"errors"
	"time"

	"github.com/google/uuid"

	"github.com/formicary/formicary/libs/jobspec/condition"
	"github.com/formicary/formicary/libs/jobspec/plan"
	"github.com/formicary/formicary/services/supervisor/internal/approval"
	"github.com/formicary/formicary/services/supervisor/internal/definition"
	"github.com/formicary/formicary/services/supervisor/internal/engine"
	"github.com/formicary/formicary/services/supervisor/internal/execution"
)

// ErrLate says that the slots are no longer held for sure: the reservation's deadline has passed.
var ErrLate = errors.New("the reservation has run out")

// Store keeps runs.
type Store interface {
	// Transact runs f in a transaction and commits what f has saved. Whoever is told of commits hears of what f has published.
	// f may be called again, so it must not change anything outside before it returns.
	Transact(ctx context.Context, f func(context.Context, Tx) error) error
	// Undone says that nothing of the transaction that ended with err was stored, for certain.
	Undone(err error) bool
	// Now is the time by the store's clock, nearly.
	Now() time.Time
	// FindTask returns the execution and the index of a task; of the newest run when Run is 0.
	FindTask(ctx context.Context, org string, key execution.Key, task string) (uuid.UUID, int, error)
}

// Tx is a transaction. Lock, LockReady, Load and Insert take one round trip each; what Save and Publish are given travels
// with the next of them, or with the commit.
type Tx interface {
	// Lock locks runs and attempts and reads what events about them concern directly.
	Lock(ctx context.Context, s *Subjects) (*Loaded, error)
	// LockReady locks the runs of tasks and reads both; the tasks come without their specs.
	LockReady(ctx context.Context, tasks []Task) (*Loaded, error)
	// Load reads more of locked runs. It sees what was saved before.
	Load(ctx context.Context, n *Needs) (*Loaded, error)
	// Insert adds runs without their tasks. Those that exist already are left alone and returned.
	Insert(ctx context.Context, runs []*execution.NewRun) (existing []execution.Existing, now time.Time, err error)
	// Save stores what changed.
	Save(w *Writes) error
	// Publish has others hear of the changes after the commit. It is called last.
	Publish(c *execution.Changes) error
}

// Task names a task of a run.
type Task struct {
	Execution uuid.UUID
	Idx       int
}

// Round names a child, a chore or an approval of a task.
type Round struct {
	Task
	Round int
}

// Subjects are what a batch of events is about.
type Subjects struct {
	Attempts []uuid.UUID // their runs are locked, too
	Runs     []uuid.UUID
	// Tasks, and those of Attempts, are read with the edges that leave them and the tasks that these lead to; an item with its
	// group.
	Tasks []Task
	// Awaiting are runs of which the tasks are read that await children.
	Awaiting []uuid.UUID
	// Ends is how many tasks may end: of runs with no more ordinary tasks open than that the trailing ones are read.
	Ends int
	// Idle leaves out what somebody else has locked.
	Idle bool
}

// Needs is what is to be read of locked runs.
type Needs struct {
	Out     []Task // the edges that leave these tasks, and the tasks that they lead to
	Tasks   []Task
	Items   []Task // the items of these groups that have not ended, with their live attempts
	Results []Task // how the items of these groups ended
	// Open are runs of which everything is read that has not ended, with the live attempts; Trailing those of which the trailing
	// tasks are.
	Open     []uuid.UUID
	Trailing []uuid.UUID
	Contexts []uuid.UUID // what the tasks of these runs are rendered with
	Past     []Past
	Kept     []KeptGroup
	Children []Awaited
	Approval *Task // the newest one of this task, with its votes
}

// Past is what is to be read of the past of a run.
type Past struct {
	Execution uuid.UUID
	definition.Wants
}

// KeptGroup is a fan-out of an earlier run whose completed items are kept.
type KeptGroup struct {
	execution.Key
	Name string
}

// Awaited are the tasks that an AWAIT_FORKED_JOB task names, in its order.
type Awaited struct {
	Task
	Names []string
}

// Loaded is what was read. Lists are in the order in which they are to be applied.
type Loaded struct {
	Now      time.Time // of Lock and LockReady: by the store's clock, after the locks were taken
	Runs     []LoadedRun
	Attempts []*execution.Attempt
	Edges    []LoadedEdge
	Tasks    []LoadedTask
	Results  []LoadedResult
	Contexts []*execution.Context
	Outputs  []LoadedOutput
	Facts    []LoadedFact
	Kept     map[KeptGroup]map[string]engine.Kept // by the names of the items
	Open     map[Task]int                         // children that have not ended, by the task that awaits them
	Ended    []EndedChild                         // of tasks whose children have all ended
	Approval *approval.Approval
}

// LoadedRun is a run that was locked.
type LoadedRun struct {
	execution.Run
	Job engine.Job
}

// LoadedEdge is an edge of a run.
type LoadedEdge struct {
	Execution uuid.UUID
	engine.Edge
}

// LoadedTask is a task of a run. The Spec of an item holds no more than its name: its group's holds for it.
type LoadedTask struct {
	Execution uuid.UUID
	*engine.Task
}

// LoadedResult is how an item of a group ended.
type LoadedResult struct {
	Group Task
	plan.ItemResult
}

// LoadedOutput is the newest output of a name.
type LoadedOutput struct {
	Task
	Name, Value string
	At          time.Time
}

// LoadedFact is what was asked for of a task that has ended.
type LoadedFact struct {
	Task
	Name string
	At   time.Time
	condition.TaskFact
}

// EndedChild is the newest child of a task that somebody awaits.
type EndedChild struct {
	Awaits  Task   // the task that awaits it
	Name    string // of the task that forked it, of an item that of its group
	Item    bool   // its outputs are not read: those of items would replace each other
	Outcome string
	Message string
	Code    string
	Exit    int
	Fork    *plan.Fork
	Outputs map[string]string
}

// Writes are what changed. They may be saved in portions; a later one goes on where the former ended.
type Writes struct {
	Now   time.Time
	Runs  []ChangedRun
	Tasks []ChangedTask
	// Inserted are runs that Insert has added: all of their tasks and edges are.
	Inserted []*execution.NewRun
	Attempts []NewAttempt
	Ends     []EndedAttempt
	Stops    []uuid.UUID // attempts that are told to stop
	// Released are attempts that were never made, whose slots are given back; Settled releases that resource-manager has.
	Released []uuid.UUID
	Settled  []uuid.UUID
	Effects
	Vote *CastVote
}

// Effects are what a step does beside tasks and runs, in the order in which it happened.
type Effects struct {
	Children  []NewChild
	News      []ChildNews
	Halted    []Round     // children and chores that nobody waits for any more
	Cancelled []uuid.UUID // runs that were cancelled: those of their children that end with them are, too
	Approvals []NewApproval
	Escalated []Round
	Decided   []Decided
}

// ChangedRun is a run that changed; its policy is written only where WithPolicy says that it did.
type ChangedRun struct {
	ID         uuid.UUID
	Job        *engine.Job
	WithPolicy bool
}

// ChangedTask is a task that changed, or was made.
type ChangedTask struct {
	Run *execution.Run
	*engine.Task
}

// NewAttempt is an attempt of a task, numbered from 1. It must be claimed before the time.
type NewAttempt struct {
	execution.Placed
	Org        string
	Number     int
	ClaimUntil time.Time
}

// EndedAttempt is an attempt that ends.
type EndedAttempt struct {
	UID uuid.UUID
	execution.End
}

// NewChild is a child or a chore that is to be begun.
type NewChild struct {
	Round
	Org   string
	Chore bool
	Fork  *plan.Fork
}

// ChildNews is what is new of a child that exists: Kind is ChildSubmitted, ChildRefused or ChildEnded.
type ChildNews struct {
	Round
	Kind execution.Kind
	execution.ChildNews
}

// NewApproval is a request for approval.
type NewApproval struct {
	Round
	Org    string
	Policy *plan.Approval
	Due    *time.Time
}

// Decided is an approval that ended without people; Vote says that the system votes.
type Decided struct {
	Round
	State approval.State
	Vote  bool
}

// CastVote is the newest vote about an approval, and what it decided if it did.
type CastVote struct {
	Round
	approval.Vote
	Decided bool
	State   approval.State
}
