package shell

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"runtime"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/formicary/formicary/services/ant/internal/executor"
	"github.com/formicary/formicary/services/ant/internal/output"
	"github.com/formicary/formicary/services/ant/internal/script"
)

// afterLimit bounds an after_script that has to run in a shell of its own because the session was killed.
const afterLimit = 10 * time.Second

// outputFileLimit bounds the output file: values in their full size, and as much again for what stands around them.
const outputFileLimit = 2 * output.Limit

// session is one attempt.
type session struct {
	e         *Executor
	task      executor.Task
	out       executor.Output
	outputs   output.Set
	turn      sync.Mutex // of what is read from the two streams
	stdout    *output.Scanner
	stderr    *output.Scanner
	workspace *workspace
	cage      cage
	limits    limits
	dir       string
	env       []string
	failed    *executor.End // it could not be started
	empty     bool          // nothing is left of it
	locked    bool          // to its thread

	mu      sync.Mutex
	shell   *child
	stopped bool
	killed  bool
	// deadline is the end of the grace: timer kills then.
	deadline time.Time
	timer    *time.Timer
}

// child is a shell on its way.
type child struct {
	process *os.Process
	streams [2]*os.File   // what is read of its output
	drained chan struct{} // its output is read to the end
	dead    bool          // guarded by session.mu: no signal may be sent any more
}

func (e *Executor) prepare(t executor.Task, out executor.Output) *session {
	s := &session{e: e, task: t, out: out, empty: true}
	s.stdout, s.stderr = output.NewScanner(&s.outputs), output.NewScanner(&s.outputs)
	return s
}

// Create makes everything that the shell needs.
func (s *session) Create() error {
	err := s.place()
	if err == nil {
		return nil
	}
	if refused, ok := errors.AsType[refusal](err); ok {
		s.fail(executor.Refuse(refused.Error()))
	} else {
		s.fail(executor.Break(err.Error()))
	}
	return err
}

// refusal is an error of the task.
type refusal struct{ error }

// Start begins the session. It binds the goroutine to its thread until Wait returns: the kernel kills the shell when
// the thread that started it ends.
func (s *session) Start() string {
	runtime.LockOSThread()
	s.locked = true
	since := uptime()
	pid := s.spawn(s.workspace.path(scriptFile))
	if pid == 0 {
		return ""
	}
	return trace{pid: pid, since: since, before: uptime() + 1}.String()
}

func (s *session) fail(end executor.End) { s.failed = &end }

func (s *session) place() (err error) {
	if s.workspace, err = s.e.workspaces.acquire(); err != nil {
		return err
	}
	if s.env, err = s.e.environment(s.task, s.workspace); err != nil {
		if _, ours := errors.AsType[*fs.PathError](err); ours {
			return err
		}
		return refusal{err}
	}
	if s.dir, err = s.workspace.directory(s.task.WorkingDir); err != nil {
		return refusal{err}
	}
	var group *cgroup
	if s.cage, group, err = s.e.cage(s.task.UID); err != nil {
		return err
	}
	if s.task.CPUMillis > 0 || s.task.MemoryBytes > 0 {
		s.limits = s.e.groups.limit(group, s.task.UID, s.task.CPUMillis, s.task.MemoryBytes)
		for _, what := range s.limits.missing {
			s.out.Note("[this ant cannot limit " + what + ": no control group]")
		}
	}
	var after *script.After
	if len(s.task.After) > 0 {
		after = &script.After{File: s.workspace.path(afterFile), Code: s.workspace.path(codeFile)}
	}
	return s.workspace.write(script.Compose(s.limits.prelude, s.task.Before, s.task.Script, after), script.Lines(s.task.After))
}

