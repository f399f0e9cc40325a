package pg

import (
	"context"
	"fmt"
	"slices"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/formicary/formicary/libs/pgdb"
	"github.com/formicary/formicary/services/resource-manager/internal/place"
	"github.com/formicary/formicary/services/resource-manager/internal/reserve"
)

// maxPasses bounds how often asks are placed anew because others took what was found, or because too few ants were looked
// at.
const maxPasses = 8

// Reserve implements reserve.Store. A pass looks at the best ants of each class without a lock, locks those that it
// chose and places on what it finds then. What no longer fits is placed in a further pass.
func (s *Store) Reserve(ctx context.Context, c reserve.Call) (reserve.Outcome, error) {
	out := reserve.Outcome{Answers: make([]reserve.Answer, len(c.Asks))}
	if len(c.Unclaimed) > 0 {
		freed, err := s.missed(ctx, c.Unclaimed)
		if err != nil {
			return reserve.Outcome{}, err
		}
		out.Freed = freed
	}
	open := make([]int, len(c.Asks))
	for i := range open {
		open[i] = i
	}
	err := s.passes(ctx, c.Releases, c.Asks, open, &out)
	if err == nil {
		err = s.refuse(ctx, c.Asks, &out)
	}
	if err == nil {
		err = s.wakeWaiting(ctx, c.Asks, &out)
	}
	if err != nil && !slices.ContainsFunc(out.Answers, func(a reserve.Answer) bool { return a.Ant != "" }) {
		return reserve.Outcome{}, err
	}
	for i := range out.Answers { // what was placed is held: the rest may ask again
		if a := &out.Answers[i]; a.Ant == "" && a.Gate == place.Open {
			a.Gate, a.Reason = place.Capacity, "slots could not be looked for just now"
		}
	}
	return out, nil
}

// passes places the asks in open until none of them is left or can be placed.
func (s *Store) passes(ctx context.Context, releases []uuid.UUID, asks []reserve.Ask, open []int, out *reserve.Outcome) error {
	for n := 0; n < maxPasses && (n == 0 || len(open) > 0); n++ {
		p := &pass{releases: releases, asks: asks, open: open, out: out, hold: s.hold}
		if err := p.look(ctx, s.pool); err != nil {
			return fmt.Errorf("look for slots: %w", err)
		}
		releases = nil
		chosen := p.choose()
		if len(chosen) == 0 {
			return nil
		}
		err := p.lockAndPlace(ctx, s.pool, chosen)
		if pgdb.IsUnique(err, "hold_pkey") {
			continue // the same ask came to another replica, which has placed it
		}
		if err != nil {
			return fmt.Errorf("reserve slots: %w", err)
		}
		open = p.left
	}
	return nil
}

// refuse says why the asks that got no ant were refused. The fleet may have changed since they were.
func (s *Store) refuse(ctx context.Context, asks []reserve.Ask, out *reserve.Outcome) error {
	var fleet place.Fleet
	known := map[string]place.Answer{}
	for i := range out.Answers {
		if out.Answers[i].Ant != "" {
			continue
		}
		if fleet == nil {
			var err error
			if fleet, err = s.fleet.get(ctx); err != nil {
				return fmt.Errorf("count ants: %w", err)
			}
		}
		class := asks[i].String()
		a, ok := known[class]
		if !ok {
			a = fleet.Explain(asks[i].Need)
			known[class] = a
		}
		out.Answers[i].Answer = a
	}
	return nil
}

// wakeWaiting has whoever waits for slots told when some became free. Refusals are noted before slots are looked for once
// more, and releases are committed before the note is looked for: so one of both sees the other, on any two replicas.
func (s *Store) wakeWaiting(ctx context.Context, asks []reserve.Ask, out *reserve.Outcome) error {
	var refused []int
	for i := range out.Answers {
		if out.Answers[i].Gate == place.Capacity {
			refused = append(refused, i)
		}
	}
	if len(refused) == 0 {
		return s.checkWaiting(ctx, out)
	}
	noted, err := s.q.MarkWaiting(ctx)
	if err != nil {
		return fmt.Errorf("note who waits for slots: %w", err)
	}
	if len(noted) == 0 {
		out.Wanted = len(out.Freed) > 0 // by the one that noted it
		return nil                      // who releases from here on will see the older note
	}
	return s.passes(ctx, nil, asks, refused, out)
}

// checkWaiting looks whether somebody waits for the slots that became free.
func (s *Store) checkWaiting(ctx context.Context, out *reserve.Outcome) error {
	if len(out.Freed) == 0 {
		return nil
	}
	ended, err := s.q.EndWaiting(ctx)
	if err != nil {
		return fmt.Errorf("look who waits for slots: %w", err)
	}
	out.Wanted = len(ended) > 0
	return nil
}

// missed gives back the slots of attempts that their ants did not claim in time, and has the ants doubted for those that
// were placed on their present sessions.
func (s *Store) missed(ctx context.Context, uids []uuid.UUID) (freed []string, err error) {
	err = pgdb.Tx(ctx, s.pool, func(tx pgx.Tx) error {
		freed = nil
		q := s.q.WithTx(tx)
		ids, err := q.Holders(ctx, uids)
		if err != nil || len(ids) == 0 {
			return err
		}
		rows, err := q.LockAnts(ctx, ids)
		if err != nil {
			return err
		}
		gone, err := q.CountMissed(ctx, uids)
		if err != nil {
			return err
		}
		now, err := q.Now(ctx)
		if err != nil {
			return err
		}
		n := make(map[string]int, len(gone))
		for _, g := range gone {
			n[g.AntID] = int(g.Missed)
		}
		for _, r := range rows {
			a, err := fromRow(r)
			if err != nil {
				return err
			}
			if n[a.ID] == 0 {
				continue
			}
			a.Doubt.Missed(n[a.ID], now)
			row, err := toRow(a)
			if err == nil {
				err = q.SaveAnt(ctx, row)
			}
			if err != nil {
				return err
			}
		}
		gaveBack, err := tx.Query(ctx, free, uids)
		if err == nil {
			freed, err = pgx.CollectRows(gaveBack, pgx.RowTo[string])
		}
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("release %d unclaimed attempts: %w", len(uids), err)
	}
	s.fleet.drop()
	return freed, nil
}
