package jobmanager_test

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"go.opentelemetry.io/otel/metric/noop"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/proto"

	"github.com/formicary/formicary/libs/access"
	"github.com/formicary/formicary/libs/audit"
	"github.com/formicary/formicary/libs/errs"
	"github.com/formicary/formicary/libs/keyring"
	"github.com/formicary/formicary/libs/passport/passporttest"
	"github.com/formicary/formicary/libs/rpc"
	"github.com/formicary/formicary/libs/testkit"
	executionv1 "github.com/formicary/formicary/proto/gen/formicary/execution/v1"
	jobv1 "github.com/formicary/formicary/proto/gen/formicary/job/v1"
	jobmanager "github.com/formicary/formicary/services/job-manager"
)

func TestMain(m *testing.M) { testkit.Main(m) }

// supervisor is what the tests let it say.
type supervisor struct {
	executionv1.UnimplementedExecutionServiceServer
	executionv1.UnimplementedExecutionStateServiceServer
	mu     sync.Mutex
	states map[string]*executionv1.ExecutionChanged
	tasks  []*executionv1.Task
	asked  int
	about  map[string]bool // the requests that it was asked about
	// notices are not confirmed yet.
	notices []*executionv1.TaskNotice
}

func (s *supervisor) TakeNotices(_ context.Context, req *executionv1.TakeNoticesRequest) (*executionv1.TakeNoticesResponse, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.notices = slices.DeleteFunc(s.notices, func(n *executionv1.TaskNotice) bool { return slices.Contains(req.GetStored(), n.GetId()) })
	return &executionv1.TakeNoticesResponse{Notices: slices.Clone(s.notices[:min(2, len(s.notices))])}, nil
}

// owes says how many notices are not confirmed.
func (s *supervisor) owes() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.notices)
}

func (s *supervisor) know(e *executionv1.ExecutionChanged) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.states[e.GetRequestId()] = e
}

func (s *supervisor) GetExecutionStates(_ context.Context, req *executionv1.GetExecutionStatesRequest) (*executionv1.GetExecutionStatesResponse, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.asked++
	res := &executionv1.GetExecutionStatesResponse{}
	for _, r := range req.GetRuns() {
		s.about[r.GetRequestId()] = true
		if e := s.states[r.GetRequestId()]; e != nil && e.GetRun() == r.GetRun() {
			res.States = append(res.States, e)
		}
	}
	return res, nil
}

func (s *supervisor) ListTasks(context.Context, *executionv1.ListTasksRequest) (*executionv1.ListTasksResponse, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.tasks == nil {
		return nil, errs.NotFound("EXECUTION_NOT_FOUND", "no execution")
	}
	return &executionv1.ListTasksResponse{Tasks: s.tasks}, nil
}

// colony is a job manager with its parts.
type colony struct {
	testing.TB
	pool        *pgxpool.Pool
	nc          *nats.Conn
	js          jetstream.JetStream
	supervisor  *supervisor
	definitions jobv1.JobDefinitionServiceClient
	requests    jobv1.JobRequestServiceClient
	admission   jobv1.AdmissionServiceClient
	launch      jobv1.LaunchServiceClient
	children    jobv1.ChildServiceClient
	errorCodes  jobv1.ErrorCodeServiceClient
	configs     jobv1.ConfigServiceClient
	secrets     jobv1.SecretServiceClient
	ring        *keyring.File // nil: there is none
	conf        jobmanager.Config
	network     *rpc.Memory
	epoch       int64
}

// newColony starts a service; tune may change its configuration.
func newColony(t testing.TB, tune ...func(*jobmanager.Config)) *colony {
	t.Helper()
	if p, ok := t.(interface{ Parallel() }); ok {
		p.Parallel()
	}
	c := &colony{
		TB: t, pool: testkit.Pool(t, jobmanager.Schema, jobmanager.Migrate), supervisor: &supervisor{states: map[string]*executionv1.ExecutionChanged{}, about: map[string]bool{}},
		conf: jobmanager.DefaultConfig(), network: rpc.NewMemory(),
	}
	c.nc, c.js = testkit.NATS(t)
	for _, f := range tune {
		f(&c.conf)
	}
	c.serve("supervisor", func(r grpc.ServiceRegistrar) {
		executionv1.RegisterExecutionServiceServer(r, c.supervisor)
		executionv1.RegisterExecutionStateServiceServer(r, c.supervisor)
	})
	c.ring = newRing(t)
	c.start("job-manager")
	conn := c.dial("job-manager")
	c.definitions, c.requests = jobv1.NewJobDefinitionServiceClient(conn), jobv1.NewJobRequestServiceClient(conn)
	c.admission, c.launch = jobv1.NewAdmissionServiceClient(conn), jobv1.NewLaunchServiceClient(conn)
	c.children, c.errorCodes = jobv1.NewChildServiceClient(conn), jobv1.NewErrorCodeServiceClient(conn)
	c.configs, c.secrets = jobv1.NewConfigServiceClient(conn), jobv1.NewSecretServiceClient(conn)
	t.Cleanup(c.audit)
	return c
}

