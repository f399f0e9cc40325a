package cli

import (
	"context"
	"encoding/json"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/formicary/formicary/services/formicary/internal/audit"
)

func (a *app) auditCmd() *cobra.Command {
	c := &cobra.Command{
		Use: "audit", Short: "Prove the invariants of a colony on its databases",
		Long: `Prove the invariants of a colony on its databases: those of each service's schema, and those between the schemas.
It reads the addresses from --colony, $FORMICARY_COLONY or ./formicary-data/colony.json. Exit code 1 when anything is
violated, 6 when nothing is but a check could not be made.`,
		Example: "  formicary audit --colony formicary-data/colony.json",
		Args:    cobra.NoArgs,
		RunE:    func(c *cobra.Command, _ []string) error { return a.audit(c.Context()) },
	}
	c.AddCommand(a.auditLogCmd())
	return c
}

func (a *app) audit(ctx context.Context) error {
	col, err := a.colonyOf()
	if err != nil {
		return err
	}
	limit := a.timeout
	if limit == 0 {
		limit = 10 * callTime // a large history takes its time
	}
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	report, err := audit.Run(ctx, col)
	if err != nil {
		return &exit{exitUnavailable, err}
	}
	if a.output == "json" || a.output == "yaml" {
		raw, err := json.Marshal(report)
		if err != nil {
			return fmt.Errorf("encode report: %w", err)
		}
		if err := a.showJSON(raw); err != nil {
			return err
		}
	} else {
		for _, v := range report.Violations {
			printf(a.Out, "VIOLATION %s: %s\n", v.Check, v.Detail)
		}
		for _, f := range report.Failures {
			printf(a.Err, "NOT CHECKED %s: %s\n", f.Check, f.Error)
		}
		if len(report.Violations) == 0 && len(report.Failures) == 0 {
			printf(a.Out, "clean: %d checks\n", report.Checks)
		}
	}
	switch {
	case len(report.Violations) > 0:
		return &exit{code: exitFailed}
	case len(report.Failures) > 0:
		return &exit{exitUnavailable, fmt.Errorf("%d checks could not be made", len(report.Failures))}
	}
	return nil
}
