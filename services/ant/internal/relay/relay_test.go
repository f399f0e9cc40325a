package relay

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/formicary/formicary/libs/mask"
	"github.com/formicary/formicary/libs/testkit"
	"github.com/formicary/formicary/services/ant/internal/executor"
	"github.com/formicary/formicary/services/ant/internal/wire"
)

func TestMain(m *testing.M) { testkit.Main(m) }

// link notes what is sent, with the second at which it is.
type link struct {
	begun   time.Time
	refuse  error
	failing error

	mu     sync.Mutex
	events []string
}

func (l *link) note(format string, args ...any) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.events = append(l.events, fmt.Sprintf("%d:", int(time.Since(l.begun).Seconds()))+fmt.Sprintf(format, args...))
}

func (l *link) Open(*Execution) (string, error) { return "reply.to", l.refuse }
func (l *link) Trace(*Execution) string         { return "trace" }
func (l *link) Close(*Execution)                { l.note("close") }

func (l *link) Task(_ *Execution, data []byte) error {
	if l.failing != nil {
		return l.failing
	}
	m, err := wire.Decode(data)
	if err != nil || m.ReplyTo != "reply.to" || m.UID != "u" {
		l.note("bad task %s: %v", data, err)
	}
	l.note("task")
	return nil
}

func (l *link) Cancel(_ *Execution, m *wire.Message) {
	l.note("cancel %s %g", m.Worker, m.GraceSeconds)
}

func (l *link) saw() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return strings.Join(l.events, " ")
}

// after waits in the virtual time of a test.
func after(d time.Duration) { <-time.After(d) }

// play runs an attempt while script acts as its workers, in virtual time.
func play(t *testing.T, script func(x *Execution)) (e executor.End, log, saw string) {
	t.Helper()
	return playWith(t, &link{}, executor.Task{UID: "u"}, script)
}

func playWith(t *testing.T, l *link, task executor.Task, script func(x *Execution)) (e executor.End, log, saw string) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		l.begun = time.Now()
		var out bytes.Buffer
		x := New(task, executor.Merge(&out), l, DefaultTimes())
		go script(x)
		x.Start()
		e = x.Wait()
		x.Close()
		log = out.String()
	})
	return e, log, l.saw()
}

func says(worker string, typ wire.Type) *wire.Message {
	return &wire.Message{Type: typ, UID: "u", Worker: worker}
}

func replies(worker, status string) *wire.Message {
	m := says(worker, wire.TypeReply)
	m.Status = status
	return m
}

func check(t *testing.T, what string, got, want any) {
	t.Helper()
	if fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("%s: %v, want %v", what, got, want)
	}
}

func TestReply(t *testing.T) {
	e, log, saw := play(t, func(x *Execution) {
		x.Deliver(says("w", wire.TypeAccept))
		after(20 * time.Second)
		x.Deliver(says("w", wire.TypeHeartbeat))
		after(20 * time.Second)
		m := says("w", wire.TypeLog)
		m.Lines = []string{"one", "two"}
		x.Deliver(m)
		m = replies("w", wire.Completed)
		m.ExitCode, m.Result = 7, json.RawMessage(`{"a": 1}`)
		m.Outputs = map[string]json.RawMessage{"n": json.RawMessage(`3`), "s": json.RawMessage(`"x"`)}
		x.Deliver(m)
		x.Deliver(m) // nobody listens any more
	})
	check(t, "end", e, executor.End{ExitCode: 7, Outputs: map[string]string{"n": "3", "s": "x"}, Body: `{"a":1}`})
	check(t, "log", log, "one\ntwo\n")
	check(t, "saw", saw, "0:task 40:close")
}

