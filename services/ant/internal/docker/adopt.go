package docker

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"time"

	cerrdefs "github.com/containerd/errdefs"
	"github.com/docker/docker/api/types/container"
	"github.com/docker/docker/api/types/filters"
	"github.com/docker/docker/pkg/stdcopy"

	"github.com/formicary/formicary/services/ant/internal/executor"
)

var _ executor.Adopter = (*Executor)(nil)

// containers returns those of this owner.
func (e *Executor) containers(ctx context.Context) ([]container.Summary, error) {
	ctx, cancel := context.WithTimeout(ctx, e.call)
	defer cancel()
	all, err := e.engine().ContainerList(ctx, container.ListOptions{All: true, Filters: filters.NewArgs(filters.Arg("label", labelOwner+"="+e.owner))})
	if err != nil {
		return nil, fmt.Errorf("list containers: %w", err)
	}
	return all, nil
}

// isTask reports whether a container is that of a task, and not one beside it.
func isTask(c container.Summary) bool {
	_, service := c.Labels[labelService]
	return !service
}

// IsTrace reports whether a trace is that of a container.
func IsTrace(trace string) bool { return containerID.MatchString(trace) }

// Find returns the attempts whose containers run, or have ended. While the engine is silent any of them may: who adopts it then
// waits for the engine.
func (e *Executor) Find(ctx context.Context, traces map[string]string) (uids []string) {
	ctx, cancel := context.WithTimeout(ctx, pingTime)
	defer cancel()
	all, err := e.containers(ctx)
	e.mu.Lock()
	defer e.mu.Unlock()
	if err != nil {
		for uid, trace := range traces {
			if IsTrace(trace) {
				e.found[uid] = trace
				uids = append(uids, uid)
			}
		}
	}
	for _, c := range all {
		uid := c.Labels[labelUID]
		if !isTask(c) || traces[uid] != c.ID || c.State != container.StateRunning && c.State != container.StateExited {
			continue
		}
		e.found[uid] = c.ID
		uids = append(uids, uid)
	}
	return uids
}

// List returns the containers of tasks that run.
func (e *Executor) List(ctx context.Context) ([]executor.Running, error) {
	all, err := e.containers(ctx)
	if errors.Is(err, context.DeadlineExceeded) {
		err = fmt.Errorf("the docker engine at %s does not answer: %w", e.opts.Host, err)
	}
	if err != nil {
		return nil, err
	}
	var out []executor.Running
	for _, c := range all {
		if isTask(c) && c.State == container.StateRunning {
			out = append(out, executor.Running{UID: c.Labels[labelUID], ID: strings.TrimPrefix(c.Names[0], "/"), Since: time.Unix(c.Created, 0)})
		}
	}
	slices.SortFunc(out, func(a, b executor.Running) int { return strings.Compare(a.UID, b.UID) })
	return out, nil
}

// Remove removes all that was made for an attempt. What it cannot remove is tried again until it is gone.
func (e *Executor) Remove(ctx context.Context, uid string) error {
	e.forget(uid)
	if r := e.recordOf(uid); r != nil {
		_ = os.Remove(r.path)
	}
	err := e.remove(ctx, labelUID+"="+uid)
	if err != nil {
		e.leave(uid)
	}
	return err
}

// forget lets a later sweep take what was found of an attempt.
func (e *Executor) forget(uid string) {
	e.mu.Lock()
	defer e.mu.Unlock()
	delete(e.found, uid)
}

// Adopt takes a container over. It stays found until it is closed.
func (e *Executor) Adopt(t executor.Task, out executor.Output) executor.Execution {
	s := e.prepare(t, out)
	e.mu.Lock()
	s.id = e.found[t.UID]
	e.mu.Unlock()
	s.adopted = true
	s.out.again(true)
	ctx, cancel := context.WithTimeout(s.life, pingTime)
	defer cancel()
	_ = s.meet(ctx) // else Start tries it on
	return s
}

