package pg_test

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/formicary/formicary/services/supervisor/internal/execution"
)

var limits = execution.Limits{Stop: time.Minute, Ring: 5 * time.Second, Replace: 30 * time.Second, Gap: 10 * time.Second}

// doubts are the kinds of what is to be done now, by attempt.
func (c *colony) doubts(tried []uuid.UUID, limit int) map[uuid.UUID]execution.DoubtKind {
	c.t.Helper()
	all, err := c.store.Doubtful(c.t.Context(), limits, tried, limit)
	if err != nil {
		c.t.Fatal(err)
	}
	kinds := map[uuid.UUID]execution.DoubtKind{}
	for _, d := range all {
		kinds[d.UID] = d.Kind
	}
	return kinds
}

func (c *colony) exec(sql string, args ...any) {
	c.t.Helper()
	if _, err := c.pool.Exec(c.t.Context(), sql, args...); err != nil {
		c.t.Fatal(err)
	}
}

// TestOnlyWhatIsDueIsDoubtful makes one attempt of each kind. What is to be done for the passing of time is not to be
// done after time has passed that nobody was awake in.
func TestOnlyWhatIsDueIsDoubtful(t *testing.T) {
	tests := []struct {
		set  string
		kind execution.DoubtKind
	}{
		{`lease_until = now() + interval '1s'`, ""},
		{`lease_until = now() - interval '1s'`, "lease"},
		{`timeout_at = now() - interval '1s'`, "timeout"},
		{`timeout_at = now() - interval '1s', lease_until = now() - interval '1s'`, "timeout"},
		{`stop_requested_at = now() - interval '59s'`, ""},
		{`stop_requested_at = now() - interval '65s'`, ""}, // the grace of the task is 10 s
		{`stop_requested_at = now() - interval '75s'`, "stop"},
		{`missed = 1`, ""},
		{`missed = 2`, "gone"},
		{`state = 'D', dispatched_at = now() - interval '4s'`, ""},
		{`state = 'D', dispatched_at = now() - interval '6s'`, "ring"},
		{`state = 'D', dispatched_at = now() - interval '9s', rung = 1`, ""},
		{`state = 'D', dispatched_at = now() - interval '11s', rung = 1`, "ring"},
		{`state = 'D', dispatched_at = now() - interval '31s', rung = 6, lease_until = now() - interval '1s'`, "unclaimed"},
		{`state = 'D', missed = 1000`, "gone"},
	}
	c := newColony(t, fmt.Sprintf(wide, 100))
	c.end(c.start(1), map[string]string{"hosts": hosts(len(tests))})
	c.exec(`UPDATE task SET spec = (spec::jsonb || '{"grace": 10000000000}')::json WHERE group_idx IS NULL`) // that of an item says nothing
	c.exec(`ALTER TABLE attempt DISABLE TRIGGER legal_move`)
	running := c.start(len(tests))
	set := func() {
		for i, tt := range tests {
			sql := tt.set
			if len(sql) > 9 && sql[:9] == "state = '" {
				sql = "state = 'DISPATCHED'" + sql[11:]
			}
			c.exec(`UPDATE attempt SET `+sql+` WHERE uid = $1`, running[i].UID)
		}
	}
	set()
	got := c.doubts(nil, 100)
	for i, tt := range tests {
		if got[running[i].UID] != tt.kind {
			t.Errorf("%s: %q, want %q", tt.set, got[running[i].UID], tt.kind)
		}
	}
	if _, err := c.store.Beat(t.Context(), limits.Gap, time.Minute); err != nil {
		t.Fatal(err)
	}
	if again := c.doubts(nil, 100); len(again) != len(got) {
		t.Errorf("the first beat hides something: %v", again)
	}
	awake := func(what string, want ...execution.DoubtKind) {
		t.Helper()
		var kinds []execution.DoubtKind
		for _, k := range c.doubts(nil, 100) {
			kinds = append(kinds, k)
		}
		slices.Sort(kinds)
		if kinds = slices.Compact(kinds); !slices.Equal(kinds, want) {
			t.Errorf("%s: %v, want %v", what, kinds, want)
		}
	}
	c.exec(`UPDATE pulse SET beat_at = beat_at - interval '11s'`)
	awake("after a pause, before the first beat", "gone", "ring")
	for i, want := range []bool{true, false, false} { // three replicas beat
		slept, err := c.store.Beat(t.Context(), limits.Gap, time.Minute)
		if err != nil || (slept > 10*time.Second && slept < time.Minute) != want {
			t.Errorf("beat %d: slept %s, %v", i, slept, err)
		}
	}
	awake("while everything rests", "gone", "ring")
	c.exec(`UPDATE pulse SET rest_until = now()`)
	awake("after the rest", "gone", "lease", "ring", "stop", "timeout", "unclaimed")
	c.exec(`UPDATE pulse SET beat_at = beat_at + interval '1h'`)
	awake("after the clock was set back", "gone", "ring")
	if slept, err := c.store.Beat(t.Context(), limits.Gap, time.Minute); err != nil || slept > -50*time.Minute {
		t.Errorf("slept %s: %v", slept, err)
	}
	awake("and after the next beat", "gone", "ring")
}

