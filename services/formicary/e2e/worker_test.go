package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/formicary/formicary/libs/colony"
	worker "github.com/formicary/formicary/services/ant/workers/go"
	"github.com/formicary/formicary/services/formicary/examples"
)

// TestMessageWorker does the example's task by a worker that listens on NATS, and lets one die with a task.
func TestMessageWorker(t *testing.T) {
	w := newWorld(t)
	w.embedded("--expose")
	nats := w.colony().NATS
	w.define("job_type: e2e-message\ntasks:\n  - task_type: a\n    method: MESSAGING\n    messaging_request_queue: e2e.work\n    messaging_reply_queue: e2e.done\n" +
		"    variables: {whom: nats, seconds: 3}\n    on_completed: b\n  - {task_type: b, method: SHELL, script: ['test \"$greeting\" = \"hello nats\"']}\n")
	doomed := w.example("w-1", nats, "e2e.work")
	killed := w.submit("e2e-message", "killed", nil)
	w.eventually("the worker has the task", func() bool {
		out, _ := w.cli("request", "logs", killed)
		return strings.Contains(out, "greeting nats")
	})
	doomed.signal(syscall.SIGKILL)
	w.example("w-2", nats, "e2e.work")

	e, ok, err := examples.Find("batch-message-worker")
	if err != nil || !ok {
		t.Fatalf("no such example: %v", err)
	}
	w.define(e.Text)
	id := w.submit(e.Name, "message", nil)
	w.eventually("the task runs", func() bool {
		return w.task(id, "resize").State == "DISPATCHED" || w.task(id, "resize").State == "RUNNING"
	})
	w.work(worker.Config{ID: "resizer", URL: nats, Queue: "work.images", Handler: func(_ context.Context, task worker.Task) (worker.Result, error) {
		task.Log("resizing %v", task.Variables["file"])
		return worker.Result{Outputs: map[string]any{"answer": fmt.Sprintf("%v is %v wide", task.Variables["file"], task.Variables["width"])}}, nil
	}})
	// The worker came after the task: it gets it with the next reminder.
	w.finishes(id, "COMPLETED")
	if out, code := w.cli("request", "logs", id); code != 0 || !strings.Contains(out, "resizing a.png") || !strings.Contains(out, "a.png is 300 wide") {
		t.Errorf("exit code %d, log %q", code, out)
	}

	w.finishes(killed, "COMPLETED") // lost after 30 s of silence
	lost(t, w.task(killed, "a"))
	w.audit()
}

// lost checks that a task completed in its second attempt, after the first was lost.
func lost(t *testing.T, got task) {
	t.Helper()
	if len(got.Attempts) != 2 || got.Attempts[0].State != "LOST" || got.Attempts[1].State != "SUCCEEDED" {
		t.Errorf("attempts %+v, want one that is LOST and one that SUCCEEDED", got.Attempts)
	}
}

const socketJob = `job_type: e2e-socket
tasks:
  - task_type: a
    method: WEBSOCKET
    tags: [%s]
    variables: {whom: socket, seconds: 2}
    on_completed: b
  - {task_type: b, method: SHELL, script: ['test "$greeting" = "hello socket"']}
`

// TestWebSocketWorker cuts the connection of a worker in the middle of a task, which goes on, and kills a worker, whose
// task runs again.
func TestWebSocketWorker(t *testing.T) {
	w := newWorld(t)
	w.embedded("--expose")

	line := w.cable(strings.TrimPrefix(w.base, "http://"))
	begun, cut := make(chan struct{}), make(chan struct{})
	var calls atomic.Int32
	w.work(worker.Config{ID: "cut", URL: "ws://" + line.addr + "/ws/ants", Tags: []string{"cut"}, Handler: func(_ context.Context, task worker.Task) (worker.Result, error) {
		if calls.Add(1) == 1 {
			close(begun)
		}
		<-cut
		return worker.Result{Outputs: map[string]any{"greeting": "hello " + fmt.Sprint(task.Variables["whom"])}}, nil
	}})
	w.define(fmt.Sprintf(socketJob, "cut"))
	id := w.submit("e2e-socket", "cut", nil)
	w.await("the task has begun", begun)
	line.cut()
	close(cut)
	w.finishes(id, "COMPLETED")
	if got := w.task(id, "a"); calls.Load() != 1 || len(got.Attempts) != 1 {
		t.Errorf("the handler was called %d times, attempts %+v; want one of each", calls.Load(), got.Attempts)
	}

	w.define(fmt.Sprintf(socketJob, "killed"))
	url := "ws://" + w.colony().HTTP + "/ws/ants"
	t.Setenv("WORKER_TAGS", "killed")
	p := w.example("killed", url)
	second := w.submit("e2e-socket", "killed", nil)
	w.eventually("the worker has the task", func() bool {
		out, _ := w.cli("request", "logs", second)
		return strings.Contains(out, "greeting socket")
	})
	p.signal(syscall.SIGKILL)
	p.start()
	w.finishes(second, "COMPLETED")
	lost(t, w.task(second, "a"))
	w.audit()
}

// work runs a worker in this process until the test ends.
func (w *world) work(c worker.Config) {
	w.t.Helper()
	ctx, cancel := context.WithCancel(w.t.Context())
	var wg sync.WaitGroup
	wg.Go(func() {
		if err := worker.Run(ctx, c); err != nil {
			w.t.Errorf("worker %s: %v", c.ID, err)
		}
	})
	w.t.Cleanup(func() {
		cancel()
		wg.Wait()
	})
}

// example starts the worker that comes with the ant as a process of its own.
func (w *world) example(id string, args ...string) *proc {
	w.t.Helper()
	w.t.Setenv("WORKER_ID", id)
	return w.run(id, append([]string{"example"}, args...)...)
}

// colony returns the addresses of the colony.
func (w *world) colony() colony.Colony {
	w.t.Helper()
	raw, err := os.ReadFile(w.file())
	if err != nil {
		w.t.Fatal(err)
	}
	var col colony.Colony
	if err := json.Unmarshal(raw, &col); err != nil {
		w.t.Fatal(err)
	}
	return col
}

// await waits until a channel is closed.
func (w *world) await(what string, c <-chan struct{}) {
	w.t.Helper()
	w.eventually(what, func() bool {
		select {
		case <-c:
			return true
		default:
			return false
		}
	})
}

// cable is a connection that can be cut: it hands on what is sent to addr.
type cable struct {
	addr string
	mu   sync.Mutex
	ends []net.Conn
}

func (w *world) cable(to string) *cable {
	w.t.Helper()
	lis, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		w.t.Fatal(err)
	}
	c := &cable{addr: lis.Addr().String()}
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			in, err := lis.Accept()
			if err != nil {
				return
			}
			out, err := net.Dial("tcp", to)
			if err != nil {
				_ = in.Close()
				continue
			}
			c.mu.Lock()
			c.ends = append(c.ends, in, out)
			c.mu.Unlock()
			for _, way := range [][2]net.Conn{{in, out}, {out, in}} {
				wg.Go(func() {
					_, _ = io.Copy(way[0], way[1])
					_, _ = way[0].Close(), way[1].Close()
				})
			}
		}
	})
	w.t.Cleanup(func() {
		_ = lis.Close()
		c.cut()
		wg.Wait()
	})
	return c
}

// cut ends all connections; new ones can be made.
func (c *cable) cut() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, end := range c.ends {
		_ = end.Close()
	}
	c.ends = nil
}
