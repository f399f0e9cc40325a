package e2e

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

// proc is one process under test; it can be killed and started again with the same arguments.
type proc struct {
	t    *testing.T
	name string
	args []string
	env  []string // beyond that of the test
	log  *os.File

	mu  sync.Mutex
	cmd *exec.Cmd
}

func (p *proc) start() {
	p.t.Helper()
	p.mu.Lock()
	defer p.mu.Unlock()
	p.cmd = exec.Command(filepath.Join(binDir, p.args[0]), p.args[1:]...)
	p.cmd.Stdout, p.cmd.Stderr = p.log, p.log
	p.cmd.Env = append(os.Environ(), p.env...)
	if err := p.cmd.Start(); err != nil {
		p.t.Fatalf("start %s: %v", p.name, err)
	}
}

// signal sends sig; SIGKILL also waits for the end.
func (p *proc) signal(sig syscall.Signal) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.cmd == nil {
		return
	}
	_ = p.cmd.Process.Signal(sig)
	if sig == syscall.SIGKILL || sig == syscall.SIGTERM {
		_ = p.cmd.Wait()
		p.cmd = nil
	}
}

// over says that the process has ended by itself.
func (p *proc) over() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	var status syscall.WaitStatus
	pid, err := syscall.Wait4(p.cmd.Process.Pid, &status, syscall.WNOHANG, nil)
	return err == nil && pid == p.cmd.Process.Pid
}

func (p *proc) pid() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.cmd.Process.Pid
}

// world is a data directory with the processes that use it.
type world struct {
	t     *testing.T
	dir   string
	data  string
	http  *http.Client
	base  string
	ops   string
	procs map[string]*proc
	// gateways, if there are several, are called in turn, as behind a load balancer.
	gateways []string
	calls    *atomic.Uint64
}

// gateway returns the base of the next call.
func (w *world) gateway() string {
	if len(w.gateways) == 0 {
		return w.base
	}
	return w.gateways[w.calls.Add(1)%uint64(len(w.gateways))]
}

const patience = 60 * time.Second

func newWorld(t *testing.T) *world {
	t.Helper()
	// PostgreSQL may run as another user, who cannot pass the parents of t.TempDir; and the logs of a failure are kept.
	dir, err := os.MkdirTemp("", "formicary-e2e-") //nolint:usetesting // see above
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	w := &world{
		t: t, dir: dir, data: filepath.Join(dir, "data"), procs: map[string]*proc{}, calls: &atomic.Uint64{},
		http: &http.Client{Timeout: 20 * time.Second},
	}
	t.Cleanup(func() {
		for _, p := range w.procs {
			if p.name != "infra" {
				p.signal(syscall.SIGKILL)
			}
		}
		if p := w.procs["infra"]; p != nil {
			p.signal(syscall.SIGTERM)
		}
		if t.Failed() {
			t.Logf("logs are in %s", dir)
			return
		}
		_ = os.RemoveAll(dir)
	})
	return w
}

// run starts a process by name.
func (w *world) run(name string, args ...string) *proc {
	w.t.Helper()
	return w.runWith(nil, name, args...)
}

// runWith is run with variables of the environment.
func (w *world) runWith(env []string, name string, args ...string) *proc {
	w.t.Helper()
	log, err := os.OpenFile(filepath.Join(w.dir, name+".log"), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o644)
	if err != nil {
		w.t.Fatal(err)
	}
	p := &proc{t: w.t, name: name, args: args, env: env, log: log}
	w.procs[name] = p
	p.start()
	return p
}

// embedded starts the colony in one process.
func (w *world) embedded(flags ...string) *proc {
	w.t.Helper()
	p := w.run("up", append([]string{"formicary", "up", "--data", w.data, "--listen", "127.0.0.1:0"}, flags...)...)
	w.ready()
	return p
}

// separate starts the infrastructure, every service and the named ants as processes of their own.
func (w *world) separate(ants ...string) {
	w.t.Helper()
	w.infra()
	for _, s := range services {
		w.run(s, s, "--colony", w.file())
	}
	for _, a := range ants {
		w.run(a, "ant", "--colony", w.file(), "--id", a)
	}
	w.ready()
}

// file holds the addresses of the colony.
func (w *world) file() string { return filepath.Join(w.data, "colony.json") }

