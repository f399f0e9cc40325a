// Package shell executes tasks by a shell of the host.
//
// One attempt is one session of /bin/sh with a script file of its own: before_script and script run in it under set -e,
// after_script by its exit trap, so directory and variables carry over. The shell and all that it starts live in a
// cage, a control group where one can be made. When the shell has ended, whatever is left in the cage is killed before
// the attempt counts as ended, and the shell itself is reaped only after that: until then its number cannot be reused.
// What a session that was stopped has left in other process groups is asked to end first, and gets what is left of the
// grace; the attempt ends when nothing of it lives.
//
// If the ant is killed, its sessions go on for a while where Options.Lease says that they may: what they print is kept in
// files and pipes, a guard ends them when no ant takes them over in time, and the ant's next life adopts them (adopt.go,
// record.go, guard.go). Otherwise the kernel kills the shell (parent death signal). The next life kills the rest by the
// cage, by the traces in its spool and by the mark in the environment.
package shell

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/formicary/formicary/services/ant/internal/executor"
)

// Method that this executor executes.
const Method = "SHELL"

const (
	shell       = "/bin/sh"
	defaultPath = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
	uidVariable = "FORMICARY_ATTEMPT_UID="
	dirVariable = "FORMICARY_WORKDIR="
)

// Options of the executor.
type Options struct {
	// Dir holds working directories; it belongs to this executor alone and is emptied.
	Dir string
	// Environment is what every process gets from the ant's own.
	Environment map[string]string
	// WithoutCgroups does without control groups even where they can be made.
	WithoutCgroups bool
	// Lease is a file that begins with the time of the ant's last good answer from supervisor, in seconds since boot. With
	// it sessions outlive an ant that is killed, for LeaseTime since then.
	Lease     string
	LeaseTime time.Duration
	// Hold is how long a pipe may be held open by background processes after the shell has ended; 0 means 1 s.
	Hold time.Duration
}

// Executor runs scripts.
type Executor struct {
	opts       Options
	workspaces workspaces
	groups     *cgroups
	null       *os.File
	caged      bool // attempts get a control group
	subreaper  bool // orphans of attempts become children of this process
	buffers    sync.Pool
	guard      *guard // of sessions that outlive the ant; nil when they do not

	mu    sync.Mutex
	found map[string]*remnant // what an earlier life began, and nobody has adopted or removed yet
}

// New returns an executor. Recover must be called before the first task.
func New(o Options) (*Executor, error) {
	if o.Hold <= 0 {
		o.Hold = time.Second
	}
	dir, err := filepath.Abs(o.Dir)
	if err != nil {
		return nil, fmt.Errorf("find working directories: %w", err)
	}
	o.Dir = dir
	null, err := os.Open(os.DevNull)
	if err != nil {
		return nil, fmt.Errorf("open %s: %w", os.DevNull, err)
	}
	e := &Executor{opts: o, workspaces: workspaces{root: dir}, groups: findCgroups(dir), null: null, found: map[string]*remnant{}}
	e.buffers.New = func() any { b := make([]byte, readSize); return &b }
	return e, nil
}

// readSize is how much is read from a task's output at once.
const readSize = 32 << 10

// Methods returns SHELL.
func (e *Executor) Methods() []string { return []string{Method} }

// minFree is the space below which a task would only fail for want of it.
const minFree = 64 << 20

// Healthy reports whether there is a shell and a place to run it.
func (e *Executor) Healthy() error {
	if err := unix.Access(shell, unix.X_OK); err != nil {
		return fmt.Errorf("%s: %w", shell, err)
	}
	if err := unix.Access(e.opts.Dir, unix.W_OK|unix.X_OK); err != nil {
		return fmt.Errorf("working directories in %s: %w", e.opts.Dir, err)
	}
	var fs unix.Statfs_t
	if err := unix.Statfs(e.opts.Dir, &fs); err == nil && fs.Bavail*uint64(fs.Bsize) < minFree {
		return fmt.Errorf("working directories in %s: less than %d MiB are free", e.opts.Dir, minFree>>20)
	}
	return nil
}

