package shell

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"hash/fnv"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/formicary/formicary/services/ant/internal/script"
)

// cgroups makes the control groups of attempts below one directory of the ant. Groups of the unified hierarchy are
// used again: making one costs more than a short task. Where memory and cpu are controllers of the old kind, tasks
// with limits get directories there too.
type cgroups struct {
	base string            // of the unified hierarchy; empty when it cannot be used
	v1   map[string]string // controller → base in its own hierarchy

	mu   sync.Mutex
	idle []*cgroup
	made int // the newest number, of earlier lives too
}

// maxIdle bounds the groups, and the workspaces, that are kept for later.
const maxIdle = 64

// findCgroups looks for hierarchies in which groups can be made. Groups are named after the ant's directory: the
// ant's next life finds what this one leaves.
func findCgroups(dir string) *cgroups {
	h := fnv.New64a()
	_, _ = h.Write([]byte(dir))
	name := fmt.Sprintf("formicary-%016x", h.Sum64())
	g := &cgroups{v1: map[string]string{}}
	own := ownGroups()
	f, err := os.Open("/proc/self/mountinfo")
	if err != nil {
		return g
	}
	defer func() { _ = f.Close() }()
	for s := bufio.NewScanner(f); s.Scan(); {
		m, ok := parseMount(s.Text())
		if !ok {
			continue
		}
		for controller, path := range own {
			if controller == "" && m.kind == "cgroup2" || m.kind == "cgroup" && m.has(controller) {
				g.try(controller, filepath.Join(m.point, within(m.root, path), name))
			}
		}
	}
	return g
}

func (g *cgroups) try(controller, base string) {
	if err := os.Mkdir(base, 0o755); err != nil && !errors.Is(err, fs.ErrExist) { // #nosec G301 -- a cgroup's mode is as usual there
		return
	}
	if controller != "" {
		g.v1[controller] = base
		return
	}
	g.base = base
	for _, c := range []string{"+memory", "+cpu"} {
		_ = write(filepath.Join(base, "cgroup.subtree_control"), c) // refused where the controllers are of the old kind
	}
}

// ownGroups maps the controllers that matter to this process's group; "" is the unified hierarchy.
func ownGroups() map[string]string {
	out := map[string]string{}
	for line := range strings.Lines(trimmed("/proc/self/cgroup")) {
		part := strings.SplitN(strings.TrimSpace(line), ":", 3)
		if len(part) != 3 {
			continue
		}
		for c := range strings.SplitSeq(part[1], ",") {
			if c == "" && part[0] == "0" || c == "memory" || c == "cpu" {
				out[c] = part[2]
			}
		}
	}
	return out
}

type mount struct{ root, point, kind, options string }

func (m mount) has(controller string) bool {
	return controller != "" && strings.Contains(","+m.options+",", ","+controller+",")
}

// parseMount reads a line of mountinfo.
func parseMount(line string) (mount, bool) {
	left, right, ok := strings.Cut(line, " - ")
	l, r := strings.Fields(left), strings.Fields(right)
	if !ok || len(l) < 5 || len(r) < 3 {
		return mount{}, false
	}
	return mount{root: l[3], point: l[4], kind: r[0], options: r[2]}, true
}

// within is path as seen below a mount of root.
func within(root, path string) string {
	rel, err := filepath.Rel(root, path)
	if err != nil || !filepath.IsLocal(rel) {
		return "."
	}
	return rel
}

