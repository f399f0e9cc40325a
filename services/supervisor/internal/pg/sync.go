package pg

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

const (
	// missesAllowed is how many Syncs may leave a claimed attempt out: the first may have been written before the claim.
	missesAllowed = 1
	// spoolTime is how long the result of an attempt that has ended is awaited: the bus may be away for minutes, and what
	// the task has done would be done again.
	spoolTime = 10 * time.Minute
)

// Sync renews the leases of what ants report as running, adopts attempts of their earlier sessions and answers each
// report. gone are attempts that the reports prove to be lost: the caller ends them.
func (s *Store) Sync(ctx context.Context, reports []execution.Report) (answers []execution.Answer, gone []execution.Event, err error) {
	var y *sync
	err = s.tx(ctx, func(ctx context.Context, t *pgdb.Pipeline) error {
		y = &sync{reports: reports, answers: make([]execution.Answer, len(reports)), live: map[uuid.UUID]liveAttempt{}, risen: map[string]bool{}}
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

type sync struct {
	reports []execution.Report
	answers []execution.Answer
	risen   map[string]bool // ants whose generation is new
	live    map[uuid.UUID]liveAttempt
	gone    []execution.Event
}

type liveAttempt struct {
	ant     string
	session uuid.UUID
	running bool
	missed  int
	stopped bool
}

// sessions notes the newest session of each ant and finds reports of superseded ones.
func (y *sync) sessions(ctx context.Context, t *pgdb.Pipeline) error {
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
			y.risen[r.Ant] = true
		}
	}
	return nil
}

// renew queues the lease of everything that is reported by current sessions, after its adoption where that is due.
func (y *sync) renew(t *pgdb.Pipeline) {
	var running, spooled []uuid.UUID
	all := []uuid.UUID{} // never NULL: nothing is unequal to it
	var runAnts, spoolAnts, ants []string
	var runSessions, spoolSessions []uuid.UUID
	var adopt, adoptSpooled []bool
	for i, r := range y.reports {
		if y.answers[i].Superseded {
			continue
		}
		ants = append(ants, r.Ant)
		for _, uid := range r.Running {
			running, runAnts, runSessions = append(running, uid), append(runAnts, r.Ant), append(runSessions, r.Session)
			adopt = append(adopt, y.adopts(r))
		}
		for _, uid := range r.Spooled {
			spooled, spoolAnts, spoolSessions = append(spooled, uid), append(spoolAnts, r.Ant), append(spoolSessions, r.Session)
			adoptSpooled = append(adoptSpooled, y.adopts(r))
		}
	}
	all = append(append(all, running...), spooled...)
	t.Queue(`SELECT count(*) FROM (SELECT FROM attempt WHERE uid = ANY($1::uuid[]) ORDER BY uid FOR NO KEY UPDATE) l`, all)
	if len(running) > 0 {
		t.Queue(`UPDATE attempt a SET lease_until = now() + $5::interval, missed = 0, session = u.session
			FROM (SELECT unnest($1::uuid[]) AS uid, unnest($2::text[]) AS ant_id, unnest($3::uuid[]) AS session, unnest($4::bool[]) AS adopt) u
			WHERE a.uid = u.uid AND a.ant_id = u.ant_id AND a.state = $6 AND (a.session = u.session OR u.adopt)`,
			running, runAnts, runSessions, adopt, lease, engine.AttemptRunning)
	}
	if len(spooled) > 0 {
		// The result is on its way; it is not awaited for ever. The attempt has ended, so its timeout means nothing more.
		t.Queue(`UPDATE attempt a SET lease_until = greatest(a.lease_until, least(now() + $3::interval, coalesce(a.spooled_at, now()) + $4::interval)),
				spooled_at = coalesce(a.spooled_at, now()), timeout_at = NULL, missed = 0, session = CASE WHEN u.adopt THEN u.session ELSE a.session END
			FROM (SELECT unnest($1::uuid[]) AS uid, unnest($2::text[]) AS ant_id, unnest($5::uuid[]) AS session, unnest($6::bool[]) AS adopt) u
			WHERE a.uid = u.uid AND a.ant_id = u.ant_id AND a.state = $7`,
			spooled, spoolAnts, lease, spoolTime, spoolSessions, adoptSpooled, engine.AttemptRunning)
	}
	// What is locked by somebody is being claimed or ended right now.
	t.Queue(`UPDATE attempt SET missed = missed + 1 WHERE uid IN (SELECT uid FROM attempt WHERE ant_id = ANY($1::text[]) AND state = 'RUNNING'
		AND NOT uid = ANY($2::uuid[]) AND started_at < now() - interval '1 second' FOR NO KEY UPDATE SKIP LOCKED)`, ants, all)
	t.Queue(`SELECT uid, ant_id, session, state = 'RUNNING', missed, stop_requested_at IS NOT NULL FROM attempt
		WHERE ant_id = ANY($1::text[]) AND state IN ('DISPATCHED', 'RUNNING')`, ants).Query(func(rows pgx.Rows) error {
		for rows.Next() {
			var uid uuid.UUID
			var a liveAttempt
			if err := rows.Scan(&uid, &a.ant, &a.session, &a.running, &a.missed, &a.stopped); err != nil {
				return err
			}
			y.live[uid] = a
		}
		return rows.Err()
	})
}

// adopts says that the report begins a session: attempts of earlier ones are moved to it or lost.
func (y *sync) adopts(r execution.Report) bool { return r.First || y.risen[r.Ant] }

// answer says what to stop and what is settled, and finds what is gone.
func (y *sync) answer() {
	byAnt := map[string][]uuid.UUID{}
	for uid, a := range y.live {
		byAnt[a.ant] = append(byAnt[a.ant], uid)
	}
	for i, r := range y.reports {
		if y.answers[i].Superseded {
			continue
		}
		listed := map[uuid.UUID]bool{}
		for _, uid := range r.Running {
			listed[uid] = true
			if a, ok := y.live[uid]; !ok || a.ant != r.Ant || a.session != r.Session || !a.running || a.stopped {
				y.answers[i].Stop = append(y.answers[i].Stop, uid)
			}
		}
		for _, uid := range r.Spooled {
			listed[uid] = true
			if a, ok := y.live[uid]; !ok || a.ant != r.Ant || !a.running {
				y.answers[i].Settled = append(y.answers[i].Settled, uid)
			}
		}
		for _, uid := range byAnt[r.Ant] {
			a := y.live[uid]
			switch {
			case listed[uid]:
			case a.session != r.Session && y.adopts(r):
				y.gone = append(y.gone, lostByRestart(uid, a.session))
			case a.session == r.Session && a.running && a.missed > missesAllowed:
				y.gone = append(y.gone, notListed(uid, a.session))
			}
		}
	}
}
