package cli

import (
	"bytes"
	"context"
	"io"
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

	mu   sync.Mutex // of out and seen
	seen map[attemptKey]int64
	wg   sync.WaitGroup
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
)

func newStreamer(ctx context.Context, c *client, id string, out io.Writer) *streamer {
	ctx, stop := context.WithCancel(ctx)
	return &streamer{c: c, id: id, out: out, ctx: ctx, stop: stop, slot: make(chan struct{}, maxStreams), seen: map[attemptKey]int64{}}
}

// follow streams the log of an attempt in the background, once.
func (s *streamer) follow(run int32, task string, attempt int32) {
	key := attemptKey{run, task, attempt}
	s.mu.Lock()
	_, known := s.seen[key]
	if !known {
		s.seen[key] = 0
	}
	s.mu.Unlock()
	if known {
		return
	}
	s.wg.Go(func() {
		select {
		case s.slot <- struct{}{}:
			s.copy(s.ctx, key, true)
			<-s.slot
		case <-s.ctx.Done():
		}
	})
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
	return s.seen[key]
}

// copy prints a log from where an earlier call left it. A stream that breaks is opened again.
func (s *streamer) copy(ctx context.Context, key attemptKey, follow bool) {
	w := &lineWriter{s: s, prefix: key.task + " │ "}
	defer w.flush()
	for try := 0; try < logTries && ctx.Err() == nil; try++ {
		_, err := readLog(ctx, s.c, &executionv1.WatchTaskLogRequest{
			RequestId: s.id, Run: key.run, Task: key.task, Attempt: key.attempt, Offset: s.printed(key), Follow: follow,
		}, func(p []byte, next int64) {
			w.write(p)
			s.mu.Lock()
			s.seen[key] = next
			s.mu.Unlock()
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

// readLog calls each with every piece and the offset after it, and returns the offset reached.
func readLog(ctx context.Context, c *client, req *executionv1.WatchTaskLogRequest, each func([]byte, int64)) (int64, error) {
	stream, err := c.logs.WatchTaskLog(ctx, req)
	if err != nil {
		return req.GetOffset(), err
	}
	at := req.GetOffset()
	for {
		m, err := stream.Recv()
		if err == io.EOF { //nolint:errorlint // the end of a stream is this very value
			return at, nil
		}
		if err != nil {
			return at, err
		}
		if len(m.GetData()) == 0 {
			continue
		}
		at = m.GetOffset() + int64(len(m.GetData()))
		each(m.GetData(), at)
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

func (w *lineWriter) line(p []byte) {
	w.s.mu.Lock()
	defer w.s.mu.Unlock()
	_, _ = io.WriteString(w.s.out, w.prefix+string(bytes.TrimSuffix(p, []byte{'\r'}))+"\n")
}
