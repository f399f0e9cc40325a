package pg

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

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
	// admissionsDoneSQL waits for the admissions that are under way, also for one whose leader has given up on it and looks
	// again: what it admits must not be seen as waiting, nor the place that it takes as free.
	admissionsDoneSQL = `SELECT pg_advisory_xact_lock(hashtext(current_schema() || '.admission'))`

	// awakeSQL puts into the queues what has become due; without any it is one look into a small index.
	awakeSQL = `
UPDATE request SET queued = true
WHERE id IN (SELECT r.id FROM request r
    WHERE r.state = 'PENDING' AND NOT r.queued AND r.cancel_requested_at IS NULL AND r.scheduled_at <= now()
    ORDER BY r.scheduled_at LIMIT 10000 FOR UPDATE SKIP LOCKED)`

	// waitingSQL jumps from job type to job type in request_queue, behind ($1, $2): its cost follows the number of types
	// that wait, never the backlog, and that of a page is bounded.
	waitingSQL = `
WITH RECURSIVE waiting AS (
    (SELECT r.org_id, r.job_type, 1 AS n FROM request r WHERE r.state = 'PENDING' AND r.queued AND (r.org_id, r.job_type) > ($1::text, $2::text)
        ORDER BY r.org_id, r.job_type LIMIT 1)
    UNION ALL
    SELECT n.org_id, n.job_type, w.n + 1 FROM waiting w CROSS JOIN LATERAL (
        SELECT r.org_id, r.job_type FROM request r
        WHERE r.state = 'PENDING' AND r.queued AND (r.org_id, r.job_type) > (w.org_id, w.job_type)
        ORDER BY r.org_id, r.job_type LIMIT 1) n
    WHERE w.n < 2000
)`

	// headsSQL takes the best of each type, and one more to see whether others are behind them.
	headsSQL = waitingSQL + `, share AS (SELECT least($3::bigint, greatest(20000 / greatest(count(*), 1), 1)) AS n, count(*) AS types FROM waiting)
SELECT w.org_id, w.job_type, (SELECT types FROM share), h.id, h.priority, h.age_at, h.placement_class, h.execution_version > 0 OR h.reuse_run > 0
FROM waiting w CROSS JOIN LATERAL (
    SELECT r.id, r.priority, r.age_at, r.placement_class, r.execution_version, r.reuse_run FROM request r
    WHERE r.org_id = w.org_id AND r.job_type = w.job_type AND r.state = 'PENDING' AND r.queued
    ORDER BY r.priority DESC, r.age_at, r.id LIMIT (SELECT n FROM share) + 1) h`

	// behindSQL is headsSQL for the places behind one of each queue: what has the same priority, then what has a lower.
	behindSQL = `
WITH waiting AS (
    SELECT unnest($1::text[]) AS org_id, unnest($2::text[]) AS job_type, unnest($3::int[])::smallint AS priority, unnest($4::timestamptz[]) AS age_at, unnest($5::uuid[]) AS id
), share AS (SELECT least($6::bigint, greatest(20000 / greatest(count(*), 1), 1)) AS n, count(*) AS types FROM waiting)
SELECT w.org_id, w.job_type, (SELECT types FROM share), h.id, h.priority, h.age_at, h.placement_class, h.execution_version > 0 OR h.reuse_run > 0
FROM waiting w CROSS JOIN LATERAL (
    (SELECT r.id, r.priority, r.age_at, r.placement_class, r.execution_version, r.reuse_run FROM request r
    WHERE r.org_id = w.org_id AND r.job_type = w.job_type AND r.state = 'PENDING' AND r.queued
      AND r.priority = w.priority AND (r.age_at, r.id) > (w.age_at, w.id)
    ORDER BY r.priority DESC, r.age_at, r.id LIMIT (SELECT n FROM share) + 1)
    UNION ALL
    (SELECT r.id, r.priority, r.age_at, r.placement_class, r.execution_version, r.reuse_run FROM request r
    WHERE r.org_id = w.org_id AND r.job_type = w.job_type AND r.state = 'PENDING' AND r.queued AND r.priority < w.priority
    ORDER BY r.priority DESC, r.age_at, r.id LIMIT (SELECT n FROM share) + 1)
    ORDER BY priority DESC, age_at, id LIMIT (SELECT n FROM share) + 1) h`

	loadsSQL = `
SELECT org_id, placement_class, count(*) FROM request
WHERE state IN ('READY', 'EXECUTING') AND state = 'READY' GROUP BY org_id, placement_class ORDER BY 3 DESC`

	// orgsSQL reads the quotas of organisations that have something waiting.
	orgsSQL = `
SELECT q.org_id, q.most, (SELECT coalesce(sum(x.n), 0)::bigint FROM (
    SELECT c.n FROM request_count c WHERE c.org_id = q.org_id AND c.state IN ('READY', 'EXECUTING')
    UNION ALL SELECT d.n FROM request_count_delta d WHERE d.org_id = q.org_id AND d.state IN ('READY', 'EXECUTING')) x)
FROM quota q WHERE q.name = 'running' AND EXISTS (SELECT FROM request r WHERE r.org_id = q.org_id AND r.state = 'PENDING' AND r.queued)`

	nextSQL = `
SELECT now(), (SELECT greatest(scheduled_at, now()) FROM request
    WHERE state = 'PENDING' AND NOT queued AND cancel_requested_at IS NULL ORDER BY scheduled_at LIMIT 1)`

	// typesSQL completes the types that wait. What is active is counted as far as a limit asks for it.
	typesSQL = waitingSQL + `
SELECT t.org_id, t.job_type, t.disabled, t.max_concurrency,
    (SELECT count(*) FROM (SELECT FROM request r WHERE r.org_id = t.org_id AND r.job_type = t.job_type AND r.state IN ('READY', 'EXECUTING')
        LIMIT CASE WHEN t.max_concurrency = 0 THEN 0 ELSE greatest(1000, t.max_concurrency) END) c),
    ARRAY(SELECT r.id::text FROM request r WHERE r.org_id = t.org_id AND r.job_type = t.job_type AND r.state IN ('READY', 'EXECUTING') ORDER BY r.id
        LIMIT CASE WHEN t.max_concurrency = 0 THEN 0 ELSE 5 END)
FROM waiting JOIN job_type t USING (org_id, job_type)`
)

