package ant_test

import (
	"testing"
	"time"

	"github.com/coder/websocket"
	"github.com/google/uuid"

	"github.com/formicary/formicary/libs/testkit"
	"github.com/formicary/formicary/services/ant/internal/wire"
)

// TestWorkerMovesToAnotherBridge cuts a worker with a running task off from one bridge and lets it connect to another one
// while the first still waits for it.
func TestWorkerMovesToAnotherBridge(t *testing.T) {
	t.Parallel()
	c := newColony(t)
	here, _ := c.bridge(nil)
	there, _ := c.bridge(nil)
	s, _ := enter(t, here, &wire.Message{WorkerID: "w"})
	c.registered("w")
	uid := c.dispatchTo("w", remote("WEBSOCKET"))
	s.hear(wire.TypeTask)
	s.say(&wire.Message{Type: wire.TypeAccept, UID: uid})
	c.isRunning(uid)
	_ = s.ws.CloseNow()

	unknown := uuid.NewString()
	s, hello := enter(t, there, &wire.Message{WorkerID: "w", Resume: []string{uid, unknown, "rubbish"}})
	same(t, "resumed", hello.Resumed, []string{uid})
	same(t, "gone", hello.Gone, []string{unknown, "rubbish"})
	c.do(func() { same(t, "sessions", len(c.sessions), 2) })
	testkit.Eventually(t, 10*time.Second, "the first bridge has given the worker up", c.is(func() bool { return c.refused > 0 }))
	s.say(&wire.Message{Type: wire.TypeLog, UID: uid, Lines: []string{"still at it"}})
	s.say(&wire.Message{Type: wire.TypeReply, UID: uid, Status: wire.Completed})
	same3(t, c.result(uid), "SUCCEEDED", "", "")
	c.settled()
	c.do(func() { same(t, "results", len(c.results[uid]), 1) })

	// It gets work as before.
	next := c.dispatchTo("w", remote("WEBSOCKET"))
	same(t, "task", s.hear(wire.TypeTask).UID, next)
	s.say(&wire.Message{Type: wire.TypeReply, UID: next, Status: wire.Completed})
	same3(t, c.result(next), "SUCCEEDED", "", "")
}

// TestWorkerOfADeadBridge connects with a task of which only the colony knows.
func TestWorkerOfADeadBridge(t *testing.T) {
	t.Parallel()
	c := newColony(t)
	url, _ := c.bridge(nil)
	uid := uuid.NewString()
	w := remote("WEBSOCKET")
	w.Uid = uid
	c.do(func() { c.taken[uid] = w })
	s, hello := enter(t, url, &wire.Message{WorkerID: "w", Resume: []string{uid}})
	same(t, "resumed", hello.Resumed, []string{uid})
	s.say(&wire.Message{Type: wire.TypeReply, UID: uid, Status: wire.Failed, ExitCode: 7})
	same(t, "code", c.result(uid).GetExitCode(), 7)
	c.settled()
}

// TestMovedWorkerThatForgetsLosesTheAttempt never sends a task again that was under way at another bridge.
func TestMovedWorkerThatForgetsLosesTheAttempt(t *testing.T) {
	t.Parallel()
	c := newColony(t)
	url, _ := c.bridge(nil)
	uid := uuid.NewString()
	w := remote("WEBSOCKET")
	w.Uid = uid
	c.do(func() { c.taken[uid] = w })
	s, _ := enter(t, url, &wire.Message{WorkerID: "w", Resume: []string{uid}})
	_ = s.ws.CloseNow()
	enter(t, url, &wire.Message{WorkerID: "w"})
	same3(t, c.result(uid), "LOST", "infra", "without the attempt")
}

// TestWorkerComesAgainWhileTheColonyIsSilent is told to connect later, and goes on then.
func TestWorkerComesAgainWhileTheColonyIsSilent(t *testing.T) {
	t.Parallel()
	c := newColony(t)
	url, _ := c.bridge(nil)
	uid := uuid.NewString()
	w := remote("WEBSOCKET")
	w.Uid = uid
	c.do(func() { c.taken[uid], c.claimError = w, aborted("AWAY") })
	s := dial(t, url)
	s.say(&wire.Message{Type: wire.TypeRegister, WorkerID: "w", Resume: []string{uid}})
	same(t, "code", s.closed().Code, websocket.StatusTryAgainLater)
	c.do(func() { c.claimError = nil })
	_, hello := enter(t, url, &wire.Message{WorkerID: "w", Resume: []string{uid}})
	same(t, "resumed", hello.Resumed, []string{uid})
}
