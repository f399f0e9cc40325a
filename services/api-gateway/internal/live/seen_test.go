package live

import (
	"testing"

	jobv1 "github.com/formicary/formicary/proto/gen/formicary/job/v1"
)

func TestNewerRequest(t *testing.T) {
	for _, c := range []struct {
		name     string
		run      int32
		version  int64
		nrun     int32
		nversion int64
		want     bool
	}{
		{"first", 0, 0, 1, 1, true},
		{"next version", 1, 3, 1, 4, true},
		{"same", 1, 3, 1, 3, false},
		{"older version", 1, 3, 1, 2, false},
		{"next run", 1, 9, 2, 1, true},
		{"older run", 2, 1, 1, 9, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := seen{run: c.run, version: c.version}
			if got := s.newer(&jobv1.WatchEventsResponse{Kind: kindRequest, Run: c.nrun, Version: c.nversion}); got != c.want {
				t.Errorf("got %v", got)
			}
		})
	}
}

func TestNewerTask(t *testing.T) {
	for _, c := range []struct {
		name     string
		old, now taskSeen
		want     bool
	}{
		{"goes on", taskSeen{1, 1, "RUNNING"}, taskSeen{1, 1, "COMPLETED"}, true},
		{"doubled", taskSeen{1, 1, "RUNNING"}, taskSeen{1, 1, "RUNNING"}, false},
		{"late", taskSeen{1, 1, "COMPLETED"}, taskSeen{1, 1, "RUNNING"}, false},
		{"late within the run", taskSeen{1, 1, "RUNNING"}, taskSeen{1, 1, "DISPATCHED"}, false},
		{"next attempt", taskSeen{1, 1, "FAILED"}, taskSeen{1, 2, "DISPATCHED"}, true},
		{"attempt before", taskSeen{1, 2, "DISPATCHED"}, taskSeen{1, 1, "FAILED"}, false},
		{"timer ended", taskSeen{1, 1, "WAITING"}, taskSeen{1, 1, "READY"}, true},
		{"before the timer", taskSeen{1, 1, "WAITING"}, taskSeen{1, 0, "BLOCKED"}, false},
		{"next run", taskSeen{1, 3, "FAILED"}, taskSeen{2, 0, "BLOCKED"}, true},
		{"run before", taskSeen{2, 0, "BLOCKED"}, taskSeen{1, 3, "FAILED"}, false},
		{"corrected end", taskSeen{1, 1, "FAILED"}, taskSeen{1, 1, "CANCELLED"}, true},
		{"state of a newer release", taskSeen{1, 1, "RUNNING"}, taskSeen{1, 1, "DREAMING"}, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := seen{tasks: map[string]taskSeen{"a": c.old}}
			m := &jobv1.WatchEventsResponse{Kind: kindTask, Task: "a", Run: c.now.run, Attempt: c.now.attempt, State: c.now.state}
			if got := s.newer(m); got != c.want {
				t.Errorf("got %v", got)
			}
		})
	}
}
