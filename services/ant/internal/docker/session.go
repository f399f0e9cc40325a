package docker

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	cerrdefs "github.com/containerd/errdefs"
	"github.com/docker/docker/api/types/container"
	"github.com/docker/docker/client"
	"github.com/docker/docker/pkg/stdcopy"

	"github.com/formicary/formicary/libs/jobspec/plan"
	"github.com/formicary/formicary/services/ant/internal/executor"
	"github.com/formicary/formicary/services/ant/internal/output"
)

const (
	afterLimit      = 10 * time.Second // of an after_script in a session of its own, after a stop
	outputFileLimit = 2 * output.Limit
	drainTime       = time.Minute // within which some of what was printed is read
	awayTime        = time.Minute // the engine may not answer for so long while a task runs
	awayPause       = 250 * time.Millisecond
)

// session is one attempt.
type session struct {
	e       *Executor
	task    executor.Task
	out     *orderly
	outputs output.Set
	stdout  *output.Scanner
	stderr  *output.Scanner
	options plan.Options
	spec    *spec
	services
	id      string // of the container
	words   string // what its shell is told over standard input
	adopted bool
	pulled  time.Duration
	meter   meter
	failed  *executor.End
	calls   sync.WaitGroup // of Stop

	life  context.Context // ends with Close: what the engine is asked while the task runs
	end   context.CancelFunc
	ready context.Context // ends with a stop before the start: pulls and the making of the container
	give  context.CancelFunc

	printed atomic.Int64 // bytes
	away    bool         // the engine did not answer when the task ended, or was to begin

	mu      sync.Mutex
	started bool
	ended   bool
	stopped bool
	killed  bool
	over    bool // the services are being ended
	timer   *time.Timer
	turn    *turn
}

// turn is one time that the container runs.
type turn struct {
	end     func() // ends the reading
	drained chan struct{}
	ending  ending
}

// close ends the reading of what is printed.
func (r *turn) close() {
	r.end()
	<-r.drained
}

// Prepare takes a task.
func (e *Executor) Prepare(t executor.Task, out executor.Output) executor.Execution {
	return e.prepare(t, out)
}

func (e *Executor) prepare(t executor.Task, out executor.Output) *session {
	s := &session{e: e, task: t, out: &orderly{out: out, record: e.recordOf(t.UID)}}
	s.stdout, s.stderr = output.NewScanner(&s.outputs), output.NewScanner(&s.outputs)
	s.life, s.end = context.WithCancel(context.Background())
	s.ready, s.give = context.WithCancel(s.life)
	return s
}

// Create makes the container with its files, once more when the engine went away meanwhile and is back.
func (s *session) Create() error {
	ready, cancel := s.e.whileHeard(s.ready)
	defer cancel()
	err := s.create(ready)
	for since := time.Now(); err != nil && s.outlasts(err, since) && len(s.all) == 0; {
		s.id, s.network, s.words, s.spec = "", "", "", nil
		if err = s.e.remove(ready, labelUID+"="+s.task.UID); err == nil {
			err = s.create(ready)
		}
	}
	if err == nil {
		s.away = false
		return nil
	}
	if ready.Err() != nil && s.ready.Err() == nil {
		err = fmt.Errorf("the engine does not answer: %w", context.Cause(ready))
	}
	s.fail(err)
	return err
}

// outlasts waits for an engine that went away, and reports whether it did and is back. Without that attempts would end as fast as
// they are made, until the task has none left.
func (s *session) outlasts(err error, since time.Time) bool {
	_, refused := errors.AsType[refusal](err)
	_, unwell := errors.AsType[unwell](err)
	if refused || unwell || s.ready.Err() != nil {
		return false
	}
	if s.e.answers(s.ready) && !client.IsErrConnectionFailed(err) && !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) {
		return false
	}
	s.away = true
	s.out.Note("[the engine does not answer: " + err.Error() + "]")
	for time.Since(since) < s.e.patience {
		select {
		case <-s.ready.Done():
			return false
		case <-time.After(awayPause): // there is no event for an engine that comes back
		}
		if s.e.Healthy() == nil {
			return true
		}
	}
	return false
}

