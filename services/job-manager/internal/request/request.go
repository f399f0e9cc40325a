package request

import (
	"encoding/json"
	"fmt"
	"time"

	"github.com/google/uuid"

	"github.com/formicary/formicary/libs/errs"
	"github.com/formicary/formicary/services/job-manager/internal/errorcode"
)

// Record is everything that is stored of a request.
type Record struct {
	ID                uuid.UUID
	OrgID             string
	JobType           string
	DefinitionID      uuid.UUID
	DefinitionVersion int
	State             State
	Run               int
	// Version rises with every change that people can see.
	Version int64
	// ExecutionVersion is the newest version of the run's execution that was mirrored; 0 while none is known.
	ExecutionVersion int64
	// ReuseRun is the run whose completed tasks this one keeps; 0 for none.
	ReuseRun int
	Priority int
	// AgeAt orders equal priorities, older first.
	AgeAt time.Time
	// ScheduledAt is the earliest start; nil means at once.
	ScheduledAt *time.Time
	// Queued says that the scheduler may admit it: PENDING, due and not being cancelled.
	Queued bool
	// PlacementClass joins the classes of its first tasks.
	PlacementClass string
	// Params is the JSON object of the parameters, defaults filled in.
	Params         json.RawMessage
	Description    string
	IdempotencyKey string
	// Hash of what was submitted, to tell a repeated call from another one with the same key.
	Hash              []byte
	CreatedBy         string
	CreatedAt         time.Time
	UpdatedAt         time.Time
	StartedAt         *time.Time
	EndedAt           *time.Time
	CancelRequestedAt *time.Time
	CancelReason      string
	PauseRequestedAt  *time.Time
	// ResumeAt is when a PAUSED request resumes by itself.
	ResumeAt     *time.Time
	ErrorCode    string
	ErrorMessage string
	// ParentID is the request that forked it, ParentTask the task that did; nil for what a person submitted.
	ParentID   *uuid.UUID
	ParentTask string
	// ChildKey is the same each time the fork is submitted; empty for what no task forked.
	ChildKey string
	// Depth is the number of its ancestors.
	Depth int
	// Retries counts the runs that began by themselves since it was submitted or restarted by a person.
	Retries int
	// FromTask is the first task that the run does not keep of ReuseRun; empty keeps all that completed.
	FromTask string
	// RestartedAt is when a person last restarted it.
	RestartedAt *time.Time
	// TotalDeadline is when its total timeout passes; nil before its launch and without one.
	TotalDeadline *time.Time
	// PendingTimeout is how long it may wait for the start of a run; 0 means no bound. PendingUntil is when that passes for
	// the run that waits.
	PendingTimeout time.Duration
	PendingUntil   *time.Time
	// MissingAt is when supervisor first answered that it knows nothing of the run.
	MissingAt *time.Time
	// Audience is who hears of the request, as JSON of plan.Audience; nil for nobody, and before its launch.
	Audience json.RawMessage
	// RestartedFrom is the state that a person last restarted it from; empty when nobody did.
	RestartedFrom State
}

// Begun says that supervisor knows the current run, so that only supervisor can end it.
func (r *Record) Begun() bool { return r.ExecutionVersion > 0 }

// Request is a record under change. Its methods are the only way to another state.
type Request struct {
	rec     Record
	events  []Event
	changed bool
}

// Load returns the request of a stored record.
func Load(rec Record) *Request { return &Request{rec: rec} }

// Record returns it as it is now.
func (r *Request) Record() Record { return r.rec }

// Changed says that the record differs from what was loaded.
func (r *Request) Changed() bool { return r.changed }

// Events are what the changes have to tell others, in order.
func (r *Request) Events() []Event { return r.events }

