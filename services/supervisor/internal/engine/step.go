package engine

import (
	"slices"
	"time"

	"github.com/formicary/formicary/libs/jobspec/plan"
)

// Dispatched says that attempts of READY tasks were made.
func (s *State) Dispatched(idx []int, now time.Time) {
	for _, i := range idx {
		t := s.Tasks[i]
		if t == nil || t.State != TaskReady || s.Job.State.Terminal() {
			continue
		}
		s.move(t, TaskDispatched, "", now)
		t.Attempts++
		s.begin(t, now)
	}
}

// TaskEnded says that the live attempt of a task ended.
func (s *State) TaskEnded(idx int, o Outcome, now time.Time) {
	t := s.Tasks[idx]
	if t == nil || !t.State.live() || s.Job.State.Terminal() {
		return
	}
	s.conclude(t, o, now)
	s.run(now)
}

// TaskOverdue says that a task that is READY or WAITING waited longer than it may; o is the reason. What it waited for is
// given up: a child is cancelled.
func (s *State) TaskOverdue(idx int, o Outcome, now time.Time) {
	t := s.Tasks[idx]
	if t == nil || t.State != TaskReady && t.State != TaskWaiting || s.Job.State.Terminal() {
		return
	}
	if t.WaitGate == GateItems { // it ends when its items have
		if t.Items.Overdue {
			return
		}
		s.reopen()
		t.Items.Overdue = true
		s.stopItems(t)
	} else {
		limit := t.Limit()
		s.reopen()
		s.stopWaiting(t)
		if limit != nil && limit.Attempt && t.WaitGate == GateChild && !limit.At.After(now) {
			s.conclude(t, o, now)
		} else {
			s.record(t, o)
			s.fail(t, o, now)
		}
	}
	s.run(now)
}

// Wake says that the time of a WAITING task has come.
func (s *State) Wake(idx int, now time.Time) {
	t := s.Tasks[idx]
	if t == nil || t.State != TaskWaiting || t.WakeAt == nil || s.Job.State.Terminal() {
		return
	}
	switch {
	case t.WaitGate == GateApproval:
		s.reopen()
		s.lapse(t, now)
	case t.waited():
		s.conclude(t, Outcome{State: AttemptSucceeded, Claimed: true}, now)
	default:
		s.start(t, now)
	}
	s.run(now)
}

// Cancel stops what runs, starts nothing but always_run, and ends the job CANCELLED.
func (s *State) Cancel(reason string, now time.Time) {
	if s.Job.State.Terminal() || s.Job.CancelRequested {
		return
	}
	s.JobChanged = true
	s.Job.CancelRequested, s.Job.ErrorCode, s.Job.ErrorMessage = true, "ERR_JOB_CANCELLED", reason
	s.stop(now)
	s.run(now)
}

// Deadline says that the job's deadline has passed: first its timeout, or that of the wait for its start, then the end of
// its clean-up. reason is what keeps its tasks from starting, "" when that is not known.
func (s *State) Deadline(reason string, now time.Time) {
	if s.Job.State.Terminal() {
		return
	}
	s.JobChanged = true
	if j := &s.Job; j.StartedAt != nil && j.Policy.PendingUntil != nil && !j.Stopping { // whoever started it did not know of the bound
		s.PolicyChanged, j.Policy.PendingUntil = true, nil
		if j.DeadlineAt = j.timeout(*j.StartedAt); j.DeadlineAt == nil || j.DeadlineAt.After(now) {
			s.run(now)
			return
		}
	}
	if s.Job.Stopping {
		s.Job.DeadlineAt = nil
		s.Job.Policy.Ending, s.PolicyChanged = false, true
		s.sweeping |= sweepEnd
	} else {
		code, message := codeJobTimeout, s.Job.tooLong(reason, now)
		if s.Job.late(now) {
			s.noRestart() // the next run would wait as this one did
			code, message = s.Job.Policy.Before.Then(code, message)
		}
		s.failJob(code, message)
		s.stop(now)
	}
	s.run(now)
}

// late says that the run has not started in time.
func (j *Job) late(now time.Time) bool {
	return j.StartedAt == nil && j.Policy.PendingUntil != nil && !j.Policy.PendingUntil.After(now)
}