func write(path, text string) error {
	f, err := os.OpenFile(path, os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	_, err = f.WriteString(text)
	return errors.Join(err, f.Close())
}

// cgroup is one group of the unified hierarchy, for one attempt at a time.
type cgroup struct {
	owner  *cgroups
	dir    string
	handle *os.File // of the directory
	events *os.File
	// once: it is not used again. It has limits, or something was killed in it: Linux from 6.14 on can take a process
	// that starts in such a group for one that has to die with the others.
	once atomic.Bool
}

func (g *cgroups) acquire() (*cgroup, error) {
	g.mu.Lock()
	if n := len(g.idle); n > 0 {
		c := g.idle[n-1]
		g.idle = g.idle[:n-1]
		g.mu.Unlock()
		return c, nil
	}
	g.made++
	c := &cgroup{owner: g, dir: filepath.Join(g.base, strconv.Itoa(g.made))}
	g.mu.Unlock()
	err := os.Mkdir(c.dir, 0o755) // #nosec G301 -- a cgroup's mode is as usual there
	if err != nil && !errors.Is(err, fs.ErrExist) {
		return nil, fmt.Errorf("make cgroup: %w", err)
	}
	if c.handle, err = os.Open(c.dir); err == nil {
		c.events, err = os.Open(filepath.Join(c.dir, "cgroup.events"))
	}
	if err != nil {
		c.free(false)
		return nil, fmt.Errorf("open cgroup: %w", err)
	}
	return c, nil
}

func (c *cgroup) enter(attr *syscall.SysProcAttr) {
	attr.UseCgroupFD, attr.CgroupFD = true, int(c.handle.Fd())
}

func (c *cgroup) kill(shell int) bool {
	var buf [128]byte
	n, err := c.events.ReadAt(buf[:], 0)
	if n == 0 && err != nil {
		killSession(shell)
		return false
	}
	if !bytes.Contains(buf[:n], []byte("populated 1")) {
		return false
	}
	c.once.Store(true)
	killGroup(c.dir)
	return true
}

func (c *cgroup) terminate(shell int, asked map[process]bool) (alive bool) {
	for _, pid := range groupPIDs(c.dir) {
		if p, ok := readProcess(pid); pid == shell || !ok || p.zombie {
			continue
		}
		alive = true
		term(pid, shell, asked)
	}
	return alive
}

// killGroup kills every process in the group, at once where the kernel can, else one by one.
func killGroup(dir string) {
	if write(filepath.Join(dir, "cgroup.kill"), "1") == nil {
		return
	}
	for _, pid := range groupPIDs(dir) {
		kill(pid)
	}
}

// groupPIDs are the processes in a group and in the groups below it, which a task may make for itself.
func groupPIDs(dir string) (all []int) {
	_ = filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err == nil && d.IsDir() { // what is gone holds nobody
			all = append(all, pids(trimmed(filepath.Join(path, "cgroup.procs")))...)
		}
		return nil
	})
	return all
}

// removeGroup removes an empty group and those below it, the deepest first.
func removeGroup(dir string) {
	if os.Remove(dir) == nil {
		return
	}
	below, _ := os.ReadDir(dir)
	for _, d := range below {
		if d.IsDir() {
			removeGroup(filepath.Join(dir, d.Name()))
		}
	}
	_ = os.Remove(dir)
}

// divided reports whether a group has groups below it.
func (c *cgroup) divided() bool {
	if c.handle == nil {
		return false
	}
	info, err := c.handle.Stat()
	if err != nil {
		return true
	}
	s, ok := info.Sys().(*syscall.Stat_t)
	return !ok || s.Nlink > 2 // a directory names itself, is named, and is named by each below it
}

func (c *cgroup) free(empty bool) {
	again := empty && !c.once.Load() && !c.divided()
	c.owner.mu.Lock()
	if again && len(c.owner.idle) < maxIdle {
		c.owner.idle = append(c.owner.idle, c)
		c.owner.mu.Unlock()
		return
	}
	c.owner.mu.Unlock()
	if c.events != nil {
		_ = c.events.Close()
	}
	if c.handle != nil {
		_ = c.handle.Close()
	}
	removeGroup(c.dir)
}

// recover kills what an earlier life left in the groups, but for those that are spared by name, and removes them. It
// reports whether something was alive.
func (g *cgroups) recover(spared map[string]bool) (alive bool) {
	for _, base := range g.bases() {
		groups, _ := filepath.Glob(filepath.Join(base, "*", "cgroup.procs"))
		for _, procs := range groups {
			dir := filepath.Dir(procs)
			if spared[filepath.Base(dir)] {
				continue
			}
			if len(groupPIDs(dir)) > 0 {
				alive = true
				killGroup(dir)
			}
			removeGroup(dir)
		}
	}
	return alive
}

// remove deletes the groups at the end.
func (g *cgroups) remove() {
	g.mu.Lock()
	idle := g.idle
	g.idle = nil
	g.mu.Unlock()
	for _, c := range idle {
		c.free(false)
	}
	_ = g.recover(nil)
	for _, base := range g.bases() {
		_ = os.Remove(base)
	}
}

func (g *cgroups) bases() []string {
	var out []string
	if g.base != "" {
		out = append(out, g.base)
	}
	for _, base := range g.v1 {
		out = append(out, base)
	}
	return out
}

