package notify

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/uuid"
)

// shelf is a store in memory.
type shelf struct {
	mu   sync.Mutex
	rows []*Delivery
	// away makes it fail, once for each.
	away int
}

func (s *shelf) add(host string, n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for range n {
		s.rows = append(s.rows, &Delivery{ID: uuid.New(), Host: host, State: Pending, CreatedAt: time.Now(), NextAt: time.Now()})
	}
}

func (s *shelf) failing() error {
	if s.away > 0 {
		s.away--
		return errors.New("the database is away")
	}
	return nil
}

func (s *shelf) Due(_ context.Context, t Take) ([]Delivery, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.failing(); err != nil {
		return nil, err
	}
	var out []Delivery
	hosts := map[string]int{}
	for _, r := range s.rows {
		if r.State == Pending && !r.NextAt.After(time.Now()) && len(out) < t.Limit && hosts[r.Host] < t.PerHost && !slices.Contains(t.Busy, r.Host) {
			hosts[r.Host]++
			r.Attempts++
			r.NextAt = time.Now().Add(t.Lease)
			out = append(out, *r)
		}
	}
	return out, nil
}

func (s *shelf) Next(_ context.Context, busy []string) (time.Duration, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	next := time.Hour
	for _, r := range s.rows {
		if r.State == Pending && !slices.Contains(busy, r.Host) {
			next = min(next, time.Until(r.NextAt))
		}
	}
	return next, nil
}

func (s *shelf) SaveOutcomes(_ context.Context, outcomes []Outcome) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.failing(); err != nil {
		return err
	}
	for _, o := range outcomes {
		i := slices.IndexFunc(s.rows, func(r *Delivery) bool { return r.ID == o.ID })
		if r := s.rows[i]; r.Attempts == o.Attempt && r.State == Pending {
			r.State, r.Error, r.NextAt = o.State, o.Error, time.Now().Add(o.Pause)
		}
	}
	return nil
}

func (s *shelf) Forget(context.Context, time.Duration, int) (int, error) { return 0, nil }

func (s *shelf) states() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	n := map[State]int{}
	for _, r := range s.rows {
		n[r.State]++
	}
	return fmt.Sprintf("%d pending, %d sent, %d failed", n[Pending], n[Sent], n[Failed])
}

// post is a sender.
type post func(ctx context.Context, d *Delivery) error

func (p post) Send(ctx context.Context, d *Delivery) error { return p(ctx, d) }

// dispatching runs a dispatcher until f returns.
func dispatching(t *testing.T, s *shelf, p post, f func(d *Dispatcher)) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	d := NewDispatcher(DefaultOptions(), slog.New(slog.DiscardHandler), s, p)
	done := make(chan error)
	go func() { done <- d.Run(ctx) }()
	synctest.Wait()
	f(d)
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
}

func TestDispatcherGivesUpAfterAnHour(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &shelf{}
		s.add("h", 1)
		begin, last, n := time.Now(), time.Duration(0), 0
		dispatching(t, s, func(context.Context, *Delivery) error {
			last, n = time.Since(begin), n+1
			return errors.New("no")
		}, func(*Dispatcher) { time.Sleep(2 * time.Hour) })
		if s.states() != "0 pending, 0 sent, 1 failed" || n < 10 || n > 16 || last < 40*time.Minute || last > time.Hour {
			t.Errorf("%s after %d attempts in %s", s.states(), n, last)
		}
	})
}

// TestDispatcherIsFair has a host that answers nothing beside one that does.
func TestDispatcherIsFair(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &shelf{}
		s.add("dead", 500)
		s.add("good", 40)
		var mu sync.Mutex
		running, most, sent := 0, 0, 0
		dispatching(t, s, func(ctx context.Context, d *Delivery) error {
			if d.Host == "good" {
				mu.Lock()
				sent++
				mu.Unlock()
				return nil
			}
			mu.Lock()
			running++
			most = max(most, running)
			mu.Unlock()
			<-ctx.Done()
			mu.Lock()
			running--
			mu.Unlock()
			return ctx.Err()
		}, func(*Dispatcher) { time.Sleep(time.Second) })
		if sent != 40 || most != DefaultOptions().PerHost {
			t.Errorf("%d sent within a second, %d to the dead host at once", sent, most)
		}
	})
}

func TestDispatcherWakes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &shelf{}
		dispatching(t, s, func(context.Context, *Delivery) error { return nil }, func(d *Dispatcher) {
			begin := time.Now()
			s.add("h", 100) // more than are tried at once
			d.Wake()
			for s.states() != "0 pending, 100 sent, 0 failed" {
				time.Sleep(time.Millisecond)
			}
			if took := time.Since(begin); took > 200*time.Millisecond {
				t.Errorf("it took %s", took)
			}
		})
	})
}

// TestDispatcherSurvives has a database that goes away, a row that cannot be read, a sender that panics.
func TestDispatcherSurvives(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &shelf{away: 3}
		s.add("h", 3)
		s.rows[0].Broken = errors.New("no JSON")
		tried := map[uuid.UUID]int{}
		var mu sync.Mutex
		dispatching(t, s, func(_ context.Context, d *Delivery) error {
			mu.Lock()
			defer mu.Unlock()
			tried[d.ID]++
			if d.ID == s.rows[1].ID && tried[d.ID] == 1 {
				panic("a bad row")
			}
			s.mu.Lock()
			s.away++ // the outcome cannot be stored at once
			s.mu.Unlock()
			return nil
		}, func(*Dispatcher) { time.Sleep(time.Minute) })
		if s.states() != "0 pending, 2 sent, 1 failed" || tried[s.rows[0].ID] != 0 || tried[s.rows[1].ID] != 2 || tried[s.rows[2].ID] != 1 {
			t.Errorf("%s, %v", s.states(), tried)
		}
	})
}

// TestDispatcherEnds lets go of what is under way, so that the next one tries it at once.
func TestDispatcherEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &shelf{}
		s.add("h", 1)
		dispatching(t, s, func(ctx context.Context, _ *Delivery) error { <-ctx.Done(); return ctx.Err() }, func(*Dispatcher) {})
		if r := s.rows[0]; r.State != Pending || r.NextAt.After(time.Now()) {
			t.Errorf("%+v", r)
		}
	})
}
