package e2e

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	worker "github.com/formicary/formicary/services/ant/workers/go"
)

// ofForgotten are the ways in which resource-manager comes to know nothing of an ant any more, or only that it was gone
// long ago.
var ofForgotten = []string{
	"UPDATE ant SET state = 'OFFLINE', session = NULL, offline_at = now() - interval '2 days', heartbeat_at = now() - interval '2 days', lease_until = now() - interval '2 days'",
	"WITH held AS (DELETE FROM hold) DELETE FROM ant",
}

// TestColonyStartsAgainAfterItsAntsWereForgotten stops a colony in the middle of a job for so long that its ants are
// removed, as resource-manager does after ten minutes, and starts it again: the ants are taken, and the job goes on.
func TestColonyStartsAgainAfterItsAntsWereForgotten(t *testing.T) {
	t.Parallel() // it waits most of the time
	w := newWorld(t)
	up := w.embedded()
	flag := filepath.Join(w.dir, "flag")
	w.define(fmt.Sprintf("job_type: e2e-away\ntasks:\n  - task_type: a\n    method: SHELL\n    script: ['until test -e %s; do sleep 0.2; done']\n", flag))
	for _, sql := range ofForgotten {
		id := w.submit("e2e-away", sql, nil)
		w.eventually("the task runs", func() bool {
			got := w.task(id, "a")
			return len(got.Attempts) == 1 && got.Attempts[0].State == "RUNNING"
		})
		up.signal(syscall.SIGKILL)
		if err := os.Remove(w.file()); err != nil {
			t.Fatal(err)
		}
		w.infra()
		w.forget(sql)
		w.procs["infra"].signal(syscall.SIGTERM)
		delete(w.procs, "infra")
		if err := os.WriteFile(flag, nil, 0o600); err != nil {
			t.Fatal(err)
		}
		up.start()
		w.ready()
		if got := w.ends(2*time.Minute, id); got.State != "COMPLETED" {
			t.Errorf("ended as %s (%s %s)", got.State, got.ErrorCode, got.ErrorMessage)
		}
		if err := os.Remove(flag); err != nil {
			t.Fatal(err)
		}
	}
	w.audit()
}

// TestLoneAntComesBackAfterItWasForgotten does the same to an ant that is a process of its own, beside a colony that lives.
func TestLoneAntComesBackAfterItWasForgotten(t *testing.T) {
	t.Parallel() // it waits most of the time
	w := newWorld(t)
	w.separate("ant-1")
	ant := w.procs["ant-1"]
	flag := filepath.Join(w.dir, "flag")
	w.define(fmt.Sprintf("job_type: e2e-lone\ntasks:\n  - task_type: a\n    method: SHELL\n    script: ['until test -e %s; do sleep 0.2; done']\n", flag))
	for i, sql := range ofForgotten {
		id := w.submit("e2e-lone", fmt.Sprint("lone", i), nil)
		w.eventually("the task runs", func() bool {
			got := w.task(id, "a")
			return len(got.Attempts) == 1 && got.Attempts[0].State == "RUNNING"
		})
		ant.signal(syscall.SIGKILL)
		w.forget(sql)
		if err := os.WriteFile(flag, nil, 0o600); err != nil {
			t.Fatal(err)
		}
		ant.start()
		if got := w.ends(2*time.Minute, id); got.State != "COMPLETED" {
			t.Errorf("ended as %s (%s %s)", got.State, got.ErrorCode, got.ErrorMessage)
		}
		if err := os.Remove(flag); err != nil {
			t.Fatal(err)
		}
	}
	w.audit()
}

// TestWorkerComesBackAfterItWasForgotten lets a worker connect again after its ant was removed.
func TestWorkerComesBackAfterItWasForgotten(t *testing.T) {
	t.Parallel() // it waits most of the time
	w := newWorld(t)
	w.embedded("--expose")
	w.define("job_type: e2e-worker-away\ntasks:\n  - {task_type: a, method: WEBSOCKET, tags: [away]}\n")
	for i := range 2 {
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() {
			ended <- worker.Run(ctx, worker.Config{
				ID: "away", URL: "ws://" + w.colony().HTTP + "/ws/ants", Tags: []string{"away"},
				Handler: func(context.Context, worker.Task) (worker.Result, error) { return worker.Result{}, nil },
			})
		}()
		w.finishes(w.submit("e2e-worker-away", fmt.Sprint("away", i), nil), "COMPLETED")
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("the worker ended with %v", err)
		}
		w.eventually("its ant has left", func() bool {
			return w.forget("DELETE FROM ant WHERE id = 'away' AND state = 'OFFLINE' AND used = 0") == 1
		})
	}
	w.audit()
}

// forget changes the table of ants and returns how many rows that were.
func (w *world) forget(sql string) int64 {
	w.t.Helper()
	dsn, err := w.colony().DSN("resource-manager")
	if err != nil {
		w.t.Fatal(err)
	}
	var rows int64
	w.eventually("the table of ants is changed", func() bool { // PostgreSQL may be about to end, or to start
		conn, err := pgx.Connect(w.t.Context(), dsn)
		if err != nil {
			return false
		}
		defer func() { _ = conn.Close(context.WithoutCancel(w.t.Context())) }()
		if _, err := conn.Exec(w.t.Context(), "SET search_path = resource; SET app.org = '*'"); err != nil {
			return false
		}
		done, err := conn.Exec(w.t.Context(), sql)
		rows = done.RowsAffected()
		return err == nil
	})
	return rows
}
