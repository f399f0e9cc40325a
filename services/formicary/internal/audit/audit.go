// Package audit proves the invariants of a colony: those of each schema, which its service states, and those between
// schemas, which only somebody who sees all of them can compare.
package audit

import (
	"context"
	"errors"
	"fmt"

	"github.com/jackc/pgx/v5/pgxpool"
	"golang.org/x/sync/errgroup"

	"github.com/formicary/formicary/libs/audit"
	"github.com/formicary/formicary/libs/colony"
	"github.com/formicary/formicary/libs/pgdb"
	jobmanager "github.com/formicary/formicary/services/job-manager"
	resourcemanager "github.com/formicary/formicary/services/resource-manager"
	"github.com/formicary/formicary/services/supervisor"
)

// Report is the result of one audit.
type Report struct {
	// Checks counts the invariants that were looked at.
	Checks int `json:"checks"`
	// Violations are what was found; empty means clean.
	Violations []audit.Violation `json:"violations"`
}

// owner is a service with a schema.
type owner struct {
	service, schema string
	checks          []audit.Check
}

func owners() []owner {
	return []owner{
		{"job-manager", "job", jobmanager.Invariants()},
		{"resource-manager", "resource", resourcemanager.Invariants()},
		{"supervisor", "execution", supervisor.Invariants()},
	}
}

// Run audits the databases that col names.
func Run(ctx context.Context, col colony.Colony) (Report, error) {
	all := owners()
	pools := map[string]*pgxpool.Pool{}
	defer func() {
		for _, p := range pools {
			p.Close()
		}
	}()
	var missing error
	for _, o := range all {
		dsn, err := col.DSN(o.service)
		if err != nil {
			missing = errors.Join(missing, err)
			continue
		}
		pool, err := pgdb.Open(ctx, dsn, pgdb.Options{Name: "audit", Schema: o.schema, MaxConns: 2, Whole: true})
		if err != nil {
			return Report{}, err
		}
		pools[o.schema] = pool
	}
	if missing != nil {
		return Report{}, missing
	}
	return inspect(ctx, all, pools)
}

func inspect(ctx context.Context, all []owner, pools map[string]*pgxpool.Pool) (Report, error) {
	found := make([][]audit.Violation, len(all)+1)
	report := Report{Violations: []audit.Violation{}}
	g, gctx := errgroup.WithContext(ctx)
	for i, o := range all {
		report.Checks += len(o.checks)
		g.Go(func() (err error) {
			if found[i], err = audit.Run(gctx, pools[o.schema], o.checks); err != nil {
				return fmt.Errorf("schema %s: %w", o.schema, err)
			}
			return nil
		})
	}
	report.Checks += crossChecks
	g.Go(func() (err error) {
		found[len(all)], err = across(gctx, pools)
		return err
	})
	if err := g.Wait(); err != nil {
		return Report{}, err
	}
	for _, f := range found {
		report.Violations = append(report.Violations, f...)
	}
	return report, nil
}
