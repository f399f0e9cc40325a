package pg

import (
	"encoding/json"
	"fmt"
	"time"

	"github.com/google/uuid"

	"github.com/formicary/formicary/libs/jobspec/plan"
	"github.com/formicary/formicary/libs/storable"
	"github.com/formicary/formicary/services/supervisor/internal/approval"
	"github.com/formicary/formicary/services/supervisor/internal/execution"
	"github.com/formicary/formicary/services/supervisor/internal/step"
)

// queueEffects queues the statements in the order in which things happened.
func (x *tx) queueEffects(f *step.Effects, now time.Time) error {
	if err := x.queueChildren(f.Children, now); err != nil {
		return err
	}
	if err := x.queueNews(f.News, now); err != nil {
		return err
	}
	if len(f.Halted) > 0 {
		ids, idx, rounds := roundColumns(f.Halted)
		x.t.Queue(`UPDATE child c SET state = 'CANCEL_WANTED', due_at = $4, tries = 0
			FROM (SELECT unnest($1::uuid[]) AS execution_id, unnest($2::int[]) AS task_idx, unnest($3::int[]) AS round) u
			WHERE c.execution_id = u.execution_id AND c.task_idx = u.task_idx AND c.round = u.round AND c.state IN ('WANTED', 'SUBMITTED')`,
			ids, idx, rounds, now)
	}
	if len(f.Cancelled) > 0 {
		x.t.Queue(`UPDATE child SET state = 'CANCEL_WANTED', due_at = $2, tries = 0
			WHERE execution_id = ANY($1::uuid[]) AND (wait OR cascade) AND state IN ('WANTED', 'SUBMITTED')`, f.Cancelled, now)
	}
	return x.queueApprovals(f, now)
}

func roundColumns(rounded []step.Round) (ids []uuid.UUID, idx, rounds []int32) {
	for _, r := range rounded {
		ids, idx, rounds = append(ids, r.Execution), append(idx, int32(r.Idx)), append(rounds, int32(r.Round))
	}
	return ids, idx, rounds
}

// queueChildren inserts children and chores that are to be begun.
func (x *tx) queueChildren(children []step.NewChild, now time.Time) error {
	n := len(children)
	if n == 0 {
		return nil
	}
	ids, idx, rounds, kinds := make([]uuid.UUID, n), make([]int32, n), make([]int32, n), make([]string, n)
	types, versions, params := make([]string, n), make([]string, n), make([]*string, n)
	waits, cascades, orgs := make([]bool, n), make([]bool, n), make([]string, n)
	for i, c := range children {
		ids[i], idx[i], rounds[i], kinds[i] = c.Execution, int32(c.Idx), int32(c.Round.Round), "job"
		orgs[i] = c.Org
		if c.Chore {
			kinds[i] = "chore"
		}
		types[i], versions[i], waits[i], cascades[i] = storable.Text(c.Fork.JobType), storable.Text(c.Fork.Version), c.Fork.Wait, c.Fork.CascadeCancel
		if len(c.Fork.Params) > 0 {
			var err error
			if params[i], err = encode(c.Fork.Params); err != nil {
				return fmt.Errorf("encode params of the child of task %d of execution %s: %w", c.Idx, c.Execution, err)
			}
		}
	}
	x.t.Queue(`INSERT INTO child (execution_id, task_idx, round, kind, state, job_type, job_version, params, wait, cascade, due_at, heard_at, created_at, org_id)
		SELECT unnest($1::uuid[]), unnest($2::int[]), unnest($3::int[]), unnest($4::text[]), 'WANTED', unnest($5::text[]), unnest($6::text[]),
			unnest($7::text[])::json, unnest($8::bool[]), unnest($9::bool[]), $10, $10, $10, unnest($11::text[]) ON CONFLICT DO NOTHING`,
		ids, idx, rounds, kinds, types, versions, params, waits, cascades, now, orgs)
	return nil
}