// infra starts only the stores and waits until they can be used.
func (w *world) infra() {
	w.t.Helper()
	w.run("infra", "formicary", "up", "--only=infra", "--expose", "--data", w.data, "--listen", "127.0.0.1:0")
	w.eventually("colony.json", func() bool {
		_, err := os.Stat(w.file())
		return err == nil
	})
}

// ready waits until the gateway answers and all its peers do.
func (w *world) ready() {
	w.t.Helper()
	w.eventually("the gateway is ready", func() bool {
		raw, err := os.ReadFile(w.file())
		if err != nil {
			return false
		}
		var col struct {
			HTTP string `json:"http"`
			Ops  string `json:"ops"`
		}
		if json.Unmarshal(raw, &col) != nil {
			return false
		}
		w.base, w.ops = "http://"+col.HTTP, "http://"+col.Ops
		res, err := w.http.Get(w.ops + "/readyz")
		if err != nil {
			return false
		}
		defer func() { _ = res.Body.Close() }()
		return res.StatusCode == http.StatusOK
	})
}

// eventually polls a condition until it holds or patience ends.
func (w *world) eventually(what string, cond func() bool) {
	w.t.Helper()
	w.within(patience, what, cond)
}

func (w *world) within(limit time.Duration, what string, cond func() bool) {
	w.t.Helper()
	ctx, cancel := context.WithTimeout(w.t.Context(), limit)
	defer cancel()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for !cond() {
		select {
		case <-tick.C:
		case <-ctx.Done():
			w.t.Fatalf("not within %s: %s", limit, what)
		}
	}
}

// call sends a JSON request once.
func (w *world) call(method, path, contentType string, body []byte, out any) (int, error) {
	return w.send("", method, path, contentType, body, out)
}

// callAs is call in the name of a user.
func (w *world) callAs(user, method, path string, body []byte) (int, error) {
	return w.send(user, method, path, "application/json", body, nil)
}

func (w *world) send(user, method, path, contentType string, body []byte, out any) (int, error) {
	req, err := http.NewRequestWithContext(w.t.Context(), method, w.gateway()+path, bytes.NewReader(body))
	if err != nil {
		return 0, err
	}
	req.Header.Set("Content-Type", contentType)
	if user != "" {
		req.Header.Set("X-Formicary-User", user)
	}
	res, err := w.http.Do(req)
	if err != nil {
		return 0, err
	}
	defer func() { _ = res.Body.Close() }()
	raw, err := io.ReadAll(res.Body)
	if err != nil {
		return res.StatusCode, err
	}
	if res.StatusCode >= 400 {
		return res.StatusCode, fmt.Errorf("%s %s: %s: %s", method, path, res.Status, raw)
	}
	if out == nil {
		return res.StatusCode, nil
	}
	return res.StatusCode, json.Unmarshal(raw, out)
}

func (w *world) define(yaml string) {
	w.t.Helper()
	w.eventually("definition accepted", func() bool {
		code, err := w.call(http.MethodPost, "/api/v1/jobs/definitions", "application/yaml", []byte(yaml), nil)
		if err != nil && code >= 400 && code < 500 {
			w.t.Fatal(err)
		}
		return err == nil
	})
}

// submit sends a request until it is acknowledged; the key makes repeating safe.
func (w *world) submit(jobType, key string, params map[string]any) string {
	w.t.Helper()
	body, err := json.Marshal(map[string]any{"job_type": jobType, "idempotency_key": key, "params": params})
	if err != nil {
		w.t.Fatal(err)
	}
	var out struct {
		Request struct {
			ID string `json:"id"`
		} `json:"request"`
	}
	w.eventually("request acknowledged", func() bool {
		code, err := w.call(http.MethodPost, "/api/v1/jobs/requests", "application/json", body, &out)
		if err != nil && code >= 400 && code < 500 && code != http.StatusTooManyRequests {
			w.t.Fatal(err)
		}
		return err == nil
	})
	return out.Request.ID
}

// becomes waits until a request is in a state.
func (w *world) becomes(id, state string) {
	w.t.Helper()
	w.eventually("request "+id+" is "+state, func() bool {
		r, ok := w.get(id)
		if ok && terminal(r.State) && r.State != state {
			w.t.Fatalf("request %s ended as %s (%s %s), want %s", id, r.State, r.ErrorCode, r.ErrorMessage, state)
		}
		return ok && r.State == state
	})
}

