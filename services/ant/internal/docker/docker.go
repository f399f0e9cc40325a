// Package docker executes tasks in containers of a Docker engine.
//
// One attempt is one container with a volume of its own at /formicary: the script, the values that are too long for the
// environment, the output file and the working directory are in it, put there and read by the engine's archive API, so
// that the engine may be on another machine. The script is the one that a shell of the host would get (package script),
// run by /bin/sh of the image, of which nothing else is asked. What a task prints comes over the stream that is attached
// before it starts.
//
// Whatever is made carries the uid of its attempt and the owner, which is the ant by its data directory: a later life of
// the ant removes what an earlier one left. What a task may ask for is decided in spec.go, on the last form of the request.
package docker

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"hash/fnv"
	"log/slog"
	"maps"
	"regexp"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	cerrdefs "github.com/containerd/errdefs"
	"github.com/docker/docker/api"
	"github.com/docker/docker/api/types/container"
	"github.com/docker/docker/api/types/filters"
	"github.com/docker/docker/api/types/network"
	"github.com/docker/docker/api/types/versions"
	"github.com/docker/docker/api/types/volume"
	"github.com/docker/docker/client"

	"github.com/formicary/formicary/services/ant/internal/executor"
)

// Method that this executor executes.
const Method = "DOCKER"

const (
	labelUID   = "formicary.uid"
	labelAnt   = "formicary.ant"
	labelOwner = "formicary.owner"
	labelJob   = "formicary.job"
	labelTask  = "formicary.task"
	// labelOrg is on named volumes, which outlive what is made for an attempt.
	labelOrg = "formicary.org"
	// labelService is on what runs beside the container of a task; its value is the name of the service.
	labelService = "formicary.service"

	logDriver = "local"

	callTime = time.Minute
	pingTime = 3 * time.Second
	pingEach = 5 * time.Second
)

var containerID = regexp.MustCompile(`^[0-9a-f]{64}$`) //nolint:gochecknoglobals // a constant

// Options of the executor.
type Options struct {
	Config
	// Ant is its id, Dir its data directory: together with the engine they say whose a container is.
	Ant, Dir string
	Log      *slog.Logger
}

// Executor runs tasks in containers.
type Executor struct {
	opts  Options
	owner string
	plain *client.Client                // of no negotiated version: it asks whether the engine is there
	known atomic.Pointer[client.Client] // of the version that the engine speaks

	call     time.Duration // most for a call
	patience time.Duration // how long the engine may not answer while a task runs

	mu    sync.Mutex
	heard time.Time         // when the engine answered last
	found map[string]string // containers by uid that go on, of attempts of an earlier life
	clean bool              // nothing of an earlier life is left
	left  map[string]bool   // uids of attempts that have ended and could not be removed
	away  error             // why the engine cannot be used

	prepared  []prepared // the one that was used last is the last
	toPrepare chan preparation
}

// New returns an executor. The engine need not answer yet.
func New(o Options) (*Executor, error) {
	if o.Host == "" {
		o.Host = client.DefaultDockerHost
	}
	if o.ServiceTime == 0 {
		o.ServiceTime = serviceTime
	}
	plain, err := client.NewClientWithOpts(client.WithHost(o.Host))
	if err != nil {
		return nil, fmt.Errorf("docker engine at %s: %w", o.Host, err)
	}
	h := fnv.New64a()
	_, _ = h.Write([]byte(o.Ant + "\x00" + o.Dir))
	return &Executor{opts: o, owner: fmt.Sprintf("%016x", h.Sum64()), plain: plain, call: callTime, patience: awayTime, heard: time.Now(), found: map[string]string{}, left: map[string]bool{}, toPrepare: make(chan preparation, mostPrepared), away: errors.New("the engine was not asked yet")}, nil
}

// Answers reports whether an engine answers at the host.
func Answers(ctx context.Context, host string) bool {
	e, err := New(Options{Config: Config{Host: host}})
	if err != nil {
		return false
	}
	defer e.close()
	return e.ping(ctx) == nil
}