// start adds a replica under a name.
func (c *colony) start(name string) {
	c.Helper()
	deps := jobmanager.Deps{Pool: c.pool, NATS: c.nc, JS: c.js, Supervisor: c.dial("supervisor"), Log: testkit.Logger(c), Meter: noop.Meter{}}
	if c.ring != nil {
		deps.Keys, deps.RotateKeys = c.ring, c.ring.Rotate
	}
	s, err := jobmanager.New(c.conf, deps)
	if err != nil {
		c.Fatal(err)
	}
	testkit.Run(c, s.Run)
	c.serve(name, s.Register)
}

func newRing(t testing.TB) *keyring.File {
	t.Helper()
	ring, err := keyring.Ensure(filepath.Join(t.TempDir(), "keyring.json"))
	if err != nil {
		t.Fatal(err)
	}
	return ring
}

func (c *colony) serve(name string, register func(grpc.ServiceRegistrar)) {
	server := rpc.NewServer(testkit.Logger(c), passporttest.Checker().Admit)
	register(server)
	lis := c.network.Listen(name)
	testkit.Run(c, func(ctx context.Context) error { return rpc.Serve(ctx, server, lis, time.Second) })
}

func (c *colony) dial(name string) *grpc.ClientConn {
	c.Helper()
	conn, err := c.network.Dial(name, passporttest.Everybody()...)
	if err != nil {
		c.Fatal(err)
	}
	c.Cleanup(func() { _ = conn.Close() })
	return conn
}

// audit finds what must never be, at the end of every test.
func (c *colony) audit() {
	found, err := audit.Run(context.Background(), c.pool, jobmanager.Invariants())
	if err != nil {
		c.Error(err)
	}
	for _, v := range found {
		c.Errorf("%s: %s", v.Check, v.Detail)
	}
	if c.ring != nil {
		broken, err := jobmanager.VerifySecrets(context.Background(), c.pool, c.ring, "", 100)
		if err != nil || len(broken) > 0 {
			c.Errorf("%v, %v", broken, err)
		}
	}
	if n := c.miscounted(); n != 0 {
		c.Errorf("the counts of %d states are wrong", n)
	}
}

// miscounted is how many counts differ from what there is.
func (c *colony) miscounted() (n int) {
	c.Helper()
	if err := c.pool.QueryRow(context.Background(), `SELECT count(*) FROM (
		SELECT org_id, job_type, state FROM (
			SELECT org_id, job_type, state, n FROM request_count UNION ALL SELECT org_id, job_type, state, n FROM request_count_delta
			UNION ALL SELECT org_id, job_type, state, -count(*) FROM request GROUP BY org_id, job_type, state) x
		GROUP BY org_id, job_type, state HAVING sum(n) <> 0) wrong`).Scan(&n); err != nil {
		c.Fatal(err)
	}
	return n
}

func job(jobType, more string) string {
	return "job_type: " + jobType + "\n" + more + "tasks:\n  - task_type: a\n    method: SHELL\n    script:\n      - \"true\"\n"
}

func (c *colony) upload(yaml string) *jobv1.JobDefinition {
	c.Helper()
	res, err := c.definitions.CreateJobDefinition(c.Context(), &jobv1.CreateJobDefinitionRequest{Yaml: yaml})
	if err != nil {
		c.Fatal(err)
	}
	return res.GetDefinition()
}

// of calls on behalf of another organisation.
func (c *colony) of(org string) context.Context {
	return access.With(c.Context(), passporttest.Person(org, "u-"+org))
}

func (c *colony) submit(req *jobv1.SubmitJobRequest) *jobv1.JobRequest {
	c.Helper()
	res, err := c.requests.SubmitJob(c.Context(), req)
	if err != nil {
		c.Fatal(err)
	}
	return res.GetRequest()
}

