package attempt

import (
	"archive/tar"
	"context"
	"errors"
	"io"
	"path/filepath"
	"testing"

	"github.com/formicary/formicary/libs/archive"
	"github.com/formicary/formicary/services/ant/internal/executor"
	"github.com/formicary/formicary/services/ant/internal/tasklog"
)

// odd has a file, a link that leads out and, in a directory, a pipe.
type odd struct{ executor.Filer }

func (odd) Get(_ context.Context, root string, keep func(name string) bool, to io.Writer) error {
	w := tar.NewWriter(to)
	for _, h := range []*tar.Header{
		{Typeflag: tar.TypeReg, Name: "file"}, {Typeflag: tar.TypeSymlink, Name: "out", Linkname: "/etc"}, {Typeflag: tar.TypeDir, Name: "dir/"}, {Typeflag: tar.TypeFifo, Name: "dir/pipe"},
	} {
		name := filepath.Clean(h.Name)
		if root != "." && root != name && root != filepath.Dir(name) || !keep(name) || h.Typeflag == tar.TypeFifo {
			continue
		}
		if err := w.WriteHeader(h); err != nil {
			return err
		}
	}
	return w.Close()
}

// A path that names only what no artifact holds names nothing.
func TestPathsThatNameNothingToKeep(t *testing.T) {
	const only, end = " but pipes, sockets, devices or links that lead out", "; write `optional: true` beside the paths where that is no fault"
	for path, want := range map[string]string{
		"file": "", "dir": "", "*": "", // of which something is kept
		"out": "out" + only, "dir/pipe": "dir/pipe" + only, "dir/*": "dir/*" + only, "none": "none",
	} {
		patterns, err := archive.Compile([]string{path})
		if err != nil {
			t.Fatal(err)
		}
		collected := func(optional bool) error {
			w, err := archive.NewWriter(io.Discard, archive.Limits{})
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _, _ = w.Close() }()
			a := &attempt{log: tasklog.New(tasklog.Options{Path: filepath.Join(t.TempDir(), "log"), Live: func(tasklog.Chunk) {}})}
			defer a.log.Finish()
			return a.collect(t.Context(), odd{}, patterns.Again(), w, optional)
		}
		switch err := collected(false); {
		case want == "" && err != nil, want != "" && (err == nil || err.Error() != "artifacts: nothing in the working directory matches "+want+end):
			t.Errorf("%s: %v", path, err)
		}
		if err := collected(true); (want == "") != (err == nil) || want != "" && !errors.Is(err, errNothing) {
			t.Errorf("%s, optional: %v", path, err)
		}
	}
}
