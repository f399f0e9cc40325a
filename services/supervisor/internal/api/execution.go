package api

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/google/uuid"
	"google.golang.org/protobuf/types/known/structpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/formicary/formicary/libs/access"
	"github.com/formicary/formicary/libs/exact"
	"github.com/formicary/formicary/libs/placement"
	"github.com/formicary/formicary/libs/rpc"
	executionv1 "github.com/formicary/formicary/proto/gen/formicary/execution/v1"
	"github.com/formicary/formicary/services/supervisor/internal/events"
	"github.com/formicary/formicary/services/supervisor/internal/execution"
)

// Reader shows runs.
type Reader interface {
	Get(ctx context.Context, org string, key execution.Key) (execution.View, error)
	Tasks(ctx context.Context, p execution.Page) ([]execution.TaskView, error)
	States(ctx context.Context, keys []execution.Key) ([]execution.Moved, error)
	Live(ctx context.Context, uids []uuid.UUID) ([]uuid.UUID, error)
	Log(ctx context.Context, id uuid.UUID, task string, attempt int) (execution.Log, error)
	Logs(ctx context.Context, id uuid.UUID, tasks []string, attempt int, do func(execution.Log) (enough bool, err error)) error
}

// Executions shows runs to people.
type Executions struct {
	executionv1.UnimplementedExecutionServiceServer
	Reader Reader
}

const (
	pageSize = 200
	maxPage  = 1000
)

func find(ctx context.Context, r Reader, request string, run int32) (execution.View, error) {
	id, err := uuid.Parse(request)
	if err != nil {
		return execution.View{}, badID("request_id", err)
	}
	return r.Get(ctx, access.From(ctx).Org, execution.Key{Request: id, Run: int(run)})
}

// GetExecution returns a run without its tasks.
func (e *Executions) GetExecution(ctx context.Context, req *executionv1.GetExecutionRequest) (*executionv1.GetExecutionResponse, error) {
	v, err := find(ctx, e.Reader, req.GetRequestId(), req.GetRun())
	if err != nil {
		return nil, err
	}
	return &executionv1.GetExecutionResponse{Execution: &executionv1.Execution{
		Id: v.ID.String(), RequestId: v.Request.String(), Run: int32(v.Key.Run), JobType: v.JobType, State: events.JobState(v.Job.State),
		Version: v.Job.Version, TasksTotal: int32(v.Job.TasksTotal), TasksOpen: int32(v.Job.TasksOpen),
		ErrorCode: v.Job.ErrorCode, ErrorMessage: v.Job.ErrorMessage,
		CreatedAt: timestamppb.New(v.CreatedAt), StartedAt: stamp(v.Job.StartedAt), EndedAt: stamp(v.Job.EndedAt),
	}}, nil
}

// ListTasks lists the tasks of a run, or the items of one of them.
func (e *Executions) ListTasks(ctx context.Context, req *executionv1.ListTasksRequest) (*executionv1.ListTasksResponse, error) {
	v, err := find(ctx, e.Reader, req.GetRequestId(), req.GetRun())
	if err != nil {
		return nil, err
	}
	run, after := v.Key.Run, -1
	list := rpc.PartOf("tasks/"+v.Request.String(), req.GetRun(), req.GetItemsOf(), req.GetStates())
	place, err := rpc.PagePlace(list, req.GetPageToken())
	if err != nil {
		return nil, err
	}
	if place != "" {
		// A page belongs to the run that the first one showed, also when run 0 asked for the newest.
		if _, err := fmt.Sscanf(place, "%d.%d", &run, &after); err != nil {
			return nil, rpc.BadPageToken()
		}
		if run != v.Key.Run {
			if v, err = find(ctx, e.Reader, req.GetRequestId(), int32(run)); err != nil {
				return nil, err
			}
		}
	}
	size := int(req.GetPageSize())
	if size <= 0 {
		size = pageSize
	}
	size = min(size, maxPage)
	states := make([]string, len(req.GetStates()))
	for i, s := range req.GetStates() {
		states[i] = s.String()
	}
	tasks, err := e.Reader.Tasks(ctx, execution.Page{View: &v, Group: req.GetItemsOf(), After: after, Limit: size + 1, States: states})
	if err != nil {
		return nil, err
	}
	res := &executionv1.ListTasksResponse{}
	if len(tasks) > size {
		tasks = tasks[:size]
		res.NextPageToken = rpc.PageToken(list, fmt.Sprintf("%d.%d", run, tasks[size-1].Idx))
	}
	for i := range tasks {
		t, err := task(&tasks[i])
		if err != nil {
			return nil, err
		}
		res.Tasks = append(res.Tasks, t)
	}
	return res, nil
}

