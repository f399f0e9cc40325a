package pg_test

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/formicary/formicary/libs/testkit"
	"github.com/formicary/formicary/services/supervisor/internal/dispatch"
)

// slots is resource-manager with one ant; releases come by give.
type slots struct {
	mu     sync.Mutex
	free   int
	gate   string
	calls  int
	asked  map[string]int // by class
	placed int
	given  int // came back as releases
	taken  map[uuid.UUID]bool
}

func newSlots(free int) *slots {
	return &slots{free: free, gate: "capacity", asked: map[string]int{}, taken: map[uuid.UUID]bool{}}
}

func (s *slots) Reserve(_ context.Context, releases []uuid.UUID, asks []dispatch.Ask) ([]dispatch.Place, time.Time, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(asks) > 0 {
		s.calls++
	}
	for _, uid := range releases {
		if s.taken[uid] {
			delete(s.taken, uid)
			s.given++
			s.free++
		}
	}
	places := make([]dispatch.Place, len(asks))
	for i, a := range asks {
		s.asked[a.Class]++
		places[i] = dispatch.Place{Gate: s.gate, Reason: "taken"}
		if s.free > 0 {
			s.free--
			s.placed++
			s.taken[a.UID] = true
			places[i] = dispatch.Place{Ant: "ant1", Session: uuid.New()}
		}
	}
	return places, time.Now().Add(time.Minute), nil
}

func (s *slots) locked(f func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	f()
}

// waiting stores classes with READY tasks, named by the format.
func (c *colony) waiting(classes, tasks int, format string) {
	c.t.Helper()
	for _, sql := range []string{
		`DELETE FROM task`,
		`INSERT INTO execution (id, org_id, request_id, run, job_type, state, age_at, created_at, tasks_total, tasks_planned, tasks_open, normal_open, active, policy)
			SELECT md5('e'||g)::uuid, 'org'||g, md5('r'||g)::uuid, 1, 'job', 'EXECUTING', now(), now(), $2, $2, $2, $2, $2, '{}' FROM generate_series(1, $1::int) g
			WHERE $3 <> ''`,
		`INSERT INTO task (execution_id, idx, name, method, class, state, spec, ready_at)
			SELECT md5('e'||g)::uuid, i, 'a'||i, 'SHELL', format($3, g), 'READY', '{}', now() FROM generate_series(1, $1::int) g, generate_series(0, $2::int - 1) i`,
	} {
		var err error
		if strings.HasPrefix(sql, "DELETE") {
			_, err = c.pool.Exec(c.t.Context(), sql)
		} else {
			_, err = c.pool.Exec(c.t.Context(), sql, classes, tasks, format)
		}
		if err != nil {
			c.t.Fatal(err)
		}
	}
}

func (c *colony) count(sql string) (n int) {
	c.t.Helper()
	if err := c.pool.QueryRow(c.t.Context(), sql).Scan(&n); err != nil {
		c.t.Fatal(err)
	}
	return n
}

// TestManyClassesRest: each of 3,000 waiting classes is asked for once in a round, its reason is stored, and the last one
// is served when there is a slot.
func TestManyClassesRest(t *testing.T) {
	const classes = 3000
	c := newColony(t, fmt.Sprintf(wide, 2))
	c.waiting(classes, 2, "org%s|SHELL||1")
	rm := newSlots(0)
	d := dispatch.New(c.store, rm, func() {}, slog.New(slog.DiscardHandler), 256)
	d.Reopen()
	testkit.Run(t, d.Run)
	testkit.Eventually(t, 60*time.Second, "every class has its reason", func() bool { return c.count(`SELECT count(*) FROM class_wait`) == classes })
	rm.locked(func() {
		if len(rm.asked) != classes || rm.calls > 5*classes/256 { // a sweep or two may have come between
			t.Errorf("%d classes were asked for in %d calls", len(rm.asked), rm.calls)
		}
		rm.free = classes
	})
	d.Reopen()
	testkit.Eventually(t, 60*time.Second, "every slot is used", func() bool { return c.count(`SELECT count(*) FROM task WHERE state = 'READY'`) == classes })
	rm.locked(func() { rm.free = classes })
	d.Reopen()
	testkit.Eventually(t, 60*time.Second, "no reason is left", func() bool { return c.count(`SELECT count(*) FROM class_wait`) == 0 })
}

