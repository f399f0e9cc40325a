package view

import (
	"context"
	"errors"
	"fmt"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/formicary/formicary/libs/errs"
	"github.com/formicary/formicary/libs/storable"
	"github.com/formicary/formicary/services/supervisor/internal/artifact"
)

const artifactColumns = `id, org_id, kind, coalesce(request_id, '00000000-0000-0000-0000-000000000000'), run, job_type, task, attempt, name, key, bytes, files, sha256, created_at, expires_at`

func scanArtifact(row pgx.CollectableRow) (a artifact.Artifact, err error) {
	return a, row.Scan(&a.ID, &a.Org, &a.Kind, &a.Request, &a.Run, &a.JobType, &a.Task, &a.Attempt, &a.Name, &a.Key, &a.Bytes, &a.Files, &a.SHA256,
		&a.CreatedAt, &a.ExpiresAt)
}

// Artifact returns one of an org.
func (s *Store) Artifact(ctx context.Context, org string, id uuid.UUID) (artifact.Artifact, error) {
	rows, err := s.reads.Query(ctx, `SELECT `+artifactColumns+` FROM artifact WHERE id = $1 AND org_id = $2`, id, org)
	if err != nil {
		return artifact.Artifact{}, fmt.Errorf("read artifact %s: %w", id, err)
	}
	a, err := pgx.CollectExactlyOneRow(rows, scanArtifact)
	if errors.Is(err, pgx.ErrNoRows) {
		return a, errs.NotFound("ARTIFACT_NOT_FOUND", "artifact %s does not exist (any more)", id)
	}
	if err != nil {
		return a, fmt.Errorf("read artifact %s: %w", id, err)
	}
	return a, nil
}

// Artifacts lists those of an org, the newest first.
func (s *Store) Artifacts(ctx context.Context, f artifact.Filter) ([]artifact.Artifact, error) {
	sql, args := artifactsSQL(f)
	rows, err := s.reads.Query(ctx, sql, args...)
	if err != nil {
		return nil, fmt.Errorf("list artifacts: %w", err)
	}
	all, err := pgx.CollectRows(rows, scanArtifact)
	if err != nil {
		return nil, fmt.Errorf("list artifacts: %w", err)
	}
	return all, nil
}

func artifactsSQL(f artifact.Filter) (sql string, args []any) {
	where := `org_id = $1 AND (created_at, id) < ($2, $3)`
	args = []any{f.Org, f.Before, f.BeforeID, f.Limit}
	and := func(condition string, value any) {
		args = append(args, value)
		where += fmt.Sprintf(" AND "+condition, len(args))
	}
	if f.Request != uuid.Nil {
		and("request_id = $%d", f.Request)
	}
	if f.Run > 0 {
		and("run = $%d", f.Run)
	}
	if f.JobType != "" {
		and("job_type = $%d", storable.Text(f.JobType))
	}
	if f.Name != "" {
		and("name = $%d", storable.Text(f.Name))
	}
	const newest = ` ORDER BY created_at DESC, id DESC LIMIT $4`
	if f.Task == "" {
		return `SELECT ` + artifactColumns + ` FROM artifact WHERE ` + where + newest, args
	}
	// Of a task, or of the items of one: each has its index.
	args = append(args, storable.Text(f.Task))
	of := func(column string) string {
		return fmt.Sprintf(`(SELECT * FROM artifact WHERE %s AND %s = $%d%s)`, where, column, len(args), newest)
	}
	return `SELECT ` + artifactColumns + ` FROM (` + of("task") + ` UNION ALL ` + of("group_task") + `) a` + newest, args
}
