package peer

import (
	"context"
	"fmt"
	"time"

	"github.com/google/uuid"
	"google.golang.org/grpc"

	"github.com/formicary/formicary/libs/exact"
	jobv1 "github.com/formicary/formicary/proto/gen/formicary/job/v1"
	"github.com/formicary/formicary/services/supervisor/internal/child"
)

// Children submits and steers the jobs that tasks fork.
type Children struct {
	client jobv1.ChildServiceClient
}

// NewChildren uses the connection to job-manager.
func NewChildren(conn grpc.ClientConnInterface) *Children {
	return &Children{jobv1.NewChildServiceClient(conn)}
}

const (
	submitTime = 20 * time.Second
	childTime  = 10 * time.Second
)

// Submit submits children and answers for each, in order.
func (c *Children) Submit(ctx context.Context, children []child.Wanted) ([]child.Answer, error) {
	ctx, cancel := context.WithTimeout(ctx, submitTime)
	defer cancel()
	answers := make([]child.Answer, len(children))
	req := &jobv1.SubmitChildrenRequest{}
	var asked []int // indexes of those that can be sent
	for i := range children {
		m, err := submission(&children[i])
		if err != nil {
			answers[i] = child.Answer{Refused: err.Error(), Reason: "INVALID_PARAMS"}
			continue
		}
		req.Children, asked = append(req.Children, m), append(asked, i)
	}
	if len(asked) == 0 {
		return answers, nil
	}
	res, err := c.client.SubmitChildren(ctx, req)
	if err != nil {
		return nil, fmt.Errorf("submit %d children: %w", len(asked), err)
	}
	if len(res.GetAnswers()) != len(asked) {
		return nil, fmt.Errorf("submit %d children: got %d answers", len(asked), len(res.GetAnswers()))
	}
	for i, a := range res.GetAnswers() {
		x := &answers[asked[i]]
		x.Refused, x.Reason, x.Retry = a.GetRefused(), a.GetReason(), a.GetRetry()
		if a.GetRequestId() == "" {
			continue
		}
		if x.Request, err = uuid.Parse(a.GetRequestId()); err != nil {
			return nil, fmt.Errorf("read request of child %s: %w", a.GetKey(), err)
		}
	}
	return answers, nil
}

func submission(w *child.Wanted) (*jobv1.ChildSubmission, error) {
	m := &jobv1.ChildSubmission{
		Key: w.String(), OrgId: w.Org, ParentRequestId: w.Parent.String(), ParentTask: w.Task, JobType: w.JobType, JobVersion: w.Version,
		SubmittedBy: w.SubmittedBy,
	}
	if len(w.Params) == 0 {
		return m, nil
	}
	params, err := exact.DecodeObject(w.Params)
	if err != nil {
		return nil, fmt.Errorf("read params of child %s: %w", w.Key, err)
	}
	var text string
	if m.Params, text, err = exact.Struct(params); err != nil {
		return nil, fmt.Errorf("encode params of child %s: %w", w.Key, err)
	}
	if text != "" {
		m.ParamsJson = &text
	}
	return m, nil
}

// Cancel asks for the end of children.
func (c *Children) Cancel(ctx context.Context, keys []child.Key, reason string) error {
	ctx, cancel := context.WithTimeout(ctx, childTime)
	defer cancel()
	if _, err := c.client.CancelChildren(ctx, &jobv1.CancelChildrenRequest{Keys: texts(keys), Reason: reason}); err != nil {
		return fmt.Errorf("cancel %d children: %w", len(keys), err)
	}
	return nil
}

// Children returns those that exist.
func (c *Children) Children(ctx context.Context, keys []child.Key) ([]child.Ended, error) {
	ctx, cancel := context.WithTimeout(ctx, childTime)
	defer cancel()
	res, err := c.client.GetChildren(ctx, &jobv1.GetChildrenRequest{Keys: texts(keys)})
	if err != nil {
		return nil, fmt.Errorf("ask for %d children: %w", len(keys), err)
	}
	all := make([]child.Ended, len(res.GetChildren()))
	for i, m := range res.GetChildren() {
		if all[i], err = ReadChild(m); err != nil {
			return nil, err
		}
	}
	return all, nil
}

// ReadChild reads how a child stands.
func ReadChild(m *jobv1.ChildEnded) (child.Ended, error) {
	key, err := child.ParseKey(m.GetKey())
	if err != nil {
		return child.Ended{}, err
	}
	e := child.Ended{
		Key: key, Run: int(m.GetRun()), State: m.GetState().String(), Terminal: terminal(m.GetState()),
		Code: m.GetErrorCode(), Message: m.GetErrorMessage(),
	}
	if e.Request, err = uuid.Parse(m.GetRequestId()); err != nil {
		return e, fmt.Errorf("read request of child %s: %w", m.GetKey(), err)
	}
	return e, nil
}

func terminal(s jobv1.JobRequest_State) bool {
	switch s {
	case jobv1.JobRequest_COMPLETED, jobv1.JobRequest_FAILED, jobv1.JobRequest_CANCELLED, jobv1.JobRequest_SKIPPED:
		return true
	default:
		return false
	}
}

func texts(keys []child.Key) []string {
	all := make([]string, len(keys))
	for i, k := range keys {
		all[i] = k.String()
	}
	return all
}
