package attempt

import (
	"context"
	"errors"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"google.golang.org/protobuf/proto"

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

// Ring claims the attempts that doorbells name, in one call, and starts those that it gets. A doorbell is acknowledged
// as soon as the claim is answered: from then on the attempt's life is in the database, not in the message.
func (m *Manager) Ring(ctx context.Context, msgs []jetstream.Msg) error {
	if m.shut() {
		for _, msg := range msgs {
			_ = msg.NakWithDelay(ringAgain)
		}
		return nil
	}
	uids, rung := m.wanted(msgs)
	if len(uids) == 0 {
		return nil
	}
	m.mu.Lock()
	session := m.session
	m.mu.Unlock()
	call, cancel := context.WithTimeout(ctx, claimTime)
	defer cancel()
	res, err := m.deps.Supervisor.Claim(call, &antv1.ClaimRequest{AntId: m.opts.Ant, Session: session, Uids: uids})
	if err != nil {
		if ctx.Err() == nil {
			m.deps.Log.Warn("claim failed; the doorbells come again", "attempts", len(uids), "error", err)
		}
		m.metrics.claims.Add(ctx, int64(len(uids)), claimFailed)
		for _, msg := range rung {
			_ = msg.NakWithDelay(ringAgain)
		}
		return nil
	}
	for _, w := range res.GetWorks() {
		m.take(ctx, w)
	}
	for _, msg := range rung {
		_ = msg.Ack()
	}
	return nil
}

// wanted returns the attempts to claim and their messages; it answers the messages that need no claim.
func (m *Manager) wanted(msgs []jetstream.Msg) (uids []string, rung []jetstream.Msg) {
	seen := map[string]bool{}
	for _, msg := range msgs {
		var bell antv1.Doorbell
		if err := proto.Unmarshal(msg.Data(), &bell); err != nil || len(bell.GetUids()) == 0 {
			m.deps.Log.Error("a doorbell names no attempt", "bytes", len(msg.Data()), "error", err)
			_ = msg.Term()
			continue
		}
		waits := false
		for _, uid := range bell.GetUids() {
			if m.knows(uid) {
				continue
			}
			waits = true
			if !seen[uid] {
				seen[uid] = true
				uids = append(uids, uid)
			}
		}
		if waits {
			rung = append(rung, msg)
		} else {
			_ = msg.Ack()
		}
	}
	return uids, rung
}

func (m *Manager) take(ctx context.Context, w *antv1.Work) {
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
			a.report(executor.End{}, &why)
		}
		return
	}
	go a.run()
}