func task(t *execution.TaskView) (*executionv1.Task, error) {
	gate, reason := waits(t)
	out := &executionv1.Task{
		Name: t.Name, Index: int32(t.Idx), Method: t.Method, Tags: tags(t.Class), State: events.TaskState(t.State),
		ExitCode: int32(t.ExitCode), FailureClass: t.FailureClass, Message: t.Message, WaitGate: gate, WaitReason: reason,
		AllowFailure: t.AllowFailure, Result: t.Result, StartedAt: stamp(t.StartedAt), EndedAt: stamp(t.EndedAt),
	}
	if len(t.Outputs) > 0 {
		out.Outputs = &structpb.Struct{Fields: make(map[string]*structpb.Value, len(t.Outputs))}
		for k, v := range t.Outputs {
			out.Outputs.Fields[k] = structpb.NewStringValue(strings.ToValidUTF8(v, "\uFFFD"))
		}
	}
	for i := range t.Attempts {
		a := &t.Attempts[i]
		out.Attempts = append(out.Attempts, &executionv1.Attempt{
			Uid: a.UID.String(), Number: int32(a.Number), State: executionv1.Attempt_State(executionv1.Attempt_State_value[string(a.State)]),
			AntId: a.Ant, ExitCode: int32(a.ExitCode), FailureClass: a.FailureClass, Message: a.Message,
			DispatchedAt: timestamppb.New(a.DispatchedAt), StartedAt: stamp(a.StartedAt), EndedAt: stamp(a.EndedAt), LogBytes: a.LogBytes, Usage: toUsage(a.Usage), Cache: toCacheUse(a.Cache),
		})
	}
	if t.ChildID != uuid.Nil {
		out.ChildRequestId = t.ChildID.String()
	}
	if t.Items != nil {
		out.Items = &executionv1.ItemCounts{Total: int32(t.Items.Total), Open: int32(t.Items.Open), Failed: int32(t.Items.Failed)}
	}
	if t.Group == "" {
		return out, nil
	}
	out.ItemsOf, out.Item = t.Group, int32(t.Item)
	value, exactly, err := exact.Value(t.ItemValue)
	if err != nil {
		return nil, fmt.Errorf("encode item of task %s: %w", t.Name, err)
	}
	if out.ItemValue = value; exactly != "" {
		out.ItemValueJson = &exactly
	}
	return out, nil
}

// tags takes the tags out of a class.
func tags(class string) []string {
	_, class = placement.Split(class)
	c, _ := placement.Parse(class) // one that cannot be read has none
	return c.Tags
}

func stamp(t *time.Time) *timestamppb.Timestamp {
	if t == nil {
		return nil
	}
	return timestamppb.New(*t)
}

// States answers the reconcilers of the other services.
type States struct {
	executionv1.UnimplementedExecutionStateServiceServer
	Reader  Reader
	Notices Notices
}

// Notices keeps what people are to be told until job-manager has stored it.
type Notices interface {
	TakeNotices(ctx context.Context, stored []uuid.UUID) ([]execution.Notice, error)
}

// GetExecutionStates returns the state of the runs that exist.
func (s *States) GetExecutionStates(ctx context.Context, req *executionv1.GetExecutionStatesRequest) (*executionv1.GetExecutionStatesResponse, error) {
	keys := make([]execution.Key, 0, len(req.GetRuns()))
	for _, r := range req.GetRuns() {
		id, err := uuid.Parse(r.GetRequestId())
		if err != nil {
			return nil, badID("request_id", err)
		}
		keys = append(keys, execution.Key{Request: id, Run: int(r.GetRun())})
	}
	moved, err := s.Reader.States(ctx, keys)
	if err != nil {
		return nil, err
	}
	res := &executionv1.GetExecutionStatesResponse{}
	for i := range moved {
		res.States = append(res.States, events.Changed(moved[i].Key, &moved[i].Job))
	}
	return res, nil
}

// TakeNotices hands out what job-manager has not confirmed.
func (s *States) TakeNotices(ctx context.Context, req *executionv1.TakeNoticesRequest) (*executionv1.TakeNoticesResponse, error) {
	stored := make([]uuid.UUID, len(req.GetStored()))
	for i, text := range req.GetStored() {
		var err error
		if stored[i], err = uuid.Parse(text); err != nil {
			return nil, badID("stored", err)
		}
	}
	all, err := s.Notices.TakeNotices(ctx, stored)
	if err != nil {
		return nil, err
	}
	return &executionv1.TakeNoticesResponse{Notices: events.Notices(all).GetNotices()}, nil
}

// CheckAttempts says which attempts are live.
func (s *States) CheckAttempts(ctx context.Context, req *executionv1.CheckAttemptsRequest) (*executionv1.CheckAttemptsResponse, error) {
	uids, _ := parse(req.GetUids(), nil)
	live, err := s.Reader.Live(ctx, uids)
	if err != nil {
		return nil, err
	}
	return &executionv1.CheckAttemptsResponse{Live: names(live)}, nil
}

func toUsage(u *execution.Usage) *executionv1.Usage {
	if u == nil {
		return nil
	}
	return &executionv1.Usage{
		CpuMillis: u.CPUMillis, PeakMemoryBytes: u.PeakMemoryBytes, BytesIn: u.BytesIn, BytesOut: u.BytesOut,
		PullMillis: u.PullMillis, DownloadMillis: u.DownloadMillis, RunMillis: u.RunMillis, UploadMillis: u.UploadMillis,
	}
}