func (c *colony) get(id string) *jobv1.JobRequest {
	c.Helper()
	res, err := c.requests.GetJobRequest(c.Context(), &jobv1.GetJobRequestRequest{Id: id})
	if err != nil {
		c.Fatal(err)
	}
	return res.GetRequest()
}

func (c *colony) queue(limit int32) *jobv1.ReadQueueResponse {
	c.Helper()
	res, err := c.admission.ReadQueue(c.Context(), &jobv1.ReadQueueRequest{HeadLimit: limit})
	if err != nil {
		c.Fatal(err)
	}
	return res
}

// lead begins a term.
func (c *colony) lead() {
	c.Helper()
	res, err := c.admission.BeginEpoch(c.Context(), &jobv1.BeginEpochRequest{LeaderId: "s1", ClusterId: 1 << 63, Revision: 5})
	if err != nil {
		c.Fatal(err)
	}
	c.epoch = res.GetEpoch()
}

// admit makes requests READY as the leader does.
func (c *colony) admit(ids ...string) {
	c.Helper()
	if c.epoch == 0 {
		c.lead()
	}
	res, err := c.admission.Admit(c.Context(), &jobv1.AdmitRequest{Epoch: c.epoch, LeaderId: "s1", RequestIds: ids})
	if err != nil {
		c.Fatal(err)
	}
	if len(res.GetRequestIds()) != len(ids) {
		c.Fatalf("admitted %v of %v", res.GetRequestIds(), ids)
	}
}

// said publishes what supervisor tells of a run.
func (c *colony) said(events ...*executionv1.ExecutionChanged) {
	c.Helper()
	for _, e := range events {
		payload, err := proto.Marshal(&executionv1.ExecutionChanges{Changes: []*executionv1.ExecutionChanged{e}})
		if err != nil {
			c.Fatal(err)
		}
		if _, err := c.js.Publish(c.Context(), "formicary.event.execution.changed", payload); err != nil {
			c.Fatal(err)
		}
	}
}

func (c *colony) awaitState(id string, want jobv1.JobRequest_State, run int32) *jobv1.JobRequest {
	c.Helper()
	var last *jobv1.JobRequest
	testkit.Eventually(c, 10*time.Second, fmt.Sprintf("request %s is %s in run %d", id, want, run), func() bool {
		last = c.get(id)
		return last.GetState() == want && last.GetRun() == run
	})
	return last
}

// hear collects the messages of a subject.
func hear[T any, M interface {
	*T
	proto.Message
}](c *colony, subject string) func() []M {
	c.Helper()
	var mu sync.Mutex
	var heard []M
	sub, err := c.nc.Subscribe(subject, func(m *nats.Msg) {
		msg := M(new(T))
		if err := proto.Unmarshal(m.Data, msg); err != nil {
			c.Error(err)
			return
		}
		mu.Lock()
		defer mu.Unlock()
		heard = append(heard, msg)
	})
	if err != nil {
		c.Fatal(err)
	}
	c.Cleanup(func() { _ = sub.Unsubscribe() })
	if err := c.nc.Flush(); err != nil {
		c.Fatal(err)
	}
	return func() []M {
		mu.Lock()
		defer mu.Unlock()
		return append([]M{}, heard...)
	}
}

// hearChanged collects what is told of requests.
func hearChanged(c *colony) func() []*jobv1.RequestChanged {
	c.Helper()
	heard := hear[jobv1.RequestChanges](c, "formicary.event.job.changed")
	return func() (all []*jobv1.RequestChanged) {
		for _, m := range heard() {
			all = append(all, m.GetChanges()...)
		}
		return all
	}
}

// hearAdmitted collects which requests are told to be admitted.
func hearAdmitted(c *colony) func() []*jobv1.RequestAdmitted {
	c.Helper()
	heard := hear[jobv1.RequestsAdmitted](c, "formicary.event.job.admitted")
	return func() (all []*jobv1.RequestAdmitted) {
		for _, m := range heard() {
			all = append(all, m.GetRequests()...)
		}
		return all
	}
}

func wantReason(t testing.TB, err error, reason string) {
	t.Helper()
	if got := errs.Reason(err); got != reason || err == nil {
		t.Errorf("reason %q (%v), want %q", got, err, reason)
	}
}

func asTyped(err error, target **errs.Error) bool { return errors.As(err, target) }

// count runs a query that returns one number.
func (c *colony) count(sql string, args ...any) int {
	c.Helper()
	var n int
	if err := c.pool.QueryRow(c.Context(), sql, args...).Scan(&n); err != nil {
		c.Fatal(err)
	}
	return n
}
