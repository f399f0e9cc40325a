package socket

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/uuid"

	"github.com/formicary/formicary/libs/testkit"
	"github.com/formicary/formicary/services/ant/internal/executor"
	"github.com/formicary/formicary/services/ant/internal/relay"
	"github.com/formicary/formicary/services/ant/internal/wire"
)

func TestMain(m *testing.M) { testkit.Main(m) }

// TestWorkerIsLetInWhenItsTasksListen keeps a worker that brings tasks along out until what it says of them is heard.
func TestWorkerIsLetInWhenItsTasksListen(t *testing.T) {
	uid := uuid.NewString()
	for name, c := range map[string]struct {
		grant  []string
		opens  time.Duration // after the grant, which comes after a second; negative: never
		within time.Duration
	}{
		"nothing is granted":     {nil, -1, time.Second},
		"it listens later":       {[]string{uid}, 3 * time.Second, 4 * time.Second},
		"it never listens":       {[]string{uid}, -1, meetTime},
		"it has listened before": {[]string{uid}, 0, time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorker(&wire.Message{WorkerID: "w", Resume: []string{uid}}, relay.DefaultTimes(), testkit.Logger(t))
				x := w.Prepare(executor.Task{UID: uid}, executor.Merge(t.Output()))
				if c.opens == 0 {
					x.Start()
				}
				go func() {
					time.Sleep(time.Second)
					w.Grant(c.grant)
					if c.opens > 0 {
						time.Sleep(c.opens)
						x.Start()
					}
				}()
				begun := time.Now()
				if err := w.meet(t.Context(), newConn(nil, time.Second)); err != nil {
					t.Error(err)
				}
				if got := time.Since(begun); got != c.within {
					t.Errorf("let in after %s, want %s", got, c.within)
				}
			})
		})
	}
}
