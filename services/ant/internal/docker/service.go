package docker

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/docker/docker/api/types"
	"github.com/docker/docker/api/types/container"
	"github.com/docker/docker/api/types/image"
	"github.com/docker/docker/api/types/network"
	"github.com/docker/docker/pkg/stdcopy"

	"github.com/formicary/formicary/libs/jobspec/plan"
	"github.com/formicary/formicary/services/ant/internal/executor"
)

const (
	healthEach   = 2 * time.Second // between two runs of a health check
	lookEach     = 100 * time.Millisecond
	deadTime     = time.Second
	lastLines    = 3
	longestPiece = 16 << 10
)

var hostName = regexp.MustCompile(`^[A-Za-z0-9]([A-Za-z0-9_.-]{0,61}[A-Za-z0-9])?$`) //nolint:gochecknoglobals // a constant

// services are the containers beside that of a task, on a network of their own with it.
type services struct {
	network string // its name; empty when there are no services
	all     []*service
}

// service is one container beside that of a task.
type service struct {
	s       *session
	of      plan.Sidecar
	label   string // what its lines in the log begin with
	id      string
	checked bool           // it has a health check
	prints  sync.WaitGroup // ends when it has ended and what it printed is read
	gone    chan struct{}  // closed when it has ended, code says how
	code    int64

	mu   sync.Mutex
	last []string // lines that it printed
}

// unwell is an error of a task: one of its services has ended before it could be used.
type unwell struct{ error }

// beside makes the network and starts the services, all at once. The images of services are pulled one after the other.
func (s *session) beside(ctx context.Context) error {
	if len(s.options.Services) == 0 {
		return nil
	}
	if mode := s.options.NetworkMode; s.options.HostNetwork || mode != "" && mode != "default" && mode != "bridge" && mode != "none" {
		return refuse("services: they share a network of their own with the task, which cannot use another one (network_mode, host_network)")
	}
	name := networkName(s.task.UID)
	_, err := s.e.engine().NetworkCreate(ctx, name, network.CreateOptions{
		Driver: "bridge", Internal: s.options.NetworkMode == "none", Labels: s.e.labels(s.task),
	})
	if err != nil {
		return fmt.Errorf("make the network of the services: %w", err)
	}
	s.network = name
	s.spec.join(name, s.options.Container.Alias)
	for i, of := range s.options.Services {
		if err := s.prepareService(ctx, i, of); err != nil {
			if refused, ok := errors.AsType[refusal](err); ok {
				return refuse("service %s: %v", of.Name, refused)
			}
			return fmt.Errorf("service %s: %w", of.Name, err)
		}
	}
	return nil
}

func networkName(uid string) string { return "formicary-" + uid }

// join puts a container on the network of the attempt.
func (s *spec) join(name string, aliases ...string) {
	aliases = slices.DeleteFunc(aliases, func(a string) bool { return a == "" })
	s.host.NetworkMode = container.NetworkMode(name)
	s.network = &network.NetworkingConfig{EndpointsConfig: map[string]*network.EndpointSettings{name: {Aliases: aliases}}}
}

// prepareService makes and starts all instances of a service.
func (s *session) prepareService(ctx context.Context, number int, of plan.Sidecar) error {
	if !s.e.opts.allowsImage(of.Image) {
		return closed("image "+of.Image, "docker-images")
	}
	img, err := s.image(ctx, of.Image, "")
	if err != nil {
		return err
	}
	var starts sync.WaitGroup
	faults := make([]error, of.Instances)
	for i := range of.Instances {
		v := &service{s: s, of: of, label: of.Name, gone: make(chan struct{})}
		if of.Instances > 1 {
			v.label += "-" + strconv.Itoa(i+1)
		}
		sp, err := s.e.serviceSpec(s.task, s.options, of, i+1, img)
		if err != nil {
			return err
		}
		v.checked = sp.config.Healthcheck != nil
		sp.config.Labels[labelService] = v.label
		aliases, err := v.aliases(i + 1)
		if err != nil {
			return err
		}
		sp.join(s.network, aliases...)
		s.all = append(s.all, v)
		starts.Go(func() { faults[i] = v.start(ctx, sp, fmt.Sprintf("formicary-%s-%d-%d", s.task.UID, number+1, i+1)) })
	}
	starts.Wait()
	return errors.Join(faults...)
}

