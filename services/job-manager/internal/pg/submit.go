package pg

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/formicary/formicary/libs/batch"
	"github.com/formicary/formicary/libs/outbox"
	"github.com/formicary/formicary/libs/pgdb"
	"github.com/formicary/formicary/services/job-manager/internal/config"
	"github.com/formicary/formicary/services/job-manager/internal/pg/db"
	"github.com/formicary/formicary/services/job-manager/internal/request"
)

// submitSQL stores a batch and its messages in one statement, which is one transaction and one round trip. The lock on
// the job types is shared by submissions and excludes uploads and deletions, so what `live` says stays true until the
// commit. Keys are inserted in their order, so that two batches never wait for each other.
//
// What a task forks has more conditions: its key was not refused, its type is not disabled, and it may be a plugin while
// its organisation has no type of that name.
const submitSQL = `
WITH draft AS (
    SELECT unnest($1::uuid[]) AS id, unnest($2::text[]) AS org_id, unnest($3::text[]) AS job_type, unnest($4::uuid[]) AS definition_id,
        unnest($5::int[]) AS definition_version, unnest($6::int[]) AS seen, unnest($7::smallint[]) AS priority,
        unnest($8::timestamptz[]) AS scheduled_at, unnest($9::text[]) AS placement_class, unnest($10::text[]) AS params,
        unnest($11::text[]) AS description, unnest($12::text[]) AS idempotency_key, unnest($13::bytea[]) AS request_hash, unnest($14::text[]) AS created_by,
        unnest($15::uuid[]) AS parent_request_id, unnest($16::text[]) AS parent_task, unnest($17::text[]) AS child_key, unnest($18::smallint[]) AS depth, unnest($19::bigint[]) AS pending_ms
), live AS (
    SELECT d.id, d.org_id, d.public_plugin AND t.public_plugin AS lent, t.last_version, t.disabled FROM definition d JOIN job_type t USING (org_id, job_type)
    WHERE d.id = ANY($4::uuid[]) AND d.generation = t.generation AND t.newest_id IS NOT NULL
    FOR SHARE OF t
), made AS (
    INSERT INTO request (id, org_id, job_type, definition_id, definition_version, state, priority, age_at, scheduled_at, queued,
        placement_class, params, description, idempotency_key, request_hash, created_by, created_at, updated_at, check_at,
        parent_request_id, parent_task, child_key, depth, pending_ms, pending_until)
    SELECT n.id, n.org_id, n.job_type, n.definition_id, n.definition_version, 'PENDING', n.priority, now(), n.scheduled_at,
        n.scheduled_at IS NULL OR n.scheduled_at <= now(),
        n.placement_class, n.params::json, n.description, n.idempotency_key, n.request_hash, n.created_by, now(), now(), now(),
        n.parent_request_id, n.parent_task, n.child_key, n.depth, n.pending_ms,
        CASE WHEN n.pending_ms > 0 THEN greatest(now(), n.scheduled_at) + n.pending_ms * interval '1 millisecond' END
    FROM draft n JOIN live ON live.id = n.definition_id
    WHERE n.seen IN (0, live.last_version)
      AND (n.child_key = '' AND n.org_id = live.org_id OR n.child_key <> '' AND NOT live.disabled
        AND NOT EXISTS (SELECT FROM child_refusal x WHERE x.child_key = n.child_key)
        AND (n.org_id = live.org_id OR live.lent
            AND NOT EXISTS (SELECT FROM job_type o WHERE o.org_id = n.org_id AND o.job_type = n.job_type AND o.newest_id IS NOT NULL)))
    ORDER BY n.idempotency_key, n.child_key, n.id
    ON CONFLICT DO NOTHING
    RETURNING id, created_at, queued
), told AS (
    INSERT INTO outbox (id, subject, payload)
    SELECT m.id, m.subject, m.payload
    FROM (SELECT unnest($20::uuid[]) AS id, unnest($21::text[]) AS subject, unnest($22::bytea[]) AS payload, unnest($23::uuid[]) AS about) m
    WHERE m.about IN (SELECT made.id FROM made)
), kept AS (
    INSERT INTO sealed (org_id, scope, name, version, request_id, key_id, data_key, value, created_at, created_by)
    SELECT p.org_id, p.scope, p.name, 0, p.request_id, p.key_id, p.data_key, p.value, now(), p.created_by
    FROM (SELECT unnest($24::uuid[]) AS request_id, unnest($25::text[]) AS org_id, unnest($26::text[]) AS scope, unnest($27::text[]) AS name,
        unnest($28::text[]) AS key_id, unnest($29::bytea[]) AS data_key, unnest($30::bytea[]) AS value, unnest($31::text[]) AS created_by) p
    WHERE p.request_id IN (SELECT made.id FROM made)
)
SELECT id, created_at, queued FROM made`

const submitTries = 4

