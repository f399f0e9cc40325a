// Package audit checks invariants: SQL statements that return a row for everything that must never be.
package audit

import (
	"context"
	"fmt"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
)

// Check is one invariant of a schema.
type Check struct {
	// Name is stable: it names the metric and the finding.
	Name string
	// SQL returns one text column: a line per violation, for a person. It limits itself to a few.
	SQL string
}

// Violation is one finding.
type Violation struct {
	Check  string `json:"check"`
	Detail string `json:"detail"`
}

// Run applies the checks to one snapshot of the schema that pool's search path names.
func Run(ctx context.Context, pool *pgxpool.Pool, checks []Check) ([]Violation, error) {
	var found []Violation
	snapshot := pgx.TxOptions{IsoLevel: pgx.RepeatableRead, AccessMode: pgx.ReadOnly}
	err := pgx.BeginTxFunc(ctx, pool, snapshot, func(tx pgx.Tx) error {
		for _, c := range checks {
			rows, err := tx.Query(ctx, c.SQL)
			if err != nil {
				return fmt.Errorf("check %s: %w", c.Name, err)
			}
			details, err := pgx.CollectRows(rows, pgx.RowTo[string])
			if err != nil {
				return fmt.Errorf("check %s: %w", c.Name, err)
			}
			for _, d := range details {
				found = append(found, Violation{Check: c.Name, Detail: d})
			}
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("audit: %w", err)
	}
	return found, nil
}
