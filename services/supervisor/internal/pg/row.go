package pg

import (
	"encoding/json"
	"fmt"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/formicary/formicary/libs/jobspec"
	"github.com/formicary/formicary/services/supervisor/internal/engine"
	"github.com/formicary/formicary/services/supervisor/internal/execution"
)

const runColumns = `id, request_id, run, org_id, job_type, definition_id, priority, age_at,
	state, version, policy, tasks_total, tasks_open, normal_open, running, failing, stopping, cancel_requested,
	pause_requested, error_code, error_message, started_at, ended_at, deadline_at, restart_at, restart_soft, resume_at`

func scanRun(rows pgx.Rows) (execution.Run, engine.Job, error) {
	var r execution.Run
	var j engine.Job
	var policy []byte
	err := rows.Scan(&r.ID, &r.Request, &r.Run, &r.Org, &r.JobType, &r.Definition, &r.Priority, &r.AgeAt,
		&j.State, &j.Version, &policy, &j.TasksTotal, &j.TasksOpen, &j.NormalOpen, &j.Running, &j.Failing, &j.Stopping, &j.CancelRequested,
		&j.PauseRequested, &j.ErrorCode, &j.ErrorMessage, &j.StartedAt, &j.EndedAt, &j.DeadlineAt, &j.RestartAt, &j.RestartSoft, &j.ResumeAt)
	if err != nil {
		return r, j, fmt.Errorf("read execution: %w", err)
	}
	j.Run = r.Run
	if err := json.Unmarshal(policy, &j.Policy); err != nil {
		return r, j, fmt.Errorf("read policy of execution %s: %w", r.ID, err)
	}
	return r, j, nil
}

// taskColumns are those of the engine; the spec comes last so that a query that needs no more than the name can leave
// it NULL.
const taskColumns = `t.execution_id, t.idx, t.name, t.state, t.trails, t.waiting, t.control, t.taken, t.broken, t.handler, t.reuse,
	t.attempts, t.user_tries, t.infra_tries, t.ready_at, t.wake_at, t.exit_code, t.failure_class, t.message, t.outputs, t.result,
	t.wait_gate, t.wait_reason, t.started_at, t.ended_at`

func scanTask(rows pgx.Rows) (uuid.UUID, *engine.Task, error) {
	var id uuid.UUID
	var name string
	var outputs, spec []byte
	t := &engine.Task{}
	err := rows.Scan(&id, &t.Idx, &name, &t.State, &t.Trailing, &t.Waiting, &t.Control, &t.Taken, &t.Broken, &t.Handler, &t.Reuse,
		&t.Attempts, &t.UserTries, &t.InfraTries, &t.ReadyAt, &t.WakeAt, &t.ExitCode, &t.FailureClass, &t.Message, &outputs, &t.Result,
		&t.WaitGate, &t.WaitReason, &t.StartedAt, &t.EndedAt, &spec)
	if err != nil {
		return id, nil, fmt.Errorf("read task: %w", err)
	}
	if len(outputs) > 0 {
		if err := json.Unmarshal(outputs, &t.Outputs); err != nil {
			return id, nil, fmt.Errorf("read outputs of task %s %d: %w", id, t.Idx, err)
		}
	}
	t.Spec = &jobspec.Task{Name: name}
	if len(spec) > 0 {
		if err := json.Unmarshal(spec, t.Spec); err != nil {
			return id, nil, fmt.Errorf("read spec of task %s %d: %w", id, t.Idx, err)
		}
	}
	return id, t, nil
}

const attemptColumns = `uid, execution_id, task_idx, number, state, ant_id, session, coalesce(claim_session, session), slots, lease_until, missed, dispatched_at,
	timeout_at, stop_requested_at, result_digest`

func scanAttempt(rows pgx.Rows) (*execution.Attempt, error) {
	a := &execution.Attempt{}
	err := rows.Scan(&a.UID, &a.Execution, &a.Idx, &a.Number, &a.State, &a.Ant, &a.Session, &a.ClaimSession, &a.Slots, &a.LeaseUntil, &a.Missed, &a.DispatchedAt,
		&a.TimeoutAt, &a.StopRequested, &a.Digest)
	if err != nil {
		return nil, fmt.Errorf("read attempt: %w", err)
	}
	return a, nil
}

// jobRows are executions to be written, by column.
type jobRows struct {
	ids                                        []uuid.UUID
	states, policies, codes, messages          []string
	versions                                   []int64
	total, open, normal, running               []int32
	failing, stopping, cancelled, paused, soft []bool
	started, ended, deadline, restart, resume  []*time.Time
}

