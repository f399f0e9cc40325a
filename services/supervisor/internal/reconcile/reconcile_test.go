package reconcile

import (
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/formicary/formicary/services/supervisor/internal/engine"
	"github.com/formicary/formicary/services/supervisor/internal/execution"
)

var now = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)

func ago(d time.Duration) *time.Time {
	t := now.Add(-d)
	return &t
}

func TestDecide(t *testing.T) {
	running := func(change func(*execution.Doubt)) execution.Doubt {
		x := execution.Doubt{Attempt: execution.Attempt{
			UID: uuid.New(), State: engine.AttemptRunning, Ant: "ant1", LeaseUntil: now.Add(time.Second), DispatchedAt: now.Add(-time.Hour),
		}}
		change(&x)
		return x
	}
	dispatched := func(age time.Duration, rung int) execution.Doubt {
		return execution.Doubt{Rung: rung, Attempt: execution.Attempt{
			UID: uuid.New(), State: engine.AttemptDispatched, Ant: "ant1", LeaseUntil: now.Add(30*time.Second - age), DispatchedAt: now.Add(-age),
		}}
	}
	tests := map[string]struct {
		doubt execution.Doubt
		held  bool
		kind  string // "" nothing, "ring", or what ends it
		state engine.AttemptState
	}{
		"unclaimed for a moment":    {doubt: dispatched(4*time.Second, 0)},
		"unclaimed for 5 s":         {doubt: dispatched(5*time.Second, 0), kind: "ring"},
		"rung a moment ago":         {doubt: dispatched(9*time.Second, 1)},
		"rung 5 s ago":              {doubt: dispatched(10*time.Second, 1), kind: "ring"},
		"unclaimed for 30 s":        {doubt: dispatched(30*time.Second, 5), kind: "unclaimed", state: engine.AttemptLost},
		"unclaimed while braked":    {doubt: dispatched(31*time.Second, 5), held: true, kind: "unclaimed", state: engine.AttemptLost},
		"silent ant":                {doubt: running(func(x *execution.Doubt) { x.LeaseUntil = now.Add(-time.Second) }), kind: "lease", state: engine.AttemptLost},
		"silent ant while braked":   {doubt: running(func(x *execution.Doubt) { x.LeaseUntil = now.Add(-time.Second) }), held: true},
		"too long":                  {doubt: running(func(x *execution.Doubt) { x.TimeoutAt = ago(time.Second) }), kind: "timeout", state: engine.AttemptTimedOut},
		"stopped, within its grace": {doubt: running(func(x *execution.Doubt) { x.StopRequested, x.StopBy = ago(time.Second), ago(-time.Second) })},
		"stopped, beyond its grace": {doubt: running(func(x *execution.Doubt) { x.StopRequested, x.StopBy = ago(time.Hour), ago(time.Second) }), kind: "stop", state: engine.AttemptCancelled},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			p := decide(DefaultConfig(), execution.Doubts{Attempts: []execution.Doubt{tt.doubt}, Now: now}, tt.held)
			kind := ""
			if len(p.ring) > 0 {
				kind = "ring"
			}
			for k, events := range p.ends {
				kind = k
				if got := events[0].End.Outcome.State; got != tt.state {
					t.Errorf("ends %s, want %s", got, tt.state)
				}
				a := tt.doubt.Attempt
				if !events[0].End.Still(&a, now) {
					t.Error("does not hold under the lock though nothing changed")
				}
				a.LeaseUntil, a.State, a.TimeoutAt, a.StopRequested = now.Add(time.Minute), engine.AttemptRunning, nil, nil
				if events[0].End.Still(&a, now) {
					t.Error("holds under the lock though it recovered")
				}
			}
			if kind != tt.kind {
				t.Errorf("did %q, want %q", kind, tt.kind)
			}
		})
	}
	end := decide(DefaultConfig(), execution.Doubts{Now: now, Attempts: []execution.Doubt{
		running(func(x *execution.Doubt) { x.LeaseUntil = now.Add(-time.Second) }),
	}}, false).ends["lease"][0].End
	if want := now.Add(4 * time.Second); !end.Outcome.NotBefore.Equal(want) {
		t.Errorf("the next attempt may start at %s, want 5 s after the lease", end.Outcome.NotBefore)
	}
}

func TestBrake(t *testing.T) {
	silent := func(ants int, names ...string) execution.Doubts {
		d := execution.Doubts{Ants: ants, Now: now}
		for _, n := range names {
			d.Attempts = append(d.Attempts, execution.Doubt{Attempt: execution.Attempt{State: engine.AttemptRunning, Ant: n, LeaseUntil: now.Add(-time.Second)}})
		}
		return d
	}
	const lease = 30 * time.Second
	tests := map[string]struct {
		doubts execution.Doubts
		took   time.Duration
		want   bool
	}{
		"nothing":       {doubts: silent(10)},
		"one of one":    {doubts: silent(1, "a")},
		"two of ten":    {doubts: silent(10, "a", "b")},
		"two of six":    {doubts: silent(6, "a", "b"), want: true},
		"twice one ant": {doubts: silent(2, "a", "a")},
		"slow database": {doubts: silent(10), took: 11 * time.Second, want: true},
	}
	for name, tt := range tests {
		b := brake{lease: lease}
		if got := b.hold(tt.doubts, tt.took); got != tt.want {
			t.Errorf("%s: held %v", name, got)
		}
	}
	b := brake{lease: lease}
	d := silent(3, "a", "b", "c")
	if !b.hold(d, 0) {
		t.Fatal("not held")
	}
	d.Now = now.Add(lease - time.Second)
	if !b.hold(d, 0) {
		t.Error("released before the lease was over")
	}
	d.Now = now.Add(lease)
	if b.hold(d, 0) {
		t.Error("held for more than one lease")
	}
	b.hold(silent(3), 0)
	if d.Now = now.Add(time.Hour); !b.hold(d, 0) {
		t.Error("not held again after all was well")
	}
}

func TestConfigIsChecked(t *testing.T) {
	if err := DefaultConfig().Validate(); err != nil {
		t.Errorf("default: %v", err)
	}
	if err := (Config{}).Validate(); err == nil {
		t.Error("zero config passed")
	}
}
