package shell

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/formicary/formicary/services/ant/internal/executor"
)

// workspace is the place on disk of one attempt: an empty working directory, its script and its output file. Making and
// removing these costs more than a short task, so a workspace whose directory is empty again, and whose files are still
// the same, is used again.
type workspace struct {
	dir    string
	script *os.File
	output *os.File

	// Of those that are adopted when the ant is killed. The pipes are files too: their names lead the next life to them.
	record  *record
	pipes   [2]int // what is read from
	streams [2]*os.File
	code    int64 // where the exit code of this attempt begins in its file
}

// workspaces below one directory.
type workspaces struct {
	root  string
	guard *guard // nil when nothing is adopted
	mu    sync.Mutex
	idle  []*workspace
	made  int
}

const (
	scriptFile = "script"
	afterFile  = "after"  // the after_script
	codeFile   = "code"   // to which the shell adds its exit code
	recordFile = "record" // of what is printed
	outputFile = "output" // $FORMICARY_OUTPUT
	workDir    = "work"
	filesDir   = "files" // values that are too long for the environment
)

// pipeFiles are the two streams.
var pipeFiles = [2]string{"stdout", "stderr"} //nolint:gochecknoglobals // a constant

func (b *workspace) path(name string) string { return filepath.Join(b.dir, name) }

// acquire returns a workspace whose working directory is empty.
func (s *workspaces) acquire() (*workspace, error) {
	s.mu.Lock()
	if n := len(s.idle); n > 0 {
		b := s.idle[n-1]
		s.idle = s.idle[:n-1]
		s.mu.Unlock()
		return b, nil
	}
	s.made++
	b := &workspace{dir: filepath.Join(s.root, strconv.Itoa(s.made))}
	s.mu.Unlock()
	err := b.make()
	if err == nil && s.guard != nil {
		err = b.makeLasting(s.guard)
	}
	if err != nil {
		s.drop(b)
		return nil, fmt.Errorf("make working directory: %w", err)
	}
	return b, nil
}