// aliases are the names under which an instance is reached: those of the service, and one with its number.
func (v *service) aliases(instance int) ([]string, error) {
	var out []string
	for _, name := range []string{v.of.Name, v.of.Alias} {
		switch {
		case name == "":
		case hostName.MatchString(name):
			out = append(out, name, name+"-"+strconv.Itoa(instance))
		case name == v.of.Alias:
			return nil, refuse("alias %q: want letters, digits, '-', '_' and '.'", name)
		}
	}
	return out, nil
}

// serviceSpec is what the engine is asked for. A service is caged as the task is, and privileged with it.
func (e *Executor) serviceSpec(t executor.Task, o plan.Options, of plan.Sidecar, instance int, img image.InspectResponse) (*spec, error) {
	s := &spec{
		masks: t.Masks, conf: e.opts.of(t.Org),
		config: &container.Config{
			Image: of.Image, Labels: e.labels(t), WorkingDir: of.WorkingDirectory, Entrypoint: of.Entrypoint, Cmd: of.Command,
			Env: variables(of.Environment, instance),
		},
		host: &container.HostConfig{LogConfig: container.LogConfig{Type: logDriver}, Init: new(true)},
	}
	user := ""
	if c := img.Config; c != nil {
		user = c.User
		if h := c.Healthcheck; h != nil && len(h.Test) > 0 && h.Test[0] != "NONE" {
			// While it may still come up a check that fails does not count; without this the first one came after 30 s.
			s.config.Healthcheck = &container.HealthConfig{Interval: healthEach, StartPeriod: e.opts.ServiceTime}
		}
	}
	if err := e.rights(s, plan.Options{Privileged: o.Privileged}, user); err != nil {
		return nil, err
	}
	if err := e.mounts(s, t, &plan.Container{Volumes: of.Volumes}); err != nil {
		return nil, err
	}
	e.limits(s, executor.Task{}, of.Limits)
	return s, nil
}

// variables are those of a service.
func variables(of map[string]string, instance int) []string {
	out := []string{"SERVICE_INSTANCE=" + strconv.Itoa(instance)}
	for _, name := range slices.Sorted(maps.Keys(of)) {
		out = append(out, name+"="+of[name])
	}
	return out
}

// start makes and starts the container.
func (v *service) start(ctx context.Context, sp *spec, name string) error {
	api := v.s.e.engine()
	made, err := v.s.e.create(ctx, sp, name)
	if err != nil {
		close(v.gone)
		return err
	}
	v.id = made.ID
	if err = v.s.e.checkUser(ctx, v.id, sp); err == nil {
		err = v.s.e.openVolumes(ctx, v.id, sp)
	}
	if err == nil {
		err = v.attach()
	}
	if err != nil {
		close(v.gone)
		return err
	}
	if err := api.ContainerStart(ctx, v.id, container.StartOptions{}); err != nil {
		close(v.gone)
		return fmt.Errorf("start the container: %w", err)
	}
	v.prints.Go(v.watch)
	return nil
}

// attach copies what it prints into the log of the task.
func (v *service) attach() error {
	stream, err := v.s.e.attach(v.s.life, v.id, container.AttachOptions{Stream: true, Stdout: true, Stderr: true})
	if err != nil {
		return fmt.Errorf("attach to the container: %w", err)
	}
	v.print(stream.Reader, &stream)
	return nil
}

// print reads frames of output until they end.
func (v *service) print(frames io.Reader, stream interface{ Close() }) {
	stop := context.AfterFunc(v.s.life, stream.Close)
	v.prints.Go(func() {
		defer stream.Close()
		defer stop()
		stdout, stderr := &noter{say: v.say}, &noter{say: v.say}
		_, _ = stdcopy.StdCopy(stdout, stderr, frames)
		stdout.end()
		stderr.end()
	})
}

// say adds a line to the log.
func (v *service) say(line string) {
	v.mu.Lock()
	v.last = append(v.last[max(0, len(v.last)+1-lastLines):], line)
	v.mu.Unlock()
	v.s.out.Note("[" + v.label + "] " + line)
}

// noter makes notes of what is printed, line by line.
type noter struct {
	say  func(string)
	open []byte
}

func (n *noter) Write(p []byte) (int, error) {
	n.open = append(n.open, p...)
	for {
		i := bytes.IndexByte(n.open, '\n')
		if i < 0 && len(n.open) < longestPiece {
			return len(p), nil
		}
		if i < 0 {
			i = len(n.open)
		}
		n.say(strings.TrimSuffix(string(n.open[:i]), "\r"))
		n.open = n.open[:copy(n.open, n.open[min(i+1, len(n.open)):])]
	}
}

