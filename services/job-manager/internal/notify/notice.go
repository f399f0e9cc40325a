package notify

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"strings"
	"time"

	"github.com/google/uuid"

	"github.com/formicary/formicary/libs/jobspec/plan"
)

// Notice is what supervisor says that people asked to be told about a task.
type Notice struct {
	// ID is the same each time it is said.
	ID             uuid.UUID
	RequestID      uuid.UUID
	Run            int
	OrgID, JobType string
	Task           string
	// Kind is task (its webhook), approval (it waits for votes) or escalation (nobody voted in time).
	Kind     string
	State    string
	ExitCode int
	Message  string
	// Webhook of the task as JSON; empty for none.
	Webhook    []byte
	Recipients []string
	At         time.Time
	// StartedAt and EndedAt are those of the task; nil where there is none.
	StartedAt, EndedAt *time.Time
}

// OfNotice returns what is told because of a notice.
func OfNotice(n *Notice) ([]Delivery, error) {
	s := source{id: n.ID, message: Message{
		OrgID: n.OrgID, JobType: n.JobType, RequestID: n.RequestID, Run: n.Run, State: n.State, Task: n.Task, At: n.At,
	}}
	m := &s.message
	switch n.Kind {
	case "task":
		m.StartedAt, m.EndedAt = n.StartedAt, n.EndedAt
		m.Event, m.ExitCode, m.ErrorMessage = "task."+strings.ToLower(n.State), &n.ExitCode, cut(n.Message, maxText)
		s.subject = fmt.Sprintf("Task %s of job %s %s", n.Task, n.JobType, strings.ToLower(n.State))
	case "approval":
		m.Event, m.Text = "approval.requested", cut(n.Message, maxText)
		s.subject = fmt.Sprintf("Approval needed: task %s of job %s", n.Task, n.JobType)
	case "escalation":
		m.Event, m.Text = "approval.escalated", cut(n.Message, maxText)
		s.subject = fmt.Sprintf("Nobody has decided: task %s of job %s", n.Task, n.JobType)
	default:
		return nil, fmt.Errorf("notice of the kind %q", n.Kind)
	}
	var out []Delivery
	if len(n.Webhook) > 0 {
		var hook plan.Webhook
		if err := json.Unmarshal(n.Webhook, &hook); err != nil {
			return nil, fmt.Errorf("read the webhook: %w", err)
		}
		out = append(out, s.to(kindHook, plan.ChannelWebhook, Target{Address: hook.URL, Headers: hook.Headers, Query: hook.Query}))
	}
	for _, r := range n.Recipients {
		channel := channelOf(r)
		out = append(out, s.to(channel, channel, Target{Address: r}))
	}
	if len(out) == 0 {
		return nil, errors.New("a notice for nobody")
	}
	return out, nil
}

const slackHooks = "hooks.slack.com"

// channelOf tells by an address how it is reached.
func channelOf(address string) string {
	if strings.HasPrefix(address, "#") || strings.HasPrefix(address, "@") {
		return plan.ChannelSlack
	}
	u, err := url.Parse(address)
	if err != nil || u.Host == "" {
		return plan.ChannelEmail // what is no address of mail either fails with that reason, where people see it
	}
	if u.Hostname() == slackHooks {
		return plan.ChannelSlack
	}
	return plan.ChannelWebhook
}