// Submit implements request.Store.
func (s *Store) Submit(ctx context.Context, drafts []request.Draft) ([]request.Stored, []error) {
	return s.within(ctx, drafts, s.submit)
}

// apart stores drafts together, or one by one where PostgreSQL refuses one of them: it must not take the others with it.
func apart(
	ctx context.Context, drafts []request.Draft, store func(context.Context, []request.Draft) ([]request.Stored, error),
) ([]request.Stored, []error) {
	out, err := store(ctx, drafts)
	switch {
	case err == nil:
		return out, nil
	case len(drafts) == 1 || !Refused(err):
		return nil, batch.All(len(drafts), err)
	}
	out, failed := make([]request.Stored, len(drafts)), make([]error, len(drafts))
	for i := range drafts {
		one, err := store(ctx, drafts[i:i+1])
		if failed[i] = err; err == nil {
			out[i] = one[0]
		}
	}
	return out, failed
}

// Refused says that the content of a row is at fault, as opposed to a database that is away.
func Refused(err error) bool {
	var pg *pgconn.PgError
	return errors.As(err, &pg) && (pg.Code[:2] == "22" || pg.Code[:2] == "23")
}

func (s *Store) submit(ctx context.Context, drafts []request.Draft, most map[string]int64) ([]request.Stored, error) {
	now := time.Now()
	msgs, about := s.submitted(drafts, now)
	args := slices.Concat(draftArgs(drafts), outbox.Args(msgs), []any{about}, sealedArgs(drafts))
	var made map[uuid.UUID]request.Record
	var err error
	for range submitTries {
		if made, err = s.insert(ctx, args, newRoom(drafts, most)); !pgdb.Repeatable(err) {
			break
		}
	}
	if err != nil {
		return nil, fmt.Errorf("store %d submissions: %w", len(drafts), err)
	}
	sent := msgs[:0]
	for i, m := range msgs {
		if _, ok := made[about[i]]; ok {
			sent = append(sent, m)
		}
	}
	s.msgr.Publish(sent)
	s.bounded(drafts)
	return s.outcome(ctx, drafts, made)
}

// bounded tells of drafts that may not wait for ever.
func (s *Store) bounded(drafts []request.Draft) {
	if slices.ContainsFunc(drafts, func(d request.Draft) bool { return d.Record.PendingTimeout > 0 }) {
		s.OnBounded()
	}
}

// submitted is what a batch has to tell, and which request each message depends on. A draft without a key is stored
// unless its definition is outdated, so all drafts without a key that ask for the same share the fate of the first: they
// are told of together.
func (s *Store) submitted(drafts []request.Draft, now time.Time) (msgs []outbox.Message, about []uuid.UUID) {
	type fate struct {
		definition uuid.UUID
		seen       int
		keyed      uuid.UUID // its own fate
	}
	var order []fate
	together := map[fate][]request.Event{}
	for i := range drafts {
		rec := drafts[i].Record
		same := fate{definition: rec.DefinitionID, seen: drafts[i].Seen}
		if rec.IdempotencyKey != "" {
			same.keyed = rec.ID
		}
		if together[same] == nil {
			order = append(order, same)
		}
		together[same] = append(together[same], request.Event{Kind: request.Changed, Record: rec, At: now})
	}
	for _, f := range order {
		events := together[f]
		first := events[0].Record
		msgs, about = append(msgs, s.msgr.Encode(request.Event{Kind: request.Submitted, Record: first, At: now})), append(about, first.ID)
		for some := range slices.Chunk(events, perMessage) {
			msgs, about = append(msgs, s.msgr.Encode(some...)), append(about, first.ID)
		}
	}
	return msgs, about
}

func (s *Store) insert(ctx context.Context, args []any, bounded *room) (made map[uuid.UUID]request.Record, err error) {
	if bounded != nil {
		err = pgdb.Pipelined(ctx, s.pool, func(ctx context.Context, p *pgdb.Pipeline) error {
			check := bounded.queue(p)
			p.Queue(submitSQL, args...).Query(func(rows pgx.Rows) (err error) {
				made, err = scanMade(rows)
				return err
			})
			if err := p.Flush(ctx); err != nil {
				return err
			}
			return check()
		})
		return made, err
	}
	rows, err := s.pool.Query(ctx, submitSQL, args...)
	if err != nil {
		return nil, err
	}
	return scanMade(rows)
}

func scanMade(rows pgx.Rows) (map[uuid.UUID]request.Record, error) {
	made := map[uuid.UUID]request.Record{}
	var r request.Record
	_, err := pgx.ForEachRow(rows, []any{&r.ID, &r.CreatedAt, &r.Queued}, func() error {
		made[r.ID] = r
		return nil
	})
	return made, err
}

// stored completes a draft that was made.
func stored(d request.Draft, made request.Record) request.Stored {
	rec := d.Record
	rec.CreatedAt, rec.UpdatedAt, rec.AgeAt, rec.Queued = made.CreatedAt, made.CreatedAt, made.CreatedAt, made.Queued
	return request.Stored{Record: rec, Created: true}
}

