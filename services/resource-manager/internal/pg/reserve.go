package pg

import (
	"context"
	"fmt"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/formicary/formicary/libs/pgdb"
	"github.com/formicary/formicary/services/resource-manager/internal/place"
	"github.com/formicary/formicary/services/resource-manager/internal/reserve"
)

// This file is written by hand and not by sqlc because the statements of a transaction travel together: the whole of
// it is two round trips, one when nothing is asked for.

const (
	// lockSlots puts all that changes slots, used or holds one after the other, on all replicas. It is one lock instead
	// of one per ant: a batch looks at every ant anyway, and locking rows would write them all.
	lockSlots = `SELECT pg_advisory_xact_lock(hashtext(current_schema() || '.slots'))`

	readDeadline = `SELECT now() + $1::bigint * interval '1 millisecond'`

	// free deletes holds and gives their slots back. The ceiling of an ant that shrank sinks with its use.
	free = `WITH gone AS (
			DELETE FROM hold WHERE attempt_uid = ANY($1::uuid[]) RETURNING ant_id, slots
		), freed AS (
			SELECT ant_id, sum(slots)::int AS n FROM gone GROUP BY ant_id
		)
		UPDATE ant SET used = ant.used - freed.n, slots = GREATEST(ant.offered, LEAST(ant.slots, ant.used - freed.n))
		FROM freed WHERE ant.id = freed.ant_id RETURNING ant.id`

	// freeOverdue is free for those that nobody has asked for again meanwhile.
	freeOverdue = `WITH gone AS (
			DELETE FROM hold WHERE attempt_uid = ANY($1::uuid[]) AND deadline < now() RETURNING ant_id, slots
		), freed AS (
			SELECT ant_id, sum(slots)::int AS n FROM gone GROUP BY ant_id
		)
		UPDATE ant SET used = ant.used - freed.n, slots = GREATEST(ant.offered, LEAST(ant.slots, ant.used - freed.n))
		FROM freed WHERE ant.id = freed.ant_id RETURNING ant.id`

	readAnts = `SELECT id, session, state = 'DRAINING', methods, unhealthy, tags, offered, used FROM ant WHERE state <> 'OFFLINE' ORDER BY id`

	readHolds = `SELECT attempt_uid, ant_id FROM hold WHERE attempt_uid = ANY($1::uuid[])`

	take = `UPDATE ant SET used = ant.used + d.n FROM (SELECT unnest($1::text[]) AS id, unnest($2::int[]) AS n) d WHERE ant.id = d.id`

	insertHolds = `INSERT INTO hold (attempt_uid, ant_id, org_id, slots, created_at, deadline)
		SELECT unnest($1::uuid[]), unnest($2::text[]), unnest($3::text[]), unnest($4::int[]), now(), now() + $5::bigint * interval '1 millisecond'`

	keepHolds = `UPDATE hold SET deadline = now() + $2::bigint * interval '1 millisecond' WHERE attempt_uid = ANY($1::uuid[])`
)

const (
	reserveTries = 4
	reservePause = 5 * time.Millisecond
)

// Reserve implements reserve.Store.
func (s *Store) Reserve(ctx context.Context, releases []uuid.UUID, asks []reserve.Ask) (reserve.Outcome, error) {
	for try := 1; ; try++ {
		out, err := s.reserve(ctx, releases, asks)
		if err == nil {
			return out, nil
		}
		if !pgdb.Repeatable(err) || try == reserveTries {
			return reserve.Outcome{}, fmt.Errorf("reserve slots: %w", err)
		}
		select {
		case <-ctx.Done():
			return reserve.Outcome{}, ctx.Err()
		case <-time.After(time.Duration(try) * reservePause):
		}
	}
}

func (s *Store) reserve(ctx context.Context, releases []uuid.UUID, asks []reserve.Ask) (reserve.Outcome, error) {
	conn, err := s.pool.Acquire(ctx)
	if err != nil {
		return reserve.Outcome{}, err
	}
	defer conn.Release() // one that is still in a transaction is closed
	t := &reservation{conn: conn, hold: s.hold.Milliseconds(), asks: asks}
	if err := t.read(ctx, releases); err != nil {
		return reserve.Outcome{}, err
	}
	if len(asks) == 0 {
		return t.out, nil
	}
	t.place()
	if err := t.write(ctx); err != nil {
		return reserve.Outcome{}, err
	}
	return t.out, nil
}

