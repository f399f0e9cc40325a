package attempt

import (
	"context"
	"testing"
	"time"

	"go.opentelemetry.io/otel/metric/noop"
	"google.golang.org/protobuf/proto"

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

func TestPanicsStayInTheAttempt(t *testing.T) {
	nc, js := testkit.NATS(t)
	journal, _, err := spool.Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = journal.Close() }()
	m, err := New(Options{Ant: "a", LogDir: t.TempDir(), LogLimit: 1000, ResendAfter: time.Minute},
		Deps{Executors: []executor.Executor{clumsy{}}, Spool: journal, NATS: nc, JS: js, Log: testkit.Logger(t), Meter: noop.Meter{}})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- m.Run(ctx) }()
	m.Begin("session")
	m.SessionAccepted()
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
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
}
