package ant_test

import (
	"slices"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/formicary/formicary/libs/errs"
	"github.com/formicary/formicary/services/resource-manager/internal/ant"
)

const lease = 30 * time.Second

var t0 = time.Date(2030, 1, 1, 0, 0, 0, 0, time.UTC)

func offer(slots int) ant.Offer {
	return ant.Offer{Methods: []string{"shell", "SHELL", " http_get"}, Tags: []string{"X64", "linux"}, Slots: slots}
}

func registered(t *testing.T) (*ant.Ant, uuid.UUID) {
	t.Helper()
	a, s := &ant.Ant{ID: "a"}, uuid.New()
	if err := a.Register(offer(4), s, lease, t0); err != nil {
		t.Fatal(err)
	}
	return a, s
}

func TestRegister(t *testing.T) {
	a, _ := registered(t)
	if a.State != ant.Online || a.Generation != t0.UnixMicro() || a.Slots != 4 || !a.LeaseUntil.Equal(t0.Add(lease)) {
		t.Errorf("%+v", a)
	}
	if !slices.Equal(a.Methods, []string{"HTTP_GET", "SHELL"}) || !slices.Equal(a.Tags, []string{"linux", "x64"}) {
		t.Errorf("methods %v, tags %v", a.Methods, a.Tags)
	}
}

// The row of an ant is forgotten in the end, its generation is kept by others: it must not begin anew.
func TestGenerationNeverFalls(t *testing.T) {
	generation := func(a *ant.Ant, now time.Time) int64 {
		t.Helper()
		if err := a.Register(offer(1), uuid.New(), lease, now); err != nil {
			t.Fatal(err)
		}
		return a.Generation
	}
	a := &ant.Ant{ID: "a"}
	last := generation(a, t0)
	for _, c := range []struct {
		name string
		ant  *ant.Ant
		now  time.Time
	}{
		{"again at once", a, t0},
		{"the clock was set back", a, t0.Add(-time.Hour)},
		{"its row was removed", &ant.Ant{ID: "a"}, t0.Add(time.Minute)},
		{"its row is an older one", &ant.Ant{ID: "a", Generation: 7}, t0.Add(2 * time.Minute)},
	} {
		next := generation(c.ant, c.now)
		if next <= last {
			t.Errorf("%s: generation %d after %d", c.name, next, last)
		}
		if next >= 1<<53 {
			t.Errorf("%s: generation %d is no number to JavaScript", c.name, next)
		}
		last = next
	}
	if first := generation(&ant.Ant{ID: "b"}, time.Now()); first <= 1_000_000 {
		t.Errorf("a new ant begins at %d, below what older versions have counted", first)
	}
}

// A try of a registration that comes late, when the next one was answered and the ant works, changes nothing.
func TestRepeatedRegistrationIsTheSame(t *testing.T) {
	a, s := registered(t)
	if err := a.Beat(ant.Pulse{Session: s, Draining: true, Heard: 3}, lease, t0); err != nil {
		t.Fatal(err)
	}
	later := t0.Add(5 * time.Second)
	if err := a.Register(offer(4), s, lease, later); err != nil {
		t.Fatal(err)
	}
	if a.Generation != t0.UnixMicro() || a.State != ant.Draining || a.Heard != 3 || !a.LeaseUntil.Equal(later.Add(lease)) {
		t.Errorf("%+v", a)
	}
}

func TestShrinkKeepsTheCeilingOfWhatIsUsed(t *testing.T) {
	a, _ := registered(t)
	a.Used = 3
	if err := a.Register(offer(1), uuid.New(), lease, t0); err != nil {
		t.Fatal(err)
	}
	if a.Offered != 1 || a.Slots != 3 || a.Generation != t0.UnixMicro()+1 {
		t.Errorf("%+v", a)
	}
	if err := a.Register(offer(5), uuid.New(), lease, t0); err != nil {
		t.Fatal(err)
	}
	if a.Offered != 5 || a.Slots != 5 {
		t.Errorf("%+v", a)
	}
}

