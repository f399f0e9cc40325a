package api

import (
	"cmp"
	"context"
	"slices"
	"strings"
	"time"

	"github.com/formicary/formicary/libs/access"
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

// ListExecutors asks all ants that live, and names those that are away. Of ants that work for all it tells each organisation of its
// own tasks only; the roles of the platform see everything.
func (s *Executor) ListExecutors(ctx context.Context, _ *resourcev1.ListExecutorsRequest) (*resourcev1.ListExecutorsResponse, error) {
	ctx, cancel := context.WithTimeout(ctx, listTime)
	defer cancel()
	c := access.From(ctx)
	h, err := s.whom(ctx, sight{c.Org, slices.ContainsFunc(c.Roles, access.OfPlatform)})
	if err != nil {
		return nil, err
	}
	executors, err := s.ask(ctx, h, &antv1.ExecutorCall{})
	if err != nil {
		return nil, err
	}
	return &resourcev1.ListExecutorsResponse{Executors: executors, Silent: h.silent}, nil
}

// DeleteExecutor asks all ants to end it: which of them has it is known to nobody else when it is left. For an organisation it first
// finds those on which it is the organisation's own.
func (s *Executor) DeleteExecutor(ctx context.Context, r *resourcev1.DeleteExecutorRequest) (*resourcev1.DeleteExecutorResponse, error) {
	ctx, cancel := context.WithTimeout(ctx, deleteTime)
	defer cancel()
	c := access.From(ctx)
	h, err := s.whom(ctx, sight{c.Org, slices.Contains(c.Roles, access.PlatformAdmin)})
	if err == nil && !h.all {
		err = s.narrow(ctx, h, r.GetId())
	}
	if err != nil {
		return nil, err
	}
	executors, err := s.ask(ctx, h, &antv1.ExecutorCall{Remove: r.GetId()})
	switch {
	case err != nil:
		return nil, err
	case len(executors) > 0:
		return &resourcev1.DeleteExecutorResponse{Executors: executors}, nil
	case len(h.silent) > 0:
		var who []string
		for id, why := range h.silent {
			who = append(who, id+": "+why)
		}
		slices.Sort(who)
		return nil, errs.Unavailable("ANTS_SILENT", "no ant that answers has executor %s; ask again when these do: %s", r.GetId(), strings.Join(who, "; "))
	}
	return nil, errs.NotFound("EXECUTOR_NOT_FOUND", "nothing runs under the id %s: see `formicary ant executors list`", r.GetId())
}

// sight is what a caller may see of what runs on ants.
type sight struct {
	org string
	all bool // of every organisation
}

// sees says whether work on an ant is shown. What an ant knows nothing of is somebody's of those that the ant works for.
func (v sight) sees(a ant.Ant, w *antv1.Work) bool {
	return v.all || w != nil && w.GetOrgId() == v.org || w == nil && a.Org != "" && a.Org == v.org
}

// host are the ants that can be asked, and why the others cannot.
type host struct {
	sight
	ants   []ant.Ant
	silent map[string]string
}

// narrow leaves the ants on which something is seen under the id.
func (s *Executor) narrow(ctx context.Context, h *host, id string) error {
	found, err := s.ask(ctx, h, &antv1.ExecutorCall{})
	if err != nil {
		return err
	}
	h.ants = slices.DeleteFunc(h.ants, func(a ant.Ant) bool {
		return !slices.ContainsFunc(found, func(x *resourcev1.Executor) bool { return x.GetAntId() == a.ID && x.GetId() == id })
	})
	return nil
}

// ask calls the ants, and returns what they have said of each executor that is seen.
func (s *Executor) ask(ctx context.Context, h *host, call *antv1.ExecutorCall) (all []*resourcev1.Executor, err error) {
	ids := make([]string, len(h.ants))
	for i := range h.ants {
		ids[i] = h.ants[i].ID
	}
	reports, err := s.hosts.Ask(ctx, ids, call)
	if err != nil {
		return nil, err
	}
	for i, a := range h.ants {
		if why := reports[i].GetFault(); why != "" {
			h.silent[a.ID] = why
		}
		for _, x := range reports[i].GetExecutors() {
			w := x.GetWork()
			if !h.sees(a, w) {
				continue
			}
			all = append(all, &resourcev1.Executor{
				Id: x.GetUid(), AntId: a.ID, Method: x.GetMethod(), HostId: x.GetHostId(), StartedAt: x.GetStartedAt(), Left: w == nil,
				RequestId: w.GetRequestId(), JobType: w.GetJobType(), Run: w.GetRun(), Task: w.GetTask(), Attempt: w.GetAttempt(),
			})
		}
	}
	slices.SortStableFunc(all, func(a, b *resourcev1.Executor) int {
		return cmp.Or(strings.Compare(a.GetAntId(), b.GetAntId()), a.GetStartedAt().AsTime().Compare(b.GetStartedAt().AsTime()))
	})
	return all, nil
}

// whom returns the ants that have a lease, and why those cannot be asked that have lost it: what they ran may go on.
func (s *Executor) whom(ctx context.Context, v sight) (*host, error) {
	h := &host{sight: v, silent: map[string]string{}}
	for after := ""; ; {
		var page []ant.Ant
		var err error
		if v.all {
			page, err = s.ants.All(ctx, after, mostAnts)
		} else {
			page, err = s.ants.List(ctx, v.org, after, mostAnts)
		}
		if err != nil {
			return nil, err
		}
		for _, a := range page {
			after = a.ID
			switch {
			case a.State != ant.Offline:
				h.ants = append(h.ants, a)
			case a.Session != nil: // it has not said that it leaves
				h.silent[a.ID] = "it is away, and was last heard of at " + a.HeartbeatAt.UTC().Format(time.DateTime) + " UTC"
			}
		}
		if len(page) < mostAnts {
			return h, nil
		}
	}
}
