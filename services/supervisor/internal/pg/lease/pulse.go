package lease

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/formicary/formicary/services/supervisor/internal/execution"
)

// restless says, of a row of pulse, that time may be judged: nobody has to be given back what a pause took. It holds
// also between the end of a pause and the first beat after it.
const restless = `coalesce(now() >= p.rest_until, true) AND coalesce(p.beat_at BETWEEN now() - $1::interval AND now() + $1::interval, true)`

// Beat shows that leases can be renewed: it takes the connections that they are renewed on. When no replica has shown
// that for longer than gap by the database's clock, that clock has moved while nobody could renew anything (a paused
// host or database, a cut network, a clock that was set), and everything rests for a while. slept is by how much the
// clock has moved then; of several replicas one is told.
func (s *Store) Beat(ctx context.Context, gap, rest time.Duration) (slept time.Duration, err error) {
	var old *time.Time
	var now time.Time
	err = s.leases.QueryRow(ctx, `UPDATE pulse p SET beat_at = o.now,
			rest_until = CASE WHEN o.beat_at NOT BETWEEN o.now - $1::interval AND o.now + $1::interval THEN o.now + $2::interval
				WHEN p.rest_until > o.now + $2::interval THEN o.now + $2::interval ELSE p.rest_until END,
			brake_until = CASE WHEN p.brake_until > o.now + $2::interval THEN o.now + $2::interval ELSE p.brake_until END
		FROM (SELECT beat_at, clock_timestamp() AS now FROM pulse FOR NO KEY UPDATE) o RETURNING o.beat_at, o.now`, gap, rest).Scan(&old, &now)
	if err != nil {
		return 0, fmt.Errorf("beat: %w", err)
	}
	s.saw(now)
	if old == nil || now.Sub(*old).Abs() <= gap {
		return 0, nil
	}
	return now.Sub(*old), nil
}

// Slept gives running attempts the time of a pause back: what measures it moves with the clock. No lease is longer than
// it was made, also when the clock was set back.
func (s *Store) Slept(ctx context.Context, d time.Duration) error {
	// What is locked by somebody is being claimed, renewed or ended right now.
	_, err := s.pool.Exec(ctx, `UPDATE attempt SET timeout_at = timeout_at + $1::interval, lease_until = least(lease_until, now() + $2::interval)
		WHERE uid IN (SELECT uid FROM attempt WHERE state = 'RUNNING' AND (timeout_at IS NOT NULL OR lease_until > now() + $2::interval)
			ORDER BY uid FOR NO KEY UPDATE SKIP LOCKED)`, d, leaseTime)
	if err != nil {
		return fmt.Errorf("move what measures the time of attempts by %s: %w", d, err)
	}
	return nil
}

// Turn says that this replica is to sweep: no other has begun to in the last while. It also says until when the brake is
// pulled.
func (s *Store) Turn(ctx context.Context, every time.Duration) (mine bool, brake *time.Time, err error) {
	err = s.pool.QueryRow(ctx, `UPDATE pulse SET swept_at = now()
		WHERE swept_at IS NULL OR swept_at NOT BETWEEN now() - $1::interval AND now() + $1::interval RETURNING true, brake_until`, every).Scan(&mine, &brake)
	if errors.Is(err, pgx.ErrNoRows) {
		return false, nil, nil
	}
	if err != nil {
		return false, nil, fmt.Errorf("take a turn: %w", err)
	}
	return mine, brake, nil
}

// Census counts the ants that are silent, with attempts whose leases are over, and those that were heard of.
func (s *Store) Census(ctx context.Context) (c execution.Census, err error) {
	err = s.pool.QueryRow(ctx, `SELECT
		(SELECT count(DISTINCT ant_id) FROM attempt a WHERE state = 'RUNNING' AND lease_until < now()
			AND NOT EXISTS (SELECT FROM ant_session s WHERE s.ant_id = a.ant_id AND s.synced_at >= now() - $1::interval)),
		(SELECT count(*) FROM ant_session WHERE synced_at >= now() - $1::interval), brake_until, now() FROM pulse`, leaseTime).
		Scan(&c.Silent, &c.Heard, &c.BrakeUntil, &c.Now)
	if err != nil {
		return c, fmt.Errorf("count ants: %w", err)
	}
	return c, nil
}

// Brake notes until when nothing is LOST; nil lets it go. The first replica decides.
func (s *Store) Brake(ctx context.Context, was, until *time.Time) error {
	_, err := s.pool.Exec(ctx, `UPDATE pulse SET brake_until = $2 WHERE brake_until IS NOT DISTINCT FROM $1::timestamptz`, was, until)
	if err != nil {
		return fmt.Errorf("note the brake: %w", err)
	}
	return nil
}
