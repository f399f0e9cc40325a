package pg

import (
	"sync"
	"time"

	"github.com/formicary/formicary/services/job-manager/internal/admission"
)

// backlogAge is how old the size of a long queue may be: it is shown to people, and counting it at every pass would
// cost more than the pass.
const backlogAge = time.Second

// backlog remembers the sizes of queues that are longer than what a pass reads of them.
type backlog struct {
	mu    sync.Mutex
	sizes map[typeKey]size
}

type size struct {
	pending int
	counted time.Time
}

// stale says of each type whether its queue has to be counted.
func (b *backlog) stale(types []admission.Type, headLimit int) []bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return column(types, func(t admission.Type) bool {
		return len(t.Heads) >= headLimit && time.Since(b.sizes[typeKey{t.OrgID, t.JobType}].counted) > backlogAge
	})
}

// fill completes the sizes that were not counted and remembers those that were. Types that wait no more are forgotten.
func (b *backlog) fill(types []admission.Type, headLimit int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	known := b.sizes
	b.sizes = map[typeKey]size{}
	for i := range types {
		t := &types[i]
		key := typeKey{t.OrgID, t.JobType}
		switch {
		case len(t.Heads) < headLimit:
			t.Pending = len(t.Heads)
		case t.Pending == 0: // not counted
			b.sizes[key] = known[key]
			t.Pending = max(known[key].pending, len(t.Heads)+1) // the scheduler looks behind the heads rather once too often
		default:
			b.sizes[key] = size{t.Pending, time.Now()}
		}
	}
}
