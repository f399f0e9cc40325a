package launch

import (
	"context"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/formicary/formicary/libs/run"
	"github.com/formicary/formicary/services/supervisor/internal/execution"
)

// deferrals are the runs that could not be launched beside the others. They are kept in memory only: of what is lost with
// it, job-manager tells again after some seconds of silence.
type deferrals struct {
	mu    sync.Mutex
	runs  map[execution.Key]*late
	some  run.Signal // runs that are asked for together
	alone run.Signal // and one by one
}

type late struct {
	at    time.Time
	alone bool
	tries int // in a row that were nobody's fault
	begun bool
}

func newDeferrals() *deferrals {
	return &deferrals{runs: map[execution.Key]*late{}, some: run.NewSignal(), alone: run.NewSignal()}
}

const (
	latePause   = time.Second
	longestWait = 30 * time.Second
	lateEvery   = 500 * time.Millisecond // how exact the pauses are
	// slowAtOnce is how many slow runs are asked for at the same time.
	slowAtOnce = 2
)

// put lets runs be launched later: at once, or after a pause that grows with the tries.
func (l *deferrals) put(keys []execution.Key, alone, paused bool) {
	l.mu.Lock()
	for _, k := range keys {
		x := l.runs[k]
		if x == nil {
			x = &late{}
			l.runs[k] = x
		}
		x.alone, x.begun, x.at = alone, false, time.Now()
		if paused {
			x.at = x.at.Add(min(latePause<<min(x.tries, 5), longestWait))
			x.tries++
		} else {
			x.tries = 0
		}
	}
	l.mu.Unlock()
	if alone {
		l.alone.Set()
	} else {
		l.some.Set()
	}
}

// due returns runs that are due, at most limit; the others are begun next.
func (l *deferrals) due(alone bool, limit int) []execution.Key {
	l.mu.Lock()
	defer l.mu.Unlock()
	var due []execution.Key
	for k, x := range l.runs {
		if len(due) < limit && x.alone == alone && !x.begun && !x.at.After(time.Now()) {
			x.begun = true
			due = append(due, k)
		}
	}
	return due
}

// done forgets the runs that were begun and not put again.
func (l *deferrals) done(keys []execution.Key) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, k := range keys {
		if x := l.runs[k]; x != nil && x.begun {
			delete(l.runs, k)
		}
	}
}

// Run launches until ctx ends what could not be launched beside the others.
func (l *Launcher) Run(ctx context.Context) error {
	return run.Group(ctx,
		run.Member{Name: "late launches", Run: func(ctx context.Context) error {
			return run.Loop(ctx, l.Log, "late launches", lateEvery, l.deferred.some, l.launchLate)
		}},
		run.Member{Name: "slow launches", Run: func(ctx context.Context) error {
			return run.Loop(ctx, l.Log, "slow launches", lateEvery, l.deferred.alone, l.launchSlow)
		}},
	)
}

// launchLate asks again for runs that were not reached, or that needed what was away.
func (l *Launcher) launchLate(ctx context.Context) error {
	for {
		keys := l.deferred.due(false, perCall)
		if len(keys) == 0 || ctx.Err() != nil {
			return nil //nolint:nilerr // the end of ctx is no error
		}
		l.again(ctx, keys, false)
	}
}

// launchSlow asks for each run alone.
func (l *Launcher) launchSlow(ctx context.Context) error {
	for {
		keys := l.deferred.due(true, slowAtOnce)
		if len(keys) == 0 || ctx.Err() != nil {
			return nil //nolint:nilerr // the end of ctx is no error
		}
		var g errgroup.Group
		for i := range keys {
			g.Go(func() error {
				l.again(ctx, keys[i:i+1], true)
				return nil
			})
		}
		_ = g.Wait()
	}
}

// again tries runs that were begun. Whose fault an error is was decided where it happened; what is left comes again.
func (l *Launcher) again(ctx context.Context, keys []execution.Key, alone bool) {
	err := run.Safely(ctx, func(ctx context.Context) error { return l.launch(ctx, keys, alone) })
	if err != nil {
		if ctx.Err() == nil {
			l.Log.Warn("late launches failed", "runs", len(keys), "error", err)
		}
		l.deferred.put(keys, alone || len(keys) > 1 && !l.Temporary(err), true)
	}
	l.deferred.done(keys)
}
