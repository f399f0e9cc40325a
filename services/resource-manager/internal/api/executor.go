package api

import (
	"cmp"
	"context"
	"slices"
	"strings"
	"time"

	"github.com/formicary/formicary/libs/errs"
	antv1 "github.com/formicary/formicary/proto/gen/formicary/ant/v1"
	resourcev1 "github.com/formicary/formicary/proto/gen/formicary/resource/v1"
	"github.com/formicary/formicary/services/resource-manager/internal/ant"
)

// Hosts answer for what runs on them.
type Hosts interface {
	Ask(ctx context.Context, ants []string, call *antv1.ExecutorCall) ([]*antv1.ExecutorReport, error)
}

// Executor implements ExecutorService.
type Executor struct {
	resourcev1.UnsafeExecutorServiceServer
	ants  Ants
	hosts Hosts
}

// NewExecutor returns the service.
func NewExecutor(ants Ants, hosts Hosts) *Executor { return &Executor{ants: ants, hosts: hosts} }

const (
	listTime   = 3 * time.Second
	deleteTime = 8 * time.Second
	mostAnts   = 1000
)

// ListExecutors asks all ants that live, and names those that are away.
func (s *Executor) ListExecutors(ctx context.Context, _ *resourcev1.ListExecutorsRequest) (*resourcev1.ListExecutorsResponse, error) {
	ctx, cancel := context.WithTimeout(ctx, listTime)
	defer cancel()
	executors, silent, err := s.ask(ctx, &antv1.ExecutorCall{})
	if err != nil {
		return nil, err
	}
	return &resourcev1.ListExecutorsResponse{Executors: executors, Silent: silent}, nil
}

// DeleteExecutor asks all ants to end it: which of them has it is known to nobody else when it is left.
func (s *Executor) DeleteExecutor(ctx context.Context, r *resourcev1.DeleteExecutorRequest) (*resourcev1.DeleteExecutorResponse, error) {
	ctx, cancel := context.WithTimeout(ctx, deleteTime)
	defer cancel()
	executors, silent, err := s.ask(ctx, &antv1.ExecutorCall{Remove: r.GetId()})
	switch {
	case err != nil:
		return nil, err
	case len(executors) > 0:
		return &resourcev1.DeleteExecutorResponse{Executors: executors}, nil
	case len(silent) > 0:
		var who []string
		for id, why := range silent {
			who = append(who, id+": "+why)
		}
		slices.Sort(who)
		return nil, errs.Unavailable("ANTS_SILENT", "no ant that answers has executor %s; ask again when these do: %s", r.GetId(), strings.Join(who, "; "))
	}
	return nil, errs.NotFound("EXECUTOR_NOT_FOUND", "nothing runs under the id %s: see `formicary ant executors list`", r.GetId())
}

// ask calls all ants that live, and returns what they have said of each executor.
func (s *Executor) ask(ctx context.Context, call *antv1.ExecutorCall) (all []*resourcev1.Executor, silent map[string]string, err error) {
	ids, silent, err := s.whom(ctx)
	if err != nil {
		return nil, nil, err
	}
	reports, err := s.hosts.Ask(ctx, ids, call)
	if err != nil {
		return nil, nil, err
	}
	for i, id := range ids {
		if why := reports[i].GetFault(); why != "" {
			silent[id] = why
		}
		for _, x := range reports[i].GetExecutors() {
			w := x.GetWork()
			all = append(all, &resourcev1.Executor{
				Id: x.GetUid(), AntId: id, Method: x.GetMethod(), HostId: x.GetHostId(), StartedAt: x.GetStartedAt(), Left: w == nil,
				RequestId: w.GetRequestId(), JobType: w.GetJobType(), Run: w.GetRun(), Task: w.GetTask(), Attempt: w.GetAttempt(),
			})
		}
	}
	slices.SortStableFunc(all, func(a, b *resourcev1.Executor) int {
		return cmp.Or(strings.Compare(a.GetAntId(), b.GetAntId()), a.GetStartedAt().AsTime().Compare(b.GetStartedAt().AsTime()))
	})
	return all, silent, nil
}

// whom returns the ants that have a lease, and why those cannot be asked that have lost it: what they ran may go on.
func (s *Executor) whom(ctx context.Context) (alive []string, away map[string]string, err error) {
	away = map[string]string{}
	for after := ""; ; {
		page, err := s.ants.All(ctx, after, mostAnts)
		if err != nil {
			return nil, nil, err
		}
		for _, a := range page {
			after = a.ID
			switch {
			case a.State != ant.Offline:
				alive = append(alive, a.ID)
			case a.Session != nil: // it has not said that it leaves
				away[a.ID] = "it is away, and was last heard of at " + a.HeartbeatAt.UTC().Format(time.DateTime) + " UTC"
			}
		}
		if len(page) < mostAnts {
			return alive, away, nil
		}
	}
}
