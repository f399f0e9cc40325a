package engine

import (
	"time"

	"github.com/formicary/formicary/libs/jobspec/errorrule"
	"github.com/formicary/formicary/libs/jobspec/plan"
	"github.com/formicary/formicary/libs/jobspec/value"
	"github.com/formicary/formicary/libs/placement"
)

// Policy is the part of a plan that decides about the job as a whole. It is stored with the execution.
type Policy struct {
	JobType        string        `json:"job_type,omitempty"`
	Platform       string        `json:"platform,omitempty"` // what error rules are matched with, beside JobType
	FailFast       bool          `json:"fail_fast,omitempty"`
	Retry          int           `json:"retry,omitempty"` // further runs after a failed one
	Backoff        plan.Backoff  `json:"backoff"`         // delay before such a run
	Timeout        time.Duration `json:"timeout,omitempty"`
	CleanupTimeout time.Duration `json:"cleanup_timeout,omitempty"`
	PauseTime      time.Duration `json:"pause_time,omitempty"`
	// HardReset is after how many retries of the job a new run no longer keeps completed tasks; 0: never.
	HardReset int `json:"hard_reset,omitempty"`
	// TotalDeadline is when all runs of the request together must have ended; nil: no bound.
	TotalDeadline *time.Time `json:"total_deadline,omitempty"`
	// Rules turn failures into codes and actions, the most specific first.
	Rules []errorrule.Rule `json:"rules,omitempty"`
	// Restart is set by RESTART_JOB: the run ends FAILED and a new one is asked for, which keeps completed tasks.
	Restart bool `json:"restart,omitempty"`
	// Final is set by FATAL and HARD_FAILURE: whatever else happens, no other run follows.
	Final bool `json:"final,omitempty"`
	// RetryGiven says that Retry was written: it bounds RESTART_JOB, too.
	RetryGiven bool `json:"retry_given,omitempty"`
	// Pauses is how often the job has paused itself since a person submitted or restarted it.
	Pauses int `json:"pauses,omitempty"`
	// ExitCode is that of the task whose failure failed the job.
	ExitCode int `json:"exit_code,omitempty"`
	// Pending is how long the run may wait for its start, PendingUntil when that passes; nil: it has begun, or may wait.
	Pending      time.Duration `json:"pending,omitempty"`
	PendingUntil *time.Time    `json:"pending_until,omitempty"`
	// Before is how the run failed that this one is a retry of.
	Before *Before `json:"before,omitempty"`
	// Ending says that what ran when the job was stopped has not ended yet: the time of the clean-up begins then.
	Ending bool `json:"ending,omitempty"`
	// AutoResume is set by PAUSE_JOB, and by a vote that ends the wait for approvals: the pause ends by itself, at
	// Job.ResumeAt.
	AutoResume bool `json:"auto_resume,omitempty"`
}

// Before is how a run failed that another one follows. Left: it left its clean-up to that, which is done whatever becomes
// of it.
type Before struct {
	Code    string `json:"code"`
	Message string `json:"message"`
	Left    bool   `json:"left,omitempty"`
}

// Then is the error when the next run does not begin: that of the run before, if there is one, is kept.
func (b *Before) Then(code, message string) (string, string) {
	if b == nil {
		return code, message
	}
	return b.Code, b.Message + "; its next run did not begin: " + message
}

