package ant

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"time"

	"github.com/formicary/formicary/libs/egress"
	"github.com/formicary/formicary/services/ant/internal/docker"
	"github.com/formicary/formicary/services/ant/internal/executor"
	"github.com/formicary/formicary/services/ant/internal/httptask"
	"github.com/formicary/formicary/services/ant/internal/messaging"
	"github.com/formicary/formicary/services/ant/internal/relay"
	"github.com/formicary/formicary/services/ant/internal/shell"
	"github.com/formicary/formicary/services/ant/internal/spool"
)

// Config of an ant.
type Config struct {
	// ID of the ant, stable over restarts: letters, digits, '-', '_', at most 63. Required.
	ID string
	// Dir holds the spool, working directories and logs of this ant alone. Required.
	Dir string
	// Methods that the ant executes; none means all that it can.
	Methods []string
	// Tags that it owns.
	Tags []string
	// Slots that it has: how many tasks of cost 1 run at once.
	Slots int
	// Labels and Version are for people.
	Labels  map[string]string
	Version string
	// Environment is what every process of a task gets from the ant's own environment.
	Environment map[string]string
	// Egress says which addresses HTTP tasks may reach.
	Egress egress.Policy
	// WithoutCgroups does without control groups even where they can be made: no limits, and a task that hides its
	// processes well can leave some.
	WithoutCgroups bool
	// Docker says which engine DOCKER tasks run in and what they may ask of it.
	Docker DockerConfig
	// LogLimit is the most that a task may have kept of the log of one attempt, in bytes. Without a log_limit of its own it
	// gets 64 MiB, or this when it is less.
	LogLimit int64
	// CacheBytes is how many bytes of caches the ant keeps copies of on its own disk, so that a task that finds its cache there
	// waits for no transfer; 0 keeps none.
	CacheBytes int64
	// InputBytes is how many bytes artifacts and its cache may have when they are unpacked for one task;
	// 0 means as many as one archive may have.
	InputBytes int64
	// Beat is the interval of Heartbeat and Sync.
	Beat time.Duration
	// FenceAfter is how long the ant keeps its tasks without an answer from supervisor; it must be well below
	// supervisor's lease of 30 s.
	FenceAfter time.Duration
	// Adopt lets tasks go on when the ant is killed: one that comes back within FenceAfter goes on with them. Otherwise, or
	// after that, they are ended. The end of Run ends them always.
	Adopt bool
	// ResendAfter is how long a result may be unsettled before it is sent again.
	ResendAfter time.Duration
	// UploadPatience is how long a result waits for its log when the log cannot be stored.
	UploadPatience time.Duration
	// DrainTimeout is how long running tasks may go on after the end was asked for; 0 tells them to end at once.
	DrainTimeout time.Duration
	// StopTimeout is the most that a task gets between TERM and KILL after that, when its own grace is longer; 0 kills it
	// at once.
	StopTimeout time.Duration
}

// DefaultConfig returns a configuration that lacks ID and Dir. The environment of tasks is PATH, HOME and LANG of this
// process.
func DefaultConfig() Config {
	env := map[string]string{}
	for _, name := range []string{"PATH", "HOME", "LANG"} {
		if v, ok := os.LookupEnv(name); ok {
			env[name] = v
		}
	}
	return Config{
		Slots: max(32, 8*runtime.NumCPU()), Environment: env, Docker: docker.DefaultConfig(), LogLimit: 1 << 30, CacheBytes: 5 << 30, InputBytes: 64 << 30, Version: "dev",
		Beat: 5 * time.Second, FenceAfter: 20 * time.Second, Adopt: true, ResendAfter: 10 * time.Second,
		UploadPatience: 10 * time.Second, DrainTimeout: 20 * time.Second, StopTimeout: 5 * time.Minute,
	}
}

