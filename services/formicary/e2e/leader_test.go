package e2e

import (
	"bufio"
	"fmt"
	"math/rand/v2"
	"net"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

// scheduler is a scheduler process with an operations port.
type scheduler struct {
	*proc
	ops string
}

// metric reads a metric of the process; ok is false while it does not answer.
func (s *scheduler) metric(w *world, name string) (value float64, ok bool) {
	res, err := w.http.Get("http://" + s.ops + "/metrics")
	if err != nil {
		return 0, false
	}
	defer func() { _ = res.Body.Close() }()
	lines := bufio.NewScanner(res.Body)
	for lines.Scan() {
		rest, found := strings.CutPrefix(lines.Text(), name)
		if !found || rest == "" || rest[0] != ' ' && rest[0] != '{' {
			continue
		}
		f := strings.Fields(rest)
		v, err := strconv.ParseFloat(f[len(f)-1], 64)
		return v, err == nil
	}
	return 0, true
}

func (s *scheduler) leads(w *world) bool {
	v, ok := s.metric(w, "formicary_scheduler_leading")
	return ok && v == 1
}

// port is the last that freePort has returned. It counts up below those that formicary up chooses from and those that
// the system hands out, so that nobody else takes a port before the process that it is meant for, and that one gets it
// back when it is started again.
var port atomic.Int32

func init() { port.Store(10_000 + rand.Int32N(5_000)) }

// freePort returns an address that nobody listens on now, and never the same twice.
func freePort(t *testing.T) string {
	t.Helper()
	for range 1_000 {
		addr := fmt.Sprintf("127.0.0.1:%d", port.Add(1))
		if lis, err := net.Listen("tcp", addr); err == nil {
			_ = lis.Close()
			return addr
		}
	}
	t.Fatal("1,000 ports in a row are taken")
	return ""
}

// twoSchedulers starts a colony of separate processes with two schedulers and says which of them leads.
func twoSchedulers(t *testing.T) (w *world, leader, standby *scheduler) {
	t.Helper()
	w = newWorld(t)
	w.separate("ant-1")
	both := make([]*scheduler, 2)
	for i := range both {
		s := &scheduler{ops: freePort(t)}
		args := []string{"scheduler", "--colony", w.file(), "--ops", s.ops}
		if i == 0 {
			w.procs["scheduler"].signal(syscall.SIGKILL)
			delete(w.procs, "scheduler")
			s.proc = w.run("scheduler", args...)
		} else {
			s.proc = w.run("standby", append(args, "--listen", freePort(t))...)
		}
		both[i] = s
	}
	w.eventually("one scheduler leads", func() bool {
		if both[1].leads(w) {
			both[0], both[1] = both[1], both[0]
		}
		_, answers := both[1].metric(w, "formicary_scheduler_leading")
		return both[0].leads(w) && answers
	})
	w.define("job_type: e2e-quick\ntasks:\n  - task_type: a\n    method: SHELL\n    script: [\"true\"]\n")
	return w, both[0], both[1]
}

func TestStandbyLeadsWhenTheLeaderIsKilled(t *testing.T) {
	w, leader, standby := twoSchedulers(t)
	if got := w.ends(patience, w.submit("e2e-quick", "before", nil)); got.State != "COMPLETED" {
		t.Fatalf("before: %+v", got)
	}
	leader.signal(syscall.SIGKILL)
	began := time.Now()
	id := w.submit("e2e-quick", "after", nil)
	w.eventually("the standby leads", func() bool { return standby.leads(w) })
	took := time.Since(began)
	t.Logf("the standby led after %s", took)
	if took > 6*time.Second {
		t.Errorf("the standby led after %s, want at most 6 s", took)
	}
	if got := w.ends(patience, id); got.State != "COMPLETED" {
		t.Errorf("after: %+v", got)
	}
	w.audit()
}

// TestStoppedLeaderChangesNothingWhenItWakes stops the leader, lets another one lead, and wakes the old one: its writes
// are refused.
func TestStoppedLeaderChangesNothingWhenItWakes(t *testing.T) {
	w, old, next := twoSchedulers(t)
	old.signal(syscall.SIGSTOP)
	w.define("job_type: e2e-held\nmax_concurrency: 1\ntasks:\n  - task_type: a\n    method: SHELL\n    script: [\"sleep 8\"]\n")
	first := w.submit("e2e-held", "first", nil)
	second := w.submit("e2e-held", "second", nil)
	w.eventually("another leads", func() bool { return next.leads(w) })
	w.eventually("the first runs", func() bool {
		r, ok := w.get(first)
		return ok && r.State == "EXECUTING"
	})
	old.signal(syscall.SIGCONT)
	w.eventually("a write of the old leader was refused", func() bool {
		v, ok := old.metric(w, "formicary_scheduler_fenced_total")
		return ok && v > 0
	})
	if r, ok := w.get(second); ok && r.State != "PENDING" {
		t.Errorf("the second was admitted beside the first: %s", r.State)
	}
	if !next.leads(w) {
		t.Error("the new leader lost its place")
	}
	for _, id := range []string{first, second} {
		if got := w.ends(patience, id); got.State != "COMPLETED" {
			t.Errorf("%s ended as %s", id, got.State)
		}
	}
	w.audit()
}