// fail notes how a task ends that does not begin.
func (s *session) fail(err error) {
	end := executor.Break(err.Error())
	if refused, ok := errors.AsType[refusal](err); ok {
		end = executor.Refuse(refused.Error())
	} else if s.ready.Err() != nil {
		end = executor.Break("stopped before it began")
	} else if bad, ok := errors.AsType[unwell](err); ok {
		end = executor.End{ExitCode: -1, Class: executor.User, Message: bad.Error()}
	}
	end.Usage.Pull = s.pulled
	s.failed = &end
}

func (s *session) create(ctx context.Context) error {
	if len(s.task.Options) > 0 {
		if err := json.Unmarshal(s.task.Options, &s.options); err != nil {
			return refuse("options of the container: %v", err)
		}
	}
	if s.task.Masks.Holds(string(s.task.Options)) { // before an image is asked for by its name
		return errShown
	}
	if s.options.Container == nil {
		s.options.Container = &plan.Container{}
	}
	c := s.options.Container
	if c.Image == "" {
		c.Image = s.e.opts.Image
	}
	if c.Image == "" {
		return refuse("the task names no image (container.image), and this ant has none for such tasks")
	}
	if !s.e.opts.allowsImage(c.Image) {
		return closed("image "+c.Image, "docker-images")
	}
	image, err := s.image(ctx, c.Image, c.PullPolicy)
	if err != nil {
		return err
	}
	user := ""
	if image.Config != nil {
		user = image.Config.User
	}
	if s.spec, err = s.e.spec(s.task, s.options, user); err != nil {
		return err
	}
	files, err := s.files()
	if err != nil {
		return err
	}
	if err := s.beside(ctx); err != nil {
		return err
	}
	if err := s.container(ctx, image.ID); err != nil || s.words != "" {
		return err
	}
	if err := s.e.engine().CopyToContainer(ctx, s.id, home, files, container.CopyToContainerOptions{}); err != nil {
		return fmt.Errorf("put the script into the container: %w", err)
	}
	return nil
}

// container makes the container, one of a prepared image if that can be.
func (s *session) container(ctx context.Context, image string) error {
	name := "formicary-" + s.task.UID
	sp := s.spec
	if s.words != "" {
		if sp = s.e.listening(s.spec, s.task, image); sp == nil {
			s.words, sp = "", s.spec
		}
	}
	made, err := s.e.create(ctx, sp, name)
	if cerrdefs.IsNotFound(err) && s.words != "" { // somebody has removed it
		s.e.unprepare(sp.config.Image)
		s.words = ""
		made, err = s.e.create(ctx, s.spec, name)
	}
	if err != nil {
		return err
	}
	s.id = made.ID
	for _, w := range made.Warnings {
		s.out.Note("[engine: " + w + "]")
	}
	if err := s.e.checkUser(ctx, s.id, sp); err != nil {
		return err
	}
	return s.e.openVolumes(ctx, s.id, sp)
}

// discreet refuses a container whose settings hold a secret: the engine tells them to everybody who may ask it.
func (s *spec) discreet() error {
	if s.masks == nil {
		return nil
	}
	raw, err := json.Marshal([]any{s.config, s.host, s.network})
	if err != nil {
		return fmt.Errorf("read the settings of the container: %w", err)
	}
	if s.masks.Holds(string(raw)) {
		return errShown
	}
	return nil
}

var errShown = refuse("a setting of the container, or of a service, holds a secret, and the engine would show it: give it to the script alone, by a variable of its shell or a file of secrets") //nolint:gochecknoglobals // a constant

// create makes a container.
func (e *Executor) create(ctx context.Context, s *spec, name string) (container.CreateResponse, error) {
	if err := s.discreet(); err != nil {
		return container.CreateResponse{}, err
	}
	made, err := e.engine().ContainerCreate(ctx, s.config, s.host, s.network, nil, name)
	switch {
	case cerrdefs.IsInvalidArgument(err), err != nil && strings.Contains(err.Error(), "No command specified"):
		return made, refuse("the engine refuses the container: %v", err)
	case err != nil:
		return made, fmt.Errorf("make the container: %w", err)
	}
	return made, nil
}

