package jobspec

import (
	"net/mail"
	"slices"
	"strings"
)

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

// Audience is who hears of a job.
type Audience struct {
	Notify  []Notify `json:"notify,omitempty"`
	Webhook *Webhook `json:"webhook,omitempty"`
}

// Empty says that nobody does.
func (a Audience) Empty() bool { return len(a.Notify) == 0 && a.Webhook == nil }

// writtenOut says that no template takes part in n.
func writtenOut(n *node) bool {
	if n.templated || n.keyed {
		return false
	}
	for _, item := range n.items {
		if !writtenOut(item) {
			return false
		}
	}
	for i := range n.pairs {
		if !writtenOut(n.pairs[i].value) {
			return false
		}
	}
	return true
}

func channels() []string { return []string{ChannelEmail, ChannelSlack, ChannelWebhook} }

// notifyExcept is the condition under which nobody is told.
const notifyExcept = "except"

const maxRecipients = 200

// notifications reads the mapping of channels to {recipients, when}, or a list of {channel, recipients, when}.
func (r *reader) notifications(at *pair) []Notify {
	var out []Notify
	if at.value.kind != nodeList {
		except := false
		r.mapping(at.value, func(p *pair) {
			if p.key == notifyExcept {
				except = r.condition(p.value, "notify."+notifyExcept)
				return
			}
			if !slices.Contains(channels(), p.key) {
				r.unknownField(p, channels())
				return
			}
			out = append(out, r.notification(Notify{Channel: p.key, When: Always}, p.value))
		}, at)
		if except {
			return nil
		}
		return out
	}
	for _, item := range r.mappings(at.value, "a notification") {
		r.required(item, "channel", "email, slack or webhook")
		out = append(out, r.notification(Notify{When: Always}, item))
	}
	return out
}

func (r *reader) notification(n Notify, at *node) Notify {
	recipients := at // the short form holds recipients only
	if at.kind == nodeMap {
		recipients = nil
		listed := n.Channel == ""
		for i := range at.pairs {
			switch p := &at.pairs[i]; {
			case p.key == "channel" && listed:
				n.Channel = r.oneOf(p.value, "", channels())
			case p.key == "recipients":
				recipients = p.value
			case p.key == "when":
				n.When = r.moments(p.value, Always)
			case listed:
				r.unknown(p, notificationFields)
			default:
				r.unknown(p, notifyFields)
			}
		}
	}
	if recipients == nil || recipients.kind == nodeNull {
		r.fault(at, CodeMissingField, "the field recipients is missing", "addresses, Slack channels or URLs")
		return n
	}
	items := r.list(recipients)
	if len(items) > maxRecipients {
		r.fault(recipients, CodeInvalidValue, "there are too many recipients", "at most "+textOf(maxRecipients))
		return n
	}
	for _, it := range items {
		n.Recipients = append(n.Recipients, r.recipients(n.Channel, it)...)
	}
	return n
}

// recipients reads one text; addresses and channels can be several, with commas between them.
func (r *reader) recipients(channel string, it item) []string {
	if !it.known {
		return []string{it.text}
	}
	var out []string
	for one := range strings.SplitSeq(it.text, ",") {
		one = strings.TrimSpace(one)
		if channel == ChannelWebhook {
			one = strings.TrimSpace(it.text)
		}
		if !validRecipient(channel, one) {
			r.fault(it.node, CodeInvalidValue, r.show(it.node)+" is no recipient of "+channel, "an address (email), a channel (slack) or a URL (webhook)")
			return nil
		}
		if out = append(out, one); channel == ChannelWebhook {
			break
		}
	}
	return out
}

func validRecipient(channel, text string) bool {
	if text == "" || len(text) > maxURL || strings.ContainsFunc(text, func(c rune) bool { return c <= ' ' || c == 0x7F }) {
		return false
	}
	switch channel {
	case ChannelEmail:
		a, err := mail.ParseAddress(text)
		return err == nil && a.Address == text
	case ChannelWebhook:
		return validURL(text)
	}
	return true
}

// webhook reads {url, headers, query}, or the URL alone.
func (r *reader) webhook(at *pair) *Webhook {
	if at.value.kind == nodeNull {
		return nil
	}
	w := &Webhook{}
	if at.value.kind == nodeScalar {
		w.URL = r.url(at.value)
		return w
	}
	r.mapping(at.value, func(p *pair) {
		switch p.key {
		case "url":
			w.URL = r.url(p.value)
		case "headers":
			w.Headers = r.headers(p.value)
		case "query":
			w.Query = r.texts(p.value)
		default:
			r.unknown(p, webhookFields)
		}
	}, at)
	r.required(at.value, "url", "what is called")
	return w
}

// url reads an address of the web.
func (r *reader) url(n *node) string {
	text, known := r.text(n)
	if known && (len(text) > maxURL || !validURL(text)) {
		r.fault(n, CodeInvalidValue, r.show(n)+" is no URL", "https://host/path")
		return ""
	}
	return text
}
