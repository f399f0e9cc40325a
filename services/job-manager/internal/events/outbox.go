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
)

// Messenger turns events into messages and hands them to the relay after the commit.
type Messenger struct{ *outbox.Relay }

// Encode returns the message of an event.
func (Messenger) Encode(e request.Event) outbox.Message {
	rec := &e.Record
	id := rec.ID.String()
	switch e.Kind {
	case request.Submitted:
		return message(subjectSubmitted, &jobv1.RequestSubmitted{RequestId: id, OrgId: rec.OrgID, JobType: rec.JobType})
	case request.Admitted:
		return message(subjectAdmitted, &jobv1.RequestAdmitted{RequestId: id, Run: int32(rec.Run)})
	case request.Control:
		return message(subjectControl, &jobv1.RequestControl{
			RequestId: id, Run: int32(rec.Run), Action: jobv1.RequestControl_Action(e.Action), Reason: rec.CancelReason,
			OrgId: rec.OrgID, JobType: rec.JobType,
		})
	default:
		return message(subjectChanged, &jobv1.RequestChanged{
			RequestId: id, OrgId: rec.OrgID, JobType: rec.JobType, Run: int32(rec.Run), Version: rec.Version, State: State(rec.State),
			ErrorCode: rec.ErrorCode, ErrorMessage: rec.ErrorMessage, Time: timestamppb.New(e.At),
		})
	}
}

// State is the wire form of a state.
func State(s request.State) jobv1.JobRequest_State {
	return jobv1.JobRequest_State(jobv1.JobRequest_State_value[string(s)])
}

func message(subject string, m proto.Message) outbox.Message {
	payload, _ := proto.Marshal(m) // fails only for text that is not UTF-8, which the borders and the database refuse
	return outbox.New(subject, payload)
}