// finishes waits for the end of a request and compares its state.
func (w *world) finishes(id, want string) request {
	w.t.Helper()
	r := w.ends(patience, id)
	if r.State != want {
		w.t.Errorf("%s %s ended as %s (%s %s), want %s", r.JobType, id, r.State, r.ErrorCode, r.ErrorMessage, want)
	}
	return r
}

type request struct {
	ID           string `json:"id"`
	State        string `json:"state"`
	Run          int    `json:"run"`
	ErrorCode    string `json:"error_code"`
	ErrorMessage string `json:"error_message"`
	JobType      string `json:"job_type"`
	Wait         struct {
		Gate    string   `json:"gate"`
		Reason  string   `json:"reason"`
		Holders []string `json:"holders"`
	} `json:"wait"`
}

// get returns the request; ok is false when the gateway or a peer does not answer just now.
func (w *world) get(id string) (request, bool) {
	var out struct {
		Request request `json:"request"`
	}
	_, err := w.call(http.MethodGet, "/api/v1/jobs/requests/"+id, "application/json", nil, &out)
	return out.Request, err == nil
}

func terminal(state string) bool {
	switch state {
	case "COMPLETED", "FAILED", "CANCELLED", "SKIPPED":
		return true
	}
	return false
}

// ends waits for the terminal state of a request.
func (w *world) ends(limit time.Duration, id string) request {
	w.t.Helper()
	var last request
	w.within(limit, "request "+id+" ends", func() bool {
		r, ok := w.get(id)
		if ok {
			last = r
		}
		return ok && terminal(r.State)
	})
	return last
}

// audit runs the auditor on the stores and fails on any finding.
func (w *world) audit() {
	w.t.Helper()
	var out []byte
	w.within(30*time.Second, "the auditor finds nothing", func() bool {
		var err error
		out, err = exec.Command(filepath.Join(binDir, "formicary"), "audit", "--colony", w.file()).CombinedOutput()
		return err == nil
	})
	if strings.Contains(string(out), "VIOLATION") {
		w.t.Fatalf("auditor: %s", out)
	}
}

// cli runs a client command and returns what it prints on stdout and its exit code.
func (w *world) cli(args ...string) (string, int) {
	w.t.Helper()
	return w.cliIn("", args...)
}

// cliIn is cli with something to read.
func (w *world) cliIn(stdin string, args ...string) (string, int) {
	w.t.Helper()
	args = append(args, "--colony", w.file())
	cmd := exec.Command(filepath.Join(binDir, "formicary"), args...)
	var stdout, stderr bytes.Buffer
	cmd.Stdin, cmd.Stdout, cmd.Stderr = strings.NewReader(stdin), &stdout, &stderr
	err := cmd.Run()
	if err != nil {
		w.t.Logf("formicary %s: %v: %s", strings.Join(args, " "), err, stderr.String())
	}
	return stdout.String(), cmd.ProcessState.ExitCode()
}

// attempt and task are what the API says of them.
type attempt struct {
	UID     string    `json:"uid"`
	Number  int       `json:"number"`
	State   string    `json:"state"`
	Ant     string    `json:"ant_id"`
	Started time.Time `json:"started_at"`
	Class   string    `json:"failure_class"`
	Message string    `json:"message"`
	Cache   *cacheUse `json:"cache"`
}

type task struct {
	Name     string         `json:"name"`
	State    string         `json:"state"`
	Message  string         `json:"message"`
	Attempts []attempt      `json:"attempts"`
	Outputs  map[string]any `json:"outputs"`
	Child    string         `json:"child_request_id"`
}

// tasks returns the tasks of a request's newest run; with itemsOf the items of that one.
func (w *world) tasks(id, itemsOf string) []task {
	w.t.Helper()
	var out struct {
		Tasks []task `json:"tasks"`
	}
	w.eventually("tasks of "+id, func() bool {
		_, err := w.call(http.MethodGet, "/api/v1/jobs/requests/"+id+"/tasks?page_size=1000&items_of="+itemsOf, "application/json", nil, &out)
		return err == nil
	})
	return out.Tasks
}

// task returns one task of the newest run.
func (w *world) task(id, name string) task {
	w.t.Helper()
	for _, t := range w.tasks(id, "") {
		if t.Name == name {
			return t
		}
	}
	w.t.Fatalf("request %s has no task %s", id, name)
	return task{}
}
