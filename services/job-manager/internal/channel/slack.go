package channel

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strings"

	"github.com/formicary/formicary/services/job-manager/internal/notify"
)

// Slack is two POST requests, so no client library is used: the one there is brings a WebSocket client and its own HTTP,
// past the guard, the bounds and the reading of Retry-After that all messages share.

// escape writes a text as Slack wants it: nothing in it is a link, a mention or a command.
func escape(text string) string {
	return strings.NewReplacer("&", "&amp;", "<", "&lt;", ">", "&gt;").Replace(text)
}

func (c *Channels) slack(ctx context.Context, d *notify.Delivery) error {
	text := "*" + escape(d.Subject) + "*\n" + escape(c.text(ctx, d))
	if strings.Contains(d.Target.Address, "://") {
		return c.incoming(ctx, d, text)
	}
	if c.conf.Slack.Token == "" {
		return notify.Refuse("Slack is not configured: the token is missing (FORMICARY_SLACK_TOKEN)")
	}
	to, err := url.Parse(c.conf.Slack.API)
	if err != nil {
		return notify.Refuse("the address of Slack's API is no URL")
	}
	body, err := json.Marshal(map[string]any{"channel": d.Target.Address, "text": text, "unfurl_links": false})
	if err != nil {
		return fmt.Errorf("encode the message: %w", err)
	}
	header := http.Header{"Authorization": {"Bearer " + string(c.conf.Slack.Token)}}
	header.Set(headerDelivery, d.ID.String())
	answer, err := post(ctx, c.web.open, to.JoinPath("chat.postMessage"), body, header)
	if err != nil {
		return err
	}
	return posted(answer)
}

// incoming calls the webhook of one channel.
func (c *Channels) incoming(ctx context.Context, d *notify.Delivery, text string) error {
	to, err := url.Parse(d.Target.Address)
	if err != nil || to.Host == "" || to.Scheme != "https" && (to.Scheme != "http" || !c.conf.Egress.Private) {
		return notify.Refuse("the address is neither a channel nor a URL of https")
	}
	body, err := json.Marshal(map[string]string{"text": text})
	if err != nil {
		return fmt.Errorf("encode the message: %w", err)
	}
	header := http.Header{}
	header.Set(headerDelivery, d.ID.String())
	_, err = post(ctx, c.web.guarded, to, body, header)
	return err
}

// posted reads the answer of Slack, which has its own idea of failures.
func posted(answer []byte) error {
	var said struct {
		OK    bool   `json:"ok"`
		Error string `json:"error"`
	}
	if err := json.Unmarshal(answer, &said); err != nil {
		if len(answer) == maxAnswer { // cut; only a message that was posted is answered with so much
			return nil
		}
		return fmt.Errorf("read the answer of Slack: %w", err)
	}
	switch said.Error {
	case "ratelimited", "rate_limited", "internal_error", "fatal_error", "service_unavailable", "request_timeout", "team_added_to_org":
		return fmt.Errorf("Slack: %s", said.Error)
	}
	if !said.OK {
		return notify.Refuse("Slack: %s", said.Error)
	}
	return nil
}
