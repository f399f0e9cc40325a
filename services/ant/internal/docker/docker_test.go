package docker

import (
	"encoding/json"
	"os"
	"testing"

	"github.com/formicary/formicary/libs/jobspec/plan"
	"github.com/formicary/formicary/libs/testkit"
	"github.com/formicary/formicary/libs/testkit/enginetest"
	"github.com/formicary/formicary/services/ant/internal/executor"
	"github.com/formicary/formicary/services/ant/internal/executor/executortest"
)

func TestMain(m *testing.M) {
	if text := os.Getenv(earlierLife); text != "" {
		live(text)
	}
	testkit.Main(m)
}

// start returns an executor with an engine that has the image Busybox.
func start(t *testing.T, change func(*Config)) *Executor {
	t.Helper()
	engine := enginetest.Shared(t).WithBusybox(t)
	conf := DefaultConfig()
	conf.Host = engine.Host
	if change != nil {
		change(&conf)
	}
	e, err := New(Options{Config: conf, Ant: "test", Dir: t.TempDir(), Log: testkit.Logger(t)})
	if err != nil {
		t.Fatal(err)
	}
	if err := e.Recover(t.Context(), nil); err != nil {
		t.Fatal(err)
	}
	if err := e.Healthy(); err != nil {
		t.Fatal(err)
	}
	testkit.Run(t, e.Run)
	return e
}

// in makes a task one for a container.
func in(t testing.TB, task executor.Task, o plan.Options) executor.Task {
	t.Helper()
	if o.Container == nil {
		o.Container = &plan.Container{}
	}
	if o.Container.Image == "" {
		o.Container.Image = enginetest.Busybox
	}
	if o.NetworkMode == "" {
		o.NetworkMode = "none" // a bridge costs a tenth of a second
	}
	raw, err := json.Marshal(o)
	if err != nil {
		t.Fatal(err)
	}
	task.Method, task.Options = Method, raw
	return task
}

func subject(t *testing.T, e *Executor) executortest.Subject {
	return executortest.Subject{Executor: e, LimitsMemory: true, Complete: func(task executor.Task) executor.Task {
		if task.Options == nil {
			return in(t, task, plan.Options{})
		}
		task.Method = Method
		return task
	}}
}

func TestConformance(t *testing.T) {
	e := start(t, nil)
	prepare(t, e, enginetest.Busybox)
	executortest.Run(t, subject(t, e))
}
