package request_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/google/uuid"

	"github.com/formicary/formicary/libs/errs"
	"github.com/formicary/formicary/libs/jobspec"
	"github.com/formicary/formicary/services/job-manager/internal/config"
	"github.com/formicary/formicary/services/job-manager/internal/request"
)

// start is the time of all tests; later is after it.
func start() time.Time { return time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC) }

func in(state request.State, change ...func(*request.Record)) *request.Request {
	rec := request.Record{
		ID: uuid.MustParse("01900000-0000-7000-8000-000000000001"), OrgID: "o", JobType: "j", State: state, Run: 1, Version: 7,
		AgeAt: start().Add(-time.Hour), Queued: state == request.Pending, PlacementClass: "SHELL||1",
	}
	if state.Active() {
		rec.ExecutionVersion = 1
	}
	for _, c := range change {
		c(&rec)
	}
	return request.Load(rec)
}

func begun(r *request.Record)     { r.ExecutionVersion = 5 }
func fresh(r *request.Record)     { r.ExecutionVersion = 0 }
func cancelled(r *request.Record) { at := start(); r.CancelRequestedAt = &at }
func pausing(r *request.Record)   { at := start(); r.PauseRequestedAt = &at }

// kinds names the events, controls by their action.
func kinds(r *request.Request) []string {
	out := []string{}
	for _, e := range r.Events() {
		switch e.Kind {
		case request.Submitted:
			out = append(out, "submitted")
		case request.Admitted:
			out = append(out, "admitted")
		case request.Changed:
			out = append(out, "changed")
		case request.ChildEnded:
			out = append(out, "child ended")
		case request.Control:
			out = append(out, map[request.Action]string{request.Cancel: "cancel", request.Pause: "pause"}[e.Action])
		}
	}
	return out
}

type want struct {
	state  request.State
	run    int
	events []string
	reason string
}

func check(t *testing.T, r *request.Request, err error, w want) {
	t.Helper()
	if got := errs.Reason(err); got != w.reason {
		t.Fatalf("reason %q (%v), want %q", got, err, w.reason)
	}
	rec := r.Record()
	if rec.State != w.state || rec.Run != w.run {
		t.Errorf("%s run %d, want %s run %d", rec.State, rec.Run, w.state, w.run)
	}
	if got := kinds(r); !slices.Equal(got, append([]string{}, w.events...)) {
		t.Errorf("events %v, want %v", got, w.events)
	}
	if rec.State.Terminal() != (rec.EndedAt != nil) && r.Changed() {
		t.Errorf("%s with ended_at %v", rec.State, rec.EndedAt)
	}
	if rec.Queued && rec.State != request.Pending {
		t.Errorf("%s is queued", rec.State)
	}
}

func TestCancel(t *testing.T) {
	for _, c := range []struct {
		name string
		r    *request.Request
		want want
	}{
		{"waiting", in(request.Pending), want{request.Cancelled, 1, []string{"changed"}, ""}},
		{"resumed and waiting", in(request.Pending, begun), want{request.Pending, 1, []string{"cancel"}, ""}},
		{"admitted", in(request.Ready, fresh), want{request.Ready, 1, []string{"cancel"}, ""}},
		{"running", in(request.Executing), want{request.Executing, 1, []string{"cancel"}, ""}},
		{"paused before it began", in(request.Paused), want{request.Cancelled, 1, []string{"changed"}, ""}},
		{"paused", in(request.Paused, begun), want{request.Paused, 1, []string{"cancel"}, ""}},
		{"asked before", in(request.Executing, cancelled), want{request.Executing, 1, nil, ""}},
		{"ended", in(request.Completed), want{request.Completed, 1, nil, ""}},
	} {
		t.Run(c.name, func(t *testing.T) {
			c.r.Cancel(start(), "why")
			check(t, c.r, nil, c.want)
			if c.r.Record().Queued {
				t.Error("it is still queued")
			}
		})
	}
}

