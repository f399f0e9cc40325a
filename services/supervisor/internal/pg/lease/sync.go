package lease

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/formicary/formicary/libs/pgdb"
	"github.com/formicary/formicary/services/supervisor/internal/engine"
	"github.com/formicary/formicary/services/supervisor/internal/execution"
)

// spoolTime is how long the result of an attempt that has ended is awaited: the bus may be away for minutes, and what the
// task has done would be done again.
const spoolTime = 10 * time.Minute

// Sync renews the leases of what ants report as running, beginsSession attempts of their earlier sessions and answers each
// report. It waits for nobody: an attempt that is locked is being claimed, renewed or ended right now, and the next
// report comes in seconds. gone are attempts that the reports prove to be lost. They are marked, so that the sweep
// finds them whatever the caller does.
func (s *Store) Sync(ctx context.Context, reports []execution.Report) (answers []execution.Answer, gone []uuid.UUID, err error) {
	var y *syncBatch
	err = pgdb.Pipelined(ctx, s.leases, func(ctx context.Context, t *pgdb.Pipeline) error {
		y = &syncBatch{reports: reports, answers: make([]execution.Answer, len(reports)), live: map[uuid.UUID]liveAttempt{}, newGeneration: map[string]bool{}}
		if err := y.sessions(ctx, t); err != nil {
			return err
		}
		y.renew(t)
		if err := t.Flush(ctx); err != nil {
			return err
		}
		y.answer()
		return nil
	})
	if err != nil {
		return nil, nil, fmt.Errorf("sync %d ants: %w", len(reports), err)
	}
	return y.answers, y.gone, nil
}

type syncBatch struct {
	reports       []execution.Report
	answers       []execution.Answer
	newGeneration map[string]bool // ants whose generation is new
	live          map[uuid.UUID]liveAttempt
	gone          []uuid.UUID
}

type liveAttempt struct {
	ant     string
	running bool
	stopped bool
}

// sessions notes the newest session of each ant and finds reports of superseded ones.
func (y *syncBatch) sessions(ctx context.Context, t *pgdb.Pipeline) error {
	newest := map[string]execution.Report{}
	for _, r := range y.reports {
		if old, ok := newest[r.Ant]; !ok || r.Generation >= old.Generation {
			newest[r.Ant] = r
		}
	}
	ants := make([]string, 0, len(newest))
	for ant := range newest {
		ants = append(ants, ant)
	}
	slices.Sort(ants)
	generations, sessions := make([]int64, len(ants)), make([]uuid.UUID, len(ants))
	for i, ant := range ants {
		generations[i], sessions[i] = newest[ant].Generation, newest[ant].Session
	}
	stored := map[string]execution.Report{}
	t.Queue(`SELECT ant_id, generation FROM ant_session WHERE ant_id = ANY($1::text[]) ORDER BY ant_id FOR NO KEY UPDATE`, ants).Query(func(rows pgx.Rows) error {
		for rows.Next() {
			var r execution.Report
			if err := rows.Scan(&r.Ant, &r.Generation); err != nil {
				return err
			}
			stored[r.Ant] = r
		}
		return rows.Err()
	})
	current := map[string]execution.Report{}
	t.Queue(`INSERT INTO ant_session AS s (ant_id, generation, session, synced_at)
		SELECT unnest($1::text[]), unnest($2::bigint[]), unnest($3::uuid[]), now()
		ON CONFLICT (ant_id) DO UPDATE SET generation = greatest(s.generation, excluded.generation),
			session = CASE WHEN excluded.generation > s.generation THEN excluded.session ELSE s.session END,
			synced_at = now()
		RETURNING ant_id, generation, session`, ants, generations, sessions).Query(func(rows pgx.Rows) error {
		for rows.Next() {
			var r execution.Report
			if err := rows.Scan(&r.Ant, &r.Generation, &r.Session); err != nil {
				return err
			}
			current[r.Ant] = r
		}
		return rows.Err()
	})
	if err := t.Flush(ctx); err != nil {
		return fmt.Errorf("note sessions: %w", err)
	}
	for i, r := range y.reports {
		now := current[r.Ant]
		y.answers[i].Superseded = now.Generation != r.Generation || now.Session != r.Session
		if before, ok := stored[r.Ant]; !ok || before.Generation < now.Generation {
			y.newGeneration[r.Ant] = true
		}
	}
	return nil
}

