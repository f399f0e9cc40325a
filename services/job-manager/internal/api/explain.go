package api

import (
	"context"
	"slices"
	"time"

	"github.com/formicary/formicary/libs/access"
	"github.com/formicary/formicary/libs/errs"
	executionv1 "github.com/formicary/formicary/proto/gen/formicary/execution/v1"
	jobv1 "github.com/formicary/formicary/proto/gen/formicary/job/v1"
	"github.com/formicary/formicary/services/job-manager/internal/request"
)

const askTime = 2 * time.Second

// explain returns a request with the reason why it waits, and the tasks that wait where its state is one of begun.
func (s *requests) explain(ctx context.Context, name string, limit int32, begun ...executionv1.Execution_State) (*jobv1.JobRequest, []*jobv1.TaskWait, error) {
	rec, err := s.manager.Get(ctx, access.From(ctx).Org, name)
	if err != nil {
		return nil, nil, err
	}
	waits, err := s.manager.Waits(ctx, []request.Record{rec}, true)
	if err != nil {
		return nil, nil, err
	}
	out, err := fromRecord(&rec, waits[0])
	if err != nil {
		return nil, nil, err
	}
	if !slices.ContainsFunc(begun, func(b executionv1.Execution_State) bool { return b.String() == string(rec.State) }) {
		return out, nil, nil
	}
	tasks, unknown := s.waitingTasks(ctx, &rec, limit)
	if unknown != "" {
		out.Wait = &jobv1.Wait{Gate: jobv1.Gate_GATE_QUEUE, Reason: unknown}
	}
	return out, tasks, nil
}

// waitingTasks asks supervisor for the tasks that do not run. Its answer only explains, so where there is none the
// reason for that is the explanation.
func (s *requests) waitingTasks(ctx context.Context, rec *request.Record, limit int32) (waits []*jobv1.TaskWait, unknown string) {
	ctx, cancel := context.WithTimeout(ctx, askTime)
	defer cancel()
	res, err := s.tasks.ListTasks(ctx, &executionv1.ListTasksRequest{
		RequestId: rec.ID.String(), Run: int32(rec.Run), PageSize: limit,
		States: []executionv1.Task_State{executionv1.Task_READY, executionv1.Task_WAITING, executionv1.Task_BLOCKED},
	})
	switch {
	case errs.CodeOf(err) == errs.CodeNotFound && rec.State.Active():
		return nil, "it is admitted and waits to be launched"
	case err != nil && rec.State == request.Ready:
		return nil, "it is admitted; supervisor does not answer, so its tasks are not known"
	}
	for _, t := range res.GetTasks() {
		waits = append(waits, &jobv1.TaskWait{
			Task: t.GetName(), State: t.GetState().String(), Wait: &jobv1.Wait{Gate: taskGate(t), Reason: t.GetWaitReason()},
		})
	}
	// What waits for a slot or a time explains more than what waits for another task.
	slices.SortStableFunc(waits, func(a, b *jobv1.TaskWait) int { return rankOf(a) - rankOf(b) })
	return waits, ""
}

func rankOf(w *jobv1.TaskWait) int {
	if w.GetState() == executionv1.Task_BLOCKED.String() {
		return 1
	}
	return 0
}

// taskGate reads the gate that supervisor names. A task that was made ready and not looked at has none yet.
func taskGate(t *executionv1.Task) jobv1.Gate {
	switch t.GetWaitGate() {
	case "dependency":
		return jobv1.Gate_GATE_DEPENDENCY
	case "capacity":
		return jobv1.Gate_GATE_CAPACITY
	case "no_ant":
		return jobv1.Gate_GATE_NO_ANT
	case "schedule":
		return jobv1.Gate_GATE_SCHEDULE
	case "pause":
		return jobv1.Gate_GATE_PAUSE
	case "approval":
		return jobv1.Gate_GATE_APPROVAL
	case "child":
		return jobv1.Gate_GATE_CHILD
	case "items":
		return jobv1.Gate_GATE_ITEMS
	}
	if t.GetState() == executionv1.Task_BLOCKED {
		return jobv1.Gate_GATE_DEPENDENCY
	}
	return jobv1.Gate_GATE_QUEUE
}
