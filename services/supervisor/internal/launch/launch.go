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
	"github.com/formicary/formicary/libs/jobspec/plan"
	"github.com/formicary/formicary/libs/jobspec/source"
	"github.com/formicary/formicary/libs/run"
	"github.com/formicary/formicary/services/supervisor/internal/definition"
	"github.com/formicary/formicary/services/supervisor/internal/engine"
	"github.com/formicary/formicary/services/supervisor/internal/execution"
)

// Requests says what is to be run.
type Requests interface {
	// Launches answers for each run that is still to be launched; patient gives each of them the longest time.
	Launches(ctx context.Context, keys []execution.Key, patient bool) ([]execution.Launch, error)
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
	// Reused returns how the tasks of an earlier run completed, by name, and the definition that it ran.
	Reused(ctx context.Context, key execution.Key) (tasks map[string]engine.Reused, definition string, err error)
	// Before returns how a run failed that is to be tried again, nil when none did, and how often the job had paused itself.
	Before(ctx context.Context, key execution.Key) (b *engine.Before, pauses int, err error)
	// Remainder returns the run after one that left its clean-up to it; nil where there is none.
	Remainder(ctx context.Context, key execution.Key) (*execution.NewRun, error)
	Kept(ctx context.Context, key execution.Key, groups []string) (map[string]map[string]engine.Kept, error)
	Step(ctx context.Context, events []execution.Event) ([]execution.Verdict, error)
	// Failed records that a run failed alone, by its own fault, and returns how often it has.
	Failed(ctx context.Context, kind, key, reason string) (int, error)
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
	// Temporary says that an error is not the fault of a run.
	Temporary func(error) bool
	Log       *slog.Logger

	deferred *deferrals
}

// New returns a launcher. What it cannot launch at once it launches while Run does.
func New(l Launcher) *Launcher {
	l.deferred = newDeferrals()
	return &l
}

// codeLaunch is the error of a run that could not begin.
const codeLaunch = "ERR_JOB_LAUNCH"

// perCall is how many runs one call asks for, of the 1,000 that job-manager answers for.
const perCall = 500

// maxFailures is how often a run may fail alone, by its own fault, before it ends as FAILED. Slowness of others and what is
// away never count.
const maxFailures = 3

// Launch begins the runs. What cannot be launched beside the others is launched later, by Run.
func (l *Launcher) Launch(ctx context.Context, keys []execution.Key) error {
	for some := range slices.Chunk(unique(keys), perCall) {
		if err := l.launch(ctx, some, false); err != nil {
			return err
		}
	}
	return nil
}

// launch begins runs. Each has its own answer: one that is slow or broken is put aside, where it is asked for alone. An
// error tells of what all of them need.
func (l *Launcher) launch(ctx context.Context, keys []execution.Key, alone bool) error {
	launches, err := l.Requests.Launches(ctx, keys, alone)
	if err != nil {
		return err
	}
	var good []execution.Launch
	for i := range launches {
		x := &launches[i]
		key := []execution.Key{x.Key}
		switch x.Fault {
		case execution.NoFault:
			good = append(good, *x)
		case execution.NotReached:
			l.deferred.put(key, false, false)
		case execution.SlowLaunch:
			l.deferred.put(key, true, false)
		case execution.LaunchAway:
			l.Log.Warn("launch waits", "request", x.Request, "run", x.Key.Run, "reason", x.Message)
			l.deferred.put(key, alone, true)
		case execution.BrokenLaunch:
			if err := l.broken(ctx, x, alone, errors.New(x.Message)); err != nil {
				return err
			}
		}
	}
	return l.begin(ctx, good, alone)
}

// broken takes note of a run that failed by its own fault. Beside others that is not certain; alone it is recorded, and
// what fails too often ends as FAILED, so that its request does not wait for ever.
func (l *Launcher) broken(ctx context.Context, x *execution.Launch, alone bool, reason error) error {
	key := []execution.Key{x.Key}
	if !alone {
		l.deferred.put(key, true, false)
		return nil
	}
	n, err := l.Store.Failed(ctx, "launch", fmt.Sprintf("%s/%d", x.Request, x.Key.Run), reason.Error())
	if err != nil {
		return err
	}
	l.Log.Error("launch failed", "request", x.Request, "run", x.Key.Run, "failures", n, "error", reason)
	if n < maxFailures {
		l.deferred.put(key, true, true)
		return nil
	}
	return l.fail(ctx, x, "it could not be launched: "+x.Message)
}