// meet looks at an adopted container.
func (s *session) meet(ctx context.Context) error {
	info, err := s.look(ctx)
	if err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.stopped {
		return errors.New("stopped before the engine answered")
	}
	s.started = true
	s.spec = &spec{config: info.Config, host: info.HostConfig}
	s.spec.owner(info.Config.User)
	return nil
}

// reach meets an adopted container as soon as the engine answers. An engine that is silent for too long loses it, as it would have
// while the task was watched.
func (s *session) reach() {
	var err error
	for since := time.Now(); s.spec == nil; {
		if err = s.meet(s.ready); err == nil {
			return
		}
		if cerrdefs.IsNotFound(err) || s.ready.Err() != nil || time.Since(since) > s.e.patience {
			end := executor.Lose("the container of the task: " + err.Error())
			s.failed = &end
			s.out.again(false)
			s.e.leave(s.task.UID)
			return
		}
		time.Sleep(awayPause) // there is no event for an engine that comes back
	}
}

// resume goes on with an adopted container: what the log was told comes first, then what else was printed, then what it prints.
func (s *session) resume() error {
	defer s.out.at(time.Time{})
	stdout, stderr := tee{s, s.stdout, s.out.Stdout()}, tee{s, s.stderr, s.out.Stderr()}
	known, err := s.out.repeat(func(kind int, p []byte) {
		switch kind {
		case fromStdout:
			_, _ = stdout.Write(p)
		case fromStderr:
			_, _ = stderr.Write(p)
		default:
			s.out.Note(string(p))
		}
	})
	s.out.again(false)
	if err != nil {
		s.out.Note("[what was printed before the restart of the ant cannot be read: " + err.Error() + "]")
	}
	r := &turn{drained: make(chan struct{})}
	if r.ending, err = s.e.ending(s.life, s.id, container.WaitConditionNotRunning); err != nil {
		return err
	}
	to := &replay{s: s, known: known}
	to.stdout, to.stderr = &untold{r: to, kind: fromStdout, to: stdout}, &untold{r: to, kind: fromStderr, to: stderr}
	if err := to.read(s.life, s.id, false); err != nil {
		return fmt.Errorf("read what the task has printed: %w", err)
	}
	if rest := to.known.bytes; !to.lost && max(rest[0], rest[1]) > lateBytes {
		to.lose()
		to.last, to.same = time.Time{}, 0
		if err := to.read(s.life, s.id, false); err != nil {
			return fmt.Errorf("read what the task has printed: %w", err)
		}
	}
	s.out.at(time.Time{})
	var reading context.Context
	reading, r.end = context.WithCancel(s.life)
	s.mu.Lock()
	s.turn = r
	s.mu.Unlock()
	go func() {
		defer close(r.drained)
		to.follow(reading, s.id)
	}()
	return s.resumeServices(known)
}

// replay hands on the lines that the engine keeps of what a container prints.
type replay struct {
	s              *session
	stdout, stderr io.Writer
	last           time.Time // of the newest line
	same           int       // lines that have this time
	skip           int       // lines of this time that are known already
	known          told      // what the log knows, less what was passed over
	lost           bool      // the engine does not keep all of it
}

// lateBytes is how much of what was told an engine may not have kept yet: a line that has not ended, above all.
const lateBytes = 1 << 20

// lose says that the engine does not keep all of what was printed since the log was told something.
func (r *replay) lose() {
	r.lost = true
	r.s.out.at(time.Time{})
	r.s.out.Note("[the engine keeps no more than the end of a long output: what was printed here before may be missing]")
}

// untold passes over what the log knows already. An engine that has dropped the beginning of a long output shows another one: then
// the times tell what is known.
type untold struct {
	r     *replay
	kind  int
	to    io.Writer
	begun bool
}