// limits are those of one attempt.
type limits struct {
	prelude string   // shell commands by which the shell enters the groups of the old kind
	events  []string // files that count kills for memory
	dirs    []string // to be removed
	missing []string // limits that cannot be set here
}

const cpuPeriod = 100_000 // microseconds

// limit sets limits on the unified group c (may be nil) or on groups of the old kind.
func (g *cgroups) limit(c *cgroup, uid string, cpuMillis, memory int64) limits {
	var l limits
	if memory > 0 && !l.unified(c, "memory.max", strconv.FormatInt(memory, 10), "memory.events") &&
		!l.old(g.v1["memory"], uid, "memory.limit_in_bytes", strconv.FormatInt(memory, 10), "memory.oom_control") {
		l.missing = append(l.missing, "memory")
	}
	quota := strconv.FormatInt(max(1000, cpuMillis*cpuPeriod/1000), 10)
	if cpuMillis > 0 && !l.unified(c, "cpu.max", fmt.Sprintf("%s %d", quota, cpuPeriod), "") &&
		!l.old(g.v1["cpu"], uid, "cpu.cfs_quota_us", quota, "") {
		l.missing = append(l.missing, "cpu")
	}
	return l
}

func (l *limits) unified(c *cgroup, file, value, events string) bool {
	if c == nil || write(filepath.Join(c.dir, file), value) != nil {
		return false
	}
	c.once.Store(true)
	if events != "" {
		_ = write(filepath.Join(c.dir, "memory.swap.max"), "0")
		l.events = append(l.events, filepath.Join(c.dir, events))
	}
	return true
}

func (l *limits) old(base, uid, file, value, events string) bool {
	if base == "" {
		return false
	}
	dir := filepath.Join(base, uid)
	if err := os.Mkdir(dir, 0o755); err != nil { // #nosec G301 -- a cgroup's mode is as usual there
		return false
	}
	l.dirs = append(l.dirs, dir)
	if write(filepath.Join(dir, file), value) != nil {
		return false
	}
	l.prelude += "echo $$ >" + script.Quote(filepath.Join(dir, "cgroup.procs")) + "; "
	if events != "" {
		_ = write(filepath.Join(dir, "memory.memsw.limit_in_bytes"), value)
		l.events = append(l.events, filepath.Join(dir, events))
	}
	return true
}

// oom reports whether something was killed for memory.
func (l *limits) oom() bool {
	for _, file := range l.events {
		for line := range strings.Lines(trimmed(file)) {
			if n, ok := strings.CutPrefix(strings.TrimSpace(line), "oom_kill "); ok && n != "0" {
				return true
			}
		}
	}
	return false
}

// peak is the most memory that a limited group had; 0 when it has no limit, or none that counts.
func (l *limits) peak() int64 {
	for _, events := range l.events {
		for _, name := range []string{"memory.peak", "memory.max_usage_in_bytes"} {
			if n, err := strconv.ParseInt(trimmed(filepath.Join(filepath.Dir(events), name)), 10, 64); err == nil {
				return n
			}
		}
	}
	return 0
}

func (l *limits) remove() {
	for _, dir := range l.dirs {
		for range 20 {
			if err := os.Remove(dir); err == nil || errors.Is(err, fs.ErrNotExist) {
				break
			}
			time.Sleep(time.Millisecond) // the last process is still on its way out
		}
	}
}

// adopt takes over the group of an earlier life; nil when there is none.
func (g *cgroups) adopt(number int) *cgroup {
	if g.base == "" || number == 0 {
		return nil
	}
	c := &cgroup{owner: g, dir: filepath.Join(g.base, strconv.Itoa(number))}
	c.once.Store(true)
	var err error
	if c.handle, err = os.Open(c.dir); err == nil {
		c.events, err = os.Open(filepath.Join(c.dir, "cgroup.events"))
	}
	if err != nil {
		c.free(false)
		return nil
	}
	return c
}

// limited finds the limits again that an earlier life has set.
func (g *cgroups) limited(c *cgroup, uid string, memory int64) (l limits) {
	for _, base := range g.v1 {
		if dir := filepath.Join(base, uid); uid != "" && exists(dir) {
			l.dirs = append(l.dirs, dir)
			l.events = append(l.events, filepath.Join(dir, "memory.oom_control"))
		}
	}
	if c != nil && memory > 0 {
		l.events = append(l.events, filepath.Join(c.dir, "memory.events"))
	}
	return l
}

func exists(path string) bool {
	_, err := os.Lstat(path)
	return err == nil
}