const (
	pageTypes, pageHeads = 2000, 20000 // as in waitingSQL and headsSQL
	// headBytes is what the heads of an answer may have, far below what a message may. A class has up to 4 KiB, so types
	// share it, too.
	headBytes = 8 << 20
	headSize  = 80 // without its class
	loadBytes = 4 << 20
)

// Queue implements admission.Store.
func (s *Store) Queue(ctx context.Context, l admission.Look) (admission.Queue, error) {
	q := admission.Queue{Loads: map[admission.Load]int{}}
	b := &pgx.Batch{}
	b.Queue(admissionsDoneSQL)
	b.Queue(awakeSQL)
	queueHeads(b, l, &q)
	standing := map[typeKey]admission.Type{}
	if len(l.Behind) == 0 {
		b.Queue(typesSQL, l.After.OrgID, l.After.JobType).Query(func(rows pgx.Rows) error {
			var r admission.Type
			_, err := pgx.ForEachRow(rows, []any{&r.OrgID, &r.JobType, &r.Disabled, &r.MaxConcurrency, &r.Active, &r.Holders}, func() error {
				standing[typeKey{r.OrgID, r.JobType}] = r
				r.Holders = nil
				return nil
			})
			return err
		})
	}
	if len(l.Behind) == 0 && l.After == (admission.Place{}) {
		b.Queue(loadsSQL).Query(func(rows pgx.Rows) error { return scanLoads(rows, q.Loads) })
		b.Queue(orgsSQL).Query(func(rows pgx.Rows) (err error) {
			q.Orgs, err = pgx.CollectRows(rows, pgx.RowToStructByPos[admission.Org])
			return err
		})
	}
	b.Queue(nextSQL).QueryRow(func(row pgx.Row) error { return row.Scan(&q.Now, &q.NextDue) })
	if err := s.pool.SendBatch(ctx, b).Close(); err != nil {
		return q, fmt.Errorf("read the heads of the queue: %w", err)
	}
	if len(l.Behind) > 0 {
		return q, nil
	}
	if n := len(q.Types); n >= pageTypes {
		q.Next = &admission.Place{OrgID: q.Types[n-1].OrgID, JobType: q.Types[n-1].JobType}
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
	return q, nil
}

// queueHeads queues the statement that reads the heads.
func queueHeads(b *pgx.Batch, l admission.Look, q *admission.Queue) {
	scan := func(rows pgx.Rows) (err error) {
		q.Types, err = scanHeads(rows, l.HeadLimit)
		return err
	}
	if len(l.Behind) == 0 {
		b.Queue(headsSQL, l.After.OrgID, l.After.JobType, l.HeadLimit).Query(scan)
		return
	}
	type place = admission.Place
	b.Queue(behindSQL,
		column(l.Behind, func(p place) string { return p.OrgID }), column(l.Behind, func(p place) string { return p.JobType }),
		column(l.Behind, func(p place) int32 { return int32(p.Head.Priority) }), column(l.Behind, func(p place) time.Time { return p.Head.AgeAt }),
		column(l.Behind, func(p place) uuid.UUID { return p.Head.ID }), l.HeadLimit).Query(scan)
}

// scanHeads groups the rows, which come type by type, and cuts each type to its share.
func scanHeads(rows pgx.Rows, limit int) ([]admission.Type, error) {
	var types []admission.Type
	var org, jobType string
	var sharing, size int
	var h admission.Head
	_, err := pgx.ForEachRow(rows, []any{&org, &jobType, &sharing, &h.ID, &h.Priority, &h.AgeAt, &h.PlacementClass, &h.Resumed}, func() error {
		if n := len(types); n == 0 || types[n-1].OrgID != org || types[n-1].JobType != jobType {
			types = append(types, admission.Type{OrgID: org, JobType: jobType})
			size = 0
		}
		t := &types[len(types)-1]
		size += headSize + len(h.PlacementClass)
		if n := len(t.Heads); n > 0 && (t.Pending > n || n >= min(limit, max(pageHeads/sharing, 1)) || size > headBytes/sharing) {
			t.Pending = n + 1
			return nil
		}
		t.Heads = append(t.Heads, h)
		t.Pending = len(t.Heads)
		return nil
	})
	return types, err
}

// scanLoads reads loads, the highest first, as far as they go into an answer.
func scanLoads(rows pgx.Rows, loads map[admission.Load]int) error {
	var of admission.Load
	var ready, size int
	_, err := pgx.ForEachRow(rows, []any{&of.OrgID, &of.Class, &ready}, func() error {
		if size += len(of.OrgID) + len(of.Class) + 16; size <= loadBytes {
			loads[of] = ready
		}
		return nil
	})
	return err
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

// openSQL deletes the gates that are open now, gatesSQL writes those that are new or say something else: most gates are
// the same in every pass.
const openSQL = `
DELETE FROM gate g WHERE NOT EXISTS (
    SELECT FROM (SELECT unnest($1::text[]) AS org_id, unnest($2::text[]) AS job_type, unnest($3::text[]) AS placement_class) n
    WHERE n.org_id = g.org_id AND n.job_type = g.job_type AND n.placement_class = g.placement_class)`

const gatesSQL = `
INSERT INTO gate (epoch, org_id, job_type, placement_class, gate, reason, holders)
SELECT DISTINCT ON (n.org_id, n.job_type, n.key) $1::bigint, n.org_id, n.job_type, n.placement_class, n.gate, n.reason, n.holders
FROM (SELECT u.org_id, u.job_type, u.placement_class, u.key, u.gate, u.reason, string_to_array(u.holders, chr(31)) AS holders
    FROM (SELECT unnest($2::text[]) AS org_id, unnest($3::text[]) AS job_type, unnest($4::text[]) AS placement_class, class_key(unnest($4::text[])) AS key, unnest($5::text[]) AS gate,
        unnest($6::text[]) AS reason, unnest($7::text[]) AS holders) u) n
LEFT JOIN gate g ON g.org_id = n.org_id AND g.job_type = n.job_type AND g.key = n.key
WHERE (g.gate, g.reason, g.holders) IS DISTINCT FROM (n.gate, n.reason, n.holders)
ON CONFLICT (org_id, job_type, key) DO UPDATE
SET placement_class = excluded.placement_class, gate = excluded.gate, reason = excluded.reason, holders = excluded.holders, epoch = excluded.epoch`

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
		admitted, events = admissions(d.Admit, moved)
		if !d.Unchanged {
			args := gateArgs(d)
			p.Queue(openSQL, args[1:4]...)
			p.Queue(gatesSQL, args...)
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

// admissions returns what was admitted of what was to be, and the events of it.
func admissions(wanted []uuid.UUID, moved map[uuid.UUID]request.Record) ([]uuid.UUID, []request.Event) {
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
