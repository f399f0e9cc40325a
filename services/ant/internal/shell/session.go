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
	cut       bool          // somebody outside of the cage may still hold the pipes; guarded by turn
	remnant   *remnant      // what an earlier life of the ant has begun; nil for a session of this one
	trace     trace
	usage     executor.Usage

	mu      sync.Mutex
	shell   *child
	stopped bool
	killed  bool          // it is to be killed
	forced  bool          // it was
	early   time.Duration // the grace of a stop that came before the shell was there
	// deadline is the end of the grace: timer kills then.
	deadline time.Time
	timer    *time.Timer
}

// child is a shell on its way.
type child struct {
	pid     int
	process *os.Process   // nil when an earlier life of the ant has started it
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

// Start begins the session. If it is to end with the ant the goroutine is bound to its thread until Wait returns: the kernel
// kills the shell when the thread that started it ends.
func (s *session) Start() string {
	if s.remnant != nil {
		return s.resume()
	}
	if s.lasting() == nil {
		runtime.LockOSThread()
		s.locked = true
	}
	since := uptime()
	pid := s.spawn(s.workspace.path(scriptFile))
	if pid == 0 {
		return ""
	}
	s.trace.pid, s.trace.since, s.trace.before = pid, since, uptime()+1
	return s.trace.String()
}

// lasting returns the record of a session that may outlive the ant; nil of another.
func (s *session) lasting() *record { return s.workspace.record }

func (s *session) fail(end executor.End) { s.failed = &end }

func (s *session) place() (err error) {
	if s.workspace, err = s.e.workspaces.acquire(); err != nil {
		return err
	}
	if err = s.workspace.begin(s.out); err != nil {
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
	s.trace = s.workspace.trace(group)
	if s.task.CPUMillis > 0 || s.task.MemoryBytes > 0 {
		s.limits = s.e.groups.limit(group, s.task.UID, s.task.CPUMillis, s.task.MemoryBytes)
		for _, what := range s.limits.missing {
			s.note("[this ant cannot limit " + what + ": no control group]")
		}
	}
	prelude, code := s.limits.prelude, s.workspace.path(codeFile)
	var after *script.After
	switch {
	case len(s.task.After) > 0:
		after = &script.After{File: s.workspace.path(afterFile), Code: code}
	case s.lasting() != nil: // whoever adopts the session is not told by the kernel
		prelude += script.Noting(code)
	}
	return s.workspace.write(script.Compose(prelude, s.task.Before, s.task.Script, after), script.Lines(s.task.After))
}

// spawn starts a shell with a script; 0 means that it could not, or must not any more.
func (s *session) spawn(path string) int {
	read, write, err := s.workspace.open()
	if err != nil {
		s.fail(executor.Break(err.Error()))
		return 0
	}
	defer closeAll(write)
	attr := &syscall.SysProcAttr{Setsid: true}
	if s.lasting() == nil {
		attr.Pdeathsig = syscall.SIGKILL
	}
	s.cage.enter(attr)
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.killed || s.stopped && s.shell == nil {
		s.workspace.shut(read)
		s.fail(executor.Break("stopped before it began"))
		return 0
	}
	p, err := os.StartProcess(shell, []string{"sh", path}, &os.ProcAttr{Dir: s.dir, Env: s.env, Files: []*os.File{s.e.null, write[0], write[1]}, Sys: attr})
	if err != nil {
		s.workspace.shut(read)
		if tooLarge(err) {
			s.fail(executor.Refuse("the environment of the task is larger than the system allows"))
		} else {
			s.fail(executor.Break(fmt.Sprintf("start %s: %v", shell, err)))
		}
		return 0
	}
	s.shell = &child{pid: p.Pid, process: p, streams: read, drained: make(chan struct{})}
	go s.read(s.shell)
	return p.Pid
}

func closeAll(pipes [2]*os.File) {
	for _, f := range pipes {
		if f != nil {
			_ = f.Close()
		}
	}
}

// read copies the two streams until every writer is gone, or until they are cut.
func (s *session) read(c *child) {
	defer close(c.drained)
	done := make(chan struct{})
	go func() {
		defer close(done)
		s.copy(c.streams[fromStderr], fromStderr)
	}()
	s.copy(c.streams[fromStdout], fromStdout)
	<-done
}

// say hands on what one stream, or the ant, has said.
func (s *session) say(kind int, p []byte) {
	if kind == fromAnt {
		s.out.Note(string(p))
		return
	}
	scanner, to := s.stdout, s.out.Stdout()
	if kind == fromStderr {
		scanner, to = s.stderr, s.out.Stderr()
	}
	_, _ = scanner.Write(p)
	_, _ = to.Write(p)
}

// copy hands on what is read of one stream, a piece at a time: the kernel wakes the readers of both in the order in which
// the task wrote.
func (s *session) copy(from *os.File, kind int) {
	buf := s.e.buffers.Get().(*[]byte)
	defer s.e.buffers.Put(buf)
	if s.lasting() != nil && s.copyKept(from, kind, *buf) {
		return
	}
	for {
		n, err := from.Read(*buf)
		s.turn.Lock()
		if n > 0 {
			s.say(kind, (*buf)[:n])
		}
		s.cut = s.cut || err != nil && !errors.Is(err, io.EOF)
		s.turn.Unlock()
		if err != nil {
			return
		}
	}
}

// copyKept is copy by way of the record. It is not done when that cannot be kept any more: the task must go on, but no
// later life of the ant can go on with it.
func (s *session) copyKept(from *os.File, kind int, buf []byte) (done bool) {
	conn, err := from.SyscallConn()
	if err != nil {
		return false
	}
	for {
		var fault error
		err := conn.Read(func(pipe uintptr) bool {
			s.turn.Lock()
			defer s.turn.Unlock()
			var piece []byte
			if piece, fault = s.workspace.record.take(int(pipe), kind, buf); fault == nil {
				s.say(kind, piece)
			}
			s.workspace.record.at(time.Time{})
			return !errors.Is(fault, errEmpty)
		})
		switch {
		case err != nil: // it was cut
			s.turn.Lock()
			s.cut = true
			s.turn.Unlock()
			return true
		case errors.Is(fault, io.EOF):
			return true
		case fault != nil:
			_ = os.Remove(s.workspace.path(recordFile))
			s.note(fmt.Sprintf("[a restarted ant could not go on with this task: %v]", fault))
			return false
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
	how, err := s.await()
	if err != nil {
		return executor.Break(err.Error())
	}
	oom := s.limits.oom()
	s.usage.PeakMemory = max(s.usage.PeakMemory, s.limits.peak())
	code, noted := s.workspace.readCode()
	switch {
	case len(s.task.After) == 0:
	case noted:
		return s.end(code, 0, oom)
	default:
		s.after()
	}
	switch {
	case !how.known && noted:
		return s.end(code, 0, oom)
	case !how.known:
		return executor.Lose("the ant was restarted, and nobody saw how the task ended")
	case how.status.Signaled():
		return s.end(128+int(how.status.Signal()), how.status.Signal(), oom)
	}
	return s.end(how.status.ExitStatus(), 0, oom)
}

// ending is how a shell ended.
type ending struct {
	status syscall.WaitStatus
	known  bool
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
func (s *session) await() (ending, error) {
	s.mu.Lock()
	c := s.shell
	s.mu.Unlock()
	var err error
	if c.process == nil {
		err = s.remnant.untilDead()
	} else {
		err = untilDead(c.pid)
	}
	if err == nil {
		s.finish(c)
	}
	s.mu.Lock()
	c.dead = true
	s.mu.Unlock()
	how, waitErr := s.reap(c)
	s.workspace.shut(c.streams)
	if err = errors.Join(err, waitErr); err != nil {
		return ending{}, fmt.Errorf("wait for shell: %w", err)
	}
	return how, nil
}

// reap takes the status of a dead shell.
func (s *session) reap(c *child) (ending, error) {
	if c.process == nil {
		return s.remnant.ending(s.stopSignal()), nil
	}
	state, err := c.process.Wait()
	if err != nil {
		return ending{}, err
	}
	if used, ok := state.SysUsage().(*syscall.Rusage); ok { // of the shell and of what it has waited for
		s.usage.CPU += state.UserTime() + state.SystemTime()
		s.usage.PeakMemory = max(s.usage.PeakMemory, peak(used))
	}
	status, ok := state.Sys().(syscall.WaitStatus)
	return ending{status, ok}, nil
}

// peak is the most memory that a process of the session had. Between fork and exec the shell had the memory of the ant, and
// the kernel counts that: what is not more than it is not known.
func peak(used *syscall.Rusage) int64 {
	var own syscall.Rusage
	if syscall.Getrusage(syscall.RUSAGE_SELF, &own) != nil || used.Maxrss <= own.Maxrss {
		return 0
	}
	return used.Maxrss << 10
}

// stopSignal is what a session was stopped by; 0 when it was not.
func (s *session) stopSignal() syscall.Signal {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.forced:
		return syscall.SIGKILL
	case s.stopped:
		return syscall.SIGTERM
	}
	return 0
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
	s.empty = clear(s.cage, c.pid)
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
	if r := s.lasting(); r != nil {
		_ = r.note(line) // it is not told again then
		defer r.at(time.Time{})
	}
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
	for time.Now().Before(deadline) && s.cage.terminate(c.pid, asked) {
		time.Sleep(pause) // the kernel gives no event for this that were cheaper
		pause = min(2*pause, leavePause)
	}
}

// end makes the result of an exit code.
func (s *session) end(code int, sig syscall.Signal, oom bool) executor.End {
	end := executor.End{ExitCode: code, Usage: s.usage}
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
		s.early = max(grace, 0)
		return
	}
	switch {
	case grace <= 0:
		s.killLocked()
	case !again:
		s.terminateLocked(grace)
	}
}

// terminateLocked asks the session to end, and kills it after grace. s.mu is held.
func (s *session) terminateLocked(grace time.Duration) {
	_ = unix.Kill(-s.shell.pid, unix.SIGTERM)
	s.deadline = time.Now().Add(grace)
	s.timer = time.AfterFunc(grace, s.kill)
}

func (s *session) kill() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.killLocked()
}

func (s *session) killLocked() {
	s.forced = true
	if s.shell != nil && !s.shell.dead {
		_ = unix.Kill(-s.shell.pid, unix.SIGKILL)
		s.cage.kill(s.shell.pid)
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
		s.e.workspaces.release(s.workspace, s.empty && !s.cut && s.remnant == nil && s.task.Masks == nil) // its script may hold a secret
	}
}
