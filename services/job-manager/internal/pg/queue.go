package pg

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/formicary/formicary/libs/outbox"
	"github.com/formicary/formicary/libs/pgdb"
	"github.com/formicary/formicary/services/job-manager/internal/admission"
	"github.com/formicary/formicary/services/job-manager/internal/pg/db"
	"github.com/formicary/formicary/services/job-manager/internal/request"
)

// The picture of the queue is read at every pass of the scheduler, so its statements are sent together.
const (
	// settledSQL waits for the admissions that are under way, also for one whose leader has given up on it and looks
	// again: what it admits must not be seen as waiting, nor the place that it takes as free.
	settledSQL = `SELECT pg_advisory_xact_lock(hashtext(current_schema() || '.admission'))`

	// awakeSQL puts into the queues what has become due; without any it is one look into a small index.
	awakeSQL = `
UPDATE request SET queued = true
WHERE id IN (SELECT r.id FROM request r
    WHERE r.state = 'PENDING' AND NOT r.queued AND r.cancel_requested_at IS NULL AND r.scheduled_at <= now()
    ORDER BY r.scheduled_at LIMIT 10000 FOR UPDATE SKIP LOCKED)`

	// waitingSQL jumps from job type to job type in request_queue: its cost follows the number of types that wait, never
	// the backlog.
	waitingSQL = `
WITH RECURSIVE waiting AS (
    (SELECT r.org_id, r.job_type FROM request r WHERE r.state = 'PENDING' AND r.queued ORDER BY r.org_id, r.job_type LIMIT 1)
    UNION ALL
    SELECT n.org_id, n.job_type FROM waiting w CROSS JOIN LATERAL (
        SELECT r.org_id, r.job_type FROM request r
        WHERE r.state = 'PENDING' AND r.queued AND (r.org_id, r.job_type) > (w.org_id, w.job_type)
        ORDER BY r.org_id, r.job_type LIMIT 1) n
)`

	// headsSQL takes the best of each type.
	headsSQL = waitingSQL + `
SELECT w.org_id, w.job_type, h.id, h.priority, h.age_at, h.placement_class, h.execution_version > 0 OR h.reuse_run > 0
FROM waiting w CROSS JOIN LATERAL (
    SELECT r.id, r.priority, r.age_at, r.placement_class, r.execution_version, r.reuse_run FROM request r
    WHERE r.org_id = w.org_id AND r.job_type = w.job_type AND r.state = 'PENDING' AND r.queued
    ORDER BY r.priority DESC, r.age_at, r.id LIMIT $1) h`

	loadsSQL = `
SELECT placement_class, count(*) FROM request
WHERE state IN ('READY', 'EXECUTING') AND state = 'READY' GROUP BY placement_class`

	nextSQL = `
SELECT now(), (SELECT greatest(scheduled_at, now()) FROM request
    WHERE state = 'PENDING' AND NOT queued AND cancel_requested_at IS NULL ORDER BY scheduled_at LIMIT 1)`

	// typesSQL completes the types that wait. What is active is counted as far as a limit asks for it.
	typesSQL = waitingSQL + `
SELECT t.org_id, t.job_type, t.disabled, t.max_concurrency,
    (SELECT count(*) FROM (SELECT FROM request r WHERE r.org_id = t.org_id AND r.job_type = t.job_type AND r.state IN ('READY', 'EXECUTING') LIMIT greatest(10001, t.max_concurrency)) c),
    ARRAY(SELECT r.id::text FROM request r WHERE r.org_id = t.org_id AND r.job_type = t.job_type AND r.state IN ('READY', 'EXECUTING') ORDER BY r.id LIMIT 5)
FROM waiting JOIN job_type t USING (org_id, job_type)`

	// backlogSQL counts queues whose heads are not all of them; the order keeps the planner on the index, whatever the
	// size of the table.
	backlogSQL = `
SELECT n.org_id, n.job_type, (SELECT count(*) FROM (SELECT FROM request r
    WHERE r.org_id = n.org_id AND r.job_type = n.job_type AND r.state = 'PENDING' AND r.queued
    ORDER BY r.priority DESC, r.age_at, r.id LIMIT 10001) c)
FROM (SELECT unnest($1::text[]) AS org_id, unnest($2::text[]) AS job_type) n`
)

