package request

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"slices"
	"sync"
	"time"

	"github.com/google/uuid"

	"github.com/formicary/formicary/libs/errs"
)

// Run names a run of a request.
type Run struct {
	ID  uuid.UUID
	Run int
}

// LaunchTimes bound what one call renders.
type LaunchTimes struct {
	// Call is how long a call begins with more runs; what it did not get to is asked for again.
	Call time.Duration
	// Shared is how long a run may take beside others, Alone how long it may take at all.
	Shared, Alone time.Duration
}

// DefaultLaunchTimes suit templates of any size: what a template computes takes about a second at most, by its own bounds.
// Longer takes only what it asks of the database, for example a thousand submissions.
func DefaultLaunchTimes() LaunchTimes {
	return LaunchTimes{Call: 500 * time.Millisecond, Shared: time.Second, Alone: 10 * time.Second}
}

const (
	// launchBytes is from where on a call begins with no more runs, mostBytes what its answer holds at most: a larger one
	// is no message, and nothing of it would arrive.
	launchBytes = 12 << 20
	mostBytes   = 24 << 20
	// renderers work on one call at once.
	renderers = 2
	// slowRender is what makes a definition slow: its runs come last.
	slowRender = 50 * time.Millisecond
	// slowKept is how many slow definitions are remembered.
	slowKept = 1000
)

// Launches renders the definitions of admitted runs. Each has its own answer: one that is slow or broken keeps no other
// from being launched. A run that its request is not in any more is left out. patient gives each run the longest time.
func (m *Manager) Launches(ctx context.Context, runs []Run, patient bool) ([]Launch, error) {
	wanted := make(map[Run]bool, len(runs))
	ids := make([]uuid.UUID, len(runs))
	for i, r := range runs {
		wanted[r], ids[i] = true, r.ID
	}
	recs, changes, err := m.store.ToLaunch(ctx, ids)
	if err != nil {
		return nil, err
	}
	recs = slices.DeleteFunc(recs, func(r Record) bool {
		return !wanted[Run{ID: r.ID, Run: r.Run}] || !r.Unwanted() && !r.State.Active()
	})
	m.slow.sort(recs)
	c := &launching{
		Manager: m, recs: recs, out: make([]Launch, len(recs)), started: make([]bool, len(recs)), busy: map[uuid.UUID]int{}, quick: map[uuid.UUID]bool{},
		changes: changes, until: time.Now().Add(m.times.Call), each: m.times.Shared,
	}
	if patient {
		c.until, c.each = time.Now().Add(m.times.Alone), m.times.Alone
	}
	var wg sync.WaitGroup
	for range min(renderers, len(recs)) {
		wg.Go(func() { c.work(ctx) })
	}
	wg.Wait()
	if err := ctx.Err(); err != nil {
		return nil, fmt.Errorf("render %d launches: %w", len(recs), err)
	}
	m.remember(ctx, c.out)
	return c.out, nil
}

// launching is one call.
type launching struct {
	*Manager
	recs    []Record
	out     []Launch // of each record
	changes Changes
	until   time.Time
	each    time.Duration

	mu      sync.Mutex
	started []bool // of each record
	bytes   int
	// busy counts the runs of a definition that are being rendered, quick has those that did not take long.
	busy  map[uuid.UUID]int
	quick map[uuid.UUID]bool
}

// work renders one run after the other.
func (c *launching) work(ctx context.Context) {
	for ctx.Err() == nil {
		i, late := c.next()
		switch {
		case i < 0:
			return
		case late:
			c.out[i] = faulty(c.recs[i], NotReached, "the call did not get to it")
			continue
		}
		began := time.Now()
		l := c.render(ctx, c.recs[i])
		c.done(i, l, time.Since(began))
	}
}

// next returns the next run, -1 for none: one of a definition that is not being rendered just now, or known to be quick,
// comes before the others, so that slow ones do not take all places. late says that time or size are used up; the first
// run never is, so that every call gets something done.
func (c *launching) next() (next int, late bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	next = -1
	first := true
	for i := range c.recs {
		if c.started[i] {
			first = false
			continue
		}
		if next < 0 {
			next = i
		}
		if def := c.recs[i].DefinitionID; c.busy[def] == 0 || c.quick[def] {
			next = i
			break
		}
	}
	if next < 0 {
		return -1, false
	}
	c.started[next] = true
	c.busy[c.recs[next].DefinitionID]++
	return next, !first && (time.Now().After(c.until) || c.bytes > launchBytes)
}

// done takes an answer and notes what it took. One that has no room beside the others comes with the next call.
func (c *launching) done(i int, l Launch, took time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	def := c.recs[i].DefinitionID
	c.busy[def]--
	c.quick[def] = took < slowRender
	c.slow.record(def, took)
	switch size := len(l.Plan) + len(l.Vars) + len(l.ErrorRules); {
	case size > mostBytes:
		large := failedLaunch(l.Record, errs.Invalid("PLAN_TOO_LARGE", "its plan and variables have %d MiB, at most %d are possible", size>>20, mostBytes>>20))
		large.Audience = l.Audience
		l = large
	case c.bytes+size > mostBytes:
		l = faulty(l.Record, NotReached, "the answer has no room for it")
	default:
		c.bytes += size
	}
	c.out[i] = l
}