// Cancel ends the request, or asks supervisor to end it where a run may have begun, or left its clean-up to the next one.
// A terminal request stays as it is.
func (r *Request) Cancel(now time.Time, reason string) {
	switch {
	case r.rec.State.Terminal() || r.rec.CancelRequestedAt != nil:
		return
	case (r.rec.State == Pending || r.rec.State == Paused) && !r.rec.Begun() && r.rec.Retries == 0:
		r.rec.CancelReason = reason
		r.end(now, Cancelled, errorcode.JobCancelled, reason)
	default:
		r.rec.CancelRequestedAt, r.rec.CancelReason = &now, reason
		r.rec.Queued = false
		r.touch(now)
		r.control(now, Cancel)
	}
}

// Pause keeps the request from starting anything more. What was not admitted is PAUSED at once; what was shows it when
// supervisor says that nothing of it runs.
func (r *Request) Pause(now time.Time) error {
	switch {
	case r.rec.State.Terminal():
		return errs.Precondition("REQUEST_STATE", "request %s is %s and cannot be paused", r.rec.ID, r.rec.State)
	case r.rec.State == Paused || r.rec.PauseRequestedAt != nil || r.rec.CancelRequestedAt != nil:
		return nil
	case r.rec.State == Pending:
		r.move(now, Paused)
	default:
		r.rec.PauseRequestedAt = &now
		r.touch(now)
		r.control(now, Pause)
	}
	return nil
}

// Resume puts a paused request back into the queue, with the same run and age.
func (r *Request) Resume(now time.Time) error {
	if r.rec.State != Paused {
		return errs.Precondition("REQUEST_STATE", "request %s is %s, not %s, and cannot be resumed", r.rec.ID, r.rec.State, Paused)
	}
	if r.rec.CancelRequestedAt != nil {
		return errs.Precondition("REQUEST_STATE", "request %s is being cancelled and cannot be resumed", r.rec.ID)
	}
	r.move(now, Pending)
	return nil
}

// Pin is a version of the definition for the next runs, with what depends on it.
type Pin struct {
	DefinitionID      uuid.UUID
	DefinitionVersion int
	Params            json.RawMessage
	PlacementClass    string
	PendingTimeout    time.Duration
}

// Again says how a person wants an ended request to run again.
type Again struct {
	// Hard keeps nothing; otherwise the completed tasks of the last run that began are kept.
	Hard bool
	// FromTask is not kept, nor is what comes after it; empty keeps all that completed.
	FromTask string
	// Pin is another version; nil stays with the one that the request has.
	Pin *Pin
}

// waitFrom begins the time that the run may wait for its start, anew after a pause before it. A run that has started has
// had it.
func (r *Record) waitFrom(now time.Time) {
	r.PendingUntil = nil
	if r.PendingTimeout == 0 || r.StartedAt != nil {
		return
	}
	if r.ScheduledAt != nil && r.ScheduledAt.After(now) {
		now = *r.ScheduledAt
	}
	until := now.Add(r.PendingTimeout)
	r.PendingUntil = &until
}

// DueAt is from when on the run could have started, where that matters; else nil.
func (r *Record) DueAt() *time.Time {
	if r.PendingUntil == nil {
		return nil
	}
	at := r.PendingUntil.Add(-r.PendingTimeout)
	return &at
}

// Overdue ends a request that has waited for its start longer than it may; reason is what held it. A run that follows one
// that failed is ended by supervisor, which knows how that one failed and whether it left clean-up to this one: it is
// admitted with the error that its launch answers with.
func (r *Request) Overdue(now time.Time, reason string) {
	if !r.rec.overdue(now) {
		return
	}
	why := short(fmt.Sprintf("it did not start within %s: %s", r.rec.PendingTimeout, reason))
	if r.rec.Retries > 0 && !r.rec.Begun() {
		r.rec.ErrorCode, r.rec.ErrorMessage = errorcode.JobTimeout, why
		r.move(now, Ready)
		r.emit(now, Event{Kind: Admitted})
		return
	}
	r.end(now, Failed, errorcode.JobTimeout, why)
	if r.rec.Begun() { // supervisor holds the run since a pause; nothing of it has started
		r.rec.CancelReason = why
		r.control(now, Cancel)
	}
}

