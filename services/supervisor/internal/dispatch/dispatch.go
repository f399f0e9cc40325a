// Package dispatch gives READY tasks to ants. It is woken by commits that made tasks READY or freed slots and by ants
// that change; it takes the heads of the placement classes, asks resource-manager once for the whole batch, slots to
// give back included, and makes the attempts.
//
// A class that was refused is closed: its tasks are not asked for again before something can have changed. A freed
// slot lets every class that waits for capacity ask for as much as was freed; a changed ant and the sweep open all. So
// thousands of READY tasks and a few slots cost as many questions as slots become free.
//
// A look goes through all classes in windows of the store's index. Within a window the best task of all comes first; a
// window that has more than a look may take is gone on with after the others had their turn. So a class is served
// whatever its place, and however many there are.
//
// Each replica has a dispatcher, and each looks at all tasks. They take turns from the look to the dispatch, so that those
// that are woken together do not hold places for the same tasks; who gets no turn in time goes on without. A replica
// whose class was closed tells the others: they look, too, and so know the classes that a slot which they free has to
// open.
package dispatch

import (
	"context"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/google/uuid"

	"github.com/formicary/formicary/libs/run"
	"github.com/formicary/formicary/services/supervisor/internal/execution"
)

// Ask wants a place for an attempt that is to be made.
type Ask struct {
	UID    uuid.UUID
	Class  string
	Method string
	Slots  int
}

// Place answers an ask. Ant is empty when nothing fits: then Gate and Reason say why.
type Place struct {
	Ant     string
	Session uuid.UUID
	Gate    string
	Reason  string
}

// Slots hands out places. What is placed must be dispatched before the deadline.
type Slots interface {
	Reserve(ctx context.Context, releases []uuid.UUID, asks []Ask) (places []Place, deadline time.Time, err error)
}

// Store has the READY tasks.
type Store interface {
	// Heads returns the best tasks of the window of classes behind the key after. limits are those of closed classes; what
	// is left of limit is shared by the others.
	Heads(ctx context.Context, after string, limits map[string]int, limit int) (execution.Window, error)
	// TakeTurn waits, not for long, until no other replica is between its look and its dispatch; done ends the turn.
	TakeTurn(ctx context.Context) (done func(), err error)
	// Overlooked says whether a task of another class has been READY for longer than age.
	Overlooked(ctx context.Context, age time.Duration, classes []string) (bool, error)
	// Idle returns those of the classes that have no READY tasks.
	Idle(ctx context.Context, classes []string) ([]string, error)
	// Waits returns what Explain has stored.
	Waits(ctx context.Context) ([]execution.Wait, error)
	Dispatch(ctx context.Context, placed []execution.Placed, deadline time.Time, settled []uuid.UUID) error
	Settle(ctx context.Context, uids []uuid.UUID) error
	Releases(ctx context.Context, age time.Duration, limit int) ([]uuid.UUID, error)
	Explain(ctx context.Context, waits []execution.Wait, gone []string) error
}

// Dispatcher is one of a process. Any number of processes may have one: the store decides who makes an attempt.
type Dispatcher struct {
	store Store
	slots Slots
	tell  func() // tells the other replicas that a class waits for slots
	log   *slog.Logger
	batch int

	wake    run.Signal
	release run.Signal
	ants    run.Signal // an ant has changed
	news    run.Signal // the others are to be told

	mu        sync.Mutex
	ready     bool                  // tasks may be READY in the store that were not looked at
	offers    []execution.Candidate // tasks that just became READY, when no others wait before them
	closed    map[string]*closed
	stored    map[string]execution.Wait
	announced map[string]bool // closed classes that the others were told of
	freed     []uuid.UUID     // to be told to resource-manager
	since     since
	settled   []uuid.UUID // it knows them; their rows are still there
	// unanswered are asks that it may have placed: what is held for them would be missed until their deadline.
	unanswered []uuid.UUID
}

// since tells what happened while a question was under way: its answer does not know of that.
type since struct {
	slots  int // that were freed, ever
	opened int // how often all classes were opened
}

// closed is a class that was refused.
type closed struct {
	execution.Wait
	budget int // slots that were freed since
}

const (
	sweepEvery      = 5 * time.Second
	takeOverEvery   = 150 * time.Millisecond
	takeOverAge     = 150 * time.Millisecond // a replica that lives has dispatched by then
	releaseAge      = 300 * time.Millisecond // and released by then
	takeOverClasses = 100                    // that are closed; with more of them there is hardly a free slot
	settleEvery     = 100 * time.Millisecond
	releasePause    = 3 * time.Millisecond // collects what ends together; only when nobody waits for the slots
	releaseLimit    = 5000
	capacity        = "capacity"

	windowTries = 16 // questions for one window before the next has its turn
	antPause    = 100 * time.Millisecond
	newsPause   = 50 * time.Millisecond
)

