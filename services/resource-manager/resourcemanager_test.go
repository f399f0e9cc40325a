package resourcemanager_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"go.opentelemetry.io/otel/metric/noop"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoregistry"

	"github.com/formicary/formicary/libs/access"
	"github.com/formicary/formicary/libs/audit"
	"github.com/formicary/formicary/libs/bus"
	"github.com/formicary/formicary/libs/errs"
	"github.com/formicary/formicary/libs/passport"
	"github.com/formicary/formicary/libs/passport/passporttest"
	"github.com/formicary/formicary/libs/rpc"
	"github.com/formicary/formicary/libs/testkit"
	antv1 "github.com/formicary/formicary/proto/gen/formicary/ant/v1"
	executionv1 "github.com/formicary/formicary/proto/gen/formicary/execution/v1"
	resourcev1 "github.com/formicary/formicary/proto/gen/formicary/resource/v1"
	resourcemanager "github.com/formicary/formicary/services/resource-manager"
)

func TestMain(m *testing.M) { testkit.Main(m) }

// supervisor knows which attempts live.
type supervisor struct {
	executionv1.UnimplementedExecutionStateServiceServer
	mu    sync.Mutex
	live  map[string]bool
	down  bool
	asked int
}

func (s *supervisor) CheckAttempts(_ context.Context, r *executionv1.CheckAttemptsRequest) (*executionv1.CheckAttemptsResponse, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.asked++
	if s.down {
		return nil, errors.New("no answer")
	}
	res := &executionv1.CheckAttemptsResponse{}
	for _, u := range r.GetUids() {
		if s.live[u] {
			res.Live = append(res.Live, u)
		}
	}
	return res, nil
}

func (s *supervisor) locked(f func()) { s.mu.Lock(); defer s.mu.Unlock(); f() }

// colony is a resource-manager and all around it.
type colony struct {
	t    testing.TB
	pool *pgxpool.Pool
	nats *nats.Conn
	js   jetstream.JetStream
	sup  *supervisor
	net  *rpc.Memory

	ants antv1.RegistrationServiceClient
	show resourcev1.AntServiceClient
	desk resourcev1.ReservationServiceClient
}

func start(t testing.TB, change func(*resourcemanager.Config)) *colony {
	t.Helper()
	c := &colony{t: t, pool: testkit.Pool(t, "resource", resourcemanager.Migrate), sup: &supervisor{live: map[string]bool{}}, net: rpc.NewMemory()}
	c.nats, c.js = testkit.NATS(t)
	c.serve("supervisor", func(s grpc.ServiceRegistrar) { executionv1.RegisterExecutionStateServiceServer(s, c.sup) })
	conn := c.replica("resource-manager", change)
	c.ants, c.show, c.desk = antv1.NewRegistrationServiceClient(conn), resourcev1.NewAntServiceClient(conn), resourcev1.NewReservationServiceClient(conn)
	return c
}

// replica runs one more resource-manager.
func (c *colony) replica(name string, change func(*resourcemanager.Config)) *grpc.ClientConn {
	conf := resourcemanager.DefaultConfig()
	if change != nil {
		change(&conf)
	}
	svc, err := resourcemanager.New(conf, resourcemanager.Deps{
		Pool: c.pool, NATS: c.nats, JS: c.js, Supervisor: c.dial("supervisor"), Authority: passporttest.Authority(), Log: testkit.Logger(c.t), Meter: noop.Meter{},
	})
	if err != nil {
		c.t.Fatal(err)
	}
	testkit.Run(c.t, svc.Run)
	c.serve(name, svc.Register)
	c.admit(name+"/ants", svc.Register, passport.NewChecker(passporttest.Authority().Roots, access.ReadRules(protoregistry.GlobalFiles), svc.Gone).AdmitAnts)
	return c.dial(name)
}

func (c *colony) serve(name string, register func(grpc.ServiceRegistrar)) {
	c.admit(name, register, passporttest.Checker().Admit)
}

