package supervisor_test

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/minio/minio-go/v7"
	"github.com/minio/minio-go/v7/pkg/credentials"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"go.opentelemetry.io/otel/metric/noop"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/formicary/formicary/libs/audit"
	"github.com/formicary/formicary/libs/bus"
	"github.com/formicary/formicary/libs/errs"
	"github.com/formicary/formicary/libs/jobspec/plan"
	"github.com/formicary/formicary/libs/passport/passporttest"
	"github.com/formicary/formicary/libs/rpc"
	"github.com/formicary/formicary/libs/testkit"
	antv1 "github.com/formicary/formicary/proto/gen/formicary/ant/v1"
	executionv1 "github.com/formicary/formicary/proto/gen/formicary/execution/v1"
	jobv1 "github.com/formicary/formicary/proto/gen/formicary/job/v1"
	resourcev1 "github.com/formicary/formicary/proto/gen/formicary/resource/v1"
	"github.com/formicary/formicary/services/supervisor"
)

func TestMain(m *testing.M) { testkit.Main(m) }

// world is a supervisor over real PostgreSQL and NATS, with peers at the gRPC border and ants that the test plays.
type world struct {
	t        testing.TB
	pool     *pgxpool.Pool
	reads    *pgxpool.Pool // of the newest replica
	nc       *nats.Conn
	js       jetstream.JetStream
	net      *rpc.Memory
	s3       string
	jobs     *jobManager
	slots    *resourceManager
	children *childService
	requests *requestService
	peers    struct{ jobs, slots grpc.ClientConnInterface }

	attempts   antv1.AttemptServiceClient
	executions executionv1.ExecutionServiceClient
	states     executionv1.ExecutionStateServiceClient
	logs       executionv1.LogServiceClient
	approvals  executionv1.ApprovalServiceClient
	events     *eventLog
	secrets    secretService
}

// noStore is where no object store answers.
const noStore = "127.0.0.1:1"

func newWorld(t testing.TB) *world {
	t.Helper()
	return newWorldWith(t, noStore)
}

// newWorldWith uses the object store at an address.
func newWorldWith(t testing.TB, s3 string) *world {
	t.Helper()
	w := &world{t: t, s3: s3, net: rpc.NewMemory(), jobs: newJobManager(), slots: newResourceManager(), children: newChildService(), requests: &requestService{states: map[string]jobv1.JobRequest_State{}, asked: map[string]int{}}}
	w.pool = testkit.Pool(t, supervisor.Schema, supervisor.Migrate)
	w.nc, w.js = testkit.NATS(t)
	w.serve("job-manager", func(r grpc.ServiceRegistrar) {
		jobv1.RegisterLaunchServiceServer(r, w.jobs)
		jobv1.RegisterJobDefinitionServiceServer(r, &definitions{jobs: w.jobs})
		jobv1.RegisterChildServiceServer(r, w.children)
		jobv1.RegisterJobRequestServiceServer(r, w.requests)
		jobv1.RegisterSecretServiceServer(r, &w.secrets)
	})
	w.serve("resource-manager", func(r grpc.ServiceRegistrar) { resourcev1.RegisterReservationServiceServer(r, w.slots) })
	w.peers.jobs, w.peers.slots = w.dial("job-manager"), w.dial("resource-manager")
	w.events = listen(t, w.nc)
	w.replica("supervisor")
	conn := w.dial("supervisor")
	w.attempts, w.executions = antv1.NewAttemptServiceClient(conn), executionv1.NewExecutionServiceClient(conn)
	w.states, w.logs = executionv1.NewExecutionStateServiceClient(conn), executionv1.NewLogServiceClient(conn)
	w.approvals = executionv1.NewApprovalServiceClient(conn)
	t.Cleanup(w.audit)
	return w
}

