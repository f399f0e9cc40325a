package engine

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/formicary/formicary/libs/jobspec/plan"
)

// childCompleted is the state of the request of a child that went well.
const childCompleted = "COMPLETED"

// fork submits the child of a task.
func (s *State) fork(t *Task, now time.Time) {
	s.begin(t, now)
	if t.Fork == nil {
		t.Fork = t.Spec.Fork
	}
	if t.Fork == nil {
		s.fault(t, "it names no job to fork", now)
		return
	}
	t.Round++
	t.ChildID = ""
	s.move(t, TaskWaiting, GateChild, now)
	t.waitSince(now)
	t.WaitReason = "a job " + t.Fork.JobType + " is submitted"
	s.Forks = append(s.Forks, t.Idx)
}

// chore has supervisor do the work of a task.
func (s *State) chore(t *Task, now time.Time) {
	s.begin(t, now)
	t.Round++
	s.move(t, TaskWaiting, GateChild, now)
	t.waitSince(now)
	t.WaitReason = "supervisor does it"
	s.Chores = append(s.Chores, t.Idx)
}

// wait lets the time of a WAIT task pass.
func (s *State) wait(t *Task, now time.Time) {
	s.begin(t, now)
	t.Round++
	s.move(t, TaskWaiting, GateSchedule, now)
	t.waitSince(now)
	d := cmp.Or(t.Wait, t.Spec.Wait)
	t.WakeAt, t.WaitReason = later(now, d), fmt.Sprintf("it waits %s", d)
}

// waited says that what has passed is the time of a WAIT task, and not a delay before it.
func (t *Task) waited() bool { return t.Method() == plan.MethodWait && t.Since != nil }

// waits returns a task if it waits at a gate, in the round that an event is about.
func (s *State) waits(idx, round int, gate string) *Task {
	t := s.Tasks[idx]
	if t == nil || t.State != TaskWaiting || t.WaitGate != gate || t.Round != round || s.Job.State.Terminal() {
		return nil
	}
	return t
}

// Submitted says that the child of a FORK_JOB task exists.
func (s *State) Submitted(idx, round int, requestID string, now time.Time) {
	t := s.waits(idx, round, GateChild)
	if t == nil || t.Fork == nil || t.ChildID != "" {
		return
	}
	s.touch(t)
	t.ChildID = requestID
	t.WaitReason = fmt.Sprintf("it waits for job %s (%s)", requestID, t.Fork.JobType)
	if !t.Fork.Wait {
		s.conclude(t, Outcome{State: AttemptSucceeded, Claimed: true, Outputs: t.forked()}, now)
	}
	s.run(now)
}

// Refused says that the child of a FORK_JOB task cannot be: reason is the one of job-manager.
func (s *State) Refused(idx, round int, reason, message string, now time.Time) {
	t := s.waits(idx, round, GateChild)
	if t == nil {
		return
	}
	s.conclude(t, Outcome{
		State: AttemptFailed, Claimed: true, FailureClass: ClassRejected, Message: "its job was refused: " + reason + ": " + message,
	}, now)
	s.run(now)
}

// ChildEnded says that the child that a task waits for, or its chore, has ended.
func (s *State) ChildEnded(idx, round int, c ChildOutcome, now time.Time) {
	t := s.waits(idx, round, GateChild)
	if t == nil || t.Method() == plan.MethodAwaitForkedJob {
		return
	}
	s.touch(t)
	t.ChildID = cmp.Or(t.ChildID, c.ID)
	o := Outcome{State: AttemptSucceeded, Claimed: true, Outputs: c.Outputs}
	if t.Fork != nil && !t.Fork.Wait {
		c.State, c.Outputs = childCompleted, nil // that it was submitted is all that counts
	}
	if t.Fork != nil {
		o.Outputs = t.Fork.Given(c.Outputs)
		if t.IsItem() { // the list of results has them under their own names
			maps.Copy(o.Outputs, c.Outputs)
		}
		maps.Copy(o.Outputs, t.forked())
		o.Artifacts = plan.ArtifactsIn(c.Outputs)
	}
	if c.State != childCompleted {
		o.State, o.FailureClass = failedAs(c.ErrorCode)
		o.ExitCode, o.ErrorCode, o.Message = c.ExitCode, c.ErrorCode, c.describe()
	}
	s.conclude(t, o, now)
	s.run(now)
}

