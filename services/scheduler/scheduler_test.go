package scheduler_test

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.opentelemetry.io/otel/metric/noop"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/formicary/formicary/libs/errs"
	"github.com/formicary/formicary/libs/passport/passporttest"
	"github.com/formicary/formicary/libs/rpc"
	"github.com/formicary/formicary/libs/testkit"
	"github.com/formicary/formicary/libs/testkit/etcdtest"
	jobv1 "github.com/formicary/formicary/proto/gen/formicary/job/v1"
	resourcev1 "github.com/formicary/formicary/proto/gen/formicary/resource/v1"
	schedulev1 "github.com/formicary/formicary/proto/gen/formicary/schedule/v1"
	"github.com/formicary/formicary/services/scheduler"
)

func TestMain(m *testing.M) { testkit.Main(m) }

// jobs is a job-manager with one job type per name, in memory.
type jobs struct {
	large int // a head limit above it is refused
	jobv1.UnimplementedAdmissionServiceServer
	mu      sync.Mutex
	epoch   int64
	queues  map[string]*jobv1.QueuedType
	loads   map[string]int32
	nextDue time.Time
	gates   []*jobv1.ClosedGate
	ready   []string
	calls   int // of ReadQueue
	fail    int // calls that fail
	onReady func(id string)
}

func newJobs() *jobs { return &jobs{queues: map[string]*jobv1.QueuedType{}, loads: map[string]int32{}} }

func (j *jobs) BeginEpoch(_ context.Context, r *jobv1.BeginEpochRequest) (*jobv1.BeginEpochResponse, error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.epoch = max(j.epoch+1, r.GetRevision())
	return &jobv1.BeginEpochResponse{Epoch: j.epoch}, nil
}

func (j *jobs) ReadQueue(_ context.Context, r *jobv1.ReadQueueRequest) (*jobv1.ReadQueueResponse, error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.calls++
	if j.fail > 0 {
		j.fail--
		return nil, errs.Unavailable("TEST", "not now")
	}
	if j.large > 0 && int(r.GetHeadLimit()) > j.large {
		return nil, errs.Exhausted("TEST", "the answer is too large")
	}
	res := &jobv1.ReadQueueResponse{Now: timestamppb.Now()}
	if len(r.GetBehind()) > 0 {
		for _, b := range r.GetBehind() {
			all := j.queues[b.GetJobType()].GetHeads()
			i := 1 + slices.IndexFunc(all, func(h *jobv1.QueuedRequest) bool { return h.GetRequestId() == b.GetRequest().GetRequestId() })
			rest := all[i:]
			res.Types = append(res.Types, &jobv1.QueuedType{
				OrgId: "default", JobType: b.GetJobType(), Pending: int32(len(rest)), Heads: slices.Clone(rest[:min(len(rest), int(r.GetHeadLimit()))]),
			})
		}
		return res, nil
	}
	for _, q := range j.queues {
		if len(q.GetHeads()) == 0 {
			continue
		}
		c := &jobv1.QueuedType{
			OrgId: "default", JobType: q.GetJobType(), MaxConcurrency: q.GetMaxConcurrency(), Active: q.GetActive(), Holders: slices.Clone(q.GetHolders()),
			Disabled: q.GetDisabled(), Pending: int32(len(q.GetHeads())), Heads: slices.Clone(q.GetHeads()[:min(len(q.GetHeads()), int(r.GetHeadLimit()))]),
		}
		res.Types = append(res.Types, c)
	}
	for class, n := range j.loads {
		res.Loads = append(res.Loads, &jobv1.ClassLoad{PlacementClass: class, Ready: n})
	}
	if !j.nextDue.IsZero() {
		res.NextDue = timestamppb.New(j.nextDue)
	}
	return res, nil
}

