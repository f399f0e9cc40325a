// Package api answers the calls to the scheduler.
package api

import (
	"context"

	"google.golang.org/protobuf/types/known/timestamppb"

	schedulev1 "github.com/formicary/formicary/proto/gen/formicary/schedule/v1"
	"github.com/formicary/formicary/services/scheduler/internal/lead"
)

// Queue implements QueueService.
type Queue struct {
	schedulev1.UnsafeQueueServiceServer
	id    string
	stats *lead.Stats
}

// NewQueue returns the service of the process with that id.
func NewQueue(id string, stats *lead.Stats) *Queue { return &Queue{id: id, stats: stats} }

// GetScheduler returns the state of this process.
func (q *Queue) GetScheduler(context.Context, *schedulev1.GetSchedulerRequest) (*schedulev1.GetSchedulerResponse, error) {
	s := q.stats.State()
	res := &schedulev1.GetSchedulerResponse{
		Id: q.id, Leading: s.Leading, Epoch: s.Epoch, Passes: s.Passes, Admitted: s.Admitted, Fenced: s.Fenced,
	}
	if !s.LastPass.IsZero() {
		res.LastPassAt = timestamppb.New(s.LastPass)
	}
	return res, nil
}
