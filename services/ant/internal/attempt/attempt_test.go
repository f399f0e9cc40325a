package attempt

import (
	"context"
	"slices"
	"sync"
	"testing"
	"time"

	"go.opentelemetry.io/otel/metric/noop"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/formicary/formicary/libs/testkit"
	antv1 "github.com/formicary/formicary/proto/gen/formicary/ant/v1"
	"github.com/formicary/formicary/services/ant/internal/executor"
	"github.com/formicary/formicary/services/ant/internal/spool"
)

func TestMain(m *testing.M) { testkit.Main(m) }

// clumsy is an executor that panics where the task's first line says.
type clumsy struct{ at string }

func (c clumsy) Methods() []string                                { return []string{"CLUMSY"} }
func (c clumsy) Healthy() error                                   { return nil }
func (c clumsy) Recover(context.Context, map[string]string) error { return nil }
func (c clumsy) Run(ctx context.Context) error                    { <-ctx.Done(); return nil }

func (c clumsy) Prepare(t executor.Task, _ executor.Output) executor.Execution {
	c.at = t.Script[0]
	c.panics("prepare")
	return c
}

func (c clumsy) panics(at string) {
	if c.at == at {
		panic("in " + at)
	}
}

func (c clumsy) Create() error      { c.panics("create"); return nil }
func (c clumsy) Start() string      { c.panics("start"); return "" }
func (c clumsy) Stop(time.Duration) {}
func (c clumsy) Close()             { c.panics("close") }
func (c clumsy) Wait() executor.End {
	c.panics("wait")
	return executor.End{}
}

// manager that runs, with a session.
func manager(t *testing.T, e executor.Executor) (*Manager, *spool.Spool) {
	t.Helper()
	nc, js := testkit.NATS(t)
	journal, _, err := spool.Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = journal.Close() })
	m, err := New(Options{Ant: "a", LogDir: t.TempDir(), LogLimit: 1000, ResendAfter: time.Minute},
		Deps{Executors: []executor.Executor{e}, Spool: journal, NATS: nc, JS: js, Log: testkit.Logger(t), Meter: noop.Meter{}})
	if err != nil {
		t.Fatal(err)
	}
	testkit.Run(t, m.Run)
	m.Begin("session")
	m.SessionAccepted()
	return m, journal
}

func TestPanicsStayInTheAttempt(t *testing.T) {
	m, journal := manager(t, clumsy{})
	ctx := t.Context()
	want := map[string]antv1.Result_Outcome{
		"prepare": antv1.Result_FAILED, "create": antv1.Result_FAILED, "start": antv1.Result_FAILED, "wait": antv1.Result_FAILED,
		"close": antv1.Result_SUCCEEDED, "nowhere": antv1.Result_SUCCEEDED,
	}
	for at := range want {
		m.accept(ctx, &antv1.Work{Uid: at, Spec: &antv1.Spec{Method: "CLUMSY", Script: []string{at}}})
	}
	testkit.Eventually(t, 20*time.Second, "all have ended", func() bool { return len(m.Running()) == 0 && len(m.Spooled()) == len(want) })
	due, err := journal.Due(time.Now().Add(time.Hour), 10)
	if err != nil {
		t.Fatal(err)
	}
	for at, outcome := range want {
		var r antv1.Result
		if err := proto.Unmarshal(due[at], &r); err != nil {
			t.Fatal(err)
		}
		if r.GetOutcome() != outcome || r.GetSession() != "session" || outcome == antv1.Result_FAILED && r.GetFailureClass() != "infra" {
			t.Errorf("panic in %s: %v", at, &r)
		}
	}
	m.Shut()
	m.accept(ctx, &antv1.Work{Uid: "late", Spec: &antv1.Spec{Method: "CLUMSY", Script: []string{"nowhere"}}})
	due, _ = journal.Due(time.Now().Add(2*time.Hour), 10)
	var r antv1.Result
	if err := proto.Unmarshal(due["late"], &r); err != nil || r.GetOutcome() != antv1.Result_LOST {
		t.Errorf("claimed when shut: %v %v", &r, err)
	}
}

// deaf is an executor whose tasks run until they are stopped.
type deaf struct{ clumsy }

func (d deaf) Prepare(executor.Task, executor.Output) executor.Execution {
	return &waiting{stop: make(chan struct{})}
}

type waiting struct {
	clumsy
	once sync.Once
	stop chan struct{}
}

func (w *waiting) Stop(time.Duration) { w.once.Do(func() { close(w.stop) }) }
func (w *waiting) Wait() executor.End {
	<-w.stop
	return executor.End{ExitCode: 143, Class: executor.User}
}

// What was claimed some time ago has had that of its timeout.
func TestTimeoutCountsFromTheFirstClaim(t *testing.T) {
	m, journal := manager(t, deaf{})
	hour := durationpb.New(time.Hour)
	m.accept(t.Context(), &antv1.Work{Uid: "old", Spec: &antv1.Spec{Method: "CLUMSY"}, Timeout: hour, Age: hour})
	m.accept(t.Context(), &antv1.Work{Uid: "young", Spec: &antv1.Spec{Method: "CLUMSY"}, Timeout: hour, Age: durationpb.New(time.Minute)})
	testkit.Eventually(t, 20*time.Second, "one has ended", func() bool { return len(m.Spooled()) == 1 })
	due, err := journal.Due(time.Now().Add(time.Hour), 10)
	if err != nil {
		t.Fatal(err)
	}
	var r antv1.Result
	if err := proto.Unmarshal(due["old"], &r); err != nil || r.GetOutcome() != antv1.Result_TIMED_OUT || time.Since(r.GetStartedAt().AsTime()) < time.Hour {
		t.Errorf("%v, %v", &r, err)
	}
	testkit.Eventually(t, 20*time.Second, "the young one runs alone", func() bool { return slices.Equal(m.Running(), []string{"young"}) })
}
