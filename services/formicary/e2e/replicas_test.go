package e2e

import (
	"fmt"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/formicary/formicary/libs/colony"
)

// replica is one of two processes of a service.
type replica struct {
	*proc
	service string
	ops     string

	mu    sync.Mutex
	since time.Time // when it was found ready; zero while it is not
}

// readySince returns when it became ready; false while it is not known to be.
func (r *replica) readySince() (time.Time, bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.since, !r.since.IsZero()
}

// kill ends it without a word and starts it again.
func (r *replica) kill() {
	r.mu.Lock()
	r.since = time.Time{}
	r.mu.Unlock()
	r.signal(syscall.SIGKILL)
	r.start()
}

// look asks whether it is ready.
func (r *replica) look(c *http.Client) {
	ready := false
	if res, err := c.Get("http://" + r.ops + "/readyz"); err == nil {
		ready = res.StatusCode == http.StatusOK
		_ = res.Body.Close()
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	switch {
	case !ready:
		r.since = time.Time{}
	case r.since.IsZero():
		r.since = time.Now()
	}
}

// doubled starts the stores, two processes of every service and two ants. Each process knows both of its peers.
func (w *world) doubled() (colony.Colony, []*replica) {
	w.t.Helper()
	w.infra()
	col, err := colony.Load(w.file(), func(string) string { return "" })
	if err != nil {
		w.t.Fatal(err)
	}
	var env []string
	addrs, ants := map[string][2]string{}, map[string][2]string{}
	for _, s := range services {
		name := "FORMICARY_" + strings.ToUpper(strings.ReplaceAll(s, "-", "_"))
		if s != "api-gateway" {
			addrs[s] = [2]string{col.Services[s], freePort(w.t)}
			env = append(env, name+"_ADDR="+addrs[s][0]+","+addrs[s][1])
		}
		if at := col.Ants[s]; at != "" {
			ants[s] = [2]string{at, freePort(w.t)}
			env = append(env, name+"_ANTS_ADDR="+ants[s][0]+","+ants[s][1])
		}
	}
	var all []*replica
	add := func(service string, n int, env []string, args ...string) {
		r := &replica{service: service, ops: freePort(w.t)}
		args = append([]string{service, "--colony", w.file(), "--ops", r.ops}, args...)
		r.proc = w.runWith(env, service+"-"+strconv.Itoa(n), args...)
		all = append(all, r)
	}
	for n := range 2 {
		for s, at := range addrs {
			args := []string{"--listen", at[n]}
			if door := ants[s][n]; door != "" {
				args = append(args, "--ants", door)
			}
			add(s, n+1, env, args...)
		}
		at := [2]string{freePort(w.t), freePort(w.t)}
		add("api-gateway", n+1, append(slices.Clone(env), "FORMICARY_HTTP="+at[0], "FORMICARY_GRPC="+at[1]))
		w.gateways = append(w.gateways, "http://"+at[0])
		add("ant", n+1, env, "--id", fmt.Sprintf("ant-%d", n+1))
	}
	for _, r := range all {
		w.eventually(r.name+" is ready", func() bool {
			r.look(w.http)
			_, ok := r.readySince()
			return ok
		})
	}
	return col, all
}

// seed of the random choices: FORMICARY_E2E_SEED repeats those of an earlier run.
func seed(t *testing.T) *rand.Rand {
	t.Helper()
	n := rand.Uint64()
	if text := os.Getenv("FORMICARY_E2E_SEED"); text != "" {
		var err error
		if n, err = strconv.ParseUint(text, 10, 64); err != nil {
			t.Fatal(err)
		}
	}
	t.Logf("FORMICARY_E2E_SEED=%d", n)
	return rand.New(rand.NewPCG(n, n)) // #nosec G404 -- which one dies need not be a secret
}

// TestTwoOfEverything runs mixed jobs through two processes of every service, of which a random one is killed and started
// again every second. Every acknowledged request ends as its shape says, nothing runs twice at once, the auditor finds
// nothing, and no task waits beside free slots while there was somebody to give them to it. FORMICARY_REPLICAS makes it
// long and strict: 200 jobs, 30 s, half a second of idleness.
func TestTwoOfEverything(t *testing.T) {
	if testing.Short() {
		t.Skip("takes a minute")
	}
	jobs, kills, idle := 60, 8, 5*time.Second // other tests run beside it
	if os.Getenv("FORMICARY_REPLICAS") != "" {
		jobs, kills, idle = 200, 30, 500*time.Millisecond
	}
	w, random := newWorld(t), seed(t)
	col, replicas := w.doubled()
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
	watch := watchSlots(t, col, replicas, idle)
	votes := &voter{w: w, open: map[string]string{}}
	t.Cleanup(votes.start())

	stopped := make(chan struct{})
	go func() {
		defer close(stopped)
		killReplicas(t, replicas, kills, random.Uint64())
	}()
	ids := make([]string, jobs)
	pace := time.NewTicker(time.Duration(kills) * time.Second / time.Duration(jobs)) // so that each kill hits something
	defer pace.Stop()
	for i := range ids {
		<-pace.C
		s := all[i%len(all)]
		ids[i] = w.submit(s.jobType, fmt.Sprintf("replicas-%d", i), nil)
		if s.cancel {
			w.cancel(ids[i])
		}
		if s.approve != "" {
			votes.add(ids[i], s.approve)
		}
	}
	<-stopped
	w.checkEnds(all, ids, journal)
	watch.check()
	w.audit()
}

// killReplicas kills one of them every second.
func killReplicas(t *testing.T, replicas []*replica, n int, chosen uint64) {
	random := rand.New(rand.NewPCG(chosen, chosen)) // #nosec G404 -- not a secret
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	var killed []string
	for range n {
		select {
		case <-tick.C:
		case <-t.Context().Done():
			return
		}
		r := replicas[random.IntN(len(replicas))]
		killed = append(killed, time.Now().Format("05.000 ")+r.name)
		r.kill()
	}
	t.Logf("killed, at second: %s", strings.Join(killed, ", "))
}
