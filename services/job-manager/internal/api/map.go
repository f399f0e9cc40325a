package api

import (
	"encoding/hex"
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"google.golang.org/protobuf/types/known/structpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/formicary/formicary/libs/errs"
	"github.com/formicary/formicary/libs/exact"
	"github.com/formicary/formicary/libs/jobspec/source"
	jobv1 "github.com/formicary/formicary/proto/gen/formicary/job/v1"
	"github.com/formicary/formicary/services/job-manager/internal/definition"
	"github.com/formicary/formicary/services/job-manager/internal/request"
)

func fromDefinition(d definition.Definition) *jobv1.JobDefinition {
	out := &jobv1.JobDefinition{
		Id: d.ID.String(), OrgId: d.OrgID, JobType: d.JobType, Version: int32(d.Version), SemVersion: d.SemVersion, Description: d.Description,
		Disabled: d.Disabled, Sha256: hex.EncodeToString(d.SHA256), Yaml: d.YAML, MaxConcurrency: int32(d.MaxConcurrency),
		Priority: int32(d.Priority), RequiredParams: d.RequiredParams, CreatedBy: d.CreatedBy,
		PublicPlugin: d.PublicPlugin,
	}
	if !d.CreatedAt.IsZero() {
		out.CreatedAt = timestamppb.New(d.CreatedAt)
	}
	return out
}

func fromDefinitions(list []definition.Definition) []*jobv1.JobDefinition {
	out := make([]*jobv1.JobDefinition, len(list))
	for i, d := range list {
		out[i] = fromDefinition(d)
	}
	return out
}

func fromRecord(r *request.Record, w *request.Wait) (*jobv1.JobRequest, error) {
	params, text, err := fromParams(r.Params)
	if err != nil {
		return nil, fmt.Errorf("read the parameters of request %s: %w", r.ID, err)
	}
	out := &jobv1.JobRequest{
		Id: r.ID.String(), OrgId: r.OrgID, JobType: r.JobType, DefinitionId: r.DefinitionID.String(), DefinitionVersion: int32(r.DefinitionVersion),
		State: jobv1.JobRequest_State(jobv1.JobRequest_State_value[string(r.State)]), Run: int32(r.Run), Version: r.Version, Priority: int32(r.Priority),
		Params: params, ParamsJson: text, IdempotencyKey: r.IdempotencyKey, Description: r.Description, CreatedBy: r.CreatedBy,
		ScheduledAt: stamp(r.ScheduledAt), StartedAt: stamp(r.StartedAt), EndedAt: stamp(r.EndedAt), CancelRequestedAt: stamp(r.CancelRequestedAt),
		ErrorCode: r.ErrorCode, ErrorMessage: r.ErrorMessage, ParentTask: r.ParentTask, Retries: int32(r.Retries),
	}
	if r.ParentID != nil {
		out.ParentRequestId = r.ParentID.String()
	}
	if !r.CreatedAt.IsZero() { // zero when it was only validated
		out.CreatedAt, out.UpdatedAt = timestamppb.New(r.CreatedAt), timestamppb.New(r.UpdatedAt)
	}
	if w != nil {
		out.Wait = &jobv1.Wait{Gate: fromGate(w.Gate), Reason: w.Reason, Holders: w.Holders, Rank: w.Rank}
	}
	return out, nil
}

// fromParams encodes stored parameters; text is nil when params says everything.
func fromParams(raw json.RawMessage) (params *structpb.Struct, text *string, err error) {
	values, err := exact.DecodeObject(raw)
	if err != nil {
		return nil, nil, err
	}
	params, exactly, err := exact.Struct(values)
	if exactly != "" {
		text = &exactly
	}
	return params, text, err
}

func stamp(t *time.Time) *timestamppb.Timestamp {
	if t == nil {
		return nil
	}
	return timestamppb.New(*t)
}

func toStates(states []jobv1.JobRequest_State) ([]request.State, error) {
	out := make([]request.State, len(states))
	for i, s := range states {
		name, ok := jobv1.JobRequest_State_name[int32(s)]
		if !ok || s == jobv1.JobRequest_STATE_UNSPECIFIED {
			return nil, errs.Invalid("REQUEST_INVALID", "%d is no state of a request", s)
		}
		out[i] = request.State(name)
	}
	return out, nil
}

const gatePrefix = "GATE_"

func fromGate(g request.Gate) jobv1.Gate {
	return jobv1.Gate(jobv1.Gate_value[gatePrefix+string(g)])
}

func toGate(g jobv1.Gate) request.Gate {
	return request.Gate(strings.TrimPrefix(g.String(), gatePrefix))
}

func fromWarnings(warnings source.Problems) []*jobv1.Problem {
	var out []*jobv1.Problem
	for _, w := range warnings {
		out = append(out, &jobv1.Problem{
			File: w.File, Line: int32(w.Line), Column: int32(w.Column), Code: w.Code, Message: w.Message, Expected: w.Expected, Warning: true,
		})
	}
	return out
}
