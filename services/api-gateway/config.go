package apigateway

import (
	"errors"
	"fmt"
	"net"
	"time"

	"github.com/formicary/formicary/libs/egress"
	"github.com/formicary/formicary/services/api-gateway/internal/limit"
	"github.com/formicary/formicary/services/api-gateway/internal/sso"
)

// Config of a gateway. Zero values are refused: start from DefaultConfig.
type Config struct {
	// MaxBody is the largest request, in bytes, over REST and gRPC.
	MaxBody int
	// MaxStreams is how many streams (events and logs) are open at once; one more is refused.
	MaxStreams int
	// Limits are how often one address, one credential and one organisation may call, and how many streams one person has.
	Limits limit.Config
	// WatchQueue is how many events a watch may lag behind before it is ended.
	WatchQueue int
	// KeptEvents is how many of the newest events are kept for clients that come back with the last id they saw.
	KeptEvents int
	// Heartbeat is sent on a stream of events after this much silence.
	Heartbeat time.Duration
	// Recheck is how long a watch of one request hears nothing before its state is read: what a lost event costs.
	Recheck time.Duration
	// StreamLife is the age at which a stream of events ends and the client comes again.
	StreamLife time.Duration
	// CallTimeout bounds calls that bring no deadline.
	CallTimeout time.Duration
	// HeaderTime is what a client has for the header of a request, or to begin a connection over gRPC; BodyTime what it has
	// for a whole request over HTTP, uploads of files left out.
	HeaderTime, BodyTime time.Duration
	// StopGrace is what calls under way get when the gateway stops.
	StopGrace time.Duration
	// Auth demands that callers prove who they are, and lets the gateway listen anywhere. Without it callers without a
	// credential are the local administrator, and only loopback addresses are possible.
	Auth bool
	// HTTPSCert and HTTPSKey are the PEM files of the certificate that both ports show, read again when they change. Without
	// them the ports speak plainly, which on other addresses than loopback demands Proxied.
	HTTPSCert, HTTPSKey string
	// Proxied says that a proxy before the gateway encrypts what comes from other machines.
	Proxied bool
	// LocalUsers lets users have passwords that are kept here.
	LocalUsers bool
	// Providers are those of OpenID Connect where people may log in: see ReadProviders.
	Providers []sso.Provider
	// Egress says where providers may be, beyond the public internet.
	Egress egress.Policy
	// URL is where browsers find the gateway; empty: where they ask. Its path does not count.
	URL string
	// Workers is the host:port of the ant that serves workers (ant --workers), or of several, separated by commas: /ws/ants
	// is passed on to one of them. Empty: no workers, unless Deps.Workers serves them.
	Workers string
}

// DefaultConfig is right for one machine.
func DefaultConfig() Config {
	return Config{
		MaxBody: 4 << 20, MaxStreams: 1000, Limits: limit.DefaultConfig(), WatchQueue: 8192, KeptEvents: 4096,
		Heartbeat: 15 * time.Second, Recheck: 5 * time.Second, StreamLife: 15 * time.Minute,
		HeaderTime: 10 * time.Second, BodyTime: 30 * time.Second, CallTimeout: 30 * time.Second, StopGrace: 4 * time.Second,
	}
}

// Validate reports all faults at once.
func (c Config) Validate() error {
	var faults []error
	for name, n := range map[string]int64{
		"MaxBody": int64(c.MaxBody), "MaxStreams": int64(c.MaxStreams), "WatchQueue": int64(c.WatchQueue), "KeptEvents": int64(c.KeptEvents),
		"Heartbeat": int64(c.Heartbeat), "Recheck": int64(c.Recheck), "StreamLife": int64(c.StreamLife),
		"HeaderTime": int64(c.HeaderTime), "BodyTime": int64(c.BodyTime), "CallTimeout": int64(c.CallTimeout), "StopGrace": int64(c.StopGrace),
	} {
		if n <= 0 {
			faults = append(faults, fmt.Errorf("%s must be positive", name))
		}
	}
	if (c.HTTPSCert == "") != (c.HTTPSKey == "") {
		faults = append(faults, errors.New("of the certificate and its key one is missing: give both --https-cert and --https-key"))
	}
	return errors.Join(append(faults, c.Limits.Validate(), validateWorkers(c.Workers), sso.Validate(c.Providers), validateURL(c.URL))...)
}

func validateURL(text string) error {
	if text == "" {
		return nil
	}
	if _, err := egress.URL(text); err != nil {
		return fmt.Errorf("URL of the gateway: %w", err)
	}
	return nil
}

// origin is URL without its path.
func (c Config) origin() string {
	u, err := egress.URL(c.URL)
	if err != nil {
		return ""
	}
	return u.Scheme + "://" + u.Host
}

// ReadProviders reads Config.Providers from a file, if it is not empty, and from variables FORMICARY_OIDC_….
func ReadProviders(file string, getenv func(string) string) ([]sso.Provider, error) {
	return sso.Read(file, getenv)
}

// reachable refuses a listener that another machine could reach where nobody has to say who they are, or where whoever listens on the way
// learns passwords and tokens. Listeners inside the process have no address.
func (c Config) reachable(port string, lis net.Listener) error {
	addr, ok := lis.Addr().(*net.TCPAddr)
	switch {
	case !ok || addr.IP.IsLoopback() || c.Auth && (c.HTTPSCert != "" || c.Proxied):
		return nil
	case c.Auth:
		return fmt.Errorf("the %s port listens on %s, which other machines reach, and would take passwords and tokens unencrypted: give it a certificate with --https-cert and --https-key, or say --proxied when a proxy before it encrypts", port, addr)
	}
	return fmt.Errorf("the %s port listens on %s, which other machines reach: without --auth only loopback addresses such as 127.0.0.1 are allowed", port, addr)
}
