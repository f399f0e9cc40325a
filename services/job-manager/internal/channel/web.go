package channel

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/formicary/formicary/libs/egress"
	"github.com/formicary/formicary/services/job-manager/internal/notify"
)

const (
	userAgent = "formicary"
	maxAnswer = 4 << 10
	dialTime  = 5 * time.Second
	// headerDelivery is the same whenever a delivery is sent again.
	headerDelivery = "X-Formicary-Delivery"
)

// web makes POST requests: guarded to servers that people name, open to those that the operator names.
type web struct{ guarded, open *http.Client }

// operated is the policy for servers that the operator names.
var operated = egress.Policy{Private: true, AnyPort: true} //nolint:gochecknoglobals // constant

func newWeb(policy egress.Policy) *web {
	client := func(p egress.Policy) *http.Client {
		c := egress.Client(egress.Options{Policy: p, DialTime: dialTime})
		c.CheckRedirect = redirect
		return c
	}
	return &web{guarded: client(policy), open: client(operated)}
}

func (w *web) close() {
	w.guarded.CloseIdleConnections()
	w.open.CloseIdleConnections()
}

// redirect follows a few that stay at the server and send the same again: the body and the headers are for nobody else.
func redirect(req *http.Request, via []*http.Request) error {
	if egress.Redirect(req, via) != nil || req.Method != http.MethodPost || req.URL.Host != via[0].URL.Host {
		return http.ErrUseLastResponse
	}
	return nil
}

// post sends a body and returns the beginning of the answer of a server that accepted it.
func post(ctx context.Context, client *http.Client, to *url.URL, body []byte, header http.Header) ([]byte, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, to.String(), bytes.NewReader(body))
	if err != nil {
		return nil, notify.Refuse("the URL cannot be called")
	}
	req.Header = header
	req.Header.Set("User-Agent", userAgent)
	req.Header.Set("Content-Type", "application/json; charset=utf-8")
	if host := header.Get("Host"); host != "" {
		req.Host = host
		header.Del("Host")
	}
	res, err := client.Do(req)
	if err != nil {
		return nil, plain(err)
	}
	defer func() { _ = res.Body.Close() }()
	answer, err := io.ReadAll(io.LimitReader(res.Body, maxAnswer))
	if err != nil && res.StatusCode < http.StatusMultipleChoices {
		answer = nil // it was accepted; what it said about that does not matter
	}
	return answer, verdict(res)
}

// plain leaves out the URL, which may hold secrets, and does not try again what the guard refuses.
func plain(err error) error {
	if u, ok := errors.AsType[*url.Error](err); ok {
		err = u.Err
	}
	if egress.Refused(err) {
		return notify.Refuse("the request was not made: %w", err)
	}
	return fmt.Errorf("the request failed: %w", err)
}

// verdict tells by its status what an answer means.
func verdict(res *http.Response) error {
	code := res.StatusCode
	err := fmt.Errorf("the server answered %d %s", code, http.StatusText(code))
	switch {
	case code >= 200 && code < 300:
		return nil
	case code >= 300 && code < 400:
		return notify.Refuse("%w: it redirects to elsewhere, or asks for another method", err)
	case code == http.StatusRequestTimeout || code == http.StatusTooEarly || code == http.StatusTooManyRequests || code >= 500:
		if after := retryAfter(res.Header.Get("Retry-After"), time.Now()); after > 0 {
			return notify.Later(err, after)
		}
		return err
	default:
		return notify.Refuse("%w", err)
	}
}

// retryAfter reads seconds or a date.
func retryAfter(text string, now time.Time) time.Duration {
	const most = 24 * time.Hour
	text = strings.TrimSpace(text)
	if seconds, err := strconv.ParseUint(text, 10, 32); err == nil {
		return min(time.Duration(seconds)*time.Second, most)
	}
	if at, err := http.ParseTime(text); err == nil {
		return min(max(0, at.Sub(now)), most)
	}
	return 0
}
