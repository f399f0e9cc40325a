package reconcile

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/uuid"
	"go.opentelemetry.io/otel/metric/noop"

	"github.com/formicary/formicary/services/supervisor/internal/execution"
)

// sickStore cannot apply the events of one execution.
type sickStore struct {
	Store
	sick        uuid.UUID
	applied     map[uuid.UUID]int
	tries       int
	quarantined int
}

var errAway = errors.New("the database is away")

func (s *sickStore) StepIdle(_ context.Context, events []execution.Event) ([]execution.Verdict, error) {
	for _, e := range events {
		if e.Execution == s.sick {
			s.tries++
			panic("sick")
		}
		if e.Execution == uuid.Nil {
			return nil, errAway
		}
	}
	verdicts := make([]execution.Verdict, len(events))
	for i, e := range events {
		s.applied[e.Execution]++
		verdicts[i] = execution.Applied
	}
	return verdicts, nil
}

func (s *sickStore) Quarantine(context.Context, string, string, []byte, string) error {
	s.quarantined++
	return nil
}

// TestOneBadEventDoesNotStopTheOthers: it is set aside, tried again ever less often, and shown.
func TestOneBadEventDoesNotStopTheOthers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := &sickStore{sick: uuid.New(), applied: map[uuid.UUID]int{}}
		r, err := New(DefaultConfig(), store, func(err error) bool { return errors.Is(err, errAway) },
			slog.New(slog.NewTextHandler(io.Discard, nil)), noop.Meter{})
		if err != nil {
			t.Fatal(err)
		}
		const rounds = 100
		well := uuid.New()
		for range rounds {
			n, err := r.apply(t.Context(), "timer", []execution.Event{
				{Kind: execution.Deadline, Execution: store.sick}, {Kind: execution.Deadline, Execution: well},
			})
			if err != nil || n != 1 {
				t.Fatalf("applied %d, %v", n, err)
			}
			time.Sleep(time.Second)
		}
		if store.applied[well] != rounds || store.quarantined != 1 || store.tries > 20 {
			t.Errorf("applied %d, quarantined %d, tried %d times", store.applied[well], store.quarantined, store.tries)
		}
		store.tries = 0
		if _, err := r.apply(t.Context(), "timer", []execution.Event{{Kind: execution.Deadline}}); !errors.Is(err, errAway) {
			t.Errorf("got %v", err)
		}
	})
}