// Methods returns DOCKER.
func (e *Executor) Methods() []string { return []string{Method} }

// Healthy reports whether the engine answered a moment ago.
func (e *Executor) Healthy() error {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.away
}

// Run looks after the engine until ctx ends.
func (e *Executor) Run(ctx context.Context) error {
	defer e.close()
	var preparing sync.WaitGroup
	preparing.Go(func() { e.prepareImages(ctx) })
	defer func() {
		preparing.Wait()
		e.forgetImages(ctx)
	}()
	tick := time.NewTicker(pingEach)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
			e.look(ctx)
		}
	}
}

// look asks the engine whether it is there, and removes what an earlier life left as soon as it is.
func (e *Executor) look(ctx context.Context) {
	err := e.ping(ctx)
	e.mu.Lock()
	if err == nil {
		e.heard = time.Now()
	}
	clean, left := e.clean, slices.Collect(maps.Keys(e.left))
	e.mu.Unlock()
	if err == nil && !clean {
		err = e.sweep(ctx)
		clean = err == nil
	}
	for _, uid := range left {
		if err == nil && e.remove(ctx, labelUID+"="+uid) == nil {
			e.mu.Lock()
			delete(e.left, uid)
			e.mu.Unlock()
		}
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	if (err == nil) != (e.away == nil) && e.opts.Log != nil {
		e.opts.Log.Info("docker engine", "host", e.opts.Host, "usable", err == nil, "error", err)
	}
	e.clean, e.away = clean, err
}

// silent is how long the engine has not answered.
func (e *Executor) silent() time.Duration {
	e.mu.Lock()
	defer e.mu.Unlock()
	return time.Since(e.heard)
}

// answers asks the engine whether it is there. One that is not gets no more tasks from now on, until look finds it again.
func (e *Executor) answers(ctx context.Context) bool {
	err := e.ping(ctx)
	e.mu.Lock()
	defer e.mu.Unlock()
	if err != nil && ctx.Err() == nil && e.away == nil {
		e.away = err
		if e.opts.Log != nil {
			e.opts.Log.Info("docker engine", "host", e.opts.Host, "usable", false, "error", err)
		}
	}
	return err == nil
}

func (e *Executor) ping(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, pingTime)
	defer cancel()
	answer, err := e.plain.Ping(ctx)
	if err == nil {
		err = e.speak(answer.APIVersion)
	}
	if err != nil {
		return fmt.Errorf("docker engine at %s does not answer: %w", e.opts.Host, err)
	}
	return nil
}

// engine is the client for all calls. The library's own negotiation writes what calls at the same time read.
func (e *Executor) engine() *client.Client {
	if e.known.Load() == nil {
		_ = e.ping(context.Background()) // an engine that is silent fails the call
	}
	return cmp.Or(e.known.Load(), e.plain)
}

// speak fixes the version of all calls: the engine's, or the newest that the client knows.
func (e *Executor) speak(version string) error {
	if e.known.Load() != nil {
		return nil
	}
	if version == "" || versions.GreaterThan(version, api.DefaultVersion) {
		version = api.DefaultVersion
	}
	c, err := client.NewClientWithOpts(client.WithHost(e.opts.Host), client.WithVersion(version))
	if err == nil && !e.known.CompareAndSwap(nil, c) {
		_ = c.Close()
	}
	return err
}

func (e *Executor) close() {
	_ = e.plain.Close()
	if c := e.known.Load(); c != nil {
		_ = c.Close()
	}
}

// Recover removes what an earlier life of the ant left, also one that had another id: what the journal of the directory names is
// its own. An engine that does not answer gets no task before that is done, and is waited for when the journal names what does not go
// on: supervisor has taken that for lost when ctx has ended.
func (e *Executor) Recover(ctx context.Context, traces map[string]string) error {
	e.mu.Lock()
	for uid, id := range traces {
		if _, ok := e.found[uid]; !ok && IsTrace(id) {
			e.left[uid] = true
		}
	}
	owes := len(e.left) > 0
	e.mu.Unlock()
	for e.look(ctx); owes && e.Healthy() != nil && ctx.Err() == nil; e.look(ctx) {
		select {
		case <-ctx.Done():
		case <-time.After(awayPause):
		}
	}
	e.removeRecords()
	return nil
}