func (j *Job) tooLong(reason string, now time.Time) string {
	if j.late(now) {
		text := "it did not start within " + j.Policy.Pending.String()
		if reason != "" {
			text += ": " + reason
		}
		return text
	}
	if end := j.Policy.TotalDeadline; end != nil && !end.After(now) {
		return "all runs of the job together did not end in time"
	}
	return "the job did not end within its timeout of " + j.Policy.Timeout.String()
}

// stop stops what runs; clean-up gets its time once that has ended.
func (s *State) stop(now time.Time) {
	waits := s.Job.State == JobPaused || s.Job.State == JobApproval
	if !s.Job.Stopping || waits { // else its clean-up goes on in the time that it has
		s.Job.Policy.Ending, s.PolicyChanged = true, true
		s.Job.DeadlineAt = later(now, stopTime+s.Job.Policy.CleanupTimeout)
	}
	s.Job.Stopping, s.Job.PauseRequested, s.Job.ResumeAt = true, false, nil
	s.sweeping |= sweepStop
	if waits {
		s.moveJob(JobExecuting)
	}
}

// stopTime is what a task gets to end after it was told to, beyond its grace. Supervisor ends its attempt earlier: it only
// keeps a job from waiting for ever for what should have ended.
const stopTime = time.Minute

// waitForGrace lets the clean-up wait for a task that gets its grace to end.
func (s *State) waitForGrace(t *Task, now time.Time) {
	if at := later(now, t.Spec.Grace+stopTime+s.Job.Policy.CleanupTimeout); s.Job.Policy.Ending && s.Job.DeadlineAt != nil && at.After(*s.Job.DeadlineAt) {
		s.Job.DeadlineAt = at
	}
}

// timeCleanUp begins the time of the clean-up when nothing else is left.
func (s *State) timeCleanUp(now time.Time) {
	j := &s.Job
	switch {
	case j.Policy.Ending:
		s.PolicyChanged, j.Policy.Ending = true, false
	case j.Failing && !j.Stopping:
		j.Stopping = true
	default:
		return
	}
	s.JobChanged = true
	j.DeadlineAt = later(now, j.Policy.CleanupTimeout)
}

// Pause starts nothing more; when nothing runs the job is PAUSED.
func (s *State) Pause(now time.Time) {
	if s.Job.State.Terminal() || s.Job.PauseRequested || s.Job.Stopping {
		return
	}
	s.pause(false)
	s.run(now)
}

func (s *State) pause(auto bool) {
	s.JobChanged, s.PolicyChanged = true, true
	s.Job.PauseRequested, s.Job.Policy.AutoResume = true, auto
	s.sweeping |= sweepPause
	s.reopened = false
}

// reopen is called before something is decided about a task of a job that waits for approvals only. It counts against
// no limit then, so what follows must not start before it is admitted again: a pause holds it.
func (s *State) reopen() {
	if s.Job.State == JobApproval && !s.Job.PauseRequested {
		s.JobChanged, s.PolicyChanged = true, true
		s.Job.PauseRequested, s.Job.Policy.AutoResume = true, true
		s.reopened, s.held = true, false
	}
}

// Resume lets a paused job go on.
func (s *State) Resume(now time.Time) {
	if s.Job.State.Terminal() || !s.Job.PauseRequested {
		return
	}
	s.JobChanged, s.PolicyChanged = true, true
	s.Job.PauseRequested, s.Job.Policy.AutoResume, s.Job.ResumeAt = false, false, nil
	s.sweeping &^= sweepPause
	s.sweeping |= sweepResume
	if s.Job.State == JobPaused {
		switch {
		case s.Job.Stopping: // only the clean-up is left
			s.Job.DeadlineAt = later(now, s.Job.Policy.CleanupTimeout)
		default:
			if s.Job.Policy.PendingUntil != nil { // it has not begun, and a pause is no wait
				s.Job.Policy.PendingUntil = later(now, s.Job.Policy.Pending)
			}
			s.Job.DeadlineAt = s.Job.timeout(now)
		}
		if s.Job.StartedAt == nil {
			s.moveJob(JobReady)
		} else {
			s.moveJob(JobExecuting)
		}
	}
	s.run(now)
}

// Continue goes on with a step after the caller has loaded what Need named.
func (s *State) Continue(now time.Time) { s.run(now) }

