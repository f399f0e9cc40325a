// Package httptask executes tasks that are one HTTP request: the status is the exit code, the body is the result.
package httptask

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/net/http/httpguts"

	"github.com/formicary/formicary/libs/egress"
	"github.com/formicary/formicary/services/ant/internal/executor"
)

// encoding of a body.
type encoding int

const (
	noBody encoding = iota
	asJSON
	asForm
)

type method struct {
	name     string // of HTTP
	encoding encoding
}

var methods = map[string]method{ //nolint:gochecknoglobals // a constant table
	"HTTP_GET":       {http.MethodGet, noBody},
	"HTTP_DELETE":    {http.MethodDelete, noBody},
	"HTTP_POST_JSON": {http.MethodPost, asJSON},
	"HTTP_POST_FORM": {http.MethodPost, asForm},
	"HTTP_PUT_JSON":  {http.MethodPut, asJSON},
	"HTTP_PUT_FORM":  {http.MethodPut, asForm},
	"HTTP_PATCH":     {http.MethodPatch, asJSON},
}

const (
	// keptWhole is the longest body that the result holds whole; of a longer one it holds the first keptOfLong bytes, the
	// first logged bytes are in the log, and all of it is an artifact.
	keptWhole  = 64 << 10
	keptOfLong = 4 << 10
	logged     = 10 << 20
	failedAt   = http.StatusBadRequest
	shown      = 512 // bytes of a body in the message of a failure
)

// Options of the executor.
type Options struct {
	// Egress says which addresses requests may reach.
	Egress egress.Policy
	// UserAgent of the requests.
	UserAgent string
	// MaxAnswer is the longest body that is read, in bytes; 0 means 1 GiB. One that is longer fails its task.
	MaxAnswer int64
	// Dir is where long answers wait until they are stored; empty means the directory of the system for such files.
	Dir string
}

// Executor makes requests.
type Executor struct {
	opts   Options
	client *http.Client
}

// New returns an executor that uses no proxy and keeps no cookies.
func New(o Options) *Executor {
	o.MaxAnswer = cmp.Or(o.MaxAnswer, 1<<30)
	client := egress.Client(egress.Options{Policy: o.Egress})
	client.CheckRedirect = redirect
	return &Executor{opts: o, client: client}
}

// redirect follows what egress.Redirect lets pass. Headers of the task are its own secrets often enough: they
// do not go to another host, and neither does the address that was asked, whose query may hold more of them. What was
// to be sent to one host is not sent to another (307 and 308 ask for that): the task fails instead, because without
// its body the request would mean something else. Once a request has been at another host nothing is told any more,
// also when that sends it back.
func redirect(req *http.Request, via []*http.Request) error {
	if err := egress.Redirect(req, via); err != nil {
		return err
	}
	switch {
	case !strayed(req, via):
	case req.Body != nil && req.Body != http.NoBody:
		return errors.New("redirect with the body to another host")
	default:
		req.Header.Del("Referer")
		for name := range via[0].Header {
			if name != "User-Agent" {
				req.Header.Del(name)
			}
		}
	}
	return nil
}

// strayed reports whether the request, or one on its way, is for another host than the first.
func strayed(req *http.Request, via []*http.Request) bool {
	first := via[0].URL.Host
	return req.URL.Host != first || slices.ContainsFunc(via, func(r *http.Request) bool { return r.URL.Host != first })
}

// Methods returns the HTTP methods.
func (e *Executor) Methods() []string {
	var out []string
	for m := range methods {
		out = append(out, m)
	}
	slices.Sort(out)
	return out
}

// Healthy is always true: a request needs nothing of the ant.
func (e *Executor) Healthy() error { return nil }

// Recover has nothing to do: a request ends with the process.
func (e *Executor) Recover(context.Context, map[string]string) error { return nil }

// Run closes idle connections when ctx ends.
func (e *Executor) Run(ctx context.Context) error {
	<-ctx.Done()
	e.client.CloseIdleConnections()
	return nil
}

// Prepare takes a task.
func (e *Executor) Prepare(t executor.Task, out executor.Output) executor.Execution {
	x := &execution{e: e, task: t, out: out, stopped: make(chan struct{})}
	x.stop = sync.OnceFunc(func() { close(x.stopped) })
	return x
}

type execution struct {
	e       *Executor
	task    executor.Task
	out     executor.Output
	stop    func()
	stopped chan struct{}
	answer  *os.File // has no name any more; nil: the body was short
	size    int64    // of the answer
}

// Create does nothing.
func (x *execution) Create() error { return nil }

// Start does nothing: the request is made by Wait.
func (x *execution) Start() string { return "" }

// Close removes the answer.
func (x *execution) Close() {
	if x.answer != nil {
		_ = x.answer.Close()
	}
}

// Answer returns a body that is too long for the result.
func (x *execution) Answer() (io.Reader, int64) {
	if x.answer == nil {
		return nil, 0
	}
	return io.NewSectionReader(x.answer, 0, x.size), x.size
}

// Stop cuts the request; there is nobody who could use the grace.
func (x *execution) Stop(time.Duration) { x.stop() }

// Wait makes the request and reads the answer.
func (x *execution) Wait() executor.End {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	done := make(chan struct{})
	defer close(done)
	go func() {
		select {
		case <-x.stopped:
			cancel()
		case <-done:
		}
	}()
	req, err := x.request(ctx)
	if err != nil {
		return executor.Refuse(err.Error())
	}
	res, err := x.e.client.Do(req)
	if err != nil {
		return executor.End{ExitCode: -1, Class: executor.User, Message: plain(err)}
	}
	defer func() { _ = res.Body.Close() }()
	return x.read(res)
}

