package step

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	"github.com/google/uuid"

	"github.com/formicary/formicary/services/supervisor/internal/engine"
	"github.com/formicary/formicary/services/supervisor/internal/execution"
)

// Stepper applies what happens to runs.
type Stepper struct {
	store       Store
	definitions Definitions
	log         *slog.Logger
}

// New returns a stepper for the runs of a store.
func New(store Store, d Definitions, log *slog.Logger) *Stepper {
	return &Stepper{store: store, definitions: d, log: log}
}

// Step applies events to the runs that they concern, in one transaction, and returns a verdict for each. Runs are
// loaded by neighbourhood; all of them advance side by side, so that a batch takes as many round trips as its slowest
// run and not as the sum of them.
func (s *Stepper) Step(ctx context.Context, events []execution.Event) ([]execution.Verdict, error) {
	return s.step(ctx, events, false)
}

// StepIdle is Step for work that any replica may do: runs that somebody else holds are left alone, and their events
// are Ignored.
func (s *Stepper) StepIdle(ctx context.Context, events []execution.Event) ([]execution.Verdict, error) {
	return s.step(ctx, events, true)
}

func (s *Stepper) step(ctx context.Context, events []execution.Event, idle bool) ([]execution.Verdict, error) {
	if len(events) == 0 {
		return nil, nil
	}
	var b *batch
	err := s.withDefinitions(ctx, func(k *known) error {
		return s.store.Transact(ctx, func(ctx context.Context, tx Tx) error {
			b = newBatch(tx, events, k)
			if err := b.load(ctx, idle); err != nil {
				return err
			}
			if err := b.advance(ctx); err != nil {
				return err
			}
			return b.save()
		})
	})
	if err != nil {
		return nil, fmt.Errorf("apply %d events: %w", len(events), err)
	}
	return b.verdicts, nil
}

// batch is one transaction of Step.
type batch struct {
	tx       Tx
	now      time.Time
	events   []execution.Event
	verdicts []execution.Verdict
	runs     map[uuid.UUID]*runState
	order    []*runState                      // by id
	attempts map[uuid.UUID]*execution.Attempt // loaded and locked
	items    []item                           // that were read since their groups were looked at
	kept     map[KeptGroup]map[string]engine.Kept
	known    *known
	writes   Writes
	changes  execution.Changes
}

// runState is a run in a batch.
type runState struct {
	execution.Run
	state     *engine.State
	cancelled bool // it was before the step
	live      map[int]*execution.Attempt
	events    []int // what has not been applied yet
	busy      bool  // an event is being applied and needs more
	rounds    int   // in which something was loaded for it
	children  children
	past      pastOf
	context   *execution.Context
}

func newBatch(tx Tx, events []execution.Event, k *known) *batch {
	return &batch{
		tx: tx, events: events, known: k, verdicts: make([]execution.Verdict, len(events)),
		runs: map[uuid.UUID]*runState{}, attempts: map[uuid.UUID]*execution.Attempt{},
	}
}

// load takes the locks and reads what the events concern directly.
func (b *batch) load(ctx context.Context, idle bool) error {
	s := Subjects{Ends: len(b.events), Idle: idle}
	for i := range b.events {
		e := &b.events[i]
		if e.Kind == execution.AttemptEnded {
			s.Attempts = append(s.Attempts, e.UID)
			continue
		}
		s.Runs = append(s.Runs, e.Execution)
		if e.Kind.OfTask() {
			s.Tasks = append(s.Tasks, Task{e.Execution, e.Idx})
		}
		switch e.Kind { //nolint:exhaustive // the others end no child
		case execution.ChildRefused, execution.ChildEnded, execution.Rejoined:
			s.Awaiting = append(s.Awaiting, e.Execution)
		}
	}
	l, err := b.tx.Lock(ctx, &s)
	if err != nil {
		return err
	}
	b.now, b.changes.Now = l.Now, l.Now
	b.add(l)
	if err := b.specify(ctx); err != nil {
		return err
	}
	b.assign()
	return b.loadNextItems(ctx)
}