func TestFailures(t *testing.T) {
	long := json.RawMessage(`"` + strings.Repeat("x", keptWhole+1) + `"`)
	for name, c := range map[string]struct {
		change func(m *wire.Message)
		want   executor.End
	}{
		"plain":      {func(m *wire.Message) {}, executor.End{ExitCode: 1, Class: executor.User, Message: "exit code 1"}},
		"told":       {func(m *wire.Message) { m.ExitCode, m.ErrorCode, m.Message = 4, "ERR_X", "bad luck" }, executor.End{ExitCode: 4, Class: executor.User, Message: "ERR_X: bad luck"}},
		"huge code":  {func(m *wire.Message) { m.ExitCode = 1 << 32 }, executor.End{ExitCode: math.MaxInt32, Class: executor.User, Message: "exit code 2147483647"}},
		"status":     {func(m *wire.Message) { m.Status = "DONE" }, executor.End{ExitCode: 1, Class: executor.User, Message: `the worker's reply has status "DONE": want COMPLETED, FAILED or LOST`}},
		"bad output": {func(m *wire.Message) { m.Outputs = map[string]json.RawMessage{"a b": nil} }, executor.End{ExitCode: 1, Class: executor.User, Message: `the worker's reply: output name "a b": want letters, digits, '_', '-' or '.', at most 128`}},
		"outputs": {
			func(m *wire.Message) { m.Status, m.Outputs = wire.Completed, map[string]json.RawMessage{"a": long} },
			executor.End{ExitCode: 1, Class: executor.User, Message: "the worker's reply: the outputs of the task are larger than 64 KiB in all"},
		},
		"long result": {func(m *wire.Message) { m.Status, m.Result = wire.Completed, long }, executor.End{Body: strings.Repeat("x", keptOfLong)}},
		"given back":  {func(m *wire.Message) { m.Status, m.Message = wire.Lost, "stopped" }, executor.Lose("worker w gave the attempt back: stopped")},
		"cut secret": {
			func(m *wire.Message) { m.Message = strings.Repeat("y", maxText-5) + "hunter2-hunter2" },
			executor.End{ExitCode: 1, Class: executor.User, Message: strings.Repeat("y", maxText-5) + "***"},
		},
		"cut secret in a result": {
			func(m *wire.Message) {
				m.Status, m.Result = wire.Completed, json.RawMessage(`"`+strings.Repeat("y", keptOfLong-5)+"hunter2-hunter2"+strings.Repeat("y", keptWhole)+`"`)
			},
			executor.End{Body: strings.Repeat("y", keptOfLong-5) + "***yy"},
		},
		"long text": {
			func(m *wire.Message) { m.Message = strings.Repeat("y", maxText+1) },
			executor.End{ExitCode: 1, Class: executor.User, Message: strings.Repeat("y", maxText)},
		},
	} {
		t.Run(name, func(t *testing.T) {
			e, _, _ := playWith(t, &link{}, executor.Task{UID: "u", Masks: mask.New([]string{"hunter2-hunter2"})}, func(x *Execution) {
				m := replies("w", wire.Failed) // without an accept before
				c.change(m)
				x.Deliver(m)
			})
			check(t, "end", e, c.want)
		})
	}
}

func TestNobodyAccepts(t *testing.T) {
	e, log, saw := play(t, func(x *Execution) {
		after(25 * time.Second)
		x.Deliver(says("w", wire.TypeHeartbeat)) // of something else, then
		x.Deliver(says("w", wire.TypeLog))
		x.Deliver(says("w", wire.TypeAccept))
		x.Deliver(replies("w", wire.Completed))
	})
	check(t, "end", e, executor.End{})
	check(t, "log", log, "[no worker has accepted the task within 10s; it is sent again until one does]\n")
	check(t, "saw", saw, "0:task 10:task 20:task 25:close")
}

func TestSilence(t *testing.T) {
	e, _, saw := play(t, func(x *Execution) {
		after(time.Second)
		x.Deliver(says("w", wire.TypeAccept))
	})
	check(t, "end", e, executor.Lose("worker w said nothing for 30s"))
	check(t, "saw", saw, "0:task 31:cancel w 0 31:close")
}

func TestSecondWorkerChangesNothing(t *testing.T) {
	e, log, saw := play(t, func(x *Execution) {
		x.Deliver(says("a", wire.TypeAccept))
		x.Deliver(says("b", wire.TypeAccept))
		m := says("b", wire.TypeLog)
		m.Lines = []string{"stranger"}
		x.Deliver(m)
		x.Deliver(replies("b", wire.Failed))
		after(20 * time.Second)
		x.Deliver(says("b", wire.TypeHeartbeat)) // is no life of a
		after(9 * time.Second)
		x.Deliver(says("a", wire.TypeAccept)) // once more: it got the task twice
		after(29 * time.Second)
		x.Deliver(replies("a", wire.Completed))
	})
	check(t, "end", e, executor.End{})
	check(t, "log", log, "")
	check(t, "saw", saw, "0:task 0:cancel b 0 20:cancel b 0 58:close")
}

