package request_test

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/formicary/formicary/services/job-manager/internal/request"
)

func child(r *request.Record) { parent := r.ID; r.ParentID, r.ChildKey, r.Depth = &parent, "e/1/1", 1 }

func TestChildEnds(t *testing.T) {
	soon := start().Add(time.Minute)
	e := func(s request.State, restart *time.Time) request.Execution {
		return request.Execution{Run: 1, Version: 9, State: s, ErrorCode: "E", ErrorMessage: "why", RestartAt: restart}
	}
	apply := func(e request.Execution) func(*request.Request) {
		return func(r *request.Request) { r.Apply(start(), e) }
	}
	passed := func(r *request.Record) { r.TotalDeadline = &soon }
	late := soon.Add(time.Second)
	for _, c := range []struct {
		name string
		r    *request.Request
		do   func(*request.Request)
		want want
	}{
		{"completes", in(request.Executing, child), apply(e(request.Completed, nil)), want{request.Completed, 1, []string{"changed", "child ended"}, ""}},
		{"is skipped", in(request.Ready, child), apply(e(request.Skipped, nil)), want{request.Skipped, 1, []string{"changed", "child ended"}, ""}},
		{"is tried again", in(request.Executing, child), apply(e(request.Failed, &soon)), want{request.Pending, 2, []string{"submitted", "changed"}, ""}},
		{"is too late", in(request.Executing, child, passed), apply(e(request.Failed, &late)), want{request.Failed, 1, []string{"changed", "child ended"}, ""}},
		{"is in time", in(request.Executing, child, passed), apply(e(request.Failed, &soon)), want{request.Pending, 2, []string{"submitted", "changed"}, ""}},
		{"is cancelled and waits", in(request.Pending, child), func(r *request.Request) { r.Cancel(start(), "x") }, want{request.Cancelled, 1, []string{"changed", "child ended"}, ""}},
		{"has ended", in(request.Completed, child), apply(e(request.Failed, nil)), want{request.Completed, 1, nil, ""}},
		{"nobody's", in(request.Executing), apply(e(request.Completed, nil)), want{request.Completed, 1, []string{"changed"}, ""}},
	} {
		t.Run(c.name, func(t *testing.T) {
			c.do(c.r)
			check(t, c.r, nil, c.want)
			rec := c.r.Record()
			if c.want.run == 2 && rec.Retries != 1 {
				t.Errorf("%d retries", rec.Retries)
			}
			if c.name == "is too late" && (rec.ErrorCode != "E" || !strings.HasPrefix(rec.ErrorMessage, "why; not tried again")) {
				t.Errorf("%s: %s", rec.ErrorCode, rec.ErrorMessage)
			}
		})
	}
}

func TestMissing(t *testing.T) {
	recently, long := start().Add(-time.Minute), start().Add(-3*time.Minute)
	since := func(at time.Time) func(*request.Record) {
		return func(r *request.Record) { r.MissingAt = &at }
	}
	running := &request.Execution{Run: 1, Version: 5, State: request.Executing}
	for _, c := range []struct {
		name    string
		r       *request.Request
		found   *request.Execution
		want    want
		missing bool
	}{
		{"first time", in(request.Executing, begun), nil, want{request.Executing, 1, nil, ""}, true},
		{"not long", in(request.Executing, begun, since(recently)), nil, want{request.Executing, 1, nil, ""}, true},
		{"too long", in(request.Executing, begun, since(long)), nil, want{request.Failed, 1, []string{"changed"}, ""}, false},
		{"found again", in(request.Executing, begun, since(long)), running, want{request.Executing, 1, nil, ""}, false},
		{"waits for a cancel", in(request.Paused, begun, cancelled, since(long)), nil, want{request.Cancelled, 1, []string{"changed"}, ""}, false},
		{"waits for people", in(request.Manual, begun, since(long)), nil, want{request.Failed, 1, []string{"changed"}, ""}, false},
		{"paused", in(request.Paused, begun, since(long)), nil, want{request.Paused, 1, nil, ""}, false},
		{"admitted", in(request.Ready, begun, since(long)), nil, want{request.Ready, 1, []string{"admitted"}, ""}, false},
		{"not launched yet", in(request.Ready, fresh), nil, want{request.Ready, 1, []string{"admitted"}, ""}, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			c.r.Reconcile(start(), c.found)
			check(t, c.r, nil, c.want)
			rec := c.r.Record()
			if (rec.MissingAt != nil) != c.missing {
				t.Errorf("missing at %v", rec.MissingAt)
			}
			if rec.State == request.Failed && rec.ErrorCode != "ERR_RUN_LOST" {
				t.Errorf("code %s", rec.ErrorCode)
			}
		})
	}
}

func TestRestartBeginsAnew(t *testing.T) {
	deadline := start()
	r := in(request.Failed, begun, func(r *request.Record) { r.Retries, r.TotalDeadline, r.FromTask = 3, &deadline, "old" })
	pin := &request.Pin{DefinitionVersion: 2, Params: []byte(`{"a":1}`), PlacementClass: "X"}
	if err := r.Restart(start(), request.Again{FromTask: "t", Pin: pin}); err != nil {
		t.Fatal(err)
	}
	rec := r.Record()
	if rec.Retries != 0 || rec.TotalDeadline != nil || rec.RestartedAt == nil || rec.FromTask != "t" || rec.ReuseRun != 1 || rec.DefinitionVersion != 2 ||
		rec.PlacementClass != "X" || string(rec.Params) != `{"a":1}` {
		t.Errorf("%+v", rec)
	}
	// The run never began: a retry by itself would still begin at the task, a person's restart does not.
	l := request.Launch{Record: rec, TotalTimeout: time.Hour}
	if got := l.TotalDeadline(); !got.Equal(start().Add(time.Hour)) || !l.Memorable() {
		t.Errorf("%s", got)
	}
	again := request.Load(rec)
	again.Cancel(start(), "x")
	if err := again.Restart(start(), request.Again{}); err != nil || again.Record().FromTask != "" || again.Record().ReuseRun != 1 {
		t.Errorf("%v, %+v", err, again.Record())
	}
	if !slices.Contains(request.States(), rec.State) {
		t.Errorf("%s is no state", rec.State)
	}
}
