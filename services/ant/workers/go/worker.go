// Package worker is the reference worker in Go: it takes tasks of the method WEBSOCKET from an ant's bridge, or of the
// method MESSAGING from a NATS subject, and hands each to a function. PROTOCOL.md, two directories up, is what it
// speaks.
//
//	err := worker.Run(ctx, worker.Config{ID: "w-1", URL: "ws://127.0.0.1:7777/ws/ants", Tags: []string{"render"}, Handler: render})
package worker

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"time"

	"github.com/formicary/formicary/services/ant/internal/wire"
)

// Task is what a worker is asked to do.
type Task struct {
	// UID of the attempt. A handler is called once for it in the life of the worker.
	UID string
	// JobID, JobType, Run, Name and Attempt say which attempt of which task it is.
	JobID, JobType string
	Run            int
	Name           string
	Attempt        int
	// IdempotencyKey is the same for all attempts of the task in its run: hand it on to what must not happen twice.
	IdempotencyKey string
	// Variables declared by the task, Environment all variables as text, Script its lines. A number is a float64 or,
	// where that would change its digits, a json.Number.
	Variables   map[string]any
	Environment map[string]string
	Script      []string

	log func(lines ...string)
}

// Log adds a line to the task's log.
func (t Task) Log(format string, args ...any) { t.log(lines(fmt.Sprintf(format, args...))...) }

// Result of a handler.
type Result struct {
	// ExitCode that on_exit_code of the task sees.
	ExitCode int
	// Outputs for later tasks, 64 KiB in all.
	Outputs map[string]any
	// Value is the result of the task: text, or anything that can be JSON.
	Value any
}

// Failure is an error that tells more than its text.
type Failure struct {
	// ExitCode, 1 unless given.
	ExitCode int
	// Code such as ERR_INPUT.
	Code    string
	Message string
}

func (f *Failure) Error() string { return f.Code + ": " + f.Message }

// Handler does one task. Its context ends when the attempt is cancelled and when the worker ends; an error fails the
// attempt, except at the end of the worker: then the attempt is given back.
type Handler func(ctx context.Context, t Task) (Result, error)

// Config of a worker.
type Config struct {
	// ID of the worker: letters, digits, '-', '_', at most 63; no two workers may share one.
	ID string
	// URL of the bridge (ws:// or wss://) or of NATS (nats:// or tls://).
	URL string
	// Queue is the NATS subject to take tasks from; workers with the same Group ("workers" unless given) share them.
	Queue, Group string
	// Tags that it owns; with a bridge only.
	Tags []string
	// Slots are how many tasks it does at once; 0 means 1.
	Slots int
	// Token that the bridge asks for, if it does.
	Token string
	// Patience is how long the bridge may say nothing before the worker connects again; 0 means 30 s.
	Patience time.Duration
	Handler  Handler
	Log      *slog.Logger
}

// Run works until ctx ends; then handlers are cancelled and waited for. It ends early when the worker is refused, and
// when another one takes its id.
func Run(ctx context.Context, c Config) error {
	if c.ID == "" || c.Handler == nil {
		return errors.New("a worker needs an id and a handler")
	}
	u, err := url.Parse(c.URL)
	if err != nil {
		return fmt.Errorf("url of the worker: %w", err)
	}
	c.Slots = max(c.Slots, 1)
	c.Patience = cmp.Or(c.Patience, wire.SilentFor)
	if c.Group == "" {
		c.Group = "workers"
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	b := newBook(c)
	switch u.Scheme {
	case "ws", "wss":
		return overSocket(ctx, c, b)
	case "nats", "tls":
		return overNATS(ctx, c, b)
	}
	return fmt.Errorf("url of the worker: scheme %q, want ws, wss, nats or tls", u.Scheme)
}