// New returns a dispatcher that asks for at most batch places at once. tell gives the other replicas the hint that a
// class waits for slots: they call OthersWait.
func New(store Store, slots Slots, tell func(), log *slog.Logger, batch int) *Dispatcher {
	return &Dispatcher{
		store: store, slots: slots, tell: tell, log: log, batch: batch,
		wake: run.NewSignal(), release: run.NewSignal(), ants: run.NewSignal(), news: run.NewSignal(),
		closed: map[string]*closed{}, stored: map[string]execution.Wait{}, announced: map[string]bool{},
	}
}

// Run dispatches until ctx ends.
func (d *Dispatcher) Run(ctx context.Context) error {
	return run.Group(ctx,
		run.Member{Name: "dispatch", Run: func(ctx context.Context) error {
			return run.Loop(ctx, d.log, "dispatch", time.Hour, d.wake, d.round)
		}},
		run.Member{Name: "slot release", Run: func(ctx context.Context) error {
			return run.Loop(ctx, d.log, "slot release", settleEvery, d.release, d.giveBack)
		}},
		run.Member{Name: "dispatch sweep", Run: func(ctx context.Context) error {
			return run.Loop(ctx, d.log, "dispatch sweep", sweepEvery, run.NewSignal(), d.sweep)
		}},
		run.Member{Name: "dispatch take-over", Run: func(ctx context.Context) error {
			return run.Loop(ctx, d.log, "dispatch take-over", takeOverEvery, run.NewSignal(), d.takeOver)
		}},
		run.Member{Name: "dispatch ants", Run: func(ctx context.Context) error { return follow(ctx, d.ants, antPause, d.Reopen) }},
		run.Member{Name: "dispatch news", Run: func(ctx context.Context) error { return follow(ctx, d.news, newsPause, d.tell) }},
	)
}

// follow calls f when s is set, at once and then not before the pause is over: many hints are few calls.
func follow(ctx context.Context, s run.Signal, pause time.Duration, f func()) error {
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-s.C():
		}
		f()
		timer := time.NewTimer(pause)
		select {
		case <-ctx.Done():
			timer.Stop()
			return nil
		case <-timer.C:
		}
	}
}

// Changed takes from a commit what concerns the dispatcher.
func (d *Dispatcher) Changed(c *execution.Changes) {
	if len(c.Ready) == 0 && !c.Left && len(c.Freed) == 0 {
		return
	}
	d.mu.Lock()
	slots := 0
	for _, f := range c.Freed {
		d.freed = append(d.freed, f.UID)
		slots += f.Slots
	}
	d.since.slots += slots
	for _, class := range d.closed {
		if class.Gate == capacity && slots > 0 {
			class.budget += slots
			d.ready = true
		}
	}
	d.ready = d.ready || c.Left
	d.offer(c.Ready)
	wake := d.ready || len(d.offers) > 0
	d.mu.Unlock()
	if wake {
		d.wake.Set()
	} else {
		d.release.Set()
	}
}

// offer takes tasks that just became READY. They need not be looked up when none waits before them: then every task of
// their classes has been asked for.
func (d *Dispatcher) offer(tasks []execution.Candidate) {
	for _, t := range tasks {
		if d.ready || d.closed[t.Class] != nil || len(d.offers) >= d.batch {
			d.ready = true
			break
		}
		d.offers = append(d.offers, t)
	}
	if d.ready {
		d.offers = nil
	}
}

// AntChanged lets every class ask again, soon: many ants that change together are looked at together.
func (d *Dispatcher) AntChanged() { d.ants.Set() }

// OthersWait says that another replica has tasks that wait for slots. What they are is seen by looking; refused here too,
// their classes are opened by the next slot that is freed here.
func (d *Dispatcher) OthersWait() { d.look() }

// look makes the next round look at the store.
func (d *Dispatcher) look() {
	d.mu.Lock()
	d.ready = true
	d.mu.Unlock()
	d.wake.Set()
}

// Reopen lets every class ask again.
func (d *Dispatcher) Reopen() {
	d.mu.Lock()
	d.closed, d.ready = map[string]*closed{}, true
	d.since.opened++
	d.mu.Unlock()
	d.wake.Set()
}

// takeOver takes up what a replica left that died between a commit and what follows from it: slots that were freed and
// not told, tasks that were made READY and not looked at. Slots would be idle until the sweep.
func (d *Dispatcher) takeOver(ctx context.Context) error {
	uids, err := d.store.Releases(ctx, releaseAge, releaseLimit)
	if err != nil {
		return err
	}
	d.mu.Lock()
	if len(d.freed) == 0 { // otherwise they are on their way, and found again while resource-manager is away
		d.freed = uids
	}
	refused := slices.Collect(maps.Keys(d.closed))
	d.mu.Unlock()
	if len(uids) > 0 {
		d.release.Set()
	}
	if len(refused) > takeOverClasses {
		return nil
	}
	left, err := d.store.Overlooked(ctx, takeOverAge, refused)
	if left {
		d.look()
	}
	return err
}

