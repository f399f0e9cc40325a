package election

import (
	"context"
	"errors"
	"sync"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/client/v3/concurrency"

	"github.com/formicary/formicary/libs/testkit"
	"github.com/formicary/formicary/libs/testkit/etcdtest"
)

func TestMain(m *testing.M) { testkit.Main(m) }

const prefix = "/test/election"

func conf(id string) Config { return Config{ID: id, Prefix: prefix, TTL: 2 * time.Second} }

// candidate runs an elector and tells of its terms.
type candidate struct {
	began chan Term
	ended chan error // the cause of each term's end
	stop  func()
}

func start(t *testing.T, client *clientv3.Client, c Config) *candidate {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	cand := &candidate{began: make(chan Term, 10), ended: make(chan error, 10)}
	done := make(chan struct{})
	cand.stop = sync.OnceFunc(func() { cancel(); <-done })
	t.Cleanup(cand.stop)
	e := New(c, client, testkit.Logger(t))
	go func() {
		defer close(done)
		_ = e.Run(ctx, func(ctx context.Context, term Term) error {
			cand.began <- term
			<-ctx.Done()
			cand.ended <- context.Cause(ctx)
			return context.Cause(ctx)
		})
	}()
	return cand
}

func wait[T any](t *testing.T, c <-chan T, limit time.Duration, what string) T {
	t.Helper()
	select {
	case v := <-c:
		return v
	case <-time.After(limit):
		t.Fatalf("not within %s: %s", limit, what)
		panic("unreachable")
	}
}

// lease of the key that leads.
func leaderLease(t *testing.T, client *clientv3.Client) clientv3.LeaseID {
	t.Helper()
	res, err := client.Get(t.Context(), prefix+"/", clientv3.WithFirstCreate()...)
	if err != nil || len(res.Kvs) == 0 {
		t.Fatalf("nobody leads: %v", err)
	}
	return clientv3.LeaseID(res.Kvs[0].Lease)
}

func TestResignHandsOver(t *testing.T) {
	client := etcdtest.Etcd(t)
	a := start(t, client, conf("a"))
	first := wait(t, a.began, 5*time.Second, "a leads")
	b := start(t, client, conf("b"))
	testkit.Eventually(t, 20*time.Second, "b is a candidate", func() bool {
		res, err := client.Get(t.Context(), prefix+"/", clientv3.WithPrefix(), clientv3.WithCountOnly())
		return err == nil && res.Count == 2
	})
	resigned := time.Now()
	go a.stop()
	second := wait(t, b.began, time.Second, "b leads")
	if took := time.Since(resigned); took > 500*time.Millisecond {
		t.Errorf("hand-over took %s", took)
	}
	if second.Revision <= first.Revision || second.ClusterID != first.ClusterID || first.ClusterID == 0 {
		t.Errorf("terms %+v then %+v", first, second)
	}
}

func TestLostLeaseEndsTheTerm(t *testing.T) {
	client := etcdtest.Etcd(t)
	a := start(t, client, conf("a"))
	wait(t, a.began, 5*time.Second, "a leads")
	if _, err := client.Revoke(t.Context(), leaderLease(t, client)); err != nil {
		t.Fatal(err)
	}
	if cause := wait(t, a.ended, 2*time.Second, "a stops"); !errors.Is(cause, ErrLeaseLost) {
		t.Errorf("ended by %v", cause)
	}
	wait(t, a.began, 5*time.Second, "a leads again")
}

// cut is a lease service that does not answer any more.
type cut struct {
	clientv3.Lease
	mu  sync.Mutex
	off bool
}

func (c *cut) set() { c.mu.Lock(); c.off = true; c.mu.Unlock() }

func (c *cut) KeepAliveOnce(ctx context.Context, id clientv3.LeaseID) (*clientv3.LeaseKeepAliveResponse, error) {
	c.mu.Lock()
	off := c.off
	c.mu.Unlock()
	if off {
		<-ctx.Done()
		return nil, ctx.Err()
	}
	return c.Lease.KeepAliveOnce(ctx, id)
}

func TestStepsDownBeforeTheLeaseEnds(t *testing.T) {
	client := etcdtest.Etcd(t)
	lonely := clientv3.NewCtxClient(t.Context())
	c := &cut{Lease: client.Lease}
	lonely.KV, lonely.Lease, lonely.Watcher = client.KV, c, client.Watcher
	long := conf("a")
	long.TTL = 3 * time.Second
	a := start(t, lonely, long)
	wait(t, a.began, 5*time.Second, "a leads")
	c.set()
	silent := time.Now()
	if cause := wait(t, a.ended, 3*time.Second, "a stops by itself"); !errors.Is(cause, ErrLeaseLost) {
		t.Errorf("ended by %v", cause)
	}
	if took := time.Since(silent); took > long.TTL-margin+200*time.Millisecond {
		t.Errorf("led %s without a keep-alive", took)
	}
}

func TestPhantomLeaderIsRefused(t *testing.T) {
	client := etcdtest.Etcd(t)
	e := New(conf("a"), client, testkit.Logger(t))
	l, err := e.grant(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	session, err := concurrency.NewSession(client, concurrency.WithLease(l.id), concurrency.WithContext(t.Context()))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = session.Close() }()
	el := concurrency.NewElection(session, prefix)
	if err := el.Campaign(t.Context(), "a"); err != nil {
		t.Fatal(err)
	}
	if _, err := e.confirm(t.Context(), el, l); err != nil {
		t.Fatalf("the real leader was refused: %v", err)
	}
	if _, err := client.Revoke(t.Context(), l.id); err != nil {
		t.Fatal(err)
	}
	if _, err := e.confirm(t.Context(), el, l); !errors.Is(err, errPhantom) {
		t.Errorf("a leader without a key: %v", err)
	}
	b := start(t, client, conf("b"))
	wait(t, b.began, 5*time.Second, "b leads")
	if _, err := e.confirm(t.Context(), el, l); !errors.Is(err, errPhantom) {
		t.Errorf("a leader behind another: %v", err)
	}
}

func TestTakeOver(t *testing.T) {
	client := etcdtest.Etcd(t)
	killed, err := client.Grant(t.Context(), 60)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := client.Put(t.Context(), prefix+"/dead", "x", clientv3.WithLease(killed.ID)); err != nil {
		t.Fatal(err)
	}
	c := conf("a")
	c.TakeOver = true
	wait(t, start(t, client, c).began, 2*time.Second, "a leads in spite of a dead one's lease")
}

func TestALeaderThatReturnsCampaignsAgain(t *testing.T) {
	client := etcdtest.Etcd(t)
	terms := make(chan Term, 10)
	e := New(conf("a"), client, testkit.Logger(t))
	testkit.Run(t, func(ctx context.Context) error {
		return e.Run(ctx, func(_ context.Context, term Term) error {
			terms <- term
			if len(terms) == 1 {
				panic("a bad term")
			}
			return errors.New("fenced")
		})
	})
	a := wait(t, terms, 5*time.Second, "first term")
	if b := wait(t, terms, 5*time.Second, "second term"); b.Revision <= a.Revision {
		t.Errorf("revision %d then %d", a.Revision, b.Revision)
	}
}
