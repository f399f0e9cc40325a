package pg

import (
	"time"

	"github.com/formicary/formicary/services/job-manager/internal/definition"
	"github.com/formicary/formicary/services/job-manager/internal/pg/db"
	"github.com/formicary/formicary/services/job-manager/internal/request"
)

func toRecord(r db.Request) request.Record {
	return request.Record{
		ID: r.ID, OrgID: r.OrgID, JobType: r.JobType, DefinitionID: r.DefinitionID, DefinitionVersion: int(r.DefinitionVersion),
		State: request.State(r.State), Run: int(r.Run), Version: r.Version, ExecutionVersion: r.ExecutionVersion, ReuseRun: int(r.ReuseRun),
		Priority: int(r.Priority), AgeAt: r.AgeAt, ScheduledAt: r.ScheduledAt, Queued: r.Queued, PlacementClass: r.PlacementClass,
		Params: r.Params, Description: r.Description, IdempotencyKey: r.IdempotencyKey, Hash: r.RequestHash,
		CreatedBy: r.CreatedBy, CreatedAt: r.CreatedAt, UpdatedAt: r.UpdatedAt, StartedAt: r.StartedAt, EndedAt: r.EndedAt,
		CancelRequestedAt: r.CancelRequestedAt, CancelReason: r.CancelReason, PauseRequestedAt: r.PauseRequestedAt, ResumeAt: r.ResumeAt,
		ErrorCode: r.ErrorCode, ErrorMessage: r.ErrorMessage,
		ParentID: r.ParentRequestID, ParentTask: r.ParentTask, ChildKey: r.ChildKey, Depth: int(r.Depth), Retries: int(r.Retries),
		FromTask: r.FromTask, RestartedAt: r.RestartedAt, TotalDeadline: r.TotalDeadline, MissingAt: r.MissingAt, PendingTimeout: time.Duration(r.PendingMs) * time.Millisecond, PendingUntil: r.PendingUntil, Audience: r.Audience, RestartedFrom: request.State(r.RestartedFrom),
	}
}

func toRecords(rows []db.Request) []request.Record {
	recs := make([]request.Record, len(rows))
	for i, r := range rows {
		recs[i] = toRecord(r)
	}
	return recs
}

func toDefinition(d db.Definition, disabled bool) definition.Definition {
	return definition.Definition{
		ID: d.ID, OrgID: d.OrgID, JobType: d.JobType, Version: int(d.Version), SemVersion: d.SemVersion, Description: d.Description,
		Disabled: disabled, SHA256: d.Sha256, YAML: d.Yaml, MaxConcurrency: int(d.MaxConcurrency), Priority: int(d.Priority),
		RequiredParams: d.RequiredParams, PublicPlugin: d.PublicPlugin, CreatedAt: d.CreatedAt, CreatedBy: d.CreatedBy,
	}
}

func toListed(d db.ListNewestRow) definition.Definition {
	return definition.Definition{
		ID: d.ID, OrgID: d.OrgID, JobType: d.JobType, Version: int(d.Version), SemVersion: d.SemVersion, Description: d.Description,
		Disabled: d.Disabled, SHA256: d.Sha256, MaxConcurrency: int(d.MaxConcurrency), Priority: int(d.Priority),
		RequiredParams: d.RequiredParams, PublicPlugin: d.PublicPlugin, CreatedAt: d.CreatedAt, CreatedBy: d.CreatedBy,
	}
}