// What waits too long ends; what is a retry is ended by supervisor, which knows of the clean-up that may be left to it.
func TestOverdue(t *testing.T) {
	due := func(r *request.Record) {
		at := start()
		r.PendingUntil, r.PendingTimeout = &at, time.Minute
	}
	retry := func(r *request.Record) { r.Run, r.Retries = 2, 1 }
	for _, c := range []struct {
		name, error string
		r           *request.Request
		want        want
	}{
		{"first run", "ERR_JOB_TIMEOUT", in(request.Pending, due), want{request.Failed, 1, []string{"changed"}, ""}},
		{"retry", "ERR_JOB_TIMEOUT", in(request.Pending, due, retry), want{request.Ready, 2, []string{"changed", "admitted"}, ""}},
		{"cancelled", "", in(request.Pending, due, retry, cancelled), want{request.Pending, 2, nil, ""}},
		{"admitted meanwhile", "", in(request.Ready, due, retry), want{request.Ready, 2, nil, ""}},
		{"in time", "", in(request.Pending, retry), want{request.Pending, 2, nil, ""}},
	} {
		t.Run(c.name, func(t *testing.T) {
			c.r.Overdue(start(), "no slot")
			check(t, c.r, nil, c.want)
			rec := c.r.Record()
			if rec.ErrorCode != c.error || (c.error != "") != strings.Contains(rec.ErrorMessage, "no slot") || rec.Lapsed() != (c.name == "retry") {
				t.Errorf("%q %q, lapsed %v", rec.ErrorCode, rec.ErrorMessage, rec.Lapsed())
			}
		})
	}
}

func TestPauseResumeRestart(t *testing.T) {
	pause := func(r *request.Request) error { return r.Pause(start()) }
	resume := func(r *request.Request) error { return r.Resume(start()) }
	soft := func(r *request.Request) error { return r.Restart(start(), request.Again{}) }
	for _, c := range []struct {
		name string
		r    *request.Request
		do   func(*request.Request) error
		want want
	}{
		{"pause waiting", in(request.Pending), pause, want{request.Paused, 1, []string{"changed"}, ""}},
		{"pause running", in(request.Executing), pause, want{request.Executing, 1, []string{"pause"}, ""}},
		{"pause twice", in(request.Executing, pausing), pause, want{request.Executing, 1, nil, ""}},
		{"pause paused", in(request.Paused), pause, want{request.Paused, 1, nil, ""}},
		{"pause ended", in(request.Failed), pause, want{request.Failed, 1, nil, "REQUEST_STATE"}},
		{"resume", in(request.Paused, begun), resume, want{request.Pending, 1, []string{"submitted", "changed"}, ""}},
		{"resume running", in(request.Executing), resume, want{request.Executing, 1, nil, "REQUEST_STATE"}},
		{"resume cancelled", in(request.Paused, begun, cancelled), resume, want{request.Paused, 1, nil, "REQUEST_STATE"}},
		{"restart failed", in(request.Failed, begun), soft, want{request.Pending, 2, []string{"submitted", "changed"}, ""}},
		{"restart running", in(request.Executing), soft, want{request.Executing, 1, nil, "REQUEST_STATE"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			age := c.r.Record().AgeAt
			check(t, c.r, c.do(c.r), c.want)
			if rec := c.r.Record(); rec.Run == 1 && !rec.AgeAt.Equal(age) {
				t.Error("the age was not kept")
			}
		})
	}
}

func TestRestartReuses(t *testing.T) {
	run2 := func(r *request.Record) { r.Run, r.ReuseRun = 2, 1 }
	for _, c := range []struct {
		name string
		r    *request.Request
		hard bool
		want int
	}{
		{"soft keeps the last run", in(request.Failed, run2, begun), false, 2},
		{"soft skips a run that never began", in(request.Cancelled, run2, fresh), false, 1},
		{"hard keeps nothing", in(request.Completed, run2, begun), true, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			if err := c.r.Restart(start(), request.Again{Hard: c.hard}); err != nil {
				t.Fatal(err)
			}
			rec := c.r.Record()
			if rec.ReuseRun != c.want || rec.Run != 3 || rec.Begun() || rec.EndedAt != nil {
				t.Errorf("%+v", rec)
			}
		})
	}
}

