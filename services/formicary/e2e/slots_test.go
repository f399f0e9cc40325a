package e2e

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/formicary/formicary/libs/colony"
	"github.com/formicary/formicary/libs/pgdb"
)

const (
	sampleEvery = 50 * time.Millisecond
	// settle is what a replica gets after it says that it is ready, for its first round.
	settle = time.Second
)

// dispatching are the services that a task needs to get from READY to an ant.
var dispatching = []string{"supervisor", "resource-manager"}

// slotWatch looks for tasks that are READY although slots are free. It counts only time in which a dispatcher and a
// resource-manager lived from the beginning to the end, and in which it could look itself.
type slotWatch struct {
	t         *testing.T
	most      time.Duration // that a task may wait beside free slots
	execution *pgxpool.Pool
	resource  *pgxpool.Pool
	replicas  []*replica // of what dispatches
	http      *http.Client
	stop      context.CancelFunc
	done      sync.WaitGroup

	// Of one goroutine until done.
	began   time.Time     // of the idleness that is being looked at; zero: none
	pressed time.Duration // how long processes had waited for a processor when it began
	oldest  string        // the task that has been waiting since then
	told    time.Time     // the idleness that found ends with
	last    time.Time     // of the last look
	longest time.Duration
	found   []string
	looks   int
}

// watchSlots begins to look.
func watchSlots(t *testing.T, col colony.Colony, replicas []*replica, most time.Duration) *slotWatch {
	t.Helper()
	open := func(service, schema string) *pgxpool.Pool {
		dsn, err := col.DSN(service)
		if err != nil {
			t.Fatal(err)
		}
		pool, err := pgdb.Open(t.Context(), dsn, pgdb.Options{Name: "watch", Schema: schema, MaxConns: 2, Org: pgdb.Everyone})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(pool.Close)
		return pool
	}
	watched := slices.DeleteFunc(slices.Clone(replicas), func(r *replica) bool { return !slices.Contains(dispatching, r.service) })
	ctx, stop := context.WithCancel(t.Context())
	s := &slotWatch{
		t: t, most: most, execution: open("supervisor", "execution"), resource: open("resource-manager", "resource"), replicas: watched,
		http: &http.Client{Timeout: 2 * time.Second}, stop: stop,
	}
	s.done.Go(func() { every(ctx, sampleEvery, s.look) })
	for _, r := range s.replicas {
		s.done.Go(func() { every(ctx, 2*sampleEvery, func(context.Context) { r.look(s.http) }) })
	}
	t.Cleanup(func() { stop(); s.done.Wait() })
	return s
}

func every(ctx context.Context, pause time.Duration, f func(context.Context)) {
	tick := time.NewTicker(pause)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			f(ctx)
		}
	}
}

// manned says that a dispatcher and a resource-manager have been at work for a while.
func (s *slotWatch) manned() bool {
	for _, service := range dispatching {
		lives := false
		for _, r := range s.replicas {
			since, ok := r.readySince()
			lives = lives || r.service == service && ok && time.Since(since) > settle
		}
		if !lives {
			return false
		}
	}
	return true
}

func (s *slotWatch) look(ctx context.Context) {
	now := time.Now()
	late := !s.last.IsZero() && now.Sub(s.last) > 4*sampleEvery // the machine stood still, or the database did
	s.last = now
	s.looks++
	// All tasks of the test are of one class. The oldest one waits longest; free slots are those of ants that live.
	var oldest string
	err := s.execution.QueryRow(ctx, `SELECT coalesce(min(ready_at || ' ' || execution_id || ' ' || name), '') FROM task WHERE state = 'READY' AND method = 'SHELL'`).Scan(&oldest)
	var free int
	if err == nil {
		err = s.resource.QueryRow(ctx, `SELECT coalesce(sum(slots - used), 0) FROM ant WHERE state = 'ONLINE' AND lease_until > now()`).Scan(&free)
	}
	switch {
	case err != nil || oldest == "" || free == 0 || !s.manned():
		s.began = time.Time{}
	case s.began.IsZero() || late || oldest != s.oldest:
		s.began, s.oldest, s.pressed = now, oldest, pressure()
	default:
		idle := now.Sub(s.began)
		if idle > s.most {
			if s.told != s.began {
				s.told = s.began
				s.found = append(s.found, "")
			}
			s.found[len(s.found)-1] = fmt.Sprintf("%s: %d slots were free for %s while task %s was READY; processes waited for a processor in %s of that",
				now.Format("15:04:05.000"), free, idle, oldest, pressure()-s.pressed)
		}
		s.longest = max(s.longest, idle)
	}
}

// check ends the watch and tells what it found.
func (s *slotWatch) check() {
	s.t.Helper()
	s.stop()
	s.done.Wait()
	s.t.Logf("the longest that a task waited beside free slots: %s, in %d looks", s.longest, s.looks)
	for _, f := range s.found {
		s.t.Error(f)
	}
}

// pressure is how long, since the machine started, some process could run and had no processor; 0 where the system does
// not tell.
func pressure() time.Duration {
	raw, err := os.ReadFile("/proc/pressure/cpu")
	if err != nil {
		return 0
	}
	var ten, minute, five float64
	var micros int64
	if _, err := fmt.Sscanf(string(raw), "some avg10=%f avg60=%f avg300=%f total=%d", &ten, &minute, &five, &micros); err != nil {
		return 0
	}
	return time.Duration(micros) * time.Microsecond
}
