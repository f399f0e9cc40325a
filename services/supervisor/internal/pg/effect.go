package pg

import (
	"encoding/json"
	"fmt"
	"time"

	"github.com/google/uuid"

	"github.com/formicary/formicary/libs/jobspec/plan"
	"github.com/formicary/formicary/libs/pgdb"
	"github.com/formicary/formicary/libs/storable"
	"github.com/formicary/formicary/services/supervisor/internal/engine"
	"github.com/formicary/formicary/services/supervisor/internal/execution"
)

// effects are what a step does beside tasks and runs: children, approvals and votes. They are written in the
// transaction of the step, so that nothing of it is lost and nothing is told that was not decided.
type effects struct {
	children  []childRow
	childNews []childRow  // of children that exist
	halted    []roundRef  // children and chores that nobody waits for any more
	cancelled []uuid.UUID // runs that were cancelled
	approvals []approvalRow
	decided   []decision
	escalated []roundRef
}

// roundRef names a child or an approval.
type roundRef struct {
	execution  uuid.UUID
	idx, round int
}

type childRow struct {
	execution     uuid.UUID
	idx, round    int
	kind, state   string
	fork          *plan.Fork
	request       uuid.UUID
	outcome, code string
	exit          int
	message       string
	outputs       map[string]string
	unsubmitted   bool
}

type approvalRow struct {
	roundRef
	org    string
	policy *plan.Approval
	due    *time.Time
}

// decision is an approval that ended without people.
type decision struct {
	roundRef
	state string
	vote  bool // by the system
}

// take collects what the engine has asked for and empties its lists.
func (f *effects) take(r execution.Run, s *engine.State, now time.Time, c *execution.Changes) {
	ref := func(t *engine.Task) roundRef { return roundRef{r.ID, t.Idx, t.Round} }
	for _, idx := range s.Forks {
		t := s.Tasks[idx]
		f.children = append(f.children, childRow{execution: r.ID, idx: idx, round: t.Round, kind: "job", fork: t.Fork})
	}
	for _, idx := range s.Chores {
		f.children = append(f.children, childRow{execution: r.ID, idx: idx, round: s.Tasks[idx].Round, kind: "chore", fork: &plan.Fork{Wait: true, Params: s.Tasks[idx].Variables}})
	}
	for _, idx := range s.Approvals {
		t := s.Tasks[idx]
		f.approvals = append(f.approvals, approvalRow{ref(t), r.Org, t.Approval, t.WakeAt})
		if n := execution.Requested(r, t, t.Approval, t.Round, now); n != nil {
			c.Notices = append(c.Notices, *n)
		}
	}
	for _, idx := range s.Lapsed {
		t, state := s.Tasks[idx], plan.OutcomeRejected
		if t.Approval.TimeoutAction == plan.AutoApprove {
			state = plan.OutcomeApproved
		}
		f.decided = append(f.decided, decision{ref(t), state, true})
	}
	for _, idx := range s.Escalations {
		t := s.Tasks[idx]
		f.escalated = append(f.escalated, ref(t))
		if n := execution.Escalated(r, t, t.Approval, t.Round, now); n != nil {
			c.Notices = append(c.Notices, *n)
		}
	}
	for _, idx := range s.Dismissed {
		f.decided = append(f.decided, decision{ref(s.Tasks[idx]), "CANCELLED", false})
	}
	for _, a := range s.CancelChildren {
		f.halted = append(f.halted, roundRef{r.ID, a.Idx, a.Round})
	}
	c.Children = c.Children || len(s.Forks)+len(s.CancelChildren) > 0
	c.Chores = c.Chores || len(s.Chores)+len(s.CancelChildren) > 0
	s.Forks, s.Chores, s.Approvals, s.Lapsed, s.Escalations, s.Dismissed, s.CancelChildren = nil, nil, nil, nil, nil, nil, nil
}