// replica starts a supervisor that answers under the name.
func (w *world) replica(name string) {
	w.t.Helper()
	cfg := supervisor.DefaultConfig()
	cfg.Reconcile.Every, cfg.Children.Every, cfg.Children.AskEvery = 100*time.Millisecond, 200*time.Millisecond, 200*time.Millisecond
	blobs, err := minio.New(w.s3, &minio.Options{Creds: credentials.NewStaticV4("key", "secret", ""), Region: "us-east-1"})
	if err != nil {
		w.t.Fatal(err)
	}
	leases, reads, err := supervisor.Beside(w.t.Context(), w.pool)
	if err != nil {
		w.t.Fatal(err)
	}
	w.reads = reads
	w.t.Cleanup(func() {
		leases.Close()
		reads.Close()
	})
	svc, err := supervisor.New(cfg, supervisor.Deps{
		Pool: w.pool, Leases: leases, Reads: reads, NATS: w.nc, JS: w.js, JobManager: w.peers.jobs, ResourceManager: w.peers.slots, Blobs: blobs, Bucket: "formicary",
		Log: quiet(w.t), Meter: noop.NewMeterProvider().Meter("test"),
	})
	if err != nil {
		w.t.Fatal(err)
	}
	testkit.Run(w.t, svc.Run)
	w.serve(name, svc.Register)
}

func quiet(t testing.TB) *slog.Logger {
	return slog.New(slog.NewTextHandler(t.Output(), &slog.HandlerOptions{Level: slog.LevelWarn}))
}

func (w *world) serve(name string, register func(grpc.ServiceRegistrar)) {
	s := rpc.NewServer(quiet(w.t), passporttest.Checker().Admit)
	register(s)
	lis := w.net.Listen(name)
	testkit.Run(w.t, func(ctx context.Context) error { return rpc.Serve(ctx, s, lis, time.Second) })
}

func (w *world) dial(name string) *grpc.ClientConn {
	w.t.Helper()
	conn, err := w.net.Dial(name, passporttest.Everybody()...)
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() { _ = conn.Close() })
	return conn
}

// audit checks the invariants; it is the last thing that every test does.
func (w *world) audit() {
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	found, err := audit.Run(ctx, w.pool, supervisor.Invariants())
	if err != nil {
		w.t.Errorf("audit: %v", err)
	}
	for _, v := range found {
		w.t.Errorf("invariant %s: %s", v.Check, v.Detail)
	}
}

// publish sends a domain event as its owner's outbox would.
func (w *world) publish(subject string, m proto.Message) {
	w.t.Helper()
	payload, err := proto.Marshal(m)
	if err != nil {
		w.t.Fatal(err)
	}
	if _, err := w.js.Publish(w.t.Context(), subject, payload); err != nil {
		w.t.Fatal(err)
	}
}

// admit makes a request of the plan and admits it.
func (w *world) admit(p *plan.Plan) string {
	id := w.jobs.add(p)
	w.admitRun(id, 1)
	return id
}

func (w *world) admitRun(id string, run int32) {
	w.publish("formicary.event.job.admitted", &jobv1.RequestsAdmitted{Requests: []*jobv1.RequestAdmitted{{RequestId: id, Run: run}}})
}

func (w *world) control(id string, action jobv1.RequestControl_Action) {
	w.publish("formicary.event.job.control", &jobv1.RequestControl{
		RequestId: id, Run: 1, Action: action, Reason: "asked by a test", OrgId: "default", JobType: "job",
	})
}

// execution returns the newest run of a request, nil before its launch.
func (w *world) execution(id string) *executionv1.Execution {
	w.t.Helper()
	res, err := w.executions.GetExecution(w.t.Context(), &executionv1.GetExecutionRequest{RequestId: id})
	if errs.Reason(err) == "EXECUTION_NOT_FOUND" {
		return nil
	}
	if err != nil {
		w.t.Fatal(err)
	}
	return res.GetExecution()
}

// becomes waits until the newest run of a request is in the state.
func (w *world) becomes(id string, want executionv1.Execution_State) *executionv1.Execution {
	w.t.Helper()
	var e *executionv1.Execution
	testkit.Eventually(w.t, 20*time.Second, fmt.Sprintf("request %s is %s", id, want), func() bool {
		e = w.execution(id)
		return e.GetState() == want
	})
	return e
}

func (w *world) tasks(id string) map[string]*executionv1.Task {
	w.t.Helper()
	all := map[string]*executionv1.Task{}
	token := ""
	for {
		res, err := w.executions.ListTasks(w.t.Context(), &executionv1.ListTasksRequest{RequestId: id, PageToken: token})
		if err != nil {
			w.t.Fatal(err)
		}
		for _, task := range res.GetTasks() {
			all[task.GetName()] = task
		}
		if token = res.GetNextPageToken(); token == "" {
			return all
		}
	}
}

