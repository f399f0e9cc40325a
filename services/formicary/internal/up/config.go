// Package up is the whole colony in one process: PostgreSQL as a child process, NATS, etcd and S3 inside, every service
// with the constructor and the interfaces that it has alone, one ant, one gateway. It swaps addresses, never logic:
// peers talk gRPC over memory, with the same interceptors and the same encoding.
//
// Everything that is kept lies below one data directory:
//
//	DATA/lock          held while the colony runs
//	DATA/colony.json   where its parts are; written when it is ready, kept afterwards
//	DATA/pg            PostgreSQL: the truth
//	DATA/nats          may be lost
//	DATA/etcd          begins empty at every start
//	DATA/s3            logs
//	DATA/ant           the ant's spool and working directories
//	DATA/workers       the spools of workers that connect by WebSocket
//
// Parts end in the reverse order of their dependence: the gateway and the ant first, then the services, then the stores.
// The ant ends when its tasks have: they get time to end by themselves, then TERM, their grace and after_script. A second
// signal (run.Hurried) kills them.
package up

import (
	"errors"
	"fmt"
	"net"
	"runtime"
	"strconv"
	"time"

	"github.com/formicary/formicary/services/ant"
	"github.com/formicary/formicary/services/supervisor"
)

// Config of a colony.
type Config struct {
	// DataDir keeps everything; it is made when missing.
	DataDir string
	// Listen is the host:port of the gateway's HTTP. gRPC takes the next port and operations, on loopback always, the one
	// after; with port 0 each takes a free one. An address that other machines reach demands Auth.
	Listen string
	// Auth demands that callers prove who they are; without it they are the local administrator.
	Auth bool
	// HTTPSCert and HTTPSKey are the files of the certificate that both ports of the gateway show; Proxied says that something before it
	// encrypts.
	HTTPSCert, HTTPSKey string
	Proxied             bool
	// LocalUsers lets users have passwords that are kept here.
	LocalUsers bool
	// OIDC is a file that names providers of OpenID Connect where people may log in; Getenv may name more.
	OIDC string
	// Bootstrap, if set, is given the code that makes the first platform-admin, at a start while there is none.
	Bootstrap func(code string)
	// InfraOnly starts only the stores.
	InfraOnly bool
	// Expose lets other processes reach the stores and the services.
	Expose bool
	// Slots of the ant; 0 means 8 per core and at least 32.
	Slots int
	// Tags that the ant owns, and Labels, which are for people.
	Tags   []string
	Labels map[string]string
	// Docker is the engine of the ant's DOCKER tasks and what they may ask of it.
	Docker ant.DockerConfig
	// CacheBytes is how many bytes of caches the ant keeps copies of; 0 keeps none.
	CacheBytes int64
	// CacheQuota is how many bytes the caches of jobs may have.
	CacheQuota int64
	// ArtifactBytes is how many bytes one artifact may have, InputBytes how many are unpacked for one task.
	ArtifactBytes, InputBytes int64
	// NoAnt starts no ant.
	NoAnt bool
	// DrainTimeout is how long running tasks may go on at the end before they get TERM, their grace and after_script.
	DrainTimeout time.Duration
	// AntID names the ant.
	AntID string
	// Throwaway gives up safety against power cuts for speed: for data that is deleted when the process ends.
	Throwaway bool
	// Version of the binary, shown by the ant.
	Version string
	// Getenv looks up how mail and Slack are reached (FORMICARY_SMTP_HOST and others) and where people log in (FORMICARY_OIDC_…); nil finds nothing.
	Getenv func(string) string
}

// DefaultConfig returns what `formicary up` does without flags.
func DefaultConfig() Config {
	worker := ant.DefaultConfig()
	engine := worker.Docker
	engine.AllowRoot = true // scripts run on this machine anyway
	return Config{
		DataDir: "formicary-data", Listen: "127.0.0.1:7777", AntID: "ant-1", Version: "dev", DrainTimeout: drainTime, Docker: engine,
		CacheBytes: worker.CacheBytes, CacheQuota: supervisor.DefaultConfig().Caches.Quota,
		ArtifactBytes: supervisor.DefaultConfig().ArtifactBytes, InputBytes: worker.InputBytes,
	}
}

// Validate reports every fault.
func (c Config) Validate() error {
	var faults []error
	if c.DataDir == "" {
		faults = append(faults, errors.New("data directory: missing"))
	}
	if c.Slots < 0 || c.Slots > mostSlots {
		faults = append(faults, fmt.Errorf("slots %d: want 0 to %d", c.Slots, mostSlots))
	}
	if n := len(c.Tags); n > mostTags {
		faults = append(faults, fmt.Errorf("%d tags: want at most %d", n, mostTags))
	}
	if c.NoAnt && len(c.Tags)+len(c.Labels) > 0 {
		faults = append(faults, errors.New("tags and labels are those of the ant, and none is started"))
	}
	if c.ArtifactBytes < 1 || c.InputBytes < 1 {
		faults = append(faults, fmt.Errorf("artifact bytes %d and input bytes %d: want 1 or more", c.ArtifactBytes, c.InputBytes))
	}
	if c.CacheBytes < 0 || c.CacheQuota < 1 {
		faults = append(faults, fmt.Errorf("cache bytes %d and cache quota %d: want 0 or more, and 1 or more", c.CacheBytes, c.CacheQuota))
	}
	if c.DrainTimeout < 0 {
		faults = append(faults, fmt.Errorf("drain timeout %s: want 0 or more", c.DrainTimeout))
	}
	if err := checkListen(c.Listen, c.Auth); err != nil {
		faults = append(faults, err)
	}
	return errors.Join(faults...)
}

// checkListen refuses an address that other machines can reach where nobody has to say who they are.
func checkListen(addr string, auth bool) error {
	host, port, err := net.SplitHostPort(addr)
	if err != nil {
		return fmt.Errorf("listen address %q: want host:port, for example 127.0.0.1:7777", addr)
	}
	if n, err := strconv.ParseUint(port, 10, 16); err != nil || n > 65533 {
		return fmt.Errorf("listen address %q: want a port from 0 to 65533", addr)
	}
	if auth || isLoopback(host) {
		return nil
	}
	return fmt.Errorf("listen address %q: other machines reach it, so callers must prove who they are: add --auth, or use 127.0.0.1", addr)
}

func isLoopback(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}

const (
	slotsPerCore = 8
	fewestSlots  = 32
	mostSlots    = 4096 // as many as an ant takes
	mostTags     = 64   // the same
	drainTime    = 3 * time.Second
)

func (c Config) slots() int {
	if c.Slots > 0 {
		return c.Slots
	}
	return max(fewestSlots, slotsPerCore*runtime.NumCPU())
}