// Queue implements admission.Store.
func (s *Store) Queue(ctx context.Context, headLimit int) (admission.Queue, error) {
	q := admission.Queue{Loads: map[string]int{}}
	b := &pgx.Batch{}
	b.Queue(settledSQL)
	b.Queue(awakeSQL)
	b.Queue(headsSQL, headLimit).Query(func(rows pgx.Rows) error {
		var err error
		q.Types, err = scanHeads(rows)
		return err
	})
	standing := map[typeKey]admission.Type{}
	b.Queue(typesSQL).Query(func(rows pgx.Rows) error {
		var r admission.Type
		_, err := pgx.ForEachRow(rows, []any{&r.OrgID, &r.JobType, &r.Disabled, &r.MaxConcurrency, &r.Active, &r.Holders}, func() error {
			standing[typeKey{r.OrgID, r.JobType}] = r
			r.Holders = nil
			return nil
		})
		return err
	})
	b.Queue(loadsSQL).Query(func(rows pgx.Rows) error {
		var class string
		var ready int
		_, err := pgx.ForEachRow(rows, []any{&class, &ready}, func() error { q.Loads[class] = ready; return nil })
		return err
	})
	b.Queue(nextSQL).QueryRow(func(row pgx.Row) error { return row.Scan(&q.Now, &q.NextDue) })
	if err := s.pool.SendBatch(ctx, b).Close(); err != nil {
		return q, fmt.Errorf("read the heads of the queue: %w", err)
	}
	for i := range q.Types {
		t := &q.Types[i]
		x := standing[typeKey{t.OrgID, t.JobType}]
		t.Disabled, t.MaxConcurrency, t.Active, t.Holders = x.Disabled, x.MaxConcurrency, x.Active, x.Holders
	}
	q.Types = slices.DeleteFunc(q.Types, func(t admission.Type) bool {
		_, known := standing[typeKey{t.OrgID, t.JobType}]
		return !known // it came between the statements; its submission wakes the scheduler again
	})
	return q, s.count(ctx, q.Types, headLimit)
}

// scanHeads groups the rows, which come type by type.
func scanHeads(rows pgx.Rows) ([]admission.Type, error) {
	var types []admission.Type
	var org, jobType string
	var h admission.Head
	_, err := pgx.ForEachRow(rows, []any{&org, &jobType, &h.ID, &h.Priority, &h.AgeAt, &h.PlacementClass, &h.Resumed}, func() error {
		if n := len(types); n == 0 || types[n-1].OrgID != org || types[n-1].JobType != jobType {
			types = append(types, admission.Type{OrgID: org, JobType: jobType})
		}
		t := &types[len(types)-1]
		t.Heads = append(t.Heads, h)
		return nil
	})
	return types, err
}

// count completes the types whose queue is longer than its heads, now and then.
func (s *Store) count(ctx context.Context, types []admission.Type, headLimit int) error {
	stale := s.backlog.stale(types, headLimit)
	var orgs, names []string
	at := map[typeKey]*admission.Type{}
	for i := range types {
		if t := &types[i]; stale[i] {
			orgs, names = append(orgs, t.OrgID), append(names, t.JobType)
			at[typeKey{t.OrgID, t.JobType}] = t
		}
	}
	if len(orgs) > 0 {
		rows, err := s.pool.Query(ctx, backlogSQL, orgs, names)
		if err != nil {
			return fmt.Errorf("count the queues: %w", err)
		}
		var key typeKey
		var n int
		if _, err := pgx.ForEachRow(rows, []any{&key.org, &key.jobType, &n}, func() error { at[key].Pending = n; return nil }); err != nil {
			return fmt.Errorf("count the queues: %w", err)
		}
	}
	s.backlog.fill(types, headLimit)
	return nil
}

// Begin implements admission.Store.
func (s *Store) Begin(ctx context.Context, t admission.Term) (int64, error) {
	var epoch int64
	err := s.tx(ctx, func(tx pgx.Tx) ([]outbox.Message, error) {
		q := s.q.WithTx(tx)
		var err error
		if epoch, err = q.RaiseEpoch(ctx, db.RaiseEpochParams{Revision: t.Revision, LeaderID: t.LeaderID}); err != nil {
			return nil, err
		}
		return nil, q.RecordEpoch(ctx, db.RecordEpochParams{
			Epoch: epoch, LeaderID: t.LeaderID, Revision: t.Revision, ClusterID: strconv.FormatUint(t.ClusterID, 10),
		})
	})
	if err != nil {
		return 0, fmt.Errorf("begin the term of %s: %w", t.LeaderID, err)
	}
	return epoch, nil
}

// underWaySQL is what settledSQL waits for.
const underWaySQL = `SELECT pg_advisory_xact_lock_shared(hashtext(current_schema() || '.admission'))`

// leaderSQL is the fence: no newer epoch can begin before the transaction ends.
const leaderSQL = `SELECT epoch, leader_id FROM leader FOR SHARE`

