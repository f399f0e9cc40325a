package pg

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/formicary/formicary/libs/outbox"
	"github.com/formicary/formicary/libs/pgdb"
	"github.com/formicary/formicary/libs/storable"
	"github.com/formicary/formicary/services/supervisor/internal/engine"
	"github.com/formicary/formicary/services/supervisor/internal/execution"
)

// Launch inserts runs with their tasks, edges and first attempts in one transaction. Runs that exist already are left
// alone and returned with their ids and states. Attempts are dispatched only before the deadline, if one is given;
// past it nothing is stored and ErrLate returned. settled are releases that resource-manager has.
func (s *Store) Launch(ctx context.Context, runs []*execution.NewRun, deadline time.Time, settled []uuid.UUID) ([]execution.Existing, error) {
	var changes execution.Changes
	var msgs []outbox.Message
	var existing []execution.Existing
	err := s.tx(ctx, func(ctx context.Context, t *pgdb.Pipeline) error {
		changes, msgs, existing = execution.Changes{}, nil, nil
		inserted := map[uuid.UUID]bool{}
		if err := queueExecutions(t, runs, inserted); err != nil {
			return err
		}
		t.Queue(`SELECT clock_timestamp()`).QueryRow(func(row pgx.Row) error { return row.Scan(&changes.Now) })
		if err := t.Flush(ctx); err != nil {
			return fmt.Errorf("insert executions: %w", err)
		}
		if !deadline.IsZero() && !changes.Now.Before(deadline) {
			return ErrLate
		}
		fresh := runs
		if len(inserted) < len(runs) {
			fresh = nil
			for _, r := range runs {
				if inserted[r.ID] {
					fresh = append(fresh, r)
				} else {
					returnSlots(t, r.Placed, &changes)
				}
			}
			queueExisting(t, runs, inserted, &existing)
		}
		if err := queueTasks(t, fresh); err != nil {
			return err
		}
		var all effects
		for _, r := range fresh {
			if err := note(&changes, r, &all); err != nil {
				return err
			}
		}
		if err := all.queue(t, changes.Now); err != nil {
			return err
		}
		queueAttempts(t, placedOf(fresh), changes.Now)
		queueSettled(t, settled)
		var err error
		msgs, err = s.publish(t, &changes)
		return err
	})
	if err != nil {
		for _, r := range runs {
			s.returnAfter(ctx, err, r.Placed)
		}
		return nil, fmt.Errorf("launch %d runs: %w", len(runs), err)
	}
	s.listener.Committed(&changes, msgs)
	return existing, nil
}

func queueExecutions(t *pgdb.Pipeline, runs []*execution.NewRun, inserted map[uuid.UUID]bool) error {
	var rows jobRows
	n := len(runs)
	requests, orgs, types, definitions, vars := make([]uuid.UUID, n), make([]string, n), make([]string, n), make([]string, n), make([]string, n)
	numbers, priorities, ages := make([]int32, n), make([]int32, n), make([]time.Time, n)
	planned, retries, submitters := make([]int32, n), make([]int32, n), make([]string, n)
	for i, r := range runs {
		if err := rows.add(r.ID, jobOf(r), true); err != nil {
			return err
		}
		requests[i], orgs[i], types[i], definitions[i], vars[i] = r.Request, r.Org, r.JobType, r.Definition, "{}"
		numbers[i], priorities[i], ages[i] = int32(r.Run.Run), int32(r.Priority), r.AgeAt
		retries[i], submitters[i] = int32(r.Retries), storable.Text(r.SubmittedBy)
		if r.State != nil {
			planned[i] = int32(len(r.State.Tasks) - len(r.State.New))
		}
		if len(r.Vars) > 0 {
			vars[i] = string(r.Vars)
		}
	}
	t.Queue(`INSERT INTO execution (id, state, version, policy, tasks_total, tasks_open, normal_open, running, failing, stopping,
		cancel_requested, pause_requested, error_code, error_message, started_at, ended_at, deadline_at, restart_at, restart_soft, resume_at, active, approvals,
		request_id, run, org_id, job_type, definition_id, vars, priority, age_at, tasks_planned, retries, submitted_by, created_at)
		`+unnestJobs+`, unnest($23::uuid[]), unnest($24::int[]), unnest($25::text[]), unnest($26::text[]), unnest($27::text[]),
		unnest($28::text[])::json, unnest($29::smallint[]), unnest($30::timestamptz[]), unnest($31::int[]), unnest($32::int[]), unnest($33::text[]), now()
		ON CONFLICT (request_id, run) DO NOTHING RETURNING id`,
		append(rows.args(), requests, numbers, orgs, types, definitions, vars, priorities, ages,
			planned, retries, submitters)...).Query(func(rows pgx.Rows) error {
		for rows.Next() {
			var id uuid.UUID
			if err := rows.Scan(&id); err != nil {
				return err
			}
			inserted[id] = true
		}
		return rows.Err()
	})
	return nil
}

