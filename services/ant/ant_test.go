package ant_test

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/nats-io/nats.go"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/structpb"

	"github.com/formicary/formicary/libs/bus"
	"github.com/formicary/formicary/libs/logfile"
	"github.com/formicary/formicary/libs/testkit"
	antv1 "github.com/formicary/formicary/proto/gen/formicary/ant/v1"
	"github.com/formicary/formicary/services/ant"
	"github.com/formicary/formicary/services/ant/internal/spool"
)

func TestSuccess(t *testing.T) {
	c := newColony(t)
	c.start(c.config())
	w := script(`echo "$FORMICARY_JOB_ID $FORMICARY_TASK $FORMICARY_ATTEMPT $FORMICARY_IDEMPOTENCY_KEY $CI $MINE"`, "echo ::set-output name=v::42")
	w.Spec.Environment = map[string]string{"MINE": "mine", "FORMICARY_TASK": "forged"}
	w.Spec.ReportStdout = true
	uid := c.dispatch(w)
	r := c.result(uid)
	const log = "job-1 build 1 key-1 true mine\n::set-output name=v::42\n"
	same(t, "outcome", r.GetOutcome(), antv1.Result_SUCCEEDED)
	same(t, "class, message, code", fmt.Sprint(r.GetFailureClass(), r.GetMessage(), r.GetExitCode()), "0")
	same(t, "outputs", r.GetOutputs(), map[string]string{"v": "42"})
	same(t, "body", r.GetBody(), log)
	same(t, "ant and session", r.GetAntId()+r.GetSession(), antID+c.sessions[0])
	c.settled()
	c.do(func() {
		same(t, "log", c.logs[r.GetLogKey()], log)
		same(t, "digest", r.GetLogSha256(), c.logs[r.GetLogKey()+".sha256"])
		same(t, "bytes", r.GetLogBytes(), len(c.logs[r.GetLogKey()+".records"]))
		same(t, "format", r.GetLogFormat(), antv1.LogFormat_LOG_FORMAT_RECORDS)
		same(t, "claims", len(c.claims), 1)
		same(t, "first sync", c.syncs[0].GetGeneration(), 1)
		same(t, "results", len(c.results[uid]), 1)
	})
}

func TestNothingPrintedCostsNothing(t *testing.T) {
	c := newColony(t)
	chunks := c.tail(t)
	c.start(c.config())
	r := c.result(c.dispatch(script("true")))
	same(t, "log", fmt.Sprint(r.GetLogKey(), r.GetLogBytes(), r.GetLogSha256()), "0")
	c.settled()
	same(t, "chunks", chunks.Load(), 0)
	c.do(func() { same(t, "uploads", len(c.logs), 0) })
}

// tail counts the live chunks of all attempts.
func (c *colony) tail(t *testing.T) *atomic.Int32 {
	n := &atomic.Int32{}
	sub, err := c.nc.Subscribe("formicary.log.*", func(*nats.Msg) { n.Add(1) })
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = sub.Unsubscribe() })
	return n
}

func TestFailureTellsTheLastLines(t *testing.T) {
	c := newColony(t)
	c.start(c.config())
	w := script("echo token is hunter2-hunter2", "printf '::set-output name=t::%s\\n' hunter2-hunter2", "exit 3")
	w.Masks = []string{"hunter2-hunter2"}
	w.Spec.ReportStdout = true
	r := c.result(c.dispatch(w))
	same(t, "outcome", fmt.Sprintln(r.GetOutcome(), r.GetFailureClass(), r.GetExitCode()), "FAILED user 3\n")
	same(t, "message", r.GetMessage(), "exit code 3\ntoken is ***\n::set-output name=t::***")
	same(t, "outputs", r.GetOutputs(), map[string]string{"t": "***"})
	same(t, "body", strings.Contains(r.GetBody(), "hunter2"), false)
	w = script("echo aHVudGVyMi1odW50ZXIyCg==", `printf 'hunter2-\nhunter2%%0A\n'`, "echo hunter2-hunter2=1 >> \"$FORMICARY_OUTPUT\"")
	w.Masks = []string{"hunter2-hunter2"}
	r = c.result(c.dispatch(w))
	same(t, "names of outputs", r.GetOutputs(), map[string]string{"***": "1"})
	c.do(func() { same(t, "forms in the log", c.logs[r.GetLogKey()], "***Cg==\n***%0A\n") })
	c.do(func() { same(t, "log", strings.Contains(c.logs[r.GetLogKey()], "hunter2"), false) })
}

