package supervisor_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/formicary/formicary/libs/bus"
	"github.com/formicary/formicary/libs/errs"
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

// say sends a chunk as an ant does, unacknowledged, and waits until the bus has it.
func (w *world) say(uid string, offset int64, data string) {
	w.t.Helper()
	stored := func() uint64 {
		s, err := w.js.Stream(w.t.Context(), bus.Logs)
		if err != nil {
			w.t.Fatal(err)
		}
		return s.CachedInfo().State.Msgs
	}
	before := stored()
	payload, err := proto.Marshal(&antv1.LogChunk{Offset: offset, Data: []byte(data)})
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
