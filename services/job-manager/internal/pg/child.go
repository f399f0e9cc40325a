package pg

import (
	"context"
	"fmt"
	"slices"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/formicary/formicary/libs/errs"
	"github.com/formicary/formicary/libs/outbox"
	"github.com/formicary/formicary/libs/pgdb"
	"github.com/formicary/formicary/services/job-manager/internal/pg/db"
	"github.com/formicary/formicary/services/job-manager/internal/request"
)

const (
	// childLockSQL is what LockChildren waits for: a key that is refused is not being submitted at the same time.
	childLockSQL = `SELECT pg_advisory_xact_lock_shared(hashtext(current_schema() || '.child'))`

	// borrowSQL gives the organisations that fork plugins a type of the name, which holds the switch and the limit.
	borrowSQL = `
INSERT INTO job_type AS b (org_id, job_type, plugin_org, disabled, max_concurrency)
SELECT DISTINCT n.org_id, t.job_type, t.org_id, t.disabled, t.max_concurrency
FROM (SELECT unnest($1::text[]) AS org_id, unnest($2::text[]) AS job_type, unnest($3::text[]) AS owner) n
JOIN job_type t ON t.org_id = n.owner AND t.job_type = n.job_type
WHERE NOT EXISTS (SELECT FROM job_type o WHERE o.org_id = n.org_id AND o.job_type = n.job_type
    AND (o.newest_id IS NOT NULL OR o.plugin_org = t.org_id AND o.disabled = t.disabled AND o.max_concurrency = t.max_concurrency))
ORDER BY 1, 2
ON CONFLICT (org_id, job_type) DO UPDATE
SET plugin_org = excluded.plugin_org, disabled = excluded.disabled, max_concurrency = excluded.max_concurrency
WHERE b.newest_id IS NULL`
)

// SubmitChildren implements request.Store.
func (s *Store) SubmitChildren(ctx context.Context, drafts []request.Draft) ([]request.Stored, []error) {
	out, failed := s.within(ctx, drafts, s.submitChildren)
	for i, err := range failed {
		if Refused(err) {
			failed[i] = errs.Invalid("PARAMS_INVALID", "the job holds what cannot be stored")
		}
	}
	return out, failed
}

// submitChildren differs from submit: thousands of forks come at once, so what they tell is gathered from those that
// were made instead of being prepared for each.
func (s *Store) submitChildren(ctx context.Context, drafts []request.Draft, most map[string]int64) ([]request.Stored, error) {
	var out []request.Stored
	err := s.pipelined(ctx, func(ctx context.Context, p *pgdb.Pipeline) ([]outbox.Message, error) {
		var made map[uuid.UUID]request.Record
		p.Queue(childLockSQL)
		check := newRoom(drafts, most).queue(p)
		args := slices.Concat(draftArgs(drafts), outbox.Args(nil), []any{[]uuid.UUID{}}, sealedArgs(drafts))
		p.Queue(submitSQL, args...).Query(func(rows pgx.Rows) (err error) {
			made, err = scanMade(rows)
			return err
		})
		if borrowed := borrowArgs(drafts); borrowed != nil {
			p.Queue(borrowSQL, borrowed...)
		}
		if err := p.Flush(ctx); err != nil {
			return nil, err
		}
		if err := check(); err != nil {
			return nil, err
		}
		out = make([]request.Stored, len(drafts))
		var events []request.Event
		for i, d := range drafts {
			m, ok := made[d.Record.ID]
			if !ok {
				out[i].Stale = true
				continue
			}
			out[i] = stored(d, m)
			rec := out[i].Record
			events = append(events,
				request.Event{Kind: request.Submitted, Record: rec, At: rec.CreatedAt}, request.Event{Kind: request.Changed, Record: rec, At: rec.CreatedAt})
		}
		return s.messages(events), nil
	})
	if err != nil {
		return nil, fmt.Errorf("store %d children: %w", len(drafts), err)
	}
	s.bounded(drafts)
	return out, nil
}

// borrowArgs names the plugins of other organisations; nil when there is none.
func borrowArgs(drafts []request.Draft) []any {
	seen := map[[3]string]bool{}
	var orgs, types, owners []string
	for i := range drafts {
		d := &drafts[i]
		key := [3]string{d.Record.OrgID, d.Record.JobType, d.Owner}
		if d.Owner != d.Record.OrgID && !seen[key] {
			seen[key] = true
			orgs, types, owners = append(orgs, key[0]), append(types, key[1]), append(owners, key[2])
		}
	}
	if orgs == nil {
		return nil
	}
	return []any{orgs, types, owners}
}

// Family implements request.Store.
func (s *Store) Family(ctx context.Context, keys []string, parents []uuid.UUID) (request.Family, error) {
	f := request.Family{Children: map[string]request.Record{}, Refused: map[string]bool{}, Parents: map[uuid.UUID]request.Record{}}
	if len(keys) > 0 {
		rows, err := s.q.ChildrenByKey(ctx, keys)
		if err != nil {
			return f, fmt.Errorf("find %d children: %w", len(keys), err)
		}
		for _, row := range rows {
			f.Children[row.ChildKey] = toRecord(row)
		}
		refused, err := s.q.RefusedChildren(ctx, keys)
		if err != nil {
			return f, fmt.Errorf("find refused children: %w", err)
		}
		for _, key := range refused {
			f.Refused[key] = true
		}
	}
	if len(parents) > 0 {
		rows, err := s.q.Parents(ctx, parents)
		if err != nil {
			return f, fmt.Errorf("find %d parents: %w", len(parents), err)
		}
		for _, row := range rows {
			f.Parents[row.ID] = request.Record{ID: row.ID, OrgID: row.OrgID, JobType: row.JobType, Depth: int(row.Depth), CreatedBy: row.CreatedBy}
		}
	}
	return f, nil
}

// Refuse implements request.Store.
func (s *Store) Refuse(ctx context.Context, keys []string, reason string) ([]uuid.UUID, error) {
	var ids []uuid.UUID
	err := pgdb.Tx(ctx, s.pool, func(tx pgx.Tx) error {
		q := s.q.WithTx(tx)
		if err := q.LockChildren(ctx); err != nil {
			return err
		}
		if err := q.RefuseChildren(ctx, db.RefuseChildrenParams{Keys: keys, Reason: reason}); err != nil {
			return err
		}
		var err error
		ids, err = q.ChildIDs(ctx, keys)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("refuse %d children: %w", len(keys), err)
	}
	return ids, nil
}
