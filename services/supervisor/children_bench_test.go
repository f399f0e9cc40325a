package supervisor_test

import (
	"testing"

	jobv1 "github.com/formicary/formicary/proto/gen/formicary/job/v1"
)

// BenchmarkFork measures a job that forks one and waits for it, alone: from its admission to its end, the child ends as
// soon as it is submitted.
func BenchmarkFork(b *testing.B) {
	w := newWorld(b)
	ended := make(chan string, 16)
	stop := w.onEnd(func(id string) { ended <- id })
	defer stop()
	w.children.mu.Lock()
	w.children.submitted = func(key, request string) {
		w.childEnds(key, request, jobv1.JobRequest_COMPLETED, "", "")
	}
	w.children.mu.Unlock()
	p := planOf(fork("a", nil))
	for b.Loop() {
		id := w.admit(p)
		for <-ended != id {
		}
	}
}
