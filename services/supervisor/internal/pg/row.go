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
)

const runColumns = `id, request_id, run, org_id, job_type, definition_id, priority, age_at,
	state, version, policy, tasks_total, tasks_open, normal_open, running, failing, stopping, cancel_requested,
	pause_requested, error_code, error_message, started_at, ended_at, deadline_at, restart_at, restart_soft, resume_at, active, approvals, retries`

func scanRun(rows pgx.Rows, bad *faults) (execution.Run, engine.Job, error) {
	var r execution.Run
	var j engine.Job
	var policy []byte
	err := rows.Scan(&r.ID, &r.Request, &r.Run, &r.Org, &r.JobType, &r.Definition, &r.Priority, &r.AgeAt,
		&j.State, &j.Version, &policy, &j.TasksTotal, &j.TasksOpen, &j.NormalOpen, &j.Running, &j.Failing, &j.Stopping, &j.CancelRequested,
		&j.PauseRequested, &j.ErrorCode, &j.ErrorMessage, &j.StartedAt, &j.EndedAt, &j.DeadlineAt, &j.RestartAt, &j.RestartSoft, &j.ResumeAt,
		&j.Active, &j.Approvals, &j.Retries)
	if err != nil {
		return r, j, fmt.Errorf("read execution: %w", err)
	}
	j.Run = r.Run
	decodeInto(bad, policy, &j.Policy, "policy of execution", r.ID, r.Run)
	return r, j, nil
}

// taskColumns are those of the engine; the spec comes last so that a query that needs no more than the name can leave
// it NULL. That of an item says nothing: its group's holds for it.
const taskColumns = `t.execution_id, t.idx, t.name, t.always_run, t.allow_failure, t.state, t.trails, t.waiting, t.control, t.taken, t.broken, t.handler, t.reuse,
	t.attempts, t.user_tries, t.infra_tries, t.ready_at, t.wake_at, t.exit_code, t.failure_class, t.error_code, t.message, t.outputs, t.result,
	t.wait_gate, t.wait_reason, t.started_at, t.ended_at, t.group_idx, t.item, t.item_value, t.items, t.extra`

