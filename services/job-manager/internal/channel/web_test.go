package channel

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/formicary/formicary/services/job-manager/internal/notify"
)

// delivery returns one for a channel.
func delivery(channel, address string) *notify.Delivery {
	code, at := 0, time.Date(2026, 5, 6, 7, 8, 9, 0, time.UTC)
	end := at.Add(90 * time.Second)
	return &notify.Delivery{
		ID: uuid.MustParse("01900000-0000-7000-8000-00000000000a"), Channel: channel, Subject: "Job j failed", Target: notify.Target{Address: address},
		Attempts: 1, CreatedAt: at,
		Message: notify.Message{
			Event: "job.failed", OrgID: "o", JobType: "j", RequestID: uuid.MustParse("01900000-0000-7000-8000-00000000000b"), Run: 2, State: "FAILED",
			ExitCode: &code, ErrorCode: "ERR_X", ErrorMessage: "it <b> & broke\nhere", StartedAt: &at, EndedAt: &end, At: end,
		},
	}
}

// channels returns those of conf; runs have two tasks.
func channels(t *testing.T, conf Config) *Channels {
	t.Helper()
	c := New(conf, func(_ context.Context, org string, _ uuid.UUID, run int) ([]notify.Task, error) {
		if org != "o" || run != 2 {
			return nil, errors.New("unknown")
		}
		return []notify.Task{{Name: "build", State: "COMPLETED", Output: "12 tests\n"}, {Name: "deploy", State: "FAILED", ExitCode: 3}}, nil
	})
	t.Cleanup(c.Close)
	return c
}

func open() Config {
	conf := DefaultConfig()
	conf.Egress.Private = true
	return conf
}

func serve(t *testing.T, h http.HandlerFunc) *httptest.Server {
	t.Helper()
	s := httptest.NewServer(h)
	t.Cleanup(s.Close)
	return s
}

func TestVerdicts(t *testing.T) {
	for code, refused := range map[int]bool{
		200: false, 204: false, 301: true, 304: true, 400: true, 401: true, 404: true, 408: false, 410: true, 425: false, 429: false, 500: false, 503: false,
	} {
		s := serve(t, func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(code) })
		err := channels(t, open()).Send(t.Context(), delivery("webhook", s.URL))
		if (err != nil) != (code >= 300) || notify.Refused(err) != refused {
			t.Errorf("%d: %v", code, err)
		}
	}
}

func TestRetryAfter(t *testing.T) {
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	for text, want := range map[string]time.Duration{
		"": 0, "7": 7 * time.Second, " 3 ": 3 * time.Second, "-1": 0, "x": 0, "99999999": 24 * time.Hour,
		"Fri, 02 Jan 2026 03:05:05 GMT": time.Minute, "Fri, 02 Jan 2026 03:00:00 GMT": 0,
	} {
		if got := retryAfter(text, now); got != want {
			t.Errorf("%q: %s, want %s", text, got, want)
		}
	}
}

func TestRedirects(t *testing.T) {
	reached := 0
	other := serve(t, func(http.ResponseWriter, *http.Request) { reached++ })
	var path string
	var body, auth string
	s := serve(t, func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/same":
			http.Redirect(w, r, "/end", http.StatusTemporaryRedirect)
		case "/other":
			http.Redirect(w, r, other.URL, http.StatusPermanentRedirect)
		case "/get":
			http.Redirect(w, r, "/end", http.StatusFound)
		case "/loop":
			http.Redirect(w, r, "/loop", http.StatusTemporaryRedirect)
		default:
			raw, _ := io.ReadAll(r.Body)
			path, body, auth = r.URL.Path, string(raw), r.Header.Get("Authorization")
		}
	})
	c := channels(t, open())
	d := delivery("webhook", s.URL+"/same")
	d.Target.Headers = map[string]string{"Authorization": "Bearer x"}
	if err := c.Send(t.Context(), d); err != nil || path != "/end" || !strings.Contains(body, "job.failed") || auth != "Bearer x" {
		t.Errorf("%v, %s %s %s", err, path, body, auth)
	}
	for _, p := range []string{"/other", "/get", "/loop"} {
		d.Target.Address = s.URL + p
		if err := c.Send(t.Context(), d); !notify.Refused(err) {
			t.Errorf("%s: %v", p, err)
		}
	}
	if reached > 0 {
		t.Error("another host was told")
	}
}

func TestAnswersAreBounded(t *testing.T) {
	s := serve(t, func(w http.ResponseWriter, _ *http.Request) {
		for range 64 {
			if _, err := w.Write(make([]byte, 1<<10)); err != nil {
				return
			}
		}
	})
	if err := channels(t, open()).Send(t.Context(), delivery("webhook", s.URL)); err != nil {
		t.Error(err)
	}
}

func TestTimeOut(t *testing.T) {
	end := make(chan struct{})
	s := serve(t, func(_ http.ResponseWriter, r *http.Request) {
		select {
		case <-r.Context().Done():
		case <-end:
		}
	})
	defer close(end)
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	err := channels(t, open()).Send(ctx, delivery("webhook", s.URL+"/?token=secret"))
	if err == nil || notify.Refused(err) || strings.Contains(err.Error(), "secret") {
		t.Error(err)
	}
}

