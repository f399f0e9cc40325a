package reconcile

import (
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/formicary/formicary/services/supervisor/internal/execution"
)

const (
	quarantineAfter = 3               // failures until a person is told
	longestRest     = 5 * time.Minute // of an event that fails
	laterRest       = 5 * time.Second // of one that cannot be applied now
	mostFailures    = 10000           // that are remembered
)

// poison remembers events that cannot be applied, so that they do not keep the others from being applied. Each replica has
// its own: all of them try a bad event a few times, and the quarantine keeps it once.
type poison struct {
	mu     sync.Mutex
	failed map[string]failure
}

type failure struct {
	tries int
	until time.Time // it is not tried before
}

func keyOf(e *execution.Event) string {
	if e.Kind == execution.AttemptEnded {
		return "attempt " + e.UID.String()
	}
	return fmt.Sprintf("execution %s task %d event %d", e.Execution, e.Idx, e.Kind)
}

// without leaves out the events that failed a short time ago.
func (p *poison) without(events []execution.Event, now time.Time) []execution.Event {
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.failed) == 0 {
		return events
	}
	return slices.DeleteFunc(events, func(e execution.Event) bool { return now.Before(p.failed[keyOf(&e)].until) })
}

// add notes that the event failed and returns how often it has.
func (p *poison) add(key string, now time.Time) int {
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.failed) >= mostFailures {
		clear(p.failed)
	}
	f := p.failed[key]
	f.tries++
	f.until = now.Add(min(time.Second<<min(f.tries, 10), longestRest))
	p.failed[key] = f
	return f.tries
}

// later notes that the event cannot be applied now, which is not its fault.
func (p *poison) later(key string, now time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.failed) >= mostFailures {
		clear(p.failed)
	}
	p.failed[key] = failure{p.failed[key].tries, now.Add(laterRest)}
}