// sweep is the net below the signals: it opens every class, and reads why classes are said to wait, so that what another
// replica said, or one that has died, is corrected.
func (d *Dispatcher) sweep(ctx context.Context) error {
	waits, err := d.store.Waits(ctx)
	if err != nil {
		return err
	}
	stored := make(map[string]execution.Wait, len(waits))
	for _, w := range waits {
		stored[w.Class] = w
	}
	d.mu.Lock()
	d.stored = stored
	d.mu.Unlock()
	d.Reopen()
	return nil
}

// round places and dispatches until no class has anything to ask.
func (d *Dispatcher) round(ctx context.Context) error {
	for {
		d.mu.Lock()
		look, offers := d.ready, d.offers
		d.ready, d.offers = false, nil
		d.mu.Unlock()
		var err error
		switch {
		case look:
			err = d.pass(ctx)
		case len(offers) > 0:
			slices.SortStableFunc(offers, func(a, b execution.Candidate) int { return b.Priority - a.Priority })
			err = d.dispatch(ctx, offers)
		default:
			return d.explain(ctx)
		}
		if err != nil {
			d.mu.Lock()
			d.ready = true
			d.mu.Unlock()
			return err
		}
	}
}

// pass goes through all classes once, window by window.
func (d *Dispatcher) pass(ctx context.Context) error {
	after, tries := "", 0
	for {
		w, err := d.window(ctx, after)
		if err != nil {
			return err
		}
		if tries++; len(w.Heads) > 0 && tries < windowTries {
			continue
		}
		if len(w.Heads) > 0 {
			d.look() // there may be more of them
		}
		if w.End {
			return d.forget(ctx)
		}
		after, tries = w.Last, 0
	}
}

// window asks once for the heads of a window.
func (d *Dispatcher) window(ctx context.Context, after string) (execution.Window, error) {
	done, err := d.store.TakeTurn(ctx)
	if err != nil {
		return execution.Window{}, err
	}
	defer done()
	d.mu.Lock()
	limits := make(map[string]int, len(d.closed))
	for class, c := range d.closed {
		limits[class] = c.budget
	}
	d.mu.Unlock()
	w, err := d.store.Heads(ctx, after, limits, d.batch)
	if err == nil && len(w.Heads) > 0 {
		err = d.dispatch(ctx, w.Heads)
	}
	return w, err
}

// dispatch places tasks and makes the attempts of those that got a place.
func (d *Dispatcher) dispatch(ctx context.Context, tasks []execution.Candidate) error {
	placed, deadline, err := d.reserve(ctx, tasks)
	if err != nil || len(placed) == 0 {
		return err
	}
	settled := d.Settled()
	if err := d.store.Dispatch(ctx, placed, deadline, settled); err != nil {
		d.Unsettled(settled)
		return err
	}
	return nil
}