// TestHeadersCannotBeInjected gives headers that hold more than one line.
func TestHeadersCannotBeInjected(t *testing.T) {
	s := serve(t, func(_ http.ResponseWriter, r *http.Request) {
		if r.Header.Get("X-Evil") != "" {
			t.Error("a header was injected")
		}
	})
	for name, value := range map[string]string{"X-A": "b\r\nX-Evil: 1", "X-A: b\r\nX-Evil": "1"} {
		d := delivery("webhook", s.URL)
		d.Target.Headers = map[string]string{name: value}
		if err := channels(t, open()).Send(t.Context(), d); err == nil {
			t.Errorf("%q was sent", name)
		}
	}
}

func TestGuardSeesWhatNamesMean(t *testing.T) {
	s := serve(t, func(http.ResponseWriter, *http.Request) { t.Error("it was called") })
	for _, address := range []string{s.URL, strings.Replace(s.URL, "127.0.0.1", "localhost", 1)} {
		for _, channel := range []string{"webhook", "slack"} {
			address := address
			if channel == "slack" {
				address = strings.Replace(address, "http:", "https:", 1)
			}
			if err := channels(t, DefaultConfig()).Send(t.Context(), delivery(channel, address)); !notify.Refused(err) || !strings.Contains(err.Error(), "private") {
				t.Errorf("%s: %v", address, err)
			}
		}
	}
	if err := channels(t, open()).Send(t.Context(), delivery("webhook", "http://169.254.169.254/latest/meta-data")); !notify.Refused(err) {
		t.Error(err)
	}
}

func TestBadAddresses(t *testing.T) {
	for _, address := range []string{"", "x", "ftp://a.example", "http://", "http://a b", "http://a.example:port"} {
		if err := channels(t, open()).Send(t.Context(), delivery("webhook", address)); !notify.Refused(err) {
			t.Errorf("%q: %v", address, err)
		}
	}
	if err := channels(t, open()).Send(t.Context(), delivery("pigeon", "x")); !notify.Refused(err) {
		t.Error(err)
	}
}

func TestSlack(t *testing.T) {
	var path, auth string
	var said map[string]any
	answer := `{"ok": true}`
	status := http.StatusOK
	s := serve(t, func(w http.ResponseWriter, r *http.Request) {
		path, auth, said = r.URL.Path, r.Header.Get("Authorization"), nil
		_ = json.NewDecoder(r.Body).Decode(&said)
		w.Header().Set("Retry-After", "30")
		w.WriteHeader(status)
		_, _ = io.WriteString(w, answer)
	})
	conf := open()
	conf.Slack = Slack{Token: "xoxb-secret", API: s.URL + "/api/"}
	c := channels(t, conf)
	if err := c.Send(t.Context(), delivery("slack", "#ops")); err != nil {
		t.Fatal(err)
	}
	text, _ := said["text"].(string)
	if path != "/api/chat.postMessage" || auth != "Bearer xoxb-secret" || said["channel"] != "#ops" {
		t.Errorf("%s %s %v", path, auth, said)
	}
	for _, want := range []string{"*Job j failed*", "it &lt;b&gt; &amp; broke", "build", "exit code 3", "12 tests"} {
		if !strings.Contains(text, want) {
			t.Errorf("%q lacks %q", text, want)
		}
	}
	if err := c.Send(t.Context(), delivery("slack", s.URL+"/services/T/B/X")); err != nil || path != "/services/T/B/X" || auth != "" || said["channel"] != nil {
		t.Errorf("%v %s %s %v", err, path, auth, said)
	}
	for body, refused := range map[string]bool{
		`{"ok": false, "error": "channel_not_found"}`: true, `{"ok": false, "error": "invalid_auth"}`: true,
		`{"ok": false, "error": "ratelimited"}`: false, `no JSON`: false,
	} {
		answer = body
		err := c.Send(t.Context(), delivery("slack", "#ops"))
		if err == nil || notify.Refused(err) != refused || strings.Contains(err.Error(), "secret") {
			t.Errorf("%s: %v", body, err)
		}
	}
	if status = http.StatusTooManyRequests; notify.Refused(c.Send(t.Context(), delivery("slack", "#ops"))) {
		t.Error("a limit of rate is for good")
	}
	conf.Slack.Token = ""
	if err := channels(t, conf).Send(t.Context(), delivery("slack", "@me")); !notify.Refused(err) || !strings.Contains(err.Error(), "FORMICARY_SLACK_TOKEN") {
		t.Error(err)
	}
}

// What no server will ever take is refused at once, and nothing is sent.
func TestWhatCannotBeSentIsRefused(t *testing.T) {
	called := 0
	s := serve(t, func(http.ResponseWriter, *http.Request) { called++ })
	c := channels(t, open())
	for name, change := range map[string]func(*notify.Delivery){
		"a value with a line break":  func(d *notify.Delivery) { d.Target.Headers = map[string]string{"X-A": "a\nb"} },
		"a value with NUL":           func(d *notify.Delivery) { d.Target.Headers = map[string]string{"X-A": "a\x00b"} },
		"a name with a space":        func(d *notify.Delivery) { d.Target.Headers = map[string]string{"X A": "a"} },
		"a URL with a line break":    func(d *notify.Delivery) { d.Target.Address = s.URL + "/a\nb" },
		"a URL with another control": func(d *notify.Delivery) { d.Target.Address = s.URL + "/\x7f" },
	} {
		d := delivery("webhook", s.URL)
		change(d)
		if err := c.Send(t.Context(), d); !notify.Refused(err) || strings.Contains(err.Error(), "a\nb") {
			t.Errorf("%s: %v", name, err)
		}
	}
	if called > 0 {
		t.Errorf("%d requests were made", called)
	}
}