// Fail ends a run that could not be begun.
func (l *Launcher) Fail(ctx context.Context, key execution.Key) error {
	launches, err := l.Requests.Launches(ctx, []execution.Key{key}, true)
	if err != nil {
		return err
	}
	for i := range launches {
		if err := l.fail(ctx, &launches[i], "it could not be launched; the message is in quarantine"); err != nil {
			return err
		}
	}
	return nil
}

func (l *Launcher) fail(ctx context.Context, x *execution.Launch, message string) error {
	ended := execution.Launch{Run: x.Run, Retries: x.Retries, SubmittedBy: x.SubmittedBy, Error: codeLaunch, Message: message}
	r, err := l.prepare(ctx, &ended, l.Store.Now())
	if err != nil {
		return err
	}
	_, err = l.Store.Launch(ctx, []*execution.NewRun{r}, time.Time{}, nil)
	return err
}

// begin launches what job-manager has answered with.
func (l *Launcher) begin(ctx context.Context, launches []execution.Launch, alone bool) error {
	slices.SortFunc(launches, func(a, b execution.Launch) int { return compare(a.Key, b.Key) })
	now := l.Store.Now()
	runs := make([]*execution.NewRun, 0, len(launches))
	good := make([]execution.Launch, 0, len(launches))
	for i := range launches {
		x := &launches[i]
		var r *execution.NewRun
		err := run.Safely(ctx, func(ctx context.Context) (err error) {
			r, err = l.prepare(ctx, x, now)
			return err
		})
		switch {
		case err == nil:
			runs, good = append(runs, r), append(good, *x)
		case ctx.Err() != nil:
			return err
		case l.Temporary(err): // a definition that cannot be read now is needed by this run, not by the others
			l.Log.Warn("launch waits", "request", x.Request, "run", x.Key.Run, "error", err)
			l.deferred.put([]execution.Key{x.Key}, alone, true)
		default:
			x.Message = "its plan cannot be begun"
			if err := l.broken(ctx, x, alone, err); err != nil {
				return err
			}
		}
	}
	return l.storeApart(ctx, runs, good, now, alone)
}

// storeApart stores runs together, or in halves when that fails by the content of one.
func (l *Launcher) storeApart(ctx context.Context, runs []*execution.NewRun, launches []execution.Launch, now time.Time, alone bool) error {
	if len(runs) == 0 {
		return nil
	}
	err := run.Safely(ctx, func(ctx context.Context) error { return l.store(ctx, runs, now) })
	switch {
	case err == nil || ctx.Err() != nil || l.Temporary(err):
		return err
	case len(runs) == 1:
		launches[0].Message = "its plan cannot be stored"
		return l.broken(ctx, &launches[0], alone, err)
	}
	l.Log.Warn("launches failed, their halves are tried", "runs", len(runs), "error", err)
	// What was placed is given back; the dispatcher places the tasks.
	half := len(runs) / 2
	return errors.Join(
		l.begin(ctx, launches[:half], alone), l.begin(ctx, launches[half:], alone),
	)
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
	return l.resume(ctx, existing)
}

