package docker

import (
	"context"
	"encoding/json"
	"sync"
	"time"

	"github.com/docker/docker/api/types/container"

	"github.com/formicary/formicary/services/ant/internal/executor"
)

// meterDelay is how long a container runs before it is measured: short tasks do not pay for it.
const meterDelay = 500 * time.Millisecond

// meter notes what a container uses. The engine says it once a second, so what came after its last word is missing, and all of
// what ran no longer than a moment.
type meter struct {
	stop context.CancelFunc
	done sync.WaitGroup
	used executor.Usage
	last uint64 // nanoseconds of the turn that is measured
}

// begin measures the container of s until end.
func (m *meter) begin(s *session) {
	var ctx context.Context
	ctx, m.stop = context.WithCancel(s.life)
	m.done.Go(func() {
		select {
		case <-ctx.Done():
			return
		case <-time.After(meterDelay):
		}
		stats, err := s.e.engine().ContainerStats(ctx, s.id, true)
		if err != nil {
			return // what is not known is 0
		}
		defer func() { _ = stats.Body.Close() }()
		for words := json.NewDecoder(stats.Body); ; {
			var word container.StatsResponse
			if words.Decode(&word) != nil {
				return
			}
			m.add(&word)
		}
	})
}

func (m *meter) add(word *container.StatsResponse) {
	total := word.CPUStats.CPUUsage.TotalUsage
	if total < m.last { // it runs once more, or no more
		m.last = 0
	}
	m.used.CPU += time.Duration(total - m.last) // #nosec G115 -- nanoseconds of processors
	m.last = total
	m.used.PeakMemory = max(m.used.PeakMemory, int64(word.MemoryStats.MaxUsage), int64(word.MemoryStats.Usage)) // #nosec G115 -- bytes of a machine
}

// end returns what was used.
func (m *meter) end() executor.Usage {
	if m.stop != nil {
		m.stop()
	}
	m.done.Wait()
	return m.used
}
