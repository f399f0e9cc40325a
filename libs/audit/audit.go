// Package audit checks invariants: SQL statements that return a row for everything that must never be.
package audit

import (
	"context"
	"fmt"
	"strings"

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

// Failure is a check that could not be made: nothing is known of its invariant.
type Failure struct {
	Check string `json:"check"`
	Error string `json:"error"`
}

// Incomplete is the error of an audit in which some checks could not be made. What the others found is right.
type Incomplete struct{ Failures []Failure }

// Error names the checks.
func (e *Incomplete) Error() string {
	faults := make([]string, len(e.Failures))
	for i, f := range e.Failures {
		faults[i] = f.Check + ": " + f.Error
	}
	return fmt.Sprintf("%d checks could not be made: %s", len(faults), strings.Join(faults, "; "))
}

// Run applies the checks to one snapshot of the schema that pool's search path names. A check that fails does not keep
// the others from being made: then there are findings beside an error, which is an Incomplete.
func Run(ctx context.Context, pool *pgxpool.Pool, checks []Check) ([]Violation, error) {
	var found []Violation
	missing := &Incomplete{}
	snapshot := pgx.TxOptions{IsoLevel: pgx.RepeatableRead, AccessMode: pgx.ReadOnly}
	err := pgx.BeginTxFunc(ctx, pool, snapshot, func(tx pgx.Tx) error {
		for _, c := range checks {
			details, err := apply(ctx, tx, c)
			if err != nil {
				missing.Failures = append(missing.Failures, Failure{Check: c.Name, Error: err.Error()})
			}
			for _, d := range details {
				found = append(found, Violation{Check: c.Name, Detail: d})
			}
		}
		return nil
	})
	switch {
	case len(missing.Failures) > 0:
		return found, missing
	case err != nil:
		return nil, fmt.Errorf("audit: %w", err)
	}
	return found, nil
}

// apply makes a check behind a savepoint: the failure of one statement would end the transaction of all.
func apply(ctx context.Context, tx pgx.Tx, c Check) (details []string, err error) {
	err = pgx.BeginFunc(ctx, tx, func(tx pgx.Tx) error {
		rows, err := tx.Query(ctx, c.SQL)
		if err != nil {
			return err
		}
		details, err = pgx.CollectRows(rows, pgx.RowTo[string])
		return err
	})
	return details, err
}
