package ant_test

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/formicary/formicary/libs/testkit"
	antv1 "github.com/formicary/formicary/proto/gen/formicary/ant/v1"
	"github.com/formicary/formicary/services/ant"
)

// jsDir is the reference worker in JavaScript; `make setup-test` installs what it needs.
const jsDir = "workers/javascript"

// jsWorker runs the example of the JavaScript worker until the test ends, which must be in order.
func (c *colony) jsWorker(t *testing.T, env []string, args ...string) {
	t.Helper()
	if _, err := os.Stat(filepath.Join(jsDir, "node_modules", "ws")); err != nil {
		if os.Getenv("CI") != "" {
			t.Fatalf("the packages of the JavaScript worker are missing: run make setup-test: %v", err)
		}
		t.Skipf("the packages of the JavaScript worker are missing: run make setup-test: %v", err)
	}
	cmd := exec.CommandContext(t.Context(), "node", append([]string{"example.mjs"}, args...)...)
	cmd.Dir, cmd.Env, cmd.Stdout, cmd.Stderr = jsDir, append(os.Environ(), env...), t.Output(), t.Output()
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	cmd.WaitDelay = 10 * time.Second
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Wait()
		if code := cmd.ProcessState.ExitCode(); code != 0 {
			t.Errorf("the worker ended with %s", cmd.ProcessState)
		}
	})
}

// js is work for the example.
func js(t *testing.T, method string, v map[string]any) *antv1.Work {
	w := remote(method)
	w.Spec.Variables = vars(t, v)
	w.Spec.MessagingRequestQueue = "greetings.js"
	return w
}

func TestJavaScriptOverWebSocket(t *testing.T) {
	c := newColony(t)
	url, _ := c.bridge(func(b *ant.BridgeConfig) { b.Token = "secret" })
	c.jsWorker(t, []string{"WORKER_ID=js", "WORKER_TAGS=b,a", "WORKER_SLOTS=4", "WORKER_TOKEN=secret"}, url)
	r := c.registered("js")
	same(t, "registration", fmt.Sprint(r.GetMethods(), r.GetTags(), r.GetSlots()), "[WEBSOCKET] [a b] 4")
	c.jsTasks(t, "WEBSOCKET", func(w *antv1.Work) string { return c.dispatchTo("js", w) })
}

func TestJavaScriptComesBackAndGoesOn(t *testing.T) {
	c := newColony(t)
	url, _ := c.bridge(nil)
	line := newLine(t, url)
	c.jsWorker(t, []string{"WORKER_ID=js"}, line.url)
	c.registered("js")
	uid := c.dispatchTo("js", js(t, "WEBSOCKET", map[string]any{"seconds": 1}))
	c.isRunning(uid)
	line.cut()
	same3(t, c.result(uid), "SUCCEEDED", "", "")
}

func TestJavaScriptOverNATS(t *testing.T) {
	c := newColony(t)
	c.start(c.config())
	c.jsWorker(t, []string{"WORKER_ID=js", "WORKER_SLOTS=4"}, c.natsURL, "greetings.js")
	c.listens(t, "greetings.js")
	c.jsTasks(t, "MESSAGING", c.dispatch)
}

// listens waits until somebody does. A task that nobody listens for is sent again only after 10 s.
func (c *colony) listens(t *testing.T, queue string) {
	t.Helper()
	testkit.Eventually(t, 10*time.Second, "a worker listens", func() bool {
		_, err := c.nc.Request(queue, []byte("{}"), 50*time.Millisecond)
		return errors.Is(err, nats.ErrTimeout) // it does not answer to nonsense
	})
}

func (c *colony) jsTasks(t *testing.T, method string, dispatch func(*antv1.Work) string) {
	t.Helper()
	slow := js(t, method, map[string]any{"seconds": 60})
	slow.Timeout, slow.Grace = durationpb.New(time.Second), durationpb.New(5*time.Second)
	stopped := dispatch(slow)
	res := c.result(dispatch(js(t, method, map[string]any{"whom": "you"})))
	same3(t, res, "SUCCEEDED", "", "")
	same(t, "outputs", res.GetOutputs(), map[string]string{"greeting": "hello you", "length": "3"})
	same(t, "body", res.GetBody(), `{"key":"key-1"}`)
	c.do(func() { same(t, "log", c.logs[res.GetLogKey()], "greeting you\n") })
	res = c.result(dispatch(js(t, method, map[string]any{"fail": "no luck"})))
	same3(t, res, "FAILED", "user", "ERR_GREETING: no luck")
	same(t, "code", res.GetExitCode(), 3)
	begun := time.Now()
	res = c.result(stopped)
	same3(t, res, "TIMED_OUT", "timeout", "timed out after 1s")
	if took := time.Since(begun); took > 4*time.Second {
		t.Errorf("the handler was not ended: %s", took)
	}
	c.settled()
}
