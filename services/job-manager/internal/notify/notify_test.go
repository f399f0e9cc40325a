package notify

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/formicary/formicary/libs/jobspec/plan"
	"github.com/formicary/formicary/services/job-manager/internal/request"
)

func rec(state request.State) *request.Record {
	return &request.Record{ID: uuid.MustParse("01900000-0000-7000-8000-00000000000b"), OrgID: "o", JobType: "j", Run: 1, Version: 4, State: state}
}

func TestWhoHears(t *testing.T) {
	a := plan.Audience{
		Notify: []plan.Notify{
			{Channel: "email", Recipients: []string{"good@x"}, When: plan.OnSuccess},
			{Channel: "email", Recipients: []string{"bad@x"}, When: plan.OnFailure},
			{Channel: "slack", Recipients: []string{"#all"}, When: plan.Always},
			{Channel: "email", Recipients: []string{"never@x"}, When: plan.Never},
		},
		Webhook: &plan.Webhook{URL: "https://u:p@h.example/p?q=1"},
	}
	for state, want := range map[request.State]string{
		request.Pending: "", request.Ready: "", request.Executing: "hook", request.Paused: "hook", request.Manual: "hook",
		request.Completed: "hook good@x #all", request.Failed: "hook bad@x #all", request.Cancelled: "hook bad@x #all", request.Skipped: "hook #all",
	} {
		var got []string
		if (&Move{After: *rec(state)}).Announced() {
			for _, d := range OfJob(rec(state), a, false) {
				if d.Channel == "webhook" {
					d.Recipient = strings.ReplaceAll(d.Recipient, "https://h.example/p", "hook")
				}
				got = append(got, d.Recipient)
			}
		}
		if strings.Join(got, " ") != want {
			t.Errorf("%s: %v, want %s", state, got, want)
		}
	}
	child := rec(request.Failed)
	child.ParentID = &uuid.UUID{}
	if got := OfJob(child, a, false); len(got) != 1 || got[0].Channel != "webhook" {
		t.Errorf("%v", got)
	}
}

func TestIDs(t *testing.T) {
	a := plan.Audience{Notify: []plan.Notify{{Channel: "webhook", Recipients: []string{"https://x/1"}, When: "always"}}, Webhook: &plan.Webhook{URL: "https://x/1"}}
	first, again := OfJob(rec(request.Failed), a, false), OfJob(rec(request.Failed), a, false)
	later := rec(request.Failed)
	later.Version++
	seen := map[uuid.UUID]bool{}
	for i := range first {
		if first[i].ID != again[i].ID {
			t.Error("the same has another id")
		}
	}
	for _, d := range append(first, OfJob(later, a, false)...) {
		if seen[d.ID] {
			t.Errorf("%s is the id of two", d.ID)
		}
		seen[d.ID] = true
	}
}

func TestFixed(t *testing.T) {
	a := plan.Audience{Notify: []plan.Notify{{Channel: "slack", Recipients: []string{"#a"}, When: "always"}}}
	for _, c := range []struct {
		state, from request.State
		before      bool
		ask, fixed  bool
	}{
		{request.Completed, "", true, true, true},
		{request.Completed, "", false, true, false},
		{request.Failed, "", true, false, false},
		{request.Completed, request.Failed, false, false, true},
		{request.Completed, request.Completed, false, false, false},
		{request.Completed, request.Cancelled, true, true, true},
		{request.Skipped, "", true, false, false},
	} {
		r := rec(c.state)
		r.RestartedFrom = c.from
		if got := NeedsPrevious(r, a); got != c.ask {
			t.Errorf("%+v: asks %v", c, got)
		}
		d := OfJob(r, a, c.before)[0]
		if d.Message.Fixed != c.fixed || strings.HasPrefix(d.Subject, "Fixed: ") != c.fixed {
			t.Errorf("%+v: %+v", c, d)
		}
	}
	if NeedsPrevious(rec(request.Completed), plan.Audience{Notify: []plan.Notify{{Channel: "slack", Recipients: []string{"#a"}, When: "onFailure"}}}) {
		t.Error("it is asked though nobody is told")
	}
}

