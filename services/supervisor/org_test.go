package supervisor_test

import (
	"testing"

	"google.golang.org/protobuf/proto"

	"github.com/formicary/formicary/libs/access"
	"github.com/formicary/formicary/libs/jobspec/plan"
	"github.com/formicary/formicary/libs/passport/passporttest"
	"github.com/formicary/formicary/libs/testkit/tenanttest"
	executionv1 "github.com/formicary/formicary/proto/gen/formicary/execution/v1"
)

// What an organisation has is not there for others, whatever method they ask with.
func TestMethodsTellNothingOfOtherOrganisations(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.newAnt("ant1", 4, nil)
	id := w.admit(planOf(manual("ok", &plan.Approval{}), task("ran")))
	w.asked(id, "ok")
	w.taskBecomes(id, "ran", executionv1.Task_COMPLETED)
	const thing, nobody = "01a22a67-9f82-70f9-8a93-840c7f109fb0", "01a22a67-9f82-70f9-8a93-840c7f109fb1"
	for _, sql := range []string{
		`INSERT INTO artifact (id, org_id, kind, name, key, bytes, files, sha256, created_at, expires_at)
			VALUES ($1, 'default', 'USER', 'theirs', 'artifacts/default/user/x', 1, 1, '', now(), now() + interval '1 day')`,
		`INSERT INTO cache (id, org_id, job_type, key, request_id, task, object, bytes, raw_bytes, files, sha256, run_millis, created_at, expires_at, used_at)
			VALUES ($1, 'default', 'j', 'k', $1, 't', 'o', 1, 1, 1, '', 1, now(), now() + interval '1 day', now())`,
	} {
		if _, err := w.pool.Exec(t.Context(), sql, thing); err != nil {
			t.Fatal(err)
		}
	}
	request := func(of func(id string) proto.Message) tenanttest.Ask {
		return tenanttest.Ask{Of: of, Theirs: id, None: nobody}
	}
	file := func(of func(id string) proto.Message) tenanttest.Ask {
		return tenanttest.Ask{Of: of, Theirs: thing, None: nobody}
	}
	of := func(org, user string) access.Caller { return passporttest.Person(org, user, access.OrgAdmin) }
	tenanttest.Methods(t, w.dial("supervisor"), "formicary.execution.v1.", access.With(t.Context(), of("default", "bob")), access.With(t.Context(), of("rival", "eve")), map[string]tenanttest.Ask{
		"ExecutionService/GetExecution": request(func(id string) proto.Message { return &executionv1.GetExecutionRequest{RequestId: id} }),
		"ExecutionService/ListTasks":    request(func(id string) proto.Message { return &executionv1.ListTasksRequest{RequestId: id} }),
		"ApprovalService/VoteOnApproval": request(func(id string) proto.Message {
			return &executionv1.VoteOnApprovalRequest{RequestId: id, Task: "ok", Decision: "APPROVED"}
		}),
		"ApprovalService/GetApproval":          request(func(id string) proto.Message { return &executionv1.GetApprovalRequest{RequestId: id, Task: "ok"} }),
		"ApprovalService/ListPendingApprovals": {List: &executionv1.ListPendingApprovalsRequest{}},
		"LogService/WatchTaskLog":              request(func(id string) proto.Message { return &executionv1.WatchTaskLogRequest{RequestId: id, Task: "ran"} }),
		"LogService/SearchLogs":                request(func(id string) proto.Message { return &executionv1.SearchLogsRequest{RequestId: id, Pattern: "x"} }),

		"ArtifactService/ListArtifacts":     {List: &executionv1.ListArtifactsRequest{}},
		"ArtifactService/GetArtifact":       file(func(id string) proto.Message { return &executionv1.GetArtifactRequest{Id: id} }),
		"ArtifactService/ListArtifactFiles": file(func(id string) proto.Message { return &executionv1.ListArtifactFilesRequest{Id: id} }),
		"ArtifactService/ReadArtifact":      file(func(id string) proto.Message { return &executionv1.ReadArtifactRequest{Id: id} }),
		"ArtifactService/DeleteArtifact":    file(func(id string) proto.Message { return &executionv1.DeleteArtifactRequest{Id: id} }),
		"ArtifactService/UploadArtifact":    {Own: "it makes an artifact of the caller's organisation"},
		"CacheService/ListCaches":           {List: &executionv1.ListCachesRequest{}},
		"CacheService/DeleteCache":          file(func(id string) proto.Message { return &executionv1.DeleteCacheRequest{Id: id} }),
	})
}
