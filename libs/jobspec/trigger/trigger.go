package trigger

import (
	"slices"
	"time"

	"github.com/formicary/formicary/libs/jobspec/field"
	"github.com/formicary/formicary/libs/jobspec/read"
	"github.com/formicary/formicary/libs/jobspec/source"
	"github.com/formicary/formicary/libs/jobspec/value"
)

// Types of triggers.
const (
	Webhook = "webhook"
	S3      = "s3"
	Queue   = "queue"
)

// Ways in which a webhook trigger authenticates a call.
const (
	AuthHMAC   = "hmac_sha256"
	AuthBearer = "bearer_token"
	AuthAPIKey = "api_key_header" //nolint:gosec // the name of a way, no key
)

// Modes of s3 triggers.
const (
	S3Poll         = "poll"
	S3Notification = "notification"
)

// Trigger makes requests of events. Params, Filter and DedupKey are templates over the event and kept as written.
type Trigger struct {
	// Type is one of the Trigger constants.
	Type string `json:"type"`
	// Name is unique in the definition.
	Name     string            `json:"name"`
	Params   map[string]string `json:"params,omitempty"`
	Filter   string            `json:"filter,omitempty"`
	DedupKey string            `json:"dedup_key,omitempty"`
	// RateLimit bounds the requests; nil: no bound.
	RateLimit *RateLimit `json:"rate_limit,omitempty"`
	// Path and Auth of webhook.
	Path string `json:"path,omitempty"`
	Auth *Auth  `json:"auth,omitempty"`
	// Mode, Bucket, Prefix, Suffix and PollInterval of s3.
	Mode         string        `json:"mode,omitempty"`
	Bucket       string        `json:"bucket,omitempty"`
	Prefix       string        `json:"prefix,omitempty"`
	Suffix       string        `json:"suffix,omitempty"`
	PollInterval time.Duration `json:"poll_interval,omitempty"`
	// Topic of queue and of notifications of s3; Group and Shared of queue.
	Topic  string `json:"topic,omitempty"`
	Group  string `json:"group,omitempty"`
	Shared bool   `json:"shared,omitempty"`
}

// RateLimit is at most Max in each Window.
type RateLimit struct {
	Max    int           `json:"max"`
	Window time.Duration `json:"window"`
}

// Auth says who may call a webhook.
type Auth struct {
	// Method is one of the Auth constants.
	Method string `json:"method"`
	// SecretConfig names the config that holds the secret, Header where the signature or the key stands.
	SecretConfig string `json:"secret_config,omitempty"`
	Header       string `json:"header,omitempty"`
}

const (
	maxTriggers         = 100
	maxRate             = 1_000_000
	defaultPollInterval = 30 * time.Second
	defaultRateWindow   = time.Minute
)

func triggerTypes() []string { return []string{Webhook, S3, Queue} }
func authMethods() []string  { return []string{AuthHMAC, AuthBearer, AuthAPIKey} }
func s3Modes() []string      { return []string{S3Poll, S3Notification} }

// triggers reads the list of triggers. Their templates are over events, so they are read at the upload only.
func (r reader) triggers(n *source.Node) []Trigger {
	var out []Trigger
	seen := map[string]bool{}
	for _, item := range r.Mappings(n, "a trigger") {
		t := r.trigger(unmasked(item))
		if seen[t.Name] && t.Name != "" {
			r.Fault(item, source.CodeDuplicateKey, "the trigger "+source.QuoteName(t.Name)+" is defined twice", "each name once")
		}
		seen[t.Name] = true
		out = append(out, t)
	}
	if len(out) > maxTriggers {
		r.Fault(n, source.CodeInvalidValue, "there are too many triggers", "at most "+value.Text(maxTriggers))
		return nil
	}
	return out
}

func (r reader) trigger(n *source.Node) Trigger {
	t := Trigger{}
	for i := range n.Pairs {
		p := &n.Pairs[i]
		switch p.Key {
		case "type":
			t.Type = r.OneOf(p.Value, "", triggerTypes())
		case "name":
			t.Name = r.Literal(p.Value, "the name", value.MaxName)
			if !p.Value.Templated && !read.ValidTaskName(t.Name) {
				r.Fault(p.Value, source.CodeInvalidName, r.Show(p.Value)+" cannot name a trigger", read.ExpectedName)
			}
		case "params":
			t.Params = r.Texts(p.Value)
		case "filter":
			t.Filter, _ = r.Text(p.Value)
		case "dedup_key":
			t.DedupKey, _ = r.Text(p.Value)
		case "rate_limit":
			t.RateLimit = r.rateLimit(p)
		default:
			if !r.triggerField(&t, p) {
				r.Unknown(p, Fields)
			}
		}
	}
	r.checkTrigger(&t, n)
	return t
}

func (r reader) triggerField(t *Trigger, p *source.Pair) bool {
	n := p.Value
	switch p.Key {
	case "path":
		t.Path = r.Path(n)
	case "auth":
		t.Auth = r.triggerAuth(p)
	case "mode":
		t.Mode = r.OneOf(n, "", s3Modes())
	case "bucket":
		t.Bucket = r.Short(n)
	case "prefix":
		t.Prefix = r.Path(n)
	case "suffix":
		t.Suffix = r.Path(n)
	case "poll_interval":
		t.PollInterval = r.Positive(n, defaultPollInterval)
	case "topic":
		t.Topic = r.Short(n)
	case "group":
		t.Group = r.Short(n)
	case "shared":
		t.Shared = r.Flag(n)
	default:
		return false
	}
	return true
}

