package pg

import (
	"time"

	"github.com/google/uuid"

	"github.com/formicary/formicary/services/supervisor/internal/engine"
	"github.com/formicary/formicary/services/supervisor/internal/execution"
)

func lost(uid uuid.UUID, message string, notBefore time.Time, still func(*execution.Attempt, time.Time) bool) execution.Event {
	return execution.Event{Kind: execution.AttemptEnded, UID: uid, End: execution.End{
		Outcome: engine.Outcome{State: engine.AttemptLost, FailureClass: engine.ClassInfra, Message: message, NotBefore: notBefore},
		Still:   still,
	}}
}

// lostByRestart ends an attempt of an earlier session that the restarted ant does not have.
func lostByRestart(uid, session uuid.UUID) execution.Event {
	return lost(uid, "its ant restarted without it", time.Time{}, func(a *execution.Attempt, _ time.Time) bool { return a.Session == session })
}

// notListed ends an attempt that its ant no longer reports.
func notListed(uid, session uuid.UUID) execution.Event {
	return lost(uid, "its ant no longer has it", time.Time{}, func(a *execution.Attempt, _ time.Time) bool {
		return a.Session == session && a.Missed > missesAllowed
	})
}