func TestLiveLog(t *testing.T) {
	for name, plain := range map[string]bool{"records": false, "text for an older supervisor": true} {
		t.Run(name, func(t *testing.T) { testLiveLog(t, plain) })
	}
}

func testLiveLog(t *testing.T, plain bool) {
	c := newColony(t)
	c.plain = plain
	c.start(c.config())
	sub, err := c.nc.SubscribeSync("formicary.log.*")
	if err != nil {
		t.Fatal(err)
	}
	flag := filepath.Join(t.TempDir(), "flag")
	uid := c.dispatch(script("printf 'one '", "while [ ! -e "+flag+" ]; do sleep 0.02; done", "echo two >&2"))
	var all []byte
	text := func() string {
		if plain {
			return string(all)
		}
		return c.text(all)
	}
	for end := false; !end; {
		m, err := sub.NextMsg(5 * time.Second)
		if err != nil {
			t.Fatalf("after %q: %v", text(), err)
		}
		var chunk antv1.LogChunk
		if err := proto.Unmarshal(m.Data, &chunk); err != nil {
			t.Fatal(err)
		}
		same(t, "subject", m.Subject, "formicary.log."+uid)
		same(t, "offset", chunk.GetOffset(), len(all))
		same(t, "format", chunk.GetFormat() == antv1.LogFormat_LOG_FORMAT_UNSPECIFIED, plain)
		all = append(all, chunk.GetData()...)
		end = chunk.GetEnd()
		if text() == "one " {
			if err := os.WriteFile(flag, nil, 0o600); err != nil {
				t.Fatal(err)
			}
		}
	}
	same(t, "text", text(), "one two\n")
	r := c.result(uid)
	c.do(func() { same(t, "log", c.logs[uid], "one two\n") })
	same(t, "bytes", r.GetLogBytes(), len(all))
	if plain {
		same(t, "format", fmt.Sprint(r.GetLogFormat(), r.GetLogStoredBytes()), "LOG_FORMAT_UNSPECIFIED 0")
		return
	}
	only, err := logfile.AppendText(nil, all, logfile.Stderr)
	same(t, "stderr", fmt.Sprint(string(only), err), "two\n<nil>")
}

func TestLogLimitOfATask(t *testing.T) {
	c := newColony(t)
	conf := c.config()
	conf.LogLimit = 100_000
	c.start(conf)
	for _, limit := range []int64{0, 20_000, 1 << 40} {
		w := script("i=0; while [ $i -lt 5000 ]; do echo line $i; i=$((i+1)); done")
		w.Spec.LogLimit = limit
		uid := c.dispatch(w)
		same(t, "outcome", c.result(uid).GetOutcome(), antv1.Result_SUCCEEDED)
		want := 100_000
		if limit == 20_000 {
			want = 20_000
		}
		c.do(func() {
			if n := len(c.logs[uid+".records"]); n > want+512 || n < want/2 {
				t.Errorf("%d bytes are kept, want %d", n, want)
			}
			if log := c.logs[uid]; !strings.HasPrefix(log, "line 0\n") || !strings.HasSuffix(log, "line 4999\n") || !strings.Contains(log, "left out here") {
				t.Errorf("log %.100q", log)
			}
		})
	}
}

