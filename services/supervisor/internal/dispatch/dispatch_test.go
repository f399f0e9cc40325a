package dispatch

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"slices"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/formicary/formicary/services/supervisor/internal/execution"
)

// fakeWindow is how many classes the store steps through in one look.
const fakeWindow = 20

// fakeStore keeps READY tasks in memory.
type fakeStore struct {
	ready []execution.Candidate
	waits map[string]execution.Wait
	looks int
	fail  error

	unreleased []uuid.UUID
}

func (s *fakeStore) Heads(_ context.Context, after string, limits map[string]int, limit int) (execution.Window, error) {
	s.looks++
	names := map[string]bool{}
	for _, t := range s.ready {
		if t.Class > after {
			names[t.Class] = true
		}
	}
	classes := slices.Sorted(maps.Keys(names))
	w := execution.Window{End: len(classes) <= fakeWindow}
	classes = classes[:min(len(classes), fakeWindow)]
	open := 0
	for _, class := range classes {
		w.Last = class
		if _, closed := limits[class]; !closed {
			open++
		}
	}
	share := max(limit/max(open, 1), 1)
	taken := map[string]int{}
	for _, t := range s.ready {
		most, closed := limits[t.Class]
		if !closed {
			most = share
		}
		if !slices.Contains(classes, t.Class) || taken[t.Class] >= most || len(w.Heads) >= limit {
			continue
		}
		taken[t.Class]++
		w.Heads = append(w.Heads, t)
	}
	return w, nil
}

func (s *fakeStore) TakeTurn(context.Context) (func(), error) { return func() {}, nil }

// Overlooked says that every READY task is old.
func (s *fakeStore) Overlooked(_ context.Context, _ time.Duration, classes []string) (bool, error) {
	return slices.ContainsFunc(s.ready, func(t execution.Candidate) bool { return !slices.Contains(classes, t.Class) }), nil
}

func (s *fakeStore) Idle(_ context.Context, classes []string) ([]string, error) {
	return slices.DeleteFunc(classes, func(class string) bool {
		return slices.ContainsFunc(s.ready, func(t execution.Candidate) bool { return t.Class == class })
	}), nil
}

func (s *fakeStore) Waits(context.Context) ([]execution.Wait, error) {
	return slices.Collect(maps.Values(s.waits)), nil
}

func (s *fakeStore) Dispatch(_ context.Context, placed []execution.Placed, _ time.Time, _ []uuid.UUID) error {
	if s.fail != nil {
		return s.fail
	}
	for _, p := range placed {
		s.ready = slices.DeleteFunc(s.ready, func(t execution.Candidate) bool { return t.Execution == p.Execution })
	}
	return nil
}

func (s *fakeStore) Settle(context.Context, []uuid.UUID) error { return nil }
func (s *fakeStore) Releases(context.Context, time.Duration, int) ([]uuid.UUID, error) {
	return s.unreleased, nil
}

func (s *fakeStore) Explain(_ context.Context, waits []execution.Wait, gone []string) error {
	for _, w := range waits {
		s.waits[w.Class] = w
	}
	for _, class := range gone {
		delete(s.waits, class)
	}
	return nil
}

// fakeSlots has free slots for every class but "none".
type fakeSlots struct {
	free     int
	asked    int
	calls    int
	released int
	only     string // the one class that released slots are for
	asks     func([]Ask)
	during   func() // happens while a question is under way, after it was answered
	err      error
}

func (f *fakeSlots) Reserve(_ context.Context, releases []uuid.UUID, asks []Ask) ([]Place, time.Time, error) {
	f.calls++
	if f.err != nil {
		return nil, time.Time{}, f.err
	}
	f.asked += len(asks)
	if f.asks != nil {
		f.asks(asks)
	}
	f.released += len(releases)
	f.free += len(releases)
	places := make([]Place, len(asks))
	for i, a := range asks {
		switch {
		case a.Class == "none":
			places[i] = Place{Gate: "no_ant", Reason: "nobody can"}
		case f.free > 0 && (f.only == "" || f.only == a.Class):
			f.free--
			places[i] = Place{Ant: "ant1"}
		default:
			places[i] = Place{Gate: "capacity", Reason: "all slots are used"}
		}
	}
	if during := f.during; during != nil {
		f.during = nil
		during()
	}
	return places, time.Now().Add(time.Minute), nil
}

