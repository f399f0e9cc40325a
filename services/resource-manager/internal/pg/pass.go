package pg

import (
	"context"
	"maps"
	"slices"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/formicary/formicary/libs/pgdb"
	"github.com/formicary/formicary/libs/placement"
	"github.com/formicary/formicary/services/resource-manager/internal/ant"
	"github.com/formicary/formicary/services/resource-manager/internal/place"
	"github.com/formicary/formicary/services/resource-manager/internal/reserve"
)

// This file is written by hand and not by sqlc because the statements of a transaction travel together: looking is one
// round trip, taking two.

const (
	// walk keeps the planner on the index of the ranking, which ends after the few ants that are wanted: a generic plan
	// expects next to none to match, and would read and sort all.
	walk = `SET LOCAL enable_sort = off`

	// ranked are the best ants for a class of an organisation, doubted those that left attempts unclaimed. An ant whose lease is over is
	// no candidate, whether a sweep has seen that or not.
	ranked = `SELECT id, org_id, session, offered, used, unclaimed FROM ant WHERE state = 'ONLINE' AND deaf = '' AND unclaimed = 0 AND lease_until > now()
		AND org_id IN ('', $5) AND methods @> ARRAY[$1::text] AND tags @> $2::text[] AND NOT unhealthy @> ARRAY[$1::text] AND offered - used >= $3::int
		ORDER BY offered - used DESC, offered, id LIMIT $4`
	doubted = `SELECT id, org_id, session, offered, used, unclaimed FROM ant WHERE state = 'ONLINE' AND deaf = '' AND unclaimed > 0 AND lease_until > now()
		AND (avoided_until IS NULL OR avoided_until < now())
		AND org_id IN ('', $5) AND methods @> ARRAY[$1::text] AND tags @> $2::text[] AND NOT unhealthy @> ARRAY[$1::text] AND offered - used >= $3::int
		ORDER BY offered - used DESC, offered, id LIMIT $4`

	readHolds = `SELECT h.attempt_uid, h.ant_id, a.state <> 'OFFLINE' FROM hold h JOIN ant a ON a.id = h.ant_id WHERE h.attempt_uid = ANY($1::uuid[])`

	// lockHolders keeps the order in which everybody locks ants.
	lockHolders = `SELECT count(*) FROM (SELECT FROM ant WHERE id IN (SELECT ant_id FROM hold WHERE attempt_uid = ANY($1::uuid[])) ORDER BY id FOR NO KEY UPDATE) l`

	// free deletes holds and gives their slots back. The ceiling of an ant that shrank sinks with its use.
	free = `WITH gone AS (
			DELETE FROM hold WHERE attempt_uid = ANY($1::uuid[]) RETURNING ant_id, slots
		), freed AS (
			SELECT ant_id, sum(slots)::int AS n FROM gone GROUP BY ant_id
		)
		UPDATE ant SET used = ant.used - freed.n, slots = GREATEST(ant.offered, LEAST(ant.slots, ant.used - freed.n))
		FROM freed WHERE ant.id = freed.ant_id RETURNING ant.id`

	lockChosen = `SELECT id, org_id, COALESCE(session, '00000000-0000-0000-0000-000000000000'), offered, used, unclaimed, unhealthy, state = 'ONLINE' AND deaf = '' AND lease_until > now() AND (avoided_until IS NULL OR avoided_until < now())
		FROM ant WHERE id = ANY($1::text[]) ORDER BY id FOR NO KEY UPDATE`

	readDeadline = `SELECT now() + $1::bigint * interval '1 millisecond'`

	// take also begins the trial of an ant that was avoided.
	take = `UPDATE ant SET used = ant.used + d.n,
			avoided_until = CASE WHEN ant.unclaimed >= $3::int THEN now() + $4::bigint * interval '1 millisecond' ELSE ant.avoided_until END
		FROM (SELECT unnest($1::text[]) AS id, unnest($2::int[]) AS n) d WHERE ant.id = d.id`

	insertHolds = `INSERT INTO hold (attempt_uid, ant_id, org_id, slots, created_at, deadline)
		SELECT unnest($1::uuid[]), unnest($2::text[]), unnest($3::text[]), unnest($4::int[]), now(), now() + $5::bigint * interval '1 millisecond'`

	keepHolds = `UPDATE hold SET deadline = now() + $2::bigint * interval '1 millisecond' WHERE attempt_uid = ANY($1::uuid[])`
)

