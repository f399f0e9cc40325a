package reserve_test

import (
	"context"
	"errors"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/formicary/formicary/libs/testkit"
	"github.com/formicary/formicary/services/resource-manager/internal/place"
	"github.com/formicary/formicary/services/resource-manager/internal/reserve"
)

func TestMain(m *testing.M) { testkit.Main(m) }

// store answers each ask with its own uid as the ant and counts transactions. The first one waits for go.
type store struct {
	mu    sync.Mutex
	calls int
	first chan struct{} // closed when the first transaction has begun
	begin chan struct{} // the first transaction waits for it
	err   error
}

func (s *store) Reserve(_ context.Context, c reserve.Call) (reserve.Outcome, error) {
	s.mu.Lock()
	s.calls++
	n := s.calls
	s.mu.Unlock()
	if n == 1 && s.first != nil {
		close(s.first)
		<-s.begin
	}
	out := reserve.Outcome{Deadline: time.Unix(1, 0)}
	for _, k := range c.Asks {
		out.Answers = append(out.Answers, reserve.Answer{Answer: place.Answer{Ant: k.UID.String()}})
	}
	for range c.Releases {
		out.Freed = append(out.Freed, "a")
	}
	return out, s.err
}

func asks(n int) []reserve.Ask {
	out := make([]reserve.Ask, n)
	for i := range out {
		out[i].UID = uuid.New()
	}
	return out
}

func TestCallsAreJoinedAndAnsweredApart(t *testing.T) {
	s := &store{first: make(chan struct{}), begin: make(chan struct{})}
	d := reserve.NewBatcher(s, func(string) {})
	testkit.Run(t, d.Run)
	var wg sync.WaitGroup
	call := func(n int) {
		mine := asks(n)
		out, err := d.Reserve(t.Context(), reserve.Call{Asks: mine})
		if err != nil || len(out.Answers) != n || out.Deadline.IsZero() {
			t.Errorf("%+v, %v", out, err)
			return
		}
		for i, a := range out.Answers {
			if a.Ant != mine[i].UID.String() {
				t.Errorf("answer %d belongs to another", i)
			}
		}
	}
	wg.Go(func() { call(1) })
	<-s.first
	for i := range 8 {
		wg.Go(func() { call(i) })
	}
	close(s.begin)
	wg.Wait()
	if s.calls > 9 {
		t.Errorf("%d transactions", s.calls)
	}
}

func TestFailureReachesEveryCaller(t *testing.T) {
	s := &store{err: errors.New("down")}
	d := reserve.NewBatcher(s, func(string) {})
	testkit.Run(t, d.Run)
	for range 3 {
		if _, err := d.Reserve(t.Context(), reserve.Call{Asks: asks(1)}); !errors.Is(err, s.err) {
			t.Error(err)
		}
	}
}

func TestFreedSlotsAreToldWhenSomebodyWaits(t *testing.T) {
	told := ""
	d := reserve.NewBatcher(&store{}, func(ant string) { told += ant })
	for _, out := range []reserve.Outcome{{Freed: []string{"a"}}, {Wanted: true}, {Freed: []string{"b", "c"}, Wanted: true}} {
		d.NotifyFreed(out)
	}
	if told != "b" {
		t.Errorf("told %q, want b", told)
	}
}