func (r *jobRows) add(id uuid.UUID, j *engine.Job) error {
	policy, err := json.Marshal(j.Policy)
	if err != nil {
		return fmt.Errorf("encode policy: %w", err)
	}
	r.ids, r.states, r.policies = append(r.ids, id), append(r.states, string(j.State)), append(r.policies, string(policy))
	r.codes, r.messages, r.versions = append(r.codes, text(j.ErrorCode)), append(r.messages, text(j.ErrorMessage)), append(r.versions, j.Version)
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
		r.codes, r.messages, r.started, r.ended, r.deadline, r.restart, r.soft, r.resume,
	}
}

const unnestJobs = `SELECT unnest($1::uuid[]) AS id, unnest($2::text[]) AS state, unnest($3::bigint[]) AS version, unnest($4::text[])::json AS policy,
	unnest($5::int[]) AS tasks_total, unnest($6::int[]) AS tasks_open, unnest($7::int[]) AS normal_open, unnest($8::int[]) AS running,
	unnest($9::bool[]) AS failing, unnest($10::bool[]) AS stopping, unnest($11::bool[]) AS cancel_requested, unnest($12::bool[]) AS pause_requested,
	unnest($13::text[]) AS error_code, unnest($14::text[]) AS error_message, unnest($15::timestamptz[]) AS started_at,
	unnest($16::timestamptz[]) AS ended_at, unnest($17::timestamptz[]) AS deadline_at, unnest($18::timestamptz[]) AS restart_at,
	unnest($19::bool[]) AS restart_soft, unnest($20::timestamptz[]) AS resume_at`

const updateJobs = `UPDATE execution e SET state = u.state, version = u.version, policy = u.policy, tasks_open = u.tasks_open,
	normal_open = u.normal_open, running = u.running, failing = u.failing, stopping = u.stopping, cancel_requested = u.cancel_requested,
	pause_requested = u.pause_requested, error_code = u.error_code, error_message = u.error_message, started_at = u.started_at,
	ended_at = u.ended_at, deadline_at = u.deadline_at, restart_at = u.restart_at, restart_soft = u.restart_soft, resume_at = u.resume_at
	FROM (` + unnestJobs + `) u WHERE e.id = u.id`

// taskRows are the changing columns of tasks to be written.
type taskRows struct {
	ids                                                []uuid.UUID
	states, classes, messages, results, gates, reasons []string
	outputs                                            []*string
	idx, waiting, taken, attempts, user, infra, codes  []int32
	broken, handler                                    []bool
	ready, wake, overdue, started, ended               []*time.Time
}

func (r *taskRows) add(id uuid.UUID, t *engine.Task) error {
	state := t.State
	if state == engine.TaskRunning {
		state = engine.TaskDispatched // the attempt says that it runs
	}
	outputs, err := encodeOutputs(t.Outputs)
	if err != nil {
		return err
	}
	r.ids, r.idx, r.states = append(r.ids, id), append(r.idx, int32(t.Idx)), append(r.states, string(state))
	r.waiting, r.taken = append(r.waiting, int32(t.Waiting)), append(r.taken, int32(t.Taken))
	r.broken, r.handler = append(r.broken, t.Broken), append(r.handler, t.Handler)
	r.attempts, r.user, r.infra = append(r.attempts, int32(t.Attempts)), append(r.user, int32(t.UserTries)), append(r.infra, int32(t.InfraTries))
	r.ready, r.wake, r.overdue = append(r.ready, t.ReadyAt), append(r.wake, t.WakeAt), append(r.overdue, overdue(t))
	r.codes, r.classes, r.messages = append(r.codes, int32(t.ExitCode)), append(r.classes, t.FailureClass), append(r.messages, text(t.Message))
	r.outputs, r.results = append(r.outputs, outputs), append(r.results, text(t.Result))
	r.gates, r.reasons = append(r.gates, t.WaitGate), append(r.reasons, text(t.WaitReason))
	r.started, r.ended = append(r.started, t.StartedAt), append(r.ended, t.EndedAt)
	return nil
}

func (r *taskRows) args() []any {
	return []any{
		r.ids, r.idx, r.states, r.waiting, r.taken, r.broken, r.handler, r.attempts, r.user, r.infra, r.ready, r.wake, r.overdue,
		r.codes, r.classes, r.messages, r.outputs, r.results, r.gates, r.reasons, r.started, r.ended,
	}
}

