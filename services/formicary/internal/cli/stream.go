package cli

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	executionv1 "github.com/formicary/formicary/proto/gen/formicary/execution/v1"
	jobv1 "github.com/formicary/formicary/proto/gen/formicary/job/v1"
)

// streamer prints the logs of many tasks at once, whole lines, each prefixed with its task.
// logPart is what is wanted of a log.
type logPart struct {
	tail       int64                  // its last lines, so many; 0 means all
	since      *timestamppb.Timestamp // what was printed from then on
	timestamps bool
}

type streamer struct {
	c    *client
	id   string
	out  io.Writer
	note io.Writer       // takes what is to be known of a log; nil takes nothing
	ctx  context.Context //nolint:containedctx // the streams outlive the calls that begin them
	stop context.CancelFunc
	slot chan struct{} // bounds the open streams
	part logPart       // what is wanted of each log
	// wanted says which logs are printed; nil means all.
	wanted func(task string, attempt int32) bool

	mu    sync.Mutex // of out and tails
	tails map[attemptKey]*tail
	wg    sync.WaitGroup
}

// tail is the log of one attempt on its way to the user.
type tail struct {
	printed int64         // bytes
	ended   bool          // the attempt has ended
	over    chan struct{} // closed when ended gets true
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

func newStreamer(ctx context.Context, c *client, id string, out, note io.Writer) *streamer {
	ctx, stop := context.WithCancel(ctx)
	return &streamer{c: c, id: id, out: out, note: note, ctx: ctx, stop: stop, slot: make(chan struct{}, maxStreams), tails: map[attemptKey]*tail{}}
}

// follow streams the log of an attempt in the background, once. What ended before the attempt began is printed before
// it, so that tasks that follow each other read in their order; ended says that this one has ended too.
func (s *streamer) follow(run int32, task string, attempt int32, ended bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for n := int32(1); n < attempt; n++ { // those whose hints were missed
		s.followLocked(attemptKey{run, task, n}, true)
	}
	s.followLocked(attemptKey{run, task, attempt}, ended)
}

// gap says whether attempts before this one were not followed.
func (s *streamer) gap(run int32, task string, attempt int32) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return attempt > 1 && s.tails[attemptKey{run, task, attempt - 1}] == nil
}

func (s *streamer) followLocked(key attemptKey, ended bool) {
	if t := s.tails[key]; t != nil {
		if ended {
			t.end()
		}
		return
	}
	var before []<-chan struct{}
	for k, t := range s.tails {
		if t.ended && k != key {
			before = append(before, t.done)
		}
	}
	var own <-chan struct{} // a task prints one attempt after the other
	if last := s.tails[attemptKey{key.run, key.task, key.attempt - 1}]; last != nil {
		own = last.done
	}
	t := newTail()
	if ended {
		t.end()
	}
	s.tails[key] = t
	s.wg.Go(func() {
		defer close(t.done)
		if own != nil {
			select {
			case <-own:
			case <-s.ctx.Done():
			}
		}
		s.after(before)
		select {
		case s.slot <- struct{}{}:
			s.copy(s.ctx, key, true)
			<-s.slot
		case <-s.ctx.Done():
		}
	})
}

func newTail() *tail { return &tail{over: make(chan struct{}), done: make(chan struct{})} }

// end notes that the attempt has ended. The streamer's lock is held.
func (t *tail) end() {
	if !t.ended {
		t.ended = true
		close(t.over)
	}
}

// after waits for others, but not long for each: a log may come late.
func (s *streamer) after(others []<-chan struct{}) {
	limit := time.NewTimer(orderWait)
	defer limit.Stop()
	for _, done := range others {
		select {
		case <-done:
			limit.Reset(orderWait)
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
	s.mu.Lock()
	for _, t := range s.tails {
		t.end()
	}
	s.mu.Unlock()
	s.wg.Wait()
	s.stop()
	for _, at := range begun(tasks) {
		key := attemptKey{r.GetRun(), at.task, at.GetNumber()}
		if at.GetLogBytes() > s.printed(key) && ctx.Err() == nil {
			s.copy(ctx, key, false)
		}
	}
}

// taskAttempt is an attempt with the name of its task.
type taskAttempt struct {
	*executionv1.Attempt
	task string
}

// begun returns the attempts of tasks in the order in which they began.
func begun(tasks []*executionv1.Task) []taskAttempt {
	var all []taskAttempt
	for _, t := range tasks {
		for _, at := range t.GetAttempts() {
			if at.GetStartedAt() != nil {
				all = append(all, taskAttempt{at, t.GetName()})
			}
		}
	}
	slices.SortStableFunc(all, func(a, b taskAttempt) int { return a.GetStartedAt().AsTime().Compare(b.GetStartedAt().AsTime()) })
	return all
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
		t = newTail()
		t.end()
		s.tails[key] = t
		close(t.done)
	}
	t.printed = to
}

// errGap ends a stream that has lost a part: the task printed faster than can be followed.
var errGap = errors.New("a part of the log is missing")

// copy prints a log from where an earlier call left it. A stream that breaks is opened again. What could not be followed
// is in the log that is stored when the attempt ends, so a stream with a gap goes on after that.
func (s *streamer) copy(ctx context.Context, key attemptKey, follow bool) {
	if s.wanted != nil && !s.wanted(key.task, key.attempt) {
		return
	}
	w := &lineWriter{s: s, prefix: key.task + " │ "}
	defer w.flush()
	wait := follow
	for try := 0; try < logTries && ctx.Err() == nil; try++ {
		req := &executionv1.WatchTaskLogRequest{
			RequestId: s.id, Run: key.run, Task: key.task, Attempt: key.attempt, Offset: s.printed(key), Follow: follow, Since: s.part.since,
			Records: s.part.timestamps,
		}
		if req.GetOffset() == 0 {
			req.Tail = s.part.tail
		}
		view := &logView{times: s.part.timestamps}
		err := readLog(ctx, s.c, req, func(m *executionv1.WatchTaskLogResponse) error {
			p, at := m.GetData(), m.GetOffset()
			if lost := at - s.printed(key); lost > 0 && m.GetGap() {
				if wait {
					return errGap
				}
				w.flush()
				w.write([]byte(missing(lost)))
			}
			w.write(view.text(m, p))
			s.advance(key, following(m))
			return nil
		})
		if err == nil {
			return
		}
		if errors.Is(err, errGap) {
			s.awaitEnd(ctx, key)
			wait = false
			continue
		}
		select {
		case <-time.After(resume):
		case <-ctx.Done():
		}
	}
}

// following is the offset that follows a piece. A supervisor of before does not say it.
func following(m *executionv1.WatchTaskLogResponse) int64 {
	return max(m.GetNextOffset(), m.GetOffset()+int64(len(m.GetData())))
}

func missing(bytes int64) string { return fmt.Sprintf("[%d bytes are missing here]\n", bytes) }

// awaitEnd returns when the attempt has ended.
func (s *streamer) awaitEnd(ctx context.Context, key attemptKey) {
	s.mu.Lock()
	t := s.tails[key]
	s.mu.Unlock()
	if t == nil {
		return
	}
	if s.note != nil {
		printf(s.note, "%s prints faster than can be followed: its output goes on when it has ended\n", key.task)
	}
	select {
	case <-t.over:
	case <-ctx.Done():
	}
}

// readLog calls each with every piece.
func readLog(ctx context.Context, c *client, req *executionv1.WatchTaskLogRequest, each func(*executionv1.WatchTaskLogResponse) error) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
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
		if err := each(m); err != nil {
			return err
		}
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
