package cli

import (
	"archive/tar"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
)

// What is sent of a path has the names that the files have, and what cannot be sent is told.
func TestWhatIsUploaded(t *testing.T) {
	dir := t.TempDir()
	for _, name := range []string{"a}b", "{a,c}", "[x]"} {
		if err := os.WriteFile(filepath.Join(dir, name), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	pipe := filepath.Join(dir, "pipe")
	if err := syscall.Mkfifo(pipe, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("/etc", filepath.Join(dir, "etc")); err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string][]string{"a}b": {"a}b"}, "{a,c}": {"{a,c}"}, "[x]": {"[x]"}, ".": {"[x]", "a}b", "{a,c}"}} {
		var left, got []string
		body, _, err := artifactSource(t.Context(), filepath.Join(dir, path), &left)
		if err != nil {
			t.Errorf("%s: %v", path, err)
			continue
		}
		for in := tar.NewReader(body); ; {
			h, err := in.Next()
			if err != nil {
				break
			}
			got = append(got, h.Name)
		}
		if _, err := io.Copy(io.Discard, body); err != nil || !slices.Equal(got, want) {
			t.Errorf("%s: %q, %v", path, got, err)
		}
		told := strings.Join(left, "; ")
		if want := "etc, a link that leads out, to /etc; pipe, which is no file"; path == "." && told != want || path != "." && told != "" {
			t.Errorf("%s: left out %s", path, told)
		}
	}
	if _, _, err := artifactSource(t.Context(), pipe, nil); err == nil || !strings.Contains(err.Error(), "is no file and no directory") {
		t.Error(err)
	}
}