// Start begins the script when the services can be used. The trace is the id of the container.
func (s *session) Start() string {
	if s.adopted {
		s.reach()
	}
	if s.failed != nil {
		return ""
	}
	var err error
	if s.adopted {
		err = s.resume()
	} else if err = s.up(s.ready); err == nil {
		err = s.begin()
	}
	if err != nil {
		s.outlasts(err, time.Now())
		s.fail(err)
		return ""
	}
	s.meter.begin(s)
	return s.id
}

// begin lets the container run.
func (s *session) begin() error {
	r := &turn{drained: make(chan struct{})}
	words := s.words
	s.words = "" // it is told once
	stream, err := s.e.attach(s.life, s.id, container.AttachOptions{Stream: true, Stdin: words != "", Stdout: true, Stderr: true})
	if err != nil {
		return fmt.Errorf("attach to the container: %w", err)
	}
	if words != "" {
		if _, err = io.WriteString(stream.Conn, words); err == nil { // the engine keeps it until the shell listens
			err = stream.CloseWrite()
		}
		if err != nil {
			stream.Close()
			return fmt.Errorf("send the script to the container: %w", err)
		}
	}
	if r.ending, err = s.e.ending(s.life, s.id, container.WaitConditionNextExit); err != nil {
		stream.Close()
		return err
	}
	r.end = stream.Close
	go s.read(r, stream.Reader)
	s.mu.Lock()
	s.turn = r
	if s.killed || s.stopped && !s.started {
		s.mu.Unlock()
		r.close()
		return errors.New("stopped before it began")
	}
	before := s.stopped              // of an earlier turn
	s.started, s.ended = true, false // from here on Stop sends signals
	s.mu.Unlock()
	// The start has no limit of its own: it takes as long as the engine is busy, and a stop ends it.
	starting, cancel := s.e.whileHeard(s.ready)
	defer cancel()
	if err := s.e.engine().ContainerStart(starting, s.id, container.StartOptions{}); err != nil {
		r.close()
		if starting.Err() != nil && s.ready.Err() == nil {
			err = context.Cause(starting)
		}
		if text := err.Error(); strings.Contains(text, "unable to find user") || strings.Contains(text, "unable to find group") {
			return refuse("the image %s lacks the user: %v", s.options.Container.Image, err)
		}
		return fmt.Errorf("start the container: %w", err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	switch { // a signal may have come before there was a process
	case s.killed:
		s.signal("KILL")
	case s.stopped && !before:
		s.signal("TERM")
	}
	return nil
}

// read copies what the task prints until the stream ends.
func (s *session) read(r *turn, stream io.Reader) {
	defer close(r.drained)
	_, _ = stdcopy.StdCopy(tee{s, s.stdout, s.out.Stdout()}, tee{s, s.stderr, s.out.Stderr()}, stream)
}

type tee struct {
	s       *session
	scanner *output.Scanner
	to      interface{ Write([]byte) (int, error) }
}

func (t tee) Write(p []byte) (int, error) {
	t.s.printed.Add(int64(len(p)))
	_, _ = t.scanner.Write(p)
	return t.to.Write(p)
}

// Wait returns when the container has ended.
func (s *session) Wait() executor.End {
	defer s.endServices()
	if s.failed != nil {
		return *s.failed
	}
	state, err := s.await()
	if err != nil {
		return executor.Lose(err.Error())
	}
	code, oom := state.ExitCode, state.OOMKilled
	if len(s.task.After) > 0 {
		if noted, memory, ok := s.readCode(); ok {
			code, oom = noted, oom || memory
		} else {
			s.after(code, oom)
		}
	}
	return s.result(code, oom, state)
}

// await waits until the container has ended and what it printed is read.
func (s *session) await() (*container.State, error) {
	r := s.turn
	_, err := s.e.word(r.ending)
	var state *container.State
	if err == nil {
		state, err = s.inspect(s.life)
	}
	if err != nil {
		if state, err = s.reconnect(err); err != nil {
			return nil, err
		}
	}
	s.mu.Lock()
	s.ended = true
	s.mu.Unlock()
	s.drain(r)
	if s.away {
		s.out.Note("[what was printed while the engine did not answer may be missing here]")
	}
	return state, nil
}

// drain waits for the end of what was printed, as long as some of it comes.
func (s *session) drain(r *turn) {
	defer r.close()
	for before := int64(-1); before < s.printed.Load(); {
		before = s.printed.Load()
		select {
		case <-r.drained:
			return
		case <-time.After(drainTime):
		}
	}
	s.out.Note("[the end of the output did not come]")
}

func (s *session) inspect(ctx context.Context) (*container.State, error) {
	info, err := s.look(ctx)
	return info.State, err
}

func (s *session) look(ctx context.Context) (container.InspectResponse, error) {
	ctx, cancel := context.WithTimeout(ctx, s.e.call)
	defer cancel()
	info, err := s.e.engine().ContainerInspect(ctx, s.id)
	if err == nil {
		return info, nil
	}
	return container.InspectResponse{ContainerJSONBase: &container.ContainerJSONBase{}}, fmt.Errorf("look at the container: %w", err)
}

// reconnect waits for an engine that does not answer any more, and for the end of the container, should it run still.
func (s *session) reconnect(why error) (*container.State, error) {
	s.out.Note("[the engine does not answer: " + why.Error() + "]")
	s.e.answers(s.life) // so that no task comes
	for since := time.Now(); time.Since(since) < s.e.patience && s.life.Err() == nil; {
		state, err := s.inspect(s.life)
		switch {
		case cerrdefs.IsNotFound(err):
			return nil, errors.New("the engine has lost the container")
		case err != nil:
			why = err
		case !state.Running:
			s.away = true
			return state, nil
		default:
			var again ending
			if again, err = s.e.ending(s.life, s.id, container.WaitConditionNotRunning); err == nil {
				_, err = s.e.word(again)
			}
			since = time.Now()
			if err == nil {
				continue
			}
			why = err
		}
		time.Sleep(awayPause) // there is no event for an engine that comes back
	}
	return nil, fmt.Errorf("the engine does not answer: %w", why)
}

// Stop sends TERM, and KILL after grace. What was not started yet is given up.
func (s *session) Stop(grace time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	again := s.stopped
	s.stopped = true
	if grace <= 0 {
		s.killed = true
	}
	switch {
	case !s.started:
		s.give()
	case s.killed && !s.ended:
		s.signal("KILL")
	case s.ended || again:
	default:
		s.signal("TERM")
		s.timer = time.AfterFunc(grace, s.kill)
	}
}

func (s *session) kill() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.ended {
		s.signal("KILL")
	}
}

// signal is called with mu held.
func (s *session) signal(name string) {
	s.calls.Go(func() {
		for range 3 {
			ctx, cancel := context.WithTimeout(s.life, s.e.call)
			err := s.e.engine().ContainerKill(ctx, s.id, name)
			cancel()
			if err == nil || cerrdefs.IsNotFound(err) || cerrdefs.IsConflict(err) || s.life.Err() != nil {
				return // Conflict: it does not run
			}
		}
		s.give() // a start that hangs as well
	})
}

// Close removes the container with all that it has.
func (s *session) Close() {
	s.mu.Lock()
	s.ended = true
	if s.timer != nil {
		s.timer.Stop()
	}
	r := s.turn
	s.mu.Unlock()
	s.end()
	s.calls.Wait()
	s.meter.end()
	if r != nil {
		r.close()
	}
	if s.id != "" {
		s.discard(s.id)
	}
	s.e.forget(s.task.UID)
	s.endServices()
	for _, v := range s.all {
		<-v.gone
		v.prints.Wait()
	}
	if s.failed != nil && (s.ready.Err() != nil || s.away) {
		s.e.leave(s.task.UID) // a call without an answer may have made something
	}
	s.out.record.remove()
	if s.network == "" {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), s.e.call)
	defer cancel()
	if gone(s.e.engine().NetworkRemove(ctx, s.network)) != nil {
		s.e.leave(s.task.UID)
	}
}

// discard removes a container.
func (s *session) discard(id string) {
	ctx, cancel := context.WithTimeout(context.Background(), s.e.call)
	defer cancel()
	if gone(s.e.engine().ContainerRemove(ctx, id, container.RemoveOptions{Force: true, RemoveVolumes: true})) != nil {
		s.e.leave(s.task.UID)
	}
}
