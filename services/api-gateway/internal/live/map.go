package live

import (
	"github.com/nats-io/nats.go"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	executionv1 "github.com/formicary/formicary/proto/gen/formicary/execution/v1"
	jobv1 "github.com/formicary/formicary/proto/gen/formicary/job/v1"
)

const (
	changedSubject = "formicary.event.job.changed"
	tasksSubject   = "formicary.live.task"
)

// The kinds of events.
const (
	kindHello     = "hello"
	kindHeartbeat = "heartbeat"
	kindRequest   = "request"
	kindTask      = "task"
)

// receive publishes what a message of the bus tells.
func (h *Hub) receive(m *nats.Msg) {
	switch m.Subject {
	case changedSubject:
		var cs jobv1.RequestChanges
		if err := proto.Unmarshal(m.Data, &cs); err != nil {
			h.log.Warn("unreadable event", "subject", m.Subject, "error", err)
			return
		}
		for _, c := range cs.GetChanges() {
			h.publish(entry{org: c.GetOrgId(), msg: &jobv1.WatchEventsResponse{
				Kind: kindRequest, RequestId: c.GetRequestId(), JobType: c.GetJobType(), Run: c.GetRun(), Version: c.GetVersion(),
				State: c.GetState().String(), Message: c.GetErrorMessage(), ErrorCode: c.GetErrorCode(), Time: c.GetTime(),
			}})
		}
	case tasksSubject:
		var cs executionv1.TaskChanges
		if err := proto.Unmarshal(m.Data, &cs); err != nil {
			h.log.Warn("unreadable event", "subject", m.Subject, "error", err)
			return
		}
		for _, c := range cs.GetChanges() {
			h.publish(entry{org: c.GetOrgId(), msg: &jobv1.WatchEventsResponse{
				Kind: kindTask, RequestId: c.GetRequestId(), JobType: c.GetJobType(), Run: c.GetRun(), State: c.GetState().String(),
				Task: c.GetTask(), Attempt: c.GetAttempt(), AntId: c.GetAntId(), ExitCode: c.GetExitCode(), Message: c.GetMessage(),
				Time: c.GetTime(),
			}})
		}
	}
}

// fromRequest tells the state of a request as its last event would.
func fromRequest(id string, r *jobv1.JobRequest) *jobv1.WatchEventsResponse {
	message := r.GetErrorMessage()
	if message == "" {
		message = r.GetWait().GetReason()
	}
	return &jobv1.WatchEventsResponse{
		Id: id, Kind: kindRequest, RequestId: r.GetId(), JobType: r.GetJobType(), Run: r.GetRun(), Version: r.GetVersion(),
		State: r.GetState().String(), Message: message, ErrorCode: r.GetErrorCode(), Time: r.GetUpdatedAt(),
	}
}

// fromTask tells the state of a task as its last event would.
func fromTask(id string, w *Watch, t *executionv1.Task) *jobv1.WatchEventsResponse {
	m := &jobv1.WatchEventsResponse{
		Id: id, Kind: kindTask, RequestId: w.request, JobType: w.ofType, Run: w.seen.run, State: t.GetState().String(),
		Task: t.GetName(), ExitCode: t.GetExitCode(), Message: t.GetMessage(), Time: changedAt(t),
	}
	if n := len(t.GetAttempts()); n > 0 {
		m.Attempt, m.AntId = t.GetAttempts()[n-1].GetNumber(), t.GetAttempts()[n-1].GetAntId()
	}
	if m.Message == "" {
		m.Message = t.GetWaitReason()
	}
	return m
}

func changedAt(t *executionv1.Task) *timestamppb.Timestamp {
	if t.GetEndedAt() != nil {
		return t.GetEndedAt()
	}
	return t.GetStartedAt()
}

// terminal says whether a request in this state changes only by a person's wish.
func terminal(state string) bool {
	switch state {
	case jobv1.JobRequest_COMPLETED.String(), jobv1.JobRequest_FAILED.String(), jobv1.JobRequest_CANCELLED.String(), jobv1.JobRequest_SKIPPED.String():
		return true
	}
	return false
}