// resume lets runs go on that exist and wait. One that cannot go on now comes again.
func (l *Launcher) resume(ctx context.Context, existing []execution.Existing) error {
	var events []execution.Event
	var keys []execution.Key
	for _, e := range existing {
		if e.State == engine.JobPaused || e.State == engine.JobApproval {
			events = append(events, execution.Event{Kind: execution.Resumed, Execution: e.ID})
			keys = append(keys, e.Key)
		}
	}
	verdicts, err := l.Store.Step(ctx, events)
	if err != nil {
		return fmt.Errorf("resume %d runs: %w", len(events), err)
	}
	for i, v := range verdicts {
		if v == execution.Postponed {
			l.deferred.put(keys[i:i+1], false, true)
		}
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
	var before *engine.Before
	var pauses int
	if x.Retries > 0 {
		if before, pauses, err = l.Store.Before(ctx, execution.Key{Request: x.Request, Run: number - 1}); err != nil {
			return nil, err
		}
	}
	if ended(x, r, now) {
		return l.endWith(ctx, x, r, before, now)
	}
	b := engine.Begin{Run: number, Retries: x.Retries, Plan: x.Plan, From: x.From, ReuseRun: x.ReuseRun, Rules: x.Rules}
	if x.Plan.TotalTimeout > 0 && x.AgeAt.Unix() > 0 {
		end := x.AgeAt.Add(x.Plan.TotalTimeout)
		b.ReqTotalDeadline = &end
	}
	b.DueAt = x.DueAt
	b.Pauses, b.Before = pauses, before
	if x.ReuseRun > 0 {
		var ran string
		if b.Reuse, ran, err = l.Store.Reused(ctx, execution.Key{Request: x.Request, Run: x.ReuseRun}); err != nil {
			return nil, err
		}
		b.Changed = ran != x.Definition
	}
	r.State = engine.New(b, now)
	return r, l.answer(ctx, r, now)
}

// ended sets how a run ends that is not begun; it says whether that is so.
func ended(x *execution.Launch, r *execution.NewRun, now time.Time) bool {
	end := func(state engine.JobState, code, message string) bool {
		r.Job = engine.Ended(x.Key.Run, state, code, message, now)
		return true
	}
	switch {
	case x.Cancelled:
		return end(engine.JobCancelled, "ERR_JOB_CANCELLED", x.Message)
	case x.Error != "":
		return end(engine.JobFailed, x.Error, x.Message)
	case x.Skipped || x.Plan.Skip:
		return end(engine.JobSkipped, "", "skip_if holds")
	case len(x.Plan.Tasks) == 0:
		return end(engine.JobFailed, codeLaunch, "its plan has no tasks")
	}
	return false
}

// endWith ends a run that is not begun. When the run before has left its clean-up to it that is done, and the job fails
// as that one did, unless it is cancelled: the order to cancel comes, too, and the clean-up begins then.
func (l *Launcher) endWith(ctx context.Context, x *execution.Launch, r *execution.NewRun, before *engine.Before, now time.Time) (*execution.NewRun, error) {
	j := &r.Job
	if j.State == engine.JobFailed || j.State == engine.JobSkipped && before != nil && before.Left {
		j.ErrorCode, j.ErrorMessage = before.Then(j.ErrorCode, j.ErrorMessage)
	}
	left, err := l.Store.Remainder(ctx, x.Key)
	if err != nil {
		return nil, err
	}
	if left == nil {
		return r, nil
	}
	left.ID = r.ID
	if x.Cancelled {
		return left, nil
	}
	left.State.Fail(j.ErrorCode, j.ErrorMessage, now)
	return left, l.answer(ctx, left, now)
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
		if err := l.keep(ctx, r, need.Kept); err != nil {
			return err
		}
		for _, idx := range need.Children {
			s.Children(idx, engine.Children{}, now) // nothing has been forked yet
		}
		for _, idx := range need.Results {
			if s.Results == nil {
				s.Results = map[int][]plan.ItemResult{}
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
	var bad source.Problems
	if err != nil && !errors.As(err, &bad) && errs.CodeOf(err) != errs.CodeNotFound {
		return fmt.Errorf("decide about %d tasks of request %s: %w", len(tasks), r.Request, err)
	}
	var asker *definition.Asker
	if err == nil {
		past := &definition.Past{}
		past.See(r.State)
		asker, err = definition.NewAsker(&execution.Context{Run: r.Run, Retries: r.Retries + r.State.Job.Policy.Pauses, Outlook: r.State.Job.Outlook(), Vars: r.Vars, CreatedAt: now, Now: now}, past)
	}
	for _, idx := range tasks {
		d := &plan.Decision{}
		if err != nil {
			d.Fault = err.Error()
		} else {
			d = asker.Ask(def, r.State.Tasks[idx], nil)
		}
		r.State.Decide(idx, d)
	}
	return nil
}

// keep answers which items of fan-outs completed in the run before.
func (l *Launcher) keep(ctx context.Context, r *execution.NewRun, groups []int) error {
	if len(groups) == 0 {
		return nil
	}
	key, names := execution.Key{Request: r.Request}, make([]string, len(groups))
	for i, idx := range groups {
		t := r.State.Tasks[idx]
		key.Run, names[i] = t.KeepOf, t.Spec.Name
	}
	kept, err := l.Store.Kept(ctx, key, names)
	if err != nil {
		return err
	}
	for i, idx := range groups {
		r.State.Keep(idx, kept[names[i]])
	}
	return nil
}

// results are those of a group whose items all ended before anything ran.
func results(s *engine.State, g *engine.Task) []plan.ItemResult {
	all := make([]plan.ItemResult, g.Items.Total)
	for i := range all {
		all[i] = s.Tasks[g.Items.First+i].ItemResult()
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
				first = append(first, execution.CandidateOf(&r.Run, t))
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
