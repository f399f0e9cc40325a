package pg

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/formicary/formicary/libs/batch"
	"github.com/formicary/formicary/libs/errs"
	"github.com/formicary/formicary/libs/pgdb"
	"github.com/formicary/formicary/services/resource-manager/internal/ant"
	"github.com/formicary/formicary/services/resource-manager/internal/beat"
	"github.com/formicary/formicary/services/resource-manager/internal/pg/db"
)

// Beat implements beat.Store: one transaction for all. Most beats change nothing but the lease, and are written by one
// statement. When the database refuses what is in one of them, the halves are taken: it must not end the leases of others.
func (s *Store) Beat(ctx context.Context, beats []beat.Beat, lease time.Duration) ([]beat.Answer, []error) {
	answers, faults := s.beat(ctx, beats, lease)
	if answers != nil || len(beats) == 1 || pgdb.Temporary(faults[0]) {
		return answers, faults
	}
	half := len(beats) / 2
	answers, faults = s.Beat(ctx, beats[:half], lease)
	if answers == nil {
		answers = make([]beat.Answer, half)
	}
	more, moreFaults := s.Beat(ctx, beats[half:], lease)
	if more == nil {
		more = make([]beat.Answer, len(beats)-half)
	}
	return append(answers, more...), append(faults, moreFaults...)
}

// beat takes beats together; it returns no answers when they failed together.
func (s *Store) beat(ctx context.Context, beats []beat.Beat, lease time.Duration) ([]beat.Answer, []error) {
	var r round
	err := pgdb.Tx(ctx, s.pool, func(tx pgx.Tx) error {
		q := s.q.WithTx(tx)
		r = round{ants: map[string]*ant.Ant{}, answers: make([]beat.Answer, len(beats)), errs: make([]error, len(beats)), changed: map[string]bool{}}
		if err := r.load(ctx, q, beats); err != nil {
			return err
		}
		now, err := q.Now(ctx)
		if err != nil {
			return err
		}
		for i, b := range beats {
			r.answers[i], r.errs[i] = r.apply(b, lease, now)
		}
		return r.save(ctx, q, lease)
	})
	if err != nil {
		return nil, batch.All(len(beats), fmt.Errorf("take %d beats: %w", len(beats), err))
	}
	if len(r.changed) > 0 {
		s.fleet.drop()
	}
	return r.answers, r.errs
}

// round is the transaction of some beats.
type round struct {
	ants    map[string]*ant.Ant
	answers []beat.Answer
	errs    []error
	beaten  []string        // ants with a good beat
	changed map[string]bool // those of which more than the lease changed
}

func (r *round) load(ctx context.Context, q *db.Queries, beats []beat.Beat) error {
	ids := make([]string, len(beats))
	for i, b := range beats {
		ids[i] = b.Ant
	}
	rows, err := q.LockAnts(ctx, ids)
	if err != nil {
		return err
	}
	for _, row := range rows {
		a, err := fromRow(row)
		if err != nil {
			return err
		}
		r.ants[a.ID] = &a
	}
	return nil
}

func (r *round) apply(b beat.Beat, lease time.Duration, now time.Time) (beat.Answer, error) {
	a := r.ants[b.Ant]
	if a == nil {
		return beat.Answer{}, errs.NotFound("ANT_NOT_FOUND", "ant %s not found", b.Ant)
	}
	before := *a
	if err := a.Beat(b.Pulse, lease, now); err != nil {
		*a = before
		return beat.Answer{}, err
	}
	r.beaten = append(r.beaten, a.ID)
	works := a.State != before.State || a.Unreachable != before.Unreachable || a.Doubt != before.Doubt || !slices.Equal(a.Unhealthy, before.Unhealthy)
	if works || a.DrainReported != before.DrainReported {
		r.changed[a.ID] = true
	}
	return beat.Answer{State: a.State, DrainWanted: a.DrainWanted, Changed: works}, nil
}

func (r *round) save(ctx context.Context, q *db.Queries, lease time.Duration) error {
	slices.Sort(r.beaten)
	touch := db.TouchParams{LeaseMs: lease.Milliseconds()}
	for _, id := range slices.Compact(r.beaten) {
		a := r.ants[id]
		if !r.changed[id] {
			touch.Ids, touch.Heard = append(touch.Ids, id), append(touch.Heard, a.Heard)
			continue
		}
		row, err := toRow(*a)
		if err == nil {
			err = q.SaveAnt(ctx, row)
		}
		if err != nil {
			return err
		}
	}
	if len(touch.Ids) == 0 {
		return nil
	}
	return q.Touch(ctx, touch)
}