// taskBecomes waits for the state of a task.
func (w *world) taskBecomes(id, name string, want executionv1.Task_State) *executionv1.Task {
	w.t.Helper()
	var task *executionv1.Task
	testkit.Eventually(w.t, 20*time.Second, fmt.Sprintf("task %s is %s", name, want), func() bool {
		if w.execution(id) == nil {
			return false
		}
		task = w.tasks(id)[name]
		return task.GetState() == want
	})
	return task
}

// settled waits until everything that supervisor owes to others is sent.
func (w *world) settled() {
	w.t.Helper()
	testkit.Eventually(w.t, 15*time.Second, "outbox and releases are empty", func() bool {
		var n int
		err := w.pool.QueryRow(w.t.Context(), `SELECT (SELECT count(*) FROM outbox) + (SELECT count(*) FROM slot_release)`).Scan(&n)
		return err == nil && n == 0
	})
	testkit.Eventually(w.t, 20*time.Second, "no slot is held", func() bool { return w.slots.held() == 0 })
}

// jobManager plays job-manager.
type jobManager struct {
	jobv1.UnimplementedLaunchServiceServer
	mu       sync.Mutex
	launches map[string]*jobv1.Launch
	yaml     string
	gone     error // answers the question for a definition
	calls    int
	// faults answer instead of the launch of a request, or with an error for the whole call.
	faults map[string]func(ctx context.Context, patient bool) (*jobv1.LaunchFault, error)
}

func newJobManager() *jobManager {
	return &jobManager{launches: map[string]*jobv1.Launch{}, faults: map[string]func(context.Context, bool) (*jobv1.LaunchFault, error){}}
}

// fault lets the launch of a request fail as f says; nil lets it be.
func (j *jobManager) fault(id string, f func(ctx context.Context, patient bool) (*jobv1.LaunchFault, error)) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.faults[id] = f
}

func (j *jobManager) add(p *plan.Plan, change ...func(*jobv1.Launch)) string {
	raw, err := json.Marshal(p)
	if err != nil {
		panic(err)
	}
	vars, err := json.Marshal(p.Vars)
	if err != nil {
		panic(err)
	}
	if p.Vars == nil {
		vars = []byte("{}")
	}
	l := &jobv1.Launch{
		RequestId: uuid.Must(uuid.NewV7()).String(), Run: 1, OrgId: "default", JobType: "job", DefinitionId: uuid.NewString(),
		Plan: raw, Vars: vars, Priority: 50, AgeAt: timestamppb.Now(), SubmittedBy: "sam",
	}
	for _, c := range change {
		c(l)
	}
	j.set(l)
	return l.GetRequestId()
}

func (j *jobManager) set(l *jobv1.Launch) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.launches[fmt.Sprint(l.GetRequestId(), l.GetRun())] = l
}

func (j *jobManager) GetLaunches(ctx context.Context, req *jobv1.GetLaunchesRequest) (*jobv1.GetLaunchesResponse, error) {
	j.mu.Lock()
	j.calls++
	res := &jobv1.GetLaunchesResponse{}
	faulty := map[string]func(context.Context, bool) (*jobv1.LaunchFault, error){}
	for _, r := range req.GetRuns() {
		l := j.launches[fmt.Sprint(r.GetRequestId(), r.GetRun())]
		if l == nil {
			continue
		}
		if f := j.faults[r.GetRequestId()]; f != nil {
			faulty[r.GetRequestId()] = f
			continue
		}
		res.Launches = append(res.Launches, l)
	}
	j.mu.Unlock()
	for id, f := range faulty {
		fault, err := f(ctx, req.GetPatient())
		if err != nil {
			return nil, err
		}
		fault.Launch = &jobv1.Launch{RequestId: id, Run: 1, OrgId: "default", JobType: "job", DefinitionId: uuid.NewString(), AgeAt: timestamppb.Now()}
		res.Faults = append(res.Faults, fault)
	}
	return res, nil
}

// definitions plays the other service of job-manager.
type definitions struct {
	jobv1.UnimplementedJobDefinitionServiceServer
	jobs *jobManager
}

