package notify

import (
	"net/mail"
	"slices"
	"strings"

	"github.com/formicary/formicary/libs/jobspec/field"
	"github.com/formicary/formicary/libs/jobspec/plan"
	"github.com/formicary/formicary/libs/jobspec/read"
	"github.com/formicary/formicary/libs/jobspec/source"
	"github.com/formicary/formicary/libs/jobspec/value"
)

const maxRecipients = 200

// notifications reads the mapping of channels to {recipients, when}, or a list of {channel, recipients, when}.
func (r reader) notifications(at *source.Pair) []plan.Notify {
	var out []plan.Notify
	if at.Value.Kind != source.List {
		except := false
		r.Mapping(at.Value, func(p *source.Pair) {
			if p.Key == read.NotifyExcept {
				except = r.Condition(p.Value, "notify."+read.NotifyExcept)
				return
			}
			if !slices.Contains(plan.Channels(), p.Key) {
				r.UnknownField(p, plan.Channels())
				return
			}
			out = append(out, r.notification(plan.Notify{Channel: p.Key, When: plan.Always}, p.Value))
		}, at)
		if except {
			return nil
		}
		return out
	}
	for _, item := range r.Mappings(at.Value, "a notification") {
		r.Required(item, "channel", "email, slack or webhook")
		out = append(out, r.notification(plan.Notify{When: plan.Always}, item))
	}
	return out
}

func (r reader) notification(n plan.Notify, at *source.Node) plan.Notify {
	recipients := at // the short form holds recipients only
	if at.Kind == source.Map {
		recipients = nil
		listed := n.Channel == ""
		for i := range at.Pairs {
			switch p := &at.Pairs[i]; {
			case p.Key == "channel" && listed:
				n.Channel = r.OneOf(p.Value, "", plan.Channels())
			case p.Key == "recipients":
				recipients = p.Value
			case p.Key == "when":
				n.When = r.Moments(p.Value, plan.Always)
			case listed:
				r.Unknown(p, NotificationFields)
			default:
				r.Unknown(p, Fields)
			}
		}
	}
	if recipients == nil || recipients.Kind == source.Null {
		r.Fault(at, source.CodeMissingField, "the field recipients is missing", "addresses, Slack channels or URLs")
		return n
	}
	items := r.List(recipients)
	if len(items) > maxRecipients {
		r.Fault(recipients, source.CodeInvalidValue, "there are too many recipients", "at most "+value.Text(maxRecipients))
		return n
	}
	for _, it := range items {
		n.Recipients = append(n.Recipients, r.recipients(n.Channel, it)...)
	}
	return n
}

// recipients reads one text; addresses and channels can be several, with commas between them.
func (r reader) recipients(channel string, it read.Item) []string {
	if !it.Known {
		return []string{it.Text}
	}
	var out []string
	for one := range strings.SplitSeq(it.Text, ",") {
		one = strings.TrimSpace(one)
		if channel == plan.ChannelWebhook {
			one = strings.TrimSpace(it.Text)
		}
		if !validRecipient(channel, one) {
			r.Fault(it.Node, source.CodeInvalidValue, r.Show(it.Node)+" is no recipient of "+channel, "an address (email), a channel (slack) or a URL (webhook)")
			return nil
		}
		if out = append(out, one); channel == plan.ChannelWebhook {
			break
		}
	}
	return out
}

func validRecipient(channel, text string) bool {
	if text == "" || len(text) > read.MaxURL || strings.ContainsFunc(text, func(c rune) bool { return c <= ' ' || c == 0x7F }) {
		return false
	}
	switch channel {
	case plan.ChannelEmail:
		a, err := mail.ParseAddress(text)
		return err == nil && a.Address == text
	case plan.ChannelWebhook:
		return value.ValidURL(text)
	}
	return true
}

// webhook reads {url, headers, query}, or the URL alone.
func (r reader) webhook(at *source.Pair) *plan.Webhook {
	if at.Value.Kind == source.Null {
		return nil
	}
	w := &plan.Webhook{}
	if at.Value.Kind == source.Scalar {
		w.URL = r.url(at.Value)
		return w
	}
	r.Mapping(at.Value, func(p *source.Pair) {
		switch p.Key {
		case "url":
			w.URL = r.url(p.Value)
		case "headers":
			w.Headers = r.Headers(p.Value)
		case "query":
			w.Query = r.Texts(p.Value)
		default:
			r.Unknown(p, WebhookFields)
		}
	}, at)
	r.Required(at.Value, "url", "what is called")
	return w
}

// url reads an address of the web.
func (r reader) url(n *source.Node) string {
	text, known := r.Text(n)
	if known && (len(text) > read.MaxURL || !value.ValidURL(text)) {
		r.Fault(n, source.CodeInvalidValue, r.Show(n)+" is no URL", "https://host/path")
		return ""
	}
	return text
}

// Fields are those of one channel.
func Fields() []field.Field {
	return []field.Field{
		{Name: "recipients", Form: field.OneOrMore(field.Text()), Doc: "Addresses, Slack channels or URLs."},
		{Name: "when", Form: read.MomentsForm(), Doc: "After which outcomes; always when not given."},
	}
}

// NotificationFields are those of an entry of the list form.
func NotificationFields() []field.Field {
	return append([]field.Field{{Name: "channel", Form: field.Word(plan.Channels()...), Doc: "How it is sent."}}, Fields()...)
}

// WebhookFields are those of a webhook.
func WebhookFields() []field.Field {
	return []field.Field{
		{Name: "url", Form: field.Pattern(`^https?://`), Doc: "What is called by POST."},
		{Name: "headers", Form: field.Texts(), Doc: "Headers of the call."},
		{Name: "query", Form: field.Texts(), Doc: "Parameters of the URL."},
	}
}

// WebhookForm is the form of a webhook.
func WebhookForm() field.Form { return field.AnyOf(field.Pattern(`^https?://`), field.Ref("webhook")) }

// Form is the form of the mapping of channels.
func Form() field.Form {
	properties := field.Form{}
	for _, channel := range plan.Channels() {
		properties[channel] = field.AnyOf(field.OneOrMore(field.Text()), field.Ref("notify"))
	}
	properties[read.NotifyExcept] = field.Described(field.Condition(), "A condition under which nobody is told, asked at the launch.", false)
	return field.Form{"type": "object", "properties": properties, "additionalProperties": false}
}

// reader reads who hears of a job.
type reader struct{ *read.Reader }

// Read reads who hears of a job, by channel.
func Read(r *read.Reader, at *source.Pair) []plan.Notify {
	return reader{r}.notifications(at)
}

// Webhook reads a URL that is called: a mapping, or the URL alone.
func Webhook(r *read.Reader, at *source.Pair) *plan.Webhook { return reader{r}.webhook(at) }