func TestRejected(t *testing.T) {
	c := newColony(t)
	c.start(c.config())
	w := script("true")
	w.Spec.Method = "DOCKER"
	r := c.result(c.dispatch(w))
	same(t, "outcome", r.GetOutcome().String()+" "+r.GetFailureClass(), "FAILED rejected")
	r = c.result(c.dispatch(&antv1.Work{}))
	same(t, "without spec", r.GetOutcome().String()+" "+r.GetFailureClass(), "FAILED rejected")
}

func TestBinaryOutputMakesAValidResult(t *testing.T) {
	c := newColony(t)
	c.start(c.config())
	w := script(`printf '\377\376 end\n'`, `printf '::set-output name=b::\377\n'`, "false")
	w.Spec.ReportStdout = true
	r := c.result(c.dispatch(w))
	same(t, "message", r.GetMessage(), "exit code 1\n\uFFFD end\n::set-output name=b::\uFFFD")
}

func TestTimeout(t *testing.T) {
	c := newColony(t)
	c.start(c.config())
	w := script("echo begun", "sleep 300")
	w.Timeout = durationpb.New(200 * time.Millisecond)
	r := c.result(c.dispatch(w))
	same(t, "outcome", r.GetOutcome().String()+" "+r.GetFailureClass(), "TIMED_OUT timeout")
	same(t, "message", strings.HasPrefix(r.GetMessage(), "timed out after 200ms\nbegun"), true)
}

func TestCancelByHintAndBySync(t *testing.T) {
	c := newColony(t)
	c.start(c.config())
	uid := c.dispatch(script("sleep 300"))
	c.isRunning(uid)
	hint, _ := proto.Marshal(&antv1.StopHint{Uids: []string{uid, "unknown"}})
	if err := c.nc.Publish("formicary.stop."+antID, hint); err != nil {
		t.Fatal(err)
	}
	r := c.result(uid)
	same(t, "outcome", r.GetOutcome().String()+" "+r.GetFailureClass(), "CANCELLED cancelled")
}

func TestLateDoorbells(t *testing.T) {
	c := newColony(t)
	c.start(c.config())
	uid := c.dispatch(script("sleep 0.3"))
	c.isRunning(uid)
	c.ring(uid)              // twice
	c.ring(uuid.NewString()) // not live
	if _, err := c.js.Publish(t.Context(), "formicary.task."+antID, []byte("\xff\xffnonsense")); err != nil {
		t.Fatal(err)
	}
	c.result(uid)
	c.settled()
	c.ring(uid) // after all is over
	testkit.Eventually(t, 20*time.Second, "all doorbells are answered", func() bool {
		s, err := c.js.Stream(t.Context(), bus.Tasks)
		if err != nil {
			return false
		}
		info, err := s.Info(t.Context())
		return err == nil && info.State.Msgs == 0
	})
	c.do(func() { same(t, "results", len(c.results[uid]), 1) })
}

func TestClaimFailureBringsTheDoorbellAgain(t *testing.T) {
	c := newColony(t)
	c.do(func() { c.claimError = errGone })
	c.start(c.config())
	uid := c.dispatch(script("true"))
	testkit.Eventually(t, 20*time.Second, "ant is registered", c.is(func() bool { return len(c.syncs) > 1 }))
	c.do(func() { c.claimError = nil })
	same(t, "outcome", c.result(uid).GetOutcome(), antv1.Result_SUCCEEDED)
}

func TestManyAtOnce(t *testing.T) {
	c := newColony(t)
	c.start(c.config())
	var uids []string
	for i := range 100 {
		uids = append(uids, c.dispatch(script(fmt.Sprintf("exit %d", i%3))))
	}
	for i, uid := range uids {
		same(t, uid, c.result(uid).GetExitCode(), i%3)
	}
	c.settled()
}