// KillLeftovers removes what an earlier life left; no task follows.
func (e *Executor) KillLeftovers(ctx context.Context) error {
	defer e.close()
	if e.ping(ctx) != nil {
		return nil // it runs nothing that could be found
	}
	return e.sweep(ctx)
}

// sweep removes all containers, networks, volumes and images of this owner, but what goes on. What cannot be removed and does not
// run is left: it keeps no task waiting.
func (e *Executor) sweep(ctx context.Context) error {
	err := e.remove(ctx, labelOwner+"="+e.owner)
	rest, ok := errors.AsType[remainder](err)
	if err != nil && (!ok || rest.runs) {
		return err
	}
	for _, uid := range rest.uids {
		e.leave(uid)
	}
	ctx, cancel := context.WithTimeout(ctx, e.call)
	defer cancel()
	_ = e.removeImages(ctx) // else the next life does
	return nil
}

// remainder is what could not be removed.
type remainder struct {
	error
	uids []string // of the attempts that it is of
	runs bool     // some of it
}

// stays reports whether the labels are those of what an earlier life has begun and goes on.
func (e *Executor) stays(labels map[string]string) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	_, ok := e.found[labels[labelUID]]
	return ok
}

// remove removes all that carries a label, but what goes on.
func (e *Executor) remove(ctx context.Context, label string) error {
	ctx, cancel := context.WithTimeout(ctx, e.call)
	defer cancel()
	labelled := filters.NewArgs(filters.Arg("label", label))
	containers, err := e.engine().ContainerList(ctx, container.ListOptions{All: true, Filters: labelled})
	if err != nil {
		return fmt.Errorf("list containers: %w", err)
	}
	var rest remainder
	removed := func(labels map[string]string, err error) {
		if err = gone(err); err != nil {
			rest.error = errors.Join(rest.error, err)
			rest.uids = append(rest.uids, labels[labelUID])
		}
	}
	for _, c := range containers {
		if e.stays(c.Labels) {
			continue
		}
		err := e.engine().ContainerRemove(ctx, c.ID, container.RemoveOptions{Force: true, RemoveVolumes: true})
		rest.runs = rest.runs || gone(err) != nil && c.State != container.StateExited && c.State != container.StateCreated && c.State != container.StateDead
		removed(c.Labels, err)
	}
	networks, err := e.engine().NetworkList(ctx, network.ListOptions{Filters: labelled})
	if err != nil {
		return errors.Join(rest.error, fmt.Errorf("list networks: %w", err))
	}
	for _, n := range networks {
		if !e.stays(n.Labels) {
			removed(n.Labels, e.engine().NetworkRemove(ctx, n.ID))
		}
	}
	volumes, err := e.engine().VolumeList(ctx, volume.ListOptions{Filters: labelled})
	if err != nil {
		return errors.Join(rest.error, fmt.Errorf("list volumes: %w", err))
	}
	for _, v := range volumes.Volumes {
		if !e.stays(v.Labels) {
			removed(v.Labels, e.engine().VolumeRemove(ctx, v.Name, true))
		}
	}
	if rest.error == nil {
		return nil
	}
	rest.error = fmt.Errorf("remove what %s left: %w", label, rest.error)
	return rest
}

// gone is err, unless it says that there is nothing to remove, or that somebody else removes it.
func gone(err error) error {
	if cerrdefs.IsNotFound(err) || cerrdefs.IsConflict(err) {
		return nil
	}
	return err
}

// leave lets the next look at the engine remove what is left of an attempt that has ended.
func (e *Executor) leave(uid string) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.left[uid] = true
}

func (e *Executor) labels(t executor.Task) map[string]string {
	return map[string]string{labelUID: t.UID, labelAnt: e.opts.Ant, labelOwner: e.owner, labelJob: t.JobType, labelTask: t.Name}
}
