// Package cluster runs a private PostgreSQL cluster as a child process: the embedded colony keeps its state in one,
// tests get a fresh one. It listens on a unix socket in its directory only and ends with the process that started it,
// also when that is killed.
package cluster

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/jackc/pgx/v5"
)

// Options of a cluster.
type Options struct {
	// Dir holds the data directory, the socket and the log. It is made when missing.
	Dir string
	// Throwaway turns syncing to disk off: for tests, whose data may be lost with the machine's power.
	Throwaway bool
	// Settings are added to the server's command line, over the defaults.
	Settings map[string]string
}

// Cluster is a running server.
type Cluster struct {
	dir    string
	socket string
	user   string
	cmd    *exec.Cmd
	lock   *os.File
	ended  chan struct{} // closed when the server has exited
	err    error         // of the exit; read after ended
}

const (
	superuser   = "formicary"
	startWithin = 60 * time.Second
)

// Start initialises the cluster when it is new and starts it. It returns when the server takes connections.
func Start(ctx context.Context, o Options) (*Cluster, error) {
	bin, err := Binaries()
	if err != nil {
		return nil, err
	}
	dir, err := filepath.Abs(o.Dir)
	if err != nil {
		return nil, fmt.Errorf("find %s: %w", o.Dir, err)
	}
	if err := CheckDir(dir); err != nil {
		return nil, err
	}
	if err := os.MkdirAll(dir, 0o711); err != nil { // #nosec G301 -- the server's own user passes through
		return nil, fmt.Errorf("make database directory: %w", err)
	}
	lock, err := lockDir(dir)
	if err != nil {
		return nil, err
	}
	c, err := start(ctx, bin, dir, o)
	if err != nil {
		_ = lock.Close()
		return nil, err
	}
	c.lock = lock
	return c, nil
}

func start(ctx context.Context, bin, dir string, o Options) (*Cluster, error) {
	as, err := identity(dir)
	if err != nil {
		return nil, err
	}
	data, socket := filepath.Join(dir, "d"), socketDir(dir)
	if err := os.MkdirAll(data, 0o700); err != nil {
		return nil, fmt.Errorf("make database directory: %w", err)
	}
	if err := as.own(data); err != nil {
		return nil, err
	}
	if err := as.makeSocketDir(socket); err != nil {
		return nil, err
	}
	if _, err := os.Stat(filepath.Join(data, "PG_VERSION")); errors.Is(err, os.ErrNotExist) {
		if err := initialise(ctx, bin, data, as, o.Throwaway); err != nil {
			return nil, err
		}
	}
	if err := removeStalePid(ctx, data); err != nil {
		return nil, err
	}
	return serve(ctx, bin, dir, data, socket, as, o)
}

// Binaries returns the folder of initdb and postgres, or an error that says what to install.
func Binaries() (string, error) {
	if dir := os.Getenv("FORMICARY_PG_BIN"); dir != "" {
		return dir, nil
	}
	if path, err := exec.LookPath("initdb"); err == nil {
		if real, err := filepath.EvalSymlinks(path); err == nil {
			if _, err := os.Stat(filepath.Join(filepath.Dir(real), "postgres")); err == nil {
				return filepath.Dir(real), nil
			}
		}
	}
	best, dir := -1, ""
	found, _ := filepath.Glob("/usr/lib/postgresql/*/bin/initdb")
	for _, path := range found {
		d := filepath.Dir(path)
		if v, err := strconv.Atoi(filepath.Base(filepath.Dir(d))); err == nil && v > best {
			best, dir = v, d
		}
	}
	if dir == "" {
		return "", errors.New("no PostgreSQL on this machine: install the package postgresql, or set FORMICARY_PG_BIN to the folder of initdb and postgres")
	}
	return dir, nil
}

// lockDir keeps a second process from using the same directory.
func lockDir(dir string) (*os.File, error) {
	f, err := os.OpenFile(filepath.Join(dir, "lock"), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, fmt.Errorf("lock database directory: %w", err)
	}
	// A server that was killed a moment ago may need a moment to end.
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		_ = f.Close()
		return nil, fmt.Errorf("the data directory %s is in use by another process", dir)
	}
	return f, nil
}

