package pg

import (
	"context"
	"encoding/json"
	"fmt"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/formicary/formicary/libs/pgdb"
	"github.com/formicary/formicary/services/supervisor/internal/execution"
)

// queueNotices keeps notices until job-manager has stored them: the message that tells of them may be lost with the bus.
func queueNotices(t *pgdb.Pipeline, c *execution.Changes) error {
	if len(c.Notices) == 0 {
		return nil
	}
	ids, texts := make([]uuid.UUID, len(c.Notices)), make([][]byte, len(c.Notices))
	for i := range c.Notices {
		var err error
		ids[i] = c.Notices[i].ID
		if texts[i], err = json.Marshal(&c.Notices[i]); err != nil {
			return fmt.Errorf("encode notice about task %s of request %s: %w", c.Notices[i].Task, c.Notices[i].Request, err)
		}
	}
	t.Queue(`INSERT INTO notice (id, notice, created_at) SELECT unnest($1::uuid[]), unnest($2::bytea[]), $3 ON CONFLICT (id) DO NOTHING`,
		ids, texts, c.Now)
	return nil
}

// noticePage is how many notices are returned at once: those behind them come when they are confirmed.
const noticePage = 200

// TakeNotices forgets the notices that were stored and returns some that nobody has confirmed for ten seconds. In that time
// the event should have told of them.
func (s *Store) TakeNotices(ctx context.Context, stored []uuid.UUID) ([]execution.Notice, error) {
	if len(stored) > 0 {
		if _, err := s.pool.Exec(ctx, `DELETE FROM notice WHERE id = ANY($1::uuid[])`, stored); err != nil {
			return nil, fmt.Errorf("forget %d notices: %w", len(stored), err)
		}
	}
	rows, err := s.pool.Query(ctx, `SELECT id, notice FROM notice WHERE created_at < now() - interval '10 seconds'
		ORDER BY created_at, id LIMIT $1`, noticePage)
	if err != nil {
		return nil, fmt.Errorf("read notices: %w", err)
	}
	type row struct {
		ID   uuid.UUID
		Text []byte
	}
	found, err := pgx.CollectRows(rows, pgx.RowToStructByPos[row])
	if err != nil {
		return nil, fmt.Errorf("read notices: %w", err)
	}
	all := make([]execution.Notice, 0, len(found))
	for _, r := range found {
		var n execution.Notice
		if err := json.Unmarshal(r.Text, &n); err != nil { // it must not hide those behind it
			if err := s.setAside(ctx, r.ID, r.Text, err); err != nil {
				return nil, err
			}
			continue
		}
		all = append(all, n)
	}
	return all, nil
}

// setAside keeps a notice that cannot be read for a person.
func (s *Store) setAside(ctx context.Context, id uuid.UUID, text []byte, reason error) error {
	if err := s.Quarantine(ctx, "notice", id.String(), text, reason.Error()); err != nil {
		return err
	}
	if _, err := s.pool.Exec(ctx, `DELETE FROM notice WHERE id = $1`, id); err != nil {
		return fmt.Errorf("set notice %s aside: %w", id, err)
	}
	return nil
}
