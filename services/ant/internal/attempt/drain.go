package attempt

import (
	"context"
	"time"
)

// Patience is how an ant ends.
type Patience struct {
	// Run is how long what runs may go on.
	Run time.Duration
	// Grace is the most that a task gets between TERM and KILL after that; its own grace is taken when it is shorter.
	Grace time.Duration
	// Hurried, when it is closed, ends all patience; nil is never closed.
	Hurried <-chan struct{}
}

// afterGrace is what an attempt may take beyond its grace: for an after_script in a shell of its own, and its log.
const afterGrace = 30 * time.Second

// Drain lets nothing begin and waits until nothing runs. What takes longer than it may is stopped as a cancelled task is,
// TERM, grace, after_script, and is LOST: it runs again elsewhere. What is left then, or when ctx ends, is killed.
func (m *Manager) Drain(ctx context.Context, p Patience) {
	m.Shut()
	if m.quiet(ctx, p.Hurried, p.Run) {
		return
	}
	if p.Grace > 0 && !m.hasty(ctx, p.Hurried) {
		for _, a := range m.find(m.Running()) {
			a.stop(lost("the ant was shut down"), min(a.grace(), p.Grace))
		}
		if m.quiet(ctx, p.Hurried, p.Grace+afterGrace) {
			return
		}
	}
	m.Kill("the ant was shut down")
	select {
	case <-m.empty():
	case <-ctx.Done():
	}
}

// quiet reports whether everything ended within patience.
func (m *Manager) quiet(ctx context.Context, hurried <-chan struct{}, patience time.Duration) bool {
	timer := time.NewTimer(patience)
	defer timer.Stop()
	select {
	case <-m.empty():
		return true
	case <-timer.C:
	case <-hurried:
	case <-ctx.Done():
	}
	return false
}

func (m *Manager) hasty(ctx context.Context, hurried <-chan struct{}) bool {
	select {
	case <-hurried:
		return true
	default:
		return ctx.Err() != nil
	}
}
