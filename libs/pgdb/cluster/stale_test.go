package cluster

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// deaf is a process that looks like a server of the directory and does not end when it is told to.
func deaf(t *testing.T, data string) *exec.Cmd {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "/bin/sh", "-c", "trap '' INT; echo; while :; do sleep 0.05; done", "postgres", data)
	out, err := cmd.StdoutPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err == nil {
		_, err = out.Read(make([]byte, 1)) // it is deaf now
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Signal(syscall.SIGKILL)
		_ = cmd.Wait()
	})
	return cmd
}

// A server that is not to be ended is told of, and nobody waits for it longer than the caller does.
func TestKillLeftoverTellsOfAServerThatStays(t *testing.T) {
	dir := t.TempDir()
	data := filepath.Join(dir, "d")
	if err := os.Mkdir(data, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := KillLeftover(t.Context(), dir); err != nil {
		t.Errorf("without a server: %v", err)
	}
	pid := filepath.Join(data, "postmaster.pid")
	write := func(text string) {
		if err := os.WriteFile(pid, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for _, gone := range []string{"rubbish", "999999999\n", fmt.Sprintln(os.Getpid())} {
		write(gone)
		if err := KillLeftover(t.Context(), dir); err != nil {
			t.Errorf("%q: %v", gone, err)
		}
		if _, err := os.Stat(pid); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("%q is there: %v", gone, err)
		}
	}
	cmd := deaf(t, data)
	write(fmt.Sprintf("%d\n%s\n", cmd.Process.Pid, data))
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	began := time.Now()
	err := KillLeftover(ctx, dir)
	if !errors.Is(err, context.DeadlineExceeded) || !strings.Contains(err.Error(), fmt.Sprint("server ", cmd.Process.Pid)) || time.Since(began) > 5*time.Second {
		t.Errorf("after %s: %v", time.Since(began), err)
	}
}
