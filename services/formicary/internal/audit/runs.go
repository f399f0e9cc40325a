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
	settled        bool // nothing has changed for longer than events take
}

// execution is what supervisor says of a run.
type execution struct {
	request, org, state string
	run                 int
	terminal            bool
	settled             bool
}

const (
	requestsSQL = `SELECT id::text, org_id, state, run, ended_at IS NOT NULL AS terminal, updated_at < now() - $1::interval AS settled
		FROM request ORDER BY id`
	executionsSQL = `SELECT request_id::text, org_id, state, run, ended_at IS NOT NULL AS terminal,
			coalesce(ended_at, created_at) < now() - $1::interval AS settled
		FROM execution ORDER BY request_id, run`
)

// compareRuns walks both tables side by side in the order of the request, so that the size of the history costs time
// but no memory.
func compareRuns(ctx context.Context, job, exec *pgxpool.Pool) ([]audit.Violation, error) {
	// The executions are read first: a request that ends meanwhile is then the younger side, which is not judged.
	erows, err := exec.Query(ctx, executionsSQL, lag.String())
	if err != nil {
		return nil, err
	}
	defer erows.Close()
	rrows, err := job.Query(ctx, requestsSQL, lag.String())
	if err != nil {
		return nil, err
	}
	defer rrows.Close()
	var found findings
	e, more, err := nextExecution(erows)
	if err != nil {
		return nil, err
	}
	for rrows.Next() {
		var r request
		if err := rrows.Scan(&r.id, &r.org, &r.state, &r.run, &r.terminal, &r.settled); err != nil {
			return nil, err
		}
		var current *execution
		for more && e.request <= r.id {
			switch {
			case e.request < r.id:
				found.orphan(e)
			case e.run == r.run:
				same := e
				current = &same
				found.pair(r, e)
			default:
				found.other(r, e)
			}
			if e, more, err = nextExecution(erows); err != nil {
				return nil, err
			}
		}
		if current == nil {
			found.alone(r)
		}
	}
	if err := rrows.Err(); err != nil {
		return nil, err
	}
	for ; more; e, more, err = nextExecution(erows) {
		found.orphan(e)
	}
	return found.list, err
}

func nextExecution(rows pgx.Rows) (execution, bool, error) {
	var e execution
	if !rows.Next() {
		return e, false, rows.Err()
	}
	return e, true, rows.Scan(&e.request, &e.org, &e.state, &e.run, &e.terminal, &e.settled)
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
	case r.terminal && r.settled && !e.terminal:
		f.add("terminal_request_terminal_execution", "request %s is %s, run %d is %s", r.id, r.state, e.run, e.state)
	case e.terminal && e.settled && !r.terminal && r.settled:
		f.add("terminal_execution_terminal_request", "run %d of request %s is %s, the request is %s", e.run, r.id, e.state, r.state)
	case r.terminal && e.terminal && r.settled && e.settled && r.state != e.state:
		f.add("same_outcome", "request %s is %s, run %d is %s", r.id, r.state, e.run, e.state)
	}
}

// other judges an execution of another run than the current one.
func (f *findings) other(r request, e execution) {
	if r.org != e.org {
		f.add("same_org", "request %s belongs to %s, its execution to %s", r.id, r.org, e.org)
	}
	if e.run > r.run && e.settled {
		f.add("execution_of_known_run", "run %d exists of request %s, which is at run %d", e.run, r.id, r.run)
	}
}

// alone judges a request whose current run has no execution: right while it waits, and when it was cancelled before.
func (f *findings) alone(r request) {
	if r.terminal && r.settled && r.state != "CANCELLED" {
		f.add("terminal_request_terminal_execution", "request %s is %s, run %d was never executed", r.id, r.state, r.run)
	}
}

// orphan judges an execution without a request.
func (f *findings) orphan(e execution) {
	if e.settled {
		f.add("execution_of_known_run", "run %d exists of request %s, which does not exist", e.run, e.request)
	}
}
