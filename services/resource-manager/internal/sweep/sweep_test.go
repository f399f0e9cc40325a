package sweep

import (
	"context"
	"errors"
	"log/slog"
	"testing"
	"testing/synctest"
	"time"

	"go.opentelemetry.io/otel/metric/noop"

	"github.com/formicary/formicary/services/resource-manager/internal/ant"
	"github.com/formicary/formicary/services/resource-manager/internal/reserve"
)

// leases are a store whose leases end when the test says so.
type leases struct {
	Store
	err           error
	alive         int
	ended         []ant.Expire
	offline, kept []string
}

func (l *leases) Expire(_ context.Context, _ time.Duration, decide func(int, []ant.Expire) (offline, spared []string)) error {
	l.offline, l.kept = nil, nil
	if l.err == nil && len(l.ended) > 0 {
		l.offline, l.kept = decide(l.alive, l.ended)
	}
	return l.err
}

type nobody struct{}

func (nobody) Offline(string)        {}
func (nobody) Freed(reserve.Outcome) {}

// The lease of an ant may end shortly after the database is back, before the beat that was refused comes again.
func TestLeasesThatEndAfterAnOutageAreSpared(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := &leases{alive: 10}
		s, err := New(Config{Every: time.Second, Lease: 30 * time.Second}, l, nil, nobody{}, slog.New(slog.DiscardHandler), noop.Meter{})
		if err != nil {
			t.Fatal(err)
		}
		look := func() {
			t.Helper()
			if err := s.Leases(t.Context()); !errors.Is(err, l.err) {
				t.Fatal(err)
			}
			time.Sleep(time.Second)
		}
		l.err = errors.New("away") // from the first look on
		for range 20 {
			look()
		}
		l.err = nil
		look()
		l.ended = []ant.Expire{{ID: "a"}}
		look()
		if len(l.offline) > 0 || len(l.kept) != 1 {
			t.Errorf("offline %v, spared %v", l.offline, l.kept)
		}
		l.ended = []ant.Expire{{ID: "a", Braked: true}}
		look()
		if len(l.offline) != 1 {
			t.Error("it is spared twice")
		}
		l.ended = nil
		for range 30 {
			look()
		}
		l.ended = []ant.Expire{{ID: "b"}}
		look()
		if len(l.offline) != 1 {
			t.Error("the outage is never over")
		}
	})
}
