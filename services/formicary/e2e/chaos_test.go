package e2e

import (
	"context"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// TestKilledServicesLoseNothing submits 200 jobs of mixed shapes and kills one random service or ant every second for
// 20 s, starting it again at once. Every acknowledged request must end as its shape says.
func TestKilledServicesLoseNothing(t *testing.T) {
	if testing.Short() {
		t.Skip("takes over a minute")
	}
	w := newWorld(t)
	w.separate("ant-1", "ant-2")
	journal := filepath.Join(w.dir, "journal")
	if err := os.WriteFile(journal, nil, 0o666); err != nil {
		t.Fatal(err)
	}
	all := shapes(journal, w.dir)
	w.define(child(journal))
	for _, s := range all {
		w.define(s.yaml)
	}
	w.saveRule(rule)

	stop, stopped := make(chan struct{}), make(chan struct{})
	go w.killOneEverySecond(20, stop, stopped)
	votes := &voter{w: w, open: map[string]string{}}
	t.Cleanup(votes.start())
	ids := make([]string, 200)
	pace := time.NewTicker(80 * time.Millisecond) // so that there is something to be hit by each kill
	defer pace.Stop()
	for i := range ids {
		<-pace.C
		s := all[i%len(all)]
		id := w.submit(s.jobType, fmt.Sprintf("chaos-%d", i), nil)
		ids[i] = id
		if s.cancel {
			w.cancel(id)
		}
		if s.approve != "" {
			votes.add(id, s.approve)
		}
	}
	<-stopped
	close(stop)
	w.checkEnds(all, ids, journal)
	w.audit()
}

// checkEnds waits until the requests have ended and compares them, their children and the journal with their shapes.
func (w *world) checkEnds(all []shape, ids []string, journal string) {
	w.t.Helper()
	for i, id := range ids {
		s := all[i%len(all)]
		if got := w.ends(4*time.Minute, id); got.State != s.want {
			w.t.Errorf("%s %s ended as %s (%s %s), want %s", s.jobType, id, got.State, got.ErrorCode, got.ErrorMessage, s.want)
		}
		children := w.children(w.t, id)
		if len(children) != s.children {
			w.t.Errorf("%s %s has %d children, want %d", s.jobType, id, len(children), s.children)
		}
		for _, c := range children {
			if c.State != "COMPLETED" {
				w.t.Errorf("child %s of %s is %s (%s)", c.ID, id, c.State, c.ErrorMessage)
			}
		}
		for group, most := range s.most {
			checkParallel(w.t, journal, id+"/"+group+"[", most)
		}
	}
	starts := checkJournal(w.t, journal)
	w.t.Logf("%d requests ended, %d attempts started", len(ids), starts)
}

func (w *world) cancel(id string) {
	w.t.Helper()
	w.eventually("cancel accepted", func() bool {
		_, err := w.call("POST", "/api/v1/jobs/requests/"+id+"/cancel", "application/json", []byte("{}"), nil)
		return err == nil
	})
}

// voter approves what waits for it, however often its calls fail. An answer may be lost: whoever cannot vote tries again.
type voter struct {
	w    *world
	mu   sync.Mutex
	open map[string]string // request → task
}

func (v *voter) add(id, task string) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.open[id] = task
}

// start votes until stop is called.
func (v *voter) start() (stop func()) {
	ctx, cancel := context.WithCancel(v.w.t.Context())
	var wg sync.WaitGroup
	wg.Go(func() {
		tick := time.NewTicker(200 * time.Millisecond)
		defer tick.Stop()
		for {
			select {
			case <-ctx.Done():
				return
			case <-tick.C:
				v.round()
			}
		}
	})
	return func() {
		cancel()
		wg.Wait()
	}
}

func (v *voter) round() {
	v.mu.Lock()
	open := maps.Clone(v.open)
	v.mu.Unlock()
	for id, task := range open {
		_, err := v.w.callAs("alice", "POST", "/api/v1/jobs/requests/"+id+"/tasks/"+task+"/vote", []byte(`{"decision":"APPROVED"}`))
		if err == nil || strings.Contains(err.Error(), "ALREADY_VOTED") {
			v.mu.Lock()
			delete(v.open, id)
			v.mu.Unlock()
		}
	}
}

// killOneEverySecond kills and restarts n times.
func (w *world) killOneEverySecond(n int, stop <-chan struct{}, stopped chan<- struct{}) {
	defer close(stopped)
	var victims []*proc
	for name, p := range w.procs {
		if name != "infra" {
			victims = append(victims, p)
		}
	}
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	var killed []string
	for range n {
		select {
		case <-tick.C:
		case <-stop:
			return
		}
		p := victims[rand.IntN(len(victims))] // #nosec G404 -- which one dies need not be a secret
		p.signal(syscall.SIGKILL)
		p.start()
		killed = append(killed, p.name)
	}
	w.t.Logf("killed: %s", strings.Join(killed, " "))
}

// TestLostQueueLosesNothing deletes everything NATS stores while 100 jobs are under way.
func TestLostQueueLosesNothing(t *testing.T) {
	if testing.Short() {
		t.Skip("takes over half a minute")
	}
	w := newWorld(t)
	up := w.embedded()
	w.define("job_type: e2e-slow\ntasks:\n  - task_type: a\n    method: SHELL\n    script: [\"sleep 0.3\"]\n    on_completed: b\n  - task_type: b\n    method: SHELL\n    script: [\"true\"]\n")
	var ids []string
	for i := range 100 {
		ids = append(ids, w.submit("e2e-slow", fmt.Sprintf("wipe-%d", i), nil))
	}
	up.signal(syscall.SIGKILL)
	if err := os.RemoveAll(filepath.Join(w.data, "nats")); err != nil {
		t.Fatal(err)
	}
	up.start()
	w.ready()
	for _, id := range ids {
		if got := w.ends(3*time.Minute, id); got.State != "COMPLETED" {
			t.Errorf("%s ended as %s (%s %s)", id, got.State, got.ErrorCode, got.ErrorMessage)
		}
	}
	w.audit()
}
