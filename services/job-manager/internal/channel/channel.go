package channel

import (
	"context"
	"crypto/x509"
	"net/url"

	"github.com/google/uuid"

	"github.com/formicary/formicary/libs/jobspec/plan"
	"github.com/formicary/formicary/services/job-manager/internal/notify"
)

// Channels implements notify.Sender.
type Channels struct {
	conf  Config
	web   *web
	tasks Tasks
	// implicitTLS is the port where TLS comes first.
	implicitTLS int
	// roots, if set, are trusted in place of those of the system; only tests set them.
	roots *x509.CertPool
}

// Tasks lists the tasks of a run for messages to people; a few suffice.
type Tasks func(ctx context.Context, org string, request uuid.UUID, run int) ([]notify.Task, error)

// New returns the channels.
func New(conf Config, tasks Tasks) *Channels {
	return &Channels{conf: conf, web: newWeb(conf.Egress), tasks: tasks, implicitTLS: implicitTLS}
}

// Close ends idle connections.
func (c *Channels) Close() { c.web.close() }

// Send implements notify.Sender.
func (c *Channels) Send(ctx context.Context, d *notify.Delivery) error {
	switch d.Channel {
	case plan.ChannelWebhook:
		return c.webhook(ctx, d)
	case plan.ChannelEmail:
		return c.mail(ctx, d)
	case plan.ChannelSlack:
		return c.slack(ctx, d)
	default:
		return notify.Refuse("there is no channel %q", d.Channel)
	}
}

// link leads to the request.
func (c *Channels) link(m *notify.Message) string {
	if c.conf.PublicURL == "" {
		return ""
	}
	at, err := url.JoinPath(c.conf.PublicURL, "api/v1/jobs/requests", m.RequestID.String())
	if err != nil {
		return ""
	}
	return at
}
