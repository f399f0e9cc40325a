// Package events carries what happened to and from the other services: events of requests leave through the outbox,
// changes of executions come in from the stream.
package events

import (
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/formicary/formicary/libs/outbox"
	jobv1 "github.com/formicary/formicary/proto/gen/formicary/job/v1"
	"github.com/formicary/formicary/services/job-manager/internal/request"
)

// The subjects of this service.
const (
	subjectSubmitted = "formicary.event.job.submitted"
	subjectAdmitted  = "formicary.event.job.admitted"
	subjectControl   = "formicary.event.job.control"
	subjectChanged   = "formicary.event.job.changed"
	subjectChild     = "formicary.event.job.child"
)

// Messenger turns events into messages and hands them to the relay after the commit.
type Messenger struct{ *outbox.Relay }

// Encode returns one message that tells of several events of one kind. Only Admitted, Changed and ChildEnded may be
// several.
func (Messenger) Encode(events ...request.Event) outbox.Message {
	e := events[0]
	rec := &e.Record
	switch e.Kind {
	case request.Submitted:
		return message(subjectSubmitted, &jobv1.RequestSubmitted{RequestId: rec.ID.String(), OrgId: rec.OrgID, JobType: rec.JobType})
	case request.Control:
		return message(subjectControl, &jobv1.RequestControl{
			RequestId: rec.ID.String(), Run: int32(rec.Run), Action: jobv1.RequestControl_Action(e.Action), Reason: rec.CancelReason,
			OrgId: rec.OrgID, JobType: rec.JobType,
		})
	case request.Admitted:
		m := &jobv1.RequestsAdmitted{Requests: make([]*jobv1.RequestAdmitted, len(events))}
		for i := range events {
			m.Requests[i] = &jobv1.RequestAdmitted{RequestId: events[i].Record.ID.String(), Run: int32(events[i].Record.Run)}
		}
		return message(subjectAdmitted, m)
	case request.ChildEnded:
		m := &jobv1.ChildrenEnded{Children: make([]*jobv1.ChildEnded, len(events))}
		for i := range events {
			m.Children[i] = Child(&events[i].Record)
		}
		return message(subjectChild, m)
	default:
		m := &jobv1.RequestChanges{Changes: make([]*jobv1.RequestChanged, len(events))}
		for i := range events {
			m.Changes[i] = changed(&events[i])
		}
		return message(subjectChanged, m)
	}
}

func changed(e *request.Event) *jobv1.RequestChanged {
	rec := &e.Record
	return &jobv1.RequestChanged{
		RequestId: rec.ID.String(), OrgId: rec.OrgID, JobType: rec.JobType, Run: int32(rec.Run), Version: rec.Version, State: State(rec.State),
		ErrorCode: rec.ErrorCode, ErrorMessage: rec.StateReason(), Time: timestamppb.New(e.At),
	}
}

// Child is the wire form of a request as its parent sees it.
func Child(rec *request.Record) *jobv1.ChildEnded {
	out := &jobv1.ChildEnded{
		Key: rec.ChildKey, RequestId: rec.ID.String(), Run: int32(rec.Run), State: State(rec.State),
		ErrorCode: rec.ErrorCode, ErrorMessage: rec.ErrorMessage,
	}
	if rec.ParentID != nil {
		out.ParentRequestId = rec.ParentID.String()
	}
	return out
}

// State is the wire form of a state.
func State(s request.State) jobv1.JobRequest_State {
	return jobv1.JobRequest_State(jobv1.JobRequest_State_value[string(s)])
}

func message(subject string, m proto.Message) outbox.Message {
	payload, _ := proto.Marshal(m) // fails only for text that is not UTF-8, which the borders and the database refuse
	return outbox.New(subject, payload)
}
