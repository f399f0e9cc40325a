package jobmanager_test

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/formicary/formicary/libs/testkit"
	executionv1 "github.com/formicary/formicary/proto/gen/formicary/execution/v1"
	jobv1 "github.com/formicary/formicary/proto/gen/formicary/job/v1"
	jobmanager "github.com/formicary/formicary/services/job-manager"
	"github.com/formicary/formicary/services/job-manager/internal/request"
)

// lost is a request in a state whose run went on, which nobody told.
type lost struct {
	id        string
	from      request.State
	to        executionv1.Execution_State
	want      jobv1.JobRequest_State
	wantAfter jobv1.JobRequest_State // once it is admitted again; unspecified where it is not to be
}

// reach brings a request into a state, its run begun.
func (c *colony) reach(state request.State) string {
	c.Helper()
	r := c.submit(&jobv1.SubmitJobRequest{JobType: "j"})
	id := r.GetId()
	tell := func(version int64, s executionv1.Execution_State) {
		e := &executionv1.ExecutionChanged{RequestId: id, Run: 1, Version: version, State: s, StartedAt: timestamppb.Now()}
		c.supervisor.know(e)
		c.said(e)
	}
	c.admit(id)
	switch state {
	case request.Ready: // the first thing that is told of a run is that it does something
		c.supervisor.know(&executionv1.ExecutionChanged{RequestId: id, Run: 1, Version: 1, State: executionv1.Execution_READY})
	case request.Executing:
		tell(2, executionv1.Execution_EXECUTING)
	case request.Paused, request.Pending:
		tell(2, executionv1.Execution_PAUSED)
	case request.Manual:
		tell(2, executionv1.Execution_MANUAL_APPROVAL_REQUIRED)
	default:
		c.Fatalf("%s is no state to be reached", state)
	}
	if state == request.Pending {
		c.awaitState(id, jobv1.JobRequest_PAUSED, 1)
		if _, err := c.requests.ResumeJobRequest(c.Context(), &jobv1.ResumeJobRequestRequest{Id: id}); err != nil {
			c.Fatal(err)
		}
	}
	c.awaitState(id, jobv1.JobRequest_State(jobv1.JobRequest_State_value[string(state)]), 1)
	return id
}

// shown is what a request shows when its run is found in a state: at once, and after it was admitted again.
func shown(from request.State, to executionv1.Execution_State) (at, admitted jobv1.JobRequest_State) {
	state := jobv1.JobRequest_State(jobv1.JobRequest_State_value[to.String()])
	running := to == executionv1.Execution_READY || to == executionv1.Execution_EXECUTING
	waits := from == request.Paused || from == request.Manual || from == request.Pending
	switch {
	case running && waits: // the place was given back, so it waits for one
		return jobv1.JobRequest_PENDING, state
	case to == executionv1.Execution_MANUAL_APPROVAL_REQUIRED && from == request.Pending:
		return jobv1.JobRequest_PENDING, state
	case to == executionv1.Execution_READY:
		return jobv1.JobRequest_State(jobv1.JobRequest_State_value[string(from)]), 0
	}
	return state, 0
}

// TestLostEvents walks through all states that are not terminal and all states that a run can have gone to meanwhile: no
// event tells of it, and the request shows the truth all the same.
func TestLostEvents(t *testing.T) {
	c := newColony(t, func(conf *jobmanager.Config) {
		conf.SilentAfter, conf.SweepEvery = 500*time.Millisecond, 50*time.Millisecond
	})
	c.upload(job("j", ""))
	var all []lost
	for _, from := range request.States() {
		if from.Terminal() {
			continue
		}
		for n := range executionv1.Execution_State_name {
			to := executionv1.Execution_State(n)
			if to == executionv1.Execution_STATE_UNSPECIFIED {
				continue
			}
			x := lost{id: c.reach(from), from: from, to: to}
			x.want, x.wantAfter = shown(from, to)
			all = append(all, x)
		}
	}
	for _, x := range all {
		e := &executionv1.ExecutionChanged{RequestId: x.id, Run: 1, Version: 9, State: x.to, StartedAt: timestamppb.Now()}
		if request.State(x.to.String()).Terminal() {
			e.EndedAt = timestamppb.Now()
		}
		c.supervisor.know(e)
	}
	version := func(id string) int {
		return c.count(fmt.Sprintf("SELECT execution_version FROM request WHERE id = '%s'", id))
	}
	for _, x := range all {
		testkit.Eventually(t, 30*time.Second, fmt.Sprintf("%s of a run that is %s shows %s", x.from, x.to, x.want), func() bool {
			// READY to READY is no change that anybody sees.
			return c.get(x.id).GetState() == x.want && (version(x.id) == 9 || x.from == request.Ready && x.to == executionv1.Execution_READY)
		})
		if x.wantAfter == jobv1.JobRequest_STATE_UNSPECIFIED {
			continue
		}
		c.admit(x.id)
		testkit.Eventually(t, 30*time.Second, fmt.Sprintf("%s of a run that is %s shows %s when it is admitted", x.from, x.to, x.wantAfter), func() bool {
			return c.get(x.id).GetState() == x.wantAfter
		})
	}
}

// TestAVoteWhoseEventIsLost: the run asks to be resumed, which only this service can do.
func TestAVoteWhoseEventIsLost(t *testing.T) {
	c := newColony(t, func(conf *jobmanager.Config) {
		conf.SilentAfter, conf.SweepEvery = 200*time.Millisecond, 50*time.Millisecond
	})
	c.upload(job("j", ""))
	id := c.reach(request.Manual)
	c.supervisor.know(&executionv1.ExecutionChanged{RequestId: id, Run: 1, Version: 4, State: executionv1.Execution_PAUSED, ResumeAt: timestamppb.Now()})
	c.awaitState(id, jobv1.JobRequest_PENDING, 1)
	if q := c.queue(10); !slices.ContainsFunc(q.GetTypes(), func(x *jobv1.QueuedType) bool { return x.GetHeads()[0].GetRequestId() == id }) {
		t.Errorf("the scheduler does not see it: %v", q)
	}
}

// TestBacklogIsNotAskedAbout: what never began is known to nobody else.
func TestBacklogIsNotAskedAbout(t *testing.T) {
	c := newColony(t, func(conf *jobmanager.Config) {
		conf.SilentAfter, conf.SweepEvery = 50*time.Millisecond, 20*time.Millisecond
	})
	c.upload(job("j", ""))
	c.submit(&jobv1.SubmitJobRequest{JobType: "j"})
	paused := c.submit(&jobv1.SubmitJobRequest{JobType: "j"})
	if _, err := c.requests.PauseJobRequest(t.Context(), &jobv1.PauseJobRequestRequest{Id: paused.GetId()}); err != nil {
		t.Fatal(err)
	}
	begun := c.reach(request.Executing)
	c.supervisor.mu.Lock()
	before := c.supervisor.asked
	c.supervisor.mu.Unlock()
	testkit.Eventually(t, 10*time.Second, "supervisor is asked some more", func() bool {
		c.supervisor.mu.Lock()
		defer c.supervisor.mu.Unlock()
		return c.supervisor.asked > before+5
	})
	c.supervisor.mu.Lock()
	defer c.supervisor.mu.Unlock()
	for id := range c.supervisor.about {
		if id != begun {
			t.Errorf("supervisor was asked about %s", id)
		}
	}
}
