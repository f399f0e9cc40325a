// Package pg keeps ants and holds in PostgreSQL. All times are the database's.
package pg

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/formicary/formicary/libs/errs"
	"github.com/formicary/formicary/libs/pgdb"
	"github.com/formicary/formicary/services/resource-manager/internal/ant"
	"github.com/formicary/formicary/services/resource-manager/internal/pg/db"
	"github.com/formicary/formicary/services/resource-manager/internal/reserve"
)

// Store is the schema.
type Store struct {
	pool  *pgxpool.Pool
	q     *db.Queries
	hold  time.Duration
	fleet *fleet
}

// NewStore returns the store; hold is the time from a reservation to its deadline.
func NewStore(pool *pgxpool.Pool, hold time.Duration) *Store {
	return &Store{pool: pool, q: db.New(pool), hold: hold, fleet: &fleet{pool: pool}}
}

// Register loads the ant, or a new one, applies f and saves it. Until it has a row its id is locked instead.
func (s *Store) Register(ctx context.Context, id string, f func(a *ant.Ant, now time.Time) error) (ant.Ant, error) {
	return s.change(ctx, id, func(q *db.Queries) (ant.Ant, error) {
		if err := q.LockID(ctx, id); err != nil {
			return ant.Ant{}, err
		}
		row, err := q.LockAnt(ctx, id)
		if errors.Is(err, pgx.ErrNoRows) {
			return ant.Ant{ID: id}, nil
		}
		if err != nil {
			return ant.Ant{}, err
		}
		return fromRow(row)
	}, f)
}

// Update loads the ant under a lock, applies f and saves it. f decides whether the caller may: an ant of the platform belongs to no
// organisation, so no organisation's connection could save it.
func (s *Store) Update(ctx context.Context, id string, f func(a *ant.Ant, now time.Time) error) (ant.Ant, error) {
	return s.change(ctx, id, func(q *db.Queries) (ant.Ant, error) {
		row, err := q.LockAnt(ctx, id)
		if err != nil {
			return ant.Ant{}, notFound(id, err)
		}
		return fromRow(row)
	}, f)
}

func (s *Store) change(ctx context.Context, id string, load func(*db.Queries) (ant.Ant, error), f func(*ant.Ant, time.Time) error) (ant.Ant, error) {
	var a ant.Ant
	err := pgdb.Tx(pgdb.OwnWork(ctx), s.pool, func(tx pgx.Tx) error {
		q := s.q.WithTx(tx)
		var err error
		if a, err = load(q); err != nil {
			return err
		}
		now, err := q.Now(ctx)
		if err != nil {
			return err
		}
		if err := f(&a, now); err != nil {
			return err
		}
		row, err := toRow(a)
		if err != nil {
			return err
		}
		return q.SaveAnt(ctx, row)
	})
	if err != nil {
		return ant.Ant{}, fmt.Errorf("change ant %s: %w", id, err)
	}
	s.fleet.drop()
	return a, nil
}

// Get returns one ant that is offered to the organisation.
func (s *Store) Get(ctx context.Context, org, id string) (ant.Ant, error) {
	row, err := s.q.GetAnt(ctx, db.GetAntParams{ID: id, OrgID: org})
	if err != nil {
		return ant.Ant{}, fmt.Errorf("read ant %s: %w", id, notFound(id, err))
	}
	return fromRow(row)
}

// List returns up to limit ants after the id that are offered to the organisation, in order.
func (s *Store) List(ctx context.Context, org, after string, limit int) ([]ant.Ant, error) {
	return fromRows(s.q.ListAnts(ctx, db.ListAntsParams{OrgID: org, After: after, Page: int32(limit)}))
}

// All returns up to limit ants of anybody after the id, in order, whoever asks.
func (s *Store) All(ctx context.Context, after string, limit int) ([]ant.Ant, error) {
	return fromRows(s.q.AllAnts(pgdb.OwnWork(ctx), db.AllAntsParams{After: after, Page: int32(limit)}))
}

func fromRows(rows []db.Ant, err error) ([]ant.Ant, error) {
	if err != nil {
		return nil, fmt.Errorf("list ants: %w", err)
	}
	ants := make([]ant.Ant, len(rows))
	for i, r := range rows {
		if ants[i], err = fromRow(r); err != nil {
			return nil, err
		}
	}
	return ants, nil
}