func initialise(ctx context.Context, bin, data string, as *account, throwaway bool) error {
	args := []string{"--pgdata=" + data, "--username=" + superuser, "--auth=trust", "--encoding=UTF8", "--locale=C"}
	if throwaway {
		args = append(args, "--no-sync")
	}
	cmd := exec.CommandContext(ctx, filepath.Join(bin, "initdb"), args...)
	cmd.Dir = data
	cmd.SysProcAttr = as.attr()
	if out, err := cmd.CombinedOutput(); err != nil {
		// A half-made cluster would be taken for a whole one at the next start.
		entries, _ := os.ReadDir(data)
		for _, e := range entries {
			_ = os.RemoveAll(filepath.Join(data, e.Name()))
		}
		return fmt.Errorf("initialise database: %w\n%s", err, out)
	}
	return nil
}

// removeStalePid removes the pid file of a server that is gone; the directory is locked, so a live server with this
// directory is one that outlives a killed parent for a moment: it is told to end and waited for.
func removeStalePid(ctx context.Context, data string) error {
	path := filepath.Join(data, "postmaster.pid")
	ctx, cancel := context.WithTimeout(ctx, staleTime)
	defer cancel()
	for {
		raw, err := os.ReadFile(path) // #nosec G304 -- below the data directory
		if errors.Is(err, os.ErrNotExist) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("read the pid of an earlier database server: %w", err)
		}
		first, _, _ := strings.Cut(string(raw), "\n")
		pid, err := strconv.Atoi(first)
		if err != nil || !isServer(pid, data) {
			if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
				return fmt.Errorf("remove the pid file of an earlier database server: %w", err)
			}
			return nil
		}
		_ = syscall.Kill(pid, syscall.SIGINT)
		select {
		case <-ctx.Done():
			return fmt.Errorf("the database server %d of %s still runs and was told to end: %w", pid, data, ctx.Err())
		case <-time.After(stalePause):
		}
	}
}

const (
	// staleTime is how long the server of a process that was killed may take to end.
	staleTime  = 10 * time.Second
	stalePause = 50 * time.Millisecond
)

// KillLeftover ends the server of a process that was killed; dir is that of its Options, which nobody uses.
func KillLeftover(ctx context.Context, dir string) error {
	if err := removeStalePid(ctx, filepath.Join(dir, "d")); err != nil {
		return err
	}
	removeSocketDir(dir, socketDir(dir))
	return nil
}

func isServer(pid int, data string) bool {
	raw, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(pid), "cmdline"))
	return err == nil && bytes.Contains(raw, []byte("postgres")) && bytes.Contains(raw, []byte(data))
}

func defaults(o Options, socket string) map[string]string {
	set := map[string]string{
		"listen_addresses": "", "unix_socket_directories": socket, "unix_socket_permissions": "0700",
		"max_connections": "100", "shared_buffers": "128MB", "max_wal_size": "1GB", "jit": "off",
		"synchronous_commit": "on", "checkpoint_timeout": "15min",
		"autovacuum_naptime": "15s", "autovacuum_vacuum_cost_delay": "2ms", "logging_collector": "off",
		"log_min_messages": "warning", "log_min_error_statement": "panic", "max_wal_senders": "0", "wal_level": "minimal",
	}
	if o.Throwaway {
		set["fsync"], set["full_page_writes"], set["shared_buffers"] = "off", "off", "32MB"
	}
	maps.Copy(set, o.Settings)
	return set
}