// Job is an execution: one run of a request.
type Job struct {
	Run int
	// Retries are the automatic retries of the job that came before this run; with Policy.Pauses they are JobRetry. Constant.
	Retries    int
	State      JobState
	Version    int64 // rises with every change of State
	Policy     Policy
	TasksTotal int // grows with the items of fan-outs: its update must be written
	TasksOpen  int
	NormalOpen int
	Running    int
	// Active counts tasks that are READY, DISPATCHED or RUNNING, and those that are WAITING at the gates schedule or
	// child: what goes on without a person.
	Active int
	// Approvals counts tasks that are WAITING at the gate approval.
	Approvals int
	// Failing: a task failed that was not allowed to, nothing new starts but post-processing and always_run.
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

// Task is one task of the run as far as the engine needs it: a task of the plan, the group of a fan-out, or an item of
// one. Every exported field but Spec, Changed, From and New stands in the task's row.
type Task struct {
	Idx   int
	State TaskState
	// Trailing: always_run that waits for nothing, and runs when every task without always_run has ended, or Postponed.
	Trailing bool
	Waiting  int
	Control  int
	Taken    int
	Broken   bool
	// Handler: post-processing of a failure, or follows a task that is; it runs in a failing job too.
	Handler bool
	// Reuse: it completed in the run before with the ExitCode, Outputs and Result that stand here; it completes again
	// without running when its turn comes. A step takes it back (its update must be written) when a task that it
	// follows has run in this run.
	Reuse bool
	// Spec is the planned task; read only. That of an item is its group's: its own row holds none.
	Spec *plan.Task
	// Attempts made so far; UserTries and InfraTries are spent of retry and of the budget for lost attempts.
	Attempts   int
	UserTries  int
	InfraTries int
	ReadyAt    *time.Time
	// WakeAt is when Wake must be called for a WAITING task: the end of a delay, or of the time to approve.
	WakeAt       *time.Time
	ExitCode     int
	FailureClass string
	// ErrorCode of a task that failed: that of an error rule or an ERR_ action, else ERR_TASK_EXECUTE and its like.
	ErrorCode  string
	Message    string
	Outputs    map[string]string // of its newest attempt that ended
	Result     string
	WaitGate   string // one of the Gate constants, "" when it does not wait
	WaitReason string
	StartedAt  *time.Time // first dispatch, fork, request for approval, or making of items
	EndedAt    *time.Time

	// Group, Item, ItemName and ItemValue are constant and those of an item; ItemName is empty for every other task.
	// Group is the Idx of its group, Item its place in the list from 0, ItemName unique in the run, ItemValue JSON.
	Group     int
	Item      int
	ItemName  string
	ItemValue any
	// Items counts the items of a group; nil for every other task and before they are made.
	Items *Items
	// Extra is what few tasks have.
	Extra

	// Changed is set when anything above changed; From is the state before the first change.
	Changed bool
	From    TaskState
	// New: made by this step. It must be inserted, not updated.
	New bool

	taken []string // names of the tasks its outcome leads to, once it ended
	post  bool     // taken are post-processing of its failure
}

// Extra is what few tasks have. The row holds it as one JSON value, NULL when IsZero says so.
type Extra struct {
	// Place is the placement when it is not that of Spec: by a Decision, or of an item.
	Place *placement.Class `json:"place,omitempty"`
	// Round counts the children, chores and requests for approval of the task: the key of their rows is (execution,
	// idx, round). Events about them name it, so that a late answer of an earlier round changes nothing.
	Round int `json:"round,omitempty"`
	// Fork is the job that the task submits, complete; ChildID the request that it became in this round.
	Fork    *plan.Fork `json:"fork,omitempty"`
	ChildID string     `json:"child_id,omitempty"`
	// Variables are those of a chore when the plan did not know them.
	Variables value.Vars `json:"variables,omitempty"`
	// Approval is the policy of the newest request for approval.
	Approval *plan.Approval `json:"approval,omitempty"`
	// Webhook is that of the task when Spec does not know it.
	Webhook *plan.Webhook `json:"webhook,omitempty"`
	// Accepted is how the attempt ended whose outcome is to be approved (WAIT_FOR_APPROVAL); "" of a MANUAL task.
	Accepted AttemptState `json:"accepted,omitempty"`
	// ClassTries are spent of the own budgets of failure classes other than infra: timeout, oom.
	ClassTries map[string]int `json:"class_tries,omitempty"`
	// KeepOf is the run whose completed items a group keeps when it is expanded; 0: none. Like Reuse, it is taken back when
	// a task that it follows has run in this run.
	KeepOf int `json:"keep_of,omitempty"`
	// Unstarted counts those of the attempts that were never started.
	Unstarted int `json:"unstarted,omitempty"`
	// Postponed: always_run in a job that failed and may be tried again. It runs when no other run follows this one.
	Postponed bool `json:"postponed,omitempty"`
	// Halted: an item that its group has told to stop. It is not tried again.
	Halted bool `json:"halted,omitempty"`
	// MayFail: its failure is allowed, by the decision about it or, of an item, about its group.
	MayFail bool `json:"may_fail,omitempty"`
	// Fault of an item: why it cannot be started.
	Fault string `json:"fault,omitempty"`
	// Wait is the time of a WAIT task when Spec does not know it.
	Wait time.Duration `json:"wait,omitempty"`
	// Since is when the task began to wait for its time, its child, its children, its chore or its approval: what Spec.Timeout
	// counts from. Nil while it waits for nothing of the kind.
	Since *time.Time `json:"since,omitempty"`
}

// IsZero says that there is nothing to keep.
func (e *Extra) IsZero() bool {
	return e.Place == nil && e.Round == 0 && e.Fork == nil && e.ChildID == "" && e.Approval == nil && e.Webhook == nil && e.Accepted == "" &&
		len(e.ClassTries) == 0 && len(e.Variables) == 0 && e.KeepOf == 0 && e.Unstarted == 0 && !e.Postponed && !e.Halted && !e.MayFail && e.Fault == "" && e.Wait == 0 && e.Since == nil
}

// Items are the counters of a group. The row of the group holds them as one JSON value.
type Items struct {
	Total int `json:"total"`
	First int `json:"first"`           // Idx of item 0; item i has First+i
	Next  int `json:"next"`            // the next item that is released; those from here on are BLOCKED, or Ahead
	Open  int `json:"open"`            // not ended
	Ahead int `json:"ahead,omitempty"` // from Next on: those that are kept of an earlier run, or Off; they have ended
	// Failed counts items that are FAILED or CANCELLED, Succeeded those COMPLETED.
	Failed    int `json:"failed,omitempty"`
	Succeeded int `json:"succeeded,omitempty"`
	// Off counts those that count for nothing: SKIPPED because their condition does not hold, or FAILED and allowed to.
	Off int `json:"off,omitempty"`
	// Stopping: no further item is released. Overdue: because the group has taken longer than it may.
	Stopping bool `json:"stopping,omitempty"`
	Overdue  bool `json:"overdue,omitempty"`
}

// MaxTasks bounds the tasks of a run, items included.
const MaxTasks = 20_000

// IsItem says that the task is an item of a fan-out.
func (t *Task) IsItem() bool { return t.ItemName != "" }

// IsGroup says that the task stands for the items of a fan-out. It never runs itself.
func (t *Task) IsGroup() bool { return t.Spec.FanOut != nil && !t.IsItem() }

// Tries are how often the task was started so far: the number of its next attempt, from 0.
func (t *Task) Tries() int { return max(t.Attempts-t.Unstarted, t.Round) }

// Name is unique in the run: "build", of an item "build[3]".
func (t *Task) Name() string {
	if t.IsItem() {
		return t.ItemName
	}
	return t.Spec.Name
}

// Method is how the task is executed. The items of a fan-out with a fork are FORK_JOB.
func (t *Task) Method() string {
	if t.IsItem() && t.Spec.Fork != nil {
		return plan.MethodForkJob
	}
	return t.Class().Method
}

// Class is its placement.
func (t *Task) Class() placement.Class {
	if t.Place != nil {
		return *t.Place
	}
	return t.Spec.Class()
}

// Edge leads from a task to one that waits for it.
type Edge struct {
	From, To int
	Control  bool // a route of From names To; otherwise To depends on From
}

// State is the loaded part of a run and what a step asks to be done.
type State struct {
	Job Job
	// JobChanged says that Job differs from what was loaded; JobMoved that its State does; PolicyChanged that its
	// Policy does, which is large and seldom changes: write it only then.
	JobChanged    bool
	JobMoved      bool
	PolicyChanged bool
	Tasks         map[int]*Task
	// Out are the outgoing edges of a task. A task without an entry has edges that were not loaded. Items have none.
	Out map[int][]Edge
	// AllOpen says that every task that has not ended is among Tasks.
	AllOpen bool
	// TrailingLoaded says that every trailing task that has not ended is.
	TrailingLoaded bool
	// ItemsLoaded holds the groups whose items that have not ended are all among Tasks.
	ItemsLoaded map[int]bool
	// Results are the results of the items of groups, in order, as their rows say; see Need.Results. Items that are
	// among Tasks may be stale here.
	Results map[int][]plan.ItemResult

	// What follows is to be done by the caller in the transaction that saves the step, in this order. Lists name tasks
	// by Idx and grow until the caller empties them.

	// New are tasks to insert, with their state at the end of the transaction; they are among Tasks too.
	New []*Task
	// Forks are tasks whose Fork is to be submitted as child (Idx, Round); Chores those that supervisor does itself.
	Forks  []int
	Chores []int
	// Approvals are tasks that wait for approval by their policy Approval, in Round, until WakeAt when that is set.
	Approvals []int
	// Lapsed are approvals that the time decided: the vote of plan.SystemVoter is stored.
	Lapsed []int
	// Escalations are approvals that nobody decided in time and that go on waiting: their recipients are told.
	Escalations []int
	// Dismissed are approvals that are no longer waited for, because the task was stopped: nobody can vote any more.
	Dismissed []int
	// CancelChildren are open children, and chores, that are no longer waited for and are cancelled. The cancel of a
	// run (Job.CancelRequested) is beyond that the cancel of its children with CascadeCancel whose tasks have ended.
	CancelChildren []Abandoned
	// Stop are running tasks whose attempt must be told to stop, in order.
	Stop []int
	// Withdraw are tasks that were DISPATCHED and whose attempt ends CANCELLED at once, in order. If the attempt was
	// claimed meanwhile the caller must have loaded the task as RUNNING: it holds the row's lock.
	Withdraw []int

	queue     []int // ended tasks whose outgoing edges are not resolved yet
	ended     []int // ended items that their groups do not count yet
	releasing []int // groups that may release further items
	halting   []int // groups whose open items are to be stopped
	finished  []int // groups whose items have all ended
	undecided []int // tasks that are about to start and need a decision
	joining   []int // AWAIT_FORKED_JOB tasks that are about to start
	decisions map[int]*plan.Decision
	children  map[int]Children
	kept      map[int]map[string]Kept
	sweeping  sweep
	reopened  bool // something was decided in a job that waited for approvals only
	held      bool // a pause kept something from starting in this step
	need      Need
}

// sweep is what must be done with every task that has not ended.
type sweep uint8

const (
	sweepNone   sweep = 0
	sweepPause  sweep = 1 << (iota - 1) // keep what could start from starting
	sweepFail                           // nothing new but post-processing and always_run
	sweepStop                           // stop what runs, nothing new but always_run
	sweepEnd                            // stop everything
	sweepResume                         // what the pause held may start
)

// Abandoned is a child, or chore, that its task waits for no longer. The task may be at its next round already.
type Abandoned struct{ Idx, Round int }

// Need is what must be loaded before a step is complete. All lists are in order and without repetitions.
type Need struct {
	// Out: load the outgoing edges of these tasks and the tasks they lead to.
	Out []int
	// Tasks: load these tasks.
	Tasks []int
	// Trailing: load the trailing tasks that have not ended and set TrailingLoaded.
	Trailing bool
	// Open: load every task that has not ended and set AllOpen and TrailingLoaded. As with Items, the live attempts of
	// these tasks come with them: they may be stopped.
	Open bool
	// Items: load the items of these groups that have not ended and set ItemsLoaded for each.
	Items []int
	// Results: set Results for these groups.
	Results []int
	// Decide: ask Definition.Decide (for an item of a group with a fork Definition.DecideItem) about these tasks, with
	// what is known now, the changes of this step included, and answer with State.Decide.
	Decide []int
	// Kept: answer with State.Keep which items of these groups completed in the run KeepOf.
	Kept []int
	// Children: these AWAIT_FORKED_JOB tasks are about to start; answer with State.Children.
	Children []int
}

// Empty says that the step is complete.
func (n Need) Empty() bool {
	return len(n.Out) == 0 && len(n.Tasks) == 0 && !n.Trailing && !n.Open && len(n.Items) == 0 && len(n.Results) == 0 &&
		len(n.Decide) == 0 && len(n.Kept) == 0 && len(n.Children) == 0
}

// Need returns what is missing.
func (s *State) Need() Need { return s.need }

// Outcome is how an attempt ended.
type Outcome struct {
	State        AttemptState // a terminal one
	Claimed      bool         // false: it was never started, which costs no retry
	ExitCode     int
	FailureClass string // "", user, oom, timeout, infra, cancelled or rejected
	ErrorCode    string // of a failure that has one already: that of a child
	Message      string
	Outputs      map[string]string
	Body         string
	BodyCut      bool     // Body is the beginning of a longer one
	Artifacts    []string // addresses of what it kept
	// NotBefore is when the next attempt of a lost one may be dispatched, so that two never overlap.
	NotBefore time.Time
	// Random in [0, 1) spreads the delay before the next attempt.
	Random float64
}

// ChildOutcome is how a child or a chore ended.
type ChildOutcome struct {
	// ID of the request of the child, "" of a chore: it may have ended before anybody heard that it was submitted.
	ID string
	// State is COMPLETED, or what else the request of the child ended in.
	State     string
	ExitCode  int // of the task that failed it
	ErrorCode string
	Message   string
	Outputs   map[string]string // those of the child, by the names of the child
}

// Children is how the children stand that an AWAIT_FORKED_JOB task waits for.
type Children struct {
	Open, Failed int
	Message      string // of the first that failed, as ExitCode and ErrorCode
	ExitCode     int
	ErrorCode    string
	Outputs      map[string]string // that the task gets when all have completed
	Artifacts    []string          // their addresses
}