// Able returns the ants that take work, with what placing needs of them.
func (s *Store) Able(ctx context.Context) ([]ant.Ant, error) {
	rows, err := s.q.AbleAnts(ctx)
	if err != nil {
		return nil, fmt.Errorf("read ants that take work: %w", err)
	}
	ants := make([]ant.Ant, len(rows))
	for i, r := range rows {
		ants[i] = ant.Ant{ID: r.ID, Org: r.OrgID, Methods: r.Methods, Tags: r.Tags, Unhealthy: r.Unhealthy, Offered: int(r.Offered), Used: int(r.Used)}
	}
	return ants, nil
}

// CountAlive returns the number of ants that are not OFFLINE.
func (s *Store) CountAlive(ctx context.Context) (int, error) {
	n, err := s.q.CountAlive(ctx)
	if err != nil {
		return 0, fmt.Errorf("count ants: %w", err)
	}
	return int(n), nil
}

// Alive returns the ants that are not OFFLINE.
func (s *Store) Alive(ctx context.Context) ([]string, error) {
	ids, err := s.q.AliveIDs(ctx)
	if err != nil {
		return nil, fmt.Errorf("read ids of ants: %w", err)
	}
	return ids, nil
}

// Expire ends leases as decide says: it is given the number of ants that are not OFFLINE and those whose lease ended.
func (s *Store) Expire(ctx context.Context, lease time.Duration, decide func(alive int, ended []ant.Expire) (offline, spared []string)) error {
	err := pgdb.Tx(ctx, s.pool, func(tx pgx.Tx) error {
		q := s.q.WithTx(tx)
		rows, err := q.LockExpired(ctx)
		if err != nil || len(rows) == 0 {
			return err
		}
		alive, err := q.CountAlive(ctx)
		if err != nil {
			return err
		}
		ended := make([]ant.Expire, len(rows))
		for i, r := range rows {
			ended[i] = ant.Expire{ID: r.ID, Braked: r.Braked}
		}
		offline, spared := decide(int(alive), ended)
		if err := q.SetOffline(ctx, offline); err != nil {
			return err
		}
		return q.Spare(ctx, db.SpareParams{LeaseMs: lease.Milliseconds(), Ids: spared})
	})
	if err != nil {
		return fmt.Errorf("end leases: %w", err)
	}
	s.fleet.drop()
	return nil
}

// Overdue returns holds whose deadline passed longer than slack ago, oldest first.
func (s *Store) Overdue(ctx context.Context, slack time.Duration, limit int) ([]uuid.UUID, error) {
	uids, err := s.q.OverdueHolds(ctx, db.OverdueHoldsParams{SlackMs: slack.Milliseconds(), Most: int32(limit)})
	if err != nil {
		return nil, fmt.Errorf("read overdue holds: %w", err)
	}
	return uids, nil
}

// Keep moves the deadline of holds that are needed for longer.
func (s *Store) Keep(ctx context.Context, uids []uuid.UUID) error {
	if err := s.q.KeepHolds(ctx, db.KeepHoldsParams{WaitMs: s.hold.Milliseconds(), Uids: uids}); err != nil {
		return fmt.Errorf("keep %d holds: %w", len(uids), err)
	}
	return nil
}

// FreeOverdue frees those of the holds that nobody asked for again meanwhile.
func (s *Store) FreeOverdue(ctx context.Context, uids []uuid.UUID) (reserve.Outcome, error) {
	var out reserve.Outcome
	err := pgdb.Tx(ctx, s.pool, func(tx pgx.Tx) error {
		if _, err := tx.Exec(ctx, lockHolders, uids); err != nil {
			return err
		}
		due, err := s.q.WithTx(tx).LockOverdue(ctx, uids)
		if err != nil {
			return err
		}
		rows, err := tx.Query(ctx, free, due)
		if err != nil {
			return err
		}
		out.Freed, err = pgx.CollectRows(rows, pgx.RowTo[string])
		return err
	})
	if err != nil {
		return out, fmt.Errorf("free %d overdue holds: %w", len(uids), err)
	}
	return out, s.checkWaiting(ctx, &out)
}

// RemoveGone deletes ants that have been OFFLINE for longer than after and hold nothing, and returns their ids.
func (s *Store) RemoveGone(ctx context.Context, after time.Duration) ([]string, error) {
	ids, err := s.q.DeleteGone(ctx, after.Milliseconds())
	if err != nil {
		return nil, fmt.Errorf("remove ants that are gone: %w", err)
	}
	return ids, nil
}

func notFound(id string, err error) error {
	if errors.Is(err, pgx.ErrNoRows) {
		return errs.NotFound("ANT_NOT_FOUND", "ant %s not found", id)
	}
	return err
}