// renew queues the lease of everything that current sessions report. What the current session of its ant has belongs to
// that session: adoption is nothing else.
func (y *syncBatch) renew(t *pgdb.Pipeline) {
	var running, spooled []uuid.UUID
	all := []uuid.UUID{} // never NULL: nothing is unequal to it
	var runAnts, spoolAnts, ants, fresh []string
	var runSessions, spoolSessions, freshSessions []uuid.UUID
	for i, r := range y.reports {
		if y.answers[i].Superseded {
			continue
		}
		ants = append(ants, r.Ant)
		if y.beginsSession(r) {
			fresh, freshSessions = append(fresh, r.Ant), append(freshSessions, r.Session)
		}
		for _, uid := range r.Running {
			running, runAnts, runSessions = append(running, uid), append(runAnts, r.Ant), append(runSessions, r.Session)
		}
		for _, uid := range r.Spooled {
			spooled, spoolAnts, spoolSessions = append(spooled, uid), append(spoolAnts, r.Ant), append(spoolSessions, r.Session)
		}
	}
	all = append(append(all, running...), spooled...)
	if len(running) > 0 {
		t.Queue(reported+` UPDATE attempt a SET lease_until = now() + $5::interval, missed = 0, session = u.session FROM u WHERE a.uid = u.uid`,
			running, runAnts, runSessions, engine.AttemptRunning, leaseTime)
	}
	if len(spooled) > 0 {
		// The result is on its way; it is not awaited for ever. The attempt has ended, so its timeout means nothing more.
		t.Queue(reported+` UPDATE attempt a SET lease_until = greatest(a.lease_until, least(now() + $5::interval, coalesce(a.spooled_at, now()) + $6::interval)),
			spooled_at = coalesce(a.spooled_at, now()), timeout_at = NULL, missed = 0, session = u.session FROM u WHERE a.uid = u.uid`,
			spooled, spoolAnts, spoolSessions, engine.AttemptRunning, leaseTime, spoolTime)
	}
	if len(fresh) > 0 {
		t.Queue(`UPDATE attempt SET missed = $4 WHERE uid IN (SELECT a.uid FROM attempt a JOIN unnest($1::text[], $2::uuid[]) AS u (ant_id, session)
			ON a.ant_id = u.ant_id AND a.session <> u.session WHERE a.state IN ('DISPATCHED', 'RUNNING') AND a.missed < $4
			AND NOT EXISTS (SELECT FROM unnest($3::uuid[]) AS l (uid) WHERE l.uid = a.uid)
			ORDER BY a.uid FOR NO KEY UPDATE OF a SKIP LOCKED) RETURNING uid, missed`, fresh, freshSessions, all, execution.MissedMost).Query(y.scanGone)
	}
	t.Queue(`UPDATE attempt SET missed = missed + 1 WHERE uid IN (SELECT a.uid FROM attempt a WHERE ant_id = ANY($1::text[]) AND state = 'RUNNING'
		AND NOT EXISTS (SELECT FROM unnest($2::uuid[]) AS l (uid) WHERE l.uid = a.uid) AND started_at < now() - interval '1 second' AND missed < $3
		ORDER BY a.uid FOR NO KEY UPDATE OF a SKIP LOCKED) RETURNING uid, missed`, ants, all, execution.MissedMost).Query(y.scanGone)
	t.Queue(`SELECT uid, ant_id, state = 'RUNNING', stop_requested_at IS NOT NULL FROM attempt
		WHERE ant_id = ANY($1::text[]) AND state IN ('DISPATCHED', 'RUNNING')`, ants).Query(func(rows pgx.Rows) error {
		for rows.Next() {
			var uid uuid.UUID
			var a liveAttempt
			if err := rows.Scan(&uid, &a.ant, &a.running, &a.stopped); err != nil {
				return err
			}
			y.live[uid] = a
		}
		return rows.Err()
	})
}

// reported are the attempts that ants report and that nobody else holds now. The state is a parameter so that they are
// found by their uids, as by Claim.
const reported = `WITH u AS MATERIALIZED (SELECT a.uid, r.session FROM unnest($1::uuid[], $2::text[], $3::uuid[]) AS r (uid, ant_id, session)
	JOIN attempt a ON a.uid = r.uid AND a.ant_id = r.ant_id WHERE a.state = $4 ORDER BY a.uid FOR NO KEY UPDATE OF a SKIP LOCKED)`

func (y *syncBatch) scanGone(rows pgx.Rows) error {
	for rows.Next() {
		var uid uuid.UUID
		var missed int
		if err := rows.Scan(&uid, &missed); err != nil {
			return err
		}
		if missed > execution.MissesAllowed {
			y.gone = append(y.gone, uid)
		}
	}
	return rows.Err()
}

// beginsSession says that the report begins a session: what it does not list of earlier ones is lost.
func (y *syncBatch) beginsSession(r execution.Report) bool { return r.First || y.newGeneration[r.Ant] }

// answer says what to stop and what is settled.
func (y *syncBatch) answer() {
	for i, r := range y.reports {
		if y.answers[i].Superseded {
			continue
		}
		for _, uid := range r.Running {
			if a, ok := y.live[uid]; !ok || a.ant != r.Ant || !a.running || a.stopped {
				y.answers[i].Stop = append(y.answers[i].Stop, uid)
			}
		}
		for _, uid := range r.Spooled {
			if a, ok := y.live[uid]; !ok || a.ant != r.Ant || !a.running {
				y.answers[i].Settled = append(y.answers[i].Settled, uid)
			}
		}
	}
}
