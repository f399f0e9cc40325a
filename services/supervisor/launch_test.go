package supervisor_test

import (
	"context"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/formicary/formicary/libs/testkit"
	executionv1 "github.com/formicary/formicary/proto/gen/formicary/execution/v1"
	jobv1 "github.com/formicary/formicary/proto/gen/formicary/job/v1"
)

// faultOf answers with a kind of fault.
func faultOf(kind jobv1.LaunchFault_Kind, reason string) (*jobv1.LaunchFault, error) {
	return &jobv1.LaunchFault{Kind: kind, Reason: reason}, nil
}

// TestSlowLaunchesHoldUpNobody: forty that never come to an end, and a plain one that is launched at once.
func TestSlowLaunchesHoldUpNobody(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.newAnt("ant1", 1, nil)
	var alone atomic.Int64
	for range 40 {
		id := w.jobs.add(planOf(task("a")))
		w.jobs.fault(id, func(ctx context.Context, patient bool) (*jobv1.LaunchFault, error) {
			if patient {
				alone.Add(1)
				<-ctx.Done()
				return nil, ctx.Err()
			}
			return faultOf(jobv1.LaunchFault_SLOW, "it takes longer than 1s")
		})
		w.admitRun(id, 1)
	}
	w.becomes(w.admit(planOf(task("a"))), executionv1.Execution_COMPLETED)
	testkit.Eventually(t, waitTime, "slow ones are asked for alone", func() bool { return alone.Load() > 0 })
	w.becomes(w.admit(planOf(task("a"))), executionv1.Execution_COMPLETED) // also while they are asked for
	if n := alone.Load(); n > 2 {
		t.Errorf("%d slow ones are asked for at once", n)
	}
}

// TestLaunchesComeAgain: what was not reached, is slow or away is nobody's fault, however often that happens.
func TestLaunchesComeAgain(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.newAnt("ant1", 1, nil)
	for _, kind := range []jobv1.LaunchFault_Kind{jobv1.LaunchFault_NOT_REACHED, jobv1.LaunchFault_AWAY, jobv1.LaunchFault_SLOW} {
		id := w.jobs.add(planOf(task("a")))
		var calls atomic.Int64
		enough := int64(8)
		if kind == jobv1.LaunchFault_AWAY {
			enough = 4 // each after a longer pause
		}
		w.jobs.fault(id, func(context.Context, bool) (*jobv1.LaunchFault, error) {
			if calls.Add(1) == enough {
				w.jobs.fault(id, nil)
			}
			return faultOf(kind, "not now")
		})
		w.admitRun(id, 1)
		w.becomes(id, executionv1.Execution_COMPLETED)
	}
	var n int
	if err := w.pool.QueryRow(t.Context(), `SELECT (SELECT count(*) FROM failure) + (SELECT count(*) FROM quarantine)`).Scan(&n); err != nil || n != 0 {
		t.Errorf("%d failures are counted: %v", n, err)
	}
}

// TestABrokenLaunchFailsItsRun with the reason, after it was tried alone some times.
func TestABrokenLaunchFailsItsRun(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.newAnt("ant1", 1, nil)
	id := w.jobs.add(planOf(task("a")))
	var alone atomic.Int64
	w.jobs.fault(id, func(_ context.Context, patient bool) (*jobv1.LaunchFault, error) {
		if patient {
			alone.Add(1)
		}
		return faultOf(jobv1.LaunchFault_BROKEN, "its template takes longer than 10s")
	})
	w.admitRun(id, 1)
	w.becomes(w.admit(planOf(task("a"))), executionv1.Execution_COMPLETED)
	e := w.becomes(id, executionv1.Execution_FAILED)
	if e.GetErrorCode() != "ERR_JOB_LAUNCH" || !strings.Contains(e.GetErrorMessage(), "its template takes longer than 10s") {
		t.Errorf("%v", e)
	}
	if n := alone.Load(); n != 3 {
		t.Errorf("it was tried alone %d times", n)
	}
}

// TestALaunchThatBreaksTheCall: job-manager answers for none of a batch, without a reason or not at all.
func TestALaunchThatBreaksTheCall(t *testing.T) {
	t.Parallel()
	for _, code := range []codes.Code{codes.Internal, codes.DeadlineExceeded} {
		w := newWorld(t)
		w.newAnt("ant1", 1, nil)
		bad := w.jobs.add(planOf(task("a")))
		w.jobs.fault(bad, func(context.Context, bool) (*jobv1.LaunchFault, error) { return nil, status.Error(code, "") })
		var good []string
		for i := range 20 {
			if i == 10 {
				w.admitRun(bad, 1)
			}
			good = append(good, w.admit(planOf(task("a"))))
		}
		for _, id := range good {
			w.becomes(id, executionv1.Execution_COMPLETED)
		}
		began := time.Now()
		w.jobs.fault(bad, nil)
		w.becomes(bad, executionv1.Execution_COMPLETED)
		t.Logf("%s: it was launched %s after the others", code, time.Since(began))
	}
}
