package auditpg

import (
	"context"
	"fmt"
	"strings"

	"github.com/jackc/pgx/v5"

	"github.com/formicary/formicary/libs/pgdb"
	"github.com/formicary/formicary/services/api-gateway/internal/auditlog"
	"github.com/formicary/formicary/services/api-gateway/internal/auditpg/db"
)

// The filters of a list come in any combination, and a query that names them all ("org = $1 OR $1 = ''") uses no index: this one is
// put together by hand, of the conditions that are asked for.

// columns in the order of db.AuditEvent.
const columns = `seq, id, at, org_id, actor, actor_kind, credential, method, permission, object_kind, object_id, request_digest, before_digest,
after_digest, address, request_id, agent, outcome, code, reason, took_us, prev_hash, hash`

// List implements auditlog.Store.
func (s *Store) List(ctx context.Context, f auditlog.Filter) ([]*auditlog.Event, error) {
	if f.Platform { // it sees what happened in all organisations, and in none
		ctx = pgdb.OwnWork(ctx)
	}
	sql, args := listSQL(f)
	rows, err := s.pool.Query(ctx, sql, args...)
	if err != nil {
		return nil, said("list audit events", err)
	}
	found, err := pgx.CollectRows(rows, pgx.RowToStructByPos[db.AuditEvent])
	events := make([]*auditlog.Event, len(found))
	for i, r := range found {
		events[i] = event(r)
	}
	return events, said("list audit events", err)
}

func listSQL(f auditlog.Filter) (sql string, args []any) {
	var where []string
	add := func(condition string, arg any) {
		args = append(args, arg)
		where = append(where, strings.ReplaceAll(condition, "?", fmt.Sprintf("$%d", len(args))))
	}
	for _, c := range [...]struct{ column, value string }{
		{"org_id", f.Org}, {"actor", f.Actor}, {"object_kind", f.ObjectKind}, {"object_id", f.ObjectID}, {"outcome", string(f.Outcome)},
	} {
		if c.value != "" {
			add(c.column+" = ?", c.value)
		}
	}
	if f.Action != "" {
		add("(permission = ? OR starts_with(permission, ?||'.') OR split_part(method, '/', 2) = ? OR method = ?)", f.Action)
	}
	if !f.Since.IsZero() {
		add("at >= ?", f.Since)
	}
	if !f.Until.IsZero() {
		add("at < ?", f.Until)
	}
	if f.Before > 0 {
		add("seq < ?", f.Before)
	}
	if f.After > 0 {
		add("seq > ?", f.After)
	}
	order := "DESC"
	if f.Oldest {
		order = "ASC"
	}
	if len(where) == 0 {
		where = []string{"true"}
	}
	args = append(args, f.Limit)
	return fmt.Sprintf("SELECT %s FROM audit_event WHERE %s ORDER BY seq %s LIMIT $%d", columns, strings.Join(where, " AND "), order, len(args)), args
}
