package lead

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/formicary/formicary/libs/errs"
	jobv1 "github.com/formicary/formicary/proto/gen/formicary/job/v1"
	resourcev1 "github.com/formicary/formicary/proto/gen/formicary/resource/v1"
	"github.com/formicary/formicary/services/scheduler/internal/plan"
)

// term is what the leader remembers between passes. A new term starts with nothing.
type term struct {
	*Leader
	epoch int64
	fleet *plan.Fleet   // as last read; nil before
	stale bool          // the fleet may have changed
	last  plan.Decision // of the newest plan

	depth  int       // how much further than usual to look when all that was seen is held
	deepAt time.Time // when that was done last

	written   []plan.Gate // as stored by the last write of this term
	writtenAt time.Time   // zero: not known what is stored
}

const (
	headsMax     = 2000 // in a usual look
	deepMax      = 5000
	deepFactor   = 8
	deepEvery    = 100 * time.Millisecond
	rewriteAfter = 250 * time.Millisecond
)

// passes plans and admits until nothing better than what was seen can be hidden.
func (t *term) passes(ctx context.Context, swept bool) error {
	t.stale = t.stale || swept
	for {
		began := time.Now()
		n, err := t.pass(ctx, swept)
		if err != nil {
			return err
		}
		t.stats.pass(ctx, n, time.Since(began))
		if !t.last.More || n == 0 {
			return nil
		}
	}
}

// pass is one round: read, plan, admit. It returns how many requests were admitted.
func (t *term) pass(ctx context.Context, swept bool) (int, error) {
	ctx, cancel := context.WithTimeout(ctx, t.conf.CallTimeout)
	defer cancel()
	if err := t.look(ctx); err != nil {
		return 0, err
	}
	deep := t.last.Blind && (swept || time.Since(t.deepAt) >= deepEvery)
	res, err := t.queue.ReadQueue(ctx, &jobv1.ReadQueueRequest{HeadLimit: int32(t.heads(deep))})
	if err != nil {
		t.last.Blind = false // the next look is a short one
		return 0, fmt.Errorf("read queue: %w", err)
	}
	t.last = plan.Plan(snapshot(res, t.fleet), res.GetNow().AsTime())
	switch {
	case deep:
		t.deepAt = time.Now()
		if t.last.Blind {
			t.depth = min(t.depth*deepFactor, deepMax)
		}
	case !t.last.Blind:
		t.depth = deepFactor
	}
	return t.admit(ctx, swept)
}

// look reads the fleet when it may have changed. While it cannot be read, the one known before is good enough.
func (t *term) look(ctx context.Context) error {
	if t.fleet != nil && !t.stale {
		return nil
	}
	res, err := t.ants.GetCapacity(ctx, &resourcev1.GetCapacityRequest{})
	switch {
	case err == nil:
		t.fleet, t.stale = fleet(res), false
	case t.fleet == nil:
		return fmt.Errorf("read capacity: %w", err)
	default:
		t.log.Warn("planning with the ants known before", "error", err)
	}
	return nil
}

// heads is how far into each queue to look: as far as the slots could take from one, and now and then further when
// everything seen was held, because something else may be behind it. Each deep look that finds nothing makes the next
// one deeper.
func (t *term) heads(deep bool) int {
	n := min(max(t.conf.HeadLimit, 2*t.fleet.Slots()), headsMax)
	if deep {
		return min(n*t.depth, deepMax)
	}
	return n
}

// admit writes the decision, all of it in one call, when there is something to write.
func (t *term) admit(ctx context.Context, swept bool) (int, error) {
	d := t.last
	rewrite := t.outdated(d.Gates, swept)
	if len(d.Admit) == 0 && !rewrite {
		return 0, nil
	}
	req := &jobv1.AdmitRequest{Epoch: t.epoch, LeaderId: t.conf.ID, RequestIds: d.Admit, GatesChanged: rewrite}
	if rewrite {
		req.Gates = gates(d.Gates)
	}
	res, err := t.queue.Admit(ctx, req)
	if errs.Reason(err) == fencedReason {
		t.stats.fence(ctx)
		return 0, errFenced
	}
	if err != nil {
		t.writtenAt = time.Time{}
		return 0, fmt.Errorf("admit %d requests: %w", len(d.Admit), err)
	}
	if rewrite {
		t.written, t.writtenAt = d.Gates, time.Now()
	}
	return len(res.GetRequestIds()), nil
}

// outdated says whether the stored gates must be replaced: at once when one opened or closed; when only the words changed
// (counts, holders), a little later, so that a busy gate is not rewritten with every request.
func (t *term) outdated(now []plan.Gate, swept bool) bool {
	if t.writtenAt.IsZero() || !slices.EqualFunc(now, t.written, sameGate) {
		return true
	}
	if !swept && time.Since(t.writtenAt) < rewriteAfter {
		return false
	}
	return !slices.EqualFunc(now, t.written, sameWords)
}

func sameGate(a, b plan.Gate) bool {
	return a.Kind == b.Kind && a.Org == b.Org && a.JobType == b.JobType && a.Class == b.Class
}

func sameWords(a, b plan.Gate) bool {
	return sameGate(a, b) && a.Reason == b.Reason && slices.Equal(a.Holders, b.Holders)
}
