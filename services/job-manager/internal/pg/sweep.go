package pg

import (
	"context"
	"fmt"
	"time"

	"github.com/google/uuid"

	"github.com/formicary/formicary/libs/storable"
	"github.com/formicary/formicary/services/job-manager/internal/pg/db"
	"github.com/formicary/formicary/services/job-manager/internal/request"
)

// Silent implements request.Sweeps.
func (s *Store) Silent(ctx context.Context, limit int) ([]request.Record, error) {
	rows, err := s.q.ClaimSilent(ctx, db.ClaimSilentParams{Page: int32(limit), SilentAfter: interval(s.silentAfter)})
	if err != nil {
		return nil, fmt.Errorf("take silent requests: %w", err)
	}
	recs := make([]request.Record, len(rows))
	for i, row := range rows {
		recs[i] = toRecord(row.Request)
	}
	return recs, nil
}

// DueToResume implements request.Sweeps.
func (s *Store) DueToResume(ctx context.Context, limit int) (ids []uuid.UUID, next *time.Time, err error) {
	if ids, err = s.q.DueToResume(ctx, int32(limit)); err != nil {
		return nil, nil, fmt.Errorf("find requests to resume: %w", err)
	}
	times, err := s.q.NextResume(ctx)
	if err != nil {
		return nil, nil, fmt.Errorf("find the next time to resume: %w", err)
	}
	if len(times) > 0 {
		next = times[0]
	}
	return ids, next, nil
}

// Overdue implements request.Sweeps.
func (s *Store) Overdue(ctx context.Context, limit int) (recs []request.Record, next *time.Time, err error) {
	rows, err := s.q.OverdueRequests(ctx, int32(limit))
	if err != nil {
		return nil, nil, fmt.Errorf("find overdue requests: %w", err)
	}
	times, err := s.q.NextOverdue(ctx)
	if err != nil {
		return nil, nil, fmt.Errorf("find the next overdue request: %w", err)
	}
	if len(times) > 0 {
		next = times[0]
	}
	return toRecords(rows), next, nil
}

// addUpPage is how many changes of counts are added up at once; what is left is for the next turn of the loop.
const addUpPage = 5000

// AddUp adds what writes have counted to the counts of the states, until little is left.
func (s *Store) AddUp(ctx context.Context) error {
	for {
		n, err := s.q.AddUpCounts(ctx, addUpPage)
		if err != nil {
			return fmt.Errorf("add up the counts of requests: %w", err)
		}
		if n < addUpPage {
			return nil
		}
	}
}

// Failed counts a failure of something that was tried alone, and returns how often it has failed.
func (s *Store) Failed(ctx context.Context, kind, key, reason string) (int, error) {
	n, err := s.q.RecordFailure(ctx, db.RecordFailureParams{Kind: kind, Key: key, Reason: storable.Text(reason)})
	if err != nil {
		return 0, fmt.Errorf("count a failure of %s: %w", key, err)
	}
	return int(n), nil
}

// Quarantine keeps a message that cannot be handled.
func (s *Store) Quarantine(ctx context.Context, subject string, payload []byte, delivered uint64, reason string) error {
	err := s.q.InsertPoison(ctx, db.InsertPoisonParams{ID: uuid.New(), Subject: subject, Payload: payload, Delivered: int64(delivered), Reason: storable.Text(reason)})
	if err != nil {
		return fmt.Errorf("keep a poisonous message: %w", err)
	}
	return nil
}

// Depth returns how many requests are queued and how old the oldest is.
func (s *Store) Depth(ctx context.Context) (depth int64, oldest time.Duration, err error) {
	row, err := s.q.Depth(ctx)
	if err != nil {
		return 0, 0, fmt.Errorf("measure the queue: %w", err)
	}
	return row.Depth, time.Duration(row.OldestSeconds * float64(time.Second)), nil
}