// spawn starts a shell with a script; 0 means that it could not, or must not any more.
func (s *session) spawn(path string) int {
	var read, write [2]*os.File
	for i := range read {
		var err error
		if read[i], write[i], err = os.Pipe(); err != nil {
			closeAll(read, write)
			s.fail(executor.Break(fmt.Sprintf("make pipe: %v", err)))
			return 0
		}
	}
	defer closeAll(write)
	attr := &syscall.SysProcAttr{Setsid: true, Pdeathsig: syscall.SIGKILL}
	s.cage.enter(attr)
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.killed || s.stopped && s.shell == nil {
		closeAll(read)
		s.fail(executor.Break("stopped before it began"))
		return 0
	}
	p, err := os.StartProcess(shell, []string{"sh", path}, &os.ProcAttr{Dir: s.dir, Env: s.env, Files: []*os.File{s.e.null, write[0], write[1]}, Sys: attr})
	if err != nil {
		closeAll(read)
		if tooLarge(err) {
			s.fail(executor.Refuse("the environment of the task is larger than the system allows"))
		} else {
			s.fail(executor.Break(fmt.Sprintf("start %s: %v", shell, err)))
		}
		return 0
	}
	s.shell = &child{process: p, streams: read, drained: make(chan struct{})}
	go s.read(s.shell)
	return p.Pid
}

func closeAll(pipes ...[2]*os.File) {
	for _, p := range pipes {
		for _, f := range p {
			if f != nil {
				_ = f.Close()
			}
		}
	}
}

// read copies the two streams until every writer is gone, or until they are cut.
func (s *session) read(c *child) {
	defer close(c.drained)
	done := make(chan struct{})
	go func() {
		defer close(done)
		s.copy(c.streams[1], s.stderr, s.out.Stderr())
	}()
	s.copy(c.streams[0], s.stdout, s.out.Stdout())
	<-done
}

// copy hands on what is read of one stream, a piece at a time: the kernel wakes the readers of both in the order in which
// the task wrote.
func (s *session) copy(from *os.File, scanner *output.Scanner, to io.Writer) {
	buf := s.e.buffers.Get().(*[]byte)
	defer s.e.buffers.Put(buf)
	for {
		n, err := from.Read(*buf)
		if n > 0 {
			s.turn.Lock()
			_, _ = scanner.Write((*buf)[:n])
			_, _ = to.Write((*buf)[:n])
			s.turn.Unlock()
		}
		if err != nil {
			return
		}
	}
}

// Wait returns when the session has ended.
func (s *session) Wait() executor.End {
	if s.locked {
		defer runtime.UnlockOSThread()
	}
	if s.failed != nil {
		return *s.failed
	}
	state, err := s.await()
	if err != nil {
		return executor.Break(err.Error())
	}
	oom := s.limits.oom()
	code, noted := s.workspace.readCode()
	switch {
	case len(s.task.After) == 0:
	case noted:
		return s.end(code, 0, oom)
	default:
		s.after()
	}
	if ws, ok := state.Sys().(syscall.WaitStatus); ok && ws.Signaled() {
		return s.end(128+int(ws.Signal()), ws.Signal(), oom)
	}
	return s.end(state.ExitCode(), 0, oom)
}

// after runs after_script in a shell of its own: the session was killed, or the script replaced the exit trap or the
// shell itself.
func (s *session) after() {
	if s.recage() != nil || s.spawn(s.workspace.path(afterFile)) == 0 {
		s.failed = nil
		return
	}
	s.mu.Lock()
	if s.timer != nil {
		s.timer.Stop()
	}
	if s.stopped {
		s.timer = time.AfterFunc(afterLimit, s.kill)
	}
	s.mu.Unlock()
	_, _ = s.await()
}

// recage takes a new cage: a group in which something was killed may kill what enters it later (see cgroup).
func (s *session) recage() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.cage.free(s.empty)
	c, _, err := s.e.cage(s.task.UID)
	if err != nil {
		s.cage = &processTree{mark: uidVariable + s.task.UID}
		return err
	}
	s.cage = c
	return nil
}

// await waits for the shell, kills what it leaves behind and reaps it.
func (s *session) await() (*os.ProcessState, error) {
	s.mu.Lock()
	c := s.shell
	s.mu.Unlock()
	err := untilDead(c.process.Pid)
	if err == nil {
		s.finish(c)
	}
	s.mu.Lock()
	c.dead = true
	s.mu.Unlock()
	state, waitErr := c.process.Wait()
	closeAll(c.streams)
	if err = errors.Join(err, waitErr); err != nil {
		return nil, fmt.Errorf("wait for shell: %w", err)
	}
	return state, nil
}