// Lapsed says that the run is not to be begun: it has not started in time.
func (r *Record) Lapsed() bool { return r.State == Ready && r.ErrorCode != "" }

func (r *Record) overdue(now time.Time) bool {
	return r.State == Pending && r.PendingUntil != nil && !r.PendingUntil.After(now) && r.CancelRequestedAt == nil
}

// Restart makes a new run of a terminal request. Its retries and its total timeout begin anew.
func (r *Request) Restart(now time.Time, a Again) error {
	if !r.rec.State.Terminal() {
		return errs.Precondition("REQUEST_STATE", "request %s is %s; only an ended one can be restarted", r.rec.ID, r.rec.State)
	}
	if a.Pin != nil {
		r.rec.DefinitionID, r.rec.DefinitionVersion = a.Pin.DefinitionID, a.Pin.DefinitionVersion
		r.rec.Params, r.rec.PlacementClass, r.rec.PendingTimeout = a.Pin.Params, a.Pin.PlacementClass, a.Pin.PendingTimeout
	}
	r.rec.AgeAt, r.rec.RestartedAt = now, &now
	r.rec.Retries, r.rec.TotalDeadline = 0, nil
	r.rec.Audience, r.rec.RestartedFrom = nil, r.rec.State
	r.nextRun(now, !a.Hard, nil)
	r.rec.FromTask = a.FromTask
	return nil
}

// nextRun begins the next run, not before at.
func (r *Request) nextRun(now time.Time, soft bool, at *time.Time) {
	switch {
	case !soft:
		r.rec.ReuseRun, r.rec.FromTask = 0, ""
	case r.rec.Begun():
		r.rec.ReuseRun, r.rec.FromTask = r.rec.Run, ""
	}
	r.rec.Run++
	r.rec.ExecutionVersion = 0
	r.rec.ScheduledAt = at
	r.rec.StartedAt, r.rec.EndedAt, r.rec.MissingAt = nil, nil, nil
	r.rec.CancelRequestedAt, r.rec.CancelReason = nil, ""
	r.rec.ErrorCode, r.rec.ErrorMessage = "", ""
	if r.rec.PauseRequestedAt != nil { // the wish outlives the run that ended before it was fulfilled
		r.enter(now, Paused)
		return
	}
	r.enter(now, Pending)
}

// move changes the state within the run. Moves that are not allowed do not happen.
func (r *Request) move(now time.Time, to State) {
	if allowed(Move{From: r.rec.State, To: to}) {
		r.enter(now, to)
	}
}

// end moves to a terminal state.
func (r *Request) end(now time.Time, to State, code, message string) {
	if r.rec.EndedAt == nil {
		r.rec.EndedAt = &now
	}
	r.rec.ErrorCode, r.rec.ErrorMessage, r.rec.MissingAt = code, message, nil
	r.move(now, to)
	if r.rec.ChildKey != "" && r.rec.State == to {
		r.emit(now, Event{Kind: ChildEnded})
	}
}

func (r *Request) enter(now time.Time, to State) {
	r.rec.State = to
	r.rec.Queued = to == Pending && r.rec.CancelRequestedAt == nil && (r.rec.ScheduledAt == nil || !r.rec.ScheduledAt.After(now))
	r.rec.ResumeAt = nil
	if to == Pending {
		r.rec.waitFrom(now)
	}
	if to != Executing { // a wish to pause is not fulfilled by the begin of the run
		r.rec.PauseRequestedAt = nil
	}
	r.touch(now)
	if to == Pending {
		r.emit(now, Event{Kind: Submitted})
	}
	r.emit(now, Event{Kind: Changed})
}

func (r *Request) touch(now time.Time) {
	r.changed = true
	r.rec.Version++
	r.rec.UpdatedAt = now
}

func (r *Request) control(now time.Time, a Action) {
	r.emit(now, Event{Kind: Control, Action: a})
}

func (r *Request) emit(now time.Time, e Event) {
	e.Record, e.At = r.rec, now
	r.events = append(r.events, e)
}
