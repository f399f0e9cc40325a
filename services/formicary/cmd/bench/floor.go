package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/formicary/formicary/libs/bus"
	"github.com/formicary/formicary/libs/bus/embedded"
	"github.com/formicary/formicary/libs/pgdb/cluster"
)

// measureFloor measures what the machine gives without a colony: nothing built on these parts can be faster.
func measureFloor(ctx context.Context, rep report) (err error) {
	fmt.Fprintln(os.Stderr, "bench: floor: exec, commit, NATS")
	dir, err := os.MkdirTemp("", "formicary-floor-")
	if err != nil {
		return fmt.Errorf("make directory: %w", err)
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	if err := os.Chmod(dir, 0o711); err != nil { // #nosec G302 -- PostgreSQL runs as another user below it
		return fmt.Errorf("open directory: %w", err)
	}
	if err := floorExec(ctx, rep); err != nil {
		return fmt.Errorf("exec: %w", err)
	}
	if err := floorCommit(ctx, filepath.Join(dir, "pg"), rep); err != nil {
		return fmt.Errorf("commit: %w", err)
	}
	if err := floorNATS(ctx, filepath.Join(dir, "nats"), rep); err != nil {
		return fmt.Errorf("NATS: %w", err)
	}
	return nil
}

const (
	floorRounds = 1000
	floorWarm   = 100
)

// sample returns the median time of a call in milliseconds.
func sample(call func() error) (float64, error) {
	took := make([]time.Duration, 0, floorRounds)
	for i := range floorRounds + floorWarm {
		began := time.Now()
		if err := call(); err != nil {
			return 0, err
		}
		if i >= floorWarm {
			took = append(took, time.Since(began))
		}
	}
	return quantile(took, 0.5), nil
}

// floorExec starts a program that does nothing, one at a time.
func floorExec(ctx context.Context, rep report) error {
	ms, err := sample(func() error { return exec.CommandContext(ctx, "/bin/true").Run() })
	if err != nil {
		return err
	}
	rep.set("floor", "exec_per_s", 1000/ms)
	return nil
}

// floorCommit commits one small row at a time in a cluster like the colony's, synced to disk.
func floorCommit(ctx context.Context, dir string, rep report) error {
	c, err := cluster.Start(ctx, cluster.Options{Dir: dir})
	if err != nil {
		return err
	}
	defer func() { _ = c.Stop(context.WithoutCancel(ctx)) }()
	conn, err := pgx.Connect(ctx, c.DSN("postgres"))
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close(context.WithoutCancel(ctx)) }()
	if _, err := conn.Exec(ctx, "CREATE TABLE floor (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, note text)"); err != nil {
		return err
	}
	ms, err := sample(func() error {
		_, err := conn.Exec(ctx, "INSERT INTO floor (note) VALUES ($1)", "a small row")
		return err
	})
	if err != nil {
		return err
	}
	rep.set("floor", "commit_us", 1000*ms)
	return nil
}

// floorNATS publishes to a stream, receives from its consumer and acknowledges, one message at a time.
func floorNATS(ctx context.Context, dir string, rep report) error {
	s, err := embedded.Start(embedded.Options{StoreDir: dir})
	if err != nil {
		return err
	}
	defer s.Stop()
	nc, err := s.Connect("bench")
	if err != nil {
		return err
	}
	defer nc.Close()
	js, err := bus.JetStream(nc)
	if err != nil {
		return err
	}
	ms, err := roundTrip(ctx, js)
	if err != nil {
		return err
	}
	rep.set("floor", "nats_us", 1000*ms)
	return nil
}
