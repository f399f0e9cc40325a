package reconcile

import (
	"context"
	"log/slog"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/uuid"
	"go.opentelemetry.io/otel/metric/noop"

	"github.com/formicary/formicary/libs/testkit"
	"github.com/formicary/formicary/services/supervisor/internal/engine"
	"github.com/formicary/formicary/services/supervisor/internal/execution"
)

func TestMain(m *testing.M) { testkit.Main(m) }

var now = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)

// TestEndsAreCheckedUnderTheLock: what was found must still hold when it is acted upon, and must have been found a moment
// ago by the database's clock.
func TestEndsAreCheckedUnderTheLock(t *testing.T) {
	past := now.Add(-time.Second)
	doubtful := execution.Attempt{State: engine.AttemptRunning, LeaseUntil: past, TimeoutAt: &past, StopRequested: &past, Missed: 2}
	unclaimed := doubtful
	unclaimed.State = engine.AttemptDispatched
	well := execution.Attempt{State: engine.AttemptRunning, LeaseUntil: now.Add(time.Minute), Missed: 1}
	for kind, tt := range map[execution.DoubtKind]struct {
		state engine.AttemptState
		class string
		a     execution.Attempt
	}{
		execution.DoubtGone:      {engine.AttemptLost, engine.ClassInfra, doubtful},
		execution.DoubtUnclaimed: {engine.AttemptLost, engine.ClassInfra, unclaimed},
		execution.DoubtStop:      {engine.AttemptCancelled, engine.ClassCancelled, doubtful},
		execution.DoubtTimeout:   {engine.AttemptTimedOut, engine.ClassTimeout, doubtful},
		execution.DoubtLease:     {engine.AttemptLost, engine.ClassInfra, doubtful},
	} {
		d := &execution.Doubt{UID: uuid.New(), Kind: kind, Ant: "ant1", LeaseUntil: past, Now: now}
		e := DefaultConfig().end(d).End
		if e.Outcome.State != tt.state || e.Outcome.FailureClass != tt.class {
			t.Errorf("%s ends %s, %s", kind, e.Outcome.State, e.Outcome.FailureClass)
		}
		if !e.Still(&tt.a, now.Add(time.Second)) {
			t.Errorf("%s does not hold under the lock though nothing changed", kind)
		}
		if e.Still(&well, now.Add(time.Second)) {
			t.Errorf("%s holds under the lock though it recovered", kind)
		}
		if got := e.Still(&tt.a, now.Add(time.Hour)); got != (kind == execution.DoubtGone) {
			t.Errorf("%s after a pause of an hour: %v", kind, got)
		}
		if want := past.Add(5 * time.Second); kind == execution.DoubtLease && !e.Outcome.NotBefore.Equal(want) {
			t.Errorf("the next attempt may start at %s, want 5 s after the lease", e.Outcome.NotBefore)
		}
	}
}

func TestBrake(t *testing.T) {
	const lease = 30 * time.Second
	for name, tt := range map[string]struct {
		silent, heard int
		want          bool
	}{
		"nothing":            {0, 10, false},
		"one of two":         {1, 1, false},
		"the only one":       {1, 0, true},
		"two of ten":         {2, 8, false},
		"two of six":         {2, 4, true},
		"1,700 of 1,700":     {1700, 0, true},
		"3,000 of 10,000":    {3000, 7000, false},
		"3,001 of 10,000":    {3001, 6999, true},
		"nobody is anywhere": {0, 0, false},
	} {
		held, until := pull(execution.Census{Silent: tt.silent, Heard: tt.heard, Now: now}, lease)
		if held != tt.want || (until != nil) != tt.want {
			t.Errorf("%s: held %v until %v", name, held, until)
		}
	}
	c := execution.Census{Silent: 3, Now: now}
	held, until := pull(c, lease)
	if !held || !until.Equal(now.Add(lease)) {
		t.Fatal("not held for a lease")
	}
	for _, tt := range []struct {
		after         time.Duration
		silent, heard int
		held, let     bool
	}{
		{lease - time.Second, 3, 0, true, false},
		{lease - time.Second, 2, 8, true, false}, // the others are still coming back
		{lease - time.Second, 1, 9, false, false},
		{lease, 3, 0, false, false},     // once
		{time.Hour, 3, 0, false, false}, // and not again
		{time.Hour, 0, 3, false, true},
	} {
		held, next := pull(execution.Census{Silent: tt.silent, Heard: tt.heard, Now: now.Add(tt.after), BrakeUntil: until}, lease)
		if held != tt.held || (next == nil) != tt.let {
			t.Errorf("%+v: held %v until %v", tt, held, next)
		}
	}
}

// clockStore has one timer and a clock of its own.
type clockStore struct {
	Store
	ahead time.Duration
	mu    sync.Mutex
	at    *time.Time
	fired chan time.Time
}

func (s *clockStore) Now() time.Time { return time.Now().Add(s.ahead) }

func (s *clockStore) NextTimer(context.Context) (*time.Time, time.Time, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.at, s.Now(), nil
}

func (s *clockStore) Due(context.Context, execution.Marks, int) ([]execution.Event, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.at != nil {
		s.at = nil
		s.fired <- time.Now()
	}
	return nil, nil
}

// TestTimersGoByOneClock: a timer that a commit sets is found when it is due, however far the database's clock is from
// that of the process.
func TestTimersGoByOneClock(t *testing.T) {
	for _, ahead := range []time.Duration{time.Hour, -time.Hour} {
		synctest.Test(t, func(t *testing.T) {
			s := &clockStore{ahead: ahead, fired: make(chan time.Time, 1)}
			r, err := New(DefaultConfig(), s, func(error) bool { return true }, slog.New(slog.DiscardHandler), noop.Meter{})
			if err != nil {
				t.Fatal(err)
			}
			began := time.Now()
			ctx, cancel := context.WithCancel(t.Context())
			done := make(chan error, 1)
			go func() { done <- r.timers(ctx) }()
			synctest.Wait() // it naps: there is no timer
			at := s.Now().Add(3 * time.Second)
			s.mu.Lock()
			s.at = &at
			s.mu.Unlock()
			r.Changed(&execution.Changes{Timer: &at})
			if late := (<-s.fired).Sub(began) - 3*time.Second; late > 100*time.Millisecond {
				t.Errorf("%s ahead: %s late", ahead, late)
			}
			cancel()
			if err := <-done; err != nil {
				t.Error(err)
			}
		})
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
