// Package launch begins the runs of admitted requests: plans become tasks and edges, and the first tasks get their
// places in the same transaction when they can. Launching a run twice does nothing; a run that exists and is paused
// goes on; one that was cancelled before is left as it is.
package launch

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"time"

	"github.com/google/uuid"

	"github.com/formicary/formicary/libs/errs"
	"github.com/formicary/formicary/libs/jobspec"
	"github.com/formicary/formicary/services/supervisor/internal/definition"
	"github.com/formicary/formicary/services/supervisor/internal/engine"
	"github.com/formicary/formicary/services/supervisor/internal/execution"
)

// Requests says what is to be run.
type Requests interface {
	Launches(ctx context.Context, keys []execution.Key) ([]execution.Launch, error)
}

// Places holds slots for first tasks.
type Places interface {
	Place(ctx context.Context, tasks []execution.Candidate) ([]execution.Placed, time.Time, error)
	Settled() []uuid.UUID
	Unsettled([]uuid.UUID)
}

// Store keeps runs.
type Store interface {
	Now() time.Time // by the database's clock, nearly
	Launch(ctx context.Context, runs []*execution.NewRun, deadline time.Time, settled []uuid.UUID) ([]execution.Existing, error)
	Reused(ctx context.Context, key execution.Key) (map[string]engine.Reused, error)
	Step(ctx context.Context, events []execution.Event) ([]execution.Verdict, error)
}

// Definitions gives pinned versions.
type Definitions interface {
	Get(ctx context.Context, k definition.Key) (*jobspec.Definition, error)
}

// Launcher launches.
type Launcher struct {
	Requests    Requests
	Definitions Definitions
	Places      Places
	Store       Store
	Log         *slog.Logger
}

// codeLaunch is the error of a run that could not begin.
const codeLaunch = "ERR_JOB_LAUNCH"

// Launch begins the runs.
func (l *Launcher) Launch(ctx context.Context, keys []execution.Key) error {
	for keys = unique(keys); len(keys) > 0; {
		launches, err := l.Requests.Launches(ctx, keys)
		if err != nil {
			return err
		}
		if len(launches) == 0 {
			return nil // their requests are no longer READY
		}
		if err := l.begin(ctx, launches); err != nil {
			return err
		}
		// An answer is bounded: what it left out is asked for again.
		keys = slices.DeleteFunc(keys, func(k execution.Key) bool {
			return slices.ContainsFunc(launches, func(x execution.Launch) bool { return x.Key == k })
		})
	}
	return nil
}

// begin launches what job-manager has answered with.
func (l *Launcher) begin(ctx context.Context, launches []execution.Launch) error {
	slices.SortFunc(launches, func(a, b execution.Launch) int { return compare(a.Key, b.Key) })
	now := l.Store.Now()
	runs := make([]*execution.NewRun, 0, len(launches))
	for i := range launches {
		r, err := l.prepare(ctx, &launches[i], now)
		if err != nil {
			return err
		}
		runs = append(runs, r)
	}
	return l.store(ctx, runs, now)
}

// Fail ends a run that could not be begun, so that its request does not wait for ever.
func (l *Launcher) Fail(ctx context.Context, key execution.Key) error {
	launches, err := l.Requests.Launches(ctx, []execution.Key{key})
	if err != nil {
		return err
	}
	for i := range launches {
		launches[i].Vars, launches[i].Error = nil, codeLaunch
		launches[i].Message = "it could not be launched; the message is in quarantine"
	}
	return l.begin(ctx, launches)
}

// store inserts the runs with the places that their first tasks get.
func (l *Launcher) store(ctx context.Context, runs []*execution.NewRun, now time.Time) error {
	deadline, err := l.place(ctx, runs, now)
	if err != nil {
		// Without places the tasks are READY and the dispatcher goes on when resource-manager is back.
		l.Log.Warn("runs are launched without places", "runs", len(runs), "error", err)
	}
	settled := l.Places.Settled()
	existing, err := l.Store.Launch(ctx, runs, deadline, settled)
	if err != nil {
		l.Places.Unsettled(settled)
		return err
	}
	var resumed []execution.Event
	for _, e := range existing {
		if e.State == engine.JobPaused || e.State == engine.JobApproval {
			resumed = append(resumed, execution.Event{Kind: execution.Resumed, Execution: e.ID})
		}
	}
	verdicts, err := l.Store.Step(ctx, resumed)
	if err != nil {
		return fmt.Errorf("resume %d runs: %w", len(resumed), err)
	}
	if slices.Contains(verdicts, execution.Postponed) {
		return errs.Unavailable("DEFINITION_UNAVAILABLE", "a run that is to be resumed cannot go on now")
	}
	return nil
}

