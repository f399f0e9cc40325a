// Package egress opens the connections to addresses that people name: of HTTP tasks, webhooks, mail servers, providers of
// identity. A Policy says where they may lead. It is asked about the resolved address of every connection in the moment
// before it is opened, so it sees what a name means then, also behind a redirect; a name that meant something else when
// somebody looked before gains nothing.
//
// Addresses of the link, of metadata services and other special ranges are never reached. This host and private networks
// are, where the policy names them.
package egress

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"syscall"
	"time"
)

// RefusedError says that the policy does not allow a connection. Another try is refused as well, until the name means
// another address.
type RefusedError struct{ what string }

func (e *RefusedError) Error() string { return e.what }

func refuse(format string, args ...any) error { return &RefusedError{fmt.Sprintf(format, args...)} }

// Refused reports whether err is, or wraps, a refusal of a policy.
func Refused(err error) bool {
	_, ok := errors.AsType[*RefusedError](err)
	return ok
}

// Options of clients and dialers.
type Options struct {
	// Policy says where connections may lead.
	Policy Policy
	// Resolver of names; nil means that of the system.
	Resolver *net.Resolver
	// DialTime bounds the opening of a connection, and its TLS handshake as well; 0 means 10 s.
	DialTime time.Duration
	// Time bounds a request with its redirects and the reading of its answer; 0 leaves that to its context.
	Time time.Duration
	// MaxBody is how many bytes of an answer can be read, after decompression; more is an error. 0 leaves that to the reader.
	MaxBody int64
}

// dialTime is the default of Options.DialTime.
const dialTime = 10 * time.Second

// Dialer returns what opens TCP connections that the policy allows, for clients of other protocols than HTTP.
func Dialer(o Options) func(ctx context.Context, network, address string) (net.Conn, error) {
	return func(ctx context.Context, network, address string) (net.Conn, error) {
		host, _, err := net.SplitHostPort(address)
		if err != nil {
			return nil, refuse("the address %q is not allowed: want host:port", address)
		}
		d := net.Dialer{Timeout: cmp.Or(o.DialTime, dialTime), Resolver: o.Resolver, Control: o.Policy.control(host)}
		return d.DialContext(ctx, network, address)
	}
}

// control is called with the resolved address of a connection to host before it is opened.
func (p *Policy) control(host string) func(network, address string, _ syscall.RawConn) error {
	return func(network, address string, _ syscall.RawConn) error {
		to, err := netip.ParseAddrPort(address)
		if err != nil || network != "tcp4" && network != "tcp6" {
			return refuse("the address %s %s is not allowed", network, address)
		}
		return p.Check(host, to)
	}
}

const (
	maxRedirects = 3
	maxHeader    = 64 << 10
)

// Client returns a client of HTTP that uses no proxy, keeps no cookies and follows redirects as Redirect says.
func Client(o Options) *http.Client {
	t := &http.Transport{
		DialContext: Dialer(o), ForceAttemptHTTP2: true, TLSHandshakeTimeout: cmp.Or(o.DialTime, dialTime),
		MaxIdleConns: 64, MaxIdleConnsPerHost: 8, IdleConnTimeout: 30 * time.Second, MaxResponseHeaderBytes: maxHeader,
	}
	return &http.Client{Transport: &bounded{t, o.MaxBody}, CheckRedirect: Redirect, Timeout: o.Time}
}

// Redirect follows at most 3 redirects, which keep to the scheme. It is http.Client's CheckRedirect.
func Redirect(req *http.Request, via []*http.Request) error {
	switch first := via[0]; {
	case len(via) > maxRedirects:
		return fmt.Errorf("more than %d redirects", maxRedirects)
	case req.URL.Scheme != first.URL.Scheme:
		return fmt.Errorf("redirect from %s to %s", first.URL.Scheme, req.URL.Scheme)
	}
	return nil
}

// URL reads an absolute URL of http or https. Its errors do not repeat it: it may hold secrets.
func URL(text string) (*url.URL, error) {
	u, err := url.Parse(text)
	if err != nil {
		return nil, errors.New("want an absolute http or https URL")
	}
	if u.Scheme != "http" && u.Scheme != "https" || u.Host == "" {
		return nil, fmt.Errorf("want an absolute http or https URL, not scheme %q", u.Scheme)
	}
	return u, nil
}

// Policy says which addresses may be reached. The zero value is the public internet.
type Policy struct {
	// Private allows this host and all private networks.
	Private bool
	// Ranges of this host or of private networks that are allowed.
	Ranges []netip.Prefix
	// Hosts are names that may lead to this host or to private networks.
	Hosts []string
	// Ports, if any, are the only ones. Without them they are 80, 443 and those from 1024 on: what is below is spoken to
	// in other protocols, and a request may look like one of those.
	Ports []uint16
	// AnyPort allows all of them.
	AnyPort bool
}

// Check refuses an address that must not be reached. host is the name that led to it.
func (p *Policy) Check(host string, to netip.AddrPort) error {
	if !p.port(to.Port()) {
		return refuse("the port %d is not allowed: see --egress", to.Port())
	}
	return p.check(host, to.Addr())
}

func (p *Policy) port(n uint16) bool {
	if p.AnyPort || len(p.Ports) > 0 {
		return p.AnyPort || slices.Contains(p.Ports, n)
	}
	return n == 80 || n == 443 || n >= 1024
}

func (p *Policy) check(host string, a netip.Addr) error {
	a = a.Unmap().WithZone("")
	if !a.IsValid() || in(never, a) {
		return refuse("the address %s is not allowed", a)
	}
	if in(private, a) {
		if p.Private || in(p.Ranges, a) || slices.Contains(p.Hosts, plain(host)) {
			return nil
		}
		return refuse("the address %s is not allowed: it is private, see --egress", a)
	}
	inner, ok := carried(a)
	switch {
	case !ok:
		return refuse("the address %s is not allowed", a)
	case inner.IsValid():
		return p.check(host, inner)
	}
	return nil
}

// plain is a name as names are compared.
func plain(host string) string { return strings.ToLower(strings.TrimSuffix(host, ".")) }
