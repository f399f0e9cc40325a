package docker

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	cerrdefs "github.com/containerd/errdefs"
	"github.com/docker/docker/api/types/container"

	"github.com/formicary/formicary/services/ant/internal/executor"
	"github.com/formicary/formicary/services/ant/internal/script"
)

var _ executor.Filer = (*session)(nil)

// entry is a file or, with a name that ends in '/', a directory of an attempt.
type entry struct{ name, text string }

// pack makes an archive of entries that the task's user owns.
func pack(s *spec, entries ...entry) (*bytes.Buffer, error) {
	var out bytes.Buffer
	w := tar.NewWriter(&out)
	for _, f := range entries {
		h := s.header(f.name, 0o600)
		if strings.HasSuffix(f.name, "/") {
			h = s.header(f.name, 0o700)
			h.Typeflag = tar.TypeDir
		} else if strings.HasPrefix(f.name, secretsDir+"/") {
			h = s.header(f.name, 0o400)
		}
		h.Size = int64(len(f.text))
		if err := w.WriteHeader(&h); err != nil {
			return nil, fmt.Errorf("pack %s: %w", f.name, err)
		}
		_, _ = io.WriteString(w, f.text) // to memory
	}
	return &out, w.Close()
}

// header of a file of the task. Everybody in a container whose user has no number may do everything: it is one user.
func (s *spec) header(name string, mode int64) tar.Header {
	if !s.known {
		mode |= mode>>3 | mode>>6
	}
	return tar.Header{Typeflag: tar.TypeReg, Name: name, Mode: mode, Uid: s.uid, Gid: s.gid}
}

// files are those that a task begins with.
func (s *session) files() (*bytes.Buffer, error) {
	env, err := s.environment()
	if err != nil {
		return nil, err
	}
	entries := []entry{{workDir + "/", ""}, {homeDir + "/", ""}, {filesDir + "/", ""}, {outputFile, ""}}
	for dir := path.Clean(s.task.WorkingDir); dir != "." && dir != "/"; dir = path.Dir(dir) {
		entries = slices.Insert(entries, 1, entry{path.Join(workDir, dir) + "/", ""})
	}
	for _, name := range slices.Sorted(maps.Keys(s.task.Files)) {
		entries = append(entries, entry{path.Join(filesDir, name), s.task.Files[name]})
	}
	made := map[string]bool{".": true}
	for _, secret := range s.task.Secrets {
		entries = secretEntries(entries, made, path.Join(secretsDir, secret.File), secret.Value)
	}
	if !scripted(s.task) {
		return pack(s.spec, entries...)
	}
	var after *script.After
	if len(s.task.After) > 0 {
		after = &script.After{File: path.Join(home, afterFile), Code: path.Join(home, codeFile)}
		entries = append(entries, entry{afterFile, script.Lines(s.task.After)}, entry{codeFile, ""})
	}
	text := script.Compose(s.prelude(), s.task.Before, s.task.Script, after)
	s.words = s.said(env, script.Lines(s.task.After), text)
	return pack(s.spec, append(entries, entry{envFile, env}, entry{scriptFile, text})...)
}

// secretEntries adds a file with its directories.
func secretEntries(entries []entry, made map[string]bool, name, value string) []entry {
	var dirs []entry
	for dir := path.Dir(name); !made[dir]; dir = path.Dir(dir) {
		made[dir] = true
		dirs = slices.Insert(dirs, 0, entry{dir + "/", ""})
	}
	return append(append(entries, dirs...), entry{name, value})
}

// prelude gives the script its environment.
func (s *session) prelude() string { return ". " + path.Join(home, envFile) + "; " }

