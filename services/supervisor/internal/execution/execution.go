// Package execution holds the words that the parts of supervisor share: runs, what happens to them, and what a
// transaction changed. Everything that happens to a run that exists is an Event; the store applies events to the
// engine under the run's lock and reports a Changes after the commit.
package execution

import (
	"fmt"
	"net/url"
	"time"

	"github.com/google/uuid"

	"github.com/formicary/formicary/libs/jobspec/errorrule"
	"github.com/formicary/formicary/libs/jobspec/plan"
	"github.com/formicary/formicary/libs/placement"
	"github.com/formicary/formicary/services/supervisor/internal/engine"
)

// Key names a run.
type Key struct {
	Request uuid.UUID
	Run     int
}

// Run is what is known of an execution apart from what the engine decides.
type Run struct {
	ID uuid.UUID
	Key
	Org        string
	JobType    string
	Definition string // id of the pinned version
	Priority   int
	AgeAt      time.Time
}

// Launch is what job-manager says about an admitted request.
type Launch struct {
	Run
	Plan        *plan.Plan
	Vars        []byte           // JSON object
	DueAt       *time.Time       // from when on the run could have started, where a bound counts from it; else nil
	ReuseRun    int              // completed tasks of this run are kept; 0 for none
	From        string           // the first task that is not kept; empty keeps all
	Retries     int              // automatic retries of the job before this run
	Rules       []errorrule.Rule // the most specific first
	SubmittedBy string
	Error       string // code; the run cannot be launched
	Message     string
	Skipped     bool
	Cancelled   bool
	// Fault says why the run could not be rendered this time; Message is for a person, and no plan is known.
	Fault LaunchFault
}

// LaunchFault says what is to be done about a run that could not be rendered.
type LaunchFault int

// The faults of launches.
const (
	NoFault      LaunchFault = iota
	NotReached               // ask again at once
	SlowLaunch               // ask for it alone
	LaunchAway               // ask again after a while
	BrokenLaunch             // it failed by its own fault
)

// Class is a placement class as it is stored: org, method, tags and slots.
func Class(org string, c placement.Class) string { return org + "|" + c.String() }

// Candidate is a READY task.
type Candidate struct {
	Execution uuid.UUID
	Idx       int
	Class     string
	Method    string
	Slots     int
	Priority  int
}

// CandidateOf is a READY task as it is placed.
func CandidateOf(r *Run, t *engine.Task) Candidate {
	c := t.Class()
	return Candidate{Execution: r.ID, Idx: t.Idx, Class: Class(r.Org, c), Method: c.Method, Slots: max(c.Slots, 1), Priority: r.Priority}
}

// OverdueAt is when a task without a live attempt has waited longer than it may; nil: never.
func OverdueAt(t *engine.Task) *time.Time {
	if limit := t.Limit(); limit != nil {
		return &limit.At
	}
	return nil
}

// Window is what a look at some of the classes found.
type Window struct {
	Heads []Candidate
	Last  string // key of its last class
	End   bool   // no class is behind it
}

// Placed is a candidate with the place that is held for its next attempt.
type Placed struct {
	Candidate
	UID     uuid.UUID
	Ant     string
	Session uuid.UUID
}

// NewRun is a run to be inserted. State is nil for one that ends at its launch: then Job is all.
type NewRun struct {
	Run
	Vars        []byte
	Retries     int
	SubmittedBy string
	State       *engine.State
	Job         engine.Job
	Placed      []Placed // attempts of its first tasks; State knows them as dispatched
}

// JobOf is the run as the engine has begun it, or as it ended at its launch.
func (r *NewRun) JobOf() *engine.Job {
	if r.State != nil {
		return &r.State.Job
	}
	return &r.Job
}

// Attempt is one try of a task.
type Attempt struct {
	UID           uuid.UUID
	Execution     uuid.UUID
	Idx           int
	Number        int
	State         engine.AttemptState
	Ant           string
	Session       uuid.UUID // it belongs to
	Slots         int
	LeaseUntil    time.Time
	Missed        int
	DispatchedAt  time.Time
	TimeoutAt     *time.Time
	StopRequested *time.Time
	Digest        []byte // of the result that ended it
}

// Live says that it has not ended.
func (a *Attempt) Live() bool { return !a.State.Terminal() }

// MissesAllowed is how many Syncs may leave a claimed attempt out: the first may have been written before the claim.
const MissesAllowed = 1

