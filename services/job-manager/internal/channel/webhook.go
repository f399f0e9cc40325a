package channel

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"time"

	"github.com/google/uuid"
	"golang.org/x/net/http/httpguts"

	"github.com/formicary/formicary/libs/egress"
	"github.com/formicary/formicary/services/job-manager/internal/notify"
)

// payload is the body of a webhook.
type payload struct {
	ID uuid.UUID `json:"id"`
	notify.Message
	DurationMS int64  `json:"duration_ms"`
	URL        string `json:"url,omitempty"`
}

func (c *Channels) webhook(ctx context.Context, d *notify.Delivery) error {
	to, err := address(d.Target)
	if err != nil {
		return err
	}
	body, err := json.Marshal(payload{ID: d.ID, Message: d.Message, DurationMS: d.Message.Duration().Milliseconds(), URL: c.link(&d.Message)})
	if err != nil {
		return fmt.Errorf("encode the message: %w", err)
	}
	header := http.Header{}
	for name, value := range d.Target.Headers {
		if !httpguts.ValidHeaderFieldName(name) || !httpguts.ValidHeaderFieldValue(value) {
			return notify.Refuse("the header %q cannot be sent: its name or its value holds what no header may, a line break for example", name)
		}
		header.Set(name, value)
	}
	header.Set(headerDelivery, d.ID.String())
	keys, err := c.conf.SigningKeys.keys()
	if err != nil {
		return notify.Refuse("the keys that sign webhooks are wrong: %w", err)
	}
	sign(header, d.ID.String(), time.Now(), body, keys)
	_, err = post(ctx, c.web.guarded, to, body, header)
	return err
}

// address is the URL of a webhook with its query.
func address(t notify.Target) (*url.URL, error) {
	u, err := egress.URL(t.Address)
	if err != nil {
		return nil, notify.Refuse("the URL is wrong: %w", err)
	}
	if len(t.Query) > 0 {
		q := u.Query()
		for name, value := range t.Query {
			q.Set(name, value)
		}
		u.RawQuery = q.Encode()
	}
	return u, nil
}
