package shell

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/formicary/formicary/services/ant/internal/executor"
)

var _ executor.Adopter = (*Executor)(nil)

// remnant is a session that an earlier life of the ant has begun: its shell lives, or has written its exit code.
type remnant struct {
	uid       string
	trace     trace
	workspace *workspace
	process   int // a file that stands for the shell, -1 when it has ended
}

// Find returns the sessions that can be adopted. What has ended without an exit code is lost.
func (e *Executor) Find(_ context.Context, traces map[string]string) (uids []string) {
	if e.opts.Lease == "" {
		return nil
	}
	if err := e.makeGuard(); err != nil {
		return nil
	}
	for uid, text := range traces {
		t, ok := parseTrace(text)
		if !ok || t.place == 0 {
			continue
		}
		r := &remnant{uid: uid, trace: t, process: -1}
		if r.open(e) != nil {
			continue
		}
		e.mu.Lock()
		e.found[uid] = r
		e.mu.Unlock()
		e.workspaces.made, e.groups.made = max(e.workspaces.made, t.place), max(e.groups.made, t.group)
		uids = append(uids, uid)
	}
	return uids
}

var errGone = errors.New("the session has ended, and nobody knows how")

// open takes hold of what there is.
func (r *remnant) open(e *Executor) (err error) {
	b := &workspace{dir: filepath.Join(e.opts.Dir, strconv.Itoa(r.trace.place)), code: r.trace.code}
	if err := b.openLasting(e.guard); err != nil {
		e.workspaces.close(b)
		return err
	}
	b.record.base, b.record.size = r.trace.record, r.trace.record
	if fd, err := unix.PidfdOpen(r.trace.pid, 0); err == nil { // from here on the number is this process's
		if p, ok := readProcess(r.trace.pid); ok && r.trace.of(p) {
			r.process = fd
		} else {
			_ = unix.Close(fd)
		}
	}
	if r.process < 0 {
		if _, noted := b.readCode(); !noted {
			e.workspaces.close(b)
			return errGone
		}
	}
	r.workspace = b
	if b.script, err = os.OpenFile(b.path(scriptFile), os.O_RDWR, 0); err == nil {
		b.output, err = os.OpenFile(b.path(outputFile), os.O_RDWR, 0)
	}
	if err != nil { // the task has removed them
		r.close(e)
	}
	return err
}

// number is that of the shell, 0 when it ended before it was found: the number may be another's since.
func (r *remnant) number() int {
	if r.process < 0 {
		return 0
	}
	return r.trace.pid
}

func (r *remnant) close(e *Executor) {
	if r.process >= 0 {
		_ = unix.Close(r.process)
		r.process = -1
	}
	e.workspaces.close(r.workspace)
}

// close lets a workspace go whose files stay.
func (s *workspaces) close(b *workspace) {
	if s.guard != nil {
		s.guard.forget(b)
	}
	b.close()
}

// untilDead waits for the end of the shell.
func (r *remnant) untilDead() error {
	if r.process < 0 {
		return nil
	}
	for {
		p := []unix.PollFd{{Fd: int32(r.process), Events: unix.POLLIN}}
		if _, err := unix.Poll(p, -1); err == nil {
			return nil
		} else if !errors.Is(err, unix.EINTR) {
			return fmt.Errorf("wait for process %d: %w", r.trace.pid, err)
		}
	}
}

// ending is how the shell ended, as far as that is known: a zombie shows it, and from Linux 6.15 on the kernel tells it
// everybody who has held the process. Otherwise one that was stopped ended by the signal, if it wrote no exit code.
func (r *remnant) ending(stop syscall.Signal) ending {
	if r.process < 0 {
		return ending{}
	}
	defer func() {
		_ = unix.Close(r.process)
		r.process = -1
	}()
	for pause := firstPause; pause < reapPatience; pause *= 2 {
		if p, ok := readProcess(r.trace.pid); ok && p.zombie && r.trace.of(p) {
			return ending{p.status, true}
		}
		if status, ok := exitInfo(r.process); ok {
			return ending{status, true}
		}
		time.Sleep(pause) // it is being reaped
	}
	if _, noted := r.workspace.readCode(); stop != 0 && !noted {
		return ending{syscall.WaitStatus(stop), true}
	}
	return ending{}
}

const reapPatience = 50 * time.Millisecond

// exitInfo asks the kernel for the exit status of a process that was reaped (struct pidfd_info, PIDFD_INFO_EXIT).
func exitInfo(process int) (syscall.WaitStatus, bool) {
	const request, wanted = 0xC040FF0B, 1 << 3
	info := struct {
		mask, group uint64
		ids         [11]uint32
		code        int32
	}{mask: wanted}
	_, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(process), request, uintptr(unsafe.Pointer(&info))) // #nosec G103 -- x/sys has no call for it
	return syscall.WaitStatus(info.code), errno == 0 && info.mask&wanted != 0
}