// admitSQL moves what still waits, if the decision is the leader's: it follows leaderSQL in its transaction, so what it
// sees of the leader is locked. The rows are locked in the order of their ids, as everywhere.
const admitSQL = `
UPDATE request r SET state = 'READY', queued = false, version = r.version + 1, updated_at = now(), check_at = now() + $3::interval,
    admitted_epoch = $2, admitted_at = clock_timestamp()
FROM (SELECT w.id FROM request w WHERE w.id = ANY($1::uuid[]) AND w.state = 'PENDING' AND w.queued ORDER BY w.id FOR UPDATE) w
WHERE r.id = w.id AND EXISTS (SELECT FROM leader l WHERE l.epoch = $2 AND l.leader_id = $4)
RETURNING r.id, r.org_id, r.job_type, r.run, r.version, r.updated_at`

const gatesSQL = `
INSERT INTO gate (epoch, org_id, job_type, placement_class, gate, reason, holders)
SELECT $1, n.org_id, n.job_type, n.placement_class, n.gate, n.reason, string_to_array(n.holders, chr(31))
FROM (SELECT unnest($2::text[]) AS org_id, unnest($3::text[]) AS job_type, unnest($4::text[]) AS placement_class, unnest($5::text[]) AS gate,
    unnest($6::text[]) AS reason, unnest($7::text[]) AS holders) n`

var errFenced = errors.New("a newer epoch has begun")

// Admit implements admission.Store. The epoch is read under a lock that BeginEpoch waits for, before anything is
// written, and held until the commit.
func (s *Store) Admit(ctx context.Context, d admission.Decision) (admitted []uuid.UUID, current bool, err error) {
	err = s.pipelined(ctx, func(ctx context.Context, p *pgdb.Pipeline) ([]outbox.Message, error) {
		var epoch int64
		var leader string
		p.Queue(underWaySQL)
		p.Queue(leaderSQL).QueryRow(func(row pgx.Row) error { return row.Scan(&epoch, &leader) })
		moved := map[uuid.UUID]request.Record{}
		if len(d.Admit) > 0 {
			p.Queue(admitSQL, d.Admit, d.Epoch, s.silentAfter, d.LeaderID).Query(func(rows pgx.Rows) error { return scanAdmitted(rows, moved) })
		}
		if err := p.Flush(ctx); err != nil {
			return nil, err
		}
		if epoch != d.Epoch || leader != d.LeaderID {
			return nil, errFenced
		}
		var events []request.Event
		admitted, events = tell(d.Admit, moved)
		if !d.Unchanged {
			p.Queue(`DELETE FROM gate`)
			p.Queue(gatesSQL, gateArgs(d)...)
		}
		return s.messages(events), nil
	})
	switch {
	case errors.Is(err, errFenced):
		return nil, false, nil
	case err != nil:
		return nil, false, fmt.Errorf("admit %d requests: %w", len(d.Admit), err)
	}
	return admitted, true, nil
}

func scanAdmitted(rows pgx.Rows, moved map[uuid.UUID]request.Record) error {
	r := request.Record{State: request.Ready}
	_, err := pgx.ForEachRow(rows, []any{&r.ID, &r.OrgID, &r.JobType, &r.Run, &r.Version, &r.UpdatedAt}, func() error {
		moved[r.ID] = r
		return nil
	})
	return err
}

// tell returns what was admitted of what was to be, and the events of it.
func tell(wanted []uuid.UUID, moved map[uuid.UUID]request.Record) ([]uuid.UUID, []request.Event) {
	// In the order of the decision, so that the best is launched first.
	var ids []uuid.UUID
	var events []request.Event
	for _, id := range wanted {
		rec, ok := moved[id]
		if !ok {
			continue
		}
		delete(moved, id)
		ids = append(ids, id)
		events = append(events,
			request.Event{Kind: request.Admitted, Record: rec, At: rec.UpdatedAt}, request.Event{Kind: request.Changed, Record: rec, At: rec.UpdatedAt})
	}
	return ids, events
}

func gateArgs(d admission.Decision) []any {
	type gate = request.ClosedGate
	return []any{
		d.Epoch,
		column(d.Gates, func(g gate) string { return g.OrgID }),
		column(d.Gates, func(g gate) string { return g.JobType }),
		column(d.Gates, func(g gate) string { return g.PlacementClass }),
		column(d.Gates, func(g gate) string { return string(g.Gate) }),
		column(d.Gates, func(g gate) string { return g.Reason }),
		column(d.Gates, func(g gate) string { return strings.Join(g.Holders, "\x1f") }),
	}
}

// Refused implements admission.Store.
func (s *Store) Refused(ctx context.Context, d admission.Decision) error {
	err := s.q.RecordFenced(ctx, db.RecordFencedParams{Epoch: d.Epoch, LeaderID: d.LeaderID, Requests: int32(len(d.Admit))})
	if err != nil {
		return fmt.Errorf("count a refused decision: %w", err)
	}
	return nil
}