func (u *untold) Write(p []byte) (int, error) {
	r, n := u.r, len(p)
	if first := r.known.first[u.kind]; !u.begun && !r.lost && !bytes.Equal(p[:min(len(p), len(first))], first[:min(len(p), len(first))]) {
		r.lose()
	}
	u.begun = true
	if r.lost {
		if r.last.UnixMicro() <= r.known.last.UnixMicro() {
			return n, nil
		}
	} else {
		skip := min(int64(n), r.known.bytes[u.kind])
		r.known.bytes[u.kind] -= skip
		p = p[skip:]
	}
	if len(p) == 0 {
		return n, nil
	}
	r.s.out.at(r.last)
	defer r.s.out.at(time.Time{})
	_, err := u.to.Write(p)
	return n, err
}

// read hands on what follows the newest line.
func (r *replay) read(ctx context.Context, id string, follow bool) error {
	o := container.LogsOptions{ShowStdout: true, ShowStderr: true, Timestamps: true, Follow: follow}
	if r.skip = r.same; r.same > 0 {
		o.Since = fmt.Sprintf("%d.%09d", r.last.Unix(), r.last.Nanosecond())
	}
	stream, err := r.s.e.engine().ContainerLogs(ctx, id, o)
	if err != nil {
		return err
	}
	defer func() { _ = stream.Close() }()
	_, err = stdcopy.StdCopy(stamped{r, r.stdout}, stamped{r, r.stderr}, stream)
	return err
}

// follow reads until the container has ended. Engines end such a stream too early when a container prints fast, but what they
// keep is whole, so what is missing is read then.
func (r *replay) follow(ctx context.Context, id string) {
	for running := true; running && ctx.Err() == nil; {
		err := r.read(ctx, id, true)
		state, stateErr := r.s.inspect(ctx)
		if running = stateErr == nil && state.Running; !running {
			err = r.read(ctx, id, false)
		}
		if err != nil && ctx.Err() == nil {
			r.s.out.Note("[what the task prints cannot be read: " + err.Error() + "]")
			running = false
		}
	}
}

// engineLine is the longest part of a line that the engine keeps in one piece.
const engineLine = 16 << 10

// stamped takes lines, or parts of long ones, with their times before them: one with each Write.
type stamped struct {
	*replay
	to io.Writer
}

func (w stamped) Write(p []byte) (int, error) {
	stamp, text, ok := bytes.Cut(p, []byte(" "))
	t, err := time.Parse(time.RFC3339Nano, string(stamp))
	if !ok || err != nil {
		return 0, errors.Join(errors.New("a kept line has no time"), err)
	}
	if t.Equal(w.last) {
		if w.skip > 0 {
			w.skip--
			return len(p), nil
		}
		w.same++
	} else {
		w.last, w.same = t, 1
	}
	if len(text) < engineLine && !bytes.HasSuffix(text, []byte("\n")) {
		text = append(bytes.Clone(text), '\n') // older engines lose that of a long line
	}
	if _, err := w.to.Write(text); err != nil {
		return 0, err
	}
	return len(p), nil
}

// resumeServices finds the services again. What they print until the task ends is in its log, as it was.
func (s *session) resumeServices(known told) error {
	all, err := s.e.containers(s.life)
	if err != nil {
		return err
	}
	for _, c := range all {
		if c.Labels[labelUID] != s.task.UID || isTask(c) {
			continue
		}
		v := &service{s: s, id: c.ID, label: c.Labels[labelService], gone: make(chan struct{})}
		s.all = append(s.all, v)
		v.prints.Go(v.watch)
		v.prints.Go(func() { v.resume(known.notes[v.label]) })
	}
	if len(s.all) > 0 {
		s.network = networkName(s.task.UID)
	}
	return nil
}

// resume makes notes of what the engine kept and of what follows, but for the lines that the log knows.
func (v *service) resume(known int) {
	say := func(line string) {
		if known--; known < 0 {
			v.say(line)
		}
	}
	stdout, stderr := &noter{say: say}, &noter{say: say}
	r := &replay{s: v.s, stdout: stdout, stderr: stderr}
	_ = r.read(v.s.life, v.id, true) // what looked at ports keeps nothing
	stdout.end()
	stderr.end()
}
