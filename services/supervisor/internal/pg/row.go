package pg

import (
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/formicary/formicary/libs/jobspec/plan"
	"github.com/formicary/formicary/libs/storable"
	"github.com/formicary/formicary/services/supervisor/internal/definition"
	"github.com/formicary/formicary/services/supervisor/internal/engine"
	"github.com/formicary/formicary/services/supervisor/internal/execution"
	"github.com/formicary/formicary/services/supervisor/internal/pg/table"
)

// runRow is an execution that is read or written.
type runRow struct {
	execution.Run
	engine.Job
	fresh     execution.NewRun // of a new one
	vars      string
	planned   int
	policy    *string // nil: as it was
	rawPolicy []byte
}

var runColumns = table.Columns[*runRow]{
	table.At("id", "uuid", func(r *runRow) *uuid.UUID { return &r.ID }),
	table.At("request_id", "uuid", func(r *runRow) *uuid.UUID { return &r.Request }).First(),
	table.Number("run", func(r *runRow) *int { return &r.Key.Run }).First(),
	table.At("org_id", "text", func(r *runRow) *string { return &r.Org }).First(),
	table.At("job_type", "text", func(r *runRow) *string { return &r.JobType }).First(),
	table.At("definition_id", "text", func(r *runRow) *string { return &r.Definition }).First(),
	table.Of("priority", "smallint", func(r *runRow) int32 { return int32(r.Priority) }, func(r *runRow) any { return &r.Priority }).First(),
	table.At("age_at", "timestamptz", func(r *runRow) *time.Time { return &r.AgeAt }).First(),
	table.Of("state", "text", func(r *runRow) string { return string(r.State) }, func(r *runRow) any { return &r.State }),
	table.At("version", "bigint", func(r *runRow) *int64 { return &r.Version }),
	table.Of("policy", "json", func(r *runRow) *string { return r.policy }, func(r *runRow) any { return &r.rawPolicy }).Kept(),
	table.Number("tasks_total", func(r *runRow) *int { return &r.TasksTotal }),
	table.Number("tasks_open", func(r *runRow) *int { return &r.TasksOpen }),
	table.Number("normal_open", func(r *runRow) *int { return &r.NormalOpen }),
	table.Number("running", func(r *runRow) *int { return &r.Running }),
	table.Flag("failing", func(r *runRow) *bool { return &r.Failing }),
	table.Flag("stopping", func(r *runRow) *bool { return &r.Stopping }),
	table.Flag("cancel_requested", func(r *runRow) *bool { return &r.CancelRequested }),
	table.Flag("pause_requested", func(r *runRow) *bool { return &r.PauseRequested }),
	table.Text("error_code", func(r *runRow) *string { return &r.ErrorCode }),
	table.Text("error_message", func(r *runRow) *string { return &r.ErrorMessage }),
	table.Moment("started_at", func(r *runRow) **time.Time { return &r.StartedAt }),
	table.Moment("ended_at", func(r *runRow) **time.Time { return &r.EndedAt }),
	table.Moment("deadline_at", func(r *runRow) **time.Time { return &r.DeadlineAt }),
	table.Moment("restart_at", func(r *runRow) **time.Time { return &r.RestartAt }),
	table.Flag("restart_soft", func(r *runRow) *bool { return &r.RestartSoft }),
	table.Moment("resume_at", func(r *runRow) **time.Time { return &r.ResumeAt }),
	table.Number("active", func(r *runRow) *int { return &r.Active }),
	table.Number("approvals", func(r *runRow) *int { return &r.Approvals }),
	table.Of("retries", "int", func(r *runRow) int32 { return int32(r.fresh.Retries) }, func(r *runRow) any { return &r.Retries }).First(),
	table.Of("vars", "json", func(r *runRow) string { return r.vars }, nil).First(),
	table.Of("tasks_planned", "int", func(r *runRow) int32 { return int32(r.planned) }, nil).First(),
	table.Of("submitted_by", "text", func(r *runRow) string { return storable.Text(r.fresh.SubmittedBy) }, nil).First(),
}