func scanTask(rows pgx.Rows, bad *faults) (uuid.UUID, *engine.Task, error) {
	var id uuid.UUID
	var outputs, value, items, extra, raw []byte
	var group *int
	t, spec := &engine.Task{}, plan.Task{}
	err := rows.Scan(&id, &t.Idx, &spec.Name, &spec.AlwaysRun, &spec.AllowFailure, &t.State, &t.Trailing, &t.Waiting, &t.Control, &t.Taken, &t.Broken, &t.Handler, &t.Reuse,
		&t.Attempts, &t.UserTries, &t.InfraTries, &t.ReadyAt, &t.WakeAt, &t.ExitCode, &t.FailureClass, &t.ErrorCode, &t.Message, &outputs, &t.Result,
		&t.WaitGate, &t.WaitReason, &t.StartedAt, &t.EndedAt, &group, &t.Item, &value, &items, &extra, &raw)
	if err != nil {
		return id, nil, fmt.Errorf("read task: %w", err)
	}
	decodeInto(bad, outputs, &t.Outputs, "outputs of task", id, t.Idx)
	decodeInto(bad, items, &t.Items, "items of task", id, t.Idx)
	decodeInto(bad, extra, &t.Extra, "extra of task", id, t.Idx)
	t.Spec = &spec
	if group != nil {
		t.Group, t.ItemName = *group, spec.Name
		if t.ItemValue, err = definition.DecodeValue(value); err != nil {
			bad.add(value, err, "item of task", id, t.Idx)
		}
		return id, t, nil
	}
	decodeInto(bad, raw, t.Spec, "spec of task", id, t.Idx)
	return id, t, nil
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

// jobRows are executions to be written, by column.
type jobRows struct {
	ids                                        []uuid.UUID
	states, codes, messages                    []string
	policies                                   []*string // nil: as it was
	versions                                   []int64
	total, open, normal, running               []int32
	active, approvals                          []int32
	failing, stopping, cancelled, paused, soft []bool
	started, ended, deadline, restart, resume  []*time.Time
}

func (r *jobRows) add(id uuid.UUID, j *engine.Job, withPolicy bool) error {
	var policy *string
	if withPolicy {
		var err error
		if policy, err = encode(&j.Policy); err != nil {
			return fmt.Errorf("encode policy: %w", err)
		}
	}
	r.ids, r.states, r.policies = append(r.ids, id), append(r.states, string(j.State)), append(r.policies, policy)
	r.active, r.approvals = append(r.active, int32(j.Active)), append(r.approvals, int32(j.Approvals))
	r.codes, r.messages, r.versions = append(r.codes, storable.Text(j.ErrorCode)), append(r.messages, storable.Text(j.ErrorMessage)), append(r.versions, j.Version)
	r.total, r.open = append(r.total, int32(j.TasksTotal)), append(r.open, int32(j.TasksOpen))
	r.normal, r.running = append(r.normal, int32(j.NormalOpen)), append(r.running, int32(j.Running))
	r.failing, r.stopping = append(r.failing, j.Failing), append(r.stopping, j.Stopping)
	r.cancelled, r.paused, r.soft = append(r.cancelled, j.CancelRequested), append(r.paused, j.PauseRequested), append(r.soft, j.RestartSoft)
	r.started, r.ended, r.deadline = append(r.started, j.StartedAt), append(r.ended, j.EndedAt), append(r.deadline, j.DeadlineAt)
	r.restart, r.resume = append(r.restart, j.RestartAt), append(r.resume, j.ResumeAt)
	return nil
}

func (r *jobRows) args() []any {
	return []any{
		r.ids, r.states, r.versions, r.policies, r.total, r.open, r.normal, r.running, r.failing, r.stopping, r.cancelled, r.paused,
		r.codes, r.messages, r.started, r.ended, r.deadline, r.restart, r.soft, r.resume, r.active, r.approvals,
	}
}

const unnestJobs = `SELECT unnest($1::uuid[]) AS id, unnest($2::text[]) AS state, unnest($3::bigint[]) AS version, unnest($4::text[])::json AS policy,
	unnest($5::int[]) AS tasks_total, unnest($6::int[]) AS tasks_open, unnest($7::int[]) AS normal_open, unnest($8::int[]) AS running,
	unnest($9::bool[]) AS failing, unnest($10::bool[]) AS stopping, unnest($11::bool[]) AS cancel_requested, unnest($12::bool[]) AS pause_requested,
	unnest($13::text[]) AS error_code, unnest($14::text[]) AS error_message, unnest($15::timestamptz[]) AS started_at,
	unnest($16::timestamptz[]) AS ended_at, unnest($17::timestamptz[]) AS deadline_at, unnest($18::timestamptz[]) AS restart_at,
	unnest($19::bool[]) AS restart_soft, unnest($20::timestamptz[]) AS resume_at,
	unnest($21::int[]) AS active, unnest($22::int[]) AS approvals`

const updateJobs = `UPDATE execution e SET state = u.state, version = u.version, policy = coalesce(u.policy, e.policy),
	tasks_total = u.tasks_total, tasks_open = u.tasks_open, active = u.active, approvals = u.approvals,
	normal_open = u.normal_open, running = u.running, failing = u.failing, stopping = u.stopping, cancel_requested = u.cancel_requested,
	pause_requested = u.pause_requested, error_code = u.error_code, error_message = u.error_message, started_at = u.started_at,
	ended_at = u.ended_at, deadline_at = u.deadline_at, restart_at = u.restart_at, restart_soft = u.restart_soft, resume_at = u.resume_at
	FROM (` + unnestJobs + `) u WHERE e.id = u.id`

// taskRows are the changing columns of tasks to be written.
type taskRows struct {
	ids                                                []uuid.UUID
	states, classes, messages, results, gates, reasons []string
	outputs, items, extras                             []*string
	errorCodes                                         []string
	reuse, trails                                      []bool
	idx, waiting, taken, attempts, user, infra, codes  []int32
	broken, handler                                    []bool
	ready, wake, overdue, started, ended               []*time.Time
}

func (r *taskRows) add(id uuid.UUID, t *engine.Task) error {
	state := t.State
	if state == engine.TaskRunning {
		state = engine.TaskDispatched // the attempt says that it runs
	}
	var outputs, items, extra *string
	var err1, err2, err3 error
	if len(t.Outputs) > 0 {
		outputs, err1 = encode(t.Outputs)
	}
	if t.Items != nil {
		items, err2 = encode(t.Items)
	}
	if !t.IsZero() {
		extra, err3 = encode(&t.Extra)
	}
	if err := errors.Join(err1, err2, err3); err != nil {
		return fmt.Errorf("encode task %s: %w", t.Name(), err)
	}
	r.items, r.extras, r.errorCodes, r.reuse = append(r.items, items), append(r.extras, extra), append(r.errorCodes, storable.Text(t.ErrorCode)), append(r.reuse, t.Reuse)
	r.trails = append(r.trails, t.Trailing)
	r.ids, r.idx, r.states = append(r.ids, id), append(r.idx, int32(t.Idx)), append(r.states, string(state))
	r.waiting, r.taken = append(r.waiting, int32(t.Waiting)), append(r.taken, int32(t.Taken))
	r.broken, r.handler = append(r.broken, t.Broken), append(r.handler, t.Handler)
	r.attempts, r.user, r.infra = append(r.attempts, int32(t.Attempts)), append(r.user, int32(t.UserTries)), append(r.infra, int32(t.InfraTries))
	r.ready, r.wake, r.overdue = append(r.ready, t.ReadyAt), append(r.wake, t.WakeAt), append(r.overdue, execution.OverdueAt(t))
	r.codes, r.classes, r.messages = append(r.codes, int32(t.ExitCode)), append(r.classes, t.FailureClass), append(r.messages, storable.Text(t.Message))
	r.outputs, r.results = append(r.outputs, outputs), append(r.results, storable.Text(t.Result))
	r.gates, r.reasons = append(r.gates, t.WaitGate), append(r.reasons, storable.Text(t.WaitReason))
	r.started, r.ended = append(r.started, t.StartedAt), append(r.ended, t.EndedAt)
	return nil
}

func (r *taskRows) args() []any {
	return []any{
		r.ids, r.idx, r.states, r.waiting, r.taken, r.broken, r.handler, r.attempts, r.user, r.infra, r.ready, r.wake, r.overdue,
		r.codes, r.classes, r.messages, r.outputs, r.results, r.gates, r.reasons, r.started, r.ended,
		r.errorCodes, r.reuse, r.items, r.extras, r.trails,
	}
}

const unnestTasks = `SELECT unnest($1::uuid[]) AS execution_id, unnest($2::int[]) AS idx, unnest($3::text[]) AS state, unnest($4::int[]) AS waiting,
	unnest($5::int[]) AS taken, unnest($6::bool[]) AS broken, unnest($7::bool[]) AS handler, unnest($8::int[]) AS attempts,
	unnest($9::int[]) AS user_tries, unnest($10::int[]) AS infra_tries, unnest($11::timestamptz[]) AS ready_at,
	unnest($12::timestamptz[]) AS wake_at, unnest($13::timestamptz[]) AS overdue_at, unnest($14::int[]) AS exit_code,
	unnest($15::text[]) AS failure_class, unnest($16::text[]) AS message, unnest($17::text[])::json AS outputs, unnest($18::text[]) AS result,
	unnest($19::text[]) AS wait_gate, unnest($20::text[]) AS wait_reason, unnest($21::timestamptz[]) AS started_at,
	unnest($22::timestamptz[]) AS ended_at, unnest($23::text[]) AS error_code, unnest($24::bool[]) AS reuse, unnest($25::text[])::json AS items,
	unnest($26::text[])::json AS extra, unnest($27::bool[]) AS trails`

const updateTasks = `UPDATE task t SET state = u.state, waiting = u.waiting, taken = u.taken, broken = u.broken, handler = u.handler,
	attempts = u.attempts, user_tries = u.user_tries, infra_tries = u.infra_tries, ready_at = u.ready_at, wake_at = u.wake_at,
	overdue_at = u.overdue_at, exit_code = u.exit_code, failure_class = u.failure_class, message = u.message, outputs = u.outputs,
	result = u.result, wait_gate = u.wait_gate, wait_reason = u.wait_reason, started_at = u.started_at, ended_at = u.ended_at,
	error_code = u.error_code, reuse = u.reuse, items = u.items, extra = u.extra, trails = u.trails
	FROM (` + unnestTasks + `) u WHERE t.execution_id = u.execution_id AND t.idx = u.idx`

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
	WHERE t.execution_id = u.execution_id AND t.idx = u.idx AND (t.class, t.method, t.slots) IS DISTINCT FROM (u.class, u.method, u.slots)`

// newTaskRows are tasks to be inserted: the constant columns beside the changing ones.
type newTaskRows struct {
	taskRows
	names, methods, class, specs []string
	slots, control, priority     []int32
	always, allow                []bool
	timeout, total               []int64
	groups                       []*int32
	item                         []int32
	values                       []*string
}

func (r *newTaskRows) add(run *execution.Run, t *engine.Task) error {
	if err := r.taskRows.add(run.ID, t); err != nil {
		return err
	}
	spec, err := encodeSpec(t)
	if err != nil {
		return fmt.Errorf("encode spec of task %s: %w", t.Name(), err)
	}
	var group *int32
	var value *string
	if t.IsItem() {
		n := int32(t.Group)
		group = &n
		if value, err = encode(t.ItemValue); err != nil {
			return fmt.Errorf("encode item of task %s: %w", t.Name(), err)
		}
	}
	s, class := t.Spec, t.Class()
	r.names, r.methods, r.class = append(r.names, storable.Text(t.Name())), append(r.methods, t.Method()), append(r.class, execution.Class(run.Org, class))
	r.specs, r.slots, r.control = append(r.specs, spec), append(r.slots, int32(max(class.Slots, 1))), append(r.control, int32(t.Control))
	r.priority, r.always, r.allow = append(r.priority, int32(run.Priority)), append(r.always, s.AlwaysRun), append(r.allow, s.AllowFailure || t.MayFail)
	r.groups, r.item, r.values = append(r.groups, group), append(r.item, int32(t.Item)), append(r.values, value)
	timeout := int64(0)
	if s.Timeout > 0 {
		timeout = (s.Timeout + s.Grace).Milliseconds()
	}
	r.timeout, r.total = append(r.timeout, timeout), append(r.total, s.TotalTimeout.Milliseconds())
	return nil
}

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

func (r *newTaskRows) args() []any {
	return append(r.taskRows.args(), r.names, r.methods, r.slots, r.class, r.always, r.allow, r.control, r.specs,
		r.timeout, r.total, r.priority, r.groups, r.item, r.values)
}

const insertTasks = `INSERT INTO task (execution_id, idx, state, waiting, taken, broken, handler, attempts, user_tries, infra_tries,
	ready_at, wake_at, overdue_at, exit_code, failure_class, message, outputs, result, wait_gate, wait_reason, started_at, ended_at,
	error_code, reuse, items, extra, trails, name, method, slots, class, always_run, allow_failure, control, spec, timeout_ms, total_ms, priority,
	group_idx, item, item_value)
	` + unnestTasks + `, unnest($28::text[]), unnest($29::text[]), unnest($30::int[]), unnest($31::text[]), unnest($32::bool[]),
	unnest($33::bool[]), unnest($34::int[]), unnest($35::text[])::json, unnest($36::bigint[]),
	unnest($37::bigint[]), unnest($38::smallint[]), unnest($39::int[]), unnest($40::int[]), unnest($41::text[])::json`

// encode is the JSON of v as PostgreSQL takes it.
func encode(v any) (*string, error) {
	raw, err := json.Marshal(v)
	if err != nil {
		return nil, err
	}
	s := withoutNUL(string(raw))
	return &s, nil
}
