package execution

import (
	"cmp"
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"github.com/google/uuid"

	"github.com/formicary/formicary/libs/jobspec/plan"
	"github.com/formicary/formicary/services/supervisor/internal/engine"
)

// The kinds of notices.
const (
	NoticeTask       = "task"       // the webhook of a task that ended
	NoticeApproval   = "approval"   // a task waits for votes
	NoticeEscalation = "escalation" // nobody voted in time
)

// Notice is what people asked to be told about a task. job-manager delivers it.
type Notice struct {
	Run
	Kind       string
	Task       string
	State      engine.TaskState
	ExitCode   int
	Message    string
	Webhook    []byte // JSON of plan.Webhook
	Recipients []string
	// ID is the same whenever the same thing is told.
	ID uuid.UUID
	At time.Time
	// StartedAt and EndedAt are those of the task, as far as there are any.
	StartedAt, EndedAt *time.Time
}

// space separates the ids of notices from those of other names.
func space() uuid.UUID { return uuid.NewSHA1(uuid.NameSpaceOID, []byte("formicary.execution.notice")) }

// noticeID names the round-th notice of a kind about a task.
func noticeID(execution uuid.UUID, idx, round int, kind string) uuid.UUID {
	return uuid.NewSHA1(space(), fmt.Appendf(nil, "%s/%d/%d/%s", execution, idx, round, kind))
}

// Ended returns the notice that a task with a webhook owes when it ends; nil when it owes none. What never ran is not
// told, and neither is every item of a fan-out: the task that made them tells how it ended. Nobody is told either when
// the webhook itself could not be rendered.
func Ended(r Run, t *engine.Task, at time.Time) (*Notice, error) {
	if t.Spec == nil || t.Spec.Webhook == nil || t.State == engine.TaskSkipped || !t.State.Terminal() || t.Reuse {
		return nil, nil
	}
	w := cmp.Or(t.Webhook, t.Spec.Webhook)
	if w.Late {
		return nil, nil
	}
	hook, err := json.Marshal(w)
	if err != nil {
		return nil, fmt.Errorf("encode webhook of task %s: %w", t.Name(), err)
	}
	return &Notice{
		Run: r, Kind: NoticeTask, Task: t.Name(), State: t.State, ExitCode: t.ExitCode, Message: t.Message, Webhook: hook,
		ID: noticeID(r.ID, t.Idx, t.Attempts, NoticeTask), At: at, StartedAt: t.StartedAt, EndedAt: t.EndedAt,
	}, nil
}

// Requested returns the notice that a task waits for votes; nil when nobody who may vote has an address.
func Requested(r Run, t *engine.Task, p *plan.Approval, round int, at time.Time) *Notice {
	to := addresses(p.AllowedUsers)
	if len(to) == 0 {
		to = p.EscalationRecipients
	}
	if len(to) == 0 {
		return nil
	}
	message := fmt.Sprintf("task %s of job %s waits for an approval", t.Name(), r.JobType)
	if t.Spec.Description != "" {
		message += ": " + t.Spec.Description
	}
	return &Notice{
		Run: r, Kind: NoticeApproval, Task: t.Name(), State: t.State, ExitCode: t.ExitCode, Message: message, Recipients: to,
		ID: noticeID(r.ID, t.Idx, round, NoticeApproval), At: at,
	}
}

// Escalated returns the notice that nobody voted in time; nil when nobody is to hear of it.
func Escalated(r Run, t *engine.Task, p *plan.Approval, round int, at time.Time) *Notice {
	if len(p.EscalationRecipients) == 0 {
		return nil
	}
	message := p.EscalationMessage
	if message == "" {
		message = fmt.Sprintf("nobody has decided within %s about task %s of job %s", p.SLA, t.Name(), r.JobType)
	}
	return &Notice{
		Run: r, Kind: NoticeEscalation, Task: t.Name(), State: t.State, ExitCode: t.ExitCode, Message: message, Recipients: p.EscalationRecipients,
		ID: noticeID(r.ID, t.Idx, round, NoticeEscalation), At: at,
	}
}

// addresses returns the users whose names are addresses: of mail, of Slack or a URL.
func addresses(users []string) []string {
	var found []string
	for _, u := range users {
		at := strings.IndexByte(u, '@')
		if at > 0 && at < len(u)-1 || len(u) > 1 && (u[0] == '#' || u[0] == '@') ||
			strings.HasPrefix(u, "https://") || strings.HasPrefix(u, "http://") {
			found = append(found, u)
		}
	}
	return found
}