// environment makes the shell commands that set it: nothing of it stands in what the engine tells of a container. Names that
// are none of the shell's, and those that a shell gives a meaning of its own, can only go by the engine.
func (s *session) environment() (string, error) {
	env := map[string]string{}
	if s.spec.known && s.spec.uid != 0 {
		env["HOME"] = path.Join(home, homeDir)
	}
	for name, value := range s.task.Environment {
		if name == "" || strings.ContainsAny(name, "=\x00") || strings.ContainsRune(value, 0) {
			return "", refuse("environment variable %q: the name must not be empty or hold '=', neither may hold a NUL byte", name)
		}
		env[name] = value
	}
	for name := range s.task.Files {
		if !filepath.IsLocal(name) || strings.ContainsAny(name, "/=\x00") {
			return "", refuse("the variable %q cannot be the name of a file", name)
		}
		if _, set := env[name+"_FILE"]; !set {
			env[name+"_FILE"] = path.Join(home, filesDir, name)
		}
	}
	for _, secret := range s.task.Secrets {
		if !filepath.IsLocal(secret.File) {
			return "", refuse("the file %q of a secret: want a path below the directory of secrets", secret.File)
		}
		if secret.Variable != "" {
			env[secret.Variable] = path.Join(home, secretsDir, secret.File)
		}
	}
	env["FORMICARY_OUTPUT"], env["FORMICARY_WORKDIR"], env["FORMICARY_ATTEMPT_UID"] = path.Join(home, outputFile), path.Join(home, workDir), s.task.UID
	var lines strings.Builder
	for _, name := range slices.Sorted(maps.Keys(env)) {
		if scripted(s.task) && exportable(name) {
			lines.WriteString("export " + name + "=" + script.Quote(env[name]) + "\n")
		} else {
			s.spec.config.Env = append(s.spec.config.Env, name+"="+env[name])
		}
	}
	return lines.String(), nil
}

// exportable reports whether a shell can export a variable of that name without minding it.
func exportable(name string) bool {
	switch name {
	case "IFS", "PWD", "OLDPWD", "PPID", "OPTIND", "OPTARG", "PS1", "PS2", "PS4", "ENV", "_", "LINENO", "RANDOM", "SECONDS",
		"UID", "EUID", "GROUPS", "SHELLOPTS", "BASHOPTS", "BASH_ENV", "FUNCNAME", "DIRSTACK", "HISTCMD":
		return false
	}
	return script.IsName(name)
}

// readCode reads the exit code that the shell wrote before after_script began.
func (s *session) readCode() (code int, oom, ok bool) {
	text, err := s.readFile(codeFile, 16)
	if err != nil {
		return 0, false, false
	}
	text, oom = strings.CutSuffix(text, oomMark)
	code, err = strconv.Atoi(strings.TrimSpace(text))
	return code, oom, err == nil
}

// oomMark follows an exit code that is one of too little memory.
const oomMark = " oom"

// readFile reads a file of the attempt, at most limit bytes and one more. One that is not there, or is no file, is empty.
func (s *session) readFile(name string, limit int64) (string, error) {
	ctx, cancel := context.WithTimeout(s.life, s.e.call)
	defer cancel()
	name = path.Join(home, name)
	// Most are empty, and to ask is much cheaper than to read.
	switch info, err := s.e.engine().ContainerStatPath(ctx, s.id, name); {
	case cerrdefs.IsNotFound(err), err == nil && (!info.Mode.IsRegular() || info.Size == 0):
		return "", nil
	case err != nil:
		return "", fmt.Errorf("look at %s: %w", name, err)
	}
	stream, _, err := s.e.engine().CopyFromContainer(ctx, s.id, name)
	if err != nil {
		return "", fmt.Errorf("read %s: %w", name, err)
	}
	defer func() { _ = stream.Close() }()
	r := tar.NewReader(stream)
	if _, err := r.Next(); err != nil {
		return "", fmt.Errorf("read %s: %w", name, err)
	}
	raw, err := io.ReadAll(io.LimitReader(r, limit+1))
	if err != nil {
		return "", fmt.Errorf("read %s: %w", name, err)
	}
	return string(raw), nil
}

// base is the directory in which the task starts, below home.
func (s *session) base() string { return path.Join(workDir, s.task.WorkingDir) }

// Put unpacks a tar stream below the directory in which the script starts. The engine unpacks it inside of the container.
func (s *session) Put(ctx context.Context, dir string, from io.Reader) error {
	if !filepath.IsLocal(dir) {
		return fmt.Errorf("put files into %q: want a path below the working directory", dir)
	}
	r, w := io.Pipe()
	rewritten := make(chan error, 1)
	go func() {
		err := s.rewrite(path.Join(s.base(), dir), from, w)
		_ = w.CloseWithError(err)
		rewritten <- err
	}()
	err := s.e.engine().CopyToContainer(ctx, s.id, home, r, container.CopyToContainerOptions{})
	_ = r.CloseWithError(errors.New("the engine reads no more"))
	if refused := <-rewritten; refused != nil && err != nil {
		err = refused
	}
	if err != nil {
		return fmt.Errorf("put files: %w", err)
	}
	return nil
}