func TestLostStreamLosesNoResult(t *testing.T) {
	c := newColony(t)
	c.start(c.config())
	uid := c.dispatch(script("sleep 0.2"))
	c.isRunning(uid)
	if err := c.js.DeleteStream(t.Context(), bus.Results); err != nil {
		t.Fatal(err)
	}
	testkit.Eventually(t, 20*time.Second, "the result waits in the spool", c.is(func() bool {
		return len(c.syncs[len(c.syncs)-1].GetSpooled()) == 1
	}))
	if err := bus.Provision(t.Context(), c.js); err != nil {
		t.Fatal(err)
	}
	same(t, "outcome", c.result(uid).GetOutcome(), antv1.Result_SUCCEEDED)
	c.settled()
}

func TestUnsettledResultIsSentAgain(t *testing.T) {
	c := newColony(t)
	c.do(func() { c.settle = false })
	c.start(c.config())
	uid := c.dispatch(script("true"))
	testkit.Eventually(t, 10*time.Second, "sent twice", c.is(func() bool { return len(c.results[uid]) == 2 }))
	c.do(func() { c.settle = true })
	c.settled()
}

func TestLogThatCannotBeStored(t *testing.T) {
	c := newColony(t)
	c.do(func() { c.uploadCode = http.StatusInternalServerError })
	c.start(c.config())
	r := c.result(c.dispatch(script("echo hello", "false")))
	same(t, "log", r.GetLogKey(), "")
	same(t, "message", r.GetMessage(), "exit code 1\nhello")
}

// Whoever has the address of a log can write it: it is in no error.
func TestNoAddressIsLogged(t *testing.T) {
	c := newColony(t)
	c.blobs.Close()
	deps := c.deps()
	var mu sync.Mutex
	var logged bytes.Buffer
	deps.Log = slog.New(slog.NewTextHandler(writer(func(p []byte) (int, error) {
		mu.Lock()
		defer mu.Unlock()
		return logged.Write(p)
	}), &slog.HandlerOptions{Level: slog.LevelDebug}))
	s, err := ant.New(c.config(), deps)
	if err != nil {
		t.Fatal(err)
	}
	testkit.Run(t, s.Run)
	r := c.result(c.dispatch(script("echo hello", "false")))
	mu.Lock()
	defer mu.Unlock()
	if text := logged.String() + r.String(); !strings.Contains(text, "put log: ") || strings.Contains(text, "http://") {
		t.Error(text)
	}
}

func TestFence(t *testing.T) {
	c := newColony(t)
	conf := c.config()
	conf.FenceAfter = 400 * time.Millisecond
	c.start(conf)
	uid := c.dispatch(script("trap '' TERM", "while :; do sleep 0.1; done"))
	c.isRunning(uid)
	c.do(func() { c.syncError = errGone })
	begun := time.Now()
	r := c.result(uid)
	same(t, "outcome", r.GetOutcome().String()+" "+r.GetFailureClass(), "LOST infra")
	if took := time.Since(begun); took < 300*time.Millisecond || took > 3*time.Second {
		t.Errorf("fenced after %s", took)
	}
	next := c.dispatch(script("true"))
	c.do(func() { c.syncError = nil })
	same(t, "works again", c.result(next).GetOutcome(), antv1.Result_SUCCEEDED)
}

func TestSuperseded(t *testing.T) {
	for name, set := range map[string]func(c *colony){
		"sync":      func(c *colony) { c.syncError = aborted("SESSION_SUPERSEDED") },
		"heartbeat": func(c *colony) { c.beatError = aborted("SESSION_SUPERSEDED") },
	} {
		t.Run(name, func(t *testing.T) {
			c := newColony(t)
			ended := c.start(c.config())
			file := filepath.Join(t.TempDir(), "beats")
			uid := c.dispatch(script("trap '' TERM", "while :; do echo x >>"+file+"; sleep 0.02; done"))
			c.isRunning(uid)
			c.do(func() { set(c) })
			if err := ended.wait(t); err == nil || !strings.Contains(err.Error(), "another ant") {
				t.Errorf("ended with %v", err)
			}
			before, _ := os.ReadFile(file)
			time.Sleep(100 * time.Millisecond)
			after, _ := os.ReadFile(file)
			same(t, "output after the end", len(after), len(before))
		})
	}
}

