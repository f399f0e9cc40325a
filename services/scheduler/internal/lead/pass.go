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

	behind  map[typeKey]plan.Place // where the next look behind held heads begins
	deepAt  time.Time              // when that is due
	squeeze int                    // the usual number of heads is divided by it after an answer that was too large

	written   []plan.Gate // as stored by the last write of this term
	writtenAt time.Time   // zero: not known what is stored
}

type typeKey struct{ org, jobType string }

const (
	headsMax     = 2000                   // that are wanted of a queue
	deepTypes    = 100                    // that are looked behind at once
	deepEvery    = 100 * time.Millisecond // or deepShare times what a look behind has taken, whichever is longer
	deepShare    = 20
	squeezeMax   = 1 << 12
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
	if err := t.look(ctx); err != nil {
		return 0, err
	}
	deep := len(t.last.Blind) > 0 && (swept || !time.Now().Before(t.deepAt))
	s, now, err := t.read(ctx)
	if err == nil && deep {
		began := time.Now()
		err = t.readBehind(ctx, &s)
		t.deepAt = time.Now().Add(max(deepEvery, deepShare*time.Since(began)))
	}
	if err != nil {
		t.last.Blind = nil // the next look is a short one
		if errs.CodeOf(err) == errs.CodeExhausted {
			t.squeeze = min(2*t.squeeze, squeezeMax)
		}
		return 0, fmt.Errorf("read queue: %w", err)
	}
	t.squeeze = max(t.squeeze/2, 1)
	t.last = plan.Plan(s, now)
	return t.admit(ctx, swept)
}

// read reads the whole queue, page by page.
func (t *term) read(ctx context.Context) (s plan.Snapshot, now time.Time, err error) {
	req := &jobv1.ReadQueueRequest{HeadLimit: int32(t.heads())}
	for {
		res, err := t.readQueue(ctx, req)
		if err != nil {
			return s, now, err
		}
		page := snapshot(res, t.fleet)
		if req.GetPageToken() == "" {
			s, now = page, res.GetNow().AsTime()
		} else {
			s.Types = append(s.Types, page.Types...)
		}
		if req.PageToken = res.GetNextPageToken(); req.GetPageToken() == "" {
			return s, now, nil
		}
	}
}

// readBehind adds to the heads of queues that are all held what stands behind them, a part with each look: another class
// among them may start. After the last part it begins anew.
func (t *term) readBehind(ctx context.Context, s *plan.Snapshot) error {
	types := map[typeKey]*plan.Type{}
	for i := range s.Types {
		types[typeKey{s.Types[i].Org, s.Types[i].Name}] = &s.Types[i]
	}
	req := &jobv1.ReadQueueRequest{HeadLimit: int32(max(headsMax/t.squeeze, 1))}
	behind := map[typeKey]plan.Place{}
	for _, b := range t.last.Blind {
		k := typeKey{b.Org, b.Type}
		q := types[k]
		if q == nil || q.Pending <= len(q.Heads) {
			continue
		}
		from := plan.Place{Org: b.Org, Type: b.Type, Head: q.Heads[len(q.Heads)-1]}
		if known, ok := t.behind[k]; ok && plan.Before(&from.Head, &known.Head) {
			from = known
		}
		behind[k] = from
	}
	for k, from := range behind { // in any order: over time each has its turn
		if len(req.GetBehind()) == deepTypes {
			break
		}
		req.Behind = append(req.Behind, place(from))
		delete(behind, k)
	}
	t.behind = behind // of those that have to wait
	if len(req.GetBehind()) == 0 {
		return nil
	}
	res, err := t.readQueue(ctx, req)
	if err != nil {
		return err
	}
	for _, more := range snapshot(res, t.fleet).Types {
		k := typeKey{more.Org, more.Name}
		q := types[k]
		if q == nil || len(more.Heads) == 0 {
			continue
		}
		q.Heads = append(q.Heads, more.Heads...)
		q.Pending = len(q.Heads) + 1 // what stands between is held, and looked at again
		if more.Pending > len(more.Heads) {
			t.behind[k] = plan.Place{Org: more.Org, Type: more.Name, Head: more.Heads[len(more.Heads)-1]}
		}
	}
	return nil
}

func (t *term) readQueue(ctx context.Context, req *jobv1.ReadQueueRequest) (*jobv1.ReadQueueResponse, error) {
	ctx, cancel := context.WithTimeout(ctx, t.conf.CallTimeout)
	defer cancel()
	return t.queue.ReadQueue(ctx, req)
}

// look reads the fleet when it may have changed. While it cannot be read, the one known before is good enough.
func (t *term) look(ctx context.Context) error {
	if t.fleet != nil && !t.stale {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, t.conf.CallTimeout)
	defer cancel()
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

// heads is how far into each queue to look: as far as the slots could take from one.
func (t *term) heads() int {
	return max(min(max(t.conf.HeadLimit, 2*t.fleet.Slots()), headsMax)/t.squeeze, 1)
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
	ctx, cancel := context.WithTimeout(ctx, t.conf.CallTimeout)
	defer cancel()
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