// reservation is one transaction.
type reservation struct {
	conn *pgxpool.Conn
	hold int64 // ms
	asks []reserve.Ask

	ants  []place.Ant
	live  map[string]uuid.UUID // sessions
	known map[uuid.UUID]string // ants of holds that exist

	out   reserve.Outcome
	keep  []uuid.UUID // holds that are asked for again
	drop  []uuid.UUID // holds on ants that are gone: placed anew
	taken map[string]int32
	new   holds
}

// holds are the columns of new rows.
type holds struct {
	uids  []uuid.UUID
	ants  []string
	orgs  []string
	slots []int32
}

// read begins the transaction, frees, and reads what placing needs.
func (t *reservation) read(ctx context.Context, releases []uuid.UUID) error {
	b := &pgx.Batch{}
	b.Queue("begin")
	b.Queue(lockSlots)
	b.Queue(readDeadline, t.hold).QueryRow(func(row pgx.Row) error { return row.Scan(&t.out.Deadline) })
	if len(releases) > 0 {
		b.Queue(free, releases).Query(func(rows pgx.Rows) (err error) {
			t.out.Freed, err = pgx.CollectRows(rows, pgx.RowTo[string])
			return err
		})
	}
	if len(t.asks) == 0 {
		b.Queue("commit")
		return t.send(ctx, b)
	}
	uids := make([]uuid.UUID, len(t.asks))
	for i := range t.asks {
		uids[i] = t.asks[i].UID
	}
	b.Queue(readAnts).Query(t.scanAnts)
	b.Queue(readHolds, uids).Query(t.scanHolds)
	return t.send(ctx, b)
}

func (t *reservation) scanAnts(rows pgx.Rows) error {
	t.live = map[string]uuid.UUID{}
	var a place.Ant
	var session uuid.UUID
	_, err := pgx.ForEachRow(rows, []any{&a.ID, &session, &a.Draining, &a.Methods, &a.Unhealthy, &a.Tags, &a.Slots, &a.Used}, func() error {
		t.ants = append(t.ants, a)
		t.live[a.ID] = session
		a = place.Ant{} // its slices belong to the one appended
		return nil
	})
	return err
}

func (t *reservation) scanHolds(rows pgx.Rows) error {
	t.known = map[uuid.UUID]string{}
	var uid uuid.UUID
	var ant string
	_, err := pgx.ForEachRow(rows, []any{&uid, &ant}, func() error {
		t.known[uid] = ant
		return nil
	})
	return err
}

// place answers the asks.
func (t *reservation) place() {
	board := place.NewBoard(t.ants)
	t.taken = map[string]int32{}
	t.out.Answers = make([]reserve.Answer, len(t.asks))
	for i, k := range t.asks {
		ant, held := t.known[k.UID]
		if session, live := t.live[ant]; held && live {
			t.keep = append(t.keep, k.UID)
			t.out.Answers[i] = reserve.Answer{Answer: place.Answer{Ant: ant}, Session: session}
			continue
		}
		if held {
			t.drop = append(t.drop, k.UID)
		}
		a := board.Place(k.Ask)
		t.out.Answers[i] = reserve.Answer{Answer: a, Session: t.live[a.Ant]}
		if a.Ant == "" {
			delete(t.known, k.UID)
			continue
		}
		slots := int32(max(k.Slots, 1))
		t.known[k.UID] = a.Ant
		t.taken[a.Ant] += slots
		t.new.uids, t.new.ants = append(t.new.uids, k.UID), append(t.new.ants, a.Ant)
		t.new.orgs, t.new.slots = append(t.new.orgs, k.Org), append(t.new.slots, slots)
	}
}

// write stores the answers and commits.
func (t *reservation) write(ctx context.Context) error {
	b := &pgx.Batch{}
	if len(t.drop) > 0 {
		b.Queue(free, t.drop)
	}
	if len(t.new.uids) > 0 {
		ids, n := make([]string, 0, len(t.taken)), make([]int32, 0, len(t.taken))
		for id, slots := range t.taken {
			ids, n = append(ids, id), append(n, slots)
		}
		b.Queue(take, ids, n)
		b.Queue(insertHolds, t.new.uids, t.new.ants, t.new.orgs, t.new.slots, t.hold)
	}
	if len(t.keep) > 0 {
		b.Queue(keepHolds, t.keep, t.hold)
	}
	b.Queue("commit")
	return t.send(ctx, b)
}

// send sends a batch and ends the transaction when it failed.
func (t *reservation) send(ctx context.Context, b *pgx.Batch) error {
	err := t.conn.SendBatch(ctx, b).Close()
	if err != nil {
		_, _ = t.conn.Exec(context.WithoutCancel(ctx), "rollback") // else the pool closes the connection
	}
	return err
}