// TestThePauseIsGivenBack: timeouts move with the clock, and no lease is longer than one.
func TestThePauseIsGivenBack(t *testing.T) {
	c := newColony(t, fmt.Sprintf(wide, 2))
	x := c.start(1)[0]
	c.exec(`UPDATE attempt SET timeout_at = now() - interval '50m', lease_until = now() + interval '1h' WHERE uid = $1`, x.UID)
	if err := c.store.Slept(t.Context(), time.Hour); err != nil {
		t.Fatal(err)
	}
	var ok bool
	if err := c.pool.QueryRow(t.Context(), `SELECT timeout_at BETWEEN now() + interval '9m' AND now() + interval '10m' AND lease_until <= now() + interval '30s'
		FROM attempt WHERE uid = $1`, x.UID).Scan(&ok); err != nil || !ok {
		t.Errorf("%v, %v", ok, err)
	}
}

// TestNothingHidesWhatIsDue: what cannot be done about the first attempts is no reason to leave the others alone.
func TestNothingHidesWhatIsDue(t *testing.T) {
	c := newColony(t, fmt.Sprintf(wide, 100))
	c.end(c.start(1), map[string]string{"hosts": hosts(9)})
	running := c.start(9)
	for i, x := range running {
		c.exec(`UPDATE attempt SET lease_until = now() - interval '1h' + $2 * interval '1m' WHERE uid = $1`, x.UID, i)
	}
	c.exec(`UPDATE attempt SET timeout_at = now() WHERE uid = $1`, running[8].UID)
	var tried []uuid.UUID
	for i, want := range [][]execution.Placed{{running[0], running[1], running[8]}, {running[2], running[3]}, {running[4], running[5]}, {running[6], running[7]}, nil} {
		got := c.doubts(tried, 2)
		for _, x := range want {
			if got[x.UID] == "" {
				t.Errorf("round %d: attempt %s is not found", i, x.UID)
			}
		}
		if len(got) != len(want) {
			t.Errorf("round %d: found %d, want %d", i, len(got), len(want))
		}
		for uid := range got {
			tried = append(tried, uid)
		}
	}
	// The same of timers.
	c.exec(`UPDATE task SET state = 'WAITING', wake_at = now() - item * interval '1s', overdue_at = NULL WHERE group_idx IS NOT NULL`)
	marks := execution.Marks{}
	var idx []int
	for {
		events, err := c.store.Due(t.Context(), marks, 2)
		if err != nil {
			t.Fatal(err)
		}
		if len(events) == 0 {
			break
		}
		for _, e := range events {
			idx = append(idx, e.Idx)
		}
	}
	slices.Sort(idx)
	if len(slices.Compact(idx)) != 9 {
		t.Errorf("timers of %v are due", idx)
	}
}

// TestOneRingInAPeriod: whichever replica comes first rings, and what comes late is not made up for.
func TestOneRingInAPeriod(t *testing.T) {
	c := newColony(t, fmt.Sprintf(wide, 100))
	x := c.start(1)[0]
	c.exec(`ALTER TABLE attempt DISABLE TRIGGER legal_move`)
	c.exec(`UPDATE attempt SET state = 'DISPATCHED', dispatched_at = now() - interval '23s' WHERE uid = $1`, x.UID)
	rings := 0
	for range 3 {
		n, err := c.store.Ring(t.Context(), []uuid.UUID{x.UID}, limits.Ring)
		if err != nil {
			t.Fatal(err)
		}
		rings += n
	}
	if rings != 1 || len(c.doubts(nil, 10)) != 0 {
		t.Errorf("rung %d times, then %v", rings, c.doubts(nil, 10))
	}
	c.exec(`UPDATE attempt SET dispatched_at = dispatched_at - interval '3s' WHERE uid = $1`, x.UID)
	if n, err := c.store.Ring(t.Context(), []uuid.UUID{x.UID}, limits.Ring); err != nil || n != 1 {
		t.Errorf("in the next period rung %d times: %v", n, err)
	}
}