// queueNews writes what became of children. One whose cancellation is asked for stays so until it has ended.
func (x *tx) queueNews(news []step.ChildNews, now time.Time) error {
	n := len(news)
	if n == 0 {
		return nil
	}
	ids, idx, rounds, states := make([]uuid.UUID, n), make([]int32, n), make([]int32, n), make([]string, n)
	requests, outcomes, codes := make([]*uuid.UUID, n), make([]string, n), make([]string, n)
	messages, outputs, unsubmitted, exits := make([]string, n), make([]*string, n), make([]bool, n), make([]int32, n)
	for i := range news {
		c := &news[i]
		ids[i], idx[i], rounds[i] = c.Execution, int32(c.Idx), int32(c.Round.Round)
		codes[i], messages[i], unsubmitted[i], exits[i] = storable.Text(c.ErrorCode), storable.Text(c.Message), c.Unsubmitted, int32(c.ExitCode)
		if c.Request != uuid.Nil {
			requests[i] = &c.Request
		}
		switch c.Kind { //nolint:exhaustive // it is news of a child
		case execution.ChildSubmitted:
			states[i] = childSubmitted
			continue
		case execution.ChildRefused:
			states[i] = childRefused
			continue
		}
		states[i], outcomes[i] = childEnded, c.State
		if len(c.Outputs) > 0 {
			var err error
			if outputs[i], err = encode(c.Outputs); err != nil {
				return fmt.Errorf("encode outputs of the child of task %d of execution %s: %w", c.Idx, c.Execution, err)
			}
		}
	}
	// The last news of a child in the batch counts: an UPDATE changes each row once.
	x.t.Queue(`UPDATE child c SET
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
func (x *tx) queueApprovals(f *step.Effects, now time.Time) error {
	if len(f.Approvals) > 0 {
		var rounded []step.Round
		var orgs, policies []string
		var dues []*time.Time
		for _, a := range f.Approvals {
			raw, err := json.Marshal(a.Policy)
			if err != nil {
				return fmt.Errorf("encode approval of task %d of execution %s: %w", a.Idx, a.Execution, err)
			}
			rounded, orgs, policies, dues = append(rounded, a.Round), append(orgs, a.Org), append(policies, withoutNUL(string(raw))), append(dues, a.Due)
		}
		ids, idx, rounds := roundColumns(rounded)
		x.t.Queue(`INSERT INTO approval (execution_id, task_idx, round, org_id, state, policy, requested_at, due_at)
			SELECT unnest($1::uuid[]), unnest($2::int[]), unnest($3::int[]), unnest($4::text[]), 'PENDING', unnest($5::text[])::json, $7,
				unnest($6::timestamptz[]) ON CONFLICT DO NOTHING`, ids, idx, rounds, orgs, policies, dues, now)
	}
	if len(f.Escalated) > 0 {
		ids, idx, rounds := roundColumns(f.Escalated)
		x.t.Queue(`UPDATE approval a SET escalated_at = $4
			FROM (SELECT unnest($1::uuid[]) AS execution_id, unnest($2::int[]) AS task_idx, unnest($3::int[]) AS round) u
			WHERE a.execution_id = u.execution_id AND a.task_idx = u.task_idx AND a.round = u.round`, ids, idx, rounds, now)
	}
	if len(f.Decided) > 0 {
		x.queueDecided(f.Decided, now)
	}
	return nil
}

func (x *tx) queueDecided(decided []step.Decided, now time.Time) {
	var all, voted []step.Round
	var states []string
	var approve []bool
	for _, d := range decided {
		all, states = append(all, d.Round), append(states, string(d.State))
		if d.Vote {
			voted, approve = append(voted, d.Round), append(approve, d.State == approval.Approved)
		}
	}
	ids, idx, rounds := roundColumns(all)
	x.t.Queue(`UPDATE approval a SET state = u.state, decided_at = $5
		FROM (SELECT unnest($1::uuid[]) AS execution_id, unnest($2::int[]) AS task_idx, unnest($3::int[]) AS round, unnest($4::text[]) AS state) u
		WHERE a.execution_id = u.execution_id AND a.task_idx = u.task_idx AND a.round = u.round AND a.state = 'PENDING'`, ids, idx, rounds, states, now)
	if len(voted) > 0 {
		ids, idx, rounds := roundColumns(voted)
		x.t.Queue(`INSERT INTO vote (execution_id, task_idx, round, voter, approve, comment, created_at, org_id)
			SELECT a.execution_id, a.task_idx, a.round, $5, u.approve, 'nobody decided in time', $6, a.org_id
			FROM (SELECT unnest($1::uuid[]) AS execution_id, unnest($2::int[]) AS task_idx, unnest($3::int[]) AS round, unnest($4::bool[]) AS approve) u
			JOIN approval a USING (execution_id, task_idx, round) ON CONFLICT DO NOTHING`,
			ids, idx, rounds, approve, plan.SystemVoter, now)
	}
}

// queueVote stores a vote and what it decided.
func (x *tx) queueVote(v *step.CastVote) {
	var given map[string]string // NULL when there is none
	if len(v.Values) > 0 {
		given = v.Values
	}
	x.t.Queue(`INSERT INTO vote (execution_id, task_idx, round, voter, approve, comment, created_at, given, org_id)
		SELECT a.execution_id, a.task_idx, a.round, $4, $5, $6, $7, $8, a.org_id FROM approval a WHERE a.execution_id = $1 AND a.task_idx = $2 AND a.round = $3`,
		v.Execution, v.Idx, v.Round.Round, storable.Text(v.Voter), v.Approve, storable.Text(v.Comment), v.At, given)
	if v.Decided {
		x.t.Queue(`UPDATE approval SET state = $4, decided_at = $5 WHERE execution_id = $1 AND task_idx = $2 AND round = $3`,
			v.Execution, v.Idx, v.Round.Round, v.State, v.At)
	}
}
