package view

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/formicary/formicary/libs/errs"
	"github.com/formicary/formicary/libs/jobspec/plan"
	"github.com/formicary/formicary/services/supervisor/internal/definition"
	"github.com/formicary/formicary/services/supervisor/internal/engine"
	"github.com/formicary/formicary/services/supervisor/internal/execution"
	"github.com/formicary/formicary/services/supervisor/internal/pg/db"
)

// Tasks returns a page of tasks with their attempts and what those wait for that do not run.
func (s *Store) Tasks(ctx context.Context, p execution.Page) ([]execution.TaskView, error) {
	first, last, err := s.rangeOf(ctx, &p)
	if err != nil || first > last {
		return nil, err
	}
	if p.States == nil {
		p.States = []string{}
	}
	id := p.View.ID
	rows, err := db.New().ListTasks(ctx, s.reads, db.ListTasksParams{
		ExecutionID: id, After: int32(max(p.After, first-1)), Last: int32(last), States: p.States, PageSize: int32(p.Limit),
	})
	if err != nil {
		return nil, fmt.Errorf("list tasks of execution %s: %w", id, err)
	}
	l := &listing{id: id, tasks: make([]execution.TaskView, len(rows)), at: make(map[int32]*execution.TaskView, len(rows))}
	for i, r := range rows {
		if l.tasks[i], err = taskView(r); err != nil {
			return nil, err
		}
		l.tasks[i].Group = p.Group
		l.add(&l.tasks[i], r.Idx)
	}
	for _, more := range []func(context.Context, *listing) error{s.listAttempts, s.listBlocked, s.listApprovals, s.listChildren, s.listAwaited} {
		if err := more(ctx, l); err != nil {
			return nil, err
		}
	}
	return l.tasks, nil
}

// rangeOf returns the indexes that a page may hold.
func (s *Store) rangeOf(ctx context.Context, p *execution.Page) (first, last int, err error) {
	if p.Group == "" {
		return 0, p.View.Planned - 1, nil
	}
	raw, err := db.New().FindGroup(ctx, s.reads, db.FindGroupParams{ExecutionID: p.View.ID, Name: p.Group})
	if errors.Is(err, pgx.ErrNoRows) {
		return 0, 0, errs.NotFound("TASK_NOT_FOUND", "no task %s", p.Group)
	}
	if err != nil {
		return 0, 0, fmt.Errorf("find task %s of execution %s: %w", p.Group, p.View.ID, err)
	}
	if len(raw) == 0 {
		return 0, -1, nil // it has none, or not yet
	}
	var items engine.Items
	if err := json.Unmarshal(raw, &items); err != nil {
		return 0, 0, fmt.Errorf("read items of task %s of execution %s: %w", p.Group, p.View.ID, err)
	}
	return items.First, items.First + items.Total - 1, nil
}

// listing is a page of tasks, and which of them more is to be read of.
type listing struct {
	id                                           uuid.UUID
	tasks                                        []execution.TaskView
	at                                           map[int32]*execution.TaskView
	tried, blocked, approvals, parents, awaiting []int32
}

func (l *listing) add(t *execution.TaskView, idx int32) {
	l.at[idx] = t
	if t.StartedAt != nil {
		l.tried = append(l.tried, idx)
	}
	switch {
	case t.State == engine.TaskBlocked && t.Group == "":
		l.blocked = append(l.blocked, idx)
	case t.State != engine.TaskWaiting:
	case t.WaitGate == engine.GateApproval:
		l.approvals = append(l.approvals, idx)
	case t.WaitGate == engine.GateChild && t.Method == plan.MethodAwaitForkedJob:
		l.awaiting = append(l.awaiting, idx)
	case t.WaitGate == engine.GateChild:
		l.parents = append(l.parents, idx)
	}
}

func taskView(r db.ListTasksRow) (execution.TaskView, error) {
	t := execution.TaskView{
		Task: engine.Task{
			Idx: int(r.Idx), State: engine.TaskState(r.State), ExitCode: int(r.ExitCode), FailureClass: r.FailureClass, Message: r.Message,
			Result: r.Result, WaitGate: r.WaitGate, WaitReason: r.WaitReason, WakeAt: r.WakeAt, StartedAt: r.StartedAt, EndedAt: r.EndedAt,
			Item: int(r.Item),
		},
		Name: r.Name, Method: r.Method, Class: r.Class, AllowFailure: r.AllowFailure, ClassGate: r.ClassGate, ClassReason: r.ClassReason,
	}
	err := errors.Join(decode(r.Outputs, &t.Outputs), readItem(r.ItemValue, &t.ItemValue), decode(r.Items, &t.Items), decode(r.Extra, &t.Extra))
	if err != nil {
		return t, fmt.Errorf("read task %s: %w", r.Name, err)
	}
	t.AllowFailure = t.AllowFailure || t.MayFail
	if id, err := uuid.Parse(t.Extra.ChildID); err == nil {
		t.ChildID = id
	}
	return t, nil
}

