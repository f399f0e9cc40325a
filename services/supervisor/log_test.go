package supervisor_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/formicary/formicary/libs/bus"
	"github.com/formicary/formicary/libs/errs"
	"github.com/formicary/formicary/libs/logfile"
	"github.com/formicary/formicary/libs/testkit"
	antv1 "github.com/formicary/formicary/proto/gen/formicary/ant/v1"
	executionv1 "github.com/formicary/formicary/proto/gen/formicary/execution/v1"
)

// objects answers GET like an object store.
type objects map[string]string

func (o objects) ServeHTTP(rw http.ResponseWriter, r *http.Request) {
	text, ok := o[strings.TrimPrefix(r.URL.Path, "/formicary/")]
	if !ok {
		http.NotFound(rw, r)
		return
	}
	rw.Header().Set("ETag", `"d41d8cd98f00b204e9800998ecf8427e"`)
	http.ServeContent(rw, r, "", time.Unix(1e9, 0), strings.NewReader(text))
}

// watch reads a log to its end, or until it has at least n bytes.
func (w *world) watch(req *executionv1.WatchTaskLogRequest, n int) (string, []*executionv1.WatchTaskLogResponse) {
	w.t.Helper()
	ctx, cancel := context.WithTimeout(w.t.Context(), 20*time.Second)
	defer cancel()
	stream, err := w.logs.WatchTaskLog(ctx, req)
	if err != nil {
		w.t.Fatal(err)
	}
	var text bytes.Buffer
	var all []*executionv1.WatchTaskLogResponse
	for n == 0 || text.Len() < n {
		res, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			w.t.Fatal(err)
		}
		text.Write(res.GetData())
		all = append(all, res)
	}
	return text.String(), all
}

// say sends a chunk as an ant of before does, unacknowledged, and waits until the bus has it.
func (w *world) say(uid string, offset int64, data string) {
	w.t.Helper()
	w.sendChunk(uid, &antv1.LogChunk{Offset: offset, Data: []byte(data)})
}

func (w *world) sendChunk(uid string, c *antv1.LogChunk) {
	w.t.Helper()
	stored := func() uint64 {
		s, err := w.js.Stream(w.t.Context(), bus.Logs)
		if err != nil {
			w.t.Fatal(err)
		}
		return s.CachedInfo().State.Msgs
	}
	before := stored()
	payload, err := proto.Marshal(c)
	if err == nil {
		err = w.nc.Publish("formicary.log."+uid, payload)
	}
	if err != nil {
		w.t.Fatal(err)
	}
	testkit.Eventually(w.t, 20*time.Second, "the chunk is stored", func() bool { return stored() > before })
}

func TestLogIsWholeFromLiveToFinal(t *testing.T) {
	t.Parallel()
	store := objects{}
	s3 := httptest.NewServer(store)
	t.Cleanup(s3.Close)
	w := newWorldWith(t, strings.TrimPrefix(s3.URL, "http://"))
	a := w.newAnt("ant1", 2, func(*antv1.Work) *antv1.Result { return nil })
	id := w.admit(planOf(task("a"), task("quiet")))
	uid, quiet := a.live("a"), a.live("quiet")
	w.say(uid, 0, "one\n")
	w.say(uid, 4, "two\n")
	req := &executionv1.WatchTaskLogRequest{RequestId: id, Task: "a"}
	if got, _ := w.watch(req, 0); got != "one\ntwo\n" {
		t.Errorf("what is there: %q", got)
	}
	if got, _ := w.watch(&executionv1.WatchTaskLogRequest{RequestId: id, Task: "a", Offset: 6}, 0); got != "o\n" {
		t.Errorf("from offset 6: %q", got)
	}
	follow := &executionv1.WatchTaskLogRequest{RequestId: id, Task: "a", Follow: true}
	if got, _ := w.watch(follow, 8); got != "one\ntwo\n" {
		t.Errorf("live: %q", got)
	}
	whole := make(chan string)
	go func() {
		got, _ := w.watch(follow, 0)
		whole <- got
	}()
	w.say(uid, 4, "two\n") // again, after a reconnect
	w.say(uid, 8, "three\n")
	text := "one\ntwo\nthree\nfour\n" // the last line was dropped from the live tail
	key := "logs/" + uid
	store[key] = text
	a.end(uid, &antv1.Result{Outcome: antv1.Result_SUCCEEDED, LogKey: key, LogBytes: int64(len(text))})
	if got := <-whole; got != text {
		t.Errorf("to the end: %q", got)
	}
	if got, all := w.watch(&executionv1.WatchTaskLogRequest{RequestId: id, Task: "a", Offset: 8, Attempt: 1}, 0); got != text[8:] || all[0].GetAttempt() != 1 {
		t.Errorf("ended, from offset 8: %q", got)
	}
	a.end(quiet, success())
	w.becomes(id, executionv1.Execution_COMPLETED)
	if got, _ := w.watch(&executionv1.WatchTaskLogRequest{RequestId: id, Task: "quiet", Follow: true}, 0); got != "" {
		t.Errorf("without output: %q", got)
	}
	stream, err := w.logs.WatchTaskLog(t.Context(), &executionv1.WatchTaskLogRequest{RequestId: id, Task: "nobody"})
	if err == nil {
		_, err = stream.Recv()
	}
	if errs.Reason(err) != "TASK_NOT_FOUND" {
		t.Errorf("unknown task: %v", err)
	}
	w.settled()
}

