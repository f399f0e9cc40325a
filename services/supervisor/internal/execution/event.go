package execution

import (
	"time"

	"github.com/google/uuid"

	"github.com/formicary/formicary/services/supervisor/internal/engine"
)

// Kind says what happened.
type Kind int

// The kinds of events.
const (
	AttemptEnded   Kind = iota // UID, End
	TaskWakes                  // Execution, Idx: its time has come
	TaskOverdue                // Execution, Idx, Reason: it waited longer than it may, why if that is known
	Cancelled                  // Execution, Reason
	Paused                     // Execution
	Resumed                    // Execution
	Deadline                   // Execution, Reason: its deadline has passed, why it has not started if so
	Nudged                     // Execution: it should have gone on by itself
	ChildSubmitted             // Execution, Idx, Round, Child.Request: the job that the task forks exists
	ChildRefused               // Execution, Idx, Round, Child: it can never be submitted
	ChildEnded                 // Execution, Idx, Round, Child: it, or a chore, has ended
	Rejoined                   // Execution: what awaits children of the run must look again how they stand
	Voted                      // Execution, Idx, Round, Outcome, Reason, Values: people decided; only by way of a vote
)

// OfTask says that events of the kind are about one task.
func (k Kind) OfTask() bool {
	switch k {
	case AttemptEnded, TaskWakes, TaskOverdue, ChildSubmitted, ChildRefused, ChildEnded, Voted:
		return true
	case Cancelled, Paused, Resumed, Deadline, Nudged, Rejoined:
	}
	return false
}

// Event is something that happens to a run. What it assumes is checked again under the run's lock.
type Event struct {
	Kind      Kind
	Execution uuid.UUID
	Idx       int
	Reason    string
	Values    map[string]string // that the votes give
	UID       uuid.UUID
	End       End
	Round     int // of the task, see Task.Round
	Child     ChildNews
	Outcome   string // of a vote: APPROVED or REJECTED
}

// ChildNews is what is new of a job that a task forked, or of a chore.
type ChildNews struct {
	Request   uuid.UUID // zero: it was never submitted
	State     string    // COMPLETED, FAILED or CANCELLED
	ExitCode  int       // of the task that failed it
	ErrorCode string    // of a failure, or the reason of a refusal
	Message   string
	Outputs   map[string]string
	// Unsubmitted: it ended before it was submitted. If it was after all, the news is wrong and changes nothing.
	Unsubmitted bool
}

// End is how an attempt ends.
type End struct {
	Outcome engine.Outcome
	// Ant that it must run on; empty asks for none. Whichever session of the ant speaks: the ant may have registered any
	// number of times since the claim, and only who holds the attempt knows its uid.
	Ant string
	// Still, if set, must hold for the attempt as it is under the lock.
	Still func(a *Attempt, now time.Time) bool
	// Unclaimed says that its ant did not claim it in time, which speaks against the ant.
	Unclaimed bool
	// Digest of the result; equal digests are the same result.
	Digest []byte
	Log    StoredLog
	Usage  *Usage
	Cache  *CacheUse
	// Artifacts are complete uploads of the attempt, in the order in which they are shown.
	Artifacts []Kept
}

// CacheUse is what an attempt had of its cache; the outcomes are those of the contract.
type CacheUse struct {
	Outcome       string `json:"outcome"`
	Key           string `json:"key,omitzero"`
	FoundKey      string `json:"found_key,omitzero"`
	Bytes         int64  `json:"bytes,omitzero"`
	RawBytes      int64  `json:"raw_bytes,omitzero"`
	Local         bool   `json:"local,omitzero"`
	RestoreMillis int64  `json:"restore_millis,omitzero"`
	SavedMillis   int64  `json:"saved_millis,omitzero"`
	StoredBytes   int64  `json:"stored_bytes,omitzero"`
	StoreMillis   int64  `json:"store_millis,omitzero"`
}

// Usage of an attempt: what it used, and how long its steps took in milliseconds. What is not known is 0.
type Usage struct {
	CPUMillis       int64 `json:"cpu_millis,omitzero"`
	PeakMemoryBytes int64 `json:"peak_memory_bytes,omitzero"`
	BytesIn         int64 `json:"bytes_in,omitzero"`
	BytesOut        int64 `json:"bytes_out,omitzero"`
	PullMillis      int64 `json:"pull_millis,omitzero"`
	DownloadMillis  int64 `json:"download_millis,omitzero"`
	RunMillis       int64 `json:"run_millis,omitzero"`
	UploadMillis    int64 `json:"upload_millis,omitzero"`
}

// Kept is an upload of an attempt that becomes an artifact with its end.
type Kept struct {
	Upload uuid.UUID
	Age    time.Duration // how long it is kept
}

const (
	// ArtifactAge is how long an artifact is kept where nothing else is said.
	ArtifactAge = 30 * 24 * time.Hour
	// MostArtifactAge is how long it is kept at most.
	MostArtifactAge = 10 * 365 * 24 * time.Hour
	// MostArtifacts of one attempt.
	MostArtifacts = 100
)

// Input is an artifact that a task gets.
type Input struct {
	ID     uuid.UUID
	Task   string // that made it
	Name   string
	Bytes  int64
	SHA256 string
	Gone   bool // it was there and is not any more
}

// Verdict says what became of an event.
type Verdict int

// The verdicts.
const (
	Ignored Verdict = iota // what it assumes does not hold (any more)
	Applied
	Replayed // the same result was applied before
	Stale    // the attempt is not live, or not the ant's
	Unknown  // there is no such attempt or run
	// Postponed: the run cannot go on now, because the definition that it was made of cannot be read. The event changed
	// nothing and has to come again.
	Postponed
)

// Ring is an attempt and the ant that has to hear of it.
type Ring struct {
	UID uuid.UUID
	Ant string
}

// Moved is a run that changed its state.
type Moved struct {
	Run
	Job engine.Job
}

// TaskMoved is a task that changed its state, for live views.
type TaskMoved struct {
	Run
	Task     string
	State    engine.TaskState
	Attempt  int
	Ant      string
	ExitCode int
	Message  string
}

// Freed is an attempt whose slots are to be given back.
type Freed struct {
	UID       uuid.UUID
	Slots     int
	Unclaimed bool // its ant did not claim it in time
}

// Changes is what one transaction changed, as far as others must hear of it.
type Changes struct {
	Now   time.Time // by the database's clock
	Jobs  []Moved
	Rings []Ring // attempts to claim
	Stops []Ring // attempts to stop
	Tasks []TaskMoved
	Freed []Freed
	Ready []Candidate // tasks that became READY, best first within the runs
	Left  bool        // others did that are not named
	Timer *time.Time  // the earliest timer that was set
	// Children and Chores say that rows of that kind wait for their loop.
	Children bool
	Chores   bool
	Notices  []Notice // what people asked to be told
}

// Timed notes that a timer was set.
func (c *Changes) Timed(at *time.Time) {
	if at != nil && (c.Timer == nil || at.Before(*c.Timer)) {
		c.Timer = at
	}
}

// String names the verdict in logs and metrics.
func (v Verdict) String() string {
	switch v {
	case Ignored:
		return "ignored"
	case Applied:
		return "applied"
	case Replayed:
		return "replayed"
	case Stale:
		return "stale"
	case Unknown:
		return "unknown"
	case Postponed:
		return "postponed"
	}
	return "invalid"
}
