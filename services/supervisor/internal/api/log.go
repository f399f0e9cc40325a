package api

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"time"

	"github.com/google/uuid"
	"google.golang.org/grpc"

	"github.com/formicary/formicary/libs/logfile"
	executionv1 "github.com/formicary/formicary/proto/gen/formicary/execution/v1"
	jobv1 "github.com/formicary/formicary/proto/gen/formicary/job/v1"
	"github.com/formicary/formicary/services/supervisor/internal/events"
	"github.com/formicary/formicary/services/supervisor/internal/execution"
)

// Tail reads logs of attempts that run.
type Tail interface {
	Read(ctx context.Context, uid uuid.UUID, follow bool, out chan<- events.Chunk) error
}

// Objects reads final logs.
type Objects interface {
	Open(ctx context.Context, key string, offset int64) (io.ReadCloser, error)
	Range(ctx context.Context, key string, offset, length int64) (io.ReadCloser, error)
}

// Moves tells who waits for a task that it changed. It may miss one.
type Moves interface {
	Watch(key execution.Key, task string) (moved <-chan struct{}, stop func(), err error)
}

// Logs serves the output of tasks.
type Logs struct {
	executionv1.UnimplementedLogServiceServer
	Reader Reader
	Blobs  Objects
	Tail   Tail
	Moves  Moves
	// Requests tells of requests that were not launched yet.
	Requests jobv1.JobRequestServiceClient
}

const (
	pieceSize = 64 << 10
	heartbeat = 10 * time.Second
	// lookEvery is how often a watcher looks after itself, without a question to the database.
	lookEvery = 500 * time.Millisecond
	// askEvery is how often it asks the database whether its attempt began or ended, besides when it is told; a third of it
	// more or less, so that viewers do not come together. A thousand of them cost a hundred questions a second.
	askEvery = 10 * time.Second
)

// WatchTaskLog sends the log of an attempt: the live tail while it runs, what is missing of it from the final object
// once it has ended; with follow also of those that come after it, see follow.go.
func (l *Logs) WatchTaskLog(req *executionv1.WatchTaskLogRequest, stream grpc.ServerStreamingServer[executionv1.WatchTaskLogResponse]) error {
	if err := position(req); err != nil {
		return err
	}
	w := &watch{Logs: l, stream: stream, req: req, attempt: int(max(req.GetAttempt(), req.GetFromAttempt())), next: req.GetOffset(), beat: time.Now()}
	defer w.hearNothing()
	if err := w.runs(stream.Context()); !errors.Is(err, errEnough) {
		return err
	}
	return nil
}

// watch is one call.
type watch struct {
	*Logs
	stream  grpc.ServerStreamingServer[executionv1.WatchTaskLogResponse]
	req     *executionv1.WatchTaskLogRequest
	run     execution.View
	attempt int
	next    int64 // offset of the first byte that was not sent
	beat    time.Time
	asked   time.Time       // when the database was asked
	moved   <-chan struct{} // its task changed
	leave   func()          // ends moved
	begun   bool            // the wanted part of the first attempt was found
}

// ask asks the database about the log.
func (w *watch) ask(ctx context.Context) (execution.Log, error) {
	early := time.Duration(rand.Int64N(int64(askEvery / 3))) // #nosec G404 -- spreads questions
	w.asked = time.Now().Add(-early)
	return w.Reader.Log(ctx, w.run.ID, w.req.GetTask(), w.attempt)
}

// pause waits until it is time to ask again, at the latest when the last answer is that old, and shows the caller that the
// stream lives.
func (w *watch) pause(ctx context.Context, age time.Duration) error {
	look := time.NewTicker(lookEvery)
	defer look.Stop()
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-w.moved:
			return nil
		case <-look.C:
			if err := w.alive(); err != nil || time.Since(w.asked) > age {
				return err
			}
		}
	}
}

func (w *watch) alive() error {
	if time.Since(w.beat) < heartbeat {
		return nil
	}
	w.beat = time.Now()
	return w.stream.Send(&executionv1.WatchTaskLogResponse{Offset: w.next, Attempt: int32(w.attempt), Run: int32(w.run.Key.Run)})
}