func TestLogIsFollowedBeforeItBegins(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	id := w.admit(planOf(task("a")))
	w.becomes(id, executionv1.Execution_READY)
	done := make(chan string)
	go func() {
		got, _ := w.watch(&executionv1.WatchTaskLogRequest{RequestId: id, Task: "a", Follow: true}, 0)
		done <- got
	}()
	a := w.newAnt("ant1", 1, func(*antv1.Work) *antv1.Result { return nil })
	uid := a.live("a")
	w.say(uid, 0, "hello\n")
	a.end(uid, success())
	if got := <-done; got != "hello\n" {
		t.Errorf("followed: %q", got)
	}
	w.becomes(id, executionv1.Execution_COMPLETED)
	w.settled()
}

// TestViewersAreToldAndDoNotAsk: many follow a log of which nothing is heard. They hear of its end at once, and ask the
// database about it rarely.
func TestViewersAreToldAndDoNotAsk(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	a := w.newAnt("ant1", 2, func(*antv1.Work) *antv1.Result { return nil })
	id := w.admit(planOf(task("a")))
	uid := a.live("a")
	const viewers = 40
	var all sync.WaitGroup
	for range viewers {
		all.Go(func() {
			if got, _ := w.watch(&executionv1.WatchTaskLogRequest{RequestId: id, Task: "a", Follow: true}, 0); got != "" {
				t.Errorf("read %q", got)
			}
		})
	}
	asked := func() int64 { return w.reads.Stat().AcquireCount() }
	testkit.Eventually(t, 20*time.Second, "all of them have begun", func() bool { return asked() >= 2*viewers })
	began, before := time.Now(), asked()
	<-time.After(3 * time.Second)
	// All of them together may ask once in 10 s each.
	if n, most := asked()-before, viewers*int64(time.Since(began)/time.Second+1)/6; n > most {
		t.Errorf("%d viewers asked %d times within %s", viewers, n, time.Since(began))
	}
	a.end(uid, success())
	ended := time.Now()
	all.Wait()
	if took := time.Since(ended); took > 5*time.Second {
		t.Errorf("the end was seen after %s", took)
	}
	w.becomes(id, executionv1.Execution_COMPLETED)
	w.settled()
}