func TestApply(t *testing.T) {
	soon := start().Add(time.Minute)
	e := func(version int64, s request.State) request.Execution {
		return request.Execution{Run: 1, Version: version, State: s}
	}
	restart := e(9, request.Failed)
	restart.RestartAt, restart.RestartSoft = &soon, true
	for _, c := range []struct {
		name string
		r    *request.Request
		e    request.Execution
		want want
	}{
		{"starts", in(request.Ready), e(2, request.Executing), want{request.Executing, 1, []string{"changed"}, ""}},
		{"launched", in(request.Ready, fresh), e(1, request.Ready), want{request.Ready, 1, nil, ""}},
		{"completes without a start", in(request.Ready), e(3, request.Completed), want{request.Completed, 1, []string{"changed"}, ""}},
		{"filtered", in(request.Ready), e(3, request.Skipped), want{request.Skipped, 1, []string{"changed"}, ""}},
		{"same version", in(request.Executing, begun), e(5, request.Failed), want{request.Executing, 1, nil, ""}},
		{"older version", in(request.Executing, begun), e(4, request.Completed), want{request.Executing, 1, nil, ""}},
		{"older run", in(request.Executing, func(r *request.Record) { r.Run = 2 }), e(99, request.Completed), want{request.Executing, 2, nil, ""}},
		{"ended stays", in(request.Completed, begun), e(9, request.Failed), want{request.Completed, 1, nil, ""}},
		{"pauses", in(request.Executing), e(9, request.Paused), want{request.Paused, 1, []string{"changed"}, ""}},
		{"paused runs out of time", in(request.Paused, begun), e(9, request.Failed), want{request.Failed, 1, []string{"changed"}, ""}},
		{"approved", in(request.Manual, begun), e(9, request.Executing), want{request.Pending, 1, []string{"submitted", "changed"}, ""}},
		{"resumed waits for its place", in(request.Pending, begun), e(9, request.Executing), want{request.Pending, 1, nil, ""}},
		{"retries", in(request.Executing), restart, want{request.Pending, 2, []string{"submitted", "changed"}, ""}},
		{"retries after pause", in(request.Executing, pausing), restart, want{request.Paused, 2, []string{"changed"}, ""}},
		{"cancel wins over retry, which is left the clean-up", in(request.Executing, cancelled), restart, want{request.Pending, 2, []string{"submitted", "changed", "cancel"}, ""}},
		{"result wins over cancel", in(request.Executing, cancelled), e(9, request.Completed), want{request.Completed, 1, []string{"changed"}, ""}},
	} {
		t.Run(c.name, func(t *testing.T) {
			c.r.Apply(start(), c.e)
			check(t, c.r, nil, c.want)
		})
	}
}

func TestRetryIsNotDueYet(t *testing.T) {
	soon := start().Add(time.Minute)
	r := in(request.Executing)
	age := r.Record().AgeAt
	r.Apply(start(), request.Execution{Run: 1, Version: 9, State: request.Failed, ErrorCode: "E", RestartAt: &soon})
	rec := r.Record()
	if rec.Queued || rec.ScheduledAt == nil || !rec.AgeAt.Equal(age) || rec.ReuseRun != 0 || rec.ErrorCode != "" {
		t.Errorf("%+v", rec)
	}
}

