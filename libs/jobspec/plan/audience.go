package plan

// When notifications are sent.
const (
	OnSuccess = "onSuccess"
	OnFailure = "onFailure"
	Always    = "always"
	Never     = "never"
)

// Channels of notifications.
const (
	ChannelEmail   = "email"
	ChannelSlack   = "slack"
	ChannelWebhook = "webhook"
)

// Notify is who hears of the outcome of a job.
type Notify struct {
	// Channel is one of the Channel constants.
	Channel string `json:"channel"`
	// Recipients are addresses, Slack channels or URLs.
	Recipients []string `json:"recipients"`
	// When is one of OnSuccess, OnFailure (cancelled and timed out included), Always and Never.
	When string `json:"when"`
}

// Webhook is a URL that is called with JSON.
type Webhook struct {
	URL     string            `json:"url"`
	Headers map[string]string `json:"headers,omitempty"`
	Query   map[string]string `json:"query,omitempty"`
	// Late says that it is known only when the task is about to start: Decision has it then.
	Late bool `json:"late,omitempty"`
}

// Audience is who hears of a job.
type Audience struct {
	Notify  []Notify `json:"notify,omitempty"`
	Webhook *Webhook `json:"webhook,omitempty"`
}

// Empty says that nobody does.
func (a Audience) Empty() bool { return len(a.Notify) == 0 && a.Webhook == nil }

// Whens are the words for when something is done about an outcome.
func Whens() []string { return []string{OnSuccess, OnFailure, Always, Never} }

// Channels are all channels.
func Channels() []string { return []string{ChannelEmail, ChannelSlack, ChannelWebhook} }
