package pg

import (
	"context"
	"errors"
	"fmt"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/formicary/formicary/libs/errs"
	"github.com/formicary/formicary/libs/jobspec/errorrule"
	"github.com/formicary/formicary/libs/pgdb"
	"github.com/formicary/formicary/services/job-manager/internal/errorcode"
	"github.com/formicary/formicary/services/job-manager/internal/pg/db"
)

// ErrorRules implements errorcode.Store.
type ErrorRules struct {
	pool *pgxpool.Pool
	q    *db.Queries
}

// NewErrorRules returns the rules of the schema that pool's search path names.
func NewErrorRules(pool *pgxpool.Pool) *ErrorRules {
	return &ErrorRules{pool: pool, q: db.New(pool)}
}

// Rules implements errorcode.Store.
func (s *ErrorRules) Rules(ctx context.Context, org string) ([]errorcode.Rule, error) {
	rows, err := s.q.RulesOf(ctx, org)
	if err != nil {
		return nil, fmt.Errorf("read error rules: %w", err)
	}
	rules := make([]errorcode.Rule, len(rows))
	for i, row := range rows {
		rules[i] = toRule(row)
	}
	return rules, nil
}

// Save implements errorcode.Store. The count of changes is locked first, so that rules of an organisation are counted
// and stored one after the other.
func (s *ErrorRules) Save(ctx context.Context, r errorcode.Rule, limit int) (errorcode.Rule, error) {
	var stored db.ErrorRule
	err := s.change(ctx, func(q *db.Queries) (err error) {
		if r.ID != uuid.Nil {
			stored, err = q.UpdateRule(ctx, db.UpdateRuleParams{
				ID: r.ID, OrgID: r.OrgID, JobType: r.JobType, Task: r.Task, Platform: r.Platform, Command: r.Command, Regex: r.Regex,
				ExitCode: r.ExitCode, ErrorCode: r.ErrorCode, Description: r.Description, DisplayMessage: r.Message,
				DisplayCode: r.DisplayCode, Action: r.Action, Retry: int32(r.Retry), UpdatedBy: r.UpdatedBy,
			})
			if errors.Is(err, pgx.ErrNoRows) {
				return errorcode.NotFound(r.ID)
			}
			return err
		}
		n, err := q.CountRules(ctx, r.OrgID)
		if err != nil {
			return err
		}
		if n >= int64(limit) {
			return errs.Exhausted("TOO_MANY_ERROR_CODES", "an organisation may have at most %d error codes", limit)
		}
		id, err := uuid.NewV7()
		if err != nil {
			return err
		}
		stored, err = q.InsertRule(ctx, db.InsertRuleParams{
			ID: id, OrgID: r.OrgID, JobType: r.JobType, Task: r.Task, Platform: r.Platform, Command: r.Command, Regex: r.Regex,
			ExitCode: r.ExitCode, ErrorCode: r.ErrorCode, Description: r.Description, DisplayMessage: r.Message,
			DisplayCode: r.DisplayCode, Action: r.Action, Retry: int32(r.Retry), UpdatedBy: r.UpdatedBy,
		})
		return err
	})
	if Refused(err) {
		return errorcode.Rule{}, errs.Invalid("INVALID_ERROR_CODE", "the error code holds what cannot be stored")
	}
	if err != nil {
		return errorcode.Rule{}, fmt.Errorf("store an error rule: %w", err)
	}
	return toRule(stored), nil
}

// Delete implements errorcode.Store.
func (s *ErrorRules) Delete(ctx context.Context, org string, id uuid.UUID) error {
	err := s.change(ctx, func(q *db.Queries) error {
		n, err := q.DeleteRule(ctx, db.DeleteRuleParams{ID: id, OrgID: org})
		if err == nil && n == 0 {
			return errorcode.NotFound(id)
		}
		return err
	})
	if err != nil {
		return fmt.Errorf("delete error rule %s: %w", id, err)
	}
	return nil
}

// change counts a change that f makes.
func (s *ErrorRules) change(ctx context.Context, f func(q *db.Queries) error) error {
	return pgdb.Tx(ctx, s.pool, func(tx pgx.Tx) error {
		q := s.q.WithTx(tx)
		if err := q.CountRuleChange(ctx); err != nil {
			return err
		}
		return f(q)
	})
}

func toRule(r db.ErrorRule) errorcode.Rule {
	return errorcode.Rule{
		ID: r.ID, OrgID: r.OrgID, Description: r.Description, UpdatedAt: r.UpdatedAt, UpdatedBy: r.UpdatedBy,
		Rule: errorrule.Rule{
			JobType: r.JobType, Task: r.Task, Platform: r.Platform, Command: r.Command, Regex: r.Regex, ExitCode: r.ExitCode,
			ErrorCode: r.ErrorCode, Message: r.DisplayMessage, DisplayCode: r.DisplayCode, Action: r.Action, Retry: int(r.Retry),
		},
	}
}
