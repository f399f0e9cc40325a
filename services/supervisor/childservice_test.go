package supervisor_test

import (
	"context"
	"fmt"
	"slices"
	"sync"

	"github.com/google/uuid"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/formicary/formicary/libs/errs"
	"github.com/formicary/formicary/libs/testkit"
	jobv1 "github.com/formicary/formicary/proto/gen/formicary/job/v1"
)

// childService plays the part of job-manager that submits the jobs of tasks. As the real one it knows each key once.
type childService struct {
	jobv1.UnimplementedChildServiceServer
	mu       sync.Mutex
	known    map[string]*jobv1.ChildSubmission
	requests map[string]string // by key
	refuse   map[string]string // reason by job type
	ended    map[string]*jobv1.ChildEnded
	cancels  []string
	away     int // how many calls are not answered
	lose     int // how many calls are done but not answered
	submits  int // submissions that were asked for, repeated ones included

	templates func(ctx context.Context, jobType string) error // what a submission of a template waits for
	asked     map[string]int                                  // submissions of templates, by job type

	submitted func(key, request string) // is called with each child that was submitted
}

func newChildService() *childService {
	return &childService{
		known: map[string]*jobv1.ChildSubmission{}, requests: map[string]string{}, refuse: map[string]string{}, ended: map[string]*jobv1.ChildEnded{},
		asked: map[string]int{},
	}
}

func (c *childService) SubmitChildren(_ context.Context, req *jobv1.SubmitChildrenRequest) (*jobv1.SubmitChildrenResponse, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.away > 0 {
		c.away--
		return nil, errs.Unavailable("AWAY", "away for a moment")
	}
	res := &jobv1.SubmitChildrenResponse{}
	for _, x := range req.GetChildren() {
		c.submits++
		a := &jobv1.ChildAnswer{Key: x.GetKey()}
		if reason := c.refuse[x.GetJobType()]; reason != "" {
			a.Reason, a.Refused = reason, "it is not wanted"
		} else {
			if c.requests[x.GetKey()] == "" {
				c.known[x.GetKey()], c.requests[x.GetKey()] = x, uuid.Must(uuid.NewV7()).String()
			}
			a.RequestId = c.requests[x.GetKey()]
			if c.submitted != nil {
				c.submitted(x.GetKey(), a.GetRequestId())
			}
		}
		res.Answers = append(res.Answers, a)
	}
	if c.lose > 0 {
		c.lose--
		return nil, status.Error(codes.DeadlineExceeded, "the answer got lost")
	}
	return res, nil
}

func (c *childService) GetChildren(_ context.Context, req *jobv1.GetChildrenRequest) (*jobv1.GetChildrenResponse, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	res := &jobv1.GetChildrenResponse{}
	for _, key := range req.GetKeys() {
		if e := c.ended[key]; e != nil {
			res.Children = append(res.Children, e)
		}
	}
	return res, nil
}

func (c *childService) CancelChildren(_ context.Context, req *jobv1.CancelChildrenRequest) (*jobv1.CancelChildrenResponse, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.cancels = append(c.cancels, req.GetKeys()...)
	return &jobv1.CancelChildrenResponse{}, nil
}

// children are the submissions of a parent, by task.
func (c *childService) children(parent string) map[string]*jobv1.ChildSubmission {
	c.mu.Lock()
	defer c.mu.Unlock()
	all := map[string]*jobv1.ChildSubmission{}
	for _, x := range c.known {
		if x.GetParentRequestId() == parent {
			all[x.GetParentTask()] = x
		}
	}
	return all
}

func (c *childService) count() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.known)
}

func (c *childService) cancelled(key string) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Contains(c.cancels, key)
}

// submitted waits for the child of a task and returns its key and request.
func (w *world) submitted(parent, task string) (key, request string) {
	w.t.Helper()
	testkit.Eventually(w.t, waitTime, fmt.Sprintf("task %s has forked", task), func() bool {
		x := w.children.children(parent)[task]
		if x == nil {
			return false
		}
		w.children.mu.Lock()
		defer w.children.mu.Unlock()
		key, request = x.GetKey(), w.children.requests[x.GetKey()]
		return true
	})
	return key, request
}

// childEnds says that a child has ended, as job-manager's outbox would.
func (w *world) childEnds(key, request string, state jobv1.JobRequest_State, code, message string) {
	w.t.Helper()
	w.publish("formicary.event.job.child", &jobv1.ChildrenEnded{Children: []*jobv1.ChildEnded{w.childEnded(key, request, state, code, message)}})
}

func (w *world) childEnded(key, request string, state jobv1.JobRequest_State, code, message string) *jobv1.ChildEnded {
	return &jobv1.ChildEnded{Key: key, RequestId: request, Run: 1, State: state, ErrorCode: code, ErrorMessage: message}
}

func (c *childService) SubmitForTemplate(ctx context.Context, req *jobv1.SubmitForTemplateRequest) (*jobv1.SubmitForTemplateResponse, error) {
	c.mu.Lock()
	c.asked[req.GetJobType()]++
	wait := c.templates
	c.mu.Unlock()
	if wait != nil {
		if err := wait(ctx, req.GetJobType()); err != nil {
			return nil, err
		}
	}
	return &jobv1.SubmitForTemplateResponse{RequestId: req.GetJobType() + "-id"}, nil
}