func (c *colony) admit(name string, register func(grpc.ServiceRegistrar), admit rpc.Admit) {
	s := rpc.NewServer(testkit.Logger(c.t), admit)
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

func (c *colony) register(id string, slots int32, tags ...string) *antv1.RegisterResponse {
	c.t.Helper()
	res, err := c.ants.Register(c.t.Context(), &antv1.RegisterRequest{
		AntId: id, Methods: []string{"SHELL"}, Slots: slots, Tags: tags, Version: "v1", Labels: map[string]string{"zone": "z"},
	})
	if err != nil {
		c.t.Fatal(err)
	}
	return res
}

func (c *colony) beat(id, session string) (*antv1.HeartbeatResponse, error) {
	return c.ants.Heartbeat(c.t.Context(), &antv1.HeartbeatRequest{AntId: id, Session: session})
}

func (c *colony) reserve(releases []string, asks ...*resourcev1.Ask) *resourcev1.ReserveResponse {
	c.t.Helper()
	res, err := c.desk.Reserve(c.t.Context(), &resourcev1.ReserveRequest{Releases: releases, Asks: asks})
	if err != nil {
		c.t.Fatal(err)
	}
	return res
}

func (c *colony) get(id string) *resourcev1.Ant {
	c.t.Helper()
	res, err := c.show.GetAnt(c.t.Context(), &resourcev1.GetAntRequest{Id: id})
	if err != nil {
		c.t.Fatal(err)
	}
	return res.GetAnt()
}

func (c *colony) audit() {
	c.t.Helper()
	found, err := audit.Run(c.t.Context(), c.pool, resourcemanager.Invariants())
	if err != nil {
		c.t.Fatal(err)
	}
	for _, v := range found {
		c.t.Errorf("invariant %s: %s", v.Check, v.Detail)
	}
}

func (c *colony) eventually(what string, cond func() bool) {
	c.t.Helper()
	testkit.Eventually(c.t, 10*time.Second, what, cond)
}

func (c *colony) consumers() []string {
	stream, err := c.js.Stream(c.t.Context(), bus.Tasks)
	if err != nil {
		return nil
	}
	var names []string
	for n := range stream.ConsumerNames(c.t.Context()).Name() {
		names = append(names, n)
	}
	slices.Sort(names)
	return names
}

func shell(tags ...string) *resourcev1.Ask {
	return &resourcev1.Ask{AttemptUid: uuid.NewString(), OrgId: "default", Method: "SHELL", Tags: tags, Slots: 1}
}

func shells(n int) []*resourcev1.Ask {
	asks := make([]*resourcev1.Ask, n)
	for i := range asks {
		asks[i] = shell()
	}
	return asks
}

func TestRegisterAndBeat(t *testing.T) {
	c := start(t, nil)
	first := c.register("a", 4, "Linux")
	if first.GetGeneration() < 1 || first.GetLease().AsDuration() != 30*time.Second || first.GetHeartbeatEvery().AsDuration() != 5*time.Second {
		t.Errorf("%v", first)
	}
	if got := c.consumers(); !slices.Equal(got, []string{"ant-a"}) {
		t.Errorf("consumers %v", got)
	}
	if _, err := c.beat("a", first.GetSession()); err != nil {
		t.Error(err)
	}
	second := c.register("a", 2)
	if second.GetGeneration() <= first.GetGeneration() || second.GetSession() == first.GetSession() {
		t.Errorf("%v", second)
	}
	if _, err := c.beat("a", first.GetSession()); errs.Reason(err) != "SESSION_SUPERSEDED" {
		t.Errorf("old session: %v", err)
	}
	if _, err := c.beat("b", first.GetSession()); errs.Reason(err) != "ANT_UNKNOWN" {
		t.Errorf("unknown ant: %v", err)
	}
	if _, err := c.ants.Leave(t.Context(), &antv1.LeaveRequest{AntId: "a", Session: second.GetSession()}); err != nil {
		t.Fatal(err)
	}
	if _, err := c.beat("a", second.GetSession()); errs.Reason(err) != "ANT_UNKNOWN" {
		t.Errorf("after it left: %v", err)
	}
	a := c.get("a")
	if a.GetState() != resourcev1.Ant_OFFLINE || a.GetSlots() != 2 || a.GetLabels()["zone"] != "z" || a.GetVersion() != "v1" {
		t.Errorf("%v", a)
	}
	if _, err := c.show.GetAnt(t.Context(), &resourcev1.GetAntRequest{Id: "b"}); errs.Reason(err) != "ANT_NOT_FOUND" {
		t.Error(err)
	}
}

func TestListAnts(t *testing.T) {
	c := start(t, nil)
	for i := range 5 {
		c.register(fmt.Sprintf("a%d", i), 1)
	}
	var ids []string
	token := ""
	for {
		res, err := c.show.ListAnts(t.Context(), &resourcev1.ListAntsRequest{PageSize: 2, PageToken: token})
		if err != nil {
			t.Fatal(err)
		}
		for _, a := range res.GetAnts() {
			ids = append(ids, a.GetId())
		}
		if token = res.GetNextPageToken(); token == "" {
			break
		}
	}
	if !slices.Equal(ids, []string{"a0", "a1", "a2", "a3", "a4"}) {
		t.Errorf("%v", ids)
	}
	if _, err := c.show.ListAnts(t.Context(), &resourcev1.ListAntsRequest{PageToken: rpc.PageToken("requests", "a")}); errs.Reason(err) != "PAGE_TOKEN_INVALID" {
		t.Errorf("the token of another list: %v", err)
	}
}

// An ant of an organisation works for it alone, and to the people of others it does not exist.
func TestAntsOfAnOrganisation(t *testing.T) {
	c := start(t, nil)
	c.register("own", 8)
	c.register("shared", 1)
	if _, err := c.pool.Exec(t.Context(), `UPDATE ant SET org_id = 'a' WHERE id = 'own'`); err != nil {
		t.Fatal(err)
	}
	asks := shells(4)
	asks[0].OrgId, asks[1].OrgId, asks[2].OrgId, asks[3].OrgId = "b", "b", "a", "a"
	var got []string
	for _, p := range c.reserve(nil, asks...).GetPlacements() {
		got = append(got, p.GetAntId()+p.GetReason())
	}
	if want := []string{"shared", "method SHELL: 1 of 1 slot of 1 matching ant is taken", "own", "own"}; !slices.Equal(got, want) {
		t.Errorf("placed %q, want %q", got, want)
	}
	for org, want := range map[string][]string{"a": {"own", "shared"}, "b": {"shared"}} {
		ctx := access.With(t.Context(), passporttest.Person(org, "u"))
		list, err := c.show.ListAnts(ctx, &resourcev1.ListAntsRequest{})
		if err != nil {
			t.Fatal(err)
		}
		var ids []string
		for _, a := range list.GetAnts() {
			ids = append(ids, a.GetId())
		}
		if !slices.Equal(ids, want) {
			t.Errorf("%s sees %v, want %v", org, ids, want)
		}
		missing := ""
		for _, id := range []string{"own", "none"} {
			_, err := c.show.GetAnt(ctx, &resourcev1.GetAntRequest{Id: id})
			_, err2 := c.show.DrainAnt(ctx, &resourcev1.DrainAntRequest{Id: id})
			switch {
			case org == "a" && id == "own":
				if err != nil || err2 != nil {
					t.Error(err, err2)
				}
			case missing == "":
				missing = strings.ReplaceAll(err.Error()+err2.Error(), id, "ID")
			case missing != strings.ReplaceAll(err.Error()+err2.Error(), id, "ID"):
				t.Errorf("one that is not there reads %v, %v: not %s", err, err2, missing)
			}
		}
	}
}

func TestReserve(t *testing.T) {
	c := start(t, nil)
	session := c.register("a", 2).GetSession()
	c.register("b", 3, "gpu")
	asks := append(shells(5), shell(), shell("gpu"), shell("tpu"))
	asks[7].OrgId = "other"
	res := c.reserve(nil, asks...)
	var got []string
	for i, p := range res.GetPlacements() {
		if p.GetAttemptUid() != asks[i].GetAttemptUid() {
			t.Errorf("placement %d is of another ask", i)
		}
		got = append(got, p.GetAntId()+p.GetGate())
		if p.GetAntId() == "a" && p.GetSession() != session {
			t.Errorf("session %s", p.GetSession())
		}
	}
	if want := []string{"b", "a", "b", "a", "b", "capacity", "capacity", "no_ant"}; !slices.Equal(got, want) {
		t.Errorf("placed %v, want %v", got, want)
	}
	if r := res.GetPlacements()[7].GetReason(); r != "method SHELL with tags [tpu]: 2 ants offer SHELL, none owns tpu" {
		t.Errorf("reason %q", r)
	}
	if d := time.Until(res.GetDeadline().AsTime()); d < 20*time.Second || d > 31*time.Second {
		t.Errorf("deadline in %s", d)
	}
	c.audit()

	again := c.reserve(nil, asks[0], asks[0])
	for _, p := range again.GetPlacements() {
		if p.GetAntId() != "b" {
			t.Errorf("asked again: %v", p)
		}
	}
	if u := c.get("b").GetUsed(); u != 3 {
		t.Errorf("b uses %d", u)
	}
	next := c.reserve([]string{asks[0].GetAttemptUid(), uuid.NewString(), "nonsense"}, shell("gpu"), shell())
	if p := next.GetPlacements(); p[0].GetAntId() != "b" || p[1].GetGate() != "capacity" {
		t.Errorf("after a release: %v", p)
	}
	c.reserve([]string{asks[1].GetAttemptUid()})
	if u := c.get("a").GetUsed(); u != 1 {
		t.Errorf("a uses %d", u)
	}
	c.audit()
}

func TestReserveSparesWhatTakesNoWork(t *testing.T) {
	c := start(t, nil)
	session := c.register("a", 2).GetSession()
	held := shell()
	c.reserve(nil, held)
	if _, err := c.show.DrainAnt(t.Context(), &resourcev1.DrainAntRequest{Id: "a"}); err != nil {
		t.Fatal(err)
	}
	if beat, err := c.beat("a", session); err != nil || !beat.GetDraining() {
		t.Errorf("beat of a drained ant: %v, %v", beat, err)
	}
	res := c.reserve(nil, held, shell())
	if p := res.GetPlacements(); p[0].GetAntId() != "a" || p[1].GetGate() != "no_ant" || !strings.Contains(p[1].GetReason(), "draining") {
		t.Errorf("draining: %v", p)
	}
	if caps, err := c.desk.GetCapacity(t.Context(), &resourcev1.GetCapacityRequest{}); err != nil || len(caps.GetAnts()) != 0 {
		t.Errorf("capacity %v, %v", caps, err)
	}
	if _, err := c.show.ResumeAnt(t.Context(), &resourcev1.ResumeAntRequest{Id: "a"}); err != nil {
		t.Fatal(err)
	}
	if _, err := c.ants.Heartbeat(t.Context(), &antv1.HeartbeatRequest{AntId: "a", Session: session, UnhealthyMethods: []string{"SHELL"}}); err != nil {
		t.Fatal(err)
	}
	if p := c.reserve(nil, shell()).GetPlacements()[0]; p.GetGate() != "no_ant" || !strings.Contains(p.GetReason(), "unhealthy") {
		t.Errorf("unhealthy: %v", p)
	}
	caps, err := c.desk.GetCapacity(t.Context(), &resourcev1.GetCapacityRequest{})
	if err != nil || len(caps.GetAnts()) != 1 || len(caps.GetAnts()[0].GetMethods()) != 0 || caps.GetAnts()[0].GetUsed() != 1 {
		t.Errorf("capacity %v, %v", caps, err)
	}
}

func TestHoldMovesWhenItsAntIsGone(t *testing.T) {
	c := start(t, nil)
	session := c.register("a", 2).GetSession()
	ask := shell()
	c.reserve(nil, ask)
	if _, err := c.ants.Leave(t.Context(), &antv1.LeaveRequest{AntId: "a", Session: session}); err != nil {
		t.Fatal(err)
	}
	c.register("b", 1)
	if p := c.reserve(nil, ask).GetPlacements()[0]; p.GetAntId() != "b" {
		t.Errorf("%v", p)
	}
	if u := c.get("a").GetUsed(); u != 0 {
		t.Errorf("a uses %d", u)
	}
	c.audit()
}

func TestAntThatShrinks(t *testing.T) {
	c := start(t, nil)
	c.register("a", 4)
	asks := shells(4)
	c.reserve(nil, asks...)
	c.register("a", 2)
	c.audit()
	if p := c.reserve([]string{asks[0].GetAttemptUid()}, shell()).GetPlacements()[0]; p.GetGate() != "capacity" {
		t.Errorf("placed above what it offers: %v", p)
	}
	c.audit()
	c.reserve([]string{asks[1].GetAttemptUid()})
	if p := c.reserve([]string{asks[2].GetAttemptUid()}, shell()).GetPlacements()[0]; p.GetAntId() != "a" {
		t.Errorf("nothing placed on a free slot: %v", p)
	}
	c.audit()
	if a := c.get("a"); a.GetUsed() != 2 || a.GetSlots() != 2 {
		t.Errorf("%v", a)
	}
}

// The constraint, not the code above it, is what keeps an ant from being given more than it has.
func TestDatabaseRefusesTooMuchUse(t *testing.T) {
	c := start(t, nil)
	c.register("a", 1)
	for _, bad := range []string{"used = 2", "used = -1"} {
		if _, err := c.pool.Exec(t.Context(), "UPDATE ant SET "+bad); err == nil {
			t.Errorf("%s was stored", bad)
		}
	}
}

func quick(conf *resourcemanager.Config) { conf.Sweep = 30 * time.Millisecond }

func TestLeaseEnds(t *testing.T) {
	c := start(t, func(conf *resourcemanager.Config) {
		quick(conf)
		conf.Lease, conf.Beat = 300*time.Millisecond, 50*time.Millisecond
	})
	hints := c.hints()
	session := c.register("a", 1).GetSession()
	c.eventually("it goes offline", func() bool { return c.get("a").GetState() == resourcev1.Ant_OFFLINE })
	c.eventually("others hear of it", func() bool { return hints("a", resourcev1.Ant_OFFLINE) })
	if p := c.reserve(nil, shell()).GetPlacements()[0]; p.GetGate() != "no_ant" {
		t.Errorf("%v", p)
	}
	if _, err := c.beat("a", session); err != nil {
		t.Errorf("late beat: %v", err)
	}
	if s := c.get("a").GetState(); s != resourcev1.Ant_ONLINE {
		t.Errorf("after a late beat it is %s", s)
	}
}

// TestExecutorsOfAntsThatAreAway: what runs on their hosts goes on, perhaps; an ant that has left has nothing.
func TestExecutorsOfAntsThatAreAway(t *testing.T) {
	c := start(t, func(conf *resourcemanager.Config) {
		quick(conf)
		conf.Lease, conf.Beat = 300*time.Millisecond, 50*time.Millisecond
	})
	hosts := resourcev1.NewExecutorServiceClient(c.dial("resource-manager"))
	left := c.register("left", 1).GetSession()
	if _, err := c.ants.Leave(t.Context(), &antv1.LeaveRequest{AntId: "left", Session: left}); err != nil {
		t.Fatal(err)
	}
	_, err := hosts.DeleteExecutor(t.Context(), &resourcev1.DeleteExecutorRequest{Id: "u"})
	if errs.Reason(err) != "EXECUTOR_NOT_FOUND" {
		t.Errorf("of nobody: %v", err)
	}
	c.register("gone", 1)
	c.eventually("it goes offline", func() bool { return c.get("gone").GetState() == resourcev1.Ant_OFFLINE })
	_, err = hosts.DeleteExecutor(t.Context(), &resourcev1.DeleteExecutorRequest{Id: "u"})
	if errs.Reason(err) != "ANTS_SILENT" || !strings.Contains(err.Error(), "gone: it is away") || strings.Contains(err.Error(), "left") {
		t.Errorf("of an ant that is away: %v", err)
	}
	all, err := hosts.ListExecutors(t.Context(), &resourcev1.ListExecutorsRequest{})
	if err != nil || len(all.GetSilent()) != 1 || !strings.Contains(all.GetSilent()["gone"], "last heard of at") {
		t.Errorf("%v, %v", all, err)
	}
}

// hints collects AntChanged and tells whether one was heard.
func (c *colony) hints() func(id string, s resourcev1.Ant_State) bool {
	var mu sync.Mutex
	heard := map[string]bool{}
	sub, err := c.nats.Subscribe("formicary.live.ant", func(m *nats.Msg) {
		var e resourcev1.AntChanged
		if proto.Unmarshal(m.Data, &e) == nil {
			mu.Lock()
			heard[e.GetAntId()+e.GetState().String()] = true
			mu.Unlock()
		}
	})
	if err != nil {
		c.t.Fatal(err)
	}
	c.t.Cleanup(func() { _ = sub.Unsubscribe() })
	return func(id string, s resourcev1.Ant_State) bool {
		mu.Lock()
		defer mu.Unlock()
		was := heard[id+s.String()]
		delete(heard, id+s.String())
		return was
	}
}

func TestBrake(t *testing.T) {
	c := start(t, func(conf *resourcemanager.Config) { quick(conf); conf.Lease = time.Hour })
	for _, id := range []string{"a", "b", "c"} {
		c.register(id, 1)
	}
	expire := func() {
		if _, err := c.pool.Exec(t.Context(), "UPDATE ant SET lease_until = now() - interval '1 s' WHERE id <> 'c'"); err != nil {
			t.Fatal(err)
		}
	}
	braked := func() (n int) {
		if err := c.pool.QueryRow(t.Context(), "SELECT count(*) FROM ant WHERE braked AND lease_until > now() AND state = 'ONLINE'").Scan(&n); err != nil {
			t.Fatal(err)
		}
		return n
	}
	expire()
	c.eventually("both get one more lease", func() bool { return braked() == 2 })
	expire()
	c.eventually("only one more", func() bool {
		return c.get("a").GetState() == resourcev1.Ant_OFFLINE && c.get("b").GetState() == resourcev1.Ant_OFFLINE
	})
	if s := c.get("c").GetState(); s != resourcev1.Ant_ONLINE {
		t.Errorf("c is %s", s)
	}
}

// While the database is away nobody can beat: the first good sweep must not take that for the silence of the ants.
func TestBrakeAfterAnOutage(t *testing.T) {
	c := start(t, func(conf *resourcemanager.Config) {
		quick(conf)
		conf.Lease, conf.Beat = 600*time.Millisecond, 50*time.Millisecond
	})
	c.register("a", 1)
	exec := func(sql string) {
		if _, err := c.pool.Exec(t.Context(), sql); err != nil {
			t.Fatal(err)
		}
	}
	is := func(table, cond string) func() bool {
		return func() (yes bool) {
			if err := c.pool.QueryRow(t.Context(), "SELECT "+cond+" FROM "+table).Scan(&yes); err != nil {
				t.Fatal(err)
			}
			return yes
		}
	}
	exec("ALTER TABLE ant RENAME TO away")
	c.eventually("its lease has ended", is("away", "lease_until < now()"))
	exec("ALTER TABLE away RENAME TO ant")
	c.eventually("the sweep has seen it", is("ant", "braked OR state = 'OFFLINE'"))
	if !is("ant", "braked")() {
		t.Error("it is offline without another lease")
	}
}

func TestOverdueHolds(t *testing.T) {
	c := start(t, func(conf *resourcemanager.Config) {
		quick(conf)
		conf.Hold, conf.HoldSlack = 50*time.Millisecond, 10*time.Millisecond
	})
	c.register("a", 2)
	live, dead := shell(), shell()
	c.sup.locked(func() { c.sup.down = true; c.sup.live[live.GetAttemptUid()] = true })
	c.reserve(nil, live, dead)
	c.eventually("it is asked and does not answer", func() bool {
		n := 0
		c.sup.locked(func() { n = c.sup.asked })
		return n >= 3
	})
	if u := c.get("a").GetUsed(); u != 2 {
		t.Fatalf("%d slots are held without an answer", u)
	}
	hints := c.hints()
	if p := c.reserve(nil, shell()).GetPlacements()[0]; p.GetGate() != "capacity" {
		t.Fatalf("%v", p)
	}
	c.sup.locked(func() { c.sup.down = false })
	c.eventually("the dead one is freed", func() bool { return c.get("a").GetUsed() == 1 })
	c.eventually("who was refused hears of it", func() bool { return hints("a", resourcev1.Ant_ONLINE) })
	asked := 0
	c.sup.locked(func() { asked = c.sup.asked })
	c.eventually("the live one is asked about again", func() bool {
		n := 0
		c.sup.locked(func() { n = c.sup.asked })
		return n > asked+1
	})
	if u := c.get("a").GetUsed(); u != 1 {
		t.Errorf("a uses %d", u)
	}
	c.audit()
}

func TestFreedSlotIsToldToWhoWasRefused(t *testing.T) {
	c := start(t, nil)
	c.register("a", 1)
	hints := c.hints()
	held := shell()
	c.reserve(nil, held)
	c.reserve(nil, shell())
	hints("a", resourcev1.Ant_ONLINE) // of the registration, if it was heard
	c.reserve([]string{held.GetAttemptUid()})
	c.eventually("a hint", func() bool { return hints("a", resourcev1.Ant_ONLINE) })
}

// A slot that is freed in a call that is refused itself, for more than that one, is somebody else's.
func TestSlotFreedByARefusedCallIsTold(t *testing.T) {
	c := start(t, nil)
	c.register("a", 2)
	hints := c.hints()
	one, two := shell(), shell()
	c.reserve(nil, one, two)
	hints("a", resourcev1.Ant_ONLINE) // of the registration, if it was heard
	if p := c.reserve(nil, shell()).GetPlacements()[0]; p.GetGate() != "capacity" {
		t.Fatalf("%v", p)
	}
	wide := shell()
	wide.Slots = 2
	if p := c.reserve([]string{one.GetAttemptUid()}, wide).GetPlacements()[0]; p.GetGate() != "capacity" {
		t.Fatalf("%v", p)
	}
	c.eventually("a hint", func() bool { return hints("a", resourcev1.Ant_ONLINE) })
}

func TestGoneAntIsRemoved(t *testing.T) {
	c := start(t, quick)
	session := c.register("a", 1).GetSession()
	held := shell()
	c.reserve(nil, held)
	first := c.register("idle", 1)
	idle, generation := first.GetSession(), first.GetGeneration()
	c.register("b", 1)
	doorbell := func() time.Time {
		con, err := c.js.Consumer(t.Context(), bus.Tasks, "ant-idle")
		if err != nil {
			t.Fatal(err)
		}
		return con.CachedInfo().Created
	}
	made := doorbell()
	for id, own := range map[string]string{"a": session, "idle": idle} {
		if _, err := c.ants.Leave(t.Context(), &antv1.LeaveRequest{AntId: id, Session: own}); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := c.pool.Exec(t.Context(), "UPDATE ant SET offline_at = now() - interval '1 h' WHERE state = 'OFFLINE'"); err != nil {
		t.Fatal(err)
	}
	gone := func(id string) bool {
		_, err := c.show.GetAnt(t.Context(), &resourcev1.GetAntRequest{Id: id})
		return errs.Reason(err) == "ANT_NOT_FOUND"
	}
	c.eventually("the idle one is removed", func() bool { return gone("idle") })
	if u := c.get("a").GetUsed(); u != 1 {
		t.Errorf("removed while it holds: used %d", u)
	}
	c.reserve([]string{held.GetAttemptUid()})
	c.eventually("it is removed", func() bool { return gone("a") })
	if back := c.register("idle", 1).GetGeneration(); back <= generation {
		t.Errorf("generation %d after %d: who kept the older one takes it for superseded", back, generation)
	}
	// A removal that came late would take the doorbell from the ant that is back.
	if now := doorbell(); !now.Equal(made) {
		t.Errorf("the doorbell was taken away at the removal and made again at %s", now)
	}
}

func TestLostStreamsComeBack(t *testing.T) {
	c := start(t, quick)
	c.register("a", 1)
	c.register("b", 1)
	if err := c.js.DeleteStream(t.Context(), bus.Tasks); err != nil {
		t.Fatal(err)
	}
	both := func() bool { return slices.Equal(c.consumers(), []string{"ant-a", "ant-b"}) }
	c.eventually("stream and doorbells", both)
	s, err := c.js.Stream(t.Context(), bus.Tasks)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.DeleteConsumer(t.Context(), "ant-a"); err != nil {
		t.Fatal(err)
	}
	c.eventually("one doorbell again", both)
}

// Many callers at two replicas: nothing is given twice, nothing is lost.
func TestConcurrentReservations(t *testing.T) {
	c := start(t, nil)
	second := resourcev1.NewReservationServiceClient(c.replica("second", nil))
	c.register("a", 7)
	c.register("b", 5, "gpu")
	const callers, rounds = 50, 12
	var wg sync.WaitGroup
	for i := range callers {
		desk := c.desk
		if i%2 == 1 {
			desk = second
		}
		wg.Go(func() {
			var mine []string
			for range rounds {
				res, err := desk.Reserve(t.Context(), &resourcev1.ReserveRequest{Releases: mine, Asks: []*resourcev1.Ask{shell(), shell("gpu")}})
				if err != nil {
					t.Error(err)
					return
				}
				mine = mine[:0]
				for _, p := range res.GetPlacements() {
					if p.GetAntId() != "" {
						mine = append(mine, p.GetAttemptUid())
					}
				}
			}
			if _, err := desk.Reserve(t.Context(), &resourcev1.ReserveRequest{Releases: mine}); err != nil {
				t.Error(err)
			}
		})
	}
	for range 20 {
		c.audit()
		c.register("a", 7)
	}
	wg.Wait()
	c.audit()
	if a, b := c.get("a").GetUsed(), c.get("b").GetUsed(); a != 0 || b != 0 {
		t.Errorf("a uses %d, b %d after everything was released", a, b)
	}
}

// A reservation that is not committed holds nothing, so it must not be answered with a place.
func TestNoPlaceWithoutAHold(t *testing.T) {
	c := start(t, nil)
	c.register("a", 4)
	exec := func(sql string) {
		t.Helper()
		if _, err := c.pool.Exec(t.Context(), sql); err != nil {
			t.Fatal(err)
		}
	}
	// As when the server ends while the holds are written.
	exec(`CREATE FUNCTION fail() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'ended' USING ERRCODE = '57P01'; END $$`)
	exec(`CREATE TRIGGER fail AFTER INSERT ON hold FOR EACH STATEMENT EXECUTE FUNCTION fail()`)
	res, err := c.desk.Reserve(t.Context(), &resourcev1.ReserveRequest{Asks: shells(2)})
	if err == nil {
		t.Errorf("placed, but nothing is held: %v", res.GetPlacements())
	}
	exec(`DROP TRIGGER fail ON hold`)
	if p := c.reserve(nil, shell()).GetPlacements()[0]; p.GetAntId() != "a" {
		t.Errorf("afterwards: %v", p)
	}
	c.audit()
}

// Beats that come together are one transaction: what the database refuses of one ant must not end the others' leases.
func TestBadBeatFailsAlone(t *testing.T) {
	c := start(t, nil)
	const ants = 20
	sessions := make([]string, ants)
	for i := range sessions {
		sessions[i] = c.register(fmt.Sprintf("a%d", i), 1).GetSession()
	}
	bad := &antv1.HeartbeatRequest{AntId: "a0", Session: sessions[0], UnhealthyMethods: []string{"x\x00"}}
	if _, err := c.beat("a\x00", sessions[0]); errs.CodeOf(err) != errs.CodeInvalid {
		t.Errorf("an id that no ant has: %v", err)
	}
	for range 5 {
		var wg sync.WaitGroup
		for range 10 {
			wg.Go(func() {
				if _, err := c.ants.Heartbeat(t.Context(), bad); err == nil {
					t.Error("a bad beat was taken")
				}
			})
		}
		for i := 1; i < ants; i++ {
			wg.Go(func() {
				if _, err := c.beat(fmt.Sprintf("a%d", i), sessions[i]); err != nil {
					t.Errorf("beat of a%d: %v", i, err)
				}
			})
		}
		wg.Wait()
	}
}

// The replica that refuses is seldom the one that is told of the free slot.
func TestFreedSlotIsToldByAnotherReplica(t *testing.T) {
	c := start(t, nil)
	second := resourcev1.NewReservationServiceClient(c.replica("second", nil))
	hints := c.hints()
	c.register("a", 1)
	held := shell()
	c.reserve(nil, held)
	c.eventually("the registration is heard", func() bool { return hints("a", resourcev1.Ant_ONLINE) })
	if p := c.reserve(nil, shell()).GetPlacements()[0]; p.GetGate() != "capacity" {
		t.Fatalf("%v", p)
	}
	release := func(desk resourcev1.ReservationServiceClient, uid string) {
		t.Helper()
		if _, err := desk.Reserve(t.Context(), &resourcev1.ReserveRequest{Releases: []string{uid}}); err != nil {
			t.Fatal(err)
		}
	}
	release(second, held.GetAttemptUid())
	c.eventually("a hint of the other replica", func() bool { return hints("a", resourcev1.Ant_ONLINE) })
	// Nobody waits any more: once is enough.
	next := shell()
	c.reserve(nil, next)
	release(c.desk, next.GetAttemptUid())
	if err := c.nats.Flush(); err != nil {
		t.Fatal(err)
	}
	if hints("a", resourcev1.Ant_ONLINE) {
		t.Error("a hint that nobody waits for")
	}
}

func TestUnreachableAntGetsNothing(t *testing.T) {
	c := start(t, nil)
	session := c.register("a", 4).GetSession()
	hints := c.hints()
	say := func(why string) {
		t.Helper()
		if _, err := c.ants.Heartbeat(t.Context(), &antv1.HeartbeatRequest{AntId: "a", Session: session, Unreachable: why}); err != nil {
			t.Fatal(err)
		}
	}
	say("no connection to NATS")
	c.eventually("others hear of it", func() bool { return hints("a", resourcev1.Ant_ONLINE) })
	if p := c.reserve(nil, shell()).GetPlacements()[0]; p.GetGate() != "no_ant" || !strings.Contains(p.GetReason(), "does not hear") {
		t.Errorf("placed on an unreachable ant: %v", p)
	}
	if got := c.get("a").GetUnreachable(); got != "no connection to NATS" {
		t.Errorf("shown as %q", got)
	}
	if caps, err := c.desk.GetCapacity(t.Context(), &resourcev1.GetCapacityRequest{}); err != nil || len(caps.GetAnts()) != 0 {
		t.Errorf("capacity %v, %v", caps, err)
	}
	say("")
	c.eventually("others hear that it hears", func() bool { return hints("a", resourcev1.Ant_ONLINE) })
	if p := c.reserve(nil, shell()).GetPlacements()[0]; p.GetAntId() != "a" {
		t.Errorf("%v", p)
	}
}

// An ant whose lease is over gets nothing, though no sweep has come by yet: what it left would be placed on it again.
func TestNothingIsPlacedOnASilentAnt(t *testing.T) {
	c := start(t, func(conf *resourcemanager.Config) { conf.Sweep = time.Hour })
	session := c.register("a", 4).GetSession()
	if _, err := c.pool.Exec(t.Context(), "UPDATE ant SET lease_until = now() - interval '1 s'"); err != nil {
		t.Fatal(err)
	}
	if p := c.reserve(nil, shell()).GetPlacements()[0]; p.GetAntId() != "" {
		t.Errorf("placed on a silent ant: %v", p)
	}
	if got := c.get("a").GetState(); got != resourcev1.Ant_ONLINE {
		t.Errorf("it is %s", got)
	}
	if _, err := c.ants.Heartbeat(t.Context(), &antv1.HeartbeatRequest{AntId: "a", Session: session}); err != nil {
		t.Fatal(err)
	}
	if p := c.reserve(nil, shell()).GetPlacements()[0]; p.GetAntId() != "a" {
		t.Errorf("not placed on an ant that was heard again: %v", p)
	}
}

// An ant that doorbells do not reach without its knowledge must not draw the work of all others, and must not be given up either.
func TestUnclaimedAttemptsWeighAgainstTheirAnt(t *testing.T) {
	c := start(t, nil)
	session := c.register("deaf", 8, "only").GetSession()
	c.register("busy", 2)
	miss := func(n int) {
		t.Helper()
		asks := make([]*resourcev1.Ask, n)
		for i := range asks {
			asks[i] = shell("only")
		}
		res := c.reserve(nil, asks...)
		req := &resourcev1.ReserveRequest{}
		for i, p := range res.GetPlacements() {
			if p.GetAntId() != "deaf" {
				t.Fatalf("placed on %q (%s)", p.GetAntId(), p.GetReason())
			}
			req.Unclaimed = append(req.Unclaimed, asks[i].GetAttemptUid())
		}
		req.Releases = req.Unclaimed
		for range 2 { // told twice, it counts once
			if _, err := c.desk.Reserve(t.Context(), req); err != nil {
				t.Fatal(err)
			}
		}
	}
	miss(1)
	held := shell()
	if p := c.reserve(nil, held).GetPlacements()[0]; p.GetAntId() != "busy" {
		t.Errorf("placed on %q before an ant that claims", p.GetAntId())
	}
	miss(2)
	if a := c.get("deaf"); a.GetUnclaimed() != 3 || a.GetAvoidedUntil() == nil || a.GetUsed() != 0 {
		t.Fatalf("%v", a)
	}
	if p := c.reserve(nil, shell("only")).GetPlacements()[0]; p.GetAntId() != "" || !strings.Contains(p.GetReason(), "did not claim") {
		t.Errorf("placed on an ant that is avoided: %v", p)
	}
	expire := func() {
		t.Helper()
		if _, err := c.pool.Exec(t.Context(), "UPDATE ant SET avoided_until = now() - interval '1 s', unclaimed_at = now() - interval '1 min' WHERE id = 'deaf'"); err != nil {
			t.Fatal(err)
		}
	}
	expire()
	trial := c.reserve(nil, shell("only"), shell("only")).GetPlacements()
	if trial[0].GetAntId() != "deaf" || trial[1].GetAntId() != "" {
		t.Errorf("one attempt is tried: %v", trial)
	}
	if p := c.reserve(nil, shell("only")).GetPlacements()[0]; p.GetAntId() != "" {
		t.Errorf("a second one during the trial: %v", p)
	}
	beat := func(heard int64) {
		t.Helper()
		if _, err := c.ants.Heartbeat(t.Context(), &antv1.HeartbeatRequest{AntId: "deaf", Session: session, Heard: heard}); err != nil {
			t.Fatal(err)
		}
	}
	beat(0)
	if a := c.get("deaf"); a.GetUnclaimed() != 3 {
		t.Errorf("a beat without a claim ends the doubt: %v", a)
	}
	beat(1)
	if a := c.get("deaf"); a.GetUnclaimed() != 0 || a.GetAvoidedUntil() != nil {
		t.Errorf("after a claim: %v", a)
	}
	if p := c.reserve(nil, shell("only"), shell("only")).GetPlacements(); p[0].GetAntId() != "deaf" || p[1].GetAntId() != "deaf" {
		t.Errorf("after a claim: %v", p)
	}
	c.audit()
}

// Attempts that were placed on an earlier session say nothing of the present one.
func TestUnclaimedAttemptsOfAnEarlierSessionDoNotCount(t *testing.T) {
	c := start(t, nil)
	c.register("a", 4)
	asks := shells(4)
	c.reserve(nil, asks...)
	c.register("a", 4)
	req := &resourcev1.ReserveRequest{}
	for _, k := range asks {
		req.Unclaimed = append(req.Unclaimed, k.GetAttemptUid())
	}
	if _, err := c.desk.Reserve(t.Context(), req); err != nil {
		t.Fatal(err)
	}
	if a := c.get("a"); a.GetUnclaimed() != 0 || a.GetUsed() != 0 {
		t.Errorf("%v", a)
	}
	c.audit()
}

// A schema that came back from a copy knows an older session of an ant: the ant registers again and does not end.
func TestAntOutlivesAnOlderCopyOfItsRow(t *testing.T) {
	c := start(t, nil)
	c.register("a", 1)
	if _, err := c.pool.Exec(t.Context(), "CREATE TABLE copy AS SELECT * FROM ant"); err != nil {
		t.Fatal(err)
	}
	now := c.register("a", 1)
	if _, err := c.pool.Exec(t.Context(), "UPDATE ant SET session = copy.session, generation = copy.generation FROM copy"); err != nil {
		t.Fatal(err)
	}
	_, err := c.ants.Heartbeat(t.Context(), &antv1.HeartbeatRequest{AntId: "a", Session: now.GetSession(), Generation: now.GetGeneration()})
	if errs.Reason(err) != "ANT_UNKNOWN" {
		t.Errorf("it hears %v", err)
	}
	if again := c.register("a", 1); again.GetGeneration() <= now.GetGeneration() {
		t.Errorf("generation %d after %d", again.GetGeneration(), now.GetGeneration())
	}
}

func TestConfigReportsAllFaults(t *testing.T) {
	err := resourcemanager.Config{Beat: time.Hour}.Validate()
	for _, want := range []string{"Lease", "Hold ", "Beat"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v does not name %s", err, want)
		}
	}
}

func BenchmarkReserveOne(b *testing.B) {
	c := start(b, nil)
	c.register("a", 16)
	var last []string
	for b.Loop() {
		ask := shell()
		if c.reserve(last, ask).GetPlacements()[0].GetAntId() == "" {
			b.Fatal("refused")
		}
		last = []string{ask.GetAttemptUid()}
	}
}

func BenchmarkReserve500(b *testing.B) {
	c := start(b, nil)
	c.register("a", 10_000)
	var last []string
	for b.Loop() {
		asks := shells(500)
		c.reserve(last, asks...)
		last = last[:0]
		for _, k := range asks {
			last = append(last, k.GetAttemptUid())
		}
	}
}

func BenchmarkReserveParallel(b *testing.B) {
	c := start(b, nil)
	c.register("a", 1000)
	b.SetParallelism(8)
	b.ResetTimer()
	b.RunParallel(func(p *testing.PB) {
		var last []string
		for p.Next() {
			ask := shell()
			c.reserve(last, ask)
			last = []string{ask.GetAttemptUid()}
		}
	})
}