// outcome tells of each draft what became of it.
func (s *Store) outcome(ctx context.Context, drafts []request.Draft, made map[uuid.UUID]request.Record) ([]request.Stored, error) {
	out := make([]request.Stored, len(drafts))
	var orgs, keys []string
	for i := range drafts {
		rec := drafts[i].Record
		if m, ok := made[rec.ID]; ok {
			out[i] = stored(drafts[i], m)
			continue
		}
		out[i].Stale = true
		if rec.IdempotencyKey != "" {
			orgs, keys = append(orgs, rec.OrgID), append(keys, rec.IdempotencyKey)
		}
	}
	if len(keys) == 0 {
		return out, nil
	}
	// The winner of a key has committed: the insert waited for it.
	rows, err := s.q.RequestsByKey(ctx, db.RequestsByKeyParams{Orgs: orgs, Keys: keys})
	if err != nil {
		return nil, fmt.Errorf("find requests by idempotency key: %w", err)
	}
	known := map[typeKey]db.Request{}
	for _, row := range rows {
		known[typeKey{row.OrgID, row.IdempotencyKey}] = row
	}
	for i := range drafts {
		if row, ok := known[typeKey{drafts[i].Record.OrgID, drafts[i].Record.IdempotencyKey}]; ok && !out[i].Created {
			out[i] = request.Stored{Record: toRecord(row)}
		}
	}
	return out, nil
}

// ByKey implements request.Store.
func (s *Store) ByKey(ctx context.Context, org, key string) (request.Record, bool, error) {
	rows, err := s.q.RequestsByKey(ctx, db.RequestsByKeyParams{Orgs: []string{org}, Keys: []string{key}})
	if err != nil {
		return request.Record{}, false, fmt.Errorf("find request by idempotency key: %w", err)
	}
	if len(rows) == 0 {
		return request.Record{}, false, nil
	}
	return toRecord(rows[0]), true, nil
}

func draftArgs(drafts []request.Draft) []any {
	return []any{
		column(drafts, func(d request.Draft) uuid.UUID { return d.Record.ID }),
		column(drafts, func(d request.Draft) string { return d.Record.OrgID }),
		column(drafts, func(d request.Draft) string { return d.Record.JobType }),
		column(drafts, func(d request.Draft) uuid.UUID { return d.Record.DefinitionID }),
		column(drafts, func(d request.Draft) int32 { return int32(d.Record.DefinitionVersion) }),
		column(drafts, func(d request.Draft) int32 { return int32(d.Seen) }),
		column(drafts, func(d request.Draft) int16 { return int16(d.Record.Priority) }),
		column(drafts, func(d request.Draft) *time.Time { return d.Record.ScheduledAt }),
		column(drafts, func(d request.Draft) string { return d.Record.PlacementClass }),
		column(drafts, func(d request.Draft) string { return string(d.Record.Params) }),
		column(drafts, func(d request.Draft) string { return d.Record.Description }),
		column(drafts, func(d request.Draft) string { return d.Record.IdempotencyKey }),
		column(drafts, func(d request.Draft) []byte { return d.Record.Hash }),
		column(drafts, func(d request.Draft) string { return d.Record.CreatedBy }),
		column(drafts, func(d request.Draft) *uuid.UUID { return d.Record.ParentID }),
		column(drafts, func(d request.Draft) string { return d.Record.ParentTask }),
		column(drafts, func(d request.Draft) string { return d.Record.ChildKey }),
		column(drafts, func(d request.Draft) int16 { return int16(d.Record.Depth) }),
		column(drafts, func(d request.Draft) int64 { return d.Record.PendingTimeout.Milliseconds() }),
	}
}

// sealedArgs are the secret parameters of drafts.
func sealedArgs(drafts []request.Draft) []any {
	type kept struct {
		config.Sealing
		of *request.Record
	}
	var all []kept
	for i := range drafts {
		for _, s := range drafts[i].Sealed {
			all = append(all, kept{s, &drafts[i].Record})
		}
	}
	return []any{
		column(all, func(k kept) uuid.UUID { return k.of.ID }),
		column(all, func(k kept) string { return k.Org }),
		column(all, func(k kept) string { return k.Scope }),
		column(all, func(k kept) string { return k.Name }),
		column(all, func(k kept) string { return k.KeyID }),
		column(all, func(k kept) []byte { return k.DataKey }),
		column(all, func(k kept) []byte { return k.Value }),
		column(all, func(k kept) string { return k.of.CreatedBy }),
	}
}

// column takes one value of each row, for unnest.
func column[R, V any](rows []R, get func(R) V) []V {
	values := make([]V, len(rows))
	for i, r := range rows {
		values[i] = get(r)
	}
	return values
}