var (
	changedRuns = runColumns.Writes(false)
	newRuns     = runColumns.Writes(true)
	readRun     = runColumns.Read("")
	updateRuns  = runColumns.Update("execution", 1)
	insertRuns  = "INSERT INTO execution (" + newRuns.Names("") + ", created_at) " + newRuns.Unnest() + ", now()"
)

func scanRun(rows pgx.Rows, bad *faults) (execution.Run, engine.Job, error) {
	r := &runRow{}
	if err := rows.Scan(runColumns.Targets(r)...); err != nil {
		return r.Run, r.Job, fmt.Errorf("read execution: %w", err)
	}
	r.Job.Run = r.Key.Run
	decodeInto(bad, r.rawPolicy, &r.Policy, "policy of execution", r.ID, r.Key.Run)
	return r.Run, r.Job, nil
}

// changedRun is an execution to be written.
func changedRun(id uuid.UUID, j *engine.Job, withPolicy bool) (*runRow, error) {
	r := &runRow{Run: execution.Run{ID: id}, Job: *j}
	if withPolicy {
		var err error
		if r.policy, err = encode(&j.Policy); err != nil {
			return nil, fmt.Errorf("encode policy: %w", err)
		}
	}
	return r, nil
}

// taskRow is a task that is read or written.
type taskRow struct {
	execution uuid.UUID
	*engine.Task
	run                   *execution.Run // of a new one
	spec                  *plan.Task     // as it is read: its name and what a step looks at
	group                 *int32
	specText              string
	outputs, items, extra *string
	value                 *string
	raw                   struct{ outputs, items, extra, value []byte }
}

// taskColumns are those of the engine. The spec is read apart, so that a query that needs no more than the name can leave it
// NULL; that of an item says nothing: its group's holds for it.
var taskColumns = table.Columns[*taskRow]{
	table.At("execution_id", "uuid", func(r *taskRow) *uuid.UUID { return &r.execution }),
	table.Number("idx", func(r *taskRow) *int { return &r.Idx }),
	table.Of("name", "text", func(r *taskRow) string { return storable.Text(r.Name()) }, func(r *taskRow) any { return &r.spec.Name }).First(),
	table.Of("method", "text", func(r *taskRow) string { return r.Method() }, nil).First(),
	table.Of("slots", "int", func(r *taskRow) int32 { return int32(max(r.Class().Slots, 1)) }, nil).First(),
	table.Of("class", "text", func(r *taskRow) string { return execution.Class(r.run.Org, r.Class()) }, nil).First(),
	table.Of("org_id", "text", func(r *taskRow) string { return r.run.Org }, nil).First(),
	table.Of("priority", "smallint", func(r *taskRow) int32 { return int32(r.run.Priority) }, nil).First(),
	table.Of("always_run", "bool", func(r *taskRow) bool { return r.Spec.AlwaysRun }, func(r *taskRow) any { return &r.spec.AlwaysRun }).First(),
	table.Of("allow_failure", "bool", func(r *taskRow) bool { return r.Spec.AllowFailure }, func(r *taskRow) any { return &r.spec.AllowFailure }).First(),
	table.Of("state", "text", (*taskRow).storedState, func(r *taskRow) any { return &r.State }),
	table.Flag("trails", func(r *taskRow) *bool { return &r.Trailing }),
	table.Number("waiting", func(r *taskRow) *int { return &r.Waiting }),
	table.Number("control", func(r *taskRow) *int { return &r.Control }).First(),
	table.Number("taken", func(r *taskRow) *int { return &r.Taken }),
	table.Flag("broken", func(r *taskRow) *bool { return &r.Broken }),
	table.Flag("handler", func(r *taskRow) *bool { return &r.Handler }),
	table.Flag("reuse", func(r *taskRow) *bool { return &r.Reuse }),
	table.Number("attempts", func(r *taskRow) *int { return &r.Attempts }),
	table.Number("user_tries", func(r *taskRow) *int { return &r.UserTries }),
	table.Number("infra_tries", func(r *taskRow) *int { return &r.InfraTries }),
	table.Moment("ready_at", func(r *taskRow) **time.Time { return &r.ReadyAt }),
	table.Moment("wake_at", func(r *taskRow) **time.Time { return &r.WakeAt }),
	table.Of("overdue_at", "timestamptz", func(r *taskRow) *time.Time { return execution.OverdueAt(r.Task) }, nil),
	table.Number("exit_code", func(r *taskRow) *int { return &r.ExitCode }),
	table.At("failure_class", "text", func(r *taskRow) *string { return &r.FailureClass }),
	table.Text("error_code", func(r *taskRow) *string { return &r.ErrorCode }),
	table.Text("message", func(r *taskRow) *string { return &r.Message }),
	table.Of("outputs", "json", func(r *taskRow) *string { return r.outputs }, func(r *taskRow) any { return &r.raw.outputs }),
	table.Text("result", func(r *taskRow) *string { return &r.Result }),
	table.At("wait_gate", "text", func(r *taskRow) *string { return &r.WaitGate }),
	table.Text("wait_reason", func(r *taskRow) *string { return &r.WaitReason }),
	table.Moment("started_at", func(r *taskRow) **time.Time { return &r.StartedAt }),
	table.Moment("ended_at", func(r *taskRow) **time.Time { return &r.EndedAt }),
	table.At("group_idx", "int", func(r *taskRow) **int32 { return &r.group }).First(),
	table.Number("item", func(r *taskRow) *int { return &r.Item }).First(),
	table.Of("item_value", "json", func(r *taskRow) *string { return r.value }, func(r *taskRow) any { return &r.raw.value }).First(),
	table.Of("items", "json", func(r *taskRow) *string { return r.items }, func(r *taskRow) any { return &r.raw.items }),
	table.Of("extra", "json", func(r *taskRow) *string { return r.extra }, func(r *taskRow) any { return &r.raw.extra }),
	table.Of("spec", "json", func(r *taskRow) string { return r.specText }, nil).First(),
	table.Of("timeout_ms", "bigint", (*taskRow).timeout, nil).First(),
	table.Of("total_ms", "bigint", func(r *taskRow) int64 { return r.Spec.TotalTimeout.Milliseconds() }, nil).First(),
}