// forget opens the classes that have no READY tasks any more.
func (d *Dispatcher) forget(ctx context.Context) error {
	d.mu.Lock()
	classes := slices.Collect(maps.Keys(d.closed))
	d.mu.Unlock()
	if len(classes) > 0 {
		var err error
		if classes, err = d.store.Idle(ctx, classes); err != nil {
			return err
		}
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, class := range classes {
		delete(d.closed, class)
	}
	for class := range d.announced {
		if d.closed[class] == nil {
			delete(d.announced, class)
		}
	}
	return nil
}

// Place holds places for tasks that are about to be READY, as far as their classes are open: what waits already comes
// first.
func (d *Dispatcher) Place(ctx context.Context, tasks []execution.Candidate) ([]execution.Placed, time.Time, error) {
	d.mu.Lock()
	var open []execution.Candidate
	for _, t := range tasks {
		if d.closed[t.Class] == nil && len(open) < d.batch {
			open = append(open, t)
		}
	}
	d.mu.Unlock()
	if len(open) == 0 {
		return nil, time.Time{}, nil
	}
	return d.reserve(ctx, open)
}

// reserve asks for places and gives back what was freed, in one call.
func (d *Dispatcher) reserve(ctx context.Context, tasks []execution.Candidate) ([]execution.Placed, time.Time, error) {
	asks := make([]Ask, len(tasks))
	for i, t := range tasks {
		asks[i] = Ask{UID: uuid.New(), Class: t.Class, Method: t.Method, Slots: t.Slots}
	}
	d.mu.Lock()
	before := d.since
	d.mu.Unlock()
	places, deadline, err := d.call(ctx, asks)
	if err != nil {
		return nil, time.Time{}, err
	}
	d.judge(tasks, places, before)
	var placed []execution.Placed
	for i, p := range places {
		if p.Ant != "" {
			placed = append(placed, execution.Placed{Candidate: tasks[i], UID: asks[i].UID, Ant: p.Ant, Session: p.Session})
		}
	}
	return placed, deadline, nil
}

func (d *Dispatcher) call(ctx context.Context, asks []Ask) ([]Place, time.Time, error) {
	d.mu.Lock()
	n := min(len(d.freed), releaseLimit)
	releases, unanswered := d.freed[:n:n], d.unanswered
	d.freed, d.unanswered = d.freed[n:], nil
	d.mu.Unlock()
	places, deadline, err := d.slots.Reserve(ctx, slices.Concat(releases, unanswered), asks)
	d.mu.Lock()
	defer d.mu.Unlock()
	if err != nil {
		d.freed = append(releases, d.freed...)
		d.unanswered = append(d.unanswered, unanswered...)
		for _, a := range asks {
			d.unanswered = append(d.unanswered, a.UID)
		}
		d.unanswered = d.unanswered[max(len(d.unanswered)-releaseLimit, 0):] // older ones have met their deadline, or will
		return nil, time.Time{}, err
	}
	d.settled = append(d.settled, releases...)
	return places, deadline, nil
}

// judge closes the classes that were refused and uses up the budgets of those that were served. before is how things
// stood when the question was asked: slots that were freed since may be asked for, and when all classes were opened
// since, none is closed by an older answer.
func (d *Dispatcher) judge(tasks []execution.Candidate, places []Place, before since) {
	d.mu.Lock()
	missed, opened := d.since.slots-before.slots, d.since.opened != before.opened
	refused := map[string]bool{}
	for i, t := range tasks {
		c := d.closed[t.Class]
		switch p := places[i]; {
		case p.Ant == "":
			refused[t.Class] = true
			if opened {
				d.ready = true
				continue
			}
			c = &closed{Wait: execution.Wait{Class: t.Class, Gate: p.Gate, Reason: p.Reason}}
			if p.Gate == capacity && missed > 0 {
				c.budget, d.ready = missed, true
			}
			d.closed[t.Class] = c
			if p.Gate == capacity && !d.announced[t.Class] {
				d.announced[t.Class] = true
				d.news.Set()
			}
		case c != nil && !refused[t.Class]:
			c.budget = max(c.budget-t.Slots, 0)
		}
	}
	wake := d.ready && len(refused) > 0
	d.mu.Unlock()
	if wake {
		d.wake.Set()
	}
}

// giveBack tells resource-manager what was freed when no ask has carried it, and forgets what it knows.
func (d *Dispatcher) giveBack(ctx context.Context) error {
	d.mu.Lock()
	pending := len(d.freed) > 0 || len(d.unanswered) > 0
	d.mu.Unlock()
	if pending {
		pause := time.NewTimer(releasePause)
		defer pause.Stop()
		select {
		case <-pause.C:
		case <-ctx.Done():
			return nil
		}
		d.mu.Lock()
		pending = len(d.freed) > 0 || len(d.unanswered) > 0
		d.mu.Unlock()
	}
	if pending {
		if _, _, err := d.call(ctx, nil); err != nil {
			return err
		}
		return nil // its rows go with the next dispatch, or with the next round of this loop
	}
	settled := d.Settled()
	if err := d.store.Settle(ctx, settled); err != nil {
		d.Unsettled(settled)
		return err
	}
	return nil
}

// Settled takes the releases whose rows a transaction is to delete; Unsettled returns them when it failed.
func (d *Dispatcher) Settled() []uuid.UUID {
	d.mu.Lock()
	defer d.mu.Unlock()
	settled := d.settled
	d.settled = nil
	return settled
}

// Unsettled returns what Settled took.
func (d *Dispatcher) Unsettled(uids []uuid.UUID) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.settled = append(d.settled, uids...)
}

// explain stores why classes wait, where that has changed.
func (d *Dispatcher) explain(ctx context.Context) error {
	d.mu.Lock()
	var waits []execution.Wait
	var gone []string
	for class, c := range d.closed {
		if d.stored[class] != c.Wait {
			waits = append(waits, c.Wait)
			d.stored[class] = c.Wait
		}
	}
	for class := range d.stored {
		if d.closed[class] == nil {
			gone = append(gone, class)
			delete(d.stored, class)
		}
	}
	d.mu.Unlock()
	if len(waits) == 0 && len(gone) == 0 {
		return nil
	}
	return d.store.Explain(ctx, waits, gone)
}
