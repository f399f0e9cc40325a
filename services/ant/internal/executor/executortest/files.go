package executortest

import (
	"archive/tar"
	"bytes"
	"errors"
	"fmt"
	"io"
	"maps"
	"strings"
	"testing"

	"github.com/formicary/formicary/services/ant/internal/executor"
)

// entry of a tar stream; of a link content is where it leads.
type entry struct {
	name    string
	kind    byte
	mode    int64
	content string
}

func pack(t *testing.T, entries []entry) io.Reader {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, e := range entries {
		h := &tar.Header{Name: e.name, Typeflag: e.kind, Mode: e.mode}
		if e.kind == tar.TypeReg {
			h.Size = int64(len(e.content))
		} else {
			h.Linkname = e.content
		}
		err := w.WriteHeader(h)
		if err == nil && e.kind == tar.TypeReg {
			_, err = io.WriteString(w, e.content)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return &b
}

// unpack returns what stands for each entry by its name: the content of a file, with "*" before it where it can be executed.
func unpack(t *testing.T, from io.Reader) map[string]string {
	t.Helper()
	all := map[string]string{}
	for r := tar.NewReader(from); ; {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			return all
		}
		if err != nil {
			t.Fatal(err)
		}
		content, err := io.ReadAll(r)
		if err != nil {
			t.Fatal(err)
		}
		what := string(content)
		switch {
		case h.Typeflag == tar.TypeDir:
			what = "dir"
		case h.Typeflag == tar.TypeSymlink:
			what = "-> " + h.Linkname
		case h.Mode&0o100 != 0:
			what = "*" + what
		}
		all[strings.TrimSuffix(h.Name, "/")] = what
	}
}

// filesInAndOut gives a task files, and gets what it made of them.
func (s Subject) filesInAndOut(t *testing.T) {
	out := newRecorder()
	x := s.Executor.Prepare(s.complete(lines("cat in/a 'in/ü b'; in/sub/run", "readlink in/link", "mkdir -p out/deep", "echo made >out/deep/f", "chmod +x out/deep/f",
		"ln -s deep/f out/l", "mkfifo out/pipe", "echo no >out/skipped", "rm in/a")), out)
	defer x.Close()
	files, ok := x.(executor.Filer)
	if !ok {
		t.Skip("it has no files")
	}
	if err := x.Create(); err != nil {
		t.Fatal(err, x.Wait())
	}
	err := files.Put(t.Context(), "in", pack(t, []entry{
		{"a", tar.TypeReg, 0o644, "one\n"},
		{"ü b", tar.TypeReg, 0o600, "two\n"},
		{"sub", tar.TypeDir, 0o755, ""},
		{"sub/run", tar.TypeReg, 0o755, "#!/bin/sh\necho run\n"},
		{"link", tar.TypeSymlink, 0o777, "sub/run"},
	}))
	if err != nil {
		t.Fatal(err)
	}
	x.Start()
	if end := x.Wait(); end.Class != executor.None || out.stdout.String() != "one\ntwo\nrun\nsub/run\n" {
		t.Fatalf("%+v, printed %q, %q", end, out.stdout.String(), out.stderr.String())
	}
	get := func(root string, keep func(string) bool) map[string]string {
		var b bytes.Buffer
		if err := files.Get(t.Context(), root, keep, &b); err != nil {
			t.Errorf("get %s: %v", root, err)
		}
		return unpack(t, &b)
	}
	all := func(string) bool { return true }
	for root, want := range map[string]map[string]string{
		"out":        {"out": "dir", "out/deep": "dir", "out/deep/f": "*made\n", "out/l": "-> deep/f"},
		"out/deep/f": {"out/deep/f": "*made\n"},
		"in":         {"in": "dir", "in/ü b": "two\n", "in/sub": "dir", "in/sub/run": "*#!/bin/sh\necho run\n", "in/link": "-> sub/run"},
		"nothing":    {},
	} {
		keep := all
		if root == "out" {
			keep = func(name string) bool { return name != "out/skipped" }
		}
		if got := get(root, keep); !maps.Equal(got, want) {
			t.Errorf("of %s: %q, want %q", root, got, want)
		}
	}
	if got := get(".", func(name string) bool { return strings.HasSuffix(name, "/f") || name == "out" }); got["out/deep/f"] != "*made\n" {
		t.Errorf("of all: %q", got)
	}
}

// filesOverFiles replace what was put there before, links as well, and go through no link. What is asked for below a file is
// not there.
func (s Subject) filesOverFiles(t *testing.T) {
	out := newRecorder()
	x := s.Executor.Prepare(s.complete(lines("readlink same; readlink l", "cat target l2")), out)
	defer x.Close()
	files, ok := x.(executor.Filer)
	if !ok {
		t.Skip("it has no files")
	}
	if err := x.Create(); err != nil {
		t.Fatal(err, x.Wait())
	}
	for _, entries := range [][]entry{
		{{"target", tar.TypeReg, 0o644, "first\n"}, {"same", tar.TypeSymlink, 0o777, "target"}, {"l", tar.TypeSymlink, 0o777, "target"}, {"l2", tar.TypeSymlink, 0o777, "target"}},
		{{"same", tar.TypeSymlink, 0o777, "target"}, {"l", tar.TypeSymlink, 0o777, "l2"}, {"l2", tar.TypeReg, 0o400, "second\n"}},
		{{"l2", tar.TypeReg, 0o400, "third\n"}},
	} {
		if err := files.Put(t.Context(), ".", pack(t, entries)); err != nil {
			t.Fatal(err)
		}
	}
	x.Start()
	if end := x.Wait(); end.Class != executor.None || out.stdout.String() != "target\nl2\nfirst\nthird\n" {
		t.Fatalf("%+v, printed %q, %q", end, out.stdout.String(), out.stderr.String())
	}
	var b bytes.Buffer
	if err := files.Get(t.Context(), "target/below", func(string) bool { return true }, &b); err != nil || len(unpack(t, &b)) != 0 {
		t.Errorf("below a file: %v", err)
	}
}

// filesThatLeadOut are refused, and what was refused does not keep the task from running.
func (s Subject) filesThatLeadOut(t *testing.T) {
	x := s.Executor.Prepare(s.complete(lines(":")), newRecorder())
	defer x.Close()
	files, ok := x.(executor.Filer)
	if !ok {
		t.Skip("it has no files")
	}
	if err := x.Create(); err != nil {
		t.Fatal(err, x.Wait())
	}
	for name, entries := range map[string][]entry{
		"parent":        {{"../x", tar.TypeReg, 0o644, "x"}},
		"absolute":      {{"/tmp/x", tar.TypeReg, 0o644, "x"}},
		"link out":      {{"l", tar.TypeSymlink, 0o777, "/etc"}},
		"through":       {{"l2", tar.TypeSymlink, 0o777, "../.."}, {"l2/x", tar.TypeReg, 0o644, "x"}},
		"device":        {{"d", tar.TypeChar, 0o644, ""}},
		"hard link out": {{"h", tar.TypeLink, 0o644, "/etc/passwd"}},
	} {
		if err := files.Put(t.Context(), ".", pack(t, entries)); err == nil {
			t.Errorf("%s: taken", name)
		}
	}
	x.Start()
	if end := x.Wait(); end.Class != executor.None {
		t.Errorf("%+v", end)
	}
}

// flood is an Output that compares what a task prints with what it must.
type flood struct {
	want  []byte // a whole number of lines
	n     int64
	wrong string
}

func (f *flood) Stdout() io.Writer { return f }
func (f *flood) Stderr() io.Writer { return io.Discard }
func (f *flood) Note(string)       {}

func (f *flood) Write(p []byte) (int, error) {
	for rest := p; len(rest) > 0; {
		want := f.want[f.n%int64(len(f.want)):]
		n := min(len(rest), len(want))
		if f.wrong == "" && !bytes.Equal(rest[:n], want[:n]) {
			f.wrong = fmt.Sprintf("at %d: %.100q", f.n, rest)
		}
		rest, f.n = rest[n:], f.n+int64(n)
	}
	return len(p), nil
}