// untilDead waits until the process has ended and leaves it unreaped.
func untilDead(pid int) error {
	for {
		err := unix.Waitid(unix.P_PID, pid, nil, unix.WEXITED|unix.WNOWAIT, nil)
		if err == nil {
			return nil
		}
		if !errors.Is(err, unix.EINTR) {
			return fmt.Errorf("wait for process %d: %w", pid, err)
		}
	}
}

// finish ends what the dead shell left: background processes may hold the output open for a moment, then everything in
// the cage is killed and the output is cut. Of a session that was stopped they get the grace that the shell did not need.
func (s *session) finish(c *child) {
	s.leave(c)
	hold := time.NewTimer(s.e.opts.Hold)
	defer hold.Stop()
	select {
	case <-c.drained:
	case <-hold.C:
	}
	s.empty = clear(s.cage, c.process.Pid)
	if !s.empty {
		s.note("[a process of the task cannot be killed]")
	}
	select {
	case <-c.drained:
	case <-time.After(s.e.opts.Hold / 4): // what was in the pipe is read by now
		for _, f := range c.streams {
			_ = f.SetReadDeadline(time.Now())
		}
		<-c.drained
	}
}

// note writes a line of the ant's own while the task may print.
func (s *session) note(line string) {
	s.turn.Lock()
	defer s.turn.Unlock()
	s.out.Note(line)
}

// leave asks what a stopped session has left in other process groups to end, and waits until nothing of it lives or the
// grace is over.
func (s *session) leave(c *child) {
	s.mu.Lock()
	deadline := s.deadline
	s.mu.Unlock()
	asked := map[process]bool{}
	pause := firstPause
	for time.Now().Before(deadline) && s.cage.terminate(c.process.Pid, asked) {
		time.Sleep(pause) // the kernel gives no event for this that were cheaper
		pause = min(2*pause, leavePause)
	}
}

// end makes the result of an exit code.
func (s *session) end(code int, sig syscall.Signal, oom bool) executor.End {
	end := executor.End{ExitCode: code}
	err := errors.Join(s.stdout.Close(), s.stderr.Close())
	text, readErr := s.workspace.outputs(outputFileLimit)
	switch err = errors.Join(err, readErr); {
	case err != nil:
	case len(text) > outputFileLimit: // a part of it would hold old values
		err = output.ErrTooLarge
	default:
		err = s.outputs.Parse(text)
	}
	end.Outputs = s.outputs.Values()
	switch {
	case oom && code != 0:
		end.Class, end.Message = executor.OOM, fmt.Sprintf("out of memory: the limit is %d bytes", s.task.MemoryBytes)
	case sig != 0:
		end.Class, end.Message = executor.User, fmt.Sprintf("killed by signal %d (%s)", int(sig), sig)
	case code != 0:
		end.Class, end.Message = executor.User, fmt.Sprintf("exit code %d", code)
	case err != nil:
		end.Class, end.Message, end.Outputs = executor.User, err.Error(), nil
	}
	return end
}

// Stop sends TERM to the session's process group, and KILL to everything after grace.
func (s *session) Stop(grace time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	again := s.stopped
	s.stopped = true
	if grace <= 0 {
		s.killed = true
	}
	if s.shell == nil || s.shell.dead {
		return
	}
	switch {
	case grace <= 0:
		s.killLocked()
	case !again:
		_ = unix.Kill(-s.shell.process.Pid, unix.SIGTERM)
		s.deadline = time.Now().Add(grace)
		s.timer = time.AfterFunc(grace, s.kill)
	}
}

func (s *session) kill() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.killLocked()
}

func (s *session) killLocked() {
	if s.shell != nil && !s.shell.dead {
		_ = unix.Kill(-s.shell.process.Pid, unix.SIGKILL)
		s.cage.kill(s.shell.process.Pid)
	}
}

// Close gives the session's place back.
func (s *session) Close() {
	s.mu.Lock()
	if s.timer != nil {
		s.timer.Stop()
	}
	s.mu.Unlock()
	s.limits.remove()
	if s.cage != nil {
		s.cage.free(s.empty)
	}
	if s.workspace != nil {
		s.e.workspaces.release(s.workspace, s.empty)
	}
}
