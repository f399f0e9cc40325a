package pg

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/formicary/formicary/libs/outbox"
	"github.com/formicary/formicary/libs/pgdb"
	"github.com/formicary/formicary/libs/storable"
	"github.com/formicary/formicary/services/supervisor/internal/definition"
	"github.com/formicary/formicary/services/supervisor/internal/engine"
	"github.com/formicary/formicary/services/supervisor/internal/execution"
)

// Step applies events to the runs that they concern, in one transaction, and returns a verdict for each. Runs are
// loaded by neighbourhood; all of them advance side by side, so that a batch takes as many round trips as its slowest
// run and not as the sum of them.
func (s *Store) Step(ctx context.Context, events []execution.Event) ([]execution.Verdict, error) {
	return s.step(ctx, events, false)
}

// StepIdle is Step for work that any replica may do: runs that somebody else holds are left alone, and their events
// are Ignored.
func (s *Store) StepIdle(ctx context.Context, events []execution.Event) ([]execution.Verdict, error) {
	return s.step(ctx, events, true)
}

func (s *Store) step(ctx context.Context, events []execution.Event, skip bool) ([]execution.Verdict, error) {
	if len(events) == 0 {
		return nil, nil
	}
	var st *step
	var msgs []outbox.Message
	err := s.informed(ctx, func(a *answers) (err error) {
		st, msgs, err = s.once(ctx, events, skip, a)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("apply %d events: %w", len(events), err)
	}
	s.listener.Committed(&st.changes, msgs)
	return st.verdicts, nil
}

// once is the transaction of a step.
func (s *Store) once(ctx context.Context, events []execution.Event, skip bool, a *answers) (st *step, msgs []outbox.Message, err error) {
	err = s.tx(ctx, func(ctx context.Context, t *pgdb.Pipeline) (err error) {
		st = newStep(t, events, a)
		if err = st.load(ctx, skip); err != nil {
			return err
		}
		if err = st.advance(ctx); err != nil {
			return err
		}
		msgs, err = st.save(s)
		return err
	})
	return st, msgs, err
}

// step is one transaction of Step.
type step struct {
	t        *pgdb.Pipeline
	now      time.Time
	events   []execution.Event
	verdicts []execution.Verdict
	runs     map[uuid.UUID]*run
	order    []*run                           // by id
	attempts map[uuid.UUID]*execution.Attempt // loaded and locked
	ends     []ended
	stops    []uuid.UUID
	answers  *answers
	effects  effects
	strays   []stray // items that were read before their group
	kept     kept    // what was read last
	bad      faults
	changes  execution.Changes
}

// run is an execution in a step.
type run struct {
	execution.Run
	state     *engine.State
	cancelled bool // it was before the step
	live      map[int]*execution.Attempt
	events    []int // what has not been applied yet
	busy      bool  // an event is being applied and needs more
	rounds    int   // in which something was loaded for it
	family    family
	past      *definition.Past
	want      wants // of the past, not loaded yet
	context   *execution.Context
}

type ended struct {
	a   *execution.Attempt
	end execution.End
}

func newStep(t *pgdb.Pipeline, events []execution.Event, a *answers) *step {
	return &step{
		t: t, events: events, answers: a, verdicts: make([]execution.Verdict, len(events)),
		runs: map[uuid.UUID]*run{}, attempts: map[uuid.UUID]*execution.Attempt{},
	}
}

const sources = `WITH src AS (SELECT execution_id, task_idx AS idx FROM attempt WHERE uid = ANY($1::uuid[])
	UNION SELECT unnest($2::uuid[]), unnest($3::int[]))`

// load takes the locks and reads what the events concern directly: in one round trip.
func (st *step) load(ctx context.Context, skip bool) error {
	var uids, ids, tasksOf, parents []uuid.UUID
	var idx []int32
	for _, e := range st.events {
		switch e.Kind {
		case execution.AttemptEnded:
			uids = append(uids, e.UID)
		case execution.ChildRefused, execution.ChildEnded:
			parents = append(parents, e.Execution)
			fallthrough
		case execution.TaskWakes, execution.TaskOverdue, execution.ChildSubmitted, execution.Voted:
			ids, tasksOf, idx = append(ids, e.Execution), append(tasksOf, e.Execution), append(idx, int32(e.Idx))
		case execution.Rejoined:
			parents, ids = append(parents, e.Execution), append(ids, e.Execution)
		case execution.Cancelled, execution.Paused, execution.Resumed, execution.Deadline, execution.Nudged:
			ids = append(ids, e.Execution)
		}
	}
	lock := "FOR NO KEY UPDATE"
	if skip { // attempts too: those of runs that somebody else holds would be locked in the wrong order
		lock += " SKIP LOCKED"
	}
	st.t.Queue(`SELECT `+runColumns+` FROM execution WHERE id = ANY(ARRAY(
		SELECT execution_id FROM attempt WHERE uid = ANY($1::uuid[]) UNION SELECT unnest($2::uuid[]))) ORDER BY id `+lock, uids, ids).Query(st.scanRuns)
	st.t.Queue(`SELECT `+attemptColumns+` FROM attempt WHERE uid = ANY($1::uuid[]) ORDER BY uid `+lock, uids).Query(st.scanAttempts)
	st.t.Queue(sources+` SELECT e.execution_id, e.from_idx, e.to_idx, e.kind::text FROM src JOIN edge e ON e.execution_id = src.execution_id AND e.from_idx = src.idx
		ORDER BY 1, 2, 3, 4`, uids, tasksOf, idx).Query(st.scanEdges)
	// Of an item its group, too: its spec and its counters are there.
	st.t.Queue(sources+`, wanted AS (SELECT execution_id, idx FROM src UNION
		SELECT e.execution_id, e.to_idx FROM src JOIN edge e ON e.execution_id = src.execution_id AND e.from_idx = src.idx UNION
		SELECT i.execution_id, i.group_idx FROM src JOIN task i USING (execution_id, idx) WHERE i.group_idx IS NOT NULL)
		SELECT `+taskColumns+`, t.spec FROM wanted JOIN task t USING (execution_id, idx)`, uids, tasksOf, idx).Query(st.scanTasks)
	// The last ordinary task of a run starts the trailing ones: they are read when that may happen in this batch.
	st.t.Queue(sources+` SELECT `+taskColumns+`, t.spec FROM task t JOIN execution x ON x.id = t.execution_id
		WHERE t.execution_id = ANY(ARRAY(SELECT execution_id FROM src)) AND t.trails AND t.state = 'BLOCKED' AND x.normal_open <= $4`,
		uids, tasksOf, idx, len(st.events)).Query(st.scanTasks)
	if len(parents) > 0 {
		st.queueAwaiting(parents)
	}
	st.t.Queue(`SELECT clock_timestamp()`).QueryRow(func(row pgx.Row) error { return row.Scan(&st.now) })
	if err := st.t.Flush(ctx); err != nil {
		return fmt.Errorf("load runs: %w", err)
	}
	if err := st.adopt(ctx); err != nil {
		return err
	}
	st.changes.Now = st.now
	st.assign()
	return st.loadNextItems(ctx)
}

// assign gives each run its events and its live attempts.
func (st *step) assign() {
	for _, a := range st.attempts {
		if r := st.runs[a.Execution]; r != nil && a.Live() {
			r.know(a)
		}
	}
	for i, e := range st.events {
		id := e.Execution
		if e.Kind == execution.AttemptEnded {
			a := st.attempts[e.UID]
			if a == nil {
				st.verdicts[i] = execution.Unknown
				continue
			}
			id = a.Execution
		}
		r := st.runs[id]
		if r == nil {
			st.verdicts[i] = execution.Ignored // held by somebody else, or gone
			continue
		}
		if st.answers.unable[r.ID] {
			st.verdicts[i] = execution.Postponed
			continue
		}
		r.events = append(r.events, i)
		// A task whose edges were read has an entry even when there are none.
		idx := e.Idx
		switch e.Kind {
		case execution.AttemptEnded:
			idx = st.attempts[e.UID].Idx
		case execution.TaskWakes, execution.TaskOverdue, execution.ChildSubmitted, execution.ChildRefused, execution.ChildEnded, execution.Voted:
		case execution.Cancelled, execution.Paused, execution.Resumed, execution.Deadline, execution.Nudged, execution.Rejoined:
			continue
		}
		if r.state.Out[idx] == nil {
			r.state.Out[idx] = nil
		}
	}
	for _, r := range st.order {
		r.state.TrailingLoaded = r.state.Job.NormalOpen <= len(st.events)
	}
}

// know makes a live attempt known to its run.
func (r *run) know(a *execution.Attempt) {
	r.live[a.Idx] = a
	if t := r.state.Tasks[a.Idx]; t != nil && t.State == engine.TaskDispatched && a.State == engine.AttemptRunning {
		t.State = engine.TaskRunning
	}
}

func (st *step) scanRuns(rows pgx.Rows) error {
	for rows.Next() {
		r, j, err := scanRun(rows, &st.bad)
		if err != nil {
			return err
		}
		x := &run{
			Run: r, cancelled: j.CancelRequested, live: map[int]*execution.Attempt{},
			state: &engine.State{Job: j, Tasks: map[int]*engine.Task{}, Out: map[int][]engine.Edge{}},
		}
		st.runs[r.ID] = x
		st.order = append(st.order, x)
	}
	return rows.Err()
}

func (st *step) scanAttempts(rows pgx.Rows) error {
	for rows.Next() {
		a, err := scanAttempt(rows)
		if err != nil {
			return err
		}
		if st.attempts[a.UID] == nil {
			st.attempts[a.UID] = a
		}
	}
	return rows.Err()
}

func (st *step) scanEdges(rows pgx.Rows) error {
	seen := map[uuid.UUID]map[int]bool{} // tasks whose edges this answer holds
	for rows.Next() {
		var id uuid.UUID
		var e engine.Edge
		var kind string
		if err := rows.Scan(&id, &e.From, &e.To, &kind); err != nil {
			return fmt.Errorf("read edge: %w", err)
		}
		r := st.runs[id]
		if r == nil {
			continue
		}
		e.Control = kind == "c"
		if seen[id] == nil {
			seen[id] = map[int]bool{}
		}
		if !seen[id][e.From] {
			seen[id][e.From] = true
			r.state.Out[e.From] = nil
		}
		r.state.Out[e.From] = append(r.state.Out[e.From], e)
	}
	return rows.Err()
}

func (st *step) scanTasks(rows pgx.Rows) error {
	for rows.Next() {
		id, t, err := scanTask(rows, &st.bad)
		if err != nil {
			return err
		}
		r := st.runs[id]
		if r == nil {
			continue
		}
		if t.IsItem() && r.state.Tasks[t.Idx] == nil {
			st.strays = append(st.strays, stray{r, t})
		}
		r.state.Load(t)
	}
	return rows.Err()
}

// advance lets every run go as far as it can, loads what they need and goes on until none needs anything.
func (st *step) advance(ctx context.Context) error {
	for {
		var waiting []*run
		for _, r := range st.order {
			if st.forward(r) {
				waiting = append(waiting, r)
			}
		}
		if len(waiting) == 0 {
			return nil
		}
		if err := st.more(ctx, waiting); err != nil {
			return err
		}
		for _, r := range waiting {
			if err := r.bounded(); err != nil {
				return err
			}
		}
	}
}

// bounded fails a run that does not come to an end: every round loads or decides about something new, of which a run has
// a few things for each of its tasks.
func (r *run) bounded() error {
	if r.rounds++; r.rounds <= 1000+4*r.state.Job.TasksTotal {
		return nil
	}
	return fmt.Errorf("execution %s still needs something after %d rounds: %+v", r.ID, r.rounds, r.state.Need())
}

// forward applies the events of a run until something is missing; it says whether something is.
func (st *step) forward(r *run) (missing bool) {
	if r.busy {
		r.busy = false
		r.state.Continue(st.now)
		if !r.state.Need().Empty() {
			r.busy = true
			return true
		}
		st.settle(r)
	}
	for len(r.events) > 0 {
		i := r.events[0]
		r.events = r.events[1:]
		st.verdicts[i] = st.apply(r, &st.events[i])
		if !r.state.Need().Empty() {
			r.busy = true
			return true
		}
		st.settle(r)
	}
	return st.join(r)
}

// apply gives one event to the engine.
func (st *step) apply(r *run, e *execution.Event) execution.Verdict {
	s := r.state
	if e.Kind == execution.AttemptEnded {
		return st.end(r, e)
	}
	if e.Kind == execution.ChildSubmitted || e.Kind == execution.ChildRefused || e.Kind == execution.ChildEnded {
		return st.child(r, e) // the record of the child is kept whatever became of its parent
	}
	if s.Job.State.Terminal() {
		return execution.Ignored
	}
	t := s.Tasks[e.Idx]
	switch e.Kind {
	case execution.AttemptEnded, execution.ChildSubmitted, execution.ChildRefused, execution.ChildEnded:
	case execution.Voted:
		if t == nil || t.State != engine.TaskWaiting || t.WaitGate != engine.GateApproval || t.Round != e.Round {
			return execution.Ignored
		}
		s.Voted(e.Idx, e.Round, e.Outcome, e.Reason, st.now)
	case execution.TaskWakes:
		if t == nil || t.State != engine.TaskWaiting || t.WakeAt == nil || t.WakeAt.After(st.now) {
			return execution.Ignored
		}
		s.Wake(e.Idx, st.now)
	case execution.TaskOverdue:
		if t == nil {
			return execution.Ignored
		}
		limit := t.Limit()
		if limit == nil || limit.At.After(st.now) {
			return execution.Ignored
		}
		s.TaskOverdue(e.Idx, engine.Outcome{
			State: engine.AttemptTimedOut, FailureClass: engine.ClassTimeout, Message: because(limit.Message, t.State, e.Reason), Random: random(),
		}, st.now)
	case execution.Cancelled:
		s.Cancel(e.Reason, st.now)
	case execution.Paused:
		s.Pause(st.now)
	case execution.Resumed:
		s.Resume(st.now)
	case execution.Deadline:
		if s.Job.DeadlineAt == nil || s.Job.DeadlineAt.After(st.now) {
			return execution.Ignored
		}
		s.Deadline(e.Reason, st.now)
	case execution.Nudged:
		s.Continue(st.now)
	case execution.Rejoined:
		r.family = family{stale: true}
	}
	return execution.Applied
}

// because adds to what happened to a READY task why it waited.
func because(message string, state engine.TaskState, reason string) string {
	if state != engine.TaskReady || reason == "" {
		return message
	}
	return message + ": " + reason
}

// end ends an attempt if it may be ended by this event.
func (st *step) end(r *run, e *execution.Event) execution.Verdict {
	a := st.attempts[e.UID]
	switch {
	case !a.Live():
		if len(e.End.Digest) > 0 && slices.Equal(a.Digest, e.End.Digest) {
			return execution.Replayed
		}
		return execution.Stale
	case e.End.Ant != "" && (a.State != engine.AttemptRunning || e.End.Ant != a.Ant):
		return execution.Stale
	case e.End.Still != nil && !e.End.Still(a, st.now):
		return execution.Ignored
	}
	o := e.End.Outcome
	o.Claimed, o.Random = a.State == engine.AttemptRunning, random()
	e.End.Outcome = o
	if o.Claimed && len(e.End.Digest) == 0 {
		// Nobody knows whether it runs still.
		st.changes.Stops = append(st.changes.Stops, execution.Ring{UID: a.UID, Ant: a.Ant})
	}
	st.finish(r, a, e.End)
	r.state.TaskEnded(a.Idx, o, st.now)
	return execution.Applied
}

func random() float64 { return rand.Float64() } // #nosec G404 -- spreads retries

// finish notes the end of an attempt.
func (st *step) finish(r *run, a *execution.Attempt, end execution.End) {
	a.State, a.Digest = end.Outcome.State, end.Digest
	delete(r.live, a.Idx)
	st.ends = append(st.ends, ended{a, end})
	st.changes.Freed = append(st.changes.Freed, execution.Freed{UID: a.UID, Slots: a.Slots, Unclaimed: end.Unclaimed})
}

// settle does to attempts what the engine has asked for.
func (st *step) settle(r *run) {
	s := r.state
	for _, idx := range s.Withdraw {
		if a := r.live[idx]; a != nil {
			st.finish(r, a, execution.End{Outcome: engine.Outcome{
				State: engine.AttemptCancelled, FailureClass: engine.ClassCancelled, Message: s.Tasks[idx].Message,
			}})
			st.changes.Stops = append(st.changes.Stops, execution.Ring{UID: a.UID, Ant: a.Ant})
		}
	}
	for _, idx := range s.Stop {
		if a := r.live[idx]; a != nil && a.StopRequested == nil {
			a.StopRequested = &st.now
			st.stops = append(st.stops, a.UID)
			st.changes.Stops = append(st.changes.Stops, execution.Ring{UID: a.UID, Ant: a.Ant})
		}
	}
	s.Withdraw, s.Stop = nil, nil
	st.effects.take(r.Run, s, st.now, &st.changes)
}

// save queues what changed and collects what others must hear.
func (st *step) save(s *Store) ([]outbox.Message, error) {
	var w writes
	for _, r := range st.order {
		if err := st.collect(r, &w); err != nil {
			return nil, err
		}
	}
	if err := st.effects.queue(st.t, st.now); err != nil {
		return nil, err
	}
	st.bad.queue(st.t)
	st.queueEnds()
	if len(st.stops) > 0 {
		st.t.Queue(`UPDATE attempt SET stop_requested_at = $2 WHERE uid = ANY($1::uuid[])`, st.stops, st.now)
	}
	w.queue(st.t)
	return s.publish(st.t, &st.changes)
}

// collect adds the rows of a run.
func (st *step) collect(r *run, w *writes) error {
	s := r.state
	if s.JobChanged {
		if err := w.jobs.add(r.ID, &s.Job, s.PolicyChanged); err != nil {
			return err
		}
		st.changes.Timed(s.Job.DeadlineAt)
	}
	if s.JobMoved {
		st.changes.Jobs = append(st.changes.Jobs, execution.Moved{Run: r.Run, Job: s.Job})
	}
	if s.Job.CancelRequested && !r.cancelled {
		st.effects.cancelled = append(st.effects.cancelled, r.ID)
		st.changes.Children = true
	}
	for _, idx := range sorted(s.Tasks) {
		t := s.Tasks[idx]
		if !t.Changed {
			continue
		}
		if err := w.add(&r.Run, t); err != nil {
			return err
		}
		if t.State == engine.TaskReady {
			st.changes.Ready = append(st.changes.Ready, candidate(&r.Run, t))
		}
		st.changes.Timed(t.WakeAt)
		st.changes.Timed(overdue(t))
		if t.State != t.From && !t.New && t.State != engine.TaskBlocked {
			st.changes.Tasks = append(st.changes.Tasks, taskMoved(r.Run, t, ""))
		}
		if err := told(&st.changes, &r.Run, t, st.now); err != nil {
			return err
		}
	}
	return nil
}

// told notes what people asked to be told of the end of a task.
func told(c *execution.Changes, r *execution.Run, t *engine.Task, now time.Time) error {
	if t.Spec.Webhook == nil || !t.State.Terminal() || t.IsItem() || t.State == t.From && !t.New {
		return nil
	}
	n, err := execution.Ended(*r, t, now)
	if n != nil {
		c.Notices = append(c.Notices, *n)
	}
	return err
}

// candidate is a READY task as it is placed.
func candidate(r *execution.Run, t *engine.Task) execution.Candidate {
	c := t.Class()
	return execution.Candidate{
		Execution: r.ID, Idx: t.Idx, Class: execution.Class(r.Org, c), Method: c.Method, Slots: max(c.Slots, 1), Priority: r.Priority,
	}
}

// writes are the rows that a step changes.
type writes struct {
	jobs     jobRows
	tasks    taskRows
	newTasks newTaskRows
	placed   placeRows
}

func (w *writes) add(r *execution.Run, t *engine.Task) error {
	if t.New {
		return w.newTasks.add(r, t)
	}
	if t.Place != nil && !t.IsItem() {
		w.placed.add(r, t)
	}
	return w.tasks.add(r.ID, t)
}

func (w *writes) queue(t *pgdb.Pipeline) {
	if len(w.newTasks.ids) > 0 {
		t.Queue(insertTasks, w.newTasks.args()...)
	}
	if len(w.placed.ids) > 0 {
		t.Queue(updatePlaces, w.placed.ids, w.placed.idx, w.placed.classes, w.placed.methods, w.placed.slots)
	}
	if len(w.tasks.ids) > 0 {
		t.Queue(updateTasks, w.tasks.args()...)
	}
	if len(w.jobs.ids) > 0 {
		t.Queue(updateJobs, w.jobs.args()...)
	}
}

func taskMoved(r execution.Run, t *engine.Task, ant string) execution.TaskMoved {
	return execution.TaskMoved{
		Run: r, Task: t.Name(), State: t.State, Attempt: t.Attempts, Ant: ant, ExitCode: t.ExitCode, Message: t.Message,
	}
}

func sorted(tasks map[int]*engine.Task) []int {
	idx := make([]int, 0, len(tasks))
	for i := range tasks {
		idx = append(idx, i)
	}
	slices.Sort(idx)
	return idx
}

// queueEnds queues the ends of attempts and the release of their slots.
func (st *step) queueEnds() {
	if len(st.ends) == 0 {
		return
	}
	n := len(st.ends)
	uids, states, codes, classes := make([]uuid.UUID, n), make([]string, n), make([]int32, n), make([]string, n)
	messages, digests, keys, sizes, sums := make([]string, n), make([][]byte, n), make([]string, n), make([]int64, n), make([]string, n)
	orgs := make([]string, n)
	var named []uuid.UUID // attempts whose log is named from now on
	for i, e := range st.ends {
		o := e.end.Outcome
		uids[i], states[i], codes[i], classes[i] = e.a.UID, string(o.State), int32(o.ExitCode), o.FailureClass
		messages[i], digests[i] = storable.Text(o.Message), e.end.Digest
		keys[i], sizes[i], sums[i] = storable.Text(e.end.LogKey), e.end.LogBytes, storable.Text(e.end.LogSHA256)
		if keys[i] != "" {
			orgs[i], named = st.runs[e.a.Execution].Org, append(named, e.a.UID)
		}
	}
	st.t.Queue(`UPDATE attempt a SET state = u.state, exit_code = u.exit_code, failure_class = u.failure_class, message = u.message,
		result_digest = u.result_digest, log_key = u.log_key, log_bytes = u.log_bytes, log_sha256 = u.log_sha256, org_id = u.org_id, ended_at = $10
		FROM (SELECT unnest($1::uuid[]) AS uid, unnest($2::text[]) AS state, unnest($3::int[]) AS exit_code, unnest($4::text[]) AS failure_class,
			unnest($5::text[]) AS message, unnest($6::bytea[]) AS result_digest, unnest($7::text[]) AS log_key, unnest($8::bigint[]) AS log_bytes,
			unnest($9::text[]) AS log_sha256, unnest($11::text[]) AS org_id) u WHERE a.uid = u.uid`,
		uids, states, codes, classes, messages, digests, keys, sizes, sums, st.now, orgs)
	if len(named) > 0 {
		st.t.Queue(`DELETE FROM upload WHERE attempt_uid = ANY($1::uuid[])`, named)
	}
	st.t.Queue(`INSERT INTO slot_release (attempt_uid, created_at) SELECT unnest($1::uuid[]), $2 ON CONFLICT DO NOTHING`, uids, st.now)
}
