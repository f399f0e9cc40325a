// Package peer is supervisor's view of the services that it calls.
package peer

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/google/uuid"
	"google.golang.org/grpc"

	"github.com/formicary/formicary/libs/access"
	"github.com/formicary/formicary/libs/jobspec"
	"github.com/formicary/formicary/libs/jobspec/plan"
	jobv1 "github.com/formicary/formicary/proto/gen/formicary/job/v1"
	"github.com/formicary/formicary/services/supervisor/internal/execution"
)

// JobManager gives what is to be run.
type JobManager struct {
	launches    jobv1.LaunchServiceClient
	definitions jobv1.JobDefinitionServiceClient
}

// NewJobManager uses the connection.
func NewJobManager(conn grpc.ClientConnInterface) *JobManager {
	return &JobManager{jobv1.NewLaunchServiceClient(conn), jobv1.NewJobDefinitionServiceClient(conn)}
}

const (
	launchTime     = 20 * time.Second
	definitionTime = 5 * time.Second
)

// Launches returns the runs that are still to be launched, those that could not be rendered with their fault.
func (j *JobManager) Launches(ctx context.Context, keys []execution.Key, patient bool) ([]execution.Launch, error) {
	ctx, cancel := context.WithTimeout(ctx, launchTime)
	defer cancel()
	req := &jobv1.GetLaunchesRequest{Runs: make([]*jobv1.RunRef, len(keys)), Patient: patient}
	for i, k := range keys {
		req.Runs[i] = &jobv1.RunRef{RequestId: k.Request.String(), Run: int32(k.Run)}
	}
	res, err := j.launches.GetLaunches(ctx, req)
	if err != nil {
		return nil, fmt.Errorf("get %d launches: %w", len(keys), err)
	}
	all := make([]execution.Launch, 0, len(res.GetLaunches()))
	for _, l := range res.GetLaunches() {
		x, err := launch(l)
		if err != nil {
			return nil, err
		}
		all = append(all, x)
	}
	for _, f := range res.GetFaults() {
		x, err := header(f.GetLaunch())
		if err != nil {
			return nil, err
		}
		x.Fault, x.Message = fault(f.GetKind()), f.GetReason()
		all = append(all, x)
	}
	return all, nil
}

// fault reads a kind; one of a newer version is tried alone.
func fault(k jobv1.LaunchFault_Kind) execution.LaunchFault {
	switch k {
	case jobv1.LaunchFault_NOT_REACHED:
		return execution.NotReached
	case jobv1.LaunchFault_AWAY:
		return execution.LaunchAway
	case jobv1.LaunchFault_BROKEN:
		return execution.BrokenLaunch
	case jobv1.LaunchFault_SLOW, jobv1.LaunchFault_KIND_UNSPECIFIED:
	}
	return execution.SlowLaunch
}

// header reads what is known of a launch without its plan.
func header(l *jobv1.Launch) (execution.Launch, error) {
	request, err := uuid.Parse(l.GetRequestId())
	if err != nil {
		return execution.Launch{}, fmt.Errorf("read launch of request %q: %w", l.GetRequestId(), err)
	}
	var due *time.Time
	if l.GetDueAt() != nil {
		at := l.GetDueAt().AsTime()
		due = &at
	}
	return execution.Launch{
		DueAt: due,
		Run: execution.Run{
			Key: execution.Key{Request: request, Run: int(l.GetRun())}, Org: l.GetOrgId(), JobType: l.GetJobType(),
			Definition: l.GetDefinitionId(), Priority: int(l.GetPriority()), AgeAt: l.GetAgeAt().AsTime(),
		},
		ReuseRun: int(l.GetReuseRun()), From: l.GetFromTask(), Retries: int(l.GetRetries()), SubmittedBy: l.GetSubmittedBy(),
	}, nil
}

// launch reads an answer. A plan that cannot be read is a launch that fails, not a message that is retried for ever.
func launch(l *jobv1.Launch) (execution.Launch, error) {
	x, err := header(l)
	if err != nil {
		return x, err
	}
	x.Vars, x.Error, x.Message, x.Skipped, x.Cancelled = l.GetVars(), l.GetErrorCode(), l.GetErrorMessage(), l.GetSkipped(), l.GetCancelled()
	if x.Error != "" || x.Skipped || x.Cancelled {
		return x, nil
	}
	x.Plan = &plan.Plan{}
	if unreadable(l.GetPlan(), x.Plan) {
		x.Plan, x.Error, x.Message = nil, "ERR_JOB_LAUNCH", "its plan cannot be read"
		return x, nil
	}
	if len(l.GetErrorRules()) > 0 && unreadable(l.GetErrorRules(), &x.Rules) {
		x.Plan, x.Error, x.Message = nil, "ERR_JOB_LAUNCH", "its error rules cannot be read"
	}
	return x, nil
}

// Definition returns a version of a job definition.
func (j *JobManager) Definition(ctx context.Context, org, id string) (*jobspec.Definition, error) {
	ctx, cancel := context.WithTimeout(access.Acting(ctx, org), definitionTime)
	defer cancel()
	res, err := j.definitions.GetJobDefinition(ctx, &jobv1.GetJobDefinitionRequest{Id: id})
	if err != nil {
		return nil, fmt.Errorf("get definition %s: %w", id, err)
	}
	def, _, err := jobspec.Parse(res.GetDefinition().GetJobType()+".yaml", []byte(res.GetDefinition().GetYaml()))
	if err != nil {
		return nil, fmt.Errorf("parse definition %s: %w", id, err)
	}
	return def, nil
}

// unreadable decodes JSON and says whether it is none. Trying again would not help, so the reason is not passed on.
func unreadable(raw []byte, into any) bool { return json.Unmarshal(raw, into) != nil }
