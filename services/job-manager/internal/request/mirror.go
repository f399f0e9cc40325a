package request

import (
	"time"

	"github.com/formicary/formicary/services/job-manager/internal/errorcode"
)

// Apply follows the execution of the current run. What is not newer than what was mirrored changes nothing.
func (r *Request) Apply(now time.Time, e Execution) {
	if e.Run != r.rec.Run || e.Version <= r.rec.ExecutionVersion || r.rec.State.Terminal() {
		return
	}
	if r.rec.State == Ready && e.State == Ready {
		return // the launch of what was admitted: nobody sees a difference, so no row is written
	}
	r.rec.ExecutionVersion, r.rec.MissingAt = e.Version, nil
	r.changed = true
	r.follow(now, e)
}

// follow shows what the execution shows.
func (r *Request) follow(now time.Time, e Execution) {
	if e.StartedAt != nil {
		r.rec.StartedAt = e.StartedAt
	}
	switch {
	case e.State.Terminal():
		r.finish(now, e)
	case e.State == Paused:
		if r.rec.State != Paused {
			r.move(now, Paused)
		}
		r.resumesAt(e.ResumeAt)
	case e.State == Manual:
		r.move(now, Manual)
	case r.rec.State == Paused || r.rec.State == Manual:
		// Supervisor may go on, for example after an approval. The place was given back, so it waits for one again.
		r.move(now, Pending)
	case e.State == Executing:
		r.move(now, Executing)
	}
}

// resumesAt notes when a PAUSED request goes on by itself, also for those who are told that it is paused.
func (r *Request) resumesAt(at *time.Time) {
	r.rec.ResumeAt = at
	for i := range r.events {
		if e := &r.events[i]; e.Kind == Changed && e.Record.State == Paused {
			e.Record.ResumeAt = at
		}
	}
}

// finish ends the run: with the request, or with the next run where one is asked for and still wanted.
func (r *Request) finish(now time.Time, e Execution) {
	r.rec.EndedAt = e.EndedAt
	switch {
	case e.RestartAt == nil:
		r.end(now, e.State, e.ErrorCode, e.ErrorMessage)
	case r.rec.CancelRequestedAt != nil: // clean-up may be left
		reason := r.rec.CancelReason
		r.rec.Retries++
		r.nextRun(now, e.RestartSoft, nil)
		r.Cancel(now, reason)
	case r.rec.TotalDeadline != nil && e.RestartAt.After(*r.rec.TotalDeadline):
		r.end(now, Failed, e.ErrorCode, tooLate(e.ErrorMessage, *r.rec.TotalDeadline))
	default:
		r.rec.Retries++
		r.nextRun(now, e.RestartSoft, e.RestartAt)
	}
}

// tooLate adds to the message of a failure why it is not tried again.
func tooLate(message string, deadline time.Time) string {
	const why = "not tried again: the total timeout of the job passes at "
	if message != "" {
		message += "; "
	}
	return message + why + deadline.UTC().Format(time.RFC3339)
}

// lostAfter is how long supervisor has to know nothing of a run that has begun before the run is given up: an answer may
// come from a replica that is behind.
const lostAfter = 2 * time.Minute

// Reconcile compares a request that has been silent for too long with what supervisor knows of its run; found is nil
// when supervisor knows nothing. What was lost on the way is told again.
func (r *Request) Reconcile(now time.Time, found *Execution) {
	if found != nil && found.Run != r.rec.Run {
		return // it has moved on since it was asked about
	}
	if found != nil && found.Version > r.rec.ExecutionVersion {
		r.Apply(now, *found)
	}
	if !r.rec.State.Terminal() {
		r.missing(now, found == nil)
	}
	if r.rec.State.Terminal() {
		return
	}
	if r.rec.State == Ready {
		switch {
		case found == nil || found.State == Paused:
			r.emit(now, Event{Kind: Admitted})
		case found.State != Ready:
			// What it waits for, or does, was heard of while the request was PENDING and could not show it.
			r.changed = true
			r.follow(now, *found)
		}
	}
	if r.rec.State.Terminal() {
		return
	}
	if r.rec.CancelRequestedAt != nil {
		r.control(now, Cancel)
	}
	if r.rec.PauseRequestedAt != nil {
		r.control(now, Pause)
	}
}

// missing ends a run that supervisor has lost: one that executes, waits for people (nobody could ever vote), or is to be
// cancelled while it waits. An admitted one begins anew when its admission is told again, a paused one when it is resumed.
func (r *Request) missing(now time.Time, missing bool) {
	watched := r.rec.State == Executing || r.rec.State == Manual || r.rec.CancelRequestedAt != nil && r.rec.State != Ready
	switch {
	case !missing || !watched || !r.rec.Begun():
		if r.rec.MissingAt != nil {
			r.rec.MissingAt, r.changed = nil, true
		}
	case r.rec.MissingAt == nil:
		r.rec.MissingAt, r.changed = &now, true
	case now.Sub(*r.rec.MissingAt) <= lostAfter:
	case r.rec.CancelRequestedAt != nil:
		r.end(now, Cancelled, errorcode.JobCancelled, r.rec.CancelReason)
	default:
		r.end(now, Failed, errorcode.RunLost, "supervisor knows nothing of the run any more")
	}
}
