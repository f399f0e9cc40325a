package audit

import (
	"context"
	"fmt"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/formicary/formicary/libs/audit"
)

// request is what job-manager says of a request.
type request struct {
	id, org, state string
	run            int
	terminal       bool
	quiet          bool // nothing has changed for longer than events take
}

// execution is what supervisor says of a run.
type execution struct {
	request, org, state string
	run                 int
	terminal            bool
	quiet               bool
}

// Each statement reads a page by key, so that no size of the history takes one of them over its time.
const (
	requestsSQL = `SELECT id::text, org_id, state, run, ended_at IS NOT NULL AS terminal, updated_at < now() - $1::interval AS settled
		FROM request WHERE id > $2::uuid ORDER BY id LIMIT $3`
	executionsSQL = `SELECT request_id::text, org_id, state, run, ended_at IS NOT NULL AS terminal,
			coalesce(ended_at, created_at) < now() - $1::interval AS settled
		FROM execution WHERE request_id > $2::uuid AND request_id <= $3::uuid ORDER BY request_id, run`
	pageSize = 5000
	firstID  = "00000000-0000-0000-0000-000000000000"
	lastID   = "ffffffff-ffff-ffff-ffff-ffffffffffff"
)

// compareRuns walks both tables side by side in the order of the request, so that the size of the history costs time
// but no memory. With an error it returns what it found up to there.
func compareRuns(ctx context.Context, job, exec *pgxpool.Pool) ([]audit.Violation, error) {
	var found findings
	for from := firstID; from != lastID; {
		requests, err := read(ctx, job, requestsSQL, func(r *request) []any {
			return []any{&r.id, &r.org, &r.state, &r.run, &r.terminal, &r.quiet}
		}, lag.String(), from, pageSize)
		if err != nil {
			return found.list, fmt.Errorf("read requests after %s: %w", from, err)
		}
		to := lastID
		if len(requests) == pageSize {
			to = requests[pageSize-1].id
		}
		executions, err := read(ctx, exec, executionsSQL, func(e *execution) []any {
			return []any{&e.request, &e.org, &e.state, &e.run, &e.terminal, &e.quiet}
		}, lag.String(), from, to)
		if err != nil {
			return found.list, fmt.Errorf("read executions after %s: %w", from, err)
		}
		found.walk(requests, executions)
		from = to
	}
	return found.list, nil
}

func read[T any](ctx context.Context, pool *pgxpool.Pool, sql string, into func(*T) []any, args ...any) ([]T, error) {
	rows, err := pool.Query(ctx, sql, args...)
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, func(row pgx.CollectableRow) (T, error) {
		var t T
		err := row.Scan(into(&t)...)
		return t, err
	})
}

// walk judges the requests of a page and their executions, both in the order of the request.
func (f *findings) walk(requests []request, executions []execution) {
	for _, r := range requests {
		current := false
		for len(executions) > 0 && executions[0].request <= r.id {
			e := executions[0]
			executions = executions[1:]
			switch {
			case e.request < r.id:
				f.orphan(e)
			case e.run == r.run:
				current = true
				f.pair(r, e)
			default:
				f.other(r, e)
			}
		}
		if !current {
			f.alone(r)
		}
	}
	for _, e := range executions {
		f.orphan(e)
	}
}

// findings judges pairs; a few of each kind are kept.
type findings struct {
	list  []audit.Violation
	count map[string]int
}

func (f *findings) add(check, format string, args ...any) {
	if f.count == nil {
		f.count = map[string]int{}
	}
	if f.count[check]++; f.count[check] <= mostOfAKind {
		f.list = append(f.list, audit.Violation{Check: check, Detail: fmt.Sprintf(format, args...)})
	}
}

// pair judges a request and the execution of its current run.
func (f *findings) pair(r request, e execution) {
	if r.org != e.org {
		f.add("same_org", "request %s belongs to %s, its execution to %s", r.id, r.org, e.org)
	}
	switch {
	case r.terminal && r.quiet && !e.terminal:
		f.add("terminal_request_terminal_execution", "request %s is %s, run %d is %s", r.id, r.state, e.run, e.state)
	case e.terminal && e.quiet && !r.terminal && r.quiet:
		f.add("terminal_execution_terminal_request", "run %d of request %s is %s, the request is %s", e.run, r.id, e.state, r.state)
	case r.terminal && e.terminal && r.quiet && e.quiet && r.state != e.state:
		f.add("same_outcome", "request %s is %s, run %d is %s", r.id, r.state, e.run, e.state)
	}
}

// other judges an execution of another run than the current one.
func (f *findings) other(r request, e execution) {
	if r.org != e.org {
		f.add("same_org", "request %s belongs to %s, its execution to %s", r.id, r.org, e.org)
	}
	if e.run > r.run && e.quiet {
		f.add("execution_of_known_run", "run %d exists of request %s, which is at run %d", e.run, r.id, r.run)
	}
}

// alone judges a request whose current run has no execution: right while it waits, and when it was cancelled before.
func (f *findings) alone(r request) {
	if r.terminal && r.quiet && r.state != "CANCELLED" {
		f.add("terminal_request_terminal_execution", "request %s is %s, run %d was never executed", r.id, r.state, r.run)
	}
}

// orphan judges an execution without a request.
func (f *findings) orphan(e execution) {
	if e.quiet {
		f.add("execution_of_known_run", "run %d exists of request %s, which does not exist", e.run, e.request)
	}
}