// checkTrigger checks that a trigger has what its type needs, and nothing of another type.
func (r reader) checkTrigger(t *Trigger, n *source.Node) {
	r.Required(n, "type", "webhook, s3 or queue")
	r.Required(n, "name", "the name of the trigger")
	own := map[string][]string{
		Webhook: {"path", "auth"},
		S3:      {"mode", "bucket", "prefix", "suffix", "poll_interval", "topic"},
		Queue:   {"topic", "group", "shared"},
	}
	common := []string{"type", "name", "params", "filter", "dedup_key", "rate_limit"}
	for i := range n.Pairs {
		p := &n.Pairs[i]
		known := slices.ContainsFunc(Fields(), func(f field.Field) bool { return f.Name == p.Key })
		if t.Type != "" && known && !slices.Contains(common, p.Key) && !slices.Contains(own[t.Type], p.Key) {
			r.Add(p.Line, p.Column, source.CodeConflict, "the field "+p.Key+" is not one of a trigger of type "+t.Type, "a trigger without it")
		}
	}
	switch t.Type {
	case S3:
		r.Required(n, "bucket", "the bucket")
		if t.Mode == "" {
			t.Mode = S3Poll
		}
		if t.Mode == S3Notification {
			r.Required(n, "topic", "the subject of the notifications")
		} else if t.PollInterval == 0 {
			t.PollInterval = defaultPollInterval
		}
	case Queue:
		r.Required(n, "topic", "the subject to listen on")
	}
}

func (r reader) rateLimit(at *source.Pair) *RateLimit {
	l := &RateLimit{Window: defaultRateWindow}
	r.Mapping(at.Value, func(p *source.Pair) {
		switch p.Key {
		case "max":
			l.Max, _ = r.Integer(p.Value, 1, maxRate)
		case "window":
			l.Window = r.Positive(p.Value, defaultRateWindow)
		default:
			r.Unknown(p, RateFields)
		}
	}, at)
	r.Required(at.Value, "max", "how many requests")
	return l
}

func (r reader) triggerAuth(at *source.Pair) *Auth {
	a := &Auth{}
	r.Mapping(at.Value, func(p *source.Pair) {
		switch p.Key {
		case "method":
			a.Method = r.OneOf(p.Value, "", authMethods())
		case "secret_config":
			a.SecretConfig = r.Short(p.Value)
		case "header":
			a.Header = r.Short(p.Value)
		default:
			r.Unknown(p, AuthFields)
		}
	}, at)
	r.Required(at.Value, "method", "hmac_sha256, bearer_token or api_key_header")
	r.Required(at.Value, "secret_config", "the config that holds the secret")
	return a
}

// Fields are those of a trigger.
func Fields() []field.Field {
	return []field.Field{
		{Name: "type", Form: field.Word(triggerTypes()...), Doc: "Where the events come from."},
		{Name: "name", Form: field.Name(), Doc: "Unique in the definition."},
		{Name: "params", Form: field.Texts(), Doc: "Parameters of the request, templates over the event."},
		{Name: "filter", Form: field.Text(), Doc: "A template that renders true for events that count."},
		{Name: "dedup_key", Form: field.Text(), Doc: "A template: events with the same text make one request."},
		{Name: "rate_limit", Form: field.Ref("rate_limit"), Doc: "How many requests at most."},
		{Name: "path", Form: field.Text(), Doc: "webhook: the path below the trigger's own."},
		{Name: "auth", Form: field.Ref("trigger_auth"), Doc: "webhook: who may call."},
		{Name: "mode", Form: field.Word(s3Modes()...), Doc: "s3: poll, or be told."},
		{Name: "bucket", Form: field.Text(), Doc: "s3: the bucket."},
		{Name: "prefix", Form: field.Text(), Doc: "s3: how keys begin."},
		{Name: "suffix", Form: field.Text(), Doc: "s3: how keys end."},
		{Name: "poll_interval", Form: field.Duration(), Doc: "s3: between two polls, 30s when not given."},
		{Name: "topic", Form: field.Text(), Doc: "s3 and queue: the subject to listen on."},
		{Name: "group", Form: field.Text(), Doc: "queue: listeners that share messages."},
		{Name: "shared", Form: field.Flag(), Doc: "queue: messages are shared with other listeners of the group."},
	}
}

// RateFields are those of a rate limit.
func RateFields() []field.Field {
	return []field.Field{
		{Name: "max", Form: field.Whole(1, maxRate), Doc: "How many requests in a window."},
		{Name: "window", Form: field.Duration(), Doc: "The length of the window."},
	}
}

// AuthFields are those of the authentication of a webhook.
func AuthFields() []field.Field {
	return []field.Field{
		{Name: "method", Form: field.Word(authMethods()...), Doc: "How a call is authenticated."},
		{Name: "secret_config", Form: field.Text(), Doc: "The config that holds the secret."},
		{Name: "header", Form: field.Text(), Doc: "The header with the signature or key."},
	}
}

// reader reads triggers.
type reader struct{ *read.Reader }

// Read reads the list of triggers. Their templates are over events, so they are read at the upload only.
func Read(r *read.Reader, n *source.Node) []Trigger { return reader{r}.triggers(n) }