// Run reaps orphans until ctx ends, then removes what the executor keeps.
func (e *Executor) Run(ctx context.Context) error {
	tick := time.NewTicker(30 * time.Second)
	defer tick.Stop()
	dead := zombies{}
	for {
		select {
		case <-ctx.Done():
			e.close()
			return nil
		case <-tick.C:
			if e.subreaper || os.Getpid() == 1 {
				dead.reap()
			}
		}
	}
}

func (e *Executor) close() {
	if e.guard != nil {
		e.guard.close()
	}
	e.workspaces.remove()
	e.groups.remove()
	_ = e.null.Close()
}

// Kill kills what an earlier life left running.
func (e *Executor) Kill(ctx context.Context, traces map[string]string) error {
	pause := firstPause
	for e.groups.recover(e.foundGroups()) || e.killMarked(traces) {
		select {
		case <-ctx.Done():
			return fmt.Errorf("kill what an earlier ant left running: %w", ctx.Err())
		case <-time.After(pause):
			pause = min(2*pause, longestPause)
		}
	}
	return nil
}

// KillLeftovers kills what an earlier life left running and removes its control groups; no task follows.
func (e *Executor) KillLeftovers(ctx context.Context, traces map[string]string) error {
	err := e.Kill(ctx, traces)
	e.groups.remove()
	_ = e.null.Close()
	return err
}

// Recover kills what an earlier life left running, empties the working directories and finds out which cage works.
func (e *Executor) Recover(ctx context.Context, traces map[string]string) error {
	if err := e.Kill(ctx, traces); err != nil {
		return err
	}
	if err := os.MkdirAll(e.opts.Dir, 0o700); err != nil {
		return fmt.Errorf("make working directories: %w", err)
	}
	old, err := os.ReadDir(e.opts.Dir)
	if err != nil {
		return fmt.Errorf("empty working directories: %w", err)
	}
	for _, d := range old {
		if !e.foundPlace(d.Name()) && d.Name() != guardFile {
			removeAll(filepath.Join(e.opts.Dir, d.Name()))
		}
	}
	if e.opts.Lease != "" {
		if err := e.makeGuard(); err != nil {
			return err
		}
	}
	e.caged = !e.opts.WithoutCgroups && e.probe()
	if !e.caged {
		e.subreaper = becomeSubreaper()
	}
	return nil
}

// makeGuard starts the guard, once.
func (e *Executor) makeGuard() (err error) {
	if e.guard != nil {
		return nil
	}
	base := e.groups.base
	if e.opts.WithoutCgroups {
		base = ""
	}
	e.guard, err = newGuard(e.opts.Dir, base, e.opts.Lease, e.opts.LeaseTime)
	e.workspaces.guard = e.guard
	return err
}

// killMarked kills the processes of the traced sessions and those whose environment names the ant's directories. It
// reports whether there were any.
func (e *Executor) killMarked(traces map[string]string) (alive bool) {
	sessions := map[int]trace{}
	for _, t := range traces {
		if tr, ok := parseTrace(t); ok {
			sessions[tr.pid] = tr
		}
	}
	for _, pid := range everyone() {
		p, ok := readProcess(pid)
		if !ok || p.zombie || pid == os.Getpid() {
			continue
		}
		if e.ofFound(p) {
			continue
		}
		if e.ofSession(p, sessions) || variable(environ(pid), dirVariable+e.opts.Dir+"/") {
			alive = true
			kill(pid)
		}
	}
	return alive
}

// ofSession reports whether the process belongs to a traced session. A session whose leader is gone may be a later one
// with the same number (daemons leave such behind): then the process must also be in the ant's directories.
func (e *Executor) ofSession(p process, sessions map[int]trace) bool {
	tr, traced := sessions[p.session]
	if !traced {
		return false
	}
	if leader, ok := readProcess(tr.pid); ok {
		return tr.of(leader)
	}
	dir, err := os.Readlink("/proc/" + strconv.Itoa(p.pid) + "/cwd")
	return err == nil && strings.HasPrefix(dir, e.opts.Dir+"/")
}

// trace is what finds a shell again: its number, and when it was started, in clock ticks since boot; then, when it can be
// adopted, its workspace with the places at which its record and its exit code begin there, and its control group.
type trace struct {
	pid           int
	since, before uint64
	place         int
	record, code  int64
	group         int
}

