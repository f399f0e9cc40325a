package request

import "time"

// Apply follows the execution of the current run. What is not newer than what was mirrored changes nothing.
func (r *Request) Apply(now time.Time, e Execution) {
	if e.Run != r.rec.Run || e.Version <= r.rec.ExecutionVersion || r.rec.State.Terminal() {
		return
	}
	if r.rec.State == Ready && e.State == Ready {
		return // the launch of what was admitted: nobody sees a difference, so no row is written
	}
	r.rec.ExecutionVersion = e.Version
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
		r.rec.ResumeAt = e.ResumeAt
	case e.State == Manual:
		r.move(now, Manual)
	case r.rec.State == Paused || r.rec.State == Manual:
		// Supervisor may go on, for example after an approval. The place was given back, so it waits for one again.
		r.move(now, Pending)
	case e.State == Executing:
		r.move(now, Executing)
	}
}

// finish ends the run: with the request, or with the next run where one is asked for and still wanted.
func (r *Request) finish(now time.Time, e Execution) {
	r.rec.EndedAt = e.EndedAt
	switch {
	case e.RestartAt == nil:
		r.end(now, e.State, e.ErrorCode, e.ErrorMessage)
	case r.rec.CancelRequestedAt != nil:
		r.end(now, Cancelled, codeCancelled, r.rec.CancelReason)
	default:
		r.nextRun(now, e.RestartSoft, e.RestartAt)
	}
}

// Reconcile compares a request that has been silent for too long with what supervisor knows of its run; found is nil
// when supervisor knows nothing. What was lost on the way is told again.
func (r *Request) Reconcile(now time.Time, found *Execution) {
	if found != nil && found.Run != r.rec.Run {
		return // it has moved on since it was asked about
	}
	if found != nil && found.Version > r.rec.ExecutionVersion {
		r.Apply(now, *found)
	}
	if r.rec.State.Terminal() {
		return
	}
	if r.rec.State == Ready {
		switch {
		case found == nil || found.State == Paused || found.State == Manual:
			r.tell(now, Event{Kind: Admitted})
		case found.State == Executing || found.State.Terminal():
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