// queueExisting reads the runs that were there before.
func queueExisting(t *pgdb.Pipeline, runs []*execution.NewRun, inserted map[uuid.UUID]bool, existing *[]execution.Existing) {
	var requests []uuid.UUID
	var numbers []int32
	for _, r := range runs {
		if !inserted[r.ID] {
			requests, numbers = append(requests, r.Request), append(numbers, int32(r.Run.Run))
		}
	}
	t.Queue(`SELECT e.id, e.request_id, e.run, e.state FROM (SELECT unnest($1::uuid[]) AS request_id, unnest($2::int[]) AS run) u
		JOIN execution e USING (request_id, run)`, requests, numbers).Query(func(rows pgx.Rows) error {
		for rows.Next() {
			var e execution.Existing
			if err := rows.Scan(&e.ID, &e.Request, &e.Run, &e.State); err != nil {
				return err
			}
			*existing = append(*existing, e)
		}
		return rows.Err()
	})
}

func queueTasks(t *pgdb.Pipeline, runs []*execution.NewRun) error {
	var rows newTaskRows
	var of []uuid.UUID
	var from, to []int32
	var kinds []string
	for _, r := range runs {
		if r.State == nil {
			continue
		}
		for idx := range len(r.State.Tasks) {
			if err := rows.add(&r.Run, r.State.Tasks[idx]); err != nil {
				return err
			}
			for _, e := range r.State.Out[idx] {
				kind := "d"
				if e.Control {
					kind = "c"
				}
				of, from, to, kinds = append(of, r.ID), append(from, int32(e.From)), append(to, int32(e.To)), append(kinds, kind)
			}
		}
	}
	if len(rows.ids) > 0 {
		t.Queue(insertTasks, rows.args()...)
	}
	if len(of) > 0 {
		t.Queue(`INSERT INTO edge (execution_id, from_idx, to_idx, kind)
			SELECT unnest($1::uuid[]), unnest($2::int[]), unnest($3::int[]), unnest($4::text[])::"char"`, of, from, to, kinds)
	}
	return nil
}

// note collects what others must hear of a new run, and what it does beside its tasks. A READY one is what everybody expects already.
func note(c *execution.Changes, r *execution.NewRun, all *effects) error {
	job := jobOf(r)
	c.Timed(job.DeadlineAt)
	if job.State != engine.JobReady {
		c.Jobs = append(c.Jobs, execution.Moved{Run: r.Run, Job: *job})
	}
	if r.State == nil {
		return nil
	}
	s := *r.State // the transaction may be repeated
	all.take(r.Run, &s, c.Now, c)
	for _, p := range r.Placed {
		c.Rings = append(c.Rings, execution.Ring{UID: p.UID, Ant: p.Ant})
		c.Tasks = append(c.Tasks, taskMoved(r.Run, r.State.Tasks[p.Idx], p.Ant))
	}
	for _, t := range r.State.Tasks {
		c.Left = c.Left || t.State == engine.TaskReady
		c.Timed(overdue(t))
		c.Timed(t.WakeAt)
		if err := told(c, &r.Run, t, c.Now); err != nil {
			return err
		}
	}
	return nil
}

func jobOf(r *execution.NewRun) *engine.Job {
	if r.State != nil {
		return &r.State.Job
	}
	return &r.Job
}

type newAttempt struct {
	execution.Placed
	number int
}

func placedOf(runs []*execution.NewRun) []newAttempt {
	var all []newAttempt
	for _, r := range runs {
		for _, p := range r.Placed {
			all = append(all, newAttempt{p, r.State.Tasks[p.Idx].Attempts})
		}
	}
	return all
}