// failedAs is how a task fails whose child did not complete: as the child.
func failedAs(code string) (AttemptState, string) {
	if code == codeTimedOut || code == codeJobTimeout {
		return AttemptTimedOut, ClassTimeout
	}
	return AttemptFailed, ClassUser
}

// How the end of a child is told, and of one further down.
const (
	childEnded = "its job ended as "
	belowEnded = "a job below it ended as "
)

// describe says how a child failed. Of a chain of jobs that failed one because of the other only the first cause is kept:
// every link would add to the text until the cause is cut off.
func (c *ChildOutcome) describe() string {
	for _, link := range [...]string{belowEnded, childEnded} {
		if at := strings.LastIndex(c.Message, link); at >= 0 {
			return childEnded + c.State + ": " + belowEnded + c.Message[at+len(link):]
		}
	}
	return fmt.Sprintf("%s%s: %s %s", childEnded, c.State, c.ErrorCode, c.Message)
}

// forked are the outputs of a task that has submitted a child.
func (t *Task) forked() map[string]string {
	if t.ChildID == "" {
		return map[string]string{}
	}
	return map[string]string{plan.ForkedJobVar(t.Name()): t.ChildID}
}

// Children says how the children of an AWAIT_FORKED_JOB task stand: the answer to Need.Children (Continue follows), and
// called again for each that is WAITING when a child of the run has ended.
func (s *State) Children(idx int, c Children, now time.Time) {
	t := s.Tasks[idx]
	if t == nil || s.Job.State.Terminal() || t.Method() != plan.MethodAwaitForkedJob {
		return
	}
	switch {
	case slices.Contains(s.joining, idx): // also one that is tried again, which stands at the gate until the step goes on
		if s.children == nil {
			s.children = map[int]Children{}
		}
		s.children[idx] = c
	case t.State == TaskWaiting && t.WaitGate == GateChild:
		s.joined(t, c, now)
		s.run(now)
	}
}

// join starts the tasks that await children.
func (s *State) join(now time.Time) (complete bool) {
	round := s.starting(&s.joining, now)
	for _, i := range round {
		if _, ok := s.children[i]; !ok {
			s.need.Children = append(s.need.Children, i)
		}
	}
	if len(s.need.Children) > 0 {
		s.joining = round
		return false
	}
	for _, i := range round {
		c, t := s.children[i], s.Tasks[i]
		delete(s.children, i)
		if !s.overtaken(t, now) {
			s.begin(t, now)
			t.waitSince(now) // also when it stands at the gate, because it is tried again
			s.joined(t, c, now)
		}
	}
	return true
}

// joined ends a task whose children have ended.
func (s *State) joined(t *Task, c Children, now time.Time) {
	switch {
	case c.Open > 0:
		if t.State != TaskWaiting || t.WaitGate != GateChild {
			s.move(t, TaskWaiting, GateChild, now)
			t.waitSince(now)
		}
		s.touch(t)
		t.WaitReason = fmt.Sprintf("it waits for %d jobs", c.Open)
	case c.Failed > 0:
		o := Outcome{
			Claimed: true, ExitCode: c.ExitCode, ErrorCode: c.ErrorCode, Outputs: c.Outputs, Artifacts: c.Artifacts,
			Message: fmt.Sprintf("%d jobs failed: %s", c.Failed, c.Message),
		}
		o.State, o.FailureClass = failedAs(c.ErrorCode)
		s.conclude(t, o, now)
	default:
		s.conclude(t, Outcome{State: AttemptSucceeded, Claimed: true, Outputs: c.Outputs, Artifacts: c.Artifacts}, now)
	}
}