// queue queues the statements in the order in which things happened, and forgets what it has queued.
func (f *effects) queue(t *pgdb.Pipeline, now time.Time) error {
	if err := f.queueChildren(t, now); err != nil {
		return err
	}
	if err := f.queueNews(t, now); err != nil {
		return err
	}
	if len(f.halted) > 0 {
		ids, idx, rounds := roundColumns(f.halted)
		t.Queue(`UPDATE child c SET state = 'CANCEL_WANTED', due_at = $4, tries = 0
			FROM (SELECT unnest($1::uuid[]) AS execution_id, unnest($2::int[]) AS task_idx, unnest($3::int[]) AS round) u
			WHERE c.execution_id = u.execution_id AND c.task_idx = u.task_idx AND c.round = u.round AND c.state IN ('WANTED', 'SUBMITTED')`,
			ids, idx, rounds, now)
	}
	if len(f.cancelled) > 0 {
		t.Queue(`UPDATE child SET state = 'CANCEL_WANTED', due_at = $2, tries = 0
			WHERE execution_id = ANY($1::uuid[]) AND (wait OR cascade) AND state IN ('WANTED', 'SUBMITTED')`, f.cancelled, now)
	}
	if err := f.queueApprovals(t, now); err != nil {
		return err
	}
	*f = effects{}
	return nil
}

func roundColumns(refs []roundRef) (ids []uuid.UUID, idx, rounds []int32) {
	for _, r := range refs {
		ids, idx, rounds = append(ids, r.execution), append(idx, int32(r.idx)), append(rounds, int32(r.round))
	}
	return ids, idx, rounds
}

// queueChildren inserts children and chores that are to be begun.
func (f *effects) queueChildren(t *pgdb.Pipeline, now time.Time) error {
	n := len(f.children)
	if n == 0 {
		return nil
	}
	ids, idx, rounds, kinds := make([]uuid.UUID, n), make([]int32, n), make([]int32, n), make([]string, n)
	types, versions, params := make([]string, n), make([]string, n), make([]*string, n)
	waits, cascades := make([]bool, n), make([]bool, n)
	for i, c := range f.children {
		ids[i], idx[i], rounds[i], kinds[i] = c.execution, int32(c.idx), int32(c.round), c.kind
		types[i], versions[i], waits[i], cascades[i] = storable.Text(c.fork.JobType), storable.Text(c.fork.Version), c.fork.Wait, c.fork.CascadeCancel
		if len(c.fork.Params) > 0 {
			var err error
			if params[i], err = encode(c.fork.Params); err != nil {
				return fmt.Errorf("encode params of the child of task %d of execution %s: %w", c.idx, c.execution, err)
			}
		}
	}
	t.Queue(`INSERT INTO child (execution_id, task_idx, round, kind, state, job_type, job_version, params, wait, cascade, due_at, heard_at, created_at)
		SELECT unnest($1::uuid[]), unnest($2::int[]), unnest($3::int[]), unnest($4::text[]), 'WANTED', unnest($5::text[]), unnest($6::text[]),
			unnest($7::text[])::json, unnest($8::bool[]), unnest($9::bool[]), $10, $10, $10 ON CONFLICT DO NOTHING`,
		ids, idx, rounds, kinds, types, versions, params, waits, cascades, now)
	return nil
}

// queueNews writes what became of children. One whose cancellation is asked for stays so until it has ended.
func (f *effects) queueNews(t *pgdb.Pipeline, now time.Time) error {
	n := len(f.childNews)
	if n == 0 {
		return nil
	}
	ids, idx, rounds, states := make([]uuid.UUID, n), make([]int32, n), make([]int32, n), make([]string, n)
	requests, outcomes, codes := make([]*uuid.UUID, n), make([]string, n), make([]string, n)
	messages, outputs, unsubmitted, exits := make([]string, n), make([]*string, n), make([]bool, n), make([]int32, n)
	for i, c := range f.childNews {
		ids[i], idx[i], rounds[i], states[i] = c.execution, int32(c.idx), int32(c.round), c.state
		outcomes[i], codes[i], messages[i] = c.outcome, storable.Text(c.code), storable.Text(c.message)
		unsubmitted[i], exits[i] = c.unsubmitted, int32(c.exit)
		if c.request != uuid.Nil {
			requests[i] = &f.childNews[i].request
		}
		if len(c.outputs) > 0 {
			var err error
			if outputs[i], err = encode(c.outputs); err != nil {
				return fmt.Errorf("encode outputs of the child of task %d of execution %s: %w", c.idx, c.execution, err)
			}
		}
	}
	// The last news of a child in the batch counts: an UPDATE changes each row once.
	t.Queue(`UPDATE child c SET
			state = CASE WHEN u.state = 'SUBMITTED' AND c.state <> 'WANTED' THEN c.state
				WHEN u.state = 'REFUSED' AND c.state <> 'WANTED' THEN 'ENDED' ELSE u.state END,
			outcome = CASE WHEN u.state = 'REFUSED' AND c.state <> 'WANTED' THEN 'CANCELLED' ELSE u.outcome END,
			request_id = coalesce(u.request_id, c.request_id), error_code = u.error_code, message = u.message, exit_code = u.exit_code, outputs = coalesce(u.outputs, c.outputs),
			heard_at = $10, ended_at = CASE WHEN u.state <> 'SUBMITTED' THEN $10::timestamptz END
		FROM (SELECT DISTINCT ON (execution_id, task_idx, round) * FROM (SELECT unnest($1::uuid[]) AS execution_id, unnest($2::int[]) AS task_idx,
			unnest($3::int[]) AS round, unnest($4::text[]) AS state, unnest($5::uuid[]) AS request_id, unnest($6::text[]) AS outcome,
			unnest($7::text[]) AS error_code, unnest($8::text[]) AS message, unnest($9::text[])::json AS outputs, unnest($11::bool[]) AS unsubmitted,
			unnest($12::int[]) AS exit_code) a
			ORDER BY execution_id, task_idx, round, state = 'SUBMITTED') u
		WHERE c.execution_id = u.execution_id AND c.task_idx = u.task_idx AND c.round = u.round AND c.ended_at IS NULL
			AND NOT (u.unsubmitted AND c.request_id IS NOT NULL)`,
		ids, idx, rounds, states, requests, outcomes, codes, messages, outputs, now, unsubmitted, exits)
	return nil
}