// prepare makes the run of a launch.
func (l *Launcher) prepare(ctx context.Context, x *execution.Launch, now time.Time) (*execution.NewRun, error) {
	id, err := uuid.NewV7()
	if err != nil {
		return nil, fmt.Errorf("make execution id: %w", err)
	}
	r := &execution.NewRun{Run: x.Run, Vars: x.Vars, Retries: x.Retries, SubmittedBy: x.SubmittedBy}
	r.ID = id
	number := x.Key.Run
	switch {
	case x.Cancelled:
		r.Job = engine.Ended(number, engine.JobCancelled, "ERR_JOB_CANCELLED", x.Message, now)
		return r, nil
	case x.Error != "":
		r.Job = engine.Ended(number, engine.JobFailed, x.Error, x.Message, now)
		return r, nil
	case x.Skipped || x.Plan.Skip:
		r.Job = engine.Ended(number, engine.JobSkipped, "", "skip_if holds", now)
		return r, nil
	case len(x.Plan.Tasks) == 0:
		r.Job = engine.Ended(number, engine.JobFailed, codeLaunch, "its plan has no tasks", now)
		return r, nil
	}
	b := engine.Begin{Run: number, Retries: x.Retries, Plan: x.Plan, From: x.From, Rules: x.Rules}
	if x.Plan.TotalTimeout > 0 && x.AgeAt.Unix() > 0 {
		end := x.AgeAt.Add(x.Plan.TotalTimeout)
		b.ReqTotalDeadline = &end
	}
	if x.ReuseRun > 0 {
		if b.Reuse, err = l.Store.Reused(ctx, execution.Key{Request: x.Request, Run: x.ReuseRun}); err != nil {
			return nil, err
		}
	}
	r.State = engine.New(b, now)
	return r, l.answer(ctx, r, now)
}

// answer decides about the first tasks of a run before it exists.
func (l *Launcher) answer(ctx context.Context, r *execution.NewRun, now time.Time) error {
	s := r.State
	for !s.Need().Empty() {
		need := s.Need()
		if len(need.Decide) > 0 {
			if err := l.decide(ctx, r, need.Decide, now); err != nil {
				return err
			}
		}
		for _, idx := range need.Children {
			s.Children(idx, engine.Children{}, now) // nothing has been forked yet
		}
		for _, idx := range need.Results {
			if s.Results == nil {
				s.Results = map[int][]jobspec.ItemResult{}
			}
			s.Results[idx] = results(s, s.Tasks[idx])
		}
		for _, idx := range need.Items {
			if s.ItemsLoaded == nil {
				s.ItemsLoaded = map[int]bool{}
			}
			s.ItemsLoaded[idx] = true
		}
		s.Continue(now)
	}
	return nil
}

// decide asks the definition, for which a run may have to wait. One that can never be read fails the tasks that need it.
func (l *Launcher) decide(ctx context.Context, r *execution.NewRun, tasks []int, now time.Time) error {
	def, err := l.Definitions.Get(ctx, definition.Key{Org: r.Org, ID: r.Definition})
	var bad jobspec.Problems
	if err != nil && !errors.As(err, &bad) && errs.CodeOf(err) != errs.CodeNotFound {
		return fmt.Errorf("decide about %d tasks of request %s: %w", len(tasks), r.Request, err)
	}
	var asker *definition.Asker
	if err == nil {
		past := &definition.Past{}
		past.See(r.State)
		asker, err = definition.NewAsker(&execution.Context{Run: r.Run, Retries: r.Retries, Vars: r.Vars, CreatedAt: now, Now: now}, past)
	}
	for _, idx := range tasks {
		d := &jobspec.Decision{}
		if err != nil {
			d.Fault = err.Error()
		} else {
			d = asker.Ask(def, r.State.Tasks[idx])
		}
		r.State.Decide(idx, d)
	}
	return nil
}

// results are those of a group whose items all ended before anything ran.
func results(s *engine.State, g *engine.Task) []jobspec.ItemResult {
	all := make([]jobspec.ItemResult, g.Items.Total)
	for i := range all {
		t := s.Tasks[g.Items.First+i]
		all[i] = jobspec.ItemResult{
			Index: i, Status: string(t.State), ExitCode: t.ExitCode, ErrorCode: t.ErrorCode, ErrorMessage: t.Message, Outputs: t.Outputs,
		}
	}
	return all
}

// place asks for places for the first tasks and marks those that got one as dispatched.
func (l *Launcher) place(ctx context.Context, runs []*execution.NewRun, now time.Time) (time.Time, error) {
	var first []execution.Candidate
	byID := make(map[uuid.UUID]*execution.NewRun, len(runs))
	for _, r := range runs {
		if r.State == nil {
			continue
		}
		byID[r.ID] = r
		for idx := range len(r.State.Tasks) {
			if t := r.State.Tasks[idx]; t.State == engine.TaskReady {
				c := t.Class()
				first = append(first, execution.Candidate{
					Execution: r.ID, Idx: idx, Class: execution.Class(r.Org, c), Method: c.Method, Slots: max(c.Slots, 1), Priority: r.Priority,
				})
			}
		}
	}
	slices.SortStableFunc(first, func(a, b execution.Candidate) int { return b.Priority - a.Priority })
	placed, deadline, err := l.Places.Place(ctx, first)
	if err != nil {
		return time.Time{}, err
	}
	for _, p := range placed {
		r := byID[p.Execution]
		r.State.Dispatched([]int{p.Idx}, now)
		r.Placed = append(r.Placed, p)
	}
	return deadline, nil
}

// unique sorts the keys, so that replicas insert in the same order, and drops repetitions.
func unique(keys []execution.Key) []execution.Key {
	keys = slices.Clone(keys)
	slices.SortFunc(keys, compare)
	return slices.Compact(keys)
}

func compare(a, b execution.Key) int {
	if c := slices.Compare(a.Request[:], b.Request[:]); c != 0 {
		return c
	}
	return a.Run - b.Run
}
