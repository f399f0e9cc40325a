// Package executortest holds what a script means against an executor: every executor that has a shell passes the same cases.
package executortest

import (
	"bytes"
	"fmt"
	"io"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/formicary/formicary/services/ant/internal/executor"
)

// Subject is an executor that has recovered and runs.
type Subject struct {
	Executor executor.Executor
	// Complete adds to a task what the executor needs: the method, an image.
	Complete func(executor.Task) executor.Task
	// LimitsMemory says that memory can be limited here.
	LimitsMemory bool
}

// Run runs all cases.
func Run(t *testing.T, s Subject) {
	t.Helper()
	for _, c := range scripts() {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			c.hold(t, s.Execute(t, c.task, nil))
		})
	}
	for _, c := range stops() {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			c.hold(t, s.Execute(t, c.task, c.stop))
		})
	}
	t.Run("out of memory", func(t *testing.T) {
		t.Parallel()
		s.outOfMemory(t)
	})
	t.Run("stopped before it began", func(t *testing.T) {
		t.Parallel()
		s.stoppedBeforeItBegan(t)
	})
	t.Run("files in and out", func(t *testing.T) {
		t.Parallel()
		s.filesInAndOut(t)
	})
	t.Run("files over files", func(t *testing.T) {
		t.Parallel()
		s.filesOverFiles(t)
	})
	t.Run("files that lead out", func(t *testing.T) {
		t.Parallel()
		s.filesThatLeadOut(t)
	})
	t.Run("twenty at once", s.twentyAtOnce)
	t.Run("a flood", s.flood)
}

// Result of an execution.
type Result struct {
	End            executor.End
	Stdout, Stderr string
	Notes          []string
}

// Execute executes a task. stop is called with the execution when the task has printed "ready" and a line break.
func (s Subject) Execute(t testing.TB, task executor.Task, stop func(executor.Execution)) Result {
	t.Helper()
	out := newRecorder()
	x := s.Executor.Prepare(s.complete(task), out)
	defer x.Close()
	var stopping sync.WaitGroup
	if stop != nil {
		stopping.Go(func() {
			<-out.ready
			stop(x)
		})
	}
	if err := x.Create(); err == nil {
		x.Start()
	}
	end := x.Wait()
	out.announce() // lets a stop go on that waits for what did not come
	stopping.Wait()
	return Result{End: end, Stdout: out.stdout.String(), Stderr: out.stderr.String(), Notes: out.notes}
}

var numbers atomic.Int64 //nolint:gochecknoglobals // uids are unique in the process

func (s Subject) complete(task executor.Task) executor.Task {
	if task.UID == "" {
		task.UID = fmt.Sprintf("t%d-%d", time.Now().UnixNano(), numbers.Add(1))
	}
	return s.Complete(task)
}

// recorder keeps what a task prints.
type recorder struct {
	stdout, stderr bytes.Buffer
	notes          []string
	ready          chan struct{}
	once           sync.Once
}

func newRecorder() *recorder { return &recorder{ready: make(chan struct{})} }

func (r *recorder) Stdout() io.Writer { return watch{r} }
func (r *recorder) Stderr() io.Writer { return &r.stderr }
func (r *recorder) Note(line string)  { r.notes = append(r.notes, line) }
func (r *recorder) announce()         { r.once.Do(func() { close(r.ready) }) }

// watch looks for the word that a task is ready.
type watch struct{ *recorder }

func (w watch) Write(p []byte) (int, error) {
	n, err := w.stdout.Write(p)
	if bytes.Contains(w.stdout.Bytes()[:min(w.stdout.Len(), 1000)], []byte("ready\n")) {
		w.announce()
	}
	return n, err
}
