// Package telemetry gives a service its logger, its metrics and the operations port: /livez, /readyz, /metrics and the
// profiles of the Go runtime below /debug/pprof/, which only this machine sees.
package telemetry

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net"
	"net/http"
	"net/http/pprof" //#nosec G108 -- served on the operations port only, never by the default mux
	"net/netip"
	"strings"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	otelprom "go.opentelemetry.io/otel/exporters/prometheus"
	"go.opentelemetry.io/otel/metric"
	sdk "go.opentelemetry.io/otel/sdk/metric"
)

// Logger writes JSON lines, or text when format is "text", from level on ("debug", "info", "warn", "error").
func Logger(w io.Writer, level, format string) (*slog.Logger, error) {
	var l slog.Level
	if err := l.UnmarshalText([]byte(level)); err != nil {
		return nil, fmt.Errorf("log level %q: want debug, info, warn or error", level)
	}
	o := &slog.HandlerOptions{Level: l}
	if format == "text" {
		return slog.New(slog.NewTextHandler(w, o)), nil
	}
	return slog.New(slog.NewJSONHandler(w, o)), nil
}

// Metrics collects the instruments of one process.
type Metrics struct {
	registry *prometheus.Registry
	provider *sdk.MeterProvider
}

// NewMetrics returns an empty collection with the metrics of the Go runtime.
func NewMetrics() (*Metrics, error) {
	reg := prometheus.NewRegistry()
	reg.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	exp, err := otelprom.New(otelprom.WithRegisterer(reg), otelprom.WithoutScopeInfo())
	if err != nil {
		return nil, fmt.Errorf("make metrics exporter: %w", err)
	}
	return &Metrics{registry: reg, provider: sdk.NewMeterProvider(sdk.WithReader(exp))}, nil
}

// Meter makes the instruments of a package.
func (m *Metrics) Meter(name string) metric.Meter { return m.provider.Meter(name) }

// Ops is the operations port.
type Ops struct {
	metrics *Metrics
	mu      sync.Mutex
	checks  map[string]func(context.Context) error
}

// NewOps returns a port without readiness checks: ready from the start.
func NewOps(m *Metrics) *Ops {
	return &Ops{metrics: m, checks: map[string]func(context.Context) error{}}
}

// Ready adds a check that must pass for /readyz to say yes.
func (o *Ops) Ready(name string, check func(context.Context) error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.checks[name] = check
}

const checkTime = 2 * time.Second

// Handler serves the pages.
func (o *Ops) Handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /livez", func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "ok\n") })
	mux.HandleFunc("GET /readyz", o.readyz)
	mux.HandleFunc("GET /debug/pprof/", nearby(pprof.Index))
	mux.HandleFunc("GET /debug/pprof/profile", nearby(pprof.Profile))
	mux.HandleFunc("GET /debug/pprof/trace", nearby(pprof.Trace))
	mux.Handle("GET /metrics", promhttp.HandlerFor(o.metrics.registry, promhttp.HandlerOpts{}))
	return mux
}

// nearby serves this machine only: profiles show what is in the memory, and cost time. The name in the address must be this
// machine's as well, so that no page of another site, whose name its owner points here, reads them by way of a browser.
func nearby(next http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		from, err := netip.ParseAddrPort(r.RemoteAddr)
		host, _, hostErr := net.SplitHostPort(r.Host)
		if hostErr != nil {
			host = r.Host
		}
		named, nameErr := netip.ParseAddr(strings.Trim(host, "[]"))
		if err != nil || !from.Addr().Unmap().IsLoopback() || host != "localhost" && (nameErr != nil || !named.Unmap().IsLoopback()) {
			http.Error(w, "profiles are served to this machine only: ask 127.0.0.1 or localhost on it", http.StatusForbidden)
			return
		}
		next(w, r)
	}
}

func (o *Ops) readyz(w http.ResponseWriter, r *http.Request) {
	ctx, cancel := context.WithTimeout(r.Context(), checkTime)
	defer cancel()
	o.mu.Lock()
	checks := make(map[string]func(context.Context) error, len(o.checks))
	maps.Copy(checks, o.checks)
	o.mu.Unlock()
	var failed error
	for name, check := range checks {
		if err := check(ctx); err != nil {
			failed = errors.Join(failed, fmt.Errorf("%s: %w", name, err))
		}
	}
	if failed != nil {
		http.Error(w, failed.Error(), http.StatusServiceUnavailable)
		return
	}
	_, _ = io.WriteString(w, "ok\n")
}

// Serve answers on lis until ctx ends.
func Serve(ctx context.Context, lis net.Listener, h http.Handler) error {
	s := &http.Server{Handler: h, ReadHeaderTimeout: 10 * time.Second, BaseContext: func(net.Listener) context.Context { return ctx }}
	ended := make(chan error, 1)
	go func() { ended <- s.Serve(lis) }()
	select {
	case err := <-ended:
		return err
	case <-ctx.Done():
	}
	stop, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
	defer cancel()
	if err := s.Shutdown(stop); err != nil {
		_ = s.Close()
	}
	if err := <-ended; !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}