// printed makes the records of what a task printed a second apart, and the stored log. Line i is the stream and the text
// of parts[i].
func printed(t *testing.T, began time.Time, parts ...string) (records []string, stored []byte) {
	t.Helper()
	var b bytes.Buffer
	f := logfile.NewWriter(&b)
	for i, p := range parts {
		at := began.Add(time.Duration(i) * time.Second)
		records = append(records, string(logfile.Append(nil, logfile.Stream(p[0]), at, []byte(p[1:]))))
		if err := f.Write(logfile.Stream(p[0]), at, []byte(p[1:])); err != nil {
			t.Fatal(err)
		}
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	return records, b.Bytes()
}

// TestLogOfRecords: the parts of a log that is kept as records, while it is printed and after it has ended.
func TestLogOfRecords(t *testing.T) {
	t.Parallel()
	store := objects{}
	s3 := httptest.NewServer(store)
	t.Cleanup(s3.Close)
	w := newWorldWith(t, strings.TrimPrefix(s3.URL, "http://"))
	a := w.newAnt("ant1", 3, func(*antv1.Work) *antv1.Result { return nil })
	id := w.admit(planOf(task("a"), task("old"), task("quiet")))
	uid, old := a.live("a"), a.live("old")
	began := time.Date(2026, 11, 29, 16, 0, 0, 0, time.UTC)
	records, stored := printed(t, began, "Oone\n", "Etwo\n", "Othr", "Oee\n", "Nnote\n", "Olast")
	offset, line := int64(0), int64(0)
	for _, r := range records {
		w.sendChunk(uid, &antv1.LogChunk{Offset: offset, Line: line, Data: []byte(r), Format: antv1.LogFormat_LOG_FORMAT_RECORDS})
		offset += int64(len(r))
		if r != records[2] {
			line++
		}
	}
	w.sendChunk(old, &antv1.LogChunk{Data: []byte("one\ntwo\nthree\n")})
	at := func(n int) (offset int64) {
		for _, r := range records[:n] {
			offset += int64(len(r))
		}
		return offset
	}
	since := timestamppb.New(began.Add(2 * time.Second))
	check := func(when string) {
		for name, c := range map[string]struct {
			req  *executionv1.WatchTaskLogRequest
			want string
		}{
			"all":                 {&executionv1.WatchTaskLogRequest{}, "one\ntwo\nthree\nnote\nlast"},
			"records":             {&executionv1.WatchTaskLogRequest{Records: true}, strings.Join(records, "")},
			"offset":              {&executionv1.WatchTaskLogRequest{Offset: at(3)}, "ee\nnote\nlast"},
			"within a record":     {&executionv1.WatchTaskLogRequest{Offset: at(3) + 5}, "ee\nnote\nlast"},
			"tail 1":              {&executionv1.WatchTaskLogRequest{Tail: 1}, "last"},
			"tail 3":              {&executionv1.WatchTaskLogRequest{Tail: 3}, "three\nnote\nlast"},
			"tail of more":        {&executionv1.WatchTaskLogRequest{Tail: 30}, "one\ntwo\nthree\nnote\nlast"},
			"since":               {&executionv1.WatchTaskLogRequest{Since: since}, "three\nnote\nlast"},
			"lines":               {&executionv1.WatchTaskLogRequest{FromLine: 2, ToLine: 3}, "two\nthree\n"},
			"first line":          {&executionv1.WatchTaskLogRequest{ToLine: 1}, "one\n"},
			"stderr":              {&executionv1.WatchTaskLogRequest{Stream: "stderr"}, "two\n"},
			"records of stderr":   {&executionv1.WatchTaskLogRequest{Stream: "stderr", Records: true}, records[1]},
			"an older ant":        {&executionv1.WatchTaskLogRequest{Task: "old", Records: true, Since: since}, "one\ntwo\nthree\n"},
			"tail of an older":    {&executionv1.WatchTaskLogRequest{Task: "old", Tail: 2}, "two\nthree\n"},
			"tail of older, more": {&executionv1.WatchTaskLogRequest{Task: "old", Tail: 20}, "one\ntwo\nthree\n"},
		} {
			if c.req.GetTask() == "" {
				c.req.Task = "a"
			}
			c.req.RequestId = id
			got, all := w.watch(c.req, 0)
			if got != c.want {
				t.Errorf("%s, %s: %q, want %q", when, name, got, c.want)
			}
			if last := all[len(all)-1]; name == "all" && last.GetNextOffset() != offset {
				t.Errorf("%s: the next offset is %d, want %d", when, last.GetNextOffset(), offset)
			}
		}
		for pattern, want := range map[string]string{
			"three": "a 1:3 stdout three, old 1:3 stdout three; 2 in 2", "two": "a 1:2 stderr two, old 1:2 stdout two; 2 in 2", "nothing": "; 0 in 2",
			"^(no|la)": "a 1:4 note note, a 1:5 stdout last; 2 in 2",
		} {
			if got := w.search(&executionv1.SearchLogsRequest{RequestId: id, Pattern: pattern, Regexp: true, Tasks: []string{"a", "old"}}); got != want {
				t.Errorf("%s, search %s: %q, want %q", when, pattern, got, want)
			}
		}
	}
	check("running")
	w.watch(&executionv1.WatchTaskLogRequest{RequestId: id, Task: "a", Follow: true, Tail: 2}, 9) // note, last
	store["logs/a"], store["logs/old"] = string(stored), "one\ntwo\nthree\n"
	a.end(uid, &antv1.Result{
		Outcome: antv1.Result_SUCCEEDED, LogKey: "logs/a", LogBytes: offset, LogFormat: antv1.LogFormat_LOG_FORMAT_RECORDS, LogStoredBytes: int64(len(stored)),
	})
	a.end(old, &antv1.Result{Outcome: antv1.Result_SUCCEEDED, LogKey: "logs/old", LogBytes: 14})
	a.end(a.live("quiet"), success())
	w.becomes(id, executionv1.Execution_COMPLETED)
	check("ended")
	if got := w.search(&executionv1.SearchLogsRequest{RequestId: id, Pattern: "t", Limit: 2}); got != "a 1:2 stderr two, a 1:3 stdout three; 2 in 1, more" {
		t.Errorf("limited: %q", got)
	}
	if got := w.search(&executionv1.SearchLogsRequest{RequestId: id, Pattern: "t", Limit: 2, Since: since}); got != "a 1:3 stdout three, a 1:4 note note; 2 in 1, more" {
		t.Errorf("since a time: %q", got)
	}
	delete(store, "logs/a")
	if got := w.search(&executionv1.SearchLogsRequest{RequestId: id, Pattern: "one"}); got != "old 1:1 stdout one; 1 in 2, missing a/1: its bytes are not in the object store (any more)" {
		t.Errorf("a log is missing: %q", got)
	}
	store["logs/a"] = strings.Repeat("x", len(stored))
	if got := w.search(&executionv1.SearchLogsRequest{RequestId: id, Pattern: "one"}); got != "old 1:1 stdout one; 1 in 2, missing a/1: it cannot be read" {
		t.Errorf("a log is damaged: %q", got)
	}
	for reason, req := range map[string]*executionv1.SearchLogsRequest{
		"PATTERN_INVALID": {RequestId: id, Pattern: "(", Regexp: true}, "TASK_NOT_FOUND": {RequestId: id, Pattern: "x", Tasks: []string{"nobody"}},
	} {
		if got := w.search(req); got != reason {
			t.Errorf("want %s, got %s", reason, got)
		}
	}
	w.settled()
}

// search shows what a search finds, or the reason why it fails.
func (w *world) search(req *executionv1.SearchLogsRequest) string {
	w.t.Helper()
	ctx, cancel := context.WithTimeout(w.t.Context(), 20*time.Second)
	defer cancel()
	stream, err := w.logs.SearchLogs(ctx, req)
	var found []string
	for err == nil {
		var m *executionv1.SearchLogsResponse
		if m, err = stream.Recv(); err != nil {
			break
		}
		if e := m.GetEnd(); e != nil {
			text := fmt.Sprintf("%s; %d in %d", strings.Join(found, ", "), e.GetFound(), e.GetLogs())
			if e.GetMore() {
				text += ", more"
			}
			for _, missing := range e.GetMissing() {
				text += ", missing " + missing
			}
			return text
		}
		found = append(found, fmt.Sprintf("%s %d:%d %s %s", m.GetTask(), m.GetAttempt(), m.GetLine(), m.GetStream(), m.GetText()))
	}
	return errs.Reason(err)
}
