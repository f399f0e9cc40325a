package apigateway

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"sync"
	"time"
)

// proxy passes the WebSockets of workers on to the ant that serves them. The ant knows workers and their tokens, the
// gateway does not look into what they say.
type proxy struct {
	next http.Handler

	life context.Context // of the connections
	end  context.CancelFunc
	mu   sync.Mutex
	over bool
	open sync.WaitGroup
}

// newProxy returns one to host:port.
func newProxy(addr string, log *slog.Logger) *proxy {
	to := &url.URL{Scheme: "http", Host: addr}
	dialer := &net.Dialer{Timeout: dialTime}
	p := &proxy{next: &httputil.ReverseProxy{
		Rewrite: func(r *httputil.ProxyRequest) {
			r.SetURL(to)
			r.Out.Host = r.In.Host // the bridge compares it with the origin of pages
			r.SetXForwarded()
		},
		Transport: &http.Transport{DialContext: dialer.DialContext, ResponseHeaderTimeout: dialTime, DisableKeepAlives: true},
		ErrorLog:  slog.NewLogLogger(log.Handler(), slog.LevelDebug),
		ErrorHandler: func(w http.ResponseWriter, _ *http.Request, err error) {
			log.Warn("the ant that serves workers is not reached", "addr", addr, "error", err)
			http.Error(w, "the ant that serves workers is not reached; try again", http.StatusBadGateway)
		},
	}}
	p.life, p.end = context.WithCancel(context.Background())
	return p
}

const dialTime = 10 * time.Second

// ServeHTTP passes one connection on until it, or the gateway, ends.
func (p *proxy) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if !p.enter() {
		http.Error(w, "the gateway is closing", http.StatusServiceUnavailable)
		return
	}
	defer p.open.Done()
	ctx, cancel := context.WithCancel(r.Context())
	defer cancel()
	defer context.AfterFunc(p.life, cancel)()
	p.next.ServeHTTP(w, r.WithContext(ctx))
}

func (p *proxy) enter() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.over {
		p.open.Add(1)
	}
	return !p.over
}

// Run ends the connections with ctx: workers come again elsewhere, or to the next life of this gateway.
func (p *proxy) Run(ctx context.Context) error {
	<-ctx.Done()
	p.mu.Lock()
	p.over = true
	p.mu.Unlock()
	p.end()
	p.open.Wait()
	return nil
}

// workers returns the handler of /ws/ants, and the proxy that must run with it, if any; nil when no workers are served.
func (s *Service) workers() (http.Handler, *proxy) {
	switch {
	case s.deps.Workers != nil:
		return s.deps.Workers, nil
	case s.conf.Workers == "":
		return nil, nil
	}
	p := newProxy(s.conf.Workers, s.deps.Log)
	return p, p
}

// validateWorkers checks the address of Config.Workers.
func validateWorkers(addr string) error {
	if addr == "" {
		return nil
	}
	host, port, err := net.SplitHostPort(addr)
	if err != nil || host == "" || port == "" {
		return fmt.Errorf("address of workers %q: want host:port", addr)
	}
	return nil
}
