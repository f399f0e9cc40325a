package events

import (
	"strings"

	"google.golang.org/protobuf/types/known/timestamppb"

	executionv1 "github.com/formicary/formicary/proto/gen/formicary/execution/v1"
	"github.com/formicary/formicary/services/supervisor/internal/execution"
)

// ExecutionNotice is where notices are sent to.
const ExecutionNotice = "formicary.event.execution.notice"

// perNotice is how many notices one message holds: their webhooks and messages are bounded to some KiB each.
const perNotice = 50

// Notices puts notices into a message.
func Notices(all []execution.Notice) *executionv1.TaskNotices {
	m := &executionv1.TaskNotices{Notices: make([]*executionv1.TaskNotice, len(all))}
	for i := range all {
		n := &all[i]
		m.Notices[i] = &executionv1.TaskNotice{
			Id: n.ID.String(), RequestId: n.Request.String(), Run: int32(n.Run.Run), OrgId: n.Org, JobType: n.JobType, Task: n.Task, Kind: n.Kind,
			State: string(n.State), ExitCode: int32(n.ExitCode), Message: short(strings.ToValidUTF8(n.Message, "\uFFFD")), Webhook: n.Webhook,
			Recipients: n.Recipients, Time: timestamppb.New(n.At), StartedAt: stamp(n.StartedAt), EndedAt: stamp(n.EndedAt),
		}
	}
	return m
}