func (j *jobs) Admit(_ context.Context, r *jobv1.AdmitRequest) (*jobv1.AdmitResponse, error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	if r.GetEpoch() != j.epoch {
		return nil, errs.Aborted("FENCED", "epoch %d is over", r.GetEpoch())
	}
	res := &jobv1.AdmitResponse{}
	for _, id := range r.GetRequestIds() {
		for _, q := range j.queues {
			i := slices.IndexFunc(q.GetHeads(), func(h *jobv1.QueuedRequest) bool { return h.GetRequestId() == id })
			if i < 0 {
				continue
			}
			q.Heads = slices.Delete(q.Heads, i, i+1)
			q.Active++
			q.Holders = append(q.Holders, id)
			res.RequestIds = append(res.RequestIds, id)
			j.ready = append(j.ready, id)
			if j.onReady != nil {
				j.onReady(id)
			}
		}
	}
	if r.GetGatesChanged() {
		j.gates = r.GetGates()
	}
	return res, nil
}

// submit queues requests of class SHELL.
func (j *jobs) submit(jobType string, limit int32, ids ...string) {
	j.mu.Lock()
	defer j.mu.Unlock()
	q := j.queues[jobType]
	if q == nil {
		q = &jobv1.QueuedType{JobType: jobType}
		j.queues[jobType] = q
	}
	q.MaxConcurrency = limit
	for _, id := range ids {
		q.Heads = append(q.Heads, &jobv1.QueuedRequest{RequestId: id, AgeAt: timestamppb.Now(), PlacementClass: "SHELL||1"})
	}
}

func (j *jobs) locked(f func()) { j.mu.Lock(); defer j.mu.Unlock(); f() }

func (j *jobs) admitted() []string {
	j.mu.Lock()
	defer j.mu.Unlock()
	return slices.Clone(j.ready)
}

func (j *jobs) gate() (g jobv1.Gate) {
	j.mu.Lock()
	defer j.mu.Unlock()
	for _, c := range j.gates {
		g = c.GetGate()
	}
	return g
}

// ants is a resource-manager.
type ants struct {
	resourcev1.UnimplementedReservationServiceServer
	mu  sync.Mutex
	all []*resourcev1.AntCapacity
}

func (a *ants) GetCapacity(context.Context, *resourcev1.GetCapacityRequest) (*resourcev1.GetCapacityResponse, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	return &resourcev1.GetCapacityResponse{Ants: a.all}, nil
}

func (a *ants) set(slots int32) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.all = nil
	if slots > 0 {
		a.all = []*resourcev1.AntCapacity{{AntId: "a", Methods: []string{"SHELL"}, Slots: slots}}
	}
}

// colony is everything around schedulers.
type colony struct {
	t    testing.TB
	net  *rpc.Memory
	etcd *clientv3.Client
	nats *nats.Conn
	jobs *jobs
	ants *ants
}

func newColony(t testing.TB) *colony {
	nc, _ := testkit.NATS(t)
	c := &colony{t: t, net: rpc.NewMemory(), etcd: etcdtest.Etcd(t), nats: nc, jobs: newJobs(), ants: &ants{}}
	c.ants.set(8)
	c.serve("job-manager", func(s grpc.ServiceRegistrar) { jobv1.RegisterAdmissionServiceServer(s, c.jobs) })
	c.serve("resource-manager", func(s grpc.ServiceRegistrar) { resourcev1.RegisterReservationServiceServer(s, c.ants) })
	return c
}

func (c *colony) serve(name string, register func(grpc.ServiceRegistrar)) {
	s := rpc.NewServer(testkit.Logger(c.t), passporttest.Checker().Admit)
	register(s)
	lis := c.net.Listen(name)
	done := make(chan struct{})
	go func() { defer close(done); _ = s.Serve(lis) }()
	c.t.Cleanup(func() { s.Stop(); <-done })
}

func (c *colony) dial(name string) *grpc.ClientConn {
	conn, err := c.net.Dial(name, passporttest.Everybody()...)
	if err != nil {
		c.t.Fatal(err)
	}
	c.t.Cleanup(func() { _ = conn.Close() })
	return conn
}