func TestUnknownAntRegistersAgainAndKeepsItsAttempts(t *testing.T) {
	c := newColony(t)
	c.start(c.config())
	flag := filepath.Join(t.TempDir(), "flag")
	uid := c.dispatch(script("while [ ! -e " + flag + " ]; do sleep 0.02; done"))
	c.isRunning(uid)
	c.do(func() { c.beatError = aborted("ANT_UNKNOWN") })
	testkit.Eventually(t, 20*time.Second, "the first Sync of the new session names the attempt", c.is(func() bool {
		for _, s := range c.syncs {
			if s.GetGeneration() == 2 && s.GetFirst() && len(s.GetRunning()) == 1 {
				return true
			}
		}
		return false
	}))
	if err := os.WriteFile(flag, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	r := c.result(uid)
	same(t, "session", r.GetSession(), c.sessions[1])
	same(t, "outcome", r.GetOutcome(), antv1.Result_SUCCEEDED)
}

func TestLostConsumerIsMadeAgain(t *testing.T) {
	c := newColony(t)
	c.start(c.config())
	c.result(c.dispatch(script("true")))
	if err := c.js.DeleteConsumer(t.Context(), bus.Tasks, "ant-"+antID); err != nil {
		t.Fatal(err)
	}
	same(t, "outcome", c.result(c.dispatch(script("true"))).GetOutcome(), antv1.Result_SUCCEEDED)
}

func TestDrain(t *testing.T) {
	c := newColony(t)
	r := c.start(c.config())
	uid := c.dispatch(script("sleep 0.3"))
	c.isRunning(uid)
	r.end()
	if err := r.wait(t); err != nil {
		t.Fatal(err)
	}
	same(t, "outcome", c.result(uid).GetOutcome(), antv1.Result_SUCCEEDED)
	c.do(func() {
		same(t, "draining was said", c.beats[len(c.beats)-1].GetDraining(), true)
		same(t, "left", c.left, 1)
	})
}

// TestDrainTellsTasksToEnd: what outlives the drain gets what a cancelled task gets, TERM, its grace and after_script, and
// its log is kept.
func TestDrainTellsTasksToEnd(t *testing.T) {
	for name, lines := range map[string][]string{
		"by the shell's own trap": {"trap 'echo trapped; exit 0' TERM", "echo begun; touch $FLAG; sleep 60 & wait"},
		"by a child":              {"sh -c \"trap 'sleep 0.2; echo trapped; exit 0' TERM; echo begun; touch $FLAG; sleep 60 & wait\""},
	} {
		t.Run(name, func(t *testing.T) {
			c := newColony(t)
			conf := c.config()
			conf.DrainTimeout = 100 * time.Millisecond
			r := c.start(conf)
			work := script(lines...)
			work.Spec.AfterScript = []string{"echo after"}
			flag := filepath.Join(t.TempDir(), "begun")
			work.Spec.Environment = map[string]string{"FLAG": flag}
			uid := c.dispatch(work)
			testkit.Eventually(t, 20*time.Second, "the script has begun", func() bool {
				_, err := os.Stat(flag)
				return err == nil
			})
			r.end()
			if err := r.wait(t); err != nil {
				t.Fatal(err)
			}
			res := c.result(uid)
			same(t, "outcome", res.GetOutcome().String()+" "+res.GetFailureClass(), "LOST infra")
			c.do(func() { same(t, "log", c.logs[uid], "begun\ntrapped\nafter\n") })
		})
	}
}

func TestDrainKillsWhatDoesNotEnd(t *testing.T) {
	for name, change := range map[string]func(*ant.Config, *antv1.Work){
		"its own grace":     func(_ *ant.Config, w *antv1.Work) { w.Grace = durationpb.New(200 * time.Millisecond) },
		"the ant's longest": func(c *ant.Config, _ *antv1.Work) { c.StopTimeout = 200 * time.Millisecond },
		"none":              func(c *ant.Config, _ *antv1.Work) { c.StopTimeout = 0 },
	} {
		t.Run(name, func(t *testing.T) {
			c := newColony(t)
			conf := c.config()
			conf.DrainTimeout = 200 * time.Millisecond
			work := script("trap '' TERM", "while :; do sleep 0.1; done")
			change(&conf, work)
			r := c.start(conf)
			uid := c.dispatch(work)
			c.isRunning(uid)
			r.end()
			began := time.Now()
			if err := r.wait(t); err != nil {
				t.Fatal(err)
			}
			if took := time.Since(began); took > 5*time.Second {
				t.Errorf("ended after %s", took)
			}
			res := c.result(uid)
			same(t, "outcome", res.GetOutcome().String()+" "+res.GetFailureClass(), "LOST infra")
		})
	}
}

func TestRestartSendsTheSpoolWithTheOldSession(t *testing.T) {
	c := newColony(t)
	c.do(func() { c.settle = false })
	conf := c.config()
	conf.ResendAfter = time.Hour
	r := c.start(conf)
	uid := c.dispatch(script("true"))
	c.result(uid)
	r.end()
	if err := r.wait(t); err != nil {
		t.Fatal(err)
	}
	c.do(func() { c.syncs = nil })
	c.start(conf)
	testkit.Eventually(t, 20*time.Second, "sent again", c.is(func() bool { return len(c.results[uid]) == 2 }))
	c.do(func() {
		same(t, "session", c.results[uid][1].GetSession(), c.sessions[0])
		same(t, "first sync", fmt.Sprint(c.syncs[0].GetFirst(), c.syncs[0].GetSpooled()), fmt.Sprintf("true [%s]", uid))
		c.settle = true
	})
	c.settled()
}

// Nobody knows how containers of an earlier life are while their engine is silent: the first Sync lists them as running.
func TestRestartWhileTheEngineIsSilent(t *testing.T) {
	c := newColony(t)
	conf := c.config()
	conf.Docker.Host = "unix://" + filepath.Join(conf.Dir, "engine")
	r := c.start(conf)
	testkit.Eventually(t, time.Minute, "a heartbeat and a Sync", c.is(func() bool { return len(c.beats) > 0 && len(c.syncs) > 0 }))
	r.end()
	if err := r.wait(t); err != nil {
		t.Fatal(err)
	}
	c.do(func() {
		same(t, "offered without an engine", slices.Contains(c.ants[antID].GetMethods(), "DOCKER"), false)
		same(t, "unhealthy without an engine", len(c.beats[0].GetUnhealthyMethods()), 0)
		c.beats, c.syncs = nil, nil
	})
	journal, _, err := spool.Open(conf.Dir)
	if err != nil {
		t.Fatal(err)
	}
	uid := uuid.NewString()
	if err := errors.Join(journal.Started(uid, time.Now(), strings.Repeat("0a", 32)), journal.Close()); err != nil {
		t.Fatal(err)
	}
	c.start(conf)
	testkit.Eventually(t, time.Minute, "a heartbeat and a Sync", c.is(func() bool { return len(c.beats) > 0 && len(c.syncs) > 0 }))
	c.do(func() {
		same(t, "first Sync", fmt.Sprint(c.syncs[0].GetFirst(), c.syncs[0].GetRunning()), fmt.Sprintf("true [%s]", uid))
		same(t, "offered", slices.Contains(c.ants[antID].GetMethods(), "DOCKER"), true)
		same(t, "unhealthy", fmt.Sprint(c.beats[0].GetUnhealthyMethods()), "[DOCKER]")
	})
}

func TestTwoAntsCannotShareADirectory(t *testing.T) {
	c := newColony(t)
	conf := c.config()
	c.start(conf)
	c.result(c.dispatch(script("true")))
	if err := c.new(conf).Run(t.Context()); err == nil || !strings.Contains(err.Error(), "another ant") {
		t.Errorf("%v", err)
	}
}

func TestHTTP(t *testing.T) {
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.WriteHeader(http.StatusTeapot)
		_, _ = fmt.Fprintf(w, "%s token-token %s", r.Method, r.Header.Get("Idempotency-Key"))
	}))
	defer s.Close()
	c := newColony(t)
	c.start(c.config())
	vars, _ := structpb.NewStruct(map[string]any{"a": 1})
	r := c.result(c.dispatch(&antv1.Work{Spec: &antv1.Spec{Method: "HTTP_POST_JSON", Url: s.URL, Variables: vars}, IdempotencyKey: "key", Masks: []string{"token-token"}}))
	same(t, "outcome", fmt.Sprintln(r.GetOutcome(), r.GetExitCode(), r.GetFailureClass()), "FAILED 418 user\n")
	same(t, "body", r.GetBody(), "POST *** key")
	same(t, "message", r.GetMessage(), "status 418 I'm a teapot\nPOST *** key")
}