// Adopt takes a session over.
func (e *Executor) Adopt(t executor.Task, out executor.Output) executor.Execution {
	s := e.prepare(t, out)
	if s.remnant = e.takeFound(t.UID); s.remnant == nil {
		s.fail(executor.Lose("nothing of the task is there any more"))
		s.remnant = &remnant{process: -1}
		return s
	}
	s.workspace, s.trace = s.remnant.workspace, s.remnant.trace
	if s.workspace.record.log, _ = out.(executor.Replayer); s.workspace.record.log != nil {
		s.workspace.record.log.Again(true)
	}
	s.dir = filepath.Join(s.workspace.path(workDir), t.WorkingDir)
	group := e.groups.adopt(s.trace.group)
	if group != nil {
		s.cage = group
	} else {
		s.cage = &processTree{mark: uidVariable + t.UID} // what has lost its parent is not ours
	}
	s.limits = e.groups.limited(group, t.UID, t.MemoryBytes)
	var err error
	if s.env, err = e.environment(t, s.workspace); err != nil {
		s.env = nil // it was started, so this cannot be
	}
	return s
}

// resume goes on with an adopted session: what it has printed comes first.
func (s *session) resume() string {
	if s.failed != nil {
		return ""
	}
	buf := s.e.buffers.Get().(*[]byte)
	defer s.e.buffers.Put(buf)
	r := s.workspace.record
	err := r.replay(s.workspace.pipes, *buf, s.say)
	if r.log != nil {
		r.log.Again(false)
	}
	if err != nil {
		s.out.Note(fmt.Sprintf("[what was printed before the restart of the ant is lost: %v]", err))
	}
	c := &child{pid: s.remnant.number(), streams: s.workspace.streams, drained: make(chan struct{}), dead: s.remnant.process < 0}
	s.mu.Lock()
	s.shell = c
	switch {
	case s.killed:
		s.killLocked()
	case s.stopped && !c.dead:
		s.terminateLocked(s.early)
	}
	s.mu.Unlock()
	go s.read(c)
	return s.trace.String()
}

func (e *Executor) takeFound(uid string) *remnant {
	e.mu.Lock()
	defer e.mu.Unlock()
	r := e.found[uid]
	delete(e.found, uid)
	return r
}

// foundGroups are the names of groups that belong to what was found.
func (e *Executor) foundGroups() map[string]bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	names := map[string]bool{}
	for uid, r := range e.found {
		names[uid] = true
		if r.trace.group > 0 {
			names[strconv.Itoa(r.trace.group)] = true
		}
	}
	return names
}

func (e *Executor) foundPlace(name string) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, r := range e.found {
		if filepath.Base(r.workspace.dir) == name {
			return true
		}
	}
	return false
}

// ofFound reports whether the process belongs to what was found.
func (e *Executor) ofFound(p process) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	if len(e.found) == 0 {
		return false
	}
	env := environ(p.pid)
	for uid, r := range e.found {
		if p.session == r.trace.pid || variable(env, uidVariable+uid+"\x00") {
			return true
		}
	}
	return false
}

// List returns the sessions of this ant's directories, by their oldest processes.
func (e *Executor) List(context.Context) ([]executor.Running, error) {
	oldest := map[string]process{}
	for _, pid := range everyone() {
		p, ok := readProcess(pid)
		uid := e.uidOf(pid)
		if !ok || p.zombie || uid == "" {
			continue
		}
		if o, ok := oldest[uid]; !ok || p.start < o.start || p.start == o.start && p.pid < o.pid {
			oldest[uid] = p
		}
	}
	var all []executor.Running
	for uid, p := range oldest {
		all = append(all, executor.Running{UID: uid, ID: strconv.Itoa(p.pid), Since: bootTime(p.start)})
	}
	slices.SortFunc(all, func(a, b executor.Running) int { return strings.Compare(a.UID, b.UID) })
	return all, nil
}

// uidOf returns the attempt of a process; empty when it is none of this ant's.
func (e *Executor) uidOf(pid int) string {
	env := environ(pid)
	if !variable(env, dirVariable+e.opts.Dir+"/") {
		return ""
	}
	for v := range strings.SplitSeq(string(env), "\x00") {
		if uid, ok := strings.CutPrefix(v, uidVariable); ok {
			return uid
		}
	}
	return ""
}

// Remove kills what runs of an attempt.
func (e *Executor) Remove(ctx context.Context, uid string) error {
	r := e.takeFound(uid)
	for pause := firstPause; e.killOf(uid, r); pause = min(2*pause, longestPause) {
		select {
		case <-ctx.Done():
			return fmt.Errorf("kill attempt %s: %w", uid, ctx.Err())
		case <-time.After(pause):
		}
	}
	if r != nil {
		dir := r.workspace.dir
		r.close(e)
		removeAll(dir)
	}
	return nil
}

// killOf kills the processes of an attempt, and reports whether there were any.
func (e *Executor) killOf(uid string, r *remnant) (alive bool) {
	shell := 0
	if r != nil {
		shell = r.number()
		if group := e.groups.adopt(r.trace.group); group != nil {
			alive = group.kill(shell)
			group.free(false)
		}
	}
	for _, pid := range everyone() {
		p, ok := readProcess(pid)
		if !ok || p.zombie || pid == os.Getpid() {
			continue
		}
		if shell > 0 && p.session == shell || e.uidOf(pid) == uid {
			alive = true
			kill(pid)
		}
	}
	return alive
}
