// Package enginetest gives tests a real Docker engine. One that runs on the machine is used and left as it is, but for
// the images that are made in it; where none answers a private one is started, which all test processes of the user share
// and which ends when the last of them has (engine.sh). Where that cannot be, tests are skipped, and fail when CI is set.
package enginetest

import (
	"context"
	_ "embed"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/formicary/formicary/libs/testkit"
)

//go:embed engine.sh
var script []byte

const (
	systemSocket = "/var/run/docker.sock"
	startWithin  = 90 * time.Second
	lingerFor    = 10 // seconds
)

// Engine is one that answers.
type Engine struct {
	// Host is its address as DOCKER_HOST has it.
	Host string
	// Dir of a private engine; empty for one that was there.
	Dir string

	users  *os.File // held while this process uses a private engine
	script int      // the process that runs it, when this one began it
}

// shared is the engine of this test process.
type shared struct {
	once   sync.Once
	engine *Engine
	err    error
}

var all shared //nolint:gochecknoglobals // one engine per test process

// Shared returns the engine that all tests of the machine use: what one makes there carries names of its own.
func Shared(t testing.TB) *Engine {
	t.Helper()
	all.once.Do(func() { all.engine, all.err = find() })
	if all.err != nil {
		testkit.Missing(t, "Docker engine: %v", all.err)
	}
	return all.engine
}

// Private returns an engine that only this test uses, and may end.
func Private(t testing.TB) *Engine {
	t.Helper()
	dir, err := os.MkdirTemp("", "fengine-") //nolint:usetesting // short: the path of a socket has 107 bytes at most
	if err != nil {
		t.Fatal(err)
	}
	e := &Engine{Dir: dir}
	t.Cleanup(e.end)
	if err := e.start(0); err != nil {
		testkit.Missing(t, "Docker engine: %v", err)
	}
	return e
}

func find() (*Engine, error) {
	if host := os.Getenv("DOCKER_HOST"); host != "" {
		return &Engine{Host: host}, nil
	}
	system := &Engine{Host: "unix://" + systemSocket}
	if system.ping() == nil {
		return system, nil
	}
	dir := filepath.Join(os.TempDir(), "formicary-engine-"+strconv.Itoa(os.Getuid()))
	if err := os.Mkdir(dir, 0o700); err != nil && !errors.Is(err, os.ErrExist) {
		return nil, fmt.Errorf("make a directory for a private engine: %w", err)
	}
	info, err := os.Lstat(dir)
	if err != nil {
		return nil, fmt.Errorf("directory of the private engine: %w", err)
	}
	if s, ok := info.Sys().(*syscall.Stat_t); !info.IsDir() || ok && int(s.Uid) != os.Getuid() {
		return nil, fmt.Errorf("%s belongs to somebody else", dir)
	}
	e := &Engine{Dir: dir}
	return e, e.start(lingerFor)
}

// start takes a share of the private engine in Dir and starts it when nobody has.
func (e *Engine) start(linger int) error {
	e.Host = "unix://" + filepath.Join(e.Dir, "docker.sock")
	for _, tool := range []string{"dockerd", "unshare", "setpriv", "flock"} {
		if _, err := exec.LookPath(tool); err != nil {
			return fmt.Errorf("none runs and none can be started, make setup-test installs it: %w", err)
		}
	}
	var err error
	if e.users, err = os.OpenFile(filepath.Join(e.Dir, "users"), os.O_RDWR|os.O_CREATE, 0o600); err != nil {
		return fmt.Errorf("share the private engine: %w", err)
	}
	if err := syscall.Flock(int(e.users.Fd()), syscall.LOCK_SH); err != nil { // waits for one that is ending
		return fmt.Errorf("share the private engine: %w", err)
	}
	unlock, err := e.lock("start")
	if err != nil {
		return err
	}
	defer unlock()
	if e.ping() == nil {
		return nil
	}
	return e.launch(linger)
}

// launch starts engine.sh and waits until the engine answers.
func (e *Engine) launch(linger int) error {
	path := filepath.Join(e.Dir, "engine.sh")
	if err := os.WriteFile(path, script, 0o700); err != nil { // #nosec G306 -- it is run
		return fmt.Errorf("start a private engine: %w", err)
	}
	args := []string{"/bin/sh", path, e.Dir, strconv.Itoa(linger)}
	if os.Getuid() != 0 {
		args = append([]string{"sudo", "-n"}, args...)
	}
	cmd := exec.Command(args[0], args[1:]...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true} // Ctrl-C is for the tests
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("start a private engine: %w", err)
	}
	e.script = cmd.Process.Pid
	for begun := time.Now(); e.ping() != nil; time.Sleep(20 * time.Millisecond) {
		if e.ended(syscall.WNOHANG) || time.Since(begun) > startWithin {
			return fmt.Errorf("the private engine does not answer; it said: %s", e.lastWords())
		}
	}
	return nil
}

// ended reports whether engine.sh has ended; without WNOHANG it waits for that.
func (e *Engine) ended(how int) bool {
	pid, err := syscall.Wait4(e.script, nil, how, nil)
	return pid == e.script || errors.Is(err, syscall.ECHILD)
}

// end gives up the share and waits for the end of an engine that nobody else has.
func (e *Engine) end() {
	_ = e.users.Close()
	if e.script > 0 {
		e.ended(0)
	}
	_ = os.RemoveAll(e.Dir)
}

func (e *Engine) lastWords() string {
	log, _ := os.ReadFile(filepath.Join(e.Dir, "log"))
	const enough = 1000
	return string(log[max(0, len(log)-enough):])
}

// lock keeps other test processes from doing the same at once.
func (e *Engine) lock(what string) (unlock func(), err error) {
	dir := e.Dir
	if dir == "" {
		dir = os.TempDir()
	}
	f, err := os.OpenFile(filepath.Join(dir, "formicary-"+what+".lock"), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fmt.Errorf("lock the engine: %w", err)
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX); err != nil {
		_ = f.Close()
		return nil, fmt.Errorf("lock the engine: %w", err)
	}
	return func() { _ = f.Close() }, nil
}

func (e *Engine) ping() error {
	res, err := e.call(http.MethodGet, "/_ping", nil)
	if err != nil {
		return err
	}
	return res.Body.Close()
}

// call asks the engine, in the little of its API that is needed here.
func (e *Engine) call(method, path string, body io.Reader) (*http.Response, error) {
	host, err := url.Parse(e.Host)
	if err != nil {
		return nil, fmt.Errorf("address of the engine: %w", err)
	}
	network, addr := host.Scheme, host.Host
	if network == "unix" {
		addr = host.Path
	}
	client := http.Client{Transport: &http.Transport{
		DisableKeepAlives: true,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, network, addr)
		},
	}}
	req, err := http.NewRequest(method, "http://engine"+path, body)
	if err != nil {
		return nil, err
	}
	res, err := client.Do(req)
	if err != nil {
		return nil, fmt.Errorf("ask the engine: %w", err)
	}
	if res.StatusCode >= http.StatusBadRequest {
		text, _ := io.ReadAll(io.LimitReader(res.Body, 1000))
		_ = res.Body.Close()
		return nil, fmt.Errorf("the engine answers %s: %s", res.Status, text)
	}
	return res, nil
}