func (d *definitions) GetJobDefinition(_ context.Context, req *jobv1.GetJobDefinitionRequest) (*jobv1.GetJobDefinitionResponse, error) {
	d.jobs.mu.Lock()
	defer d.jobs.mu.Unlock()
	if d.jobs.gone != nil {
		return nil, d.jobs.gone
	}
	return &jobv1.GetJobDefinitionResponse{Definition: &jobv1.JobDefinition{Id: req.GetId(), JobType: "job", Yaml: d.jobs.yaml}}, nil
}

// resourceManager plays resource-manager: ants with slots, holds by attempt.
type resourceManager struct {
	resourcev1.UnimplementedReservationServiceServer
	mu    sync.Mutex
	ants  map[string]*place
	holds map[string]string // attempt → ant
	asked int
	calls int
	late  bool // answers with a deadline that has passed
	// unclaimed are releases that spoke against an ant.
	unclaimed []string
}

type place struct {
	session string
	slots   int
	used    int
}

func newResourceManager() *resourceManager {
	return &resourceManager{ants: map[string]*place{}, holds: map[string]string{}}
}

func (r *resourceManager) set(ant, session string, slots int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	used := 0
	if old := r.ants[ant]; old != nil {
		used = old.used
	}
	r.ants[ant] = &place{session: session, slots: slots, used: used}
}

func (r *resourceManager) held() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.holds)
}

func (r *resourceManager) Reserve(_ context.Context, req *resourcev1.ReserveRequest) (*resourcev1.ReserveResponse, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.calls++
	r.asked += len(req.GetAsks())
	r.unclaimed = append(r.unclaimed, req.GetUnclaimed()...)
	for _, uid := range req.GetReleases() {
		if ant, ok := r.holds[uid]; ok {
			delete(r.holds, uid)
			r.ants[ant].used--
		}
	}
	res := &resourcev1.ReserveResponse{Deadline: timestamppb.New(time.Now().Add(30 * time.Second))}
	if r.late {
		res.Deadline = timestamppb.New(time.Now().Add(-time.Second))
	}
	for _, a := range req.GetAsks() {
		p := &resourcev1.Placement{AttemptUid: a.GetAttemptUid(), Gate: "no_ant", Reason: "no ant offers " + a.GetMethod()}
		best := ""
		for name, x := range r.ants {
			if a.GetMethod() != "SHELL" {
				continue
			}
			p.Gate, p.Reason = "capacity", "all slots are used"
			if x.used < x.slots && (best == "" || x.used < r.ants[best].used) {
				best = name
			}
		}
		if best != "" {
			r.ants[best].used++
			r.holds[a.GetAttemptUid()] = best
			p = &resourcev1.Placement{AttemptUid: a.GetAttemptUid(), AntId: best, Session: r.ants[best].session}
		}
		res.Placements = append(res.Placements, p)
	}
	return res, nil
}

// eventLog keeps what job-manager hears.
type eventLog struct {
	mu  sync.Mutex
	all []*executionv1.ExecutionChanged
}

func listen(t testing.TB, nc *nats.Conn) *eventLog {
	t.Helper()
	l := &eventLog{}
	sub, err := nc.Subscribe("formicary.event.execution.changed", func(m *nats.Msg) {
		e := &executionv1.ExecutionChanges{}
		if proto.Unmarshal(m.Data, e) == nil {
			l.mu.Lock()
			l.all = append(l.all, e.GetChanges()...)
			l.mu.Unlock()
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = sub.Unsubscribe() })
	return l
}

// of returns the distinct states of a request in the order of their versions.
func (l *eventLog) of(id string) []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	var states []string
	last := int64(0)
	for _, e := range l.all {
		if e.GetRequestId() == id && e.GetVersion() > last {
			last = e.GetVersion()
			states = append(states, e.GetState().String())
		}
	}
	return states
}

// ant is played by the test: it hears doorbells and does what script says, by the name of the task.
type ant struct {
	w          *world
	id         string
	session    string
	generation int64
	// script says how an attempt ends; nil means success. A nil result leaves it running.
	script func(w *antv1.Work) *antv1.Result

	mu      sync.Mutex
	running map[string]*antv1.Work
	worked  []*antv1.Work
	refused []string
}