// add takes what was read.
func (b *batch) add(l *Loaded) {
	for _, x := range l.Runs {
		r := &runState{
			Run: x.Run, cancelled: x.Job.CancelRequested, live: map[int]*execution.Attempt{},
			state: &engine.State{Job: x.Job, Tasks: map[int]*engine.Task{}, Out: map[int][]engine.Edge{}},
		}
		b.runs[r.ID] = r
		b.order = append(b.order, r)
	}
	for _, a := range l.Attempts {
		if b.attempts[a.UID] == nil {
			b.attempts[a.UID] = a
		}
	}
	b.addEdges(l.Edges)
	for _, t := range l.Tasks {
		r := b.runs[t.Execution]
		if r == nil {
			continue
		}
		if t.IsItem() && r.state.Tasks[t.Idx] == nil {
			b.items = append(b.items, item{r, t.Task})
		}
		r.state.Load(t.Task)
	}
	b.addResults(l.Results)
	b.addPast(l)
	b.addChildren(l)
	if l.Kept != nil {
		b.kept = l.Kept
	}
}

// addEdges takes edges. What was read of a task replaces what was known: it is all of its edges.
func (b *batch) addEdges(edges []LoadedEdge) {
	seen := map[Task]bool{}
	for _, e := range edges {
		r := b.runs[e.Execution]
		if r == nil {
			continue
		}
		if from := (Task{e.Execution, e.From}); !seen[from] {
			seen[from] = true
			r.state.Out[e.From] = nil
		}
		r.state.Out[e.From] = append(r.state.Out[e.From], e.Edge)
	}
}

// assign gives each run its events and its live attempts.
func (b *batch) assign() {
	b.addLive()
	for i := range b.events {
		e := &b.events[i]
		id, idx := e.Execution, e.Idx
		if e.Kind == execution.AttemptEnded {
			a := b.attempts[e.UID]
			if a == nil {
				b.verdicts[i] = execution.Unknown
				continue
			}
			id, idx = a.Execution, a.Idx
		}
		r := b.runs[id]
		if r == nil {
			b.verdicts[i] = execution.Ignored // held by somebody else, or gone
			continue
		}
		if b.known.away[r.ID] {
			b.verdicts[i] = execution.Postponed
			continue
		}
		r.events = append(r.events, i)
		// A task whose edges were read has an entry even when there are none.
		if e.Kind.OfTask() && r.state.Out[idx] == nil {
			r.state.Out[idx] = nil
		}
	}
	for _, r := range b.order {
		r.state.TrailingLoaded = r.state.Job.NormalOpen <= len(b.events)
	}
}

// addLive gives the runs their live attempts.
func (b *batch) addLive() {
	for _, a := range b.attempts {
		r := b.runs[a.Execution]
		if r == nil || !a.Live() {
			continue
		}
		r.live[a.Idx] = a
		if t := r.state.Tasks[a.Idx]; t != nil && t.State == engine.TaskDispatched && a.State == engine.AttemptRunning {
			t.State = engine.TaskRunning
		}
	}
}

// advance lets every run go as far as it can, loads what they need and goes on until none needs anything.
func (b *batch) advance(ctx context.Context) error {
	for {
		var waiting []*runState
		for _, r := range b.order {
			if b.forward(r) {
				waiting = append(waiting, r)
			}
		}
		if len(waiting) == 0 {
			return nil
		}
		if err := b.loadMore(ctx, waiting); err != nil {
			return err
		}
		for _, r := range waiting {
			if err := r.bounded(); err != nil {
				return err
			}
		}
	}
}

// bounded fails a run that does not come to an end: every round loads or decides about something new, of which a run has
// a few things for each of its tasks.
func (r *runState) bounded() error {
	if r.rounds++; r.rounds <= 1000+4*r.state.Job.TasksTotal {
		return nil
	}
	return fmt.Errorf("execution %s still needs something after %d rounds: %+v", r.ID, r.rounds, r.state.Need())
}

// forward applies the events of a run until something is missing; it says whether something is.
func (b *batch) forward(r *runState) (missing bool) {
	if r.busy {
		r.busy = false
		r.state.Continue(b.now)
		if !r.state.Need().Empty() {
			r.busy = true
			return true
		}
		b.carryOut(r)
	}
	for len(r.events) > 0 {
		i := r.events[0]
		r.events = r.events[1:]
		b.verdicts[i] = b.apply(r, &b.events[i])
		if !r.state.Need().Empty() {
			r.busy = true
			return true
		}
		b.carryOut(r)
	}
	return b.tellAwaiting(r)
}