// start runs a scheduler; sweeps are far away, so that only what wakes it makes it act.
func (c *colony) start(id string, change func(*scheduler.Config, *scheduler.Deps)) (schedulev1.QueueServiceClient, func()) {
	c.t.Helper()
	conf := scheduler.DefaultConfig()
	conf.ID, conf.TTL, conf.SweepIdle, conf.SweepWaiting = id, 2*time.Second, time.Hour, time.Hour
	deps := scheduler.Deps{
		Etcd: c.etcd, NATS: c.nats, JobManager: c.dial("job-manager"), ResourceManager: c.dial("resource-manager"),
		Log: testkit.Logger(c.t), Meter: noop.Meter{},
	}
	if change != nil {
		change(&conf, &deps)
	}
	svc, err := scheduler.New(conf, deps)
	if err != nil {
		c.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		if err := svc.Run(ctx); err != nil {
			c.t.Errorf("scheduler %s: %v", id, err)
		}
	}()
	stop := sync.OnceFunc(func() { cancel(); <-done })
	c.t.Cleanup(stop)
	c.serve(id, svc.Register)
	return schedulev1.NewQueueServiceClient(c.dial(id)), stop
}

func (c *colony) state(q schedulev1.QueueServiceClient) *schedulev1.GetSchedulerResponse {
	c.t.Helper()
	res, err := q.GetScheduler(c.t.Context(), &schedulev1.GetSchedulerRequest{})
	if err != nil {
		c.t.Fatal(err)
	}
	return res
}

func (c *colony) leads(q schedulev1.QueueServiceClient) {
	c.t.Helper()
	testkit.Eventually(c.t, 10*time.Second, "it leads", func() bool { s := c.state(q); return s.GetLeading() && s.GetPasses() > 0 })
}

func (c *colony) hint(subject string) {
	c.t.Helper()
	if err := c.nats.Publish(subject, nil); err != nil {
		c.t.Fatal(err)
	}
}

func (c *colony) eventually(what string, cond func() bool) {
	c.t.Helper()
	testkit.Eventually(c.t, 20*time.Second, what, cond)
}

const (
	submitted = "formicary.event.job.submitted"
	changed   = "formicary.event.job.changed"
	antHint   = "formicary.live.ant"
)

func TestAdmitsWhatIsSubmitted(t *testing.T) {
	c := newColony(t)
	c.jobs.submit("x", 0, "before")
	q, _ := c.start("s", nil)
	c.eventually("what was there before the leader", func() bool { return slices.Equal(c.jobs.admitted(), []string{"before"}) })
	c.jobs.submit("x", 0, "after")
	c.hint(submitted)
	c.eventually("what came after", func() bool { return slices.Equal(c.jobs.admitted(), []string{"before", "after"}) })
	c.eventually("it is counted", func() bool {
		s := c.state(q)
		return s.GetAdmitted() == 2 && s.GetLastPassAt().IsValid() && s.GetId() == "s"
	})
}

func TestConcurrencyGate(t *testing.T) {
	c := newColony(t)
	q, _ := c.start("s", nil)
	c.leads(q)
	c.jobs.submit("x", 1, "one", "two")
	c.hint(submitted)
	c.eventually("one starts, two waits", func() bool {
		return slices.Equal(c.jobs.admitted(), []string{"one"}) && c.jobs.gate() == jobv1.Gate_GATE_CONCURRENCY
	})
	c.jobs.locked(func() {
		if h := c.jobs.gates[0].GetHolders(); !slices.Equal(h, []string{"one"}) {
			t.Errorf("held by %v", h)
		}
		c.jobs.queues["x"].Active, c.jobs.queues["x"].Holders = 0, nil
	})
	c.hint(changed)
	c.eventually("two starts, nothing waits", func() bool {
		return slices.Equal(c.jobs.admitted(), []string{"one", "two"}) && c.jobs.gate() == jobv1.Gate_GATE_UNSPECIFIED
	})
}

func TestNoAntGate(t *testing.T) {
	c := newColony(t)
	c.ants.set(0)
	q, _ := c.start("s", nil)
	c.leads(q)
	c.jobs.submit("x", 0, "one")
	c.hint(submitted)
	c.eventually("it says that no ant is there", func() bool { return c.jobs.gate() == jobv1.Gate_GATE_NO_ANT })
	c.ants.set(4)
	c.hint(antHint)
	c.eventually("an ant came", func() bool { return len(c.jobs.admitted()) == 1 })
}

