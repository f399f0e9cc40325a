package events

import (
	"context"
	"fmt"
	"time"

	"github.com/google/uuid"
	"google.golang.org/grpc"

	executionv1 "github.com/formicary/formicary/proto/gen/formicary/execution/v1"
	"github.com/formicary/formicary/services/job-manager/internal/request"
)

const askTime = 5 * time.Second

// Supervisor asks for the state of runs.
type Supervisor struct {
	client executionv1.ExecutionStateServiceClient
}

// NewSupervisor returns an asker on a connection to supervisor.
func NewSupervisor(conn grpc.ClientConnInterface) *Supervisor {
	return &Supervisor{client: executionv1.NewExecutionStateServiceClient(conn)}
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