// TestOverlookedTasksAreFound: among classes that were refused, and only when a replica has had the time to see them.
func TestOverlookedTasksAreFound(t *testing.T) {
	c := newColony(t, fmt.Sprintf(wide, 2))
	c.waiting(3, 2, "org%s|SHELL||1")
	old := func(age time.Duration, classes ...string) bool {
		t.Helper()
		left, err := c.store.Overlooked(t.Context(), age, classes)
		if err != nil {
			t.Fatal(err)
		}
		return left
	}
	if old(time.Hour) {
		t.Error("young tasks are overlooked")
	}
	if !old(0) || !old(0, "org1|SHELL||1") || !old(0, "org1|SHELL||1", "org2|SHELL||1", "org0|SHELL||1") {
		t.Error("an overlooked class was not found")
	}
	if old(0, "org1|SHELL||1", "org2|SHELL||1", "org3|SHELL||1") {
		t.Error("refused classes are overlooked")
	}
}

// TestReasonsEndWithTheWaiting: what waited through several sweeps and is placed then leaves no reason.
func TestReasonsEndWithTheWaiting(t *testing.T) {
	c := newColony(t, fmt.Sprintf(wide, 2))
	if _, err := c.pool.Exec(t.Context(), `INSERT INTO class_wait VALUES ('o', 'of one that died', 'of one that died', 'capacity', 'it was so', now())`); err != nil {
		t.Fatal(err)
	}
	rm := newSlots(0)
	rm.gate = "no_ant"
	d := dispatch.New(c.store, rm, func() {}, slog.New(slog.DiscardHandler), 256)
	testkit.Run(t, d.Run)
	asked := func(n int) func() bool {
		return func() (ok bool) {
			rm.locked(func() { ok = rm.calls >= n })
			return ok
		}
	}
	testkit.Eventually(t, 30*time.Second, "a sweep has asked twice", asked(2))
	rm.locked(func() { rm.free = 1000 })
	testkit.Eventually(t, 30*time.Second, "nothing is said to wait", func() bool {
		return c.count(`SELECT (SELECT count(*) FROM class_wait) + (SELECT count(*) FROM task WHERE state = 'READY')`) == 0
	})
}

// TestLongClassesWait: classes longer than an entry of an index may be are told apart, placed and explained.
func TestLongClassesWait(t *testing.T) {
	c := newColony(t, fmt.Sprintf(wide, 2))
	var tags []string
	for i := range 200 {
		tags = append(tags, strings.ReplaceAll(uuid.NewString(), "-", "")+fmt.Sprint(i))
	}
	c.waiting(3, 1, "o|SHELL|"+strings.Join(tags, ",")+",%s|1")
	rm := newSlots(2)
	d := dispatch.New(c.store, rm, func() {}, slog.New(slog.DiscardHandler), 256)
	d.Reopen()
	testkit.Run(t, d.Run)
	testkit.Eventually(t, 30*time.Second, "two are placed, one is explained", func() bool {
		return c.count(`SELECT count(*) FROM task WHERE state = 'READY'`) == 1 &&
			c.count(`SELECT count(*) FROM class_wait w JOIN task t ON t.class = w.key WHERE t.state = 'READY'`) == 1 && c.count(`SELECT count(*) FROM class_wait`) == 1
	})
}

// TestReplicasTakeTurns: dispatchers that are woken together do not hold places for the same tasks.
func TestReplicasTakeTurns(t *testing.T) {
	c := newColony(t, fmt.Sprintf(wide, 2))
	c.store.TurnWait = time.Minute // nobody hangs, however slow the machine is
	c.waiting(4, 100, "org%s|SHELL||1")
	rm := newSlots(0)
	var all []*dispatch.Dispatcher
	for range 2 {
		d := dispatch.New(c.store, rm, func() {}, slog.New(slog.DiscardHandler), 16)
		all = append(all, d)
		testkit.Run(t, d.Run)
	}
	testkit.Eventually(t, 30*time.Second, "both have looked", func() (ok bool) {
		rm.locked(func() { ok = rm.calls >= 2 })
		return ok
	})
	rm.locked(func() { rm.free = 400 })
	for _, d := range all {
		d.Reopen()
	}
	testkit.Eventually(t, 30*time.Second, "all are dispatched", func() bool { return c.count(`SELECT count(*) FROM task WHERE state = 'READY'`) == 0 })
	rm.locked(func() {
		if rm.placed != 400 {
			t.Errorf("%d places were held for 400 tasks", rm.placed)
		}
	})
}

// TestAHangingReplicaHoldsUpNobody: the turn of one that hangs is not waited for for long.
func TestAHangingReplicaHoldsUpNobody(t *testing.T) {
	c := newColony(t, fmt.Sprintf(wide, 2))
	done, err := c.store.TakeTurn(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer done()
	rm := newSlots(1000)
	d := dispatch.New(c.store, rm, func() {}, slog.New(slog.DiscardHandler), 256)
	d.Reopen()
	testkit.Run(t, d.Run)
	testkit.Eventually(t, 30*time.Second, "all are dispatched", func() bool { return c.count(`SELECT count(*) FROM task WHERE state = 'READY'`) == 0 })
}
