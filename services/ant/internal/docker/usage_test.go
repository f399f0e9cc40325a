package docker

import (
	"testing"
	"time"

	"github.com/docker/docker/api/types/container"

	"github.com/formicary/formicary/libs/jobspec/plan"
	"github.com/formicary/formicary/services/ant/internal/executor"
)

func TestUsage(t *testing.T) {
	r := subject(t, start(t, nil)).Execute(t, in(t, executor.Task{Script: []string{"timeout 4 sh -c 'while :; do :; done' || true"}}, plan.Options{}), nil)
	if r.End.ExitCode != 0 || r.End.Usage.CPU <= 0 || r.End.Usage.PeakMemory <= 0 {
		t.Errorf("ended as %+v, printed %q", r.End, r.Stdout+r.Stderr)
	}
}

// The counters of a container begin anew when it runs once more, and are 0 when it runs no more.
func TestMeter(t *testing.T) {
	var m meter
	for _, total := range []time.Duration{1, 5, 0, 2, 3, 0} {
		word := container.StatsResponse{}
		word.CPUStats.CPUUsage.TotalUsage, word.MemoryStats.Usage = uint64(total), uint64(10*total)
		m.add(&word)
	}
	if got := m.end(); got != (executor.Usage{CPU: 8, PeakMemory: 50}) {
		t.Errorf("used %+v, want 8 ns and 50 bytes", got)
	}
}