func setUp(free int, classes ...string) (*Dispatcher, *fakeStore, *fakeSlots) {
	store, slots := &fakeStore{waits: map[string]execution.Wait{}}, &fakeSlots{free: free}
	for _, class := range classes {
		store.ready = append(store.ready, execution.Candidate{Execution: uuid.New(), Class: class, Slots: 1})
	}
	return New(store, slots, func() {}, slog.New(slog.NewTextHandler(io.Discard, nil)), 10), store, slots
}

func many(n int, class string) []string { return slices.Repeat([]string{class}, n) }

func round(t *testing.T, d *Dispatcher) {
	t.Helper()
	if err := d.round(t.Context()); err != nil {
		t.Fatal(err)
	}
}

func freed(n int) *execution.Changes {
	c := &execution.Changes{}
	for range n {
		c.Freed = append(c.Freed, execution.Freed{UID: uuid.New(), Slots: 1})
	}
	return c
}

func TestQuestionsFollowTheSlots(t *testing.T) {
	d, store, slots := setUp(8, many(500, "a")...)
	d.Changed(&execution.Changes{Left: true})
	round(t, d)
	if len(store.ready) != 492 || slots.asked != 10 {
		t.Fatalf("%d tasks left after %d questions", len(store.ready), slots.asked)
	}
	round(t, d)
	if slots.asked != 10 {
		t.Fatalf("a closed class was asked for again: %d questions", slots.asked)
	}
	for left := 492; left > 0; left -= 4 {
		d.Changed(freed(4))
		round(t, d)
		if len(store.ready) != left-4 {
			t.Fatalf("%d tasks left, want %d", len(store.ready), left-4)
		}
	}
	if slots.asked > 502 {
		t.Errorf("%d questions for 500 tasks", slots.asked)
	}
}

// lossy hands out slots and loses its first answer.
type lossy struct {
	free int
	lost bool
	held map[uuid.UUID]bool
}

func (l *lossy) Reserve(_ context.Context, releases []uuid.UUID, asks []Ask) ([]Place, time.Time, error) {
	for _, uid := range releases {
		delete(l.held, uid)
	}
	places := make([]Place, len(asks))
	for i, a := range asks {
		if len(l.held) == l.free {
			places[i] = Place{Gate: "capacity", Reason: "all slots are used"}
			continue
		}
		l.held[a.UID] = true
		places[i] = Place{Ant: "ant1"}
	}
	if !l.lost {
		l.lost = true
		return nil, time.Time{}, errors.New("no answer in time")
	}
	return places, time.Now().Add(time.Minute), nil
}

// A question that is not answered in time may be carried out all the same: nobody uses what it holds.
func TestSlotsOfAnUnansweredQuestionAreGivenBack(t *testing.T) {
	d, store, _ := setUp(0, many(10, "a")...)
	slots := &lossy{free: 10, held: map[uuid.UUID]bool{}}
	d.slots = slots
	d.Changed(&execution.Changes{Left: true})
	if err := d.round(t.Context()); err == nil {
		t.Fatal("the answer was not lost")
	}
	round(t, d)
	if len(store.ready) > 0 {
		t.Errorf("%d tasks wait for slots that are held for nothing", len(store.ready))
	}

	d, _, _ = setUp(0)
	slots = &lossy{free: 1, held: map[uuid.UUID]bool{}}
	d.slots = slots
	if _, _, err := d.Place(t.Context(), []execution.Candidate{{Execution: uuid.New(), Class: "a", Slots: 1}}); err == nil {
		t.Fatal("the answer was not lost")
	}
	if err := d.giveBack(t.Context()); err != nil || len(slots.held) > 0 {
		t.Errorf("%d slots are held when nothing more is asked for: %v", len(slots.held), err)
	}
}

func TestBatchesFollowEachOther(t *testing.T) {
	d, store, _ := setUp(1000, many(95, "a")...)
	d.Changed(&execution.Changes{Left: true})
	round(t, d)
	if len(store.ready) != 0 {
		t.Errorf("%d tasks left", len(store.ready))
	}
}

