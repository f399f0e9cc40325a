package pg_test

import (
	"fmt"
	"testing"

	"github.com/google/uuid"

	"github.com/formicary/formicary/services/supervisor/internal/engine"
	"github.com/formicary/formicary/services/supervisor/internal/execution"
)

// result is the successful end of an attempt as an ant tells it.
func result(uid uuid.UUID, ant string) execution.Event {
	return execution.Event{Kind: execution.AttemptEnded, UID: uid, End: execution.End{
		Ant: ant, Digest: uid[:], Outcome: engine.Outcome{State: engine.AttemptSucceeded, Outputs: map[string]string{"hosts": "[]"}},
	}}
}

// TestAResultIsTakenWhateverSessionItsAntHasNow: an ant may have registered any number of times since the claim, and what
// it has done must not be done again. What another ant says, and what is said of a dead attempt, changes nothing.
func TestAResultIsTakenWhateverSessionItsAntHasNow(t *testing.T) {
	for name, list := range map[string]func(*execution.Report, uuid.UUID){
		"while it runs": func(r *execution.Report, uid uuid.UUID) { r.Running = []uuid.UUID{uid} },
		"in the spool":  func(r *execution.Report, uid uuid.UUID) { r.Spooled = []uuid.UUID{uid} },
	} {
		t.Run(name, func(t *testing.T) {
			c := newColony(t, fmt.Sprintf(wide, 2))
			x := c.start(1)[0]
			sync := func(generation int64, first bool) execution.Answer {
				r := execution.Report{Ant: c.ant, Session: uuid.New(), Generation: generation, First: first}
				list(&r, x.UID)
				answers, _, err := c.store.Sync(t.Context(), []execution.Report{r})
				if err != nil || len(answers[0].Stop) > 0 || len(answers[0].Settled) > 0 {
					t.Fatalf("generation %d: %+v, %v", generation, answers, err)
				}
				return answers[0]
			}
			for generation := range int64(4) { // claimed in one session, ended in another, delivered in a third
				sync(generation+1, true)
			}
			events := []execution.Event{result(x.UID, "ant2"), result(x.UID, c.ant), result(x.UID, c.ant), result(x.UID, "ant2")}
			events[3].End.Digest = []byte("other")
			for i, want := range []execution.Verdict{execution.Stale, execution.Applied, execution.Replayed, execution.Stale} {
				v, err := c.store.Step(t.Context(), events[i:i+1])
				if err != nil || v[0] != want {
					t.Errorf("result %d is %s, want %s: %v", i, v, want, err)
				}
			}
			c.audit()
		})
	}
}
