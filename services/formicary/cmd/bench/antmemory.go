package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"syscall"
)

// antMemory measures the memory of an ant that is a process of its own while a large file goes up and comes down. It is
// counted from what the ant has after it has moved a small one, to the highest that the kernel has seen.
func antMemory(ctx context.Context, bin, big string, rep report) (err error) {
	dir, err := os.MkdirTemp("", "formicary-bench-ant-")
	if err != nil {
		return fmt.Errorf("make data directory: %w", err)
	}
	if err := os.Chmod(dir, 0o711); err != nil { // #nosec G302 -- PostgreSQL runs as another user below it
		return fmt.Errorf("open data directory: %w", err)
	}
	c, err := launch(ctx, bin, dir, "--expose", "--no-ant")
	if err != nil {
		return errors.Join(err, os.RemoveAll(dir))
	}
	defer c.stop()
	if err := c.watch(ctx); err != nil {
		return err
	}
	log, err := os.Create(filepath.Join(dir, "ant.log")) // #nosec G304 -- of the bench
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, log.Close()) }()
	ant := exec.CommandContext(ctx, bin, "ant", "start", "--colony", filepath.Join(dir, "data", "colony.json"), "--id", "bench-ant") // #nosec G204 -- of the bench
	ant.Cancel = func() error { return ant.Process.Signal(syscall.SIGTERM) }
	ant.Stdout, ant.Stderr = log, log
	if err := ant.Start(); err != nil {
		return fmt.Errorf("start an ant: %w", err)
	}
	defer func() {
		_ = ant.Process.Signal(syscall.SIGTERM)
		_ = ant.Wait()
	}()
	if _, _, _, err := c.passed(ctx, "bench-ant-small", "head -c 1000000 /dev/urandom > big; sleep 0.1"); err != nil {
		return err
	}
	status := filepath.Join("/proc", strconv.Itoa(ant.Process.Pid), "status")
	before := field(status, "VmRSS:")
	if _, _, _, err := c.passed(ctx, "bench-ant-large", "cp "+big+" big"); err != nil {
		return err
	}
	rep.set("artifact", "ant_memory", (field(status, "VmHWM:")-before)/1024)
	return nil
}