func TestReconcile(t *testing.T) {
	e := func(version int64, s request.State) *request.Execution {
		return &request.Execution{Run: 1, Version: version, State: s}
	}
	for _, c := range []struct {
		name  string
		r     *request.Request
		found *request.Execution
		want  want
	}{
		{"event was lost", in(request.Executing), e(9, request.Completed), want{request.Completed, 1, []string{"changed"}, ""}},
		{"admission was lost", in(request.Ready, fresh), nil, want{request.Ready, 1, []string{"admitted"}, ""}},
		{"resume was lost", in(request.Ready, begun), e(5, request.Paused), want{request.Ready, 1, []string{"admitted"}, ""}},
		{"waits for people since before it was admitted", in(request.Ready, begun), e(5, request.Manual), want{request.Manual, 1, []string{"changed"}, ""}},
		{"went on before it was admitted", in(request.Ready, begun), e(5, request.Executing), want{request.Executing, 1, []string{"changed"}, ""}},
		{"launched and waiting", in(request.Ready), e(1, request.Ready), want{request.Ready, 1, nil, ""}},
		{"runs", in(request.Executing, begun), e(5, request.Executing), want{request.Executing, 1, nil, ""}},
		{"cancel was lost", in(request.Executing, begun, cancelled), e(5, request.Executing), want{request.Executing, 1, []string{"cancel"}, ""}},
		{"pause was lost", in(request.Executing, begun, pausing), e(5, request.Executing), want{request.Executing, 1, []string{"pause"}, ""}},
		{"moved on meanwhile", in(request.Ready, func(r *request.Record) { r.Run = 2 }), e(5, request.Failed), want{request.Ready, 2, nil, ""}},
	} {
		t.Run(c.name, func(t *testing.T) {
			c.r.Reconcile(start(), c.found)
			check(t, c.r, nil, c.want)
		})
	}
}

func TestExplain(t *testing.T) {
	soon := start().Add(time.Minute)
	scheduled := func(r *request.Record) { r.ScheduledAt, r.Queued = &soon, false }
	full := request.Standing{MaxConcurrency: 2, Active: 2, Holders: []string{"a", "b"}, Rank: 4}
	noAnt := request.Standing{Gates: []request.ClosedGate{{Gate: request.GateConcurrency}, {Gate: request.GateNoAnt, Reason: "no ant offers GPU"}}}
	for _, c := range []struct {
		name string
		r    *request.Request
		s    request.Standing
		want request.Gate
	}{
		{"scheduled", in(request.Pending, scheduled), full, request.GateSchedule},
		{"disabled", in(request.Pending), request.Standing{Disabled: true}, request.GateDisabled},
		{"full", in(request.Pending), full, request.GateConcurrency},
		{"no ant", in(request.Pending), noAnt, request.GateNoAnt},
		{"next", in(request.Pending), request.Standing{MaxConcurrency: 2, Active: 1}, request.GateQueue},
		{"cancelled", in(request.Pending, begun, cancelled), full, request.GatePause},
		{"paused", in(request.Paused), request.Standing{}, request.GatePause},
		{"approval", in(request.Manual), request.Standing{}, request.GateApproval},
		{"running", in(request.Executing), request.Standing{}, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			rec := c.r.Record()
			w := request.Explain(&rec, c.s, start())
			switch {
			case w == nil && c.want != "":
				t.Fatalf("no reason, want %s", c.want)
			case w != nil && (w.Gate != c.want || w.Reason == ""):
				t.Errorf("%+v, want %s", w, c.want)
			case w != nil && c.want == request.GateConcurrency && (len(w.Holders) != 2 || w.Rank != 4):
				t.Errorf("%+v", w)
			}
		})
	}
}

func TestMovesNeverLeaveTheEnd(t *testing.T) {
	for _, m := range request.Moves() {
		if m.From.Terminal() && !m.NewRun {
			t.Errorf("%+v", m)
		}
	}
}

