package pg

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/formicary/formicary/services/job-manager/internal/pg/db"
	"github.com/formicary/formicary/services/job-manager/internal/request"
)

// List implements request.Store.
func (s *Store) List(ctx context.Context, f request.Filter) ([]request.Record, error) {
	sql, args := listSQL(f)
	rows, err := s.pool.Query(ctx, sql, args...)
	if err != nil {
		return nil, fmt.Errorf("list requests: %w", err)
	}
	list, err := pgx.CollectRows(rows, pgx.RowToStructByPos[db.Request])
	if err != nil {
		return nil, fmt.Errorf("list requests: %w", err)
	}
	return toRecords(list), nil
}

// listSQL reads each state of the filter through its own part of an index and merges the newest of them, so that a page
// costs a few rows of each state, whatever else there is. Only the whole organisation has an index without the state.
func listSQL(f request.Filter) (string, []any) {
	args := []any{f.OrgID}
	where := "org_id = $1"
	and := func(condition string, arg any) {
		args = append(args, arg)
		where += fmt.Sprintf(" AND "+condition, len(args))
	}
	if f.Parent != uuid.Nil {
		and("parent_request_id = $%d", f.Parent)
	}
	if f.JobType != "" {
		and("job_type = $%d", f.JobType)
	}
	if f.Before != uuid.Nil {
		and("id < $%d", f.Before)
	}
	args = append(args, f.Limit)
	order := fmt.Sprintf(" ORDER BY id DESC LIMIT $%d", len(args))

	states := slices.Clone(f.States)
	switch {
	case len(states) > 0:
	case f.Parent == uuid.Nil && f.JobType == "":
		return "SELECT * FROM request WHERE " + where + order, args
	default:
		states = request.States()
	}
	slices.Sort(states)
	var parts []string
	for _, state := range slices.Compact(states) { // constants: the caller maps an enum
		parts = append(parts, "(SELECT * FROM request WHERE "+where+" AND state = '"+string(state)+"'"+order+")")
	}
	if len(parts) == 1 {
		return parts[0], args
	}
	return strings.Join(parts, " UNION ALL ") + order, args
}
