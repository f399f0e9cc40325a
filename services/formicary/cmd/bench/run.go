package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
)

const hopsOfRun = 50

// late measures hops of a chain, each with its claim, in a run in which few and in which many tasks have completed. The
// many are written into the record: to run them would take a minute and say the same. Each has an output of 4 KiB by the
// same name, which the tasks of the chain print.
func late(ctx context.Context, c *colony, rep report) error {
	conn, err := pgx.Connect(ctx, fmt.Sprintf("host=%s user=formicary dbname=formicary search_path=execution", filepath.Join(c.dir, "data", "pg", "s")))
	if err != nil {
		return fmt.Errorf("connect to the colony's database: %w", err)
	}
	defer func() { _ = conn.Close(context.WithoutCancel(ctx)) }()
	for _, completed := range []int{10, 10_000} {
		ms, err := c.hops(ctx, conn, completed)
		if err != nil {
			return err
		}
		rep.set("run", fmt.Sprintf("claim_%d", completed), ms)
	}
	return nil
}

// hops runs the chain behind a task that waits until the others are in the record; it returns the time of a hop.
func (c *colony) hops(ctx context.Context, conn *pgx.Conn, completed int) (float64, error) {
	gate := filepath.Join(c.dir, fmt.Sprintf("gate-%d", completed))
	var yaml strings.Builder
	fmt.Fprintf(&yaml, "job_type: bench-late-%d\njob_variables: {out: none}\ntasks:\n- task_type: gate\n  method: SHELL\n"+
		"  script:\n    - while [ ! -e %s ]; do sleep 0.05; done\n  on_completed: h0\n", completed, gate)
	for i := range hopsOfRun {
		fmt.Fprintf(&yaml, "- task_type: h%d\n  method: SHELL\n  script:\n    - 'true {{.out}}'\n", i)
		if i < hopsOfRun-1 {
			fmt.Fprintf(&yaml, "  on_completed: h%d\n", i+1)
		}
	}
	if err := c.define(ctx, yaml.String()); err != nil {
		return 0, err
	}
	id, err := c.submit(ctx, fmt.Sprintf("bench-late-%d", completed))
	if err != nil {
		return 0, err
	}
	if err := fill(ctx, conn, id, completed); err != nil {
		return 0, err
	}
	began := time.Now()
	if err := os.WriteFile(gate, nil, 0o600); err != nil {
		return 0, fmt.Errorf("open the gate: %w", err)
	}
	e, err := c.wait(ctx, id)
	if err != nil {
		return 0, err
	}
	return float64(e.at.Sub(began)-25*time.Millisecond) / float64(hopsOfRun) / float64(time.Millisecond), nil // the gate sleeps
}

// fill waits for the run of a request and puts completed tasks into it.
func fill(ctx context.Context, conn *pgx.Conn, request string, n int) error {
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for {
		tag, err := conn.Exec(ctx, `INSERT INTO execution.task (execution_id, idx, name, method, class, state, spec, attempts, started_at, ended_at, ready_at, outputs)
			SELECT e.id, 100000 + g, 'filler' || g, 'SHELL', 'none', 'COMPLETED', '{}', 0, now(), now(), now(), json_build_object('out', repeat('x', 4096))
			FROM execution.execution e, generate_series(1, $2::int) g WHERE e.request_id = $1`, request, n)
		if err != nil {
			return fmt.Errorf("write completed tasks: %w", err)
		}
		if tag.RowsAffected() > 0 {
			return nil
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}
