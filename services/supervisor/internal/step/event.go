package step

import (
	"math/rand/v2"
	"slices"

	"github.com/google/uuid"

	"github.com/formicary/formicary/services/supervisor/internal/engine"
	"github.com/formicary/formicary/services/supervisor/internal/execution"
)

// apply gives one event to the engine.
func (b *batch) apply(r *runState, e *execution.Event) execution.Verdict {
	s := r.state
	switch e.Kind { //nolint:exhaustive // the others change nothing in a run that has ended
	case execution.AttemptEnded:
		return b.applyEnd(r, e)
	case execution.ChildSubmitted, execution.ChildRefused, execution.ChildEnded:
		return b.applyChild(r, e) // the record of the child is kept whatever became of its parent
	}
	if s.Job.State.Terminal() {
		return execution.Ignored
	}
	t := s.Tasks[e.Idx]
	switch e.Kind {
	case execution.AttemptEnded, execution.ChildSubmitted, execution.ChildRefused, execution.ChildEnded:
	case execution.Voted:
		if t == nil || t.State != engine.TaskWaiting || t.WaitGate != engine.GateApproval || t.Round != e.Round {
			return execution.Ignored
		}
		s.Voted(e.Idx, e.Round, e.Outcome, e.Reason, e.Values, b.now)
	case execution.TaskWakes:
		if t == nil || t.State != engine.TaskWaiting || t.WakeAt == nil || t.WakeAt.After(b.now) {
			return execution.Ignored
		}
		s.Wake(e.Idx, b.now)
	case execution.TaskOverdue:
		if t == nil {
			return execution.Ignored
		}
		limit := t.Limit()
		if limit == nil || limit.At.After(b.now) {
			return execution.Ignored
		}
		s.TaskOverdue(e.Idx, engine.Outcome{
			State: engine.AttemptTimedOut, FailureClass: engine.ClassTimeout, Message: because(limit.Message, t.State, e.Reason), Random: random(),
		}, b.now)
	case execution.Cancelled:
		s.Cancel(e.Reason, b.now)
	case execution.Paused:
		s.Pause(b.now)
	case execution.Resumed:
		s.Resume(b.now)
	case execution.Deadline:
		if s.Job.DeadlineAt == nil || s.Job.DeadlineAt.After(b.now) {
			return execution.Ignored
		}
		s.Deadline(e.Reason, b.now)
	case execution.Nudged:
		s.Continue(b.now)
	case execution.Rejoined:
		r.children = children{stale: true}
	}
	return execution.Applied
}

// because adds to what happened to a READY task why it waited.
func because(message string, state engine.TaskState, reason string) string {
	if state != engine.TaskReady || reason == "" {
		return message
	}
	return message + ": " + reason
}

// applyEnd ends an attempt if it may be ended by this event.
func (b *batch) applyEnd(r *runState, e *execution.Event) execution.Verdict {
	a := b.attempts[e.UID]
	switch {
	case !a.Live():
		if len(e.End.Digest) > 0 && slices.Equal(a.Digest, e.End.Digest) {
			return execution.Replayed
		}
		return execution.Stale
	case e.End.Ant != "" && (a.State != engine.AttemptRunning || e.End.Ant != a.Ant):
		return execution.Stale
	case e.End.Still != nil && !e.End.Still(a, b.now):
		return execution.Ignored
	}
	o := e.End.Outcome
	o.Claimed, o.Random = a.State == engine.AttemptRunning, random()
	e.End.Outcome = o
	if o.Claimed && len(e.End.Digest) == 0 {
		// Nobody knows whether it runs still.
		b.changes.Stops = append(b.changes.Stops, execution.Ring{UID: a.UID, Ant: a.Ant})
	}
	b.endAttempt(r, a, e.End)
	r.state.TaskEnded(a.Idx, o, b.now)
	return execution.Applied
}

func random() float64 { return rand.Float64() } // #nosec G404 -- spreads retries

// endAttempt records the end of an attempt.
func (b *batch) endAttempt(r *runState, a *execution.Attempt, end execution.End) {
	a.State, a.Digest = end.Outcome.State, end.Digest
	delete(r.live, a.Idx)
	b.writes.Ends = append(b.writes.Ends, EndedAttempt{UID: a.UID, End: end})
	b.changes.Freed = append(b.changes.Freed, execution.Freed{UID: a.UID, Slots: a.Slots, Unclaimed: end.Unclaimed})
}

// applyChild applies what is new of a child: to its record, and to the task that forked it.
func (b *batch) applyChild(r *runState, e *execution.Event) execution.Verdict {
	b.writes.News = append(b.writes.News, ChildNews{Round: Round{Task{r.ID, e.Idx}, e.Round}, Kind: e.Kind, ChildNews: e.Child})
	s, c := r.state, &e.Child
	switch e.Kind {
	case execution.ChildSubmitted:
		s.Submitted(e.Idx, e.Round, c.Request.String(), b.now)
		return execution.Applied
	case execution.ChildRefused:
		s.Refused(e.Idx, e.Round, c.ErrorCode, c.Message, b.now)
	default:
		id := "" // of a chore
		if c.Request != uuid.Nil {
			id = c.Request.String()
		}
		s.ChildEnded(e.Idx, e.Round, engine.ChildOutcome{
			ID: id, State: c.State, ExitCode: c.ExitCode, ErrorCode: c.ErrorCode, Message: c.Message, Outputs: c.Outputs,
		}, b.now)
	}
	r.children = children{stale: true}
	return execution.Applied
}

// carryOut does what the engine has asked for: to attempts at once, the rest with the writes.
func (b *batch) carryOut(r *runState) {
	s := r.state
	for _, idx := range s.Withdraw {
		if a := r.live[idx]; a != nil {
			b.endAttempt(r, a, execution.End{Outcome: engine.Outcome{
				State: engine.AttemptCancelled, FailureClass: engine.ClassCancelled, Message: s.Tasks[idx].Message,
			}})
			b.changes.Stops = append(b.changes.Stops, execution.Ring{UID: a.UID, Ant: a.Ant})
		}
	}
	for _, idx := range s.Stop {
		if a := r.live[idx]; a != nil && a.StopRequested == nil {
			a.StopRequested = &b.now
			b.writes.Stops = append(b.writes.Stops, a.UID)
			b.changes.Stops = append(b.changes.Stops, execution.Ring{UID: a.UID, Ant: a.Ant})
		}
	}
	s.Withdraw, s.Stop = nil, nil
	b.writes.collect(r.Run, s, b.now, &b.changes)
}