// queueApprovals begins approvals and ends those that people do not decide.
func (f *effects) queueApprovals(t *pgdb.Pipeline, now time.Time) error {
	if len(f.approvals) > 0 {
		var refs []roundRef
		var orgs, policies []string
		var dues []*time.Time
		for _, a := range f.approvals {
			raw, err := json.Marshal(a.policy)
			if err != nil {
				return fmt.Errorf("encode approval of task %d of execution %s: %w", a.idx, a.execution, err)
			}
			refs, orgs, policies, dues = append(refs, a.roundRef), append(orgs, a.org), append(policies, withoutNUL(string(raw))), append(dues, a.due)
		}
		ids, idx, rounds := roundColumns(refs)
		t.Queue(`INSERT INTO approval (execution_id, task_idx, round, org_id, state, policy, requested_at, due_at)
			SELECT unnest($1::uuid[]), unnest($2::int[]), unnest($3::int[]), unnest($4::text[]), 'PENDING', unnest($5::text[])::json, $7,
				unnest($6::timestamptz[]) ON CONFLICT DO NOTHING`, ids, idx, rounds, orgs, policies, dues, now)
	}
	if len(f.escalated) > 0 {
		ids, idx, rounds := roundColumns(f.escalated)
		t.Queue(`UPDATE approval a SET escalated_at = $4
			FROM (SELECT unnest($1::uuid[]) AS execution_id, unnest($2::int[]) AS task_idx, unnest($3::int[]) AS round) u
			WHERE a.execution_id = u.execution_id AND a.task_idx = u.task_idx AND a.round = u.round`, ids, idx, rounds, now)
	}
	if len(f.decided) > 0 {
		f.queueDecided(t, now)
	}
	return nil
}

func (f *effects) queueDecided(t *pgdb.Pipeline, now time.Time) {
	var refs, voted []roundRef
	var states []string
	var approve []bool
	for _, d := range f.decided {
		refs, states = append(refs, d.roundRef), append(states, d.state)
		if d.vote {
			voted, approve = append(voted, d.roundRef), append(approve, d.state == plan.OutcomeApproved)
		}
	}
	ids, idx, rounds := roundColumns(refs)
	t.Queue(`UPDATE approval a SET state = u.state, decided_at = $5
		FROM (SELECT unnest($1::uuid[]) AS execution_id, unnest($2::int[]) AS task_idx, unnest($3::int[]) AS round, unnest($4::text[]) AS state) u
		WHERE a.execution_id = u.execution_id AND a.task_idx = u.task_idx AND a.round = u.round AND a.state = 'PENDING'`, ids, idx, rounds, states, now)
	if len(voted) > 0 {
		ids, idx, rounds := roundColumns(voted)
		t.Queue(`INSERT INTO vote (execution_id, task_idx, round, voter, approve, comment, created_at)
			SELECT unnest($1::uuid[]), unnest($2::int[]), unnest($3::int[]), $5, unnest($4::bool[]), 'nobody decided in time', $6 ON CONFLICT DO NOTHING`,
			ids, idx, rounds, approve, plan.SystemVoter, now)
	}
}
