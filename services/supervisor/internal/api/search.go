package api

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/formicary/formicary/libs/errs"
	"github.com/formicary/formicary/libs/logfile"
	executionv1 "github.com/formicary/formicary/proto/gen/formicary/execution/v1"
	"github.com/formicary/formicary/services/supervisor/internal/events"
	"github.com/formicary/formicary/services/supervisor/internal/execution"
)

const (
	defaultFound = 1000
	maxMissing   = 100
)

// SearchLogs sends the lines of a run's logs that hold a text.
func (l *Logs) SearchLogs(req *executionv1.SearchLogsRequest, stream grpc.ServerStreamingServer[executionv1.SearchLogsResponse]) error {
	ctx := stream.Context()
	query, err := logfile.Literal(req.GetPattern())
	if req.GetRegexp() {
		query, err = logfile.Pattern(req.GetPattern())
	}
	if err != nil {
		return errs.Invalid("PATTERN_INVALID", "pattern: %v", err)
	}
	v, err := find(ctx, l.Reader, req.GetRequestId(), req.GetRun())
	if err != nil {
		return err
	}
	for _, task := range req.GetTasks() {
		if _, err := l.Reader.Log(ctx, v.ID, task, 0); err != nil {
			return err
		}
	}
	s := &search{Logs: l, stream: stream, query: query, run: int32(v.Key.Run), most: req.GetLimit(), end: &executionv1.SearchEnd{}}
	if s.most == 0 {
		s.most = defaultFound
	}
	if req.GetSince() != nil {
		s.since = req.GetSince().AsTime()
	}
	err = l.Reader.Logs(ctx, v.ID, req.GetTasks(), int(req.GetAttempt()), func(log execution.Log) (bool, error) { return s.log(ctx, log) })
	if err != nil {
		return err
	}
	return stream.Send(&executionv1.SearchLogsResponse{Run: s.run, End: s.end})
}

// search is one call.
type search struct {
	*Logs
	stream grpc.ServerStreamingServer[executionv1.SearchLogsResponse]
	query  *logfile.Query
	run    int32
	most   int32
	since  time.Time
	end    *executionv1.SearchEnd
}

// log looks at one. A log that cannot be read keeps none of the others from being looked at.
func (s *search) log(ctx context.Context, log execution.Log) (enough bool, err error) {
	var unsent error
	found := func(m logfile.Match) (bool, error) {
		if m.Time.Unix() > 0 && m.Time.Before(s.since) {
			return false, nil
		}
		if s.end.Found == s.most {
			s.end.More = true
			return true, nil
		}
		s.end.Found++
		unsent = s.stream.Send(s.message(log, m))
		return unsent != nil, unsent
	}
	s.end.Logs++
	switch {
	case log.Key != "" && log.Format == execution.LogRecords:
		var r *logfile.Reader
		if r, err = logfile.Open(ctx, logObject{s.Blobs, log.Key}, log.Stored); err == nil {
			err = r.Search(ctx, s.query, found)
		}
	case log.Key != "" && log.Format == execution.LogText:
		err = s.text(ctx, log, found)
	case log.Key != "":
		err = errFormat
	case log.State.Terminal() && log.Bytes > 0:
		err = errNotKept
	case !log.State.Terminal():
		err = s.live(ctx, log, found)
	}
	switch {
	case unsent != nil:
		return true, unsent
	case ctx.Err() != nil:
		return true, ctx.Err()
	case err != nil:
		s.end.Logs--
		if len(s.end.GetMissing()) < maxMissing {
			s.end.Missing = append(s.end.Missing, fmt.Sprintf("%s/%d: %v", log.Task, log.Attempt, reason(err)))
		}
	}
	return s.end.GetMore(), nil
}

var errNotKept = errs.NotFound("LOG_NOT_FOUND", "it is not kept any more")

// reason is what a caller may know of a failure.
func reason(err error) string {
	if e, ok := errors.AsType[*errs.Error](err); ok {
		return e.Message
	}
	return "it cannot be read"
}

func (s *search) message(log execution.Log, m logfile.Match) *executionv1.SearchLogsResponse {
	out := &executionv1.SearchLogsResponse{
		Task: log.Task, Attempt: int32(log.Attempt), Run: s.run, Line: m.Line, Text: m.Text, Cut: m.Cut, Offset: m.Offset, Stream: "stdout",
	}
	for name, id := range streams {
		if id == m.Stream {
			out.Stream = name
		}
	}
	if m.Time.Unix() > 0 {
		out.Time = timestamppb.New(m.Time)
	}
	return out
}

// text looks at the final log of an older ant, which is no records.
func (s *search) text(ctx context.Context, log execution.Log, found func(logfile.Match) (bool, error)) error {
	body, err := s.Blobs.Open(ctx, log.Key, 0)
	if err != nil {
		return err
	}
	defer func() { _ = body.Close() }() // it was only read
	scan, lines := s.query.Scan(), int64(0)
	p := make([]byte, pieceSize)
	for {
		n, err := io.ReadFull(body, p)
		if enough, err := scan.Piece(asRecords(&lines, p[:n]), found); enough || err != nil {
			return err
		}
		switch {
		case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
			_, err := scan.Close(found)
			return err
		case err != nil:
			return fmt.Errorf("read the log of attempt %s: %w", log.UID, err)
		}
	}
}

// asRecords makes records of text whose times and streams are not known.
func asRecords(lines *int64, text []byte) logfile.Piece {
	p := logfile.Piece{Line: *lines, Records: logfile.Append(nil, logfile.Stdout, time.Time{}, text)}
	_, ended := logfile.Size(text)
	*lines += ended
	return p
}

// live looks at what the bus has of a log.
func (s *search) live(ctx context.Context, log execution.Log, found func(logfile.Match) (bool, error)) error {
	scan, lines, next, enough := s.query.Scan(), int64(0), int64(0), false
	err := s.each(ctx, log, func(c events.Chunk) (err error) {
		if c.Offset < next || enough { // again, after a reconnect
			return nil
		}
		next = c.Offset + int64(len(c.Data))
		p := logfile.Piece{Offset: c.Offset, Line: c.Line, Records: c.Data}
		if !c.Records {
			p = asRecords(&lines, c.Data)
		}
		enough, err = scan.Piece(p, found)
		return err
	})
	if err == nil && !enough {
		_, err = scan.Close(found)
	}
	return err
}
