package pg

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/formicary/formicary/libs/outbox"
	"github.com/formicary/formicary/libs/pgdb"
	"github.com/formicary/formicary/libs/storable"
	"github.com/formicary/formicary/services/job-manager/internal/notify"
	"github.com/formicary/formicary/services/job-manager/internal/pg/db"
	"github.com/formicary/formicary/services/job-manager/internal/request"
)

// saveSQL writes back the rows of a batch.
const saveSQL = `
UPDATE request r SET state = n.state, run = n.run, version = n.version, execution_version = n.execution_version, reuse_run = n.reuse_run,
    age_at = n.age_at, scheduled_at = n.scheduled_at, queued = n.queued, updated_at = n.updated_at, started_at = n.started_at,
    ended_at = n.ended_at, cancel_requested_at = n.cancel_requested_at, cancel_reason = n.cancel_reason,
    pause_requested_at = n.pause_requested_at, resume_at = n.resume_at, error_code = n.error_code, error_message = n.error_message,
    pending_until = n.pending_until, check_at = now() + $20::interval
FROM (SELECT unnest($1::uuid[]) AS id, unnest($2::text[]) AS state, unnest($3::int[]) AS run, unnest($4::bigint[]) AS version,
    unnest($5::bigint[]) AS execution_version, unnest($6::int[]) AS reuse_run, unnest($7::timestamptz[]) AS age_at,
    unnest($8::timestamptz[]) AS scheduled_at, unnest($9::boolean[]) AS queued, unnest($10::timestamptz[]) AS updated_at,
    unnest($11::timestamptz[]) AS started_at, unnest($12::timestamptz[]) AS ended_at, unnest($13::timestamptz[]) AS cancel_requested_at,
    unnest($14::text[]) AS cancel_reason, unnest($15::timestamptz[]) AS pause_requested_at, unnest($16::timestamptz[]) AS resume_at,
    unnest($17::text[]) AS error_code, unnest($18::text[]) AS error_message, unnest($19::timestamptz[]) AS pending_until) n
WHERE r.id = n.id`

// Update implements request.Store.
func (s *Store) Update(ctx context.Context, ids []uuid.UUID, change func(time.Time, *request.Request) error) ([]request.Record, error) {
	var recs []request.Record
	told := false
	err := s.pipelined(ctx, func(ctx context.Context, p *pgdb.Pipeline) ([]outbox.Message, error) {
		var rows []locked
		p.Queue(lockSQL, ids).Query(func(r pgx.Rows) (err error) {
			rows, err = pgx.CollectRows(r, pgx.RowToStructByPos[locked])
			return err
		})
		if err := p.Flush(ctx); err != nil {
			return nil, err
		}
		recs = make([]request.Record, len(rows))
		var changed, rare []request.Record
		var moves []notify.Move
		var events []request.Event
		for i, row := range rows {
			before := toRecord(row.Request)
			r := request.Load(before)
			if err := change(row.Now, r); err != nil {
				return nil, err
			}
			recs[i] = r.Record()
			if r.Changed() {
				changed = append(changed, recs[i])
				if rarely(&before, &recs[i]) {
					rare = append(rare, recs[i])
				}
				if before.State != recs[i].State || before.Run != recs[i].Run {
					moves = append(moves, notify.Move{Before: before, After: recs[i]})
				}
			}
			events = append(events, r.Events()...)
		}
		if len(changed) > 0 {
			p.Queue(saveSQL, append(recordArgs(changed), s.silentAfter)...)
		}
		if len(rare) > 0 {
			p.Queue(saveRareSQL, rareArgs(rare)...)
		}
		var err error
		told, err = announce(ctx, p, moves)
		return s.messages(events), err
	})
	if err != nil {
		return nil, fmt.Errorf("update %d requests: %w", len(ids), err)
	}
	if told {
		s.OnDelivery()
	}
	if slices.ContainsFunc(recs, func(r request.Record) bool { return r.PendingUntil != nil && r.State == request.Pending }) {
		s.OnBounded()
	}
	return recs, nil
}

// saveRareSQL writes what changes with a new run, or when supervisor has lost one: most changes go without it.
const saveRareSQL = `
UPDATE request r SET definition_id = n.definition_id, definition_version = n.definition_version, params = n.params::json,
    placement_class = n.placement_class, retries = n.retries, from_task = n.from_task, restarted_at = n.restarted_at,
    total_deadline = n.total_deadline, missing_at = n.missing_at, audience = nullif(n.audience, '')::json, restarted_from = n.restarted_from,
    pending_ms = n.pending_ms
FROM (SELECT unnest($1::uuid[]) AS id, unnest($2::uuid[]) AS definition_id, unnest($3::int[]) AS definition_version, unnest($4::text[]) AS params,
    unnest($5::text[]) AS placement_class, unnest($6::int[]) AS retries, unnest($7::text[]) AS from_task,
    unnest($8::timestamptz[]) AS restarted_at, unnest($9::timestamptz[]) AS total_deadline, unnest($10::timestamptz[]) AS missing_at,
    unnest($11::text[]) AS audience, unnest($12::text[]) AS restarted_from, unnest($13::bigint[]) AS pending_ms) n
WHERE r.id = n.id`

// rarely says that a change needs saveRareSQL. A run's number changes with everything else that belongs to a new run.
func rarely(before, after *request.Record) bool {
	return before.Run != after.Run || before.MissingAt != after.MissingAt
}