func TestReasonsAreStoredAndForgotten(t *testing.T) {
	d, store, slots := setUp(0, "a", "none")
	d.Changed(&execution.Changes{Left: true})
	round(t, d)
	if store.waits["a"].Gate != "capacity" || store.waits["none"].Gate != "no_ant" {
		t.Errorf("waits %v", store.waits)
	}
	asked := slots.asked
	d.Changed(freed(1))
	round(t, d)
	if len(store.ready) != 1 || slots.asked != asked+1 {
		t.Errorf("%d left, %d questions: a freed slot opens only what waits for capacity", len(store.ready), slots.asked-asked)
	}
	d.Reopen()
	round(t, d)
	if _, ok := store.waits["a"]; ok || slots.asked != asked+2 {
		t.Errorf("waits %v after %d questions", store.waits, slots.asked-asked)
	}
}

func TestFreshTasksAreNotLookedUp(t *testing.T) {
	d, store, _ := setUp(3)
	fresh := func(class string) *execution.Changes {
		task := execution.Candidate{Execution: uuid.New(), Class: class, Slots: 1}
		store.ready = append(store.ready, task)
		return &execution.Changes{Ready: []execution.Candidate{task}}
	}
	for range 3 {
		d.Changed(fresh("a"))
		round(t, d)
	}
	if store.looks != 0 || len(store.ready) != 0 {
		t.Errorf("%d looks, %d left", store.looks, len(store.ready))
	}
	d.Changed(fresh("a")) // no slot: it waits, and the next one behind it
	round(t, d)
	first := store.ready[0]
	d.Changed(fresh("a"))
	round(t, d)
	d.Changed(freed(1))
	round(t, d)
	if len(store.ready) != 1 || store.ready[0] == first {
		t.Errorf("%d left; the younger one was served first", len(store.ready))
	}
}

func TestFailedDispatchIsRepeated(t *testing.T) {
	d, store, slots := setUp(5, "a", "a")
	store.fail = errors.New("no database")
	d.Changed(&execution.Changes{Left: true})
	if err := d.round(t.Context()); err == nil {
		t.Fatal("no error")
	}
	store.fail, slots.free = nil, 5
	round(t, d)
	if len(store.ready) != 0 {
		t.Errorf("%d left", len(store.ready))
	}
}

func TestPlaceLeavesOutWhatWaitsAlready(t *testing.T) {
	d, _, slots := setUp(0, "a")
	d.Changed(&execution.Changes{Left: true})
	round(t, d)
	slots.free = 5
	placed, _, err := d.Place(t.Context(), []execution.Candidate{{Class: "a", Slots: 1}, {Class: "b", Slots: 1}})
	if err != nil || len(placed) != 1 || placed[0].Class != "b" {
		t.Errorf("placed %v, %v", placed, err)
	}
}

func TestReleasesAreToldOnceAndKeptWhenRefused(t *testing.T) {
	d, _, slots := setUp(0)
	d.Changed(freed(3))
	if err := d.giveBack(t.Context()); err != nil || slots.released != 3 {
		t.Errorf("released %d, %v", slots.released, err)
	}
	if err := d.giveBack(t.Context()); err != nil || slots.calls != 1 {
		t.Errorf("%d calls, %v", slots.calls, err)
	}
}

// TestWhatChangesDuringAQuestionIsNotMissed: the answer to a question knows nothing of slots that are freed and ants
// that come while it is under way, so it must not close a class against them.
func TestWhatChangesDuringAQuestionIsNotMissed(t *testing.T) {
	for name, event := range map[string]func(*Dispatcher, *fakeSlots){
		"slot freed":  func(d *Dispatcher, _ *fakeSlots) { d.Changed(freed(1)) },
		"ant changed": func(d *Dispatcher, s *fakeSlots) { s.free++; d.Reopen() },
	} {
		t.Run(name, func(t *testing.T) {
			d, store, slots := setUp(0, "a")
			slots.during = func() { event(d, slots) }
			d.Changed(&execution.Changes{Left: true})
			round(t, d)
			if len(store.ready) != 0 {
				t.Errorf("%d tasks left though a slot is free", len(store.ready))
			}
		})
	}
}

// TestAReplicaInheritsWhatAnotherLeft: tasks that were made READY and slots that were freed by one that died are taken up
// without a sweep; classes that were refused are left alone.
func TestAReplicaInheritsWhatAnotherLeft(t *testing.T) {
	d, store, slots := setUp(1, "a", "none")
	store.unreleased = []uuid.UUID{uuid.New()}
	for range 3 {
		if err := d.takeOver(t.Context()); err != nil {
			t.Fatal(err)
		}
		round(t, d)
	}
	if len(store.ready) != 1 || slots.released == 0 {
		t.Errorf("%d tasks left, %d slots released", len(store.ready), slots.released)
	}
	if store.looks > 3 {
		t.Errorf("%d looks for a class that was refused", store.looks)
	}
}

