package enginetest

import (
	"archive/tar"
	"bytes"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/formicary/formicary/libs/testkit"
)

// Busybox is the name of an image with a POSIX shell and the usual small tools; nobody (65534) is its only other user.
const Busybox = "formicary-test/busybox:1"

// Shell is the name of an image that has a POSIX shell and nothing else.
const Shell = "formicary-test/dash:1"

// WithShell makes the image Shell where the engine lacks it.
func (e *Engine) WithShell(t testing.TB) *Engine {
	t.Helper()
	if err := e.image(Shell, shell); err != nil {
		testkit.Missing(t, "image %s: %v", Shell, err)
	}
	return e
}

// WithBusybox makes the image Busybox where the engine lacks it.
func (e *Engine) WithBusybox(t testing.TB) *Engine {
	t.Helper()
	if err := e.MakeBusybox(); err != nil {
		testkit.Missing(t, "%v", err)
	}
	return e
}

// MakeBusybox is WithBusybox outside of a test.
func (e *Engine) MakeBusybox() error {
	if err := e.image(Busybox, busybox); err != nil {
		return fmt.Errorf("image %s: %w", Busybox, err)
	}
	return nil
}

// image makes an image of an archive where the engine lacks it.
func (e *Engine) image(name string, archive func() ([]byte, error)) error {
	unlock, err := e.lock("images")
	if err != nil {
		return err
	}
	defer unlock()
	if res, err := e.call(http.MethodGet, "/images/"+name+"/json", nil); err == nil {
		return res.Body.Close()
	}
	data, err := archive()
	if err != nil {
		return err
	}
	repo, tag, _ := strings.Cut(name, ":")
	query := url.Values{"fromSrc": {"-"}, "repo": {repo}, "tag": {tag}, "changes": {"ENV PATH=/bin", `CMD ["/bin/sh"]`}}
	res, err := e.call(http.MethodPost, "/images/create?"+query.Encode(), bytes.NewReader(data))
	if err != nil {
		return err
	}
	var said bytes.Buffer
	_, err = said.ReadFrom(res.Body) // to its end: then the image is there
	_ = res.Body.Close()
	if err == nil && strings.Contains(said.String(), `"error"`) {
		err = errors.New(said.String())
	}
	return err
}

// shell is the archive of a root directory with dash and the libraries that it is linked to: a shell of busybox finds all of
// busybox in itself.
func shell() ([]byte, error) {
	dash, err := exec.LookPath("dash")
	if err != nil {
		return nil, fmt.Errorf("the shell dash is missing: %w", err)
	}
	linked, err := exec.Command("ldd", dash).Output()
	if err != nil {
		return nil, fmt.Errorf("libraries of %s: %w", dash, err)
	}
	var out bytes.Buffer
	w := tar.NewWriter(&out)
	add := func(name, path string) error {
		data, err := os.ReadFile(path)
		if err == nil {
			err = w.WriteHeader(&tar.Header{Name: strings.TrimPrefix(name, "/"), Mode: 0o755, Size: int64(len(data)), ModTime: time.Unix(0, 0)})
		}
		if err == nil {
			_, err = w.Write(data)
		}
		return err
	}
	err = add("bin/sh", dash)
	for word := range strings.FieldsSeq(string(linked)) {
		if strings.HasPrefix(word, "/") {
			err = errors.Join(err, add(word, word))
		}
	}
	if err != nil {
		return nil, fmt.Errorf("pack a shell: %w", err)
	}
	return out.Bytes(), w.Close()
}

// busybox is the archive of a root directory with a statically linked busybox.
func busybox() ([]byte, error) {
	path, err := exec.LookPath("busybox")
	if err != nil {
		return nil, fmt.Errorf("make setup-test installs busybox-static: %w", err)
	}
	program, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	applets, err := exec.Command(path, "--list").Output()
	if err != nil {
		return nil, fmt.Errorf("list what busybox can do: %w", err)
	}
	var out bytes.Buffer
	w := tar.NewWriter(&out)
	add := func(h tar.Header, data []byte) {
		h.Size, h.ModTime = int64(len(data)), time.Unix(0, 0)
		err = w.WriteHeader(&h)
		if err == nil {
			_, err = w.Write(data)
		}
	}
	for _, d := range []string{"bin/", "etc/", "home/"} {
		add(tar.Header{Typeflag: tar.TypeDir, Name: d, Mode: 0o755}, nil)
	}
	add(tar.Header{Typeflag: tar.TypeDir, Name: "tmp/", Mode: 0o1777}, nil)
	add(tar.Header{Name: "etc/passwd", Mode: 0o644}, []byte("root:x:0:0::/:/bin/sh\nnobody:x:65534:65534::/:/bin/sh\n"))
	add(tar.Header{Name: "etc/group", Mode: 0o644}, []byte("root:x:0:\nnogroup:x:65534:\n"))
	add(tar.Header{Name: "bin/busybox", Mode: 0o755}, program)
	for applet := range strings.FieldsSeq(string(applets)) {
		if applet != "busybox" {
			add(tar.Header{Typeflag: tar.TypeSymlink, Name: "bin/" + applet, Linkname: "busybox"}, nil)
		}
	}
	if err != nil {
		return nil, fmt.Errorf("pack busybox: %w", err)
	}
	return out.Bytes(), w.Close()
}