func TestStop(t *testing.T) {
	t.Run("worker replies in time", func(t *testing.T) {
		e, _, saw := play(t, func(x *Execution) {
			x.Deliver(says("w", wire.TypeAccept))
			after(time.Second)
			x.Stop(5 * time.Second)
			after(time.Second)
			x.Deliver(says("w", wire.TypeHeartbeat)) // does not prolong it
			after(time.Second)
			x.Deliver(replies("w", wire.Failed))
		})
		check(t, "end", e.Class, executor.User)
		check(t, "saw", saw, "0:task 1:cancel w 5 3:close")
	})
	t.Run("worker does not", func(t *testing.T) {
		e, _, saw := play(t, func(x *Execution) {
			x.Deliver(says("w", wire.TypeAccept))
			after(time.Second)
			x.Stop(5 * time.Second)
			after(time.Second)
			x.Deliver(says("w", wire.TypeHeartbeat))
		})
		check(t, "end", e.Class, executor.Infra)
		check(t, "saw", saw, "0:task 1:cancel w 5 6:close")
	})
	t.Run("then without grace", func(t *testing.T) {
		_, _, saw := play(t, func(x *Execution) {
			x.Deliver(says("w", wire.TypeAccept))
			after(time.Second)
			x.Stop(time.Hour)
			after(time.Second)
			x.Stop(0)
		})
		check(t, "saw", saw, "0:task 1:cancel w 3600 2:cancel w 0 2:close")
	})
	t.Run("nobody has accepted", func(t *testing.T) {
		_, _, saw := play(t, func(x *Execution) {
			after(time.Second)
			x.Stop(time.Hour)
		})
		check(t, "saw", saw, "0:task 1:cancel  3600 1:close")
	})
}

func TestConnectionIsGone(t *testing.T) {
	for name, c := range map[string]struct {
		script func(x *Execution)
		want   executor.End
		saw    string
	}{
		"for good": {func(x *Execution) { x.Deliver(says("w", wire.TypeAccept)); x.Away() }, executor.Lose("the connection of the worker was gone for 20s"), "0:task 20:close"},
		"and it is back": {func(x *Execution) {
			x.Deliver(says("w", wire.TypeAccept))
			x.Away()
			after(19 * time.Second)
			x.Back("w", true)
			after(29 * time.Second)
			x.Deliver(replies("w", wire.Completed))
		}, executor.End{}, "0:task 48:close"},
		"and it is back without it": {func(x *Execution) {
			x.Deliver(says("w", wire.TypeAccept))
			x.Away()
			x.Back("w", false)
		}, executor.Lose("the worker connected again without the attempt"), "0:task 0:close"},
		"before the accept": {func(x *Execution) {
			x.Away()
			after(15 * time.Second)
			x.Back("w", false)
			after(time.Second)
			x.Deliver(replies("w", wire.Completed))
		}, executor.End{}, "0:task 15:task 16:close"},
		"with the accept": {func(x *Execution) {
			x.Away()
			x.Back("w", true)
			after(25 * time.Second)
			x.Deliver(replies("w", wire.Completed))
		}, executor.End{}, "0:task 25:close"},
		"during a stop": {func(x *Execution) {
			x.Deliver(says("w", wire.TypeAccept))
			after(time.Second)
			x.Stop(10 * time.Second)
			after(time.Second)
			x.Away()
			after(time.Second)
			x.Back("w", true)
			after(time.Second)
			x.Deliver(replies("w", wire.Completed))
		}, executor.End{}, "0:task 1:cancel w 10 3:cancel w 8 4:close"},
	} {
		t.Run(name, func(t *testing.T) {
			e, _, saw := play(t, c.script)
			check(t, "end", e, c.want)
			check(t, "saw", saw, c.saw)
		})
	}
}

func TestWhatCannotBeSent(t *testing.T) {
	e, _, saw := playWith(t, &link{refuse: errors.New("bad subject")}, executor.Task{UID: "u"}, func(*Execution) {})
	check(t, "refused", e, executor.Refuse("bad subject"))
	check(t, "saw", saw, "0:close")
	big := map[string]string{"A": strings.Repeat("x", wire.MaxMessage)}
	e, _, _ = playWith(t, &link{}, executor.Task{UID: "u", Environment: big}, func(*Execution) {})
	check(t, "too large", e, executor.Refuse("the task cannot be sent to a worker: the message is larger than 1024 KiB"))
	e, _, _ = playWith(t, &link{failing: wire.ErrTooLarge}, executor.Task{UID: "u"}, func(*Execution) {})
	check(t, "too large for the bus", e.Class, executor.Rejected)
	_, log, _ := playWith(t, &link{failing: errors.New("not now")}, executor.Task{UID: "u"}, func(x *Execution) { x.Deliver(replies("w", wire.Completed)) })
	check(t, "log", log, "[the task could not be sent and will be sent again: not now]\n")
}