// Load adds tasks that a step needs; those that are loaded already stay as they are.
func (s *State) Load(tasks ...*Task) {
	for _, t := range tasks {
		if _, ok := s.Tasks[t.Idx]; !ok {
			s.Tasks[t.Idx] = t
		}
	}
}

// run goes on until the step is complete or something is missing. The order of the cases is fixed, and a case that
// misses something ends the round: so what is decided does not depend on what happened to be loaded.
func (s *State) run(now time.Time) {
	s.need = Need{}
	for more := true; more && !s.Job.State.Terminal(); {
		switch {
		case s.sweeping != sweepNone && s.Job.TasksOpen > 0:
			if more = s.AllOpen; more {
				s.sweep(now)
			} else {
				s.need.Open = true
			}
		case len(s.queue) > 0:
			more = s.resolveQueue(now)
		case len(s.ended) > 0:
			more = s.countItems()
		case len(s.halting) > 0:
			more = s.haltItems(now)
		case len(s.releasing) > 0:
			more = s.release(now)
		case len(s.finished) > 0:
			more = s.finishGroups(now)
		case len(s.undecided) > 0:
			more = s.applyDecisions(now)
		case len(s.joining) > 0:
			more = s.join(now)
		default:
			more = s.rollUp(now)
		}
	}
}

// rollUp draws the conclusions from the counters; it says whether there is more to do.
func (s *State) rollUp(now time.Time) (more bool) {
	j := &s.Job
	if j.TasksOpen == 0 {
		s.end(now)
		return false
	}
	if j.NormalOpen == 0 {
		s.timeCleanUp(now)
	}
	if j.NormalOpen == 0 || j.Failing && s.quiet() {
		if !s.TrailingLoaded {
			s.need.Trailing = true
			return false
		}
		if s.cleanUp(now) {
			return true
		}
	}
	s.moveIdle(now)
	return false
}

// moveIdle moves a job of which nothing runs.
func (s *State) moveIdle(now time.Time) {
	j := &s.Job
	switch {
	case s.reopened && !s.held: // others are still to be approved, nothing follows from this one
		s.JobChanged, s.PolicyChanged = true, true
		j.PauseRequested, j.Policy.AutoResume = false, false
	case s.reopened:
		s.moveJob(JobPaused)
		j.ResumeAt = &now
	case j.PauseRequested && j.Running == 0 && j.State != JobPaused:
		s.moveJob(JobPaused)
		if j.Policy.AutoResume {
			j.ResumeAt = later(now, j.Policy.PauseTime)
		}
	case !j.PauseRequested && !j.Stopping && j.Approvals > 0 && j.Active == 0 && j.State != JobApproval:
		s.moveJob(JobApproval)
	}
	s.reopened = false
	if (j.State == JobPaused || j.State == JobApproval) && j.DeadlineAt != nil {
		s.JobChanged = true
		j.DeadlineAt = nil // a resume gives the whole timeout again
	}
}

// quiet says that nothing goes on and nothing will but clean-up.
func (s *State) quiet() bool {
	j := &s.Job
	return j.Active == 0 && j.Approvals == 0 && (!j.PauseRequested || s.reopened && !s.held)
}

// cleanUp starts the clean-up that waited for everything else. Of a run that another one follows it is left to that one:
// what it would clean up is kept.
func (s *State) cleanUp(now time.Time) (changed bool) {
	again := s.Job.restartAt(now) != nil
	if again && !s.quiet() {
		return false
	}
	for _, i := range s.open() {
		t := s.Tasks[i]
		switch {
		case !t.Trailing || t.State != TaskBlocked || s.Job.NormalOpen > 0 && !t.Postponed:
			continue
		case again:
			s.touch(t)
			t.Postponed, t.Message = true, "it runs when the job has ended for good"
			s.drop(t, now)
		default:
			s.activate(t, now)
		}
		changed = true
	}
	return changed
}

// restartAt is when the run that follows this one may begin, if the job ended now; nil: none follows.
func (j *Job) restartAt(now time.Time) *time.Time {
	next := j.Retries + 1
	if !j.Failing || j.CancelRequested || j.Policy.Final || next > j.tries() {
		return nil
	}
	at := later(now, max(j.Policy.Backoff.For(next, 0), minDelay))
	if end := j.Policy.TotalDeadline; end != nil && end.Before(*at) {
		return nil
	}
	return at
}