// MissedMost is the number of missed Syncs of an attempt that its restarted ant does not have.
const MissedMost = 1000

// Gone says that its ant, by its own word, does not have it.
func (a *Attempt) Gone() bool { return a.Missed > MissesAllowed }

// Existing is a run that was there before its launch.
type Existing struct {
	ID uuid.UUID
	Key
	State engine.JobState
}

// Wait is why the READY tasks of a class are not placed.
type Wait struct {
	Class  string
	Gate   string // capacity or no_ant
	Reason string
}

// Claim asks for an attempt.
type Claim struct {
	UID     uuid.UUID
	Ant     string
	Session uuid.UUID
}

// Claimed is an attempt as a claim finds it.
type Claimed struct {
	Attempt
	Task      *plan.Task // of an item that of its group, under the name of the item
	Item      *Item      // nil for a task of the plan
	Job       *Context
	Stopped   bool       // it was told to stop
	Began     time.Time  // when it was claimed first
	Retries   int        // number of the attempt, from 0
	StartedAt *time.Time // first dispatch of the task
	Fault     error      // the record of the task cannot be read: it can never run
}

// Item is one of the runs of a fan-out.
type Item struct {
	plan.Item
	Group string // name of the task that fans out
	Index int
}

// Context is what the tasks of a run are rendered with.
type Context struct {
	Run
	Retries   int               // automatic retries of the job before this run, and pauses by itself
	Submitter string            // who submitted the request
	Outlook   string            // how it will end as it stands: see engine.Job
	Vars      []byte            // JSON object
	Outputs   map[string]string // of the tasks that completed, later ones over earlier; those that somebody asks for
	LeftOut   int               // outputs that a claim did not read, for the environment has no room for them
	Cut       bool              // the claim had no room for what the processes of the run get: it has to be asked for again
	CreatedAt time.Time
	StartedAt *time.Time
	Now       time.Time
	Fault     error // the record of the run cannot be read
}

// Report is what an ant says of its attempts.
type Report struct {
	Ant        string
	Session    uuid.UUID
	Generation int64
	Running    []uuid.UUID
	Spooled    []uuid.UUID
	First      bool
}

// Answer is what the ant hears.
type Answer struct {
	Superseded bool
	Stop       []uuid.UUID
	Settled    []uuid.UUID
}

// LogPlace is where the log of an attempt belongs.
type LogPlace struct {
	Live    bool
	Ant     string
	Session uuid.UUID
	Org     string
	Key
	Task string
	UID  uuid.UUID
}

// ObjectKey names the object of the log.
func (p *LogPlace) ObjectKey() string {
	return fmt.Sprintf("logs/%s/%s/%d/%s/%s.log", url.PathEscape(p.Org), p.Request, p.Run, url.PathEscape(p.Task), p.UID)
}

// Doubt is a live attempt that something is to be done about.
type Doubt struct {
	UID        uuid.UUID
	Kind       DoubtKind
	Ant        string
	LeaseUntil time.Time
	Now        time.Time // by the database's clock, when it was found
}

// DoubtKind is why.
type DoubtKind string

// The kinds of doubts.
const (
	DoubtGone      DoubtKind = "gone"      // its ant does not have it
	DoubtUnclaimed DoubtKind = "unclaimed" // nobody has claimed it for so long that it is taken back
	DoubtRing      DoubtKind = "ring"      // nobody has claimed it since it was rung for
	DoubtStop      DoubtKind = "stop"      // it was told to stop, and its grace is over
	DoubtTimeout   DoubtKind = "timeout"
	DoubtLease     DoubtKind = "lease" // its ant is not heard of
)

// Limits are the times after which an attempt is doubtful.
type Limits struct {
	Stop    time.Duration // beyond the grace of the task
	Ring    time.Duration
	Replace time.Duration
	Gap     time.Duration // see Store.Beat
}

// Census is how many ants are heard of.
type Census struct {
	Silent     int // have attempts whose leases are over and were not heard of for a lease
	Heard      int
	BrakeUntil *time.Time
	Now        time.Time
}

// Mark is how far a reader of timers is.
type Mark struct {
	At        time.Time
	Execution uuid.UUID
	Idx       int
}

// Marks has one for each kind.
type Marks map[Kind]Mark

// Backlog counts what waits.
type Backlog struct {
	Ready      int64
	Oldest     float64 // seconds that the oldest READY task has waited
	Dispatched int64
	Running    int64
	Releases   int64
}