func (b *workspace) make() error {
	if err := os.MkdirAll(b.path(workDir), 0o700); err != nil {
		return err
	}
	var err error
	if b.script, err = os.OpenFile(b.path(scriptFile), os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600); err != nil {
		return err
	}
	b.output, err = os.OpenFile(b.path(outputFile), os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
	return err
}

// makeLasting makes what an attempt needs that is to be adopted.
func (b *workspace) makeLasting(g *guard) error {
	for _, name := range pipeFiles {
		if err := unix.Mkfifo(b.path(name), 0o600); err != nil {
			return fmt.Errorf("make pipe: %w", err)
		}
	}
	for name, flags := range map[string]int{recordFile: os.O_CREATE | os.O_EXCL, codeFile: os.O_CREATE | os.O_EXCL} {
		f, err := os.OpenFile(b.path(name), os.O_RDWR|flags, 0o600)
		if err != nil {
			return err
		}
		_ = f.Close()
	}
	return b.openLasting(g)
}

// openLasting opens it.
func (b *workspace) openLasting(g *guard) error {
	f, err := os.OpenFile(b.path(recordFile), os.O_RDWR, 0)
	if err != nil {
		return err
	}
	b.record = &record{file: f, keep: keptOutput}
	for i, name := range pipeFiles {
		if b.pipes[i], err = unix.Open(b.path(name), unix.O_RDONLY|unix.O_NONBLOCK|unix.O_CLOEXEC, 0); err != nil {
			return fmt.Errorf("open pipe: %w", err)
		}
		b.streams[i] = os.NewFile(uintptr(b.pipes[i]), name)
	}
	return g.hold(b)
}

// begin says that a new attempt uses the workspace, and where it tells what is printed.
func (b *workspace) begin(out executor.Output) error {
	if b.record == nil {
		return nil
	}
	info, err := os.Stat(b.path(codeFile))
	if err != nil {
		return err
	}
	b.code = info.Size()
	b.record.base = b.record.size
	b.record.log, _ = out.(executor.Replayer)
	return nil
}

// trace says where the attempt is that has begun.
func (b *workspace) trace(group *cgroup) (t trace) {
	if b.record == nil {
		return t
	}
	t.place, _ = strconv.Atoi(filepath.Base(b.dir))
	t.record, t.code = b.record.base, b.code
	if group != nil {
		t.group, _ = strconv.Atoi(filepath.Base(group.dir))
	}
	return t
}

// open returns the pipes for a shell, and what is read from them.
func (b *workspace) open() (read, write [2]*os.File, err error) {
	for i, name := range pipeFiles {
		if b.record == nil {
			read[i], write[i], err = os.Pipe()
		} else {
			read[i] = b.streams[i]
			if err = read[i].SetReadDeadline(time.Time{}); err == nil {
				write[i], err = os.OpenFile(b.path(name), os.O_WRONLY, 0)
			}
		}
		if err != nil {
			b.shut(read)
			closeAll(write)
			return read, write, fmt.Errorf("make pipe: %w", err)
		}
	}
	return read, write, nil
}

// shut closes what is read from, unless it belongs to the workspace.
func (b *workspace) shut(read [2]*os.File) {
	if b.record == nil {
		closeAll(read)
	}
}

// write puts the scripts in place. It does not truncate first: ext4 would write the new content out at once.
func (b *workspace) write(script, after string) error {
	if _, err := b.script.WriteAt([]byte(script), 0); err != nil {
		return fmt.Errorf("write script: %w", err)
	}
	info, err := b.script.Stat()
	if err == nil && info.Size() > int64(len(script)) {
		err = b.script.Truncate(int64(len(script)))
	}
	if err == nil && after != "" {
		err = os.WriteFile(b.path(afterFile), []byte(after), 0o600)
	}
	if err != nil {
		return fmt.Errorf("write script: %w", err)
	}
	return nil
}

// file writes a value beside the working directory, where only the task and the ant read it. A workspace with files is not used
// again.
func (b *workspace) file(name, value string) (string, error) {
	dir := b.path(filesDir)
	if !filepath.IsLocal(name) || strings.ContainsAny(name, "/=\x00") {
		return "", fmt.Errorf("the variable %q cannot be the name of a file", name)
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return "", fmt.Errorf("make a directory for variables: %w", err)
	}
	path := filepath.Join(dir, name)
	if err := os.WriteFile(path, []byte(value), 0o600); err != nil {
		return "", fmt.Errorf("write the variable %s: %w", name, err)
	}
	return path, nil
}

// outputs reads the output file, at most limit bytes and one more.
func (b *workspace) outputs(limit int) (string, error) {
	f := b.output
	if !same(f, b.path(outputFile)) { // the task put another file in its place
		info, err := os.Lstat(b.path(outputFile))
		if errors.Is(err, fs.ErrNotExist) || err == nil && !info.Mode().IsRegular() {
			return "", nil
		}
		if err == nil {
			f, err = os.Open(b.path(outputFile))
		}
		if err != nil {
			return "", fmt.Errorf("read output file: %w", err)
		}
		defer func() { _ = f.Close() }()
	}
	raw, err := io.ReadAll(io.NewSectionReader(f, 0, int64(limit)+1))
	if err != nil {
		return "", fmt.Errorf("read output file: %w", err)
	}
	return string(raw), nil
}

// same reports whether path still names the open file.
func same(f *os.File, path string) bool {
	open, err := f.Stat()
	if err != nil {
		return false
	}
	named, err := os.Lstat(path)
	return err == nil && os.SameFile(open, named)
}

// release gives the workspace back. One that the task has changed is removed.
func (s *workspaces) release(b *workspace, unused bool) {
	if unused && b.pristine() && (b.record == nil || b.record.size < maxRecord) {
		s.mu.Lock()
		if len(s.idle) < maxIdle {
			s.idle = append(s.idle, b)
			s.mu.Unlock()
			return
		}
		s.mu.Unlock()
	}
	s.drop(b)
}

// maxRecord is how long the record may be of a workspace that is used again.
const maxRecord = 1 << 20

// drop removes a workspace.
func (s *workspaces) drop(b *workspace) {
	if s.guard != nil {
		s.guard.forget(b)
	}
	b.remove()
}

// pristine reports whether the workspace is as it was made.
func (b *workspace) pristine() bool {
	info, err := b.output.Stat()
	if err != nil || info.Size() > 0 || !same(b.output, b.path(outputFile)) || !same(b.script, b.path(scriptFile)) {
		return false
	}
	if script, err := b.script.Stat(); err != nil || script.Mode() != 0o600 || info.Mode() != 0o600 {
		return false
	}
	if place, err := os.Lstat(b.dir); err != nil || place.Mode() != fs.ModeDir|0o700 {
		return false
	}
	work, err := os.Lstat(b.path(workDir))
	if err != nil || work.Mode() != fs.ModeDir|0o700 {
		return false
	}
	// Beside the working directory there are the files of the ant, and nothing that a task left.
	files := 3
	if b.record != nil {
		files += 2 + len(pipeFiles)
		for i, name := range pipeFiles {
			if !same(b.streams[i], b.path(name)) {
				return false
			}
		}
		if code, err := os.Lstat(b.path(codeFile)); err != nil || !code.Mode().IsRegular() || code.Mode() != 0o600 || !same(b.record.file, b.path(recordFile)) {
			return false
		}
	}
	return holds(b.path(workDir), 0) && holds(b.dir, files)
}

// holds reports whether a directory has exactly n entries.
func holds(dir string, n int) bool {
	d, err := os.Open(dir)
	if err != nil {
		return false
	}
	defer func() { _ = d.Close() }()
	names, err := d.Readdirnames(n + 1)
	return len(names) == n && (err == nil || errors.Is(err, io.EOF))
}

func (b *workspace) remove() {
	b.close()
	removeAll(b.dir)
}

// close lets the workspace go; its files stay.
func (b *workspace) close() {
	if b.script != nil {
		_ = b.script.Close()
	}
	if b.output != nil {
		_ = b.output.Close()
	}
	if b.record != nil {
		_ = b.record.file.Close()
		closeAll(b.streams)
	}
}

// removeAll deletes a tree, also where a task has left directories without write permission (as Go's module cache has).
func removeAll(dir string) {
	removeSecrets(dir)
	if os.RemoveAll(dir) == nil {
		return
	}
	_ = filepath.WalkDir(dir, func(path string, d fs.DirEntry, _ error) error {
		if d != nil && d.IsDir() {
			_ = os.Chmod(path, 0o700) // #nosec G302 G122 -- about to be deleted, and nothing of the task is alive
		}
		return nil
	})
	_ = os.RemoveAll(dir)
}

func (s *workspaces) remove() {
	s.mu.Lock()
	idle := s.idle
	s.idle = nil
	s.mu.Unlock()
	for _, b := range idle {
		b.remove()
	}
}
