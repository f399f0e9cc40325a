package request_test

import (
	"context"
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/formicary/formicary/services/job-manager/internal/request"
)

// sweepable has requests that are due, one of which the database refuses.
type sweepable struct {
	request.Store
	due     []uuid.UUID
	bad     uuid.UUID
	changed map[uuid.UUID]bool
}

func (s *sweepable) Silent(context.Context, int) (recs []request.Record, err error) {
	for _, id := range s.due {
		recs = append(recs, request.Record{ID: id, Run: 1})
	}
	return recs, nil
}

func (s *sweepable) DueToResume(context.Context, int) (ids []uuid.UUID, next *time.Time, err error) {
	for _, id := range s.due {
		if !s.changed[id] {
			ids = append(ids, id)
		}
	}
	return ids, nil, nil
}

func (s *sweepable) Overdue(context.Context, int) (recs []request.Record, next *time.Time, err error) {
	for _, id := range s.due {
		if !s.changed[id] {
			recs = append(recs, request.Record{ID: id, Run: 1})
		}
	}
	return recs, nil, nil
}

func (s *sweepable) Standing(_ context.Context, recs []request.Record, _ bool) ([]request.Standing, time.Time, error) {
	return make([]request.Standing, len(recs)), time.Now(), nil
}

func (s *sweepable) Update(_ context.Context, ids []uuid.UUID, _ func(time.Time, *request.Request) error) ([]request.Record, error) {
	if slices.Contains(ids, s.bad) {
		return nil, errRefused
	}
	for _, id := range ids {
		s.changed[id] = true
	}
	return nil, nil
}

func (s *sweepable) States(context.Context, []request.Run) (map[uuid.UUID]request.Execution, error) {
	return nil, nil
}

// TestARefusedRequestHoldsUpNoSweep: the others of its batch are changed, and its error is told.
func TestARefusedRequestHoldsUpNoSweep(t *testing.T) {
	for name, sweep := range map[string]func(*request.Reconciler) error{
		"silent":  func(c *request.Reconciler) error { return c.Silent(t.Context()) },
		"resume":  func(c *request.Reconciler) error { _, err := c.Resume(t.Context()); return err },
		"overdue": func(c *request.Reconciler) error { _, err := c.Overdue(t.Context()); return err },
	} {
		s := &sweepable{bad: uuid.New(), changed: map[uuid.UUID]bool{}}
		for i := range 100 {
			if i == 30 {
				s.due = append(s.due, s.bad)
			}
			s.due = append(s.due, uuid.New())
		}
		err := sweep(request.NewReconciler(s, s, s, func(err error) bool { return errors.Is(err, errRefused) }))
		if !errors.Is(err, errRefused) || len(s.changed) != 100 {
			t.Errorf("%s: %d of 100 are changed, %v", name, len(s.changed), err)
		}
	}
}
