package e2e

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"syscall"
	"testing"
)

// told is a message that a webhook got.
type told struct {
	delivery string
	path     string
	accepted bool
	team     string
	Event    string `json:"event"`
	Request  string `json:"request_id"`
	Fixed    bool   `json:"fixed"`
}

// listener is a server that webhooks call.
type listener struct {
	*httptest.Server
	mu     sync.Mutex
	refuse bool
	heard  []told
}

func listen(t *testing.T) *listener {
	t.Helper()
	l := &listener{}
	l.Server = httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		m := told{delivery: r.Header.Get("X-Formicary-Delivery"), path: r.URL.Path, team: r.Header.Get("X-Team") + r.URL.Query().Get("job")}
		err := json.NewDecoder(r.Body).Decode(&m)
		l.mu.Lock()
		defer l.mu.Unlock()
		m.accepted = err == nil && !l.refuse
		l.heard = append(l.heard, m)
		if !m.accepted {
			http.Error(rw, "not now", http.StatusServiceUnavailable)
		}
	}))
	t.Cleanup(l.Close)
	return l
}

func (l *listener) refuses(is bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.refuse = is
}

// of returns what was told of a request at a path.
func (l *listener) of(id, path string) []told {
	l.mu.Lock()
	defer l.mu.Unlock()
	var out []told
	for _, m := range l.heard {
		if m.Request == id && m.path == path {
			out = append(out, m)
		}
	}
	return out
}

// TestNotifications tells a webhook of a failure, of the success after it, and of an end before which the receiver and
// after which the colony was down.
func TestNotifications(t *testing.T) {
	w := newWorld(t)
	up := w.embedded()
	l := listen(t)
	w.define(fmt.Sprintf(`job_type: e2e-notify
params: [{name: code, type: int, default: 0}]
webhook: {url: "%[1]s/hook", headers: {X-Team: blue-}, query: {job: "{{.JobType}}"}}
notify:
  - {channel: webhook, recipients: "%[1]s/bad", when: onFailure}
  - {channel: webhook, recipients: "%[1]s/good", when: onSuccess}
tasks:
  - {task_type: a, method: SHELL, script: ["exit {{.code}}"], webhook: "%[1]s/task"}
`, l.URL))
	one := func(id, path, event string, fixed bool) told {
		t.Helper()
		w.eventually(event+" is told at "+path, func() bool { return len(l.of(id, path)) > 0 })
		got := l.of(id, path)
		if len(got) != 1 || got[0].Event != event || got[0].Fixed != fixed {
			t.Errorf("told at %s: %+v, want one %s, fixed: %t", path, got, event, fixed)
		}
		return got[0]
	}
	failed := w.submit("e2e-notify", "failed", map[string]any{"code": 7})
	w.finishes(failed, "FAILED")
	one(failed, "/bad", "job.failed", false)
	one(failed, "/task", "task.failed", false)
	fixed := w.submit("e2e-notify", "fixed", nil)
	w.finishes(fixed, "COMPLETED")
	one(fixed, "/good", "job.completed", true)
	again := w.submit("e2e-notify", "again", nil)
	w.finishes(again, "COMPLETED")
	one(again, "/good", "job.completed", false)
	if len(l.of(failed, "/good"))+len(l.of(fixed, "/bad"))+len(l.of(again, "/bad")) > 0 {
		t.Error("somebody was told who did not want to hear")
	}
	w.eventually("the webhook of the job is called", func() bool { return len(l.of(again, "/hook")) > 0 })
	for _, m := range l.of(again, "/hook") {
		if m.team != "blue-e2e-notify" {
			t.Errorf("header and query were %q", m.team)
		}
	}

	l.refuses(true)
	late := w.submit("e2e-notify", "late", map[string]any{"code": 7})
	w.finishes(late, "FAILED")
	w.eventually("the receiver has refused", func() bool { return len(l.of(late, "/bad")) > 0 })
	up.signal(syscall.SIGKILL)
	l.refuses(false)
	up.start()
	w.ready()
	w.eventually("the message is accepted", func() bool {
		got := l.of(late, "/bad")
		return got[len(got)-1].accepted
	})
	accepted := 0
	for _, m := range l.of(late, "/bad") {
		if m.delivery == "" || m.delivery != l.of(late, "/bad")[0].delivery {
			t.Errorf("delivery %q, before %q", m.delivery, l.of(late, "/bad")[0].delivery)
		}
		if m.accepted {
			accepted++
		}
	}
	if accepted != 1 {
		t.Errorf("accepted %d times", accepted)
	}
	w.eventually("the delivery is SENT", func() bool {
		out, code := w.cli("request", "notifications", late)
		return code == 0 && strings.Contains(out, "SENT") && !strings.Contains(out, "PENDING")
	})
	w.audit()
}