var (
	changedTasks = taskColumns.Writes(false)
	newTasks     = taskColumns.Writes(true)
	readTask     = taskColumns.Read("t.")
	updateTasks  = taskColumns.Update("task", 2)
	insertTasks  = "INSERT INTO task (" + newTasks.Names("") + ") " + newTasks.Unnest()
)

// storedState is DISPATCHED for RUNNING: the attempt says that it runs.
func (r *taskRow) storedState() string {
	if r.State == engine.TaskRunning {
		return string(engine.TaskDispatched)
	}
	return string(r.State)
}

func (r *taskRow) timeout() int64 {
	if r.Spec.Timeout <= 0 {
		return 0
	}
	return (r.Spec.Timeout + r.Spec.Grace).Milliseconds()
}

func scanTask(rows pgx.Rows, bad *faults) (uuid.UUID, *engine.Task, error) {
	t := &engine.Task{}
	r := &taskRow{Task: t, spec: &plan.Task{}}
	var spec []byte
	if err := rows.Scan(taskColumns.Targets(r, &spec)...); err != nil {
		return r.execution, nil, fmt.Errorf("read task: %w", err)
	}
	decodeInto(bad, r.raw.outputs, &t.Outputs, "outputs of task", r.execution, t.Idx)
	decodeInto(bad, r.raw.items, &t.Items, "items of task", r.execution, t.Idx)
	decodeInto(bad, r.raw.extra, &t.Extra, "extra of task", r.execution, t.Idx)
	t.Spec = r.spec
	if r.group != nil {
		var err error
		t.Group, t.ItemName = int(*r.group), r.spec.Name
		if t.ItemValue, err = definition.DecodeValue(r.raw.value); err != nil {
			bad.add(r.raw.value, err, "item of task", r.execution, t.Idx)
		}
		return r.execution, t, nil
	}
	decodeInto(bad, spec, t.Spec, "spec of task", r.execution, t.Idx)
	return r.execution, t, nil
}