// TestReleasesDoNotPileUp: while resource-manager is away the same releases are found again and again.
func TestReleasesDoNotPileUp(t *testing.T) {
	d, store, slots := setUp(0)
	store.unreleased, slots.err = []uuid.UUID{uuid.New(), uuid.New()}, errors.New("away")
	for range 3 {
		if err := d.takeOver(t.Context()); err != nil {
			t.Fatal(err)
		}
		if err := d.giveBack(t.Context()); err == nil {
			t.Fatal("no error")
		}
	}
	slots.err = nil
	if err := d.giveBack(t.Context()); err != nil || slots.released != 2 {
		t.Errorf("released %d, want 2: %v", slots.released, err)
	}
}

// TestManyClassesComeToRest: more classes than a window and a batch hold wait for slots. Each is asked for once, then the
// dispatcher rests; the last one in the order of the store is served as soon as there is a slot.
func TestManyClassesComeToRest(t *testing.T) {
	var classes []string
	for i := range 10 * fakeWindow {
		classes = append(classes, fmt.Sprintf("class%03d", i), fmt.Sprintf("class%03d", i))
	}
	d, store, slots := setUp(0, classes...)
	d.Changed(&execution.Changes{Left: true})
	round(t, d)
	if slots.asked != 10*fakeWindow || len(store.waits) != 10*fakeWindow {
		t.Fatalf("%d questions, %d reasons", slots.asked, len(store.waits))
	}
	if d.ready || store.looks > 40 {
		t.Errorf("%d looks, another one wanted: %v", store.looks, d.ready)
	}
	slots.only = classes[len(classes)-1]
	d.Changed(freed(1))
	round(t, d)
	if len(store.ready) != len(classes)-1 {
		t.Errorf("%d tasks left: the class that has a slot was not served", len(store.ready))
	}
}

// TestAWindowThatIsServedLeavesTheOthersTheirTurn: tasks come as fast as they are placed in the first classes.
func TestAWindowThatIsServedLeavesTheOthersTheirTurn(t *testing.T) {
	d, store, slots := setUp(1_000_000, append(many(400, "a"), "z")...)
	for i := range fakeWindow {
		store.ready = append(store.ready, execution.Candidate{Execution: uuid.New(), Class: fmt.Sprintf("b%02d", i), Slots: 1})
	}
	last := -1
	slots.asks = func(asks []Ask) {
		for _, a := range asks {
			if a.Class == "z" {
				last = slots.calls
			}
		}
	}
	d.Changed(&execution.Changes{Left: true})
	round(t, d)
	if last < 0 || last > windowTries+1 || len(store.ready) != 0 {
		t.Errorf("the last class was asked for with question %d, %d tasks left", last, len(store.ready))
	}
}

// TestReasonsOfOthersAreCorrected: what another replica has stored, or one that died, is deleted when it does not hold.
func TestReasonsOfOthersAreCorrected(t *testing.T) {
	d, store, slots := setUp(0, "none", "a")
	d.Changed(&execution.Changes{Left: true})
	round(t, d)
	store.waits["gone"] = execution.Wait{Class: "gone", Gate: "capacity", Reason: "it was so"}
	if err := d.sweep(t.Context()); err != nil {
		t.Fatal(err)
	}
	slots.free = 1
	round(t, d)
	if _, ok := store.waits["none"]; len(store.waits) != 1 || !ok {
		t.Errorf("waits %v", store.waits)
	}
}

// TestOthersAreToldOnceAndLearn: a replica that frees a slot knows the classes that another one found closed.
func TestOthersAreToldOnceAndLearn(t *testing.T) {
	a, store, slots := setUp(0, "x", "x")
	told := 0
	a.tell = func() { told++ }
	b := New(store, slots, func() {}, slog.New(slog.DiscardHandler), 10)
	for range 2 {
		a.Reopen()
		round(t, a)
		select {
		case <-a.news.C():
			a.tell()
		default:
		}
	}
	if told != 1 {
		t.Fatalf("told %d times", told)
	}
	b.OthersWait()
	round(t, b)
	b.Changed(freed(1))
	round(t, b)
	if len(store.ready) != 1 {
		t.Errorf("%d left: the replica that freed the slot did not use it", len(store.ready))
	}
}