func (t trace) String() string {
	return fmt.Sprintf("%d %d %d %d %d %d %d", t.pid, t.since, t.before, t.place, t.record, t.code, t.group)
}

func parseTrace(s string) (trace, bool) {
	var t trace
	n, _ := fmt.Sscanf(s, "%d %d %d %d %d %d %d", &t.pid, &t.since, &t.before, &t.place, &t.record, &t.code, &t.group)
	return t, n >= 3 && t.pid > 1
}

// of reports whether the trace is that of p.
func (t trace) of(p process) bool {
	return p.pid == t.pid && p.start >= t.since && p.start <= t.before
}

// probe reports whether a process can be started in a group.
func (e *Executor) probe() bool {
	if e.groups.base == "" {
		return false
	}
	e.caged = true
	r := e.prepare(executor.Task{UID: "probe", Script: []string{":"}}, executor.Merge(io.Discard))
	defer r.Close()
	if r.Create() == nil {
		r.Start()
	}
	return r.Wait().Class == executor.None
}

// Prepare takes a task.
func (e *Executor) Prepare(t executor.Task, out executor.Output) executor.Execution {
	return e.prepare(t, out)
}

// cage returns a cage for an attempt, and its group if it is one.
func (e *Executor) cage(uid string) (cage, *cgroup, error) {
	if !e.caged {
		return &processTree{mark: uidVariable + uid, subreaper: e.subreaper}, nil, nil
	}
	c, err := e.groups.acquire()
	if err != nil {
		return nil, nil, err
	}
	return c, c, nil
}

// environment of the process; the attempt's own variables win.
func (e *Executor) environment(t executor.Task, b *workspace) ([]string, error) {
	env := make([]string, 0, len(e.opts.Environment)+len(t.Environment)+6)
	set := map[string]bool{"FORMICARY_OUTPUT": true, "FORMICARY_WORKDIR": true, "FORMICARY_ATTEMPT_UID": true, "PWD": true}
	env = append(env, "FORMICARY_OUTPUT="+b.path(outputFile), dirVariable+b.path(workDir), uidVariable+t.UID)
	for k, v := range t.Environment {
		if k == "" || strings.ContainsAny(k, "=\x00") || strings.ContainsRune(v, 0) {
			return nil, fmt.Errorf("environment variable %q: the name must not be empty or hold '=', neither may hold a NUL byte", k)
		}
		if !set[k] {
			set[k] = true
			env = append(env, k+"="+v)
		}
	}
	for k, v := range t.Files {
		path, err := b.file(k, v)
		if err != nil {
			return nil, err
		}
		if name := k + "_FILE"; !set[name] {
			set[name] = true
			env = append(env, name+"="+path)
		}
	}
	for _, s := range t.Secrets {
		path, err := b.secret(s)
		if err != nil {
			return nil, err
		}
		if s.Variable != "" && !set[s.Variable] {
			set[s.Variable] = true
			env = append(env, s.Variable+"="+path)
		}
	}
	for k, v := range e.opts.Environment {
		if !set[k] {
			set[k] = true
			env = append(env, k+"="+v)
		}
	}
	if !set["PATH"] {
		env = append(env, "PATH="+defaultPath)
	}
	return env, nil
}

// directory makes the task's working directory.
func (b *workspace) directory(rel string) (string, error) {
	dir := b.path(workDir)
	if rel == "" {
		return dir, nil
	}
	if !filepath.IsLocal(rel) {
		return "", fmt.Errorf("working_dir %q: want a path below the attempt's own directory", rel)
	}
	dir = filepath.Join(dir, rel)
	return dir, os.MkdirAll(dir, 0o700)
}

// tooLarge reports whether a process could not be started for the size of its environment.
func tooLarge(err error) bool { return errors.Is(err, unix.E2BIG) }

// readCode reads the exit code that the shell wrote before after_script began, or at its end.
func (b *workspace) readCode() (int, bool) {
	f, err := os.Open(b.path(codeFile))
	if err != nil {
		return 0, false
	}
	defer func() { _ = f.Close() }()
	line, err := bufio.NewReader(io.NewSectionReader(f, b.code, 16)).ReadString('\n')
	if err != nil {
		return 0, false
	}
	code, err := strconv.Atoi(strings.TrimSpace(line))
	return code, err == nil
}
