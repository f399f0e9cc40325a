package notify

import (
	"fmt"
	"strings"

	"github.com/google/uuid"

	"github.com/formicary/formicary/libs/jobspec/plan"
	"github.com/formicary/formicary/services/job-manager/internal/request"
)

// Move is a request before and after a change of its state or run.
type Move struct{ Before, After request.Record }

// Announced says that a move is one that people see: the begin of a run, a halt, or an end that no retry follows.
func (m *Move) Announced() bool {
	switch m.After.State {
	case request.Executing, request.Paused, request.Manual:
		return true
	default:
		return m.After.State.Terminal()
	}
}

// BeforeLaunch says that the plan was never known, so that the definition says who hears of it.
func (m *Move) BeforeLaunch() bool { return m.After.Audience == nil && !m.After.Begun() }

// NeedsPrevious says that it has to be looked up whether this success follows a failure: somebody is to be told of it, and
// it is not known from an earlier run of the same request.
func NeedsPrevious(rec *request.Record, a plan.Audience) bool {
	if rec.State != request.Completed || rec.RestartedFrom == request.Failed || rec.RestartedFrom == request.Completed {
		return false
	}
	return a.Webhook != nil || rec.ParentID == nil && len(hearers(rec, a)) > 0
}

// OfJob returns what is told of a job that has just moved. failedBefore is the answer to AskPrevious. Jobs that a task or
// a template submitted notify nobody: their parent does. Their webhook is called.
func OfJob(rec *request.Record, a plan.Audience, failedBefore bool) []Delivery {
	s := source{id: uuid.NewSHA1(rec.ID, fmt.Appendf(nil, "%d/%s", rec.Version, rec.State)), message: ofRecord(rec)}
	s.message.Fixed = rec.State == request.Completed && (failedBefore || rec.RestartedFrom == request.Failed)
	s.subject = fmt.Sprintf("Job %s %s", rec.JobType, word(rec.State))
	if s.message.Fixed {
		s.subject = "Fixed: " + s.subject
	}
	var out []Delivery
	if a.Webhook != nil {
		out = append(out, s.to(kindHook, plan.ChannelWebhook, Target{Address: a.Webhook.URL, Headers: a.Webhook.Headers, Query: a.Webhook.Query}))
	}
	if rec.ParentID != nil {
		return out
	}
	for _, n := range hearers(rec, a) {
		for _, r := range n.Recipients {
			out = append(out, s.to(n.Channel, n.Channel, Target{Address: r}))
		}
	}
	return out
}

// hearers are those of the audience that want to hear of the end of a job.
func hearers(rec *request.Record, a plan.Audience) []plan.Notify {
	var out []plan.Notify
	for _, n := range a.Notify {
		if wants(n.When, rec.State) {
			out = append(out, n)
		}
	}
	return out
}

func wants(when string, s request.State) bool {
	if !s.Terminal() {
		return false
	}
	switch when {
	case plan.OnSuccess:
		return s == request.Completed
	case plan.OnFailure:
		return s == request.Failed || s == request.Cancelled
	case plan.Always:
		return true
	default:
		return false
	}
}

func ofRecord(rec *request.Record) Message {
	return Message{
		Event: "job." + strings.ToLower(string(rec.State)), OrgID: rec.OrgID, JobType: rec.JobType, RequestID: rec.ID, Run: rec.Run,
		State: string(rec.State), ErrorCode: rec.ErrorCode, ErrorMessage: cut(rec.ErrorMessage, maxText),
		StartedAt: rec.StartedAt, EndedAt: rec.EndedAt, At: rec.UpdatedAt,
	}
}

// word says a state to people.
func word(s request.State) string {
	switch s {
	case request.Executing:
		return "started"
	case request.Manual:
		return "waits for an approval"
	default:
		return strings.ToLower(string(s))
	}
}
