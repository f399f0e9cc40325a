package child

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"time"

	"github.com/formicary/formicary/libs/errs"
	"github.com/formicary/formicary/libs/run"
	"github.com/formicary/formicary/services/supervisor/internal/execution"
)

// Config says how often children are looked after that no commit and no event spoke of.
type Config struct {
	// Every is the time between looks for children to submit or cancel that a crash or an outage has left.
	Every time.Duration
	// AskEvery is the time between questions for children that are silent: whose end has not been heard of for Silence.
	AskEvery time.Duration
	Silence  time.Duration
}

// DefaultConfig suits a colony of any size.
func DefaultConfig() Config {
	return Config{Every: 5 * time.Second, AskEvery: 10 * time.Second, Silence: 30 * time.Second}
}

// Validate reports every fault.
func (c Config) Validate() error {
	var err error
	for name, d := range map[string]time.Duration{"Every": c.Every, "AskEvery": c.AskEvery, "Silence": c.Silence} {
		if d <= 0 {
			err = errors.Join(err, fmt.Errorf("children: %s is %s, want more than 0", name, d))
		}
	}
	return err
}

// Loop submits, cancels and asks. Any number of processes may run one.
type Loop struct {
	cfg   Config
	store Store
	peer  Peer
	log   *slog.Logger
	// temporary says that an error is not the fault of what was asked.
	temporary func(error) bool
	wake      run.Signal
	heard     Place // up to where Listen has looked
}

const (
	batchSize  = 500   // of the 1,000 that job-manager takes
	listenSize = 2_000 // waiting tasks that are looked at together
	// lease is how long what is taken is hidden from others: longer than a call and the step after it take.
	lease = 40 * time.Second
)

// New returns a loop. temporary says that an error is not the fault of what was asked.
func New(cfg Config, store Store, peer Peer, temporary func(error) bool, log *slog.Logger) *Loop {
	return &Loop{cfg: cfg, store: store, peer: peer, temporary: temporary, log: log, wake: run.NewSignal()}
}

// Changed takes from a commit what concerns children.
func (l *Loop) Changed(c *execution.Changes) {
	if c.Children {
		l.wake.Set()
	}
}

// Run works until ctx ends.
func (l *Loop) Run(ctx context.Context) error {
	return run.Group(ctx,
		run.Member{Name: "children", Run: func(ctx context.Context) error {
			return run.Loop(ctx, l.log, "children", l.cfg.Every, l.wake, l.Round)
		}},
		run.Member{Name: "silent children", Run: func(ctx context.Context) error {
			return run.Loop(ctx, l.log, "silent children", l.cfg.AskEvery, run.NewSignal(), l.Ask)
		}},
		run.Member{Name: "waiting parents", Run: func(ctx context.Context) error {
			return run.Loop(ctx, l.log, "waiting parents", l.cfg.Every, run.NewSignal(), l.Listen)
		}},
	)
}

// Round submits and cancels what is due.
func (l *Loop) Round(ctx context.Context) error {
	for {
		wanted, err := l.store.TakeWanted(ctx, lease, batchSize)
		if err != nil {
			return err
		}
		if err := l.submit(ctx, wanted); err != nil {
			return err
		}
		cancels, err := l.store.TakeCancels(ctx, lease, batchSize)
		if err != nil {
			return err
		}
		if err := l.cancel(ctx, cancels); err != nil {
			return err
		}
		if len(wanted) < batchSize && len(cancels) < batchSize {
			return nil
		}
	}
}

// submit submits children, few enough for one message.
func (l *Loop) submit(ctx context.Context, wanted []Wanted) error {
	for len(wanted) > 0 {
		n := fitting(wanted)
		if err := l.submitSome(ctx, wanted[:n]); err != nil {
			return l.again(ctx, wanted, err)
		}
		wanted = wanted[n:]
	}
	return nil
}