func TestFailedLaunchIsBounded(t *testing.T) {
	yaml := "job_type: j\ntasks:\n"
	for i := range 100 {
		yaml += fmt.Sprintf("  - {task_type: t%d, method: SHELL, script: x, tags: '{{.x}}'}\n", i)
	}
	def, _, err := jobspec.Parse("j.yaml", []byte(yaml))
	if err != nil {
		t.Fatal(err)
	}
	l, err := request.NewLaunch(request.Record{Params: []byte(`{"x": "é;é"}`)}, def, &config.View{}, nil, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	if l.ErrorCode != "ERR_JOB_LAUNCH" || !strings.HasSuffix(l.ErrorMessage, "…") || len(l.ErrorMessage) > 2<<10+len("…") || !utf8.ValidString(l.ErrorMessage) {
		t.Errorf("%s, %d bytes: %.200s", l.ErrorCode, len(l.ErrorMessage), l.ErrorMessage)
	}
}

// A pause that was asked for before the run began holds when the run begins first: its message may be lost.
func TestPauseOutlivesTheBeginOfTheRun(t *testing.T) {
	r := in(request.Ready)
	if err := r.Pause(start()); err != nil {
		t.Fatal(err)
	}
	r.Apply(start(), request.Execution{Run: 1, Version: 2, State: request.Executing})
	rec := r.Record()
	if rec.State != request.Executing || rec.PauseRequestedAt == nil {
		t.Fatalf("%s, pause asked for at %v", rec.State, rec.PauseRequestedAt)
	}
	r = request.Load(rec)
	r.Reconcile(start(), &request.Execution{Run: 1, Version: 2, State: request.Executing})
	if e := r.Events(); len(e) != 1 || e[0].Kind != request.Control || e[0].Action != request.Pause {
		t.Errorf("told %+v", e)
	}
	r.Apply(start(), request.Execution{Run: 1, Version: 3, State: request.Paused})
	if rec := r.Record(); rec.State != request.Paused || rec.PauseRequestedAt != nil {
		t.Errorf("%s, pause asked for at %v", rec.State, rec.PauseRequestedAt)
	}
}

// Whoever watches a request hears why it is paused: a decision of people is no pause that anybody asked for.
func TestAPauseSaysWhatItIs(t *testing.T) {
	now, later := start(), start().Add(time.Minute)
	for want, at := range map[string]*time.Time{"is decided": &now, "resumes by itself at": &later, "until somebody resumes it": nil} {
		r := in(request.Manual, begun)
		r.Apply(start(), request.Execution{Run: 1, Version: 9, State: request.Paused, ResumeAt: at})
		rec := r.Record()
		if w := request.Explain(&rec, request.Standing{}, start()); !strings.Contains(w.Reason, want) {
			t.Errorf("explained by %q, want %q", w.Reason, want)
		}
		events := r.Events()
		if told := events[len(events)-1].Record.StateReason(); !strings.Contains(told, want) {
			t.Errorf("told %q, want %q", told, want)
		}
	}
}

// A pause of a run that has not started ends no limit: its wait begins anew, and at its end supervisor, which holds the
// run since the pause, hears of it.
func TestTheWaitForTheStartBeginsAnewAfterAPause(t *testing.T) {
	limited := func(r *request.Record) { r.PendingTimeout = time.Minute }
	started := func(r *request.Record) { at := start(); r.StartedAt = &at }
	for _, c := range []struct {
		name   string
		r      *request.Request
		limit  bool
		events []string
	}{
		{"it was not admitted", in(request.Paused, limited, fresh), true, []string{"submitted", "changed", "changed"}},
		{"it was launched", in(request.Paused, limited, begun), true, []string{"submitted", "changed", "changed", "cancel"}},
		{"it has started", in(request.Paused, limited, begun, started), false, []string{"submitted", "changed"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			later := start().Add(time.Hour)
			if err := c.r.Resume(later); err != nil {
				t.Fatal(err)
			}
			if until := c.r.Record().PendingUntil; (until != nil) != c.limit || until != nil && !until.Equal(later.Add(time.Minute)) {
				t.Fatalf("it may wait until %v", until)
			}
			c.r.Overdue(later.Add(time.Minute-1), "held")
			if s := c.r.Record().State; s != request.Pending {
				t.Errorf("too early it is %s", s)
			}
			c.r.Overdue(later.Add(time.Minute), "held")
			state := request.Pending
			if c.limit {
				state = request.Failed
			}
			check(t, c.r, nil, want{state, 1, c.events, ""})
		})
	}
}