// newAnt registers an ant and lets it work until the test ends. Without slots it only registers.
func (w *world) newAnt(id string, slots int, script func(*antv1.Work) *antv1.Result) *ant {
	w.t.Helper()
	a := &ant{w: w, id: id, session: uuid.NewString(), generation: 1, script: script, running: map[string]*antv1.Work{}}
	w.slots.set(id, a.session, slots)
	testkit.Run(w.t, func(ctx context.Context) error {
		return bus.Consume(ctx, quiet(w.t), w.js, bus.Consumption{
			Stream: bus.Tasks, Handle: a.ring,
			Consumer: jetstream.ConsumerConfig{Durable: "ant-" + id, FilterSubject: "formicary.task." + id, AckPolicy: jetstream.AckExplicitPolicy},
		})
	})
	return a
}

func (a *ant) ring(ctx context.Context, msgs []jetstream.Msg) error {
	req := &antv1.ClaimRequest{AntId: a.id, Session: a.session}
	for _, m := range msgs {
		var d antv1.Doorbell
		if err := proto.Unmarshal(m.Data(), &d); err != nil {
			return err
		}
		req.Uids = append(req.Uids, d.GetUids()...)
	}
	res, err := a.w.attempts.Claim(ctx, req)
	if err != nil {
		return err
	}
	bus.Ack(msgs)
	for _, work := range res.GetWorks() {
		if work.GetRefused() != "" {
			a.mu.Lock()
			a.refused = append(a.refused, work.GetRefused())
			a.mu.Unlock()
			continue
		}
		a.mu.Lock()
		a.worked = append(a.worked, work)
		a.running[work.GetUid()] = work
		a.mu.Unlock()
		out := &antv1.Result{Outcome: antv1.Result_SUCCEEDED}
		if a.script != nil {
			out = a.script(work)
		}
		if out != nil {
			a.end(work.GetUid(), out)
		}
	}
	return nil
}

// end sends the result of an attempt.
func (a *ant) end(uid string, r *antv1.Result) {
	r.Uid, r.AntId, r.Session = uid, a.id, a.session
	payload, err := proto.Marshal(r)
	if err == nil {
		_, err = a.w.js.PublishMsgAsync(&nats.Msg{Subject: "formicary.result.0", Data: payload})
	}
	if err != nil {
		a.w.t.Errorf("send result: %v", err)
	}
	a.mu.Lock()
	delete(a.running, uid)
	a.mu.Unlock()
}

// sync reports what runs, as an ant does every few seconds.
func (a *ant) sync(first bool, spooled ...string) *antv1.SyncResponse {
	a.w.t.Helper()
	res, err := a.trySync(first, spooled...)
	if err != nil {
		a.w.t.Fatal(err)
	}
	return res
}

func (a *ant) trySync(first bool, spooled ...string) (*antv1.SyncResponse, error) {
	a.mu.Lock()
	req := &antv1.SyncRequest{AntId: a.id, Session: a.session, Generation: a.generation, First: first, Spooled: spooled}
	for uid := range a.running {
		req.Running = append(req.Running, uid)
	}
	a.mu.Unlock()
	return a.w.attempts.Sync(a.w.t.Context(), req)
}

// ran are the names of the tasks that were started, in order.
func (a *ant) ran() []string {
	a.mu.Lock()
	defer a.mu.Unlock()
	names := make([]string, len(a.worked))
	for i, w := range a.worked {
		names[i] = w.GetTask()
	}
	return names
}

// live waits until the ant runs the task and returns its attempt.
func (a *ant) live(task string) string {
	a.w.t.Helper()
	uid := ""
	testkit.Eventually(a.w.t, 20*time.Second, "the ant runs "+task, func() bool {
		a.mu.Lock()
		defer a.mu.Unlock()
		for u, w := range a.running {
			if w.GetTask() == task {
				uid = u
			}
		}
		return uid != ""
	})
	return uid
}

// onEnd calls f with every request that reaches a terminal state, once per event.
func (w *world) onEnd(f func(id string)) (stop func()) {
	w.t.Helper()
	sub, err := w.nc.Subscribe("formicary.event.execution.changed", func(m *nats.Msg) {
		all := &executionv1.ExecutionChanges{}
		if proto.Unmarshal(m.Data, all) != nil {
			return
		}
		for _, e := range all.GetChanges() {
			if e.GetEndedAt() != nil {
				f(e.GetRequestId())
			}
		}
	})
	if err != nil {
		w.t.Fatal(err)
	}
	return func() { _ = sub.Unsubscribe() }
}