// fitting returns how many of the children one message can hold.
func fitting(wanted []Wanted) int {
	const most = 8 << 20
	size := 0
	for i := range wanted {
		if size += len(wanted[i].Params); size > most && i > 0 {
			return i
		}
	}
	return len(wanted)
}

// submitSome submits children. One that job-manager cannot even read must not keep the others from it: then each goes
// alone, and the one at fault is refused.
func (l *Loop) submitSome(ctx context.Context, wanted []Wanted) error {
	answers, err := l.peer.Submit(ctx, wanted)
	switch {
	case err == nil && len(answers) != len(wanted):
		return fmt.Errorf("submit %d children: got %d answers", len(wanted), len(answers))
	case err == nil:
		return l.answer(ctx, wanted, answers)
	case ctx.Err() != nil || errs.CodeOf(err) != errs.CodeInvalid:
		return err
	case len(wanted) == 1:
		l.log.Warn("child cannot be submitted", "key", wanted[0].String(), "error", err)
		return l.answer(ctx, wanted, []Answer{{Refused: "it cannot be submitted: " + err.Error(), Reason: "INVALID"}})
	}
	l.log.Warn("children are submitted one by one, because all together failed", "children", len(wanted), "error", err)
	for i := range wanted {
		if err := l.submitSome(ctx, wanted[i:i+1]); err != nil {
			return err
		}
	}
	return nil
}

// answer brings answers back to the runs.
func (l *Loop) answer(ctx context.Context, wanted []Wanted, answers []Answer) error {
	events, later := answered(wanted, answers)
	postponed, err := apply(ctx, l.store, l.temporary, events)
	if err != nil {
		if l.temporary(err) || ctx.Err() != nil {
			return err
		}
		l.log.Error("answers of children cannot be applied", "error", err) // they are asked for again after the lease
	}
	for _, i := range postponed {
		key := Key{Execution: events[i].Execution, Idx: events[i].Idx, Round: events[i].Round}
		at := slices.IndexFunc(wanted, func(w Wanted) bool { return w.Key == key })
		later = append(later, wanted[at])
	}
	return l.store.Later(ctx, keysOf(later), delaysOf(later))
}

// again gives children back after a failure that is returned: the loop comes again after its own delay.
func (l *Loop) again(ctx context.Context, wanted []Wanted, failed error) error {
	if len(wanted) == 0 {
		return failed
	}
	// Where this fails too, they are due when the lease ends.
	if err := l.store.Later(context.WithoutCancel(ctx), keysOf(wanted), make([]time.Duration, len(wanted))); err != nil {
		l.log.Debug("children are not given back", "error", err)
	}
	return failed
}

// cancel asks for the end of children. Those that were never submitted end with it: job-manager refuses them from then
// on. That is an event like every end, so that the tasks that wait for them hear of it.
func (l *Loop) cancel(ctx context.Context, cancels []Cancel) error {
	if len(cancels) == 0 {
		return nil
	}
	keys, submitted := make([]Key, len(cancels)), make([]Key, 0, len(cancels))
	var ended []execution.Event
	for i, c := range cancels {
		keys[i] = c.Key
		if c.Submitted {
			submitted = append(submitted, c.Key)
			continue
		}
		ended = append(ended, execution.Event{
			Kind: execution.ChildEnded, Execution: c.Execution, Idx: c.Idx, Round: c.Round,
			Child: execution.ChildNews{State: "CANCELLED", Unsubmitted: true},
		})
	}
	if err := l.peer.Cancel(ctx, keys, "the job that forked it was cancelled, or does not need it any more"); err != nil {
		if err := l.store.Later(context.WithoutCancel(ctx), keys, make([]time.Duration, len(keys))); err != nil {
			l.log.Debug("children are not given back", "error", err)
		}
		return err
	}
	if err := l.store.Cancelling(ctx, submitted); err != nil || len(ended) == 0 {
		return err
	}
	// What cannot be applied now is due again after the lease: to ask twice changes nothing.
	_, err := apply(ctx, l.store, l.temporary, ended)
	return err
}