// render renders a run in bounded time. A panic is the fault of this run only.
func (c *launching) render(ctx context.Context, rec Record) (l Launch) {
	defer func() {
		if r := recover(); r != nil {
			c.log.Error("a launch panicked", "request", rec.ID, "panic", r, "stack", string(debug.Stack()))
			l = faulty(rec, Broken, fmt.Sprintf("its template breaks the renderer: %v", r))
		}
	}()
	if rec.Unwanted() {
		return c.unwanted(ctx, rec)
	}
	if rec.Lapsed() {
		return Launch{Record: rec, ErrorCode: rec.ErrorCode, ErrorMessage: rec.ErrorMessage}
	}
	own, cancel := context.WithTimeout(ctx, c.each)
	defer cancel()
	l, err := c.launch(own, rec, c.changes)
	switch {
	case err == nil:
		return l
	case ctx.Err() != nil:
		return faulty(rec, NotReached, "the call ended")
	case own.Err() == nil || errors.Is(err, errSlowAnswer) && c.each == c.times.Alone:
		c.log.Warn("a launch has to wait", "request", rec.ID, "error", err)
		return faulty(rec, Away, "what it asks for is away")
	case c.each < c.times.Alone:
		return faulty(rec, Slow, fmt.Sprintf("it takes longer than %s", c.each))
	default:
		return faulty(rec, Broken, fmt.Sprintf("its template takes longer than %s", c.each))
	}
}

// A template whose time is up in, or after, one question that took this part of what it has at all is not at fault: who
// was asked is slow.
const slowAnswer = 4

var errSlowAnswer = errors.New("one answer took too long")

// remember stores what has to be known of requests later. What cannot be remembered is not launched.
func (m *Manager) remember(ctx context.Context, all []Launch) {
	var some []Launch
	var at []int
	for i := range all {
		if all[i].Fault == NoFault && all[i].Memorable() {
			some, at = append(some, all[i]), append(at, i)
		}
	}
	if len(some) == 0 {
		return
	}
	err := m.store.Launched(ctx, some)
	if err == nil {
		return
	}
	m.log.Warn("launches cannot be remembered together", "launches", len(some), "error", err)
	for n, i := range at {
		one := err
		if m.refused(err) {
			one = m.store.Launched(ctx, some[n:n+1])
		}
		switch {
		case one == nil:
		case m.refused(one):
			all[i] = faulty(all[i].Record, Broken, "who hears of it cannot be stored")
		default:
			all[i] = faulty(all[i].Record, Away, "who hears of it cannot be stored now")
		}
	}
}

// unwanted is the launch of a run that is to be recorded as CANCELLED. Who hears of that is known from its definition, if
// it can be read.
func (m *Manager) unwanted(ctx context.Context, rec Record) Launch {
	l := Launch{Record: rec, Cancelled: true}
	if rec.Audience == nil && !rec.State.Terminal() {
		if def, err := m.definitions.Parsed(ctx, rec.DefinitionID); err == nil {
			l.Audience = def.Spec.Audience
		}
	}
	return l
}

func (m *Manager) launch(ctx context.Context, rec Record, changes Changes) (Launch, error) {
	def, err := m.definitions.Parsed(ctx, rec.DefinitionID)
	switch {
	case err == nil:
	case errs.CodeOf(err) != errs.CodeUnknown:
		return failedLaunch(rec, err), nil
	default:
		return Launch{}, err
	}
	view, err := m.configs.ViewAt(ctx, changes.Configs, rec.OrgID, rec.CreatedBy, rec.JobType)
	if err != nil {
		return Launch{}, err
	}
	h := &host{ctx: ctx, manager: m, rec: &rec}
	l, err := NewLaunch(rec, def.Spec, &view, h, time.Now())
	if err != nil && ctx.Err() != nil && h.longest > m.times.Alone/slowAnswer {
		return Launch{}, errSlowAnswer
	}
	if err != nil {
		return Launch{}, err
	}
	l.ErrorRules, err = m.rules.Encoded(ctx, changes.Rules, rec.OrgID, rec.JobType)
	return l, err
}

// slowness remembers which definitions take long to render.
type slowness struct {
	mu    sync.Mutex
	taken map[uuid.UUID]time.Duration
}

func (s *slowness) record(definition uuid.UUID, taken time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case taken < slowRender:
		delete(s.taken, definition)
	case s.taken == nil || len(s.taken) >= slowKept: // they are learnt again
		s.taken = map[uuid.UUID]time.Duration{definition: taken}
	default:
		s.taken[definition] = taken
	}
}

func (s *slowness) slow(definition uuid.UUID) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.taken[definition] > 0
}

// sort puts quick runs before slow ones, and one of each definition before the next of any: so many runs of a definition
// that nobody knows to be slow come after the others, too.
func (s *slowness) sort(recs []Record) {
	s.mu.Lock()
	defer s.mu.Unlock()
	turn, seen := make(map[uuid.UUID]int, len(recs)), map[uuid.UUID]int{}
	for i := range recs {
		seen[recs[i].DefinitionID]++
		turn[recs[i].ID] = seen[recs[i].DefinitionID]
	}
	slices.SortStableFunc(recs, func(a, b Record) int {
		return cmp.Or(cmp.Compare(s.taken[a.DefinitionID], s.taken[b.DefinitionID]), cmp.Compare(turn[a.ID], turn[b.ID]))
	})
}
