// Package sweep ends what nobody ended: leases of silent ants, holds of attempts that never came to life or whose
// release was lost, and ants that are gone for good. Every step is idempotent, so all replicas sweep.
package sweep

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	"github.com/google/uuid"
	"go.opentelemetry.io/otel/metric"
	"google.golang.org/grpc"

	executionv1 "github.com/formicary/formicary/proto/gen/formicary/execution/v1"
	"github.com/formicary/formicary/services/resource-manager/internal/ant"
	"github.com/formicary/formicary/services/resource-manager/internal/reserve"
)

// Config of the sweep.
type Config struct {
	// Every is the pause between two sweeps.
	Every time.Duration
	// Lease is what an ant gets once more when the brake works.
	Lease time.Duration
	// HoldSlack is how long past its deadline a hold is asked about.
	HoldSlack time.Duration
	// GoneAfter is how long an ant is OFFLINE before it is removed.
	GoneAfter time.Duration
	// CallTimeout bounds a call to supervisor.
	CallTimeout time.Duration
}

// Store is the schema.
type Store interface {
	Expire(ctx context.Context, lease time.Duration, decide func(alive int, ended []ant.Expire) (offline, spared []string)) error
	Overdue(ctx context.Context, slack time.Duration, limit int) ([]uuid.UUID, error)
	Keep(ctx context.Context, uids []uuid.UUID) error
	FreeOverdue(ctx context.Context, uids []uuid.UUID) (reserve.Outcome, error)
	RemoveGone(ctx context.Context, after time.Duration) ([]string, error)
}

// Listener hears what the sweep did.
type Listener interface {
	// Offline is called for each ant whose lease ended.
	Offline(id string)
	// Freed is called when holds were freed.
	Freed(out reserve.Outcome)
}

// Sweeper sweeps.
type Sweeper struct {
	conf     Config
	store    Store
	attempts executionv1.ExecutionStateServiceClient
	listener Listener
	log      *slog.Logger

	expired   time.Time // when leases were last looked at and all went well, else when the first look began
	slowUntil time.Time // ants may not have come through to us since an outage until then

	leaked, braked metric.Int64Counter
}

// New returns a sweeper that asks supervisor about attempts.
func New(conf Config, store Store, supervisor grpc.ClientConnInterface, listener Listener, log *slog.Logger, meter metric.Meter) (*Sweeper, error) {
	s := &Sweeper{conf: conf, store: store, attempts: executionv1.NewExecutionStateServiceClient(supervisor), listener: listener, log: log}
	var err error
	if s.leaked, err = meter.Int64Counter("formicary_holds_swept", metric.WithDescription("holds freed because their attempt was not live")); err != nil {
		return nil, fmt.Errorf("make metric: %w", err)
	}
	if s.braked, err = meter.Int64Counter("formicary_leases_spared", metric.WithDescription("leases extended because too many ended at once")); err != nil {
		return nil, fmt.Errorf("make metric: %w", err)
	}
	return s, nil
}

// Leases moves ants whose lease ended to OFFLINE.
func (s *Sweeper) Leases(ctx context.Context) error {
	// Since then beats may have been refused as this sweep was. A look that succeeds does not end that: the beats of an
	// outage come again within a lease of its end.
	if s.expired.IsZero() {
		s.expired = time.Now()
	}
	good := s.expired
	var offline []string
	err := s.store.Expire(ctx, s.conf.Lease, func(alive int, ended []ant.Expire) (gone, spared []string) {
		slow := s.slow(good) || time.Now().Before(s.slowUntil)
		offline, spared = ant.Expired(alive, ended, slow)
		if len(spared) > 0 {
			s.braked.Add(ctx, int64(len(spared)))
			s.log.Error(ant.Alarm(alive, spared), "ants", spared, "database_slow", slow)
		}
		return offline, spared
	})
	if err != nil {
		return err
	}
	s.expired = time.Now()
	if s.slow(good) {
		s.slowUntil = s.expired.Add(s.conf.Lease)
	}
	for _, id := range offline {
		s.log.Warn("lease ended", "ant", id)
		s.listener.Offline(id)
	}
	return nil
}

// slow says whether the last good look is longer ago than the database takes when it is well.
func (s *Sweeper) slow(good time.Time) bool {
	return time.Since(good) > s.conf.Every+s.conf.Lease/3
}

// overdue holds are asked about so many at a time.
const overdue = 5000

// Holds asks supervisor about holds past their deadline: of attempts that are not live they are freed, of live ones
// kept. No answer keeps them.
func (s *Sweeper) Holds(ctx context.Context) error {
	for {
		uids, err := s.store.Overdue(ctx, s.conf.HoldSlack, overdue)
		if err != nil || len(uids) == 0 {
			return err
		}
		if err := s.check(ctx, uids); err != nil {
			return err
		}
		if len(uids) < overdue {
			return nil
		}
	}
}

func (s *Sweeper) check(ctx context.Context, uids []uuid.UUID) error {
	names := make([]string, len(uids))
	for i, u := range uids {
		names[i] = u.String()
	}
	call, cancel := context.WithTimeout(ctx, s.conf.CallTimeout)
	defer cancel()
	res, err := s.attempts.CheckAttempts(call, &executionv1.CheckAttemptsRequest{Uids: names})
	if err != nil {
		return fmt.Errorf("ask about %d attempts, their slots stay held: %w", len(uids), err)
	}
	live := make(map[string]bool, len(res.GetLive()))
	for _, u := range res.GetLive() {
		live[u] = true
	}
	var keep, free []uuid.UUID
	for i, u := range uids {
		if live[names[i]] {
			keep = append(keep, u)
		} else {
			free = append(free, u)
		}
	}
	if len(keep) > 0 {
		if err := s.store.Keep(ctx, keep); err != nil {
			return err
		}
	}
	if len(free) == 0 {
		return nil
	}
	out, err := s.store.FreeOverdue(ctx, free)
	if err != nil {
		return err
	}
	s.leaked.Add(ctx, int64(len(free)))
	s.log.Warn("holds without a live attempt are freed", "holds", len(free), "ants", out.Freed)
	s.listener.Freed(out)
	return nil
}

// Gone removes ants that have been OFFLINE for long and hold nothing.
func (s *Sweeper) Gone(ctx context.Context) error {
	ids, err := s.store.RemoveGone(ctx, s.conf.GoneAfter)
	if err != nil {
		return err
	}
	if len(ids) > 0 {
		s.log.Info("ants are removed", "ants", ids)
	}
	return nil
}
