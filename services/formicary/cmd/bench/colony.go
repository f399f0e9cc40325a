package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"sync"
	"syscall"
	"time"
)

// colony is a `formicary up` that the bench started.
type colony struct {
	cmd    *exec.Cmd
	dir    string
	base   string
	http   *http.Client
	cancel context.CancelFunc
	exited chan struct{} // closed when the process has ended

	mu    sync.Mutex
	ended map[string]chan ending
}

// ending is the terminal state of a request and when the bench saw it.
type ending struct {
	state string
	at    time.Time
}

const readyWait = 60 * time.Second

// startColony starts the binary on a fresh directory, stops it, and starts it again on the initialised one, which is
// the start that is measured.
func startColony(ctx context.Context, bin string, rep report) (*colony, error) {
	dir, err := os.MkdirTemp("", "formicary-bench-")
	if err != nil {
		return nil, fmt.Errorf("make data directory: %w", err)
	}
	if err := os.Chmod(dir, 0o711); err != nil { // #nosec G302 -- PostgreSQL runs as another user below it
		return nil, fmt.Errorf("open data directory: %w", err)
	}
	for round := range 2 {
		began := time.Now()
		c, err := launch(ctx, bin, dir)
		if err != nil {
			return nil, errors.Join(err, os.RemoveAll(dir))
		}
		took := time.Since(began)
		if round == 1 {
			rep.set("up", "ready_s", took.Seconds())
			time.Sleep(3 * time.Second) // lets the start-up's garbage go before memory is read
			rep.set("up", "idle_rss_mib", c.rss())
			return c, c.watch(ctx)
		}
		rep.set("up", "first_ready_s", took.Seconds())
		c.end()
	}
	return nil, errors.New("unreachable")
}

func launch(ctx context.Context, bin, dir string, flags ...string) (*colony, error) {
	args := append([]string{"up", "--data", filepath.Join(dir, "data"), "--listen", "127.0.0.1:0"}, flags...)
	cmd := exec.CommandContext(ctx, bin, args...) // #nosec G204 -- of the bench
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	log, err := os.Create(filepath.Join(dir, "up.log"))
	if err != nil {
		return nil, fmt.Errorf("create log: %w", err)
	}
	cmd.Stdout, cmd.Stderr = log, log
	file := filepath.Join(dir, "data", "colony.json")
	_ = os.Remove(file)
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("start %s: %w", bin, err)
	}
	c := &colony{cmd: cmd, dir: dir, exited: make(chan struct{}), ended: map[string]chan ending{}, http: &http.Client{
		Transport: &http.Transport{MaxIdleConnsPerHost: 64},
	}}
	go func() {
		_ = cmd.Wait()
		close(c.exited)
	}()
	if err := c.awaitReady(ctx, file); err != nil {
		c.end()
		raw, _ := os.ReadFile(log.Name())
		return nil, fmt.Errorf("%w:\n%s", err, raw)
	}
	return c, nil
}

