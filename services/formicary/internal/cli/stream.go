package cli

import (
	"bytes"
	"context"
	"io"
	"strings"
	"sync"
	"time"

	executionv1 "github.com/formicary/formicary/proto/gen/formicary/execution/v1"
	jobv1 "github.com/formicary/formicary/proto/gen/formicary/job/v1"
)

// streamer prints the logs of many tasks at once, whole lines, each prefixed with its task.
type streamer struct {
	c    *client
	id   string
	out  io.Writer
	ctx  context.Context //nolint:containedctx // the streams outlive the calls that begin them
	stop context.CancelFunc
	slot chan struct{} // bounds the open streams

	mu    sync.Mutex // of out and tails
	tails map[attemptKey]*tail
	wg    sync.WaitGroup
}

// tail is the log of one attempt on its way to the user.
type tail struct {
	printed int64         // bytes
	ended   bool          // the attempt has ended
	done    chan struct{} // closed when all of it is printed
}

type attemptKey struct {
	run     int32
	task    string
	attempt int32
}

const (
	logsAfterEnd = 15 * time.Second
	maxStreams   = 64
	logTries     = 5
	orderWait    = 2 * time.Second
)

func newStreamer(ctx context.Context, c *client, id string, out io.Writer) *streamer {
	ctx, stop := context.WithCancel(ctx)
	return &streamer{c: c, id: id, out: out, ctx: ctx, stop: stop, slot: make(chan struct{}, maxStreams), tails: map[attemptKey]*tail{}}
}

// follow streams the log of an attempt in the background, once. What ended before the attempt began is printed before
// it, so that tasks that follow each other read in their order; ended says that this one has ended too.
func (s *streamer) follow(run int32, task string, attempt int32, ended bool) {
	key := attemptKey{run, task, attempt}
	s.mu.Lock()
	defer s.mu.Unlock()
	if t := s.tails[key]; t != nil {
		t.ended = t.ended || ended
		return
	}
	var before []<-chan struct{}
	for _, t := range s.tails {
		if t.ended {
			before = append(before, t.done)
		}
	}
	t := &tail{ended: ended, done: make(chan struct{})}
	s.tails[key] = t
	s.wg.Go(func() {
		defer close(t.done)
		s.after(before)
		select {
		case s.slot <- struct{}{}:
			s.copy(s.ctx, key, true)
			<-s.slot
		case <-s.ctx.Done():
		}
	})
}

// after waits for others, but not long: a log may come late.
func (s *streamer) after(others []<-chan struct{}) {
	limit := time.NewTimer(orderWait)
	defer limit.Stop()
	for _, done := range others {
		select {
		case <-done:
		case <-limit.C:
			return
		case <-s.ctx.Done():
			return
		}
	}
}

// finish waits for the streams and prints what they missed: hints of short tasks get lost, their logs must not.
func (s *streamer) finish(ctx context.Context, r *jobv1.JobRequest, tasks []*executionv1.Task) {
	limit := time.AfterFunc(logsAfterEnd, s.stop)
	defer limit.Stop()
	s.wg.Wait()
	s.stop()
	for _, t := range tasks {
		for _, at := range t.GetAttempts() {
			key := attemptKey{r.GetRun(), t.GetName(), at.GetNumber()}
			if at.GetLogBytes() > s.printed(key) && ctx.Err() == nil {
				s.copy(ctx, key, false)
			}
		}
	}
}

// end drops the streams.
func (s *streamer) end() {
	s.stop()
	s.wg.Wait()
}

func (s *streamer) printed(key attemptKey) int64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	if t := s.tails[key]; t != nil {
		return t.printed
	}
	return 0
}

func (s *streamer) advance(key attemptKey, to int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	t := s.tails[key]
	if t == nil { // it was not followed
		t = &tail{ended: true, done: make(chan struct{})}
		s.tails[key] = t
		close(t.done)
	}
	t.printed = to
}

// copy prints a log from where an earlier call left it. A stream that breaks is opened again.
func (s *streamer) copy(ctx context.Context, key attemptKey, follow bool) {
	w := &lineWriter{s: s, prefix: key.task + " │ "}
	defer w.flush()
	for try := 0; try < logTries && ctx.Err() == nil; try++ {
		err := readLog(ctx, s.c, &executionv1.WatchTaskLogRequest{
			RequestId: s.id, Run: key.run, Task: key.task, Attempt: key.attempt, Offset: s.printed(key), Follow: follow,
		}, func(p []byte, next int64) {
			w.write(p)
			s.advance(key, next)
		})
		if err == nil {
			return
		}
		select {
		case <-time.After(resume):
		case <-ctx.Done():
		}
	}
}

// readLog calls each with every piece and the offset after it.
func readLog(ctx context.Context, c *client, req *executionv1.WatchTaskLogRequest, each func([]byte, int64)) error {
	stream, err := c.logs.WatchTaskLog(ctx, req)
	if err != nil {
		return err
	}
	for {
		m, err := stream.Recv()
		if err == io.EOF { //nolint:errorlint // the end of a stream is this very value
			return nil
		}
		if err != nil {
			return err
		}
		if len(m.GetData()) == 0 {
			continue
		}
		each(m.GetData(), m.GetOffset()+int64(len(m.GetData())))
	}
}

// lineWriter prints whole lines with a prefix; very long ones in pieces.
type lineWriter struct {
	s      *streamer
	prefix string
	rest   []byte
}

const longLine = 64 << 10

func (w *lineWriter) write(p []byte) {
	w.rest = append(w.rest, p...)
	for {
		i := bytes.IndexByte(w.rest, '\n')
		if i < 0 && len(w.rest) < longLine {
			return
		}
		if i < 0 {
			i = len(w.rest)
		}
		w.line(w.rest[:i])
		w.rest = w.rest[min(i+1, len(w.rest)):]
	}
}

func (w *lineWriter) flush() {
	if len(w.rest) > 0 {
		w.line(w.rest)
		w.rest = nil
	}
}

// line prints a line. What a task wrote over itself, as progress bars do, becomes lines of their own.
func (w *lineWriter) line(p []byte) {
	w.s.mu.Lock()
	defer w.s.mu.Unlock()
	for part := range strings.SplitSeq(strings.TrimRight(string(p), "\r"), "\r") {
		_, _ = io.WriteString(w.s.out, w.prefix+inert(part, true)+"\n")
	}
}