func serve(ctx context.Context, bin, dir, data, socket string, as *account, o Options) (*Cluster, error) {
	args := []string{"-D", data}
	for k, v := range defaults(o, socket) {
		args = append(args, "-c", k+"="+v)
	}
	log, err := os.OpenFile(filepath.Join(dir, "log"), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return nil, fmt.Errorf("open database log: %w", err)
	}
	defer func() { _ = log.Close() }()
	cmd := exec.Command(filepath.Join(bin, "postgres"), args...)
	cmd.Dir, cmd.Stdout, cmd.Stderr = data, log, log
	cmd.SysProcAttr = as.attr()
	cmd.SysProcAttr.Setpgid = true             // Ctrl-C reaches only us
	cmd.SysProcAttr.Pdeathsig = syscall.SIGINT // it ends with us, also when we are killed
	c := &Cluster{dir: dir, socket: socket, user: superuser, cmd: cmd, ended: make(chan struct{})}
	began := make(chan error)
	go c.hold(began)
	if err := <-began; err != nil {
		return nil, fmt.Errorf("start database: %w", err)
	}
	if err := c.wait(ctx); err != nil {
		_ = c.Stop(context.WithoutCancel(ctx))
		tail, _ := os.ReadFile(log.Name())
		return nil, fmt.Errorf("start database: %w\n%s", err, tail[max(0, len(tail)-2000):])
	}
	return c, nil
}

// hold starts the server and waits for it on one thread: the death signal is tied to the thread that started it.
func (c *Cluster) hold(began chan<- error) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	if err := c.cmd.Start(); err != nil {
		began <- err
		return
	}
	began <- nil
	c.err = c.cmd.Wait()
	close(c.ended)
}

// wait returns when the server takes connections.
func (c *Cluster) wait(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, startWithin)
	defer cancel()
	for {
		conn, err := pgx.Connect(ctx, c.DSN("postgres"))
		if err == nil {
			return conn.Close(ctx)
		}
		select {
		case <-c.ended:
			return fmt.Errorf("the server exited: %w", c.err)
		case <-ctx.Done():
			return fmt.Errorf("no connection in %s: %w", startWithin, err)
		case <-time.After(5 * time.Millisecond):
		}
	}
}

// DSN returns the address of a database as the superuser.
func (c *Cluster) DSN(database string) string {
	return fmt.Sprintf("host=%s user=%s dbname=%s", c.socket, c.user, database)
}

// DSNAs returns the address of a database as another role.
func (c *Cluster) DSNAs(role, database string) string {
	return fmt.Sprintf("host=%s user=%s dbname=%s", c.socket, role, database)
}

// PID of the server.
func (c *Cluster) PID() int { return c.cmd.Process.Pid }

// Ended is closed when the server has exited, by Stop or by itself.
func (c *Cluster) Ended() <-chan struct{} { return c.ended }

// EnsureDatabase makes the database when it is missing.
func (c *Cluster) EnsureDatabase(ctx context.Context, name string) error {
	conn, err := pgx.Connect(ctx, c.DSN("postgres"))
	if err != nil {
		return fmt.Errorf("connect to database server: %w", err)
	}
	defer func() { _ = conn.Close(context.WithoutCancel(ctx)) }()
	var exists bool
	if err := conn.QueryRow(ctx, "SELECT EXISTS (SELECT FROM pg_database WHERE datname = $1)", name).Scan(&exists); err != nil {
		return fmt.Errorf("look for database %s: %w", name, err)
	}
	if exists {
		return nil
	}
	if _, err := conn.Exec(ctx, "CREATE DATABASE "+pgx.Identifier{name}.Sanitize()); err != nil {
		return fmt.Errorf("create database %s: %w", name, err)
	}
	return nil
}

// Stop ends the server: fast shutdown, after ctx or 10 s by force.
func (c *Cluster) Stop(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	_ = c.cmd.Process.Signal(syscall.SIGINT)
	var err error
	select {
	case <-c.ended:
	case <-ctx.Done():
		_ = c.cmd.Process.Signal(syscall.SIGQUIT)
		<-c.ended
		err = errors.New("the database did not stop in time and was ended by force; it recovers at the next start")
	}
	removeSocketDir(c.dir, c.socket)
	if c.lock != nil {
		err = errors.Join(err, c.lock.Close())
	}
	return err
}