// pass places asks once.
type pass struct {
	releases []uuid.UUID
	asks     []reserve.Ask
	open     []int // the asks to be placed
	out      *reserve.Outcome
	hold     time.Duration

	classes  []*class               // in the order of their first asks
	existing map[uuid.UUID]existing // the holds that exist
	chosen   map[int]bool           // asks that an ant was chosen for
	placed   map[int]reserve.Answer // told to out only when the holds are committed
	left     []int                  // asks that may be placed in a further pass
}

// existing is a hold that an ask has already. When its ant is gone the ask is placed anew.
type existing struct {
	ant  string
	live bool
}

// class are the asks of one kind, and the best ants that take them and have the slots.
type class struct {
	ask  placement.Need
	asks int
	ants []candidate
}

// candidate is an ant as it was looked at, or as it is under its lock.
type candidate struct {
	place.Ant
	session uuid.UUID

	org       string
	unhealthy []string
	able      bool
}

func (c *candidate) scan(row pgx.CollectableRow, more ...any) error {
	var unclaimed int
	err := row.Scan(append([]any{&c.ID, &c.org, &c.session, &c.Slots, &c.Used, &unclaimed}, more...)...)
	c.Doubted, c.Trial = unclaimed > 0, unclaimed >= ant.AvoidFrom
	return err
}

// cut says that there may be other ants behind those that were looked at.
func (c *class) cut() bool { return len(c.ants) >= c.asks }

func (p *pass) uids() []uuid.UUID {
	uids := make([]uuid.UUID, len(p.open))
	for i, n := range p.open {
		uids[i] = p.asks[n].UID
	}
	return uids
}

// look frees what was released, then reads what choosing needs.
func (p *pass) look(ctx context.Context, pool *pgxpool.Pool) error {
	return pgdb.Pipelined(ctx, pool, func(_ context.Context, t *pgdb.Pipeline) error {
		p.classes, p.existing = nil, map[uuid.UUID]existing{}
		if len(p.releases) > 0 {
			t.Queue(lockHolders, p.releases)
			t.Queue(free, p.releases).Query(func(rows pgx.Rows) error {
				freed, err := pgx.CollectRows(rows, pgx.RowTo[string])
				p.out.Freed = append(p.out.Freed, freed...)
				return err
			})
		}
		t.Queue(readDeadline, p.hold.Milliseconds()).QueryRow(p.scanDeadline)
		if len(p.open) == 0 {
			return nil
		}
		t.Queue(walk)
		for _, c := range p.sort() {
			tags := append([]string{}, c.ask.Tags...) // never NULL
			for _, sql := range []string{ranked, doubted} {
				t.Queue(sql, c.ask.Method, tags, c.ask.Slots, c.asks, c.ask.Org).Query(c.collect)
			}
		}
		t.Queue(readHolds, p.uids()).Query(p.scanHolds)
		return nil
	})
}

// sort divides the open asks into classes.
func (p *pass) sort() []*class {
	byName := map[string]*class{}
	for _, i := range p.open {
		k := p.asks[i].Need
		c := byName[k.String()]
		if c == nil {
			c = &class{ask: k}
			byName[k.String()] = c
			p.classes = append(p.classes, c)
		}
		c.asks++
	}
	return p.classes
}

func (c *class) collect(rows pgx.Rows) error {
	found, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (x candidate, err error) { return x, x.scan(row) })
	c.ants = append(c.ants, found...)
	return err
}

// scanDeadline keeps the earliest: it holds for all passes.
func (p *pass) scanDeadline(row pgx.Row) error {
	var d time.Time
	err := row.Scan(&d)
	if p.out.Deadline.IsZero() || d.Before(p.out.Deadline) {
		p.out.Deadline = d
	}
	return err
}

func (p *pass) scanHolds(rows pgx.Rows) error {
	var uid uuid.UUID
	var k existing
	_, err := pgx.ForEachRow(rows, []any{&uid, &k.ant, &k.live}, func() error {
		p.existing[uid] = k
		return nil
	})
	return err
}

// choose returns the ants that are needed: those that win, and those of holds that exist.
func (p *pass) choose() []string {
	board := place.NewBoard()
	for _, c := range p.classes {
		ants := make([]place.Ant, len(c.ants))
		for i := range c.ants {
			ants[i] = c.ants[i].Ant
		}
		board.Show(c.ask, ants)
	}
	p.chosen = map[int]bool{}
	need := map[string]bool{}
	for _, i := range p.open {
		hold, held := p.existing[p.asks[i].UID]
		if held {
			need[hold.ant] = true
		}
		if held && hold.live {
			continue
		}
		if id := board.Place(p.asks[i].Need); id != "" {
			need[id], p.chosen[i] = true, true
		}
	}
	return slices.Collect(maps.Keys(need))
}