func rareArgs(recs []request.Record) []any {
	type record = request.Record
	return []any{
		column(recs, func(r record) uuid.UUID { return r.ID }),
		column(recs, func(r record) uuid.UUID { return r.DefinitionID }),
		column(recs, func(r record) int32 { return int32(r.DefinitionVersion) }),
		column(recs, func(r record) string { return string(r.Params) }),
		column(recs, func(r record) string { return r.PlacementClass }),
		column(recs, func(r record) int32 { return int32(r.Retries) }),
		column(recs, func(r record) string { return r.FromTask }),
		column(recs, func(r record) *time.Time { return r.RestartedAt }),
		column(recs, func(r record) *time.Time { return r.TotalDeadline }),
		column(recs, func(r record) *time.Time { return r.MissingAt }),
		column(recs, func(r record) string { return string(r.Audience) }),
		column(recs, func(r record) string { return string(r.RestartedFrom) }),
		column(recs, func(r record) int64 { return r.PendingTimeout.Milliseconds() }),
	}
}

// lockSQL locks in the order of ids, so that two batches never wait for each other.
const lockSQL = `SELECT request.*, clock_timestamp() FROM request WHERE id = ANY($1::uuid[]) ORDER BY id FOR UPDATE`

// locked is a row of lockSQL.
type locked struct {
	db.Request
	Now time.Time
}

func recordArgs(recs []request.Record) []any {
	type record = request.Record
	return []any{
		column(recs, func(r record) uuid.UUID { return r.ID }),
		column(recs, func(r record) string { return string(r.State) }),
		column(recs, func(r record) int32 { return int32(r.Run) }),
		column(recs, func(r record) int64 { return r.Version }),
		column(recs, func(r record) int64 { return r.ExecutionVersion }),
		column(recs, func(r record) int32 { return int32(r.ReuseRun) }),
		column(recs, func(r record) time.Time { return r.AgeAt }),
		column(recs, func(r record) *time.Time { return r.ScheduledAt }),
		column(recs, func(r record) bool { return r.Queued }),
		column(recs, func(r record) time.Time { return r.UpdatedAt }),
		column(recs, func(r record) *time.Time { return r.StartedAt }),
		column(recs, func(r record) *time.Time { return r.EndedAt }),
		column(recs, func(r record) *time.Time { return r.CancelRequestedAt }),
		column(recs, func(r record) string { return storable.Text(r.CancelReason) }),
		column(recs, func(r record) *time.Time { return r.PauseRequestedAt }),
		column(recs, func(r record) *time.Time { return r.ResumeAt }),
		column(recs, func(r record) string { return storable.Text(r.ErrorCode) }),
		column(recs, func(r record) string { return storable.Text(r.ErrorMessage) }),
		column(recs, func(r record) *time.Time { return r.PendingUntil }),
	}
}

// Find implements request.Store.
func (s *Store) Find(ctx context.Context, ref request.Ref) ([]request.Record, error) {
	var rows []db.Request
	var err error
	switch {
	case ref.Latest:
		rows, err = s.q.LatestRequest(ctx, ref.OrgID)
	case ref.State == request.Failed:
		rows, err = s.q.LatestFailed(ctx, ref.OrgID)
	default:
		rows, err = s.q.RequestsInRange(ctx, db.RequestsInRangeParams{OrgID: ref.OrgID, Low: ref.Low, High: ref.High})
	}
	if err != nil {
		return nil, fmt.Errorf("find request: %w", err)
	}
	return toRecords(rows), nil
}

// ToLaunch implements request.Store.
func (s *Store) ToLaunch(ctx context.Context, ids []uuid.UUID) ([]request.Record, request.Changes, error) {
	rows, err := s.q.RequestsToLaunch(ctx, ids)
	if err != nil {
		return nil, request.Changes{}, fmt.Errorf("read %d requests: %w", len(ids), err)
	}
	var changes request.Changes
	recs := make([]request.Record, len(rows))
	for i, row := range rows {
		recs[i], changes = toRecord(row.Request), request.Changes{Rules: row.Rules, Configs: row.Configs}
	}
	return recs, changes, nil
}

// Launched implements request.Store.
func (s *Store) Launched(ctx context.Context, launches []request.Launch) error {
	type launch = request.Launch
	audiences := make([]string, len(launches))
	for i := range launches {
		text, err := encodeAudience(launches[i].Audience)
		if err != nil {
			return err
		}
		audiences[i] = string(text)
	}
	err := pgdb.Tx(ctx, s.pool, func(tx pgx.Tx) error {
		return s.q.WithTx(tx).RememberLaunches(ctx, db.RememberLaunchesParams{
			Ids:  column(launches, func(l launch) uuid.UUID { return l.Record.ID }),
			Runs: column(launches, func(l launch) int32 { return int32(l.Record.Run) }),
			Deadlines: column(launches, func(l launch) time.Time {
				if l.TotalTimeout == 0 {
					return time.Unix(0, 0)
				}
				return l.TotalDeadline()
			}),
			Audiences: audiences,
		})
	})
	if err != nil {
		return fmt.Errorf("remember %d launches: %w", len(launches), err)
	}
	return nil
}

// Count implements request.Store.
func (s *Store) Count(ctx context.Context, org, jobType string, states []request.State) (int, error) {
	n, err := s.q.CountRequests(ctx, db.CountRequestsParams{
		OrgID: org, JobType: jobType, States: column(states, func(s request.State) string { return string(s) }), AnyState: len(states) == 0,
	})
	if err != nil {
		return 0, fmt.Errorf("count requests of job type %s: %w", jobType, err)
	}
	return int(n), nil
}
