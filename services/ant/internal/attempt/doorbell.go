package attempt

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"github.com/formicary/formicary/libs/errs"
	antv1 "github.com/formicary/formicary/proto/gen/formicary/ant/v1"
	"github.com/formicary/formicary/services/ant/internal/executor"
)

const (
	claimTime = 5 * time.Second
	ringAgain = time.Second
)

var (
	errShut  = errors.New("the ant takes no work now")
	errTwice = errors.New("the attempt runs already")
)

// Ring claims the attempts that doorbells name, in as few calls as it takes, and starts those that it gets. A doorbell is
// acknowledged as soon as the claim is answered: from then on the attempt's life is in the database, not in the message.
func (m *Manager) Ring(ctx context.Context, msgs []jetstream.Msg) error {
	if m.shut() {
		for _, msg := range msgs {
			_ = msg.NakWithDelay(ringAgain)
		}
		return nil
	}
	for _, bells := range claims(m.wanted(msgs)) {
		m.claim(ctx, bells)
	}
	return nil
}

// bell is a doorbell with those of its attempts that are to be claimed and that no bell before it names.
type bell struct {
	msg  jetstream.Msg
	uids []string
}

// mostClaimed is how many attempts one Claim may name.
const mostClaimed = 1000

// claims divides doorbells into as many claims as it takes. A bell is in one of them, so that its message has one answer.
func claims(bells []bell) (all [][]bell) {
	n := 0
	for i := range bells {
		if n += len(bells[i].uids); n > mostClaimed || i == 0 {
			all, n = append(all, nil), len(bells[i].uids)
		}
		last := len(all) - 1
		all[last] = append(all[last], bells[i])
	}
	return all
}

// claim claims the attempts of doorbells and starts those that it gets.
func (m *Manager) claim(ctx context.Context, bells []bell) {
	var uids []string
	for _, b := range bells {
		uids = append(uids, b.uids...)
	}
	var later map[string]bool
	if len(uids) > 0 { // else an earlier claim named them all
		var err error
		if later, err = m.claimUIDs(ctx, uids); err != nil {
			if half := len(bells) / 2; half > 0 && ctx.Err() == nil && together(err) {
				m.deps.Log.Warn("claim failed; its halves are tried", "attempts", len(uids), "error", err)
				m.claim(ctx, bells[:half])
				m.claim(ctx, bells[half:])
				return
			}
			if ctx.Err() == nil {
				m.deps.Log.Warn("claim failed; the doorbells come again", "attempts", len(uids), "error", err)
			}
			m.metrics.claims.Add(ctx, int64(len(uids)), claimFailed)
			for _, b := range bells {
				_ = b.msg.NakWithDelay(ringAgain)
			}
			return
		}
	}
	for _, b := range bells {
		if slices.ContainsFunc(b.uids, func(uid string) bool { return later[uid] }) {
			_ = b.msg.NakWithDelay(ringAgain) // what has begun is known then, what was refused is again
		} else {
			_ = b.msg.Ack()
		}
	}
}

// together says that a claim may have failed for what it names together: the answer is larger than a message may be, or
// one of many cannot be answered. The others must not wait for it, and claimed again they get the same answer.
func together(err error) bool {
	return errs.CodeOf(err) == errs.CodeExhausted || status.Code(err) == codes.Internal
}

// claimUIDs claims attempts, starts those that it gets and returns those that are to be asked for again.
func (m *Manager) claimUIDs(ctx context.Context, uids []string) (later map[string]bool, err error) {
	m.mu.Lock()
	session := m.session
	m.mu.Unlock()
	call, cancel := context.WithTimeout(ctx, claimTime)
	defer cancel()
	res, err := m.deps.Supervisor.Claim(call, &antv1.ClaimRequest{AntId: m.opts.Ant, Session: session, Uids: uids, Partial: true})
	if err != nil {
		return nil, err
	}
	m.heard.Add(1)
	later = map[string]bool{}
	for _, w := range res.GetWorks() {
		if w.GetLater() != "" {
			m.postponed(ctx, w)
			later[w.GetUid()] = true
			continue
		}
		m.accept(ctx, w)
	}
	return later, nil
}

func (m *Manager) postponed(ctx context.Context, w *antv1.Work) {
	m.metrics.claims.Add(ctx, 1, claimFailed)
	m.deps.Log.Warn("a claimed attempt cannot begin yet; it is asked for again", "attempt", w.GetUid(), "reason", w.GetLater())
}

// wanted returns the doorbells whose attempts are to be claimed; it answers those that need no claim.
func (m *Manager) wanted(msgs []jetstream.Msg) (bells []bell) {
	seen := map[string]bool{}
	for _, msg := range msgs {
		var d antv1.Doorbell
		if err := proto.Unmarshal(msg.Data(), &d); err != nil || len(d.GetUids()) == 0 {
			m.deps.Log.Error("a doorbell names no attempt", "bytes", len(msg.Data()), "error", err)
			_ = msg.Term()
			continue
		}
		b, waits := bell{msg: msg}, false
		for _, uid := range d.GetUids() {
			if m.knows(uid) {
				continue
			}
			waits = true
			if !seen[uid] {
				seen[uid] = true
				b.uids = append(b.uids, uid)
			}
		}
		if waits {
			bells = append(bells, b)
		} else {
			_ = msg.Ack()
		}
	}
	return bells
}

func (m *Manager) accept(ctx context.Context, w *antv1.Work) {
	if w.GetRefused() != "" {
		m.metrics.claims.Add(ctx, 1, claimRefused)
		m.deps.Log.Debug("claim refused", "attempt", w.GetUid(), "reason", w.GetRefused())
		return
	}
	m.metrics.claims.Add(ctx, 1, claimTaken)
	a := m.newAttempt(w)
	if err := m.add(a); err != nil {
		// Fenced or draining since the doorbell rang: the attempt has not begun, so it may run elsewhere at once.
		m.deps.Log.Warn("claimed but not started", "attempt", w.GetUid(), "error", err)
		if errors.Is(err, errShut) {
			why := lost("the ant was shut down before the task began")
			a.report(executor.End{}, &why, true)
		}
		return
	}
	go a.run()
}