// changedTask is a task to be written.
func changedTask(id uuid.UUID, t *engine.Task) (*taskRow, error) {
	r := &taskRow{execution: id, Task: t}
	var err1, err2, err3 error
	if len(t.Outputs) > 0 {
		r.outputs, err1 = encode(t.Outputs)
	}
	if t.Items != nil {
		r.items, err2 = encode(t.Items)
	}
	if !t.IsZero() {
		r.extra, err3 = encode(&t.Extra)
	}
	if err := errors.Join(err1, err2, err3); err != nil {
		return nil, fmt.Errorf("encode task %s: %w", t.Name(), err)
	}
	return r, nil
}

// newTask is a task to be inserted.
func newTask(run *execution.Run, t *engine.Task) (*taskRow, error) {
	r, err := changedTask(run.ID, t)
	if err != nil {
		return nil, err
	}
	r.run = run
	if r.specText, err = encodeSpec(t); err != nil {
		return nil, fmt.Errorf("encode spec of task %s: %w", t.Name(), err)
	}
	if t.IsItem() {
		n := int32(t.Group)
		r.group = &n
		if r.value, err = encode(t.ItemValue); err != nil {
			return nil, fmt.Errorf("encode item of task %s: %w", t.Name(), err)
		}
	}
	return r, nil
}

const attemptColumns = `uid, execution_id, task_idx, number, state, ant_id, session, slots, lease_until, missed, dispatched_at,
	timeout_at, stop_requested_at, result_digest`

func scanAttempt(rows pgx.Rows) (*execution.Attempt, error) {
	a := &execution.Attempt{}
	err := rows.Scan(&a.UID, &a.Execution, &a.Idx, &a.Number, &a.State, &a.Ant, &a.Session, &a.Slots, &a.LeaseUntil, &a.Missed, &a.DispatchedAt,
		&a.TimeoutAt, &a.StopRequested, &a.Digest)
	if err != nil {
		return nil, fmt.Errorf("read attempt: %w", err)
	}
	return a, nil
}

// placeRows are tasks whose placement was decided just before they start.
type placeRows struct {
	ids              []uuid.UUID
	idx, slots       []int32
	classes, methods []string
}

func (r *placeRows) add(run *execution.Run, t *engine.Task) {
	c := t.Class()
	r.ids, r.idx, r.slots = append(r.ids, run.ID), append(r.idx, int32(t.Idx)), append(r.slots, int32(max(c.Slots, 1)))
	r.classes, r.methods = append(r.classes, execution.Class(run.Org, c)), append(r.methods, t.Method())
}

const updatePlaces = `UPDATE task t SET class = u.class, method = u.method, slots = u.slots
	FROM (SELECT unnest($1::uuid[]) AS execution_id, unnest($2::int[]) AS idx, unnest($3::text[]) AS class, unnest($4::text[]) AS method,
		unnest($5::int[]) AS slots) u
	WHERE t.execution_id = u.execution_id AND t.idx = u.idx AND (coalesce(t.class_text, t.class), t.method, t.slots) IS DISTINCT FROM (u.class, u.method, u.slots)`

// encodeSpec is empty for an item. Items that are written down are left out: the definition says them again when they
// are wanted, and every claim of an item would read them all.
func encodeSpec(t *engine.Task) (string, error) {
	if t.IsItem() {
		return "{}", nil
	}
	spec := t.Spec
	if spec.FanOut != nil && len(spec.FanOut.Items) > 0 {
		own, fan := *spec, *spec.FanOut
		fan.Items, own.FanOut = nil, &fan
		spec = &own
	}
	raw, err := json.Marshal(spec)
	return withoutNUL(string(raw)), err
}

// encode is the JSON of v as PostgreSQL takes it.
func encode(v any) (*string, error) {
	raw, err := json.Marshal(v)
	if err != nil {
		return nil, err
	}
	s := withoutNUL(string(raw))
	return &s, nil
}
