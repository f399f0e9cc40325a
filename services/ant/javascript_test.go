package ant_test

import (
	"bufio"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

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
	node(t, env, 0, append([]string{"example.mjs"}, args...)...)
}

// node runs a program until the test ends; SIGTERM must end it with the code.
func node(t *testing.T, env []string, code int, args ...string) {
	t.Helper()
	if _, err := os.Stat(filepath.Join(jsDir, "node_modules", "ws")); err != nil {
		testkit.Missing(t, "the packages of the JavaScript worker are missing: run make setup-test: %v", err)
	}
	cmd := exec.CommandContext(t.Context(), "node", args...)
	cmd.Dir, cmd.Env, cmd.Stdout, cmd.Stderr = jsDir, append(os.Environ(), env...), t.Output(), t.Output()
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	cmd.WaitDelay = 10 * time.Second
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Wait()
		if cmd.ProcessState.ExitCode() != code {
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
	t.Parallel()
	c := newColony(t)
	url, _ := c.bridge(func(b *ant.BridgeConfig) { b.Token = "secret" })
	c.jsWorker(t, []string{"WORKER_ID=js", "WORKER_TAGS=b,a", "WORKER_SLOTS=4", "WORKER_TOKEN=secret"}, url)
	r := c.registered("js")
	same(t, "registration", fmt.Sprint(r.GetMethods(), r.GetTags(), r.GetSlots()), "[WEBSOCKET] [a b] 4")
	c.jsTasks(t, "WEBSOCKET", func(w *antv1.Work) string { return c.dispatchTo("js", w) })
}

func TestJavaScriptComesBackAndGoesOn(t *testing.T) {
	t.Parallel()
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

// The worker that PROTOCOL.md shows is one.
func TestTinyWorkerOfTheProtocol(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile("PROTOCOL.md")
	if err != nil {
		t.Fatal(err)
	}
	_, code, _ := strings.Cut(string(text), "```js\n")
	code, _, _ = strings.Cut(code, "```")
	c := newColony(t)
	url, _ := c.bridge(nil)
	packages, err := filepath.Abs(filepath.Join(jsDir, "node_modules"))
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "tiny.mjs")
	code = "import { WebSocket } from '" + packages + "/ws/wrapper.mjs'\n" + strings.ReplaceAll(code, "ws://127.0.0.1:7777/ws/ants", url)
	if err := os.WriteFile(file, []byte(code), 0o600); err != nil {
		t.Fatal(err)
	}
	node(t, nil, -1, file) // it does not hear SIGTERM
	c.registered("tiny")
	r := c.result(c.dispatchTo("tiny", js(t, "WEBSOCKET", map[string]any{"text": "hello"})))
	same3(t, r, "SUCCEEDED", "", "")
	same(t, "outputs", r.GetOutputs(), map[string]string{"length": "5"})
	same3(t, c.result(c.dispatchTo("tiny", js(t, "WEBSOCKET", map[string]any{"no": "text"}))), "FAILED", "user", "TypeError")
}

// Errors of libraries hold anything under the names of this protocol, and not all that a handler returns is JSON.
func TestJavaScriptSurvivesWhatHandlersDo(t *testing.T) {
	t.Parallel()
	dir, err := filepath.Abs(jsDir)
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "odd.mjs")
	code := `import { run } from '` + dir + `/worker.mjs'
const end = new AbortController()
process.once('SIGTERM', () => end.abort())
const odd = {
  numbers: () => { throw Object.assign(new Error('exit 7'), { code: 7, exitCode: '7' }) },
  nothing: () => { throw null },
  bigint: () => ({ result: 1n }),
  list: () => ({ outputs: [1] }),
  text: () => ({ exitCode: 'three', outputs: { a: 1 } }),
}
await run({ id: 'odd', url: process.argv[2], signal: end.signal, log: console.error, handler: async (task) => odd[task.variables.what]() })
`
	if err := os.WriteFile(file, []byte(code), 0o600); err != nil {
		t.Fatal(err)
	}
	c := newColony(t)
	url, _ := c.bridge(nil)
	node(t, nil, 0, file, url)
	c.registered("odd")
	do := func(what string) *antv1.Result {
		return c.result(c.dispatchTo("odd", js(t, "WEBSOCKET", map[string]any{"what": what})))
	}
	same3(t, do("numbers"), "FAILED", "user", "exit 7")
	same3(t, do("nothing"), "FAILED", "user", "null")
	same3(t, do("bigint"), "FAILED", "user", "BigInt")
	same3(t, do("list"), "FAILED", "user", "must be an object")
	same3(t, do("text"), "SUCCEEDED", "", "")
}

func TestJavaScriptOverNATS(t *testing.T) {
	t.Parallel()
	c := newColony(t)
	c.start(c.config())
	c.jsWorker(t, []string{"WORKER_ID=js", "WORKER_SLOTS=4"}, c.natsURL, "greetings.js")
	c.listens(t, "greetings.js")
	c.jsTasks(t, "MESSAGING", c.dispatch)
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

// A worker whose NATS does not answer says so, and ends when it is told to.
func TestJavaScriptEndsWhileNothingAnswers(t *testing.T) {
	t.Parallel()
	if _, err := os.Stat(filepath.Join(jsDir, "node_modules", "ws")); err != nil {
		testkit.Missing(t, "the packages of the JavaScript worker are missing: run make setup-test: %v", err)
	}
	cmd := exec.CommandContext(t.Context(), "node", "example.mjs", "nats://127.0.0.1:1", "nobody")
	cmd.Dir = jsDir
	said, err := cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewScanner(said)
	if !lines.Scan() || !strings.Contains(lines.Text(), "no connection to NATS at 127.0.0.1:1") {
		t.Errorf("it says %q", lines.Text())
	}
	if err := cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	for lines.Scan() { // until it has ended
	}
	if err := cmd.Wait(); err != nil {
		t.Errorf("it ended with %v", err)
	}
}