// tail sends what comes over the bus until the attempt has ended.
func (w *watch) tail(ctx context.Context, log execution.Log) (execution.Log, error) {
	reading, cancel := context.WithCancel(ctx)
	chunks, ended := make(chan events.Chunk, 16), make(chan struct{}, 1)
	read := func() {
		_ = w.Tail.Read(reading, log.UID, true, chunks) // whatever it was, it is begun again while the attempt lives
		ended <- struct{}{}
	}
	go read()
	running := true
	defer func() {
		cancel()
		if running {
			<-ended
		}
	}()
	look := time.NewTicker(lookEvery)
	defer look.Stop()
	for {
		select {
		case <-ctx.Done():
			return log, ctx.Err()
		case c := <-chunks:
			if err := w.chunk(c); err != nil {
				return log, err
			}
			if !c.End {
				continue
			}
		case <-ended:
			running = false // it begins again below, and what was sent is passed over
			continue
		case <-w.moved:
		case <-look.C:
			if err := w.alive(); err != nil {
				return log, err
			}
			if !running {
				running = true
				go read()
			}
			if time.Since(w.asked) <= askEvery {
				continue
			}
		}
		now, err := w.ask(ctx)
		if err != nil || now.State.Terminal() {
			return now, err
		}
	}
}

// stored sends what the bus has now.
func (w *watch) stored(ctx context.Context, log execution.Log) error {
	return w.each(ctx, log, w.chunk)
}

// each calls do with the chunks that the bus has now.
func (l *Logs) each(ctx context.Context, log execution.Log, do func(events.Chunk) error) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	chunks, ended := make(chan events.Chunk, 16), make(chan error, 1)
	go func() {
		ended <- l.Tail.Read(ctx, log.UID, false, chunks)
		close(chunks)
	}()
	var failed error
	for c := range chunks {
		if failed == nil {
			failed = do(c)
		}
		if failed != nil {
			cancel()
		}
	}
	cancel()
	if err := <-ended; failed == nil {
		failed = err
	}
	return failed
}

// chunk sends what is new of a chunk.
func (w *watch) chunk(c events.Chunk) error {
	gap := c.Offset > w.next
	if c.Records {
		if c.Offset+int64(len(c.Data)) <= w.next {
			return nil
		}
		err := w.piece(logfile.Piece{Offset: c.Offset, Line: c.Line, Records: c.Data}, gap)
		if errors.Is(err, logfile.ErrRecord) {
			return nil // what an ant sends wrongly is a gap
		}
		return err
	}
	if !gap {
		skip := w.next - c.Offset
		if skip >= int64(len(c.Data)) {
			return nil
		}
		c.Data, c.Offset = c.Data[skip:], w.next
	}
	return w.send(&executionv1.WatchTaskLogResponse{Offset: c.Offset, Data: c.Data, Gap: gap}, c.Offset+int64(len(c.Data)))
}

// send sends data that ends at an offset.
func (w *watch) send(m *executionv1.WatchTaskLogResponse, next int64) error {
	w.next = next
	if len(m.GetData()) == 0 {
		return nil
	}
	w.beat = time.Now()
	m.Attempt, m.Run, m.NextOffset = int32(w.attempt), int32(w.run.Key.Run), next
	return w.stream.Send(m)
}

// rest sends what is missing from the final object.
func (w *watch) rest(ctx context.Context, log execution.Log) error {
	switch {
	case w.next >= log.Bytes:
		return nil
	case log.Format == execution.LogRecords:
		return w.restOfRecords(ctx, log)
	case log.Format != execution.LogText:
		return errFormat
	}
	object, err := w.Blobs.Open(ctx, log.Key, w.next)
	if err != nil {
		return err
	}
	defer func() { _ = object.Close() }() // it was only read
	for {
		piece := make([]byte, pieceSize) // the stream may keep it
		n, err := io.ReadFull(object, piece)
		if serr := w.send(&executionv1.WatchTaskLogResponse{Offset: w.next, Data: piece[:n]}, w.next+int64(n)); serr != nil {
			return serr
		}
		switch {
		case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
			return nil
		case err != nil:
			return fmt.Errorf("read the log of attempt %s: %w", log.UID, err)
		}
	}
}
