package live

import (
	executionv1 "github.com/formicary/formicary/proto/gen/formicary/execution/v1"
	jobv1 "github.com/formicary/formicary/proto/gen/formicary/job/v1"
)

// seen is the newest state that a watch of one request has told.
type seen struct {
	run     int32
	version int64
	tasks   map[string]taskSeen
}

type taskSeen struct {
	run, attempt int32
	state        string
}

// newer reports whether m tells more than what was told, and remembers it.
func (s *seen) newer(m *jobv1.WatchEventsResponse) bool {
	if m.GetKind() == kindTask {
		return s.newerTask(m)
	}
	if m.GetRun() < s.run || m.GetRun() == s.run && m.GetVersion() <= s.version {
		return false
	}
	s.run, s.version = m.GetRun(), m.GetVersion()
	return true
}

// newerTask orders the states of a task by run, attempt and the way that a task goes. Hints carry no version, so a
// state that an attempt cannot come back to is older.
func (s *seen) newerTask(m *jobv1.WatchEventsResponse) bool {
	now := taskSeen{m.GetRun(), m.GetAttempt(), m.GetState()}
	old, ok := s.tasks[m.GetTask()]
	if ok && !now.after(old) {
		return false
	}
	if s.tasks == nil {
		s.tasks = map[string]taskSeen{}
	}
	s.tasks[m.GetTask()] = now
	return true
}

func (t taskSeen) after(old taskSeen) bool {
	switch {
	case t.run != old.run:
		return t.run > old.run
	case t.attempt != old.attempt:
		return t.attempt > old.attempt
	case t.state == old.state:
		return false
	case old.state == executionv1.Task_WAITING.String():
		return t.rank() != blocked // a timer or a person lets it go on
	}
	return t.rank() >= old.rank()
}

// The ranks of the states on the way of a task.
const (
	blocked = iota
	ready
	dispatched
	running
	waiting
	ended
)

func (t taskSeen) rank() int {
	switch executionv1.Task_State(executionv1.Task_State_value[t.state]) {
	case executionv1.Task_STATE_UNSPECIFIED, executionv1.Task_BLOCKED:
		return blocked
	case executionv1.Task_READY:
		return ready
	case executionv1.Task_DISPATCHED:
		return dispatched
	case executionv1.Task_RUNNING:
		return running
	case executionv1.Task_WAITING:
		return waiting
	default:
		return ended
	}
}