// plain leaves out what the URL of the request may hold.
func plain(err error) string {
	if u, ok := errors.AsType[*url.Error](err); ok {
		return "request failed: " + u.Err.Error()
	}
	return "request failed: " + err.Error()
}

func (x *execution) request(ctx context.Context) (*http.Request, error) {
	m, ok := methods[x.task.Method]
	if !ok {
		return nil, fmt.Errorf("method %s is none of HTTP", x.task.Method)
	}
	target, err := x.url()
	if err != nil {
		return nil, err
	}
	body, kind, err := encode(m.encoding, x.task.Variables)
	if err != nil {
		return nil, err
	}
	req, err := http.NewRequestWithContext(ctx, m.name, target.String(), bytes.NewReader(body))
	if err != nil {
		return nil, fmt.Errorf("make request: %w", err)
	}
	if m.encoding == noBody {
		req.Body, req.ContentLength = http.NoBody, 0
	} else {
		req.Header.Set("Content-Type", kind)
	}
	req.Header.Set("User-Agent", x.e.opts.UserAgent)
	if m.name != http.MethodGet && x.task.IdempotencyKey != "" {
		req.Header.Set("Idempotency-Key", x.task.IdempotencyKey)
	}
	for k, v := range x.task.Headers {
		if !httpguts.ValidHeaderFieldName(k) || !httpguts.ValidHeaderFieldValue(v) {
			return nil, fmt.Errorf("the header %q cannot be sent: its name or its value holds what no header may, a line break for example", k)
		}
		if strings.EqualFold(k, "Host") {
			req.Host = v
			continue
		}
		req.Header.Set(k, v)
	}
	return req, nil
}

// url of the task, with its query; a task without one may give it as its script.
func (x *execution) url() (*url.URL, error) {
	text := x.task.URL
	if text == "" && len(x.task.Script) > 0 {
		text = strings.TrimSpace(x.task.Script[0])
	}
	u, err := egress.URL(text)
	if err != nil {
		return nil, fmt.Errorf("url: %w", err)
	}
	if len(x.task.Query) > 0 {
		q := u.Query()
		for k, v := range x.task.Query {
			q.Set(k, v)
		}
		u.RawQuery = q.Encode()
	}
	return u, nil
}

// encode makes a body of the declared variables.
func encode(as encoding, vars map[string]any) (body []byte, kind string, err error) {
	switch as {
	case noBody:
	case asJSON:
		if vars == nil {
			vars = map[string]any{}
		}
		body, err = json.Marshal(vars)
		if err != nil {
			return nil, "", fmt.Errorf("encode variables: %w", err)
		}
		return body, "application/json", nil
	case asForm:
		form := url.Values{}
		for k, v := range vars {
			text, err := formValue(v)
			if err != nil {
				return nil, "", fmt.Errorf("encode variable %s: %w", k, err)
			}
			form.Set(k, text)
		}
		return []byte(form.Encode()), "application/x-www-form-urlencoded", nil
	}
	return nil, "", nil
}

// formValue is the text of a string, and the JSON of anything else.
func formValue(v any) (string, error) {
	switch v := v.(type) {
	case string:
		return v, nil
	case nil:
		return "", nil
	}
	raw, err := json.Marshal(v)
	return string(raw), err
}

func (x *execution) read(res *http.Response) executor.End {
	end := executor.End{ExitCode: res.StatusCode}
	body := x.task.Masks.Reader(res.Body)
	head, err := io.ReadAll(io.LimitReader(body, keptWhole+1))
	if err == nil && len(head) > keptWhole {
		err = x.spill(head, body)
	}
	switch {
	case err != nil:
		x.Close() // only a whole answer is one
		x.answer = nil
		end.Class, end.Message = executor.User, fmt.Sprintf("read the answer to status %d: %v", res.StatusCode, plain(err))
	case res.StatusCode >= failedAt:
		end.Class, end.Message = executor.User, "status "+res.Status
		if len(head) > 0 {
			end.Message += "\n" + string(head[:min(len(head), shown)])
		}
	}
	end.Body = string(head)
	if len(head) > keptWhole {
		end.Body, end.BodyCut = string(head[:keptOfLong]), true
	}
	return end
}

// spill puts a long body into a file, and its beginning into the log.
func (x *execution) spill(head []byte, rest io.Reader) error {
	f, err := os.CreateTemp(x.e.opts.Dir, "formicary-answer-")
	if err != nil {
		return fmt.Errorf("keep it: %w", err)
	}
	x.answer = f
	if err := os.Remove(f.Name()); err != nil { // its bytes go with the descriptor
		return fmt.Errorf("keep it: %w", err)
	}
	all := io.MultiReader(bytes.NewReader(head), rest)
	if x.size, err = io.Copy(f, io.TeeReader(io.LimitReader(all, logged), x.out.Stdout())); err != nil {
		return err
	}
	n, err := io.Copy(f, io.LimitReader(all, max(x.e.opts.MaxAnswer+1-x.size, 0)))
	if x.size += n; err == nil && x.size > x.e.opts.MaxAnswer {
		err = fmt.Errorf("it is longer than %d MiB", x.e.opts.MaxAnswer>>20)
	}
	return err
}
