package notify

import (
	"net/url"
	"strings"
	"time"

	"github.com/google/uuid"

	"github.com/formicary/formicary/libs/jobspec/plan"
)

// State of a delivery.
type State string

// The states. The last two are terminal.
const (
	Pending State = "PENDING"
	Sent    State = "SENT"
	Failed  State = "FAILED"
)

// Delivery is a message on its way to one recipient.
type Delivery struct {
	// ID is the same whenever the same is told to the same recipient.
	ID      uuid.UUID
	Channel string
	// Recipient as people may see it, and Host whom the channel talks to for it.
	Recipient, Host string
	Target          Target
	Message         Message
	Subject         string
	State           State
	// Attempts that were begun.
	Attempts int
	// Error of the last attempt.
	Error     string
	CreatedAt time.Time
	// NextAt is when it is tried next, SettledAt when it was SENT or FAILED.
	NextAt  time.Time
	EndedAt *time.Time
	// Broken says why the row cannot be read.
	Broken error
}

// Target is where a delivery goes, with what may be secret of it.
type Target struct {
	// Address is a URL, a mail address or a channel.
	Address string            `json:"address"`
	Headers map[string]string `json:"headers,omitempty"`
	Query   map[string]string `json:"query,omitempty"`
}

// Message is what is told. It is the body of webhooks.
type Message struct {
	// Event is job.<state>, task.<state>, approval.requested or approval.escalated.
	Event     string    `json:"event"`
	OrgID     string    `json:"org"`
	JobType   string    `json:"job_type"`
	RequestID uuid.UUID `json:"request_id"`
	Run       int       `json:"run"`
	State     string    `json:"state"`
	Task      string    `json:"task,omitempty"`
	// ExitCode of the task; nil for a job.
	ExitCode     *int   `json:"exit_code,omitempty"`
	ErrorCode    string `json:"error_code,omitempty"`
	ErrorMessage string `json:"error_message,omitempty"`
	// Text is said to people beside the facts.
	Text string `json:"message,omitempty"`
	// Fixed says that the job type's last outcome before this success was a failure.
	Fixed     bool       `json:"fixed"`
	StartedAt *time.Time `json:"started_at,omitempty"`
	EndedAt   *time.Time `json:"ended_at,omitempty"`
	// At is when it happened.
	At time.Time `json:"at"`
}

// Duration of the run; 0 while it is not known.
func (m *Message) Duration() time.Duration {
	if m.StartedAt == nil || m.EndedAt == nil {
		return 0
	}
	return max(0, m.EndedAt.Sub(*m.StartedAt))
}

// source names what is told, so that each recipient of it gets one delivery.
type source struct {
	id      uuid.UUID
	message Message
	subject string
}

// kindHook separates the webhook of a job from a notification to the same URL.
const kindHook = "hook"

// to returns the delivery for one recipient.
func (s *source) to(kind, channel string, t Target) Delivery {
	recipient, host := shown(channel, t.Address)
	return Delivery{
		ID:      uuid.NewSHA1(s.id, []byte(kind+"\x00"+t.Address)),
		Channel: channel, Recipient: clean(recipient, maxRecipient), Host: clean(host, maxRecipient), Target: t,
		Message: s.message, Subject: clean(s.subject, maxSubject), State: Pending,
	}
}

const (
	maxRecipient = 300
	maxSubject   = 200
	maxText      = 2 << 10
)

// shown returns what people may see of an address, and whom it leads to. A URL may carry secrets in its query and its
// userinfo; the path of a Slack webhook is one.
func shown(channel, address string) (recipient, host string) {
	u, err := url.Parse(address)
	if channel == plan.ChannelEmail || err != nil || u.Host == "" {
		return address, channel
	}
	host = channel + " " + strings.ToLower(u.Host)
	u.User, u.RawQuery, u.Fragment, u.RawFragment, u.ForceQuery = nil, "", "", "", false
	if channel == plan.ChannelSlack {
		u.Path, u.RawPath = "/…", "/…"
		return u.Scheme + "://" + u.Host + u.Path, host
	}
	return u.String(), host
}

// clean makes a text one that the database and the header of a mail can hold: one line without control characters.
func clean(text string, longest int) string {
	text = strings.Map(func(c rune) rune {
		if c < ' ' || c == 0x7F {
			return ' '
		}
		return c
	}, strings.ToValidUTF8(text, "\uFFFD"))
	return cut(text, longest)
}

// cut bounds a text in bytes.
func cut(text string, longest int) string {
	text = strings.ToValidUTF8(text, "\uFFFD")
	if len(text) <= longest {
		return text
	}
	return strings.ToValidUTF8(text[:longest], "") + "…"
}

// Task is a line of what is said of a run.
type Task struct {
	Name, State string
	ExitCode    int
	// Output is the beginning of what the task printed, where its definition asks for that.
	Output string
}

// Page asks for what is told of a request, newest first, before a delivery of the page before.
type Page struct {
	OrgID     string
	RequestID uuid.UUID
	Before    time.Time
	BeforeID  uuid.UUID
	Limit     int
}