func (n *noter) end() {
	if len(n.open) > 0 {
		n.say(string(n.open))
	}
}

// watch waits for the end of the container.
func (v *service) watch() {
	defer close(v.gone)
	ending, err := v.s.e.ending(v.s.life, v.id, container.WaitConditionNotRunning)
	if err == nil {
		v.code, err = v.s.e.word(ending)
	}
	if err != nil {
		v.code = -1
		if v.s.life.Err() == nil {
			v.s.out.Note(fmt.Sprintf("[%s] is not watched any more: %v", v.label, err))
		}
		return
	}
	v.s.mu.Lock()
	running := !v.s.over
	v.s.mu.Unlock()
	if running && v.s.life.Err() == nil {
		v.s.out.Note(fmt.Sprintf("[%s] ended with exit code %d", v.label, v.code))
	}
}

// up waits until all services can be used.
func (s *session) up(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var waits sync.WaitGroup
	faults := make(chan error, len(s.all))
	for _, v := range s.all {
		waits.Go(func() {
			if err := v.up(ctx); err != nil {
				faults <- err
				cancel() // one is enough
			}
		})
	}
	waits.Wait()
	select {
	case err := <-faults:
		return err
	default:
		return nil
	}
}

// up waits for the health check, or until the ports that are named are listened at.
func (v *service) up(ctx context.Context) error {
	wanted := slices.DeleteFunc(slices.Clone(v.of.Ports), func(p plan.Port) bool { return p.Protocol == "SCTP" })
	limit, cancel := context.WithTimeout(ctx, v.s.e.opts.ServiceTime)
	defer cancel()
	var err error
	missing := "its health check to succeed"
	switch {
	case v.checked:
		err = v.healthy(limit)
	case len(wanted) > 0:
		var left []string
		if left, err = v.listening(limit, wanted); len(left) > 0 {
			missing = "somebody to listen at " + strings.Join(left, ", ")
		}
	}
	if err == nil {
		return nil
	}
	calm(deadTime, &v.prints) // if it is dead, what it printed is on its way
	select {
	case <-v.gone:
		err = errEnded
	default:
	}
	v.mu.Lock()
	said := ""
	if len(v.last) > 0 {
		said = "; it said: " + strings.Join(v.last, " / ")
	}
	v.mu.Unlock()
	switch {
	case ctx.Err() != nil:
		return ctx.Err()
	case errors.Is(err, errEnded):
		return unwell{fmt.Errorf("service %s ended with exit code %d before it could be used%s", v.label, v.code, said)}
	case limit.Err() != nil:
		return unwell{fmt.Errorf("service %s did not come up: waited %s for %s%s", v.label, v.s.e.opts.ServiceTime, missing, said)}
	}
	return fmt.Errorf("wait for service %s: %w", v.label, err)
}

var errEnded = errors.New("the service has ended")

// pause returns an error when there is nothing to wait for any more.
func (v *service) pause(ctx context.Context) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-v.gone:
		return errEnded
	case <-time.After(lookEach):
		return nil
	}
}

func (v *service) healthy(ctx context.Context) error {
	for {
		info, err := v.s.e.engine().ContainerInspect(ctx, v.id)
		if err != nil {
			return err
		}
		if h := info.State.Health; h != nil && h.Status == container.Healthy {
			return nil
		}
		if err := v.pause(ctx); err != nil {
			return err
		}
	}
}

// listens is a shell that tells, for each line that it reads, at which addresses somebody listens on its network. It uses
// nothing but what is built into a shell.
const listens = `while read -r _; do
  for f in tcp tcp6 udp udp6; do
    if [ -r /proc/net/$f ]; then while read -r l; do echo "$f $l"; done </proc/net/$f; fi
  done
  echo .
done`

