package events

import (
	"context"
	"fmt"
	"time"

	"github.com/google/uuid"
	"google.golang.org/grpc"

	"github.com/formicary/formicary/libs/access"
	executionv1 "github.com/formicary/formicary/proto/gen/formicary/execution/v1"
	"github.com/formicary/formicary/services/job-manager/internal/notify"
	"github.com/formicary/formicary/services/job-manager/internal/request"
)

const askTime = 5 * time.Second

// Supervisor asks for the state of runs.
type Supervisor struct {
	client executionv1.ExecutionStateServiceClient
	people executionv1.ExecutionServiceClient
}

// NewSupervisor returns an asker on a connection to supervisor.
func NewSupervisor(conn grpc.ClientConnInterface) *Supervisor {
	return &Supervisor{client: executionv1.NewExecutionStateServiceClient(conn), people: executionv1.NewExecutionServiceClient(conn)}
}

// States implements request.Asker.
func (s *Supervisor) States(ctx context.Context, runs []request.Run) (map[uuid.UUID]request.Execution, error) {
	ctx, cancel := context.WithTimeout(ctx, askTime)
	defer cancel()
	req := &executionv1.GetExecutionStatesRequest{}
	for _, r := range runs {
		req.Runs = append(req.Runs, &executionv1.RunKey{RequestId: r.ID.String(), Run: int32(r.Run)})
	}
	res, err := s.client.GetExecutionStates(ctx, req)
	if err != nil {
		return nil, fmt.Errorf("ask supervisor about %d runs: %w", len(runs), err)
	}
	found := make(map[uuid.UUID]request.Execution, len(res.GetStates()))
	for _, m := range res.GetStates() {
		id, e, err := FromProto(m)
		if err != nil {
			return nil, fmt.Errorf("answer of supervisor: %w", err)
		}
		found[id] = e
	}
	return found, nil
}

const toldTasks = 50

// Tasks implements channel.Tasks: the tasks of a run, at most fifty.
func (s *Supervisor) Tasks(ctx context.Context, org string, id uuid.UUID, run int) ([]notify.Task, error) {
	ctx = access.Acting(ctx, org)
	res, err := s.people.ListTasks(ctx, &executionv1.ListTasksRequest{RequestId: id.String(), Run: int32(run), PageSize: toldTasks})
	if err != nil {
		return nil, fmt.Errorf("ask supervisor about the tasks of request %s: %w", id, err)
	}
	tasks := make([]notify.Task, len(res.GetTasks()))
	for i, t := range res.GetTasks() {
		tasks[i] = notify.Task{Name: t.GetName(), State: t.GetState().String(), ExitCode: int(t.GetExitCode()), Output: t.GetResult()}
	}
	return tasks, nil
}

// TakeNotices confirms notices that were stored and returns more that are to be.
func (s *Supervisor) TakeNotices(ctx context.Context, stored []string) ([]*executionv1.TaskNotice, error) {
	ctx, cancel := context.WithTimeout(ctx, askTime)
	defer cancel()
	res, err := s.client.TakeNotices(ctx, &executionv1.TakeNoticesRequest{Stored: stored})
	if err != nil {
		return nil, fmt.Errorf("take notices: %w", err)
	}
	return res.GetNotices(), nil
}
