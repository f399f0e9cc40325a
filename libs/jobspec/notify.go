package jobspec

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
}
