package lease

import (
	"context"
	"encoding/json"
	"fmt"
	"strconv"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/formicary/formicary/libs/jobspec/plan"
	"github.com/formicary/formicary/libs/pgdb"
	"github.com/formicary/formicary/services/supervisor/internal/definition"
	"github.com/formicary/formicary/services/supervisor/internal/engine"
	"github.com/formicary/formicary/services/supervisor/internal/execution"
	"github.com/formicary/formicary/services/supervisor/internal/pg"
)

const (
	// leaseTime is how long an attempt lives without a sign of its ant.
	leaseTime = 30 * time.Second
	// overtime is how much later than the ant supervisor itself ends an attempt that ran too long.
	overtime = 15 * time.Second
)

// Claim moves attempts DISPATCHED → RUNNING where ant and session are those that they were placed on, and returns what
// is known of each that exists. What a claim may not have is seen by its state, ant and session.
func (s *Store) Claim(ctx context.Context, claims []execution.Claim) (map[uuid.UUID]*execution.Claimed, error) {
	n := len(claims)
	uids, sessions, ants := make([]uuid.UUID, n), make([]uuid.UUID, n), make([]string, n)
	for i, c := range claims {
		uids[i], sessions[i], ants[i] = c.UID, c.Session, c.Ant
	}
	var c *claimBatch
	// All of it travels with the COMMIT, in one round trip: a claim whose answer cannot be read is asked for again.
	err := pgdb.Pipelined(ctx, s.pool, func(_ context.Context, t *pgdb.Pipeline) error {
		c = &claimBatch{
			found: map[uuid.UUID]*execution.Claimed{}, jobs: map[uuid.UUID]*execution.Context{}, fresh: map[uuid.UUID]bool{},
			groups: map[taskKey]*plan.Task{},
		}
		t.Queue(`SELECT count(*) FROM (SELECT FROM attempt WHERE uid = ANY($1::uuid[]) ORDER BY uid FOR NO KEY UPDATE) l`, uids)
		// The state is a parameter so that the attempts are found by their uids: the index of live attempts also fits, but
		// holds the dead versions of all that were live a moment ago.
		t.Queue(`UPDATE attempt a SET state = 'RUNNING', claim_session = a.session, started_at = now(), lease_until = now() + $4::interval, timeout_at =
				least(CASE WHEN t.timeout_ms > 0 THEN now() + t.timeout_ms * interval '1 millisecond' END,
					CASE WHEN t.total_ms > 0 THEN t.started_at + t.total_ms * interval '1 millisecond' END) + $5::interval
			FROM (SELECT unnest($1::uuid[]) AS uid, unnest($2::uuid[]) AS session, unnest($3::text[]) AS ant_id) u, task t
			WHERE a.uid = u.uid AND a.session = u.session AND a.ant_id = u.ant_id AND a.state = $6
				AND t.execution_id = a.execution_id AND t.idx = a.task_idx RETURNING a.uid`, uids, sessions, ants, leaseTime, overtime, engine.AttemptDispatched).Query(c.scanFresh)
		t.Queue(`SELECT a.uid, a.state, a.ant_id, a.session, a.number, a.execution_id, a.task_idx, a.stop_requested_at IS NOT NULL,
				CASE WHEN t.group_idx IS NULL THEN t.spec ELSE g.spec END, a.number - 1 - coalesce((t.extra ->> 'unstarted')::int, 0), t.started_at, coalesce(a.started_at, now()), t.name, t.group_idx, t.item, t.item_value
			FROM attempt a JOIN task t ON t.execution_id = a.execution_id AND t.idx = a.task_idx
			LEFT JOIN task g ON g.execution_id = t.execution_id AND g.idx = t.group_idx
			WHERE a.uid = ANY($1::uuid[])`, uids).Query(c.scanClaimed)
		t.Queue(`SELECT id, request_id, run, org_id, job_type, definition_id, `+pg.JobRetry+`, vars, started_at, created_at, now(), cancel_requested, failing, normal_open, submitted_by FROM execution
			WHERE id = ANY(ARRAY(SELECT execution_id FROM attempt WHERE uid = ANY($1::uuid[])))`, uids).Query(c.scanJobs)
		t.Queue(claimedOutputs, uids, mostEnvironment, mostFiles).Query(c.scanOutputs)
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("claim %d attempts: %w", n, err)
	}
	c.connect()
	if len(c.changes.Tasks) > 0 {
		s.listener.Committed(&c.changes, nil)
	}
	return c.found, nil
}

// Keep renews attempts that were claimed by an ant that has had no answer.
func (s *Store) Keep(ctx context.Context, claims []execution.Claim) error {
	n := len(claims)
	uids, sessions, ants := make([]uuid.UUID, n), make([]uuid.UUID, n), make([]string, n)
	for i, c := range claims {
		uids[i], sessions[i], ants[i] = c.UID, c.Session, c.Ant
	}
	// What is locked by somebody is being claimed, renewed or ended right now.
	_, err := s.pool.Exec(ctx, `UPDATE attempt SET missed = 0, lease_until = now() + $4::interval WHERE uid IN (SELECT a.uid FROM attempt a
		JOIN (SELECT unnest($1::uuid[]) AS uid, unnest($2::uuid[]) AS session, unnest($3::text[]) AS ant_id) u USING (uid)
		WHERE a.session = u.session AND a.ant_id = u.ant_id AND a.state = $5 FOR NO KEY UPDATE OF a SKIP LOCKED)`,
		uids, sessions, ants, leaseTime, engine.AttemptRunning)
	if err != nil {
		return fmt.Errorf("keep %d attempts: %w", n, err)
	}
	return nil
}

type claimBatch struct {
	found   map[uuid.UUID]*execution.Claimed
	fresh   map[uuid.UUID]bool
	jobs    map[uuid.UUID]*execution.Context
	groups  map[taskKey]*plan.Task // specs of groups, each read once for all of its items
	changes execution.Changes
}

// taskKey names a task of any run.
type taskKey struct {
	execution uuid.UUID
	idx       int
}

func (c *claimBatch) scanFresh(rows pgx.Rows) error {
	for rows.Next() {
		var uid uuid.UUID
		if err := rows.Scan(&uid); err != nil {
			return err
		}
		c.fresh[uid] = true
	}
	return rows.Err()
}

func (c *claimBatch) scanClaimed(rows pgx.Rows) error {
	for rows.Next() {
		x := &execution.Claimed{}
		var spec, value []byte
		var name string
		var group *int
		var item int
		err := rows.Scan(&x.UID, &x.State, &x.Ant, &x.Session, &x.Number, &x.Execution, &x.Idx, &x.Stopped, &spec, &x.Retries, &x.StartedAt, &x.Began,
			&name, &group, &item, &value)
		if err != nil {
			return fmt.Errorf("read attempt: %w", err)
		}
		c.found[x.UID] = x
		// What cannot be read fails its own claim, not the batch.
		x.Fault = c.readTask(x, name, spec, group, item, value)
	}
	return rows.Err()
}

// readTask reads what the attempt executes.
func (c *claimBatch) readTask(x *execution.Claimed, name string, spec []byte, group *int, item int, value []byte) error {
	x.Task = &plan.Task{Name: name}
	if group == nil {
		if err := json.Unmarshal(spec, x.Task); err != nil {
			return fmt.Errorf("read spec of task %s: %w", name, err)
		}
		return nil
	}
	key := taskKey{x.Execution, *group}
	g := c.groups[key]
	if g == nil {
		g = &plan.Task{}
		if err := json.Unmarshal(spec, g); err != nil {
			return fmt.Errorf("read spec of the group of task %s: %w", name, err)
		}
		if g.FanOut == nil {
			return fmt.Errorf("task %s is an item of %s, which does not fan out", name, g.Name)
		}
		c.groups[key] = g
	}
	v, err := definition.DecodeValue(value)
	if err != nil {
		return fmt.Errorf("read item of task %s: %w", name, err)
	}
	own := *g
	own.Name = name
	x.Task, x.Item = &own, &execution.Item{Item: plan.Item{Name: name, Value: v}, Group: g.Name, Index: item}
	return nil
}

func (c *claimBatch) scanJobs(rows pgx.Rows) error {
	for rows.Next() {
		j := &execution.Context{}
		var x engine.Job
		err := rows.Scan(&j.ID, &j.Request, &j.Run.Run, &j.Org, &j.JobType, &j.Definition, &j.Retries, &j.Vars, &j.StartedAt, &j.CreatedAt, &c.changes.Now,
			&x.CancelRequested, &x.Failing, &x.NormalOpen, &j.Submitter)
		if err != nil {
			return fmt.Errorf("read execution: %w", err)
		}
		j.Now, j.Outlook = c.changes.Now, x.Outlook()
		c.jobs[j.ID] = j
	}
	return rows.Err()
}

func (c *claimBatch) scanOutputs(rows pgx.Rows) error {
	var id uuid.UUID
	var name, value string
	_, err := pgx.ForEachRow(rows, []any{&id, &name, &value}, func() error {
		j := c.jobs[id]
		switch {
		case j == nil:
		case name == leftOut && value == "":
			j.Cut = true
		case name == leftOut:
			j.LeftOut, _ = strconv.Atoi(value)
		default:
			if j.Outputs == nil {
				j.Outputs = map[string]string{}
			}
			j.Outputs[name] = value
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("read outputs: %w", err)
	}
	return nil
}

// connect gives each attempt its job and notes what live views must hear.
func (c *claimBatch) connect() {
	for uid, x := range c.found {
		x.Job = c.jobs[x.Execution]
		if x.Job != nil && x.Fault == nil {
			x.Fault = x.Job.Fault
		}
		if c.fresh[uid] && x.Job != nil {
			c.changes.Tasks = append(c.changes.Tasks, execution.TaskMoved{
				Run: x.Job.Run, Task: x.Task.Name, State: engine.TaskRunning, Attempt: x.Number, Ant: x.Ant,
			})
		}
	}
}