// Ask asks about children whose end was not heard of.
func (l *Loop) Ask(ctx context.Context) error {
	for {
		keys, err := l.store.TakeSilent(ctx, l.cfg.Silence, batchSize)
		if err != nil || len(keys) == 0 {
			return err
		}
		all, err := l.peer.Children(ctx, keys)
		if err != nil {
			return err
		}
		ended := make([]Ended, 0, len(all))
		for i := range all {
			if all[i].Terminal {
				ended = append(ended, all[i])
			}
		}
		if err := Apply(ctx, l.store, l.temporary, ended); err != nil {
			return err
		}
		if len(keys) < batchSize {
			return nil
		}
	}
}

// Listen looks whether tasks wait for what has happened: every end of a child tells them in its own transaction, but a
// fault of that must not make them wait for ever. Each call looks through a part of them and goes on where the last one
// ended, so that its cost does not grow with what waits.
func (l *Loop) Listen(ctx context.Context) error {
	events, next, err := l.store.Unheard(ctx, l.heard, listenSize)
	if err != nil {
		return err
	}
	l.heard = next
	if len(events) == 0 {
		return nil
	}
	l.log.Warn("tasks waited for children whose end they had not heard of", "events", len(events))
	_, err = apply(ctx, l.store, l.temporary, events) // what is postponed is found again
	return err
}

// Apply brings the ends of children to the runs of their parents, with what they have given. temporary says that an
// error is not the fault of a child; one at fault does not keep the others from being applied.
func Apply(ctx context.Context, store Store, temporary func(error) bool, ended []Ended) error {
	var runs, failed []execution.Key
	for i := range ended {
		key := execution.Key{Request: ended[i].Request, Run: ended[i].Run}
		if key.Run <= 0 {
			continue
		}
		runs = append(runs, key)
		if ended[i].State != stateCompleted {
			failed = append(failed, key)
		}
	}
	var outputs map[execution.Key]map[string]string
	var codes map[execution.Key]int
	var err error
	if len(runs) > 0 {
		if outputs, err = store.Outputs(ctx, runs); err != nil {
			return err
		}
	}
	if len(failed) > 0 {
		if codes, err = store.ExitCodes(ctx, failed); err != nil {
			return err
		}
	}
	postponed, err := apply(ctx, store, temporary, events(ended, outputs, codes))
	if err == nil && len(postponed) > 0 {
		err = errs.Unavailable("POSTPONED", "%d children have ended, but their parents cannot go on now", len(postponed))
	}
	return err
}

// apply applies events together, or, when that fails by the fault of one, each alone. It returns which have to come
// again.
func apply(ctx context.Context, store Store, temporary func(error) bool, events []execution.Event) (postponed []int, err error) {
	step := func(first, last int) error {
		return run.Safely(ctx, func(ctx context.Context) error {
			verdicts, err := store.Step(ctx, events[first:last])
			for i, v := range verdicts {
				if v == execution.Postponed {
					postponed = append(postponed, first+i)
				}
			}
			return err
		})
	}
	if err = step(0, len(events)); err == nil || len(events) < 2 || ctx.Err() != nil || temporary(err) {
		return postponed, err
	}
	var failed error
	for i := range events {
		err := step(i, i+1)
		if err != nil && (ctx.Err() != nil || temporary(err)) {
			return postponed, err
		}
		failed = errors.Join(failed, err)
	}
	return postponed, failed
}

func keysOf(wanted []Wanted) []Key {
	keys := make([]Key, len(wanted))
	for i := range wanted {
		keys[i] = wanted[i].Key
	}
	return keys
}

func delaysOf(wanted []Wanted) []time.Duration {
	delays := make([]time.Duration, len(wanted))
	for i := range wanted {
		delays[i] = delay(wanted[i].Tries)
	}
	return delays
}