var idPattern = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9_-]{0,62}$`) //nolint:gochecknoglobals // a constant

const maxSlots = 4096 // a running script costs the ant a thread

// Validate reports all faults at once.
func (c Config) Validate() error {
	var faults []error
	check := func(ok bool, format string, args ...any) {
		if !ok {
			faults = append(faults, fmt.Errorf(format, args...))
		}
	}
	check(idPattern.MatchString(c.ID), "id %q: want letters, digits, '-' or '_', at most 63", c.ID)
	check(c.Dir != "", "dir is missing")
	check(c.Slots >= 1 && c.Slots <= maxSlots, "slots %d: want 1 to %d", c.Slots, maxSlots)
	check(len(c.Tags) <= 64, "%d tags: want at most 64", len(c.Tags))
	known := knownMethods()
	for _, m := range c.Methods {
		check(slices.Contains(known, m), "method %q: want one of %s", m, strings.Join(known, ", "))
	}
	if err := c.Docker.Validate(); err != nil {
		faults = append(faults, err)
	}
	check(c.LogLimit > 0, "log limit %d: want more than 0 bytes", c.LogLimit)
	check(c.CacheBytes >= 0, "cache bytes %d: want 0 or more", c.CacheBytes)
	check(c.InputBytes >= 0, "input bytes %d: want 0 or more", c.InputBytes)
	check(c.Beat > 0, "beat %s: want more than 0", c.Beat)
	check(c.FenceAfter > c.Beat, "fence after %s: want more than the beat of %s", c.FenceAfter, c.Beat)
	check(c.ResendAfter > 0, "resend after %s: want more than 0", c.ResendAfter)
	check(c.UploadPatience >= 0, "upload patience %s: want 0 or more", c.UploadPatience)
	check(c.DrainTimeout >= 0, "drain timeout %s: want 0 or more", c.DrainTimeout)
	check(c.StopTimeout >= 0, "stop timeout %s: want 0 or more", c.StopTimeout)
	return errors.Join(faults...)
}

func knownMethods() []string {
	return append([]string{shell.Method, docker.Method, messaging.Method}, httptask.New(httptask.Options{}).Methods()...)
}

// executors makes those of the wanted methods, and that of the containers which an earlier life may have left.
func (s *Service) executors(ctx context.Context, left []spool.Attempt) ([]executor.Executor, error) {
	if s.worker != nil {
		return []executor.Executor{s.worker}, nil
	}
	contained := slices.ContainsFunc(left, func(a spool.Attempt) bool { return docker.IsTrace(a.Trace) })
	containers := contained || slices.Contains(s.conf.Methods, docker.Method)
	if len(s.conf.Methods) == 0 {
		s.conf.Methods, containers = knownMethods(), true
		if !contained && !docker.Answers(ctx, s.conf.Docker.Host) { // a method that was not asked for is not offered in vain
			s.conf.Methods = slices.DeleteFunc(s.conf.Methods, func(m string) bool { return m == docker.Method })
		}
	}
	var out []executor.Executor
	if slices.Contains(s.conf.Methods, shell.Method) {
		o := shell.Options{Dir: filepath.Join(s.conf.Dir, workDir), Environment: s.conf.Environment, WithoutCgroups: s.conf.WithoutCgroups}
		if s.conf.Adopt {
			o.Lease, o.LeaseTime = leasePath(s.conf.Dir), s.conf.FenceAfter
		}
		e, err := shell.New(o)
		if err != nil {
			return nil, err
		}
		out = append(out, e)
	}
	if containers {
		e, err := docker.New(docker.Options{Config: s.conf.Docker, Ant: s.conf.ID, Dir: s.conf.Dir, Log: s.deps.Log})
		if err != nil {
			return nil, err
		}
		out = append(out, e)
	}
	web := httptask.New(httptask.Options{Egress: s.conf.Egress, UserAgent: "formicary-ant/" + s.conf.Version, Dir: s.conf.Dir})
	if slices.ContainsFunc(web.Methods(), func(m string) bool { return slices.Contains(s.conf.Methods, m) }) {
		out = append(out, web)
	}
	if slices.Contains(s.conf.Methods, messaging.Method) {
		out = append(out, messaging.New(s.deps.NATS, s.deps.Log, relay.DefaultTimes()))
	}
	return out, nil
}