// rewrite copies entries that stay below dir, as files of the task's user.
func (s *session) rewrite(dir string, from io.Reader, to io.Writer) error {
	w := tar.NewWriter(to)
	made := map[string]bool{".": true, workDir: true}
	var parents func(name string) error
	parents = func(name string) error {
		if made[name] {
			return nil
		}
		made[name] = true
		if err := parents(path.Dir(name)); err != nil {
			return err
		}
		h := s.spec.header(name+"/", 0o700)
		h.Typeflag = tar.TypeDir
		return w.WriteHeader(&h)
	}
	if err := parents(dir); err != nil {
		return err
	}
	r := tar.NewReader(from)
	for {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			return w.Close()
		}
		if err != nil {
			return err
		}
		name := path.Clean(h.Name)
		if !filepath.IsLocal(name) {
			return fmt.Errorf("%q leads out of the working directory", h.Name)
		}
		// #nosec G305 -- where it leads is checked here
		if target := path.Join(path.Dir(name), h.Linkname); h.Typeflag == tar.TypeSymlink && (path.IsAbs(h.Linkname) || !filepath.IsLocal(target)) {
			return fmt.Errorf("the link %q leads out of the working directory", h.Name)
		}
		name = path.Join(dir, name)
		if err := parents(path.Dir(name)); err != nil {
			return err
		}
		ours := s.spec.header(name, h.Mode&0o777)
		ours.ModTime, ours.Typeflag, ours.Size = h.ModTime, h.Typeflag, h.Size
		switch h.Typeflag {
		case tar.TypeDir:
			ours.Name, ours.Mode = name+"/", ours.Mode|0o700
			made[name] = true
		case tar.TypeSymlink:
			ours.Linkname = h.Linkname
		case tar.TypeReg:
		default:
			return fmt.Errorf("%q is neither a file, a directory nor a symbolic link", h.Name)
		}
		if err := w.WriteHeader(&ours); err != nil {
			return err
		}
		if _, err := io.Copy(w, r); err != nil { // #nosec G110 -- a plain tar, which holds what it holds
			return err
		}
	}
}

// Get writes a tar stream of what the task has left below the directory in which the script started.
func (s *session) Get(ctx context.Context, top string, keep func(name string) bool, to io.Writer) error {
	if !filepath.IsLocal(top) {
		return fmt.Errorf("get files of %q: want a path below the working directory", top)
	}
	w := tar.NewWriter(to)
	err := s.copyOut(ctx, path.Clean(top), keep, w)
	if err := errors.Join(err, w.Close()); err != nil {
		return fmt.Errorf("get files: %w", err)
	}
	return nil
}

func (s *session) copyOut(ctx context.Context, top string, keep func(name string) bool, w *tar.Writer) error {
	stream, _, err := s.e.engine().CopyFromContainer(ctx, s.id, path.Join(home, s.base(), top))
	if cerrdefs.IsNotFound(err) || err != nil && strings.Contains(err.Error(), "not a directory") { // engines have no code for it
		return nil
	}
	if err != nil {
		return err
	}
	defer func() { _ = stream.Close() }()
	r := tar.NewReader(stream)
	for {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		_, below, _ := strings.Cut(path.Clean(h.Name), "/") // the first part is the name of top
		name := path.Join(top, below)
		if name == "." || !keep(name) {
			continue
		}
		if err := s.copyEntry(ctx, name, h, r, w); err != nil {
			return err
		}
	}
}

// copyEntry writes one entry; sockets, pipes and devices are passed over. The second name of a file becomes a copy of it.
func (s *session) copyEntry(ctx context.Context, name string, h *tar.Header, content io.Reader, w *tar.Writer) error {
	out := tar.Header{Typeflag: h.Typeflag, Name: name, Mode: h.Mode & 0o777, ModTime: h.ModTime}
	switch h.Typeflag {
	case tar.TypeLink:
		return s.copyOut(ctx, name, func(string) bool { return true }, w)
	case tar.TypeDir:
		out.Name += "/"
	case tar.TypeSymlink:
		out.Linkname = h.Linkname
	case tar.TypeReg:
		out.Size = h.Size
	default:
		return nil
	}
	if err := w.WriteHeader(&out); err != nil || out.Typeflag != tar.TypeReg {
		return err
	}
	_, err := io.Copy(w, content)
	return err
}