func TestWorkersAndAntsKeepTheirIDs(t *testing.T) {
	worker := ant.Offer{Methods: []string{"WEBSOCKET"}, Slots: 1}
	a, s := registered(t)
	if err := a.Register(worker, uuid.New(), lease, t0); errs.Reason(err) != "ANT_ID_TAKEN" {
		t.Errorf("a worker took the id of an ant: %v", err)
	}
	if *a.Session != s || a.Generation != t0.UnixMicro() {
		t.Errorf("%+v", a)
	}
	if err := a.Register(worker, uuid.New(), lease, t0.Add(lease)); err != nil {
		t.Errorf("the ant is gone: %v", err)
	}
	if err := a.Register(worker, uuid.New(), lease, t0.Add(lease)); err != nil {
		t.Errorf("the worker comes again: %v", err)
	}
	if err := a.Register(offer(1), uuid.New(), lease, t0.Add(lease)); errs.Reason(err) != "ANT_ID_TAKEN" {
		t.Errorf("an ant took the id of a worker: %v", err)
	}
}

func TestLife(t *testing.T) {
	late := t0.Add(time.Minute)
	type step struct {
		name string
		do   func(a *ant.Ant, s uuid.UUID) error
		want ant.State
		err  string // reason
	}
	beat := func(draining bool, now time.Time) func(*ant.Ant, uuid.UUID) error {
		return func(a *ant.Ant, s uuid.UUID) error {
			return a.Beat(ant.Pulse{Session: s, Unhealthy: []string{"shell"}, Draining: draining}, lease, now)
		}
	}
	drain := func(a *ant.Ant, _ uuid.UUID) error { return a.Drain(t0) }
	resume := func(a *ant.Ant, _ uuid.UUID) error { return a.Resume(t0) }
	leave := func(a *ant.Ant, s uuid.UUID) error { return a.Leave(s, t0) }
	for _, c := range []struct {
		name  string
		steps []step
	}{
		{"beats", []step{{"beat", beat(false, t0), ant.Online, ""}, {"wants no more", beat(true, t0), ant.Draining, ""}, {"again", beat(false, t0), ant.Online, ""}}},
		{"drained by an operator", []step{{"drain", drain, ant.Draining, ""}, {"beat", beat(false, t0), ant.Draining, ""}, {"resume", resume, ant.Online, ""}}},
		{"a drain outlasts the session", []step{
			{"drain", drain, ant.Draining, ""},
			{"register", func(a *ant.Ant, _ uuid.UUID) error { return a.Register(offer(1), uuid.New(), lease, t0) }, ant.Draining, ""},
		}},
		{"left", []step{{"leave", leave, ant.Offline, ""}, {"beat", beat(false, t0), ant.Offline, "ANT_UNKNOWN"}, {"drain", drain, ant.Offline, ""}}},
		{"a late beat", []step{
			{"lease ended", func(a *ant.Ant, _ uuid.UUID) error { return a.Drain(late) }, ant.Offline, ""},
			{"beat", beat(false, late), ant.Draining, ""},
		}},
		{"superseded", []step{{"beat of another session", func(a *ant.Ant, _ uuid.UUID) error { return a.Beat(ant.Pulse{Session: uuid.New()}, lease, t0) }, ant.Online, "SESSION_SUPERSEDED"}}},
	} {
		t.Run(c.name, func(t *testing.T) {
			a, s := registered(t)
			for _, st := range c.steps {
				if err := st.do(a, s); errs.Reason(err) != st.err || (err != nil && st.err == "") {
					t.Fatalf("%s: %v", st.name, err)
				}
				if a.State != st.want || (a.State == ant.Offline) != (a.OfflineAt != nil) {
					t.Fatalf("%s: state %s since %v, want %s", st.name, a.State, a.OfflineAt, st.want)
				}
			}
		})
	}
}

func TestUnknownAntCannotBeat(t *testing.T) {
	a := &ant.Ant{ID: "new"}
	if err := a.Beat(ant.Pulse{Session: uuid.New()}, lease, t0); errs.Reason(err) != "ANT_UNKNOWN" {
		t.Error(err)
	}
}