// listening waits until all ports are listened at, and returns those that are not. The engine may be anywhere, so it is a
// container on the network of the service that looks, made of the image of the task.
func (v *service) listening(ctx context.Context, wanted []plan.Port) (left []string, err error) {
	for _, p := range wanted {
		left = append(left, strings.ToLower(p.Protocol)+" "+strconv.Itoa(p.Number))
	}
	stream, remove, err := v.probe(ctx)
	defer remove()
	if err != nil {
		return left, err
	}
	defer stream.Close()
	defer context.AfterFunc(ctx, stream.Close)()
	out, in := io.Pipe()
	defer func() { _ = out.Close() }()
	go func() {
		_, err := stdcopy.StdCopy(in, io.Discard, stream.Reader)
		_ = in.CloseWithError(errors.Join(err, io.ErrUnexpectedEOF))
	}()
	answer := bufio.NewScanner(out)
	for {
		if _, err := io.WriteString(stream.Conn, "\n"); err != nil {
			return left, errors.Join(err, v.pause(ctx))
		}
		open := map[string]bool{}
		whole := false
		for !whole && answer.Scan() {
			if port, ok := listener(answer.Text()); ok {
				open[port] = true
			}
			whole = answer.Text() == "."
		}
		if !whole {
			return left, errors.Join(fmt.Errorf("look at its ports: %w", answer.Err()), v.pause(ctx))
		}
		if left = slices.DeleteFunc(left, func(port string) bool { return open[port] }); len(left) == 0 {
			return nil, nil
		}
		if err := v.pause(ctx); err != nil {
			return left, err
		}
	}
}

// listener reads a line of /proc/net with the name of its file before it: "tcp 8080", unless it only serves the container itself.
func listener(line string) (port string, ok bool) {
	f := strings.Fields(line)
	if len(f) < 5 {
		return "", false
	}
	protocol := strings.TrimSuffix(f[0], "6")
	address, number, _ := strings.Cut(f[2], ":")
	n, err := strconv.ParseUint(number, 16, 16)
	loopback := len(address) == 8 && strings.HasSuffix(address, "7F") || len(address) == 32 && strings.Trim(address[:24], "0") == "" && address[24:] == "01000000"
	const listen, unconnected = "0A", "07"
	state := map[string]string{"tcp": listen, "udp": unconnected}[protocol]
	return protocol + " " + strconv.FormatUint(n, 10), err == nil && f[4] == state && !loopback
}

// probe starts the container that looks.
func (v *service) probe(ctx context.Context) (stream types.HijackedResponse, remove func(), err error) {
	e := v.s.e
	pids := int64(8)
	labels := e.labels(v.s.task)
	labels[labelService] = v.label
	sp := &spec{
		config: &container.Config{
			Image: v.s.options.Container.Image, Entrypoint: []string{"/bin/sh", "-c", listens}, Cmd: []string{}, User: fmt.Sprintf("%d:%d", nobody, nobody),
			Labels: labels, OpenStdin: true, StdinOnce: true, AttachStdin: true,
		},
		host: &container.HostConfig{
			LogConfig: container.LogConfig{Type: "none"}, NetworkMode: container.NetworkMode("container:" + v.id), ReadonlyRootfs: true,
			CapDrop: []string{"ALL"}, SecurityOpt: []string{"no-new-privileges"}, Resources: container.Resources{PidsLimit: &pids},
		},
	}
	made, err := e.create(ctx, sp, "")
	if err != nil {
		return stream, func() {}, fmt.Errorf("look at its ports: %w", err)
	}
	remove = func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), e.call)
		defer cancel()
		if gone(e.engine().ContainerRemove(ctx, made.ID, container.RemoveOptions{Force: true, RemoveVolumes: true})) != nil {
			e.leave(v.s.task.UID)
		}
	}
	if stream, err = e.attach(ctx, made.ID, container.AttachOptions{Stream: true, Stdin: true, Stdout: true}); err == nil {
		err = e.engine().ContainerStart(ctx, made.ID, container.StartOptions{})
	}
	if err != nil {
		return stream, remove, fmt.Errorf("look at its ports: %w", err)
	}
	return stream, remove, nil
}

// endServices ends all services and waits for what they printed.
func (s *session) endServices() {
	s.mu.Lock()
	s.over = true
	s.mu.Unlock()
	var ends sync.WaitGroup
	for _, v := range s.all {
		if v.id == "" {
			continue
		}
		ends.Go(func() {
			s.discard(v.id)
			v.id = ""
			calm(drainTime, &v.prints)
		})
	}
	ends.Wait()
}

// calm waits for the end of some output, not for ever.
func calm(most time.Duration, prints *sync.WaitGroup) {
	done := make(chan struct{})
	go func() {
		prints.Wait()
		close(done)
	}()
	select {
	case <-done:
	case <-time.After(most):
	}
}