const unnestTasks = `SELECT unnest($1::uuid[]) AS execution_id, unnest($2::int[]) AS idx, unnest($3::text[]) AS state, unnest($4::int[]) AS waiting,
	unnest($5::int[]) AS taken, unnest($6::bool[]) AS broken, unnest($7::bool[]) AS handler, unnest($8::int[]) AS attempts,
	unnest($9::int[]) AS user_tries, unnest($10::int[]) AS infra_tries, unnest($11::timestamptz[]) AS ready_at,
	unnest($12::timestamptz[]) AS wake_at, unnest($13::timestamptz[]) AS overdue_at, unnest($14::int[]) AS exit_code,
	unnest($15::text[]) AS failure_class, unnest($16::text[]) AS message, unnest($17::text[])::json AS outputs, unnest($18::text[]) AS result,
	unnest($19::text[]) AS wait_gate, unnest($20::text[]) AS wait_reason, unnest($21::timestamptz[]) AS started_at,
	unnest($22::timestamptz[]) AS ended_at`

const updateTasks = `UPDATE task t SET state = u.state, waiting = u.waiting, taken = u.taken, broken = u.broken, handler = u.handler,
	attempts = u.attempts, user_tries = u.user_tries, infra_tries = u.infra_tries, ready_at = u.ready_at, wake_at = u.wake_at,
	overdue_at = u.overdue_at, exit_code = u.exit_code, failure_class = u.failure_class, message = u.message, outputs = u.outputs,
	result = u.result, wait_gate = u.wait_gate, wait_reason = u.wait_reason, started_at = u.started_at, ended_at = u.ended_at
	FROM (` + unnestTasks + `) u WHERE t.execution_id = u.execution_id AND t.idx = u.idx`

// newTaskRows are tasks to be inserted: the constant columns beside the changing ones.
type newTaskRows struct {
	taskRows
	names, methods, class, specs   []string
	slots, control, priority       []int32
	always, allow, trailing, reuse []bool
	timeout, total                 []int64
}

func (r *newTaskRows) add(run *execution.NewRun, t *engine.Task) error {
	spec, err := json.Marshal(t.Spec)
	if err != nil {
		return fmt.Errorf("encode spec of task %s: %w", t.Spec.Name, err)
	}
	if err := r.taskRows.add(run.ID, t); err != nil {
		return err
	}
	s := t.Spec
	r.names, r.methods, r.class = append(r.names, s.Name), append(r.methods, s.Method), append(r.class, execution.Class(run.Org, s.Class()))
	r.specs, r.slots, r.control = append(r.specs, string(spec)), append(r.slots, int32(max(s.Slots, 1))), append(r.control, int32(t.Control))
	r.priority, r.always, r.allow = append(r.priority, int32(run.Priority)), append(r.always, s.AlwaysRun), append(r.allow, s.AllowFailure)
	r.trailing, r.reuse = append(r.trailing, t.Trailing), append(r.reuse, t.Reuse)
	timeout := int64(0)
	if s.Timeout > 0 {
		timeout = (s.Timeout + s.Grace).Milliseconds()
	}
	r.timeout, r.total = append(r.timeout, timeout), append(r.total, s.TotalTimeout.Milliseconds())
	return nil
}

func (r *newTaskRows) args() []any {
	return append(r.taskRows.args(), r.names, r.methods, r.slots, r.class, r.always, r.allow, r.trailing, r.control, r.reuse, r.specs,
		r.timeout, r.total, r.priority)
}

const insertTasks = `INSERT INTO task (execution_id, idx, state, waiting, taken, broken, handler, attempts, user_tries, infra_tries,
	ready_at, wake_at, overdue_at, exit_code, failure_class, message, outputs, result, wait_gate, wait_reason, started_at, ended_at,
	name, method, slots, class, always_run, allow_failure, trails, control, reuse, spec, timeout_ms, total_ms, priority)
	` + unnestTasks + `, unnest($23::text[]), unnest($24::text[]), unnest($25::int[]), unnest($26::text[]), unnest($27::bool[]),
	unnest($28::bool[]), unnest($29::bool[]), unnest($30::int[]), unnest($31::bool[]), unnest($32::text[])::json, unnest($33::bigint[]),
	unnest($34::bigint[]), unnest($35::smallint[])`

// overdue is when a task without a live attempt has waited longer than it may.
func overdue(t *engine.Task) *time.Time {
	if t.State != engine.TaskReady && t.State != engine.TaskWaiting || t.Spec == nil {
		return nil
	}
	var at *time.Time
	first := func(from *time.Time, d time.Duration) {
		if from == nil || d <= 0 {
			return
		}
		if end := from.Add(d); at == nil || end.Before(*at) {
			at = &end
		}
	}
	if t.State == engine.TaskReady {
		first(t.ReadyAt, t.Spec.PendingTimeout)
	}
	first(t.StartedAt, t.Spec.TotalTimeout)
	return at
}

func encodeOutputs(outputs map[string]string) (*string, error) {
	if len(outputs) == 0 {
		return nil, nil
	}
	raw, err := json.Marshal(outputs)
	if err != nil {
		return nil, fmt.Errorf("encode outputs: %w", err)
	}
	s := string(raw)
	return &s, nil
}
