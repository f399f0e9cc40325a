package e2e

import (
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
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
	for _, s := range all {
		w.define(s.yaml)
	}

	stop, stopped := make(chan struct{}), make(chan struct{})
	go w.killOneEverySecond(20, stop, stopped)
	var ids []string
	for i := range 200 {
		s := all[i%len(all)]
		id := w.submit(s.jobType, fmt.Sprintf("chaos-%d", i), nil)
		ids = append(ids, id)
		if s.cancel {
			w.eventually("cancel accepted", func() bool {
				_, err := w.call("POST", "/api/v1/jobs/requests/"+id+"/cancel", "application/json", []byte("{}"), nil)
				return err == nil
			})
		}
	}
	<-stopped
	close(stop)

	for i, id := range ids {
		s := all[i%len(all)]
		if got := w.ends(4*time.Minute, id); got.State != s.want {
			t.Errorf("%s %s ended as %s (%s %s), want %s", s.jobType, id, got.State, got.ErrorCode, got.ErrorMessage, s.want)
		}
	}
	starts := checkJournal(t, journal)
	t.Logf("%d requests ended, %d attempts started", len(ids), starts)
	w.audit()
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