// open returns the loaded tasks that have not ended, in order.
func (s *State) open() []int {
	var idx []int
	for i, t := range s.Tasks {
		if !t.State.Terminal() {
			idx = append(idx, i)
		}
	}
	slices.Sort(idx)
	return idx
}

// end ends the job.
func (s *State) end(now time.Time) {
	j := &s.Job
	j.EndedAt, j.DeadlineAt, j.ResumeAt = &now, nil, nil
	switch {
	case j.CancelRequested:
		s.moveJob(JobCancelled)
	case j.Failing:
		j.RestartAt = j.restartAt(now)
		j.RestartSoft = j.RestartAt != nil && (j.Policy.HardReset <= 0 || j.Retries < j.Policy.HardReset)
		s.moveJob(JobFailed)
	default:
		s.moveJob(JobCompleted)
	}
}

// Outlook is how the job will end as it stands: FAILED, CANCELLED, COMPLETED when only clean-up is left, else EXECUTING.
func (j *Job) Outlook() string {
	switch {
	case j.CancelRequested:
		return string(JobCancelled)
	case j.Failing:
		return string(JobFailed)
	case j.NormalOpen == 0:
		return string(JobCompleted)
	}
	return string(JobExecuting)
}

// tries are how many further runs the job may have after its first one.
func (j *Job) tries() int {
	if j.Policy.Restart {
		return plan.Restarts(j.Policy.Retry, j.Policy.RetryGiven)
	}
	return j.Policy.Retry
}

// timeout is when a run that goes on now must have ended, or begun; nil: never.
func (j *Job) timeout(now time.Time) *time.Time {
	var at *time.Time
	if j.Policy.Timeout > 0 {
		at = later(now, j.Policy.Timeout)
	}
	if end := j.Policy.TotalDeadline; end != nil && (at == nil || end.Before(*at)) {
		at = end
	}
	if end := j.Policy.PendingUntil; end != nil && (at == nil || end.Before(*at)) {
		at = end
	}
	return at
}

// minDelay keeps a job or task that restarts at once from spinning.
const minDelay = 100 * time.Millisecond

func (s *State) moveJob(to JobState) {
	s.JobChanged, s.JobMoved = true, true
	s.Job.State = to
	s.Job.Version++
}

// failJob makes the job failing; the first reason is kept.
func (s *State) failJob(code, message string) {
	s.JobChanged = true
	if s.Job.Failing || s.Job.CancelRequested {
		s.Job.Failing = true
		return
	}
	s.Job.Failing, s.Job.ErrorCode, s.Job.ErrorMessage = true, code, message
}

// live says that the task has a live attempt.
func (s TaskState) live() bool { return s == TaskDispatched || s == TaskRunning }

// touch notes that a task changes.
func (s *State) touch(t *Task) {
	if !t.Changed {
		t.Changed, t.From = true, t.State
	}
}

// active says that a task goes on without a person.
func (t *Task) active() bool {
	switch t.State {
	case TaskReady, TaskDispatched, TaskRunning:
		return true
	case TaskWaiting:
		return t.WaitGate == GateSchedule || t.WaitGate == GateChild
	case TaskBlocked, TaskCompleted, TaskFailed, TaskSkipped, TaskCancelled:
	}
	return false
}

// count adds a task to the counters of what goes on, or takes it away.
func (s *State) count(t *Task, n int) {
	if t.State.live() {
		s.Job.Running += n
	}
	if t.active() {
		s.Job.Active += n
	}
	if t.State == TaskWaiting && t.WaitGate == GateApproval {
		s.Job.Approvals += n
	}
}

// move changes the state of a task, with the gate that it waits at, and the counters that follow from it.
func (s *State) move(t *Task, to TaskState, gate string, now time.Time) {
	s.touch(t)
	s.JobChanged = true
	s.count(t, -1)
	t.State, t.WaitGate, t.WaitReason, t.WakeAt, t.Since = to, gate, "", nil, nil
	s.count(t, 1)
	if !to.Terminal() {
		return
	}
	t.EndedAt = &now
	s.Job.TasksOpen--
	if !t.Spec.AlwaysRun {
		s.Job.NormalOpen--
	}
	if t.IsItem() {
		s.ended = append(s.ended, t.Idx)
	} else {
		s.queue = append(s.queue, t.Idx)
	}
}