func (c *colony) awaitReady(ctx context.Context, file string) error {
	deadline := time.NewTimer(readyWait)
	defer deadline.Stop()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for !c.ready(ctx, file) {
		select {
		case <-tick.C:
		case <-c.exited:
			return errors.New("the colony ended at its start")
		case <-deadline.C:
			return fmt.Errorf("the colony was not ready after %s", readyWait)
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil
}

// ready reads the addresses and asks whether the colony takes work.
func (c *colony) ready(ctx context.Context, file string) bool {
	raw, err := os.ReadFile(file)
	if err != nil {
		return false
	}
	var col struct {
		PID       int
		HTTP, Ops string
	}
	if json.Unmarshal(raw, &col) != nil || col.PID != c.cmd.Process.Pid {
		return false
	}
	c.base = "http://" + col.HTTP
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+col.Ops+"/readyz", nil)
	if err != nil {
		return false
	}
	res, err := c.http.Do(req)
	if err != nil {
		return false
	}
	defer func() { _ = res.Body.Close() }()
	return res.StatusCode == http.StatusOK
}

// end stops the process and waits for it.
func (c *colony) end() {
	if c.cancel != nil {
		c.cancel()
	}
	_ = c.cmd.Process.Signal(syscall.SIGTERM)
	<-c.exited
}

func (c *colony) stop() {
	c.end()
	_ = os.RemoveAll(c.dir)
}

// call sends a JSON request and decodes the answer into out unless it is nil.
func (c *colony) call(ctx context.Context, method, path, contentType string, body []byte, out any) error {
	req, err := http.NewRequestWithContext(ctx, method, c.base+path, bytes.NewReader(body))
	if err != nil {
		return err
	}
	req.Header.Set("Content-Type", contentType)
	res, err := c.http.Do(req)
	if err != nil {
		return err
	}
	defer func() { _ = res.Body.Close() }()
	raw, err := io.ReadAll(res.Body)
	if err != nil {
		return err
	}
	if res.StatusCode >= http.StatusBadRequest {
		return fmt.Errorf("%s %s: %s: %s", method, path, res.Status, raw)
	}
	if out == nil {
		return nil
	}
	return json.Unmarshal(raw, out)
}

func (c *colony) define(ctx context.Context, yaml string) error {
	return c.call(ctx, http.MethodPost, "/api/v1/jobs/definitions", "application/yaml", []byte(yaml), nil)
}

// submit returns the id of the new request.
func (c *colony) submit(ctx context.Context, jobType string) (string, error) {
	var out struct {
		Request struct{ ID string }
	}
	err := c.call(ctx, http.MethodPost, "/api/v1/jobs/requests", "application/json", []byte(`{"job_type":"`+jobType+`"}`), &out)
	return out.Request.ID, err
}

// watch follows the events of all requests on one stream and reopens it when it ends.
func (c *colony) watch(ctx context.Context) error {
	ctx, c.cancel = context.WithCancel(ctx)
	hello := make(chan error, 1)
	go func() {
		for ctx.Err() == nil {
			err := c.follow(ctx, hello)
			if ctx.Err() == nil && err != nil {
				fmt.Fprintln(os.Stderr, "bench: event stream:", err)
			}
		}
	}()
	select {
	case err := <-hello:
		return err
	case <-time.After(readyWait):
		return errors.New("the event stream said no hello")
	}
}

func (c *colony) follow(ctx context.Context, hello chan<- error) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, c.base+"/api/v1/events", nil)
	if err != nil {
		return err
	}
	req.Header.Set("Accept", "application/x-ndjson")
	res, err := c.http.Do(req)
	if err != nil {
		return err
	}
	defer func() { _ = res.Body.Close() }()
	lines := bufio.NewScanner(res.Body)
	for lines.Scan() {
		at := time.Now()
		var m struct {
			Result struct {
				Kind      string `json:"kind"`
				RequestID string `json:"request_id"`
				State     string `json:"state"`
			} `json:"result"`
		}
		if err := json.Unmarshal(lines.Bytes(), &m); err != nil {
			return fmt.Errorf("read event %q: %w", lines.Text(), err)
		}
		select {
		case hello <- nil:
		default:
		}
		if m.Result.Kind == "request" && terminal(m.Result.State) {
			c.done(m.Result.RequestID) <- ending{m.Result.State, at}
		}
	}
	return lines.Err()
}

func terminal(state string) bool {
	return slices.Contains([]string{"COMPLETED", "FAILED", "CANCELLED", "SKIPPED"}, state)
}

// done is the mailbox for the end of a request; the event may come before the answer to its submission.
func (c *colony) done(id string) chan ending {
	c.mu.Lock()
	defer c.mu.Unlock()
	ch := c.ended[id]
	if ch == nil {
		ch = make(chan ending, 4)
		c.ended[id] = ch
	}
	return ch
}

// wait returns when the request has ended; a job that does not complete is a fault of the measurement.
func (c *colony) wait(ctx context.Context, id string) (ending, error) {
	select {
	case e := <-c.done(id):
		c.mu.Lock()
		delete(c.ended, id)
		c.mu.Unlock()
		if e.state != "COMPLETED" {
			return e, fmt.Errorf("request %s ended as %s", id, e.state)
		}
		return e, nil
	case <-time.After(3 * time.Minute):
		return ending{}, fmt.Errorf("request %s did not end in 3 minutes", id)
	case <-ctx.Done():
		return ending{}, ctx.Err()
	}
}
