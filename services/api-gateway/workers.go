package apigateway

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// proxy passes the WebSockets of workers on to an ant that serves them, to several in turn. The ant knows workers and their tokens, the
// gateway does not look into what they say.
type proxy struct {
	next  http.Handler
	addrs []string
	turn  atomic.Uint32

	life context.Context // of the connections
	end  context.CancelFunc
	mu   sync.Mutex
	over bool
	open sync.WaitGroup
}

// newProxy returns one to the host:port of each.
func newProxy(addrs []string, log *slog.Logger) *proxy {
	to := &url.URL{Scheme: "http", Host: addrs[0]}
	p := &proxy{addrs: addrs}
	p.next = &httputil.ReverseProxy{
		Rewrite: func(r *httputil.ProxyRequest) {
			r.SetURL(to)
			r.Out.Host = r.In.Host // the bridge compares it with the origin of pages
			r.SetXForwarded()
		},
		Transport: &http.Transport{DialContext: p.dial, ResponseHeaderTimeout: dialTime, DisableKeepAlives: true},
		ErrorLog:  slog.NewLogLogger(log.Handler(), slog.LevelDebug),
		ErrorHandler: func(w http.ResponseWriter, _ *http.Request, err error) {
			log.Warn("no ant that serves workers is reached", "addrs", addrs, "error", err)
			http.Error(w, "the ant that serves workers is not reached; try again", http.StatusBadGateway)
		},
	}
	p.life, p.end = context.WithCancel(context.Background())
	return p
}

const dialTime = 10 * time.Second

// dial connects to the next ant that answers. A worker goes on with its tasks at any of them.
func (p *proxy) dial(ctx context.Context, network, _ string) (conn net.Conn, err error) {
	dialer := &net.Dialer{Timeout: dialTime}
	first := p.turn.Add(1)
	for i := range p.addrs {
		conn, err = dialer.DialContext(ctx, network, p.addrs[(int(first)+i)%len(p.addrs)])
		if err == nil {
			return conn, nil
		}
	}
	return nil, err
}

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
	p := newProxy(bridges(s.conf.Workers), s.deps.Log)
	return p, p
}

// bridges splits Config.Workers.
func bridges(list string) (addrs []string) {
	for addr := range strings.SplitSeq(list, ",") {
		addrs = append(addrs, strings.TrimSpace(addr))
	}
	return addrs
}

// validateWorkers checks the addresses of Config.Workers.
func validateWorkers(list string) error {
	if list == "" {
		return nil
	}
	for _, addr := range bridges(list) {
		host, port, err := net.SplitHostPort(addr)
		if err != nil || host == "" || port == "" {
			return fmt.Errorf("address of workers %q: want host:port", addr)
		}
	}
	return nil
}