func TestShown(t *testing.T) {
	for _, c := range [][4]string{
		{"email", "a@b.example", "a@b.example", "email"},
		{"slack", "#ops", "#ops", "slack"},
		{"webhook", "https://u:p@H.example:8443/p?token=1#f", "https://H.example:8443/p", "webhook h.example:8443"},
		{"slack", "https://hooks.slack.com/services/T/B/X", "https://hooks.slack.com/…", "slack hooks.slack.com"},
		{"webhook", "::", "::", "webhook"},
	} {
		if recipient, host := shown(c[0], c[1]); recipient != c[2] || host != c[3] {
			t.Errorf("%s: %s, %s", c[1], recipient, host)
		}
	}
	if got := clean("a\r\nb\x00\xff"+strings.Repeat("é", 200), 100); strings.ContainsAny(got, "\r\n\x00") || len(got) > 105 {
		t.Errorf("%q", got)
	}
}

func TestNotices(t *testing.T) {
	n := Notice{ID: uuid.New(), RequestID: uuid.New(), Kind: "escalation", Task: "a", JobType: "j", Message: "hurry", Recipients: []string{
		"#ops", "@me", "a@b.example", "https://h.example/x", "https://hooks.slack.com/services/1", "somebody",
	}}
	all, err := OfNotice(&n)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, d := range all {
		got = append(got, d.Channel)
		if d.Message.Event != "approval.escalated" || d.Message.Text != "hurry" {
			t.Errorf("%+v", d)
		}
	}
	if s := fmt.Sprint(got); s != "[slack slack email webhook slack email]" {
		t.Error(s)
	}
	began, ended := time.Unix(1, 0), time.Unix(3, 0)
	all, err = OfNotice(&Notice{ID: uuid.New(), Kind: "task", State: "COMPLETED", Webhook: []byte("{}"), StartedAt: &began, EndedAt: &ended})
	if err != nil || all[0].Message.Duration() != 2*time.Second || all[0].Message.StartedAt != &began {
		t.Errorf("%+v, %v", all, err)
	}
	for name, bad := range map[string]Notice{
		"kind": {Kind: "x", Recipients: []string{"#a"}}, "nobody": {Kind: "task"}, "webhook": {Kind: "task", Webhook: []byte("{")},
	} {
		if _, err := OfNotice(&bad); err == nil {
			t.Errorf("%s was accepted", name)
		}
	}
}

func TestOutcomes(t *testing.T) {
	p := DefaultOptions().Pace
	broken := errors.New("broken\nin two")
	for _, c := range []struct {
		name     string
		attempts int
		err      error
		age      time.Duration
		state    State
		pause    time.Duration
	}{
		{"sent", 1, nil, 0, Sent, 0},
		{"first", 1, broken, 0, Pending, 5 * time.Second},
		{"third", 3, broken, 0, Pending, 20 * time.Second},
		{"many", 40, broken, 0, Pending, 10 * time.Minute},
		{"too old", 9, broken, 51 * time.Minute, Failed, 0},
		{"first after an outage", 1, broken, 2 * time.Hour, Failed, 0},
		{"refused", 1, Refuse("no"), 0, Failed, 0},
		{"refused deep down", 1, fmt.Errorf("a: %w", fmt.Errorf("b: %w", Refuse("no"))), 0, Failed, 0},
		{"later", 1, Later(broken, 5*time.Minute), 0, Pending, 5 * time.Minute},
		{"later, but soon", 8, Later(broken, time.Second), 0, Pending, 10 * time.Minute},
		{"too late", 1, Later(broken, 2*time.Hour), 0, Failed, 0},
	} {
		o := p.outcome(&Delivery{Attempts: c.attempts}, c.err, c.age, 0.5)
		if o.State != c.state || o.Pause != c.pause || (o.Error == "") != (c.err == nil) || strings.Contains(o.Error, "\n") {
			t.Errorf("%s: %+v", c.name, o)
		}
	}
	if low, high := p.pause(1, 0), p.pause(1, 1); low != 4*time.Second || high != 6*time.Second {
		t.Errorf("%s to %s", low, high)
	}
}
