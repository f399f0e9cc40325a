// Package lead is what a scheduler does while it leads: read the queue, plan, admit, and again when something woke it.
//
// A pass that is woken while the process is idle begins at once. After a pass the leader rests as long as the pass
// took, at most 10 ms, so that under load wake-ups gather into fewer, larger passes and half of a core stays free. The
// fleet changes seldom and says so, so it is read only after a hint and by the sweep, never on the way of a lone job.
package lead

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"google.golang.org/grpc"

	"github.com/formicary/formicary/libs/errs"
	"github.com/formicary/formicary/libs/run"
	jobv1 "github.com/formicary/formicary/proto/gen/formicary/job/v1"
	resourcev1 "github.com/formicary/formicary/proto/gen/formicary/resource/v1"
	"github.com/formicary/formicary/services/scheduler/internal/election"
)

// Config of a leader.
type Config struct {
	// ID of this process.
	ID string
	// HeadLimit is how many pending requests per job type are read at least; more when the slots ask for it.
	HeadLimit int
	// SweepIdle is the time between passes that nothing woke, SweepWaiting the same while something waits on a gate.
	SweepIdle, SweepWaiting time.Duration
	// CallTimeout bounds each call to a peer.
	CallTimeout time.Duration
	// ResignAfter is how long a leader may get nothing done before it lets another try.
	ResignAfter time.Duration
}

// Leader plans and admits.
type Leader struct {
	conf  Config
	queue jobv1.AdmissionServiceClient
	ants  resourcev1.ReservationServiceClient
	hints *Hints
	stats *Stats
	log   *slog.Logger
}

// New returns a leader.
func New(conf Config, jobs, resources grpc.ClientConnInterface, hints *Hints, stats *Stats, log *slog.Logger) *Leader {
	return &Leader{
		conf: conf, queue: jobv1.NewAdmissionServiceClient(jobs), ants: resourcev1.NewReservationServiceClient(resources),
		hints: hints, stats: stats, log: log,
	}
}

// errFenced ends a term: a newer one has begun.
var errFenced = errors.New("a newer leader has begun")

// errUseless ends a term in which nothing can be done: another process may reach what this one does not.
var errUseless = errors.New("the leader gets nothing done")

const (
	fencedReason = "FENCED"
	restMax      = 10 * time.Millisecond
	retryMin     = 20 * time.Millisecond
	retryMax     = time.Second
	farewellTime = 2 * time.Second
)

// Lead leads one term, until ctx ends or a newer leader is found to have begun.
func (l *Leader) Lead(ctx context.Context, t election.Term) error {
	epoch, err := l.begin(ctx, t)
	if err != nil {
		return err
	}
	l.log.Info("epoch began", "id", l.conf.ID, "epoch", epoch)
	l.stats.began(ctx, epoch)
	defer l.stats.ended(context.WithoutCancel(ctx))
	term := &term{Leader: l, epoch: epoch, squeeze: 1}
	err = term.loop(ctx)
	if errors.Is(context.Cause(ctx), election.ErrLeaseLost) && !errors.Is(err, errFenced) {
		return term.farewell(ctx)
	}
	return err
}

// begin starts the term's epoch; job-manager may come up later than the leader.
func (l *Leader) begin(ctx context.Context, t election.Term) (int64, error) {
	began := time.Now()
	for pause := retryMin; ; pause = min(2*pause, retryMax) {
		call, cancel := context.WithTimeout(ctx, l.conf.CallTimeout)
		res, err := l.queue.BeginEpoch(call, &jobv1.BeginEpochRequest{LeaderId: l.conf.ID, ClusterId: t.ClusterID, Revision: t.Revision})
		cancel()
		if err == nil {
			return res.GetEpoch(), nil
		}
		if ctx.Err() != nil {
			return 0, context.Cause(ctx)
		}
		if time.Since(began) > l.conf.ResignAfter {
			return 0, fmt.Errorf("%w: %w", errUseless, err)
		}
		l.log.Warn("the epoch cannot begin yet", "error", err)
		select {
		case <-ctx.Done():
			return 0, context.Cause(ctx)
		case <-time.After(pause):
		}
	}
}

// loop makes passes until ctx ends, the leader is fenced or gets nothing done for long. A pass that fails or panics is
// made again.
func (t *term) loop(ctx context.Context) error {
	sweep := time.NewTimer(0)
	defer sweep.Stop()
	failures, failing := 0, time.Time{} // since when
	for {
		swept := false
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-sweep.C:
			swept = true
		case <-t.hints.submitted.C():
		case <-t.hints.freed.C():
			if !t.last.Waiting {
				continue // nothing waits for what became free
			}
		case <-t.hints.ants.C():
			t.stale = true
			if !t.last.Waiting {
				continue
			}
		}
		began := time.Now()
		err := run.Safely(ctx, func(ctx context.Context) error { return t.passes(ctx, swept) })
		next := t.next()
		switch {
		case ctx.Err() != nil:
			return context.Cause(ctx)
		case errors.Is(err, errFenced):
			return err
		case err != nil:
			if failures++; failures == 1 {
				failing = began
			}
			if failures > 1 && time.Since(failing) > t.conf.ResignAfter {
				return fmt.Errorf("%w: %w", errUseless, err)
			}
			next = min(next, retryMin<<min(failures, 6), retryMax)
			t.log.Error("pass failed", "failures", failures, "error", err)
		default:
			failures = 0
		}
		sweep.Reset(next)
		if !pause(ctx, min(time.Since(began), restMax)) {
			return context.Cause(ctx)
		}
	}
}

// next is when to look again if nothing wakes the leader before.
func (t *term) next() time.Duration {
	next := t.conf.SweepIdle
	if t.last.Waiting {
		next = t.conf.SweepWaiting
	}
	if t.last.Wake > 0 {
		next = min(next, t.last.Wake)
	}
	return next
}

// farewell sends one more decision, an empty one, after the lease was lost for certain: where this process was stopped
// for a while, the fence is seen at work although no real write happened to come too late. The owner of the queue
// refuses it when another leads by now, and both sides count that; when nobody does, there is nothing to be stored.
func (t *term) farewell(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), farewellTime)
	defer cancel()
	_, err := t.queue.Admit(ctx, &jobv1.AdmitRequest{Epoch: t.epoch, LeaderId: t.conf.ID}, grpc.WaitForReady(true))
	if errs.Reason(err) == fencedReason {
		t.stats.fence(ctx)
		return errFenced
	}
	return election.ErrLeaseLost
}

func pause(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-timer.C:
		return true
	}
}