// queueAttempts inserts attempts. They must be claimed within claimTime.
func queueAttempts(t *pgdb.Pipeline, all []newAttempt, now time.Time) {
	if len(all) == 0 {
		return
	}
	n := len(all)
	uids, ids, sessions, ants := make([]uuid.UUID, n), make([]uuid.UUID, n), make([]uuid.UUID, n), make([]string, n)
	idx, numbers, slots := make([]int32, n), make([]int32, n), make([]int32, n)
	for i, a := range all {
		uids[i], ids[i], sessions[i], ants[i] = a.UID, a.Execution, a.Session, a.Ant
		idx[i], numbers[i], slots[i] = int32(a.Idx), int32(a.number), int32(a.Slots)
	}
	t.Queue(`INSERT INTO attempt (uid, execution_id, task_idx, number, state, ant_id, session, slots, lease_until, dispatched_at)
		SELECT unnest($1::uuid[]), unnest($2::uuid[]), unnest($3::int[]), unnest($4::int[]), 'DISPATCHED', unnest($5::text[]),
			unnest($6::uuid[]), unnest($7::int[]), $8::timestamptz, $9::timestamptz`,
		uids, ids, idx, numbers, ants, sessions, slots, now.Add(claimTime), now)
}

// queueSettled forgets releases that resource-manager has.
func queueSettled(t *pgdb.Pipeline, settled []uuid.UUID) {
	if len(settled) > 0 {
		t.Queue(`DELETE FROM slot_release WHERE attempt_uid = ANY($1::uuid[])`, settled)
	}
}

// returnSlots gives back the slots of attempts that are not made.
func returnSlots(t *pgdb.Pipeline, placed []execution.Placed, c *execution.Changes) {
	if len(placed) == 0 {
		return
	}
	uids := make([]uuid.UUID, len(placed))
	for i, p := range placed {
		uids[i] = p.UID
		c.Freed = append(c.Freed, execution.Freed{UID: p.UID, Slots: p.Slots})
	}
	t.Queue(`INSERT INTO slot_release (attempt_uid, created_at) SELECT unnest($1::uuid[]), $2 ON CONFLICT DO NOTHING`, uids, c.Now)
}

// returnAfter gives back the slots of attempts that were not made because of err. Where it is not certain that they were
// not made, resource-manager finds out by asking.
func (s *Store) returnAfter(ctx context.Context, err error, placed []execution.Placed) {
	if len(placed) == 0 || !undone(err) {
		return
	}
	var c execution.Changes
	err = s.tx(context.WithoutCancel(ctx), func(_ context.Context, t *pgdb.Pipeline) error {
		c = execution.Changes{Now: s.Now()}
		returnSlots(t, placed, &c)
		return nil
	})
	if err == nil { // otherwise resource-manager asks, too
		s.listener.Committed(&c, nil)
	}
}

// undone says that nothing of the transaction that ended with err was stored, for certain: an error that ended the
// connection may have come after the commit.
func undone(err error) bool {
	pg, ok := errors.AsType[*pgconn.PgError](err)
	return errors.Is(err, ErrLate) || ok && pg.SeverityUnlocalized == "ERROR"
}

// Reused returns how the tasks of an earlier run completed, by name.
func (s *Store) Reused(ctx context.Context, key execution.Key) (map[string]engine.Reused, error) {
	rows, err := s.pool.Query(ctx, `SELECT t.name, t.exit_code, t.outputs, t.result FROM execution e JOIN task t ON t.execution_id = e.id
		WHERE e.request_id = $1 AND e.run = $2 AND t.state = 'COMPLETED' AND t.group_idx IS NULL`, key.Request, key.Run)
	if err != nil {
		return nil, fmt.Errorf("read run %d of request %s: %w", key.Run, key.Request, err)
	}
	reuse := map[string]engine.Reused{}
	defer rows.Close()
	for rows.Next() {
		var name string
		var r engine.Reused
		var outputs []byte
		if err := rows.Scan(&name, &r.ExitCode, &outputs, &r.Result); err != nil {
			return nil, fmt.Errorf("read run %d of request %s: %w", key.Run, key.Request, err)
		}
		if len(outputs) > 0 {
			if err := json.Unmarshal(outputs, &r.Outputs); err != nil {
				return nil, fmt.Errorf("read outputs of task %s of request %s: %w", name, key.Request, err)
			}
		}
		reuse[name] = r
	}
	if err := rows.Err(); err != nil {
		return nil, fmt.Errorf("read run %d of request %s: %w", key.Run, key.Request, err)
	}
	return reuse, nil
}
