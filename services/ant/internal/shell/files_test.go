package shell

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/formicary/formicary/services/ant/internal/executor"
)

// tarOf makes a tar stream of entries: a name that ends in / is a directory, "name>target" a link, anything else a file.
func tarOf(t *testing.T, entries ...string) *bytes.Buffer {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, e := range entries {
		h := &tar.Header{Name: e, Typeflag: tar.TypeReg, Mode: 0o640, Size: int64(len(e))}
		if name, target, ok := strings.Cut(e, ">"); ok {
			h = &tar.Header{Name: name, Typeflag: tar.TypeSymlink, Linkname: target, Mode: 0o777}
		} else if strings.HasSuffix(e, "/") {
			h = &tar.Header{Name: e, Typeflag: tar.TypeDir, Mode: 0o750}
		}
		if err := w.WriteHeader(h); err != nil {
			t.Fatal(err)
		}
		if h.Typeflag == tar.TypeReg {
			_, _ = io.WriteString(w, e)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return &b
}

// list reads the names of a tar stream back, in the form that tarOf takes.
func list(t *testing.T, r io.Reader) (names []string) {
	t.Helper()
	for in := tar.NewReader(r); ; {
		h, err := in.Next()
		if errors.Is(err, io.EOF) {
			slices.Sort(names)
			return names
		}
		if err != nil {
			t.Fatal(err)
		}
		if h.Typeflag == tar.TypeSymlink {
			h.Name += ">" + h.Linkname
		}
		names = append(names, h.Name)
	}
}

// created is an execution whose place is made.
func created(t *testing.T, e *Executor, task executor.Task, out io.Writer) *session {
	t.Helper()
	x := e.prepare(task, executor.Merge(out))
	t.Cleanup(x.Close)
	if err := x.Create(); err != nil {
		t.Fatal(err)
	}
	return x
}

func TestFilesGoInAndOut(t *testing.T) {
	e := start(t, filepath.Join(t.TempDir(), "work"), true)
	var out safe
	x := created(t, e, executor.Task{WorkingDir: "sub", Script: []string{
		"cat a/b", "stat -c %a a a/b", "readlink l", "cat l", "mkdir -p out/deep empty", "echo 1 >out/x.txt; echo 2 >out/deep/y.txt; echo 3 >out/z.log", "mkfifo out/pipe",
		"ln -s /etc out/abs", "ls ..",
	}}, &out)
	if err := x.Put(t.Context(), ".", tarOf(t, "a/", "a/b", "l>a/b")); err != nil {
		t.Fatal(err)
	}
	if err := x.Put(t.Context(), "in/here", tarOf(t, "c")); err != nil {
		t.Fatal(err)
	}
	x.Start()
	if end := x.Wait(); end.Class != executor.None || out.String() != "a/b750\n640\na/b\na/bsub\n" {
		t.Fatalf("%+v %q", end, out.String())
	}
	for _, c := range []struct {
		root string
		keep func(string) bool
		want string
	}{
		{".", func(string) bool { return true }, "a/ a/b empty/ in/ in/here/ in/here/c l>a/b out/ out/abs>/etc out/deep/ out/deep/y.txt out/x.txt out/z.log"},
		{".", func(name string) bool { return strings.HasSuffix(name, ".txt") }, "out/deep/y.txt out/x.txt"},
		{"out/deep", func(string) bool { return true }, "out/deep/ out/deep/y.txt"},
		{"out/x.txt", func(string) bool { return true }, "out/x.txt"},
		{"out/abs", func(string) bool { return true }, "out/abs>/etc"},
		{"missing", func(string) bool { return true }, ""},
	} {
		var b bytes.Buffer
		if err := x.Get(t.Context(), c.root, c.keep, &b); err != nil {
			t.Errorf("%s: %v", c.root, err)
		}
		if got := strings.Join(list(t, &b), " "); got != c.want {
			t.Errorf("%s: %s, want %s", c.root, got, c.want)
		}
	}
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	if err := x.Get(ended, ".", func(string) bool { return true }, io.Discard); !errors.Is(err, context.Canceled) {
		t.Errorf("when its context has ended: %v", err)
	}
}

func TestFilesThatLeadOutAreRefused(t *testing.T) {
	dir := t.TempDir()
	e := start(t, filepath.Join(dir, "work"), true)
	for name, entries := range map[string][]string{
		"parent":        {"../x"},
		"absolute":      {"/tmp/x"},
		"inner parent":  {"a/../../x"},
		"link":          {"l>../x"},
		"absolute link": {"l>" + dir},
		"nested link":   {"a/", "a/l>../../x"},
		"through links": {"a/b/", "l>a/b", "l/m>../../../x"},
	} {
		x := created(t, e, executor.Task{}, io.Discard)
		if err := x.Put(t.Context(), ".", tarOf(t, entries...)); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
	x := created(t, e, executor.Task{}, io.Discard)
	if err := os.Symlink(dir, filepath.Join(x.dir, "out")); err != nil {
		t.Fatal(err)
	}
	for _, into := range []string{"out", "..", "/tmp", ""} {
		if err := x.Put(t.Context(), into, tarOf(t, "x")); err == nil {
			t.Errorf("into %q: accepted", into)
		}
	}
	if err := x.Get(t.Context(), "out/..", func(string) bool { return true }, io.Discard); err == nil {
		t.Error("got what is outside")
	}
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	_ = w.WriteHeader(&tar.Header{Name: "dev", Typeflag: tar.TypeChar, Devmajor: 1, Devminor: 3})
	_ = w.Close()
	if err := x.Put(t.Context(), ".", &b); err == nil {
		t.Error("a device was accepted")
	}
	if left, _ := filepath.Glob(filepath.Join(dir, "x")); len(left) > 0 {
		t.Errorf("written outside: %v", left)
	}
}