func TestCutHeadsAreFollowed(t *testing.T) {
	c := newColony(t)
	c.ants.set(500)
	var ids []string
	for i := range 700 {
		ids = append(ids, fmt.Sprintf("r%03d", i))
	}
	c.jobs.submit("x", 0, ids...)
	c.start("s", func(conf *scheduler.Config, _ *scheduler.Deps) { conf.HeadLimit = 10 })
	c.eventually("all of them, in order", func() bool { return slices.Equal(c.jobs.admitted(), ids) })
}

func TestWakesAtTheNextDue(t *testing.T) {
	c := newColony(t)
	c.jobs.locked(func() { c.jobs.nextDue = time.Now().Add(300 * time.Millisecond) })
	q, _ := c.start("s", nil)
	c.leads(q)
	c.jobs.locked(func() { c.jobs.nextDue = time.Time{} })
	c.jobs.submit("x", 0, "later")
	c.eventually("it looked by itself", func() bool { return len(c.jobs.admitted()) == 1 })
}

func TestSurvivesFailures(t *testing.T) {
	c := newColony(t)
	c.jobs.fail = 3
	c.jobs.submit("x", 0, "one")
	c.start("s", nil)
	c.eventually("it is admitted after failures", func() bool { return len(c.jobs.admitted()) == 1 })
}

func TestIdleLeaderLeavesUnneededHintsAlone(t *testing.T) {
	c := newColony(t)
	q, _ := c.start("s", nil)
	c.leads(q)
	before := c.state(q).GetPasses()
	for range 50 {
		c.hint(changed)
	}
	c.jobs.submit("x", 0, "one")
	c.hint(submitted)
	c.eventually("it is admitted", func() bool { return c.state(q).GetAdmitted() == 1 })
	if n := c.state(q).GetPasses() - before; n > 2 {
		t.Errorf("%d passes for one job", n)
	}
}

func TestHandOverOnStop(t *testing.T) {
	c := newColony(t)
	a, stop := c.start("a", nil)
	c.leads(a)
	b, _ := c.start("b", nil)
	c.jobs.submit("x", 0, "one")
	stop()
	testkit.Eventually(t, time.Second, "b admits", func() bool { return c.state(b).GetAdmitted()+c.state(a).GetAdmitted() == 1 })
	c.leads(b)
	if s := c.state(a); s.GetLeading() {
		t.Error("a says that it leads")
	}
	if x, y := c.state(a).GetEpoch(), c.state(b).GetEpoch(); y <= x {
		t.Errorf("epochs %d then %d", x, y)
	}
}

// A leader that gets nothing done lets another try, who may reach what it does not.
func TestUselessLeaderResigns(t *testing.T) {
	for name, broken := range map[string]jobv1.AdmissionServiceServer{
		"no epoch begins": jobv1.UnimplementedAdmissionServiceServer{},
		"no pass is made": &jobs{fail: 1 << 30},
	} {
		t.Run(name, func(t *testing.T) {
			c := newColony(t)
			c.serve("broken", func(r grpc.ServiceRegistrar) { jobv1.RegisterAdmissionServiceServer(r, broken) })
			c.start("a", func(conf *scheduler.Config, deps *scheduler.Deps) {
				conf.ResignAfter = 100 * time.Millisecond
				deps.JobManager = c.dial("broken")
			})
			c.eventually("a has won", func() bool {
				res, err := c.etcd.Get(t.Context(), "/formicary/scheduler/", clientv3.WithPrefix(), clientv3.WithCountOnly())
				return err == nil && res.Count == 1
			})
			c.jobs.submit("x", 0, "one")
			b, _ := c.start("b", nil)
			c.eventually("b leads and admits", func() bool { return c.state(b).GetAdmitted() == 1 })
		})
	}
}