func readItem(raw []byte, v *any) (err error) {
	*v, err = definition.DecodeValue(raw)
	return err
}

// decode reads a column that may be NULL.
func decode(raw []byte, v any) error {
	if len(raw) == 0 {
		return nil
	}
	return json.Unmarshal(raw, v)
}

func (s *Store) listAttempts(ctx context.Context, l *listing) error {
	if len(l.tried) == 0 {
		return nil
	}
	attempts, err := db.New().ListAttempts(ctx, s.reads, db.ListAttemptsParams{ExecutionID: l.id, Idx: l.tried})
	if err != nil {
		return fmt.Errorf("list attempts of execution %s: %w", l.id, err)
	}
	for _, a := range attempts {
		var usage *execution.Usage
		if err := decode(a.Usage, &usage); err != nil {
			return fmt.Errorf("read usage of attempt %s: %w", a.Uid, err)
		}
		var cached *execution.CacheUse
		if err := decode(a.Cache, &cached); err != nil {
			return fmt.Errorf("read cache of attempt %s: %w", a.Uid, err)
		}
		t := l.at[a.TaskIdx]
		t.Attempts = append(t.Attempts, execution.AttemptView{
			UID: a.Uid, Number: int(a.Number), State: engine.AttemptState(a.State), Ant: a.AntID, ExitCode: int(a.ExitCode),
			FailureClass: a.FailureClass, Message: a.Message, DispatchedAt: a.DispatchedAt, StartedAt: a.StartedAt, EndedAt: a.EndedAt,
			LogBytes: a.LogBytes, Usage: usage, Cache: cached,
		})
	}
	return nil
}

func (s *Store) listBlocked(ctx context.Context, l *listing) error {
	if len(l.blocked) == 0 {
		return nil
	}
	names, err := db.New().BlockedBy(ctx, s.reads, db.BlockedByParams{ExecutionID: l.id, Idx: l.blocked})
	if err != nil {
		return fmt.Errorf("list what tasks of execution %s wait for: %w", l.id, err)
	}
	for _, n := range names {
		t := l.at[n.ToIdx]
		t.WaitsFor = append(t.WaitsFor, n.Name)
	}
	return nil
}

func (s *Store) listApprovals(ctx context.Context, l *listing) error {
	if len(l.approvals) == 0 {
		return nil
	}
	pending, err := s.rows.PendingOf(ctx, l.id, l.approvals)
	if err != nil {
		return err
	}
	for _, a := range pending {
		l.at[int32(a.Idx)].Approval = a.Reason()
	}
	return nil
}

func (s *Store) listChildren(ctx context.Context, l *listing) error {
	if len(l.parents) == 0 {
		return nil
	}
	rows, err := db.New().WaitingChildren(ctx, s.reads, db.WaitingChildrenParams{ExecutionID: l.id, Idx: l.parents})
	if err != nil {
		return fmt.Errorf("list children of execution %s: %w", l.id, err)
	}
	for _, r := range rows {
		l.addChild(r.TaskIdx, execution.ChildView{Kind: r.Kind, JobType: r.JobType, State: r.State, Request: r.RequestID.Bytes, RunState: r.RunState})
	}
	return nil
}

func (s *Store) listAwaited(ctx context.Context, l *listing) error {
	if len(l.awaiting) == 0 {
		return nil
	}
	rows, err := db.New().AwaitedChildren(ctx, s.reads, db.AwaitedChildrenParams{ExecutionID: l.id, Idx: l.awaiting})
	if err != nil {
		return fmt.Errorf("list awaited children of execution %s: %w", l.id, err)
	}
	for _, r := range rows {
		l.addChild(r.TaskIdx, execution.ChildView{Kind: r.Kind, JobType: r.JobType, State: r.State, Request: r.RequestID.Bytes, RunState: r.RunState})
	}
	return nil
}

func (l *listing) addChild(idx int32, c execution.ChildView) {
	t := l.at[idx]
	t.Children = append(t.Children, c)
}
