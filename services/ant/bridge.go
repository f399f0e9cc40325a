package ant

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"path/filepath"
	"time"

	"github.com/formicary/formicary/libs/run"
	"github.com/formicary/formicary/services/ant/internal/relay"
	"github.com/formicary/formicary/services/ant/internal/socket"
	"github.com/formicary/formicary/services/ant/internal/wire"
)

// BridgeConfig of a bridge.
type BridgeConfig struct {
	// Dir holds the spools of the workers' ants, one directory for each. Required; no other bridge may use it.
	Dir string
	// Token that workers must present; empty asks for none. The handler has no other authentication.
	Token string
	// Reserved are ids that no worker may take: those of ants.
	Reserved []string
	// MaxWorkers is how many workers may be connected at once.
	MaxWorkers int
	// Accept is how long a task waits for a worker's accept before it is sent again.
	Accept time.Duration
	// Silence is how long a worker that has accepted may say nothing before the attempt is lost.
	Silence time.Duration
	// Away is how long a worker without connection is waited for before its attempts are lost and it is forgotten.
	Away time.Duration
	// Ping is the interval of pings on a connection.
	Ping time.Duration
	// Version is for people.
	Version string
	// LogLimit, Beat, FenceAfter, ResendAfter, UploadPatience, DrainTimeout and StopTimeout are those of each worker's
	// ant: see Config.
	LogLimit       int64
	Beat           time.Duration
	FenceAfter     time.Duration
	ResendAfter    time.Duration
	UploadPatience time.Duration
	DrainTimeout   time.Duration
	StopTimeout    time.Duration
}

// DefaultBridgeConfig returns a configuration that lacks Dir. Its times are those that PROTOCOL.md tells.
func DefaultBridgeConfig() BridgeConfig {
	c := DefaultConfig()
	return BridgeConfig{
		MaxWorkers: 256, Accept: wire.AcceptWithin, Silence: wire.SilentFor, Away: wire.AwayFor, Ping: 10 * time.Second, Version: c.Version,
		LogLimit: c.LogLimit, Beat: c.Beat, FenceAfter: c.FenceAfter, ResendAfter: c.ResendAfter, UploadPatience: c.UploadPatience, DrainTimeout: c.DrainTimeout,
		StopTimeout: c.StopTimeout,
	}
}

// Validate reports all faults at once.
func (c BridgeConfig) Validate() error {
	var faults []error
	for name, d := range map[string]time.Duration{"accept": c.Accept, "silence": c.Silence, "away": c.Away, "ping": c.Ping} {
		if d <= 0 {
			faults = append(faults, fmt.Errorf("%s %s: want more than 0", name, d))
		}
	}
	if c.MaxWorkers < 1 {
		faults = append(faults, fmt.Errorf("max workers %d: want 1 or more", c.MaxWorkers))
	}
	return errors.Join(append(faults, c.of("worker", nil, 1).Validate())...)
}

// of returns the configuration of a worker's ant.
func (c BridgeConfig) of(id string, tags []string, slots int) Config {
	dir := c.Dir
	if dir != "" {
		dir = filepath.Join(dir, id)
	}
	return Config{
		ID: id, Dir: dir, Tags: tags, Slots: slots, Labels: map[string]string{"worker": "websocket"}, Version: c.Version,
		LogLimit: c.LogLimit, Beat: c.Beat, FenceAfter: c.FenceAfter, ResendAfter: c.ResendAfter, UploadPatience: c.UploadPatience, DrainTimeout: c.DrainTimeout,
		StopTimeout: c.StopTimeout,
	}
}

// Bridge lets workers connect by WebSocket. Each of them is an ant of its own to the colony, with the session, the
// claims and the leases of any ant; its executor asks the worker.
type Bridge struct {
	conf BridgeConfig
	deps Deps
	hub  *socket.Hub
}

// NewBridge checks the configuration. Run, or Serve, must run while workers are let in.
func NewBridge(conf BridgeConfig, deps Deps) (*Bridge, error) {
	if err := conf.Validate(); err != nil {
		return nil, fmt.Errorf("configure bridge: %w", err)
	}
	b := &Bridge{conf: conf, deps: deps}
	b.hub = socket.New(socket.Options{
		Token: conf.Token, Reserved: conf.Reserved, MaxWorkers: conf.MaxWorkers, Ping: conf.Ping, Log: deps.Log,
		Times: relay.Times{Accept: conf.Accept, Silence: conf.Silence, Away: conf.Away}, Serve: b.serve,
	})
	return b, nil
}

// Handler is where workers connect: it belongs at /ws/ants.
func (b *Bridge) Handler() http.Handler { return b.hub }

// Run serves workers until ctx ends, then drains them.
func (b *Bridge) Run(ctx context.Context) error { return b.hub.Run(ctx) }

// Path is where workers connect.
const Path = "/ws/ants"

const headerTime = 10 * time.Second

// Serve is Run with the handler on a port of its own. Without a token it must be one that other machines do not reach.
func (b *Bridge) Serve(ctx context.Context, lis net.Listener) error {
	if addr, ok := lis.Addr().(*net.TCPAddr); ok && !addr.IP.IsLoopback() && b.conf.Token == "" {
		return errors.Join(fmt.Errorf("workers are let in at %s, which other machines reach: set a token", addr), lis.Close())
	}
	mux := http.NewServeMux()
	mux.Handle("GET "+Path, b.hub)
	server := &http.Server{Handler: mux, ReadHeaderTimeout: headerTime, ErrorLog: slog.NewLogLogger(b.deps.Log.Handler(), slog.LevelDebug)}
	return run.Group(ctx,
		run.Member{Name: "bridge", Run: b.Run},
		run.Member{Name: "port of workers", Run: func(ctx context.Context) error {
			defer context.AfterFunc(ctx, func() { _ = server.Close() })() // not the connections of workers: those drain
			if err := server.Serve(lis); ctx.Err() == nil {
				return err
			}
			return nil
		}},
	)
}

// serve is the ant of one worker.
func (b *Bridge) serve(ctx context.Context, w *socket.Worker) error {
	deps := b.deps
	if deps.As != nil {
		var done func()
		var err error
		if deps.ResourceManager, deps.Supervisor, done, err = deps.As(w.ID()); err != nil {
			return fmt.Errorf("connect as ant %s: %w", w.ID(), err)
		}
		defer done()
	}
	s, err := New(b.conf.of(w.ID(), w.Tags(), w.Slots()), deps)
	if err != nil {
		return err
	}
	s.worker = w
	return s.Run(ctx)
}