func TestOneGigabyteWithoutNewline(t *testing.T) {
	if testing.Short() {
		t.Skip("long")
	}
	c := newColony(t)
	c.large = true
	conf := c.config()
	conf.LogLimit = 2 << 30
	c.start(conf)
	c.result(c.dispatch(script("true")))
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	begun := time.Now()
	w := script("head -c 1G /dev/zero")
	w.Spec.LogLimit = 2 << 30
	r := c.resultWithin(3*time.Minute, c.dispatch(w))
	runtime.ReadMemStats(&after)
	same(t, "outcome", r.GetOutcome(), antv1.Result_SUCCEEDED)
	if n := r.GetLogBytes(); n < 1<<30 || n > 1<<30+1<<22 {
		t.Errorf("the log has %d bytes", n)
	}
	c.do(func() { same(t, "digest", r.GetLogSha256(), c.logs[r.GetLogKey()+".sha256"]) })
	grown := int64(after.Sys) - int64(before.Sys)
	t.Logf("took %s, memory grew by %d MiB", time.Since(begun), grown>>20)
	if grown > 100<<20 {
		t.Errorf("memory grew by %d MiB", grown>>20)
	}
}

func TestConfigReportsAllFaults(t *testing.T) {
	conf := ant.DefaultConfig()
	conf.ID, conf.Slots, conf.Methods = "-", 0, []string{"SHELL", "NONE"}
	err := conf.Validate()
	for _, want := range []string{"id", "dir", "slots", "NONE"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v lacks %s", err, want)
		}
	}
}

// BenchmarkTrue is a lone `true` from the doorbell's publication to the result at the other side of the bus: claim
// over gRPC, shell, spool and publication included.
func BenchmarkTrue(b *testing.B) {
	bench(b, "true")
}

// BenchmarkHello adds a short log: upload to an HTTP server and live chunks.
func BenchmarkHello(b *testing.B) {
	bench(b, "echo hello")
}

func bench(b *testing.B, line string) {
	c := newColony(b)
	conf := c.config()
	conf.Beat, conf.FenceAfter = time.Second, 20*time.Second
	c.start(conf)
	got := make(chan string, 1)
	sub, err := c.nc.Subscribe("formicary.result.*", func(m *nats.Msg) {
		var r antv1.Result
		_ = proto.Unmarshal(m.Data, &r)
		got <- r.GetUid()
	})
	if err != nil {
		b.Fatal(err)
	}
	defer func() { _ = sub.Unsubscribe() }()
	c.dispatch(script(line))
	<-got
	for b.Loop() {
		c.dispatch(script(line))
		<-got
	}
}