// More requests than are looked at in a pass, all held, do not hide those of another class behind them for long.
func TestHeldHeadsHideNothingForLong(t *testing.T) {
	c := newColony(t)
	var held []string
	for i := range 2000 {
		held = append(held, fmt.Sprintf("r%04d", i))
	}
	c.jobs.submit("x", 0, held...)
	c.jobs.locked(func() {
		for _, h := range c.jobs.queues["x"].GetHeads() {
			h.PlacementClass = "DOCKER||1"
		}
	})
	var ids []string
	for i := range 100 {
		ids = append(ids, fmt.Sprintf("s%03d", i))
	}
	c.jobs.submit("x", 0, ids...)
	q, _ := c.start("s", func(conf *scheduler.Config, _ *scheduler.Deps) { conf.HeadLimit = 10 })
	c.leads(q)
	c.eventually("they are admitted", func() bool {
		c.hint(changed)
		return slices.Equal(c.jobs.admitted(), ids)
	})
}

// An answer that is too large makes the next look a smaller one, not the leader resign.
func TestTooLargeAnswersMakeSmallerLooks(t *testing.T) {
	c := newColony(t)
	var ids []string
	for i := range 300 {
		ids = append(ids, fmt.Sprintf("r%03d", i))
	}
	c.jobs.submit("x", 0, ids...)
	c.jobs.locked(func() { c.jobs.large = 20 })
	q, _ := c.start("s", func(conf *scheduler.Config, _ *scheduler.Deps) { conf.HeadLimit = 500 })
	c.leads(q)
	epoch := c.state(q).GetEpoch()
	c.eventually("they are admitted", func() bool {
		c.hint(changed)
		return slices.Equal(c.jobs.admitted(), ids)
	})
	if e := c.state(q).GetEpoch(); e != epoch {
		t.Errorf("epoch %d, then %d", epoch, e)
	}
}

// A leader whose writes come after a newer one began is refused, and steps down.
func TestFencedLeaderStepsDown(t *testing.T) {
	c := newColony(t)
	a, _ := c.start("a", nil)
	c.leads(a)
	c.jobs.locked(func() { c.jobs.epoch += 10 })
	c.jobs.submit("x", 0, "one")
	c.hint(submitted)
	c.eventually("its write was refused", func() bool { return c.state(a).GetFenced() == 1 })
	c.eventually("it won again and admits", func() bool { return len(c.jobs.admitted()) == 1 })
}

// As after SIGSTOP: the lease is gone, another leads, and the old leader still holds a decision.
func TestWokenLeaderIsRefused(t *testing.T) {
	c := newColony(t)
	a, _ := c.start("a", nil)
	c.leads(a)
	b, _ := c.start("b", nil)
	c.eventually("b stands by", func() bool {
		res, err := c.etcd.Get(t.Context(), "/formicary/scheduler/", clientv3.WithPrefix(), clientv3.WithCountOnly())
		return err == nil && res.Count == 2
	})
	res, err := c.etcd.Get(t.Context(), "/formicary/scheduler/", clientv3.WithFirstCreate()...)
	if err != nil || len(res.Kvs) != 1 {
		t.Fatalf("leader's key: %v", err)
	}
	if _, err := c.etcd.Revoke(t.Context(), clientv3.LeaseID(res.Kvs[0].Lease)); err != nil {
		t.Fatal(err)
	}
	c.leads(b)
	c.eventually("the old one was refused", func() bool { s := c.state(a); return s.GetFenced() > 0 && !s.GetLeading() })
}

func TestConfigReportsAllFaults(t *testing.T) {
	_, err := scheduler.New(scheduler.Config{}, scheduler.Deps{Meter: noop.Meter{}})
	if err == nil {
		t.Fatal("an empty configuration was taken")
	}
	if err := scheduler.DefaultConfig().Validate(); err != nil {
		t.Error(err)
	}
}

func BenchmarkLoneJob(b *testing.B) {
	c := newColony(b)
	ready := make(chan string, 1)
	c.jobs.onReady = func(id string) { ready <- id }
	q, _ := c.start("s", nil)
	c.leads(q)
	b.ResetTimer()
	for i := range b.N {
		b.StopTimer()
		c.jobs.submit("x", 0, fmt.Sprint(i))
		<-time.After(5 * time.Millisecond)
		b.StartTimer()
		c.hint(submitted)
		<-ready
	}
}