// lockAndPlace locks the chosen ants and places the asks on what they are now. A transaction that was rolled back, or that is
// repeated, answers nothing: a place without a hold would be given to somebody else, too.
func (p *pass) lockAndPlace(ctx context.Context, pool *pgxpool.Pool, chosen []string) error {
	err := pgdb.Pipelined(ctx, pool, func(ctx context.Context, t *pgdb.Pipeline) error {
		p.left, p.existing, p.placed = nil, map[uuid.UUID]existing{}, map[int]reserve.Answer{}
		locked := map[string]candidate{}
		t.Queue(lockChosen, chosen).Query(func(rows pgx.Rows) error {
			found, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (c candidate, err error) {
				return c, c.scan(row, &c.unhealthy, &c.able)
			})
			for _, c := range found {
				locked[c.ID] = c
			}
			return err
		})
		t.Queue(readHolds, p.uids()).Query(p.scanHolds)
		if err := t.Flush(ctx); err != nil {
			return err
		}
		p.place(locked).queue(t, p.hold.Milliseconds())
		return nil
	})
	if err != nil {
		return err
	}
	for i, a := range p.placed {
		p.out.Answers[i] = a
	}
	return nil
}

// board shows what is left of the choice under the locks.
func (p *pass) board(locked map[string]candidate) *place.Board {
	b := place.NewBoard()
	for _, c := range p.classes {
		var ants []place.Ant
		for i := range c.ants {
			now, ok := locked[c.ants[i].ID]
			if ok && now.able && now.session == c.ants[i].session && placement.Offered(now.org, c.ask.Org) && !slices.Contains(now.unhealthy, c.ask.Method) {
				ants = append(ants, now.Ant)
			}
		}
		b.Show(c.ask, ants)
	}
	return b
}

// place answers the asks.
func (p *pass) place(locked map[string]candidate) *writes {
	board, w := p.board(locked), &writes{taken: map[string]int32{}}
	cut := map[string]bool{}
	for _, c := range p.classes {
		cut[c.ask.String()] = c.cut()
	}
	for _, i := range p.open {
		k := p.asks[i]
		hold, held := p.existing[k.UID]
		at, here := locked[hold.ant]
		switch {
		case held && !here: // it was made since
			p.left = append(p.left, i)
			continue
		case held && hold.live:
			w.keep = append(w.keep, k.UID)
			p.placed[i] = reserve.Answer{Answer: place.Answer{Ant: hold.ant}, Session: at.session}
			continue
		case held:
			w.drop = append(w.drop, k.UID)
			delete(p.existing, k.UID)
		}
		id := board.Place(k.Need)
		switch {
		case id != "":
			w.add(k, id)
			p.existing[k.UID] = existing{id, true} // the same uid again gets the same place
			p.placed[i] = reserve.Answer{Answer: place.Answer{Ant: id}, Session: locked[id].session}
		case p.chosen[i] || cut[k.String()]: // others took the slots, or there are ants that were not looked at
			p.left = append(p.left, i)
		}
	}
	return w
}

// writes are the rows of a pass.
type writes struct {
	keep  []uuid.UUID // holds that are asked for again
	drop  []uuid.UUID // holds on ants that are gone
	taken map[string]int32
	uids  []uuid.UUID
	ants  []string
	orgs  []string
	slots []int32
}

func (w *writes) add(k reserve.Ask, id string) {
	n := int32(k.Slots)
	w.taken[id] += n
	w.uids, w.ants = append(w.uids, k.UID), append(w.ants, id)
	w.orgs, w.slots = append(w.orgs, k.Org), append(w.slots, n)
}

func (w *writes) queue(t *pgdb.Pipeline, hold int64) {
	if len(w.drop) > 0 {
		t.Queue(free, w.drop)
	}
	if len(w.uids) > 0 {
		ids, n := make([]string, 0, len(w.taken)), make([]int32, 0, len(w.taken))
		for id, slots := range w.taken {
			ids, n = append(ids, id), append(n, slots)
		}
		t.Queue(take, ids, n, ant.AvoidFrom, ant.Trial.Milliseconds())
		t.Queue(insertHolds, w.uids, w.ants, w.orgs, w.slots, hold)
	}
	if len(w.keep) > 0 {
		t.Queue(keepHolds, w.keep, hold)
	}
}