// A row that came back from a copy knows an older session: that is no reason for the ant to end.
func TestABeatOfANewerSessionIsNotSuperseded(t *testing.T) {
	a, _ := registered(t)
	if err := a.Beat(ant.Pulse{Session: uuid.New(), Generation: a.Generation + 1}, lease, t0); errs.Reason(err) != "ANT_UNKNOWN" {
		t.Error(err)
	}
	if err := a.Beat(ant.Pulse{Session: uuid.New(), Generation: a.Generation}, lease, t0); errs.Reason(err) != "SESSION_SUPERSEDED" {
		t.Error(err)
	}
}

func TestDoubt(t *testing.T) {
	a, s := registered(t)
	now := t0
	beat := func(p ant.Pulse) {
		t.Helper()
		p.Session = s
		if err := a.Beat(p, time.Hour, now); err != nil {
			t.Fatal(err)
		}
	}
	beat(ant.Pulse{Heard: 5})
	a.Doubt.Missed(2, now)
	if a.Doubt.Unclaimed != 2 || a.Doubt.Until != nil {
		t.Fatalf("after two: %+v", a.Doubt)
	}
	beat(ant.Pulse{Heard: 5})
	want := []time.Duration{30 * time.Second, time.Minute, 2 * time.Minute, 4 * time.Minute, 5 * time.Minute, 5 * time.Minute}
	for i, avoid := range want {
		for range 100 { // all that was placed together ends together
			a.Doubt.Missed(1, now)
		}
		if a.Doubt.Until == nil || !a.Doubt.Until.Equal(now.Add(avoid)) {
			t.Fatalf("round %d: avoided until %v, want for %s", i, a.Doubt.Until, avoid)
		}
		now = now.Add(avoid + ant.Trial)
		beat(ant.Pulse{Heard: 5})
	}
	beat(ant.Pulse{Heard: 6})
	if a.Doubt != (ant.Doubt{}) {
		t.Errorf("after a claim: %+v", a.Doubt)
	}
	a.Doubt.Missed(9, now)
	beat(ant.Pulse{Heard: 6, Unreachable: "no connection"})
	if a.Unreachable == "" || a.Doubt.Unclaimed != 9 {
		t.Errorf("unreachable: %q, %+v", a.Unreachable, a.Doubt)
	}
	beat(ant.Pulse{Heard: 6})
	if a.Unreachable != "" || a.Doubt != (ant.Doubt{}) {
		t.Errorf("hears again: %q, %+v", a.Unreachable, a.Doubt)
	}
	a.Doubt.Missed(9, now)
	a.Doubt.Missed(1, now.Add(time.Hour))
	if a.Doubt.Unclaimed != 1 || a.Doubt.Until != nil {
		t.Errorf("an hour later: %+v", a.Doubt)
	}
}

func TestExpired(t *testing.T) {
	ended := func(braked bool, ids ...string) (out []ant.Expire) {
		for _, id := range ids {
			out = append(out, ant.Expire{ID: id, Braked: braked})
		}
		return out
	}
	for _, c := range []struct {
		name            string
		alive           int
		ended           []ant.Expire
		slow            bool
		offline, spared []string
	}{
		{"the only one", 1, ended(false, "a"), false, []string{"a"}, nil},
		{"two of three", 3, ended(false, "a", "b"), false, nil, []string{"a", "b"}},
		{"three of ten", 10, ended(false, "a", "b", "c"), false, []string{"a", "b", "c"}, nil},
		{"four of ten", 10, ended(false, "a", "b", "c", "d"), false, nil, []string{"a", "b", "c", "d"}},
		{"once more was given", 2, ended(true, "a", "b"), false, []string{"a", "b"}, nil},
		{"the database is slow", 9, ended(false, "a"), true, nil, []string{"a"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			offline, spared := ant.Expired(c.alive, c.ended, c.slow)
			if !slices.Equal(offline, c.offline) || !slices.Equal(spared, c.spared) {
				t.Errorf("offline %v, spared %v", offline, spared)
			}
		})
	}
}
