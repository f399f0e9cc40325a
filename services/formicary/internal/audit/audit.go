// Package audit proves the invariants of a colony: those of each schema, which its service states, and those between
// schemas and the object store, which only somebody who sees all of them can compare.
package audit

import (
	"context"
	"errors"
	"sync"

	"github.com/jackc/pgx/v5/pgxpool"

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
	// Violations are what was found.
	Violations []audit.Violation `json:"violations"`
	// Failures are the checks that could not be made; the report is clean when both lists are empty.
	Failures []audit.Failure `json:"failures"`
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
		pool, err := pgdb.Open(ctx, dsn, pgdb.Options{Name: "audit", Schema: o.schema, MaxConns: 2, Org: pgdb.Everyone, Whole: true})
		if err != nil {
			return Report{}, err
		}
		pools[o.schema] = pool
	}
	if missing != nil {
		return Report{}, missing
	}
	return inspect(ctx, all, stores{pools, col.S3, col.KeyRing}), nil
}

// inspect makes every check, whatever becomes of the others.
func inspect(ctx context.Context, all []owner, s stores) Report {
	parts := make([]Report, len(all)+len(comparisons))
	var wg sync.WaitGroup
	for i, o := range all {
		wg.Go(func() { parts[i] = o.inspect(ctx, s.pools[o.schema]) })
	}
	for i, c := range comparisons {
		wg.Go(func() { parts[len(all)+i] = c.inspect(ctx, s) })
	}
	wg.Wait()
	report := Report{Violations: []audit.Violation{}, Failures: []audit.Failure{}}
	for _, p := range parts {
		report.Checks += p.Checks
		report.Violations = append(report.Violations, p.Violations...)
		report.Failures = append(report.Failures, p.Failures...)
	}
	return report
}

// inspect makes the checks of one schema.
func (o owner) inspect(ctx context.Context, pool *pgxpool.Pool) Report {
	found, err := audit.Run(ctx, pool, o.checks)
	r := Report{Checks: len(o.checks), Violations: found}
	if missing, ok := errors.AsType[*audit.Incomplete](err); ok {
		r.Failures = missing.Failures
	} else if err != nil {
		r.Failures = []audit.Failure{{Check: "schema " + o.schema, Error: err.Error()}}
	}
	return r
}
