package cli

import (
	"context"
	"fmt"
	"io"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	jobv1 "github.com/formicary/formicary/proto/gen/formicary/job/v1"
)

func (a *app) quotaCmd() *cobra.Command {
	return group("quota", "How much an organisation may take", "formicary quota get --org acme", a.quotaGetCmd(), a.quotaSetCmd())
}

func quotaTable(w io.Writer, list []*jobv1.Quota) {
	row(w, "NAME", "LIMIT", "USED", "SET", "BY")
	number := func(n *int64, none string) string {
		if n == nil {
			return none
		}
		return strconv.FormatInt(*n, 10)
	}
	for _, q := range list {
		row(w, q.GetName(), number(q.Limit, "none"), number(q.Used, "-"), clock(q.GetSetAt()), q.GetSetBy())
	}
}

func (a *app) showQuotas(list []*jobv1.Quota) error {
	names := make([]string, len(list))
	for i, q := range list {
		names[i] = q.GetName()
	}
	return a.show(&jobv1.GetQuotaResponse{Quotas: list}, names, func(w io.Writer) { quotaTable(w, list) })
}

func (a *app) quotaGetCmd() *cobra.Command {
	return &cobra.Command{
		Use: "get", Short: "Show the quotas of the organisation in use, and what is used of them", Args: cobra.NoArgs,
		Example: "  formicary quota get\n  formicary quota get --org acme",
		RunE: func(c *cobra.Command, _ []string) error {
			return a.inOrg(c.Context(), func(ctx context.Context, cl *client, org string) error {
				res, err := cl.quotas.GetQuota(ctx, &jobv1.GetQuotaRequest{Org: org})
				if err != nil {
					return err
				}
				return a.showQuotas(res.GetQuotas())
			})
		},
	}
}

func (a *app) quotaSetCmd() *cobra.Command {
	return &cobra.Command{
		Use: "set NAME=LIMIT…", Short: "Set quotas of the organisation in use", Args: cobra.MinimumNArgs(1),
		Long: `Set quotas of the organisation in use, for administrators of the platform. Those that are not named stay as they are.

  queued            requests that wait: further ones are refused (QUOTA_EXCEEDED)
  running           requests that are admitted or run: further ones wait, and formicary request explain says so
  calls_per_second  calls to the API with a token or session: further ones are refused (429) and told when to come again

A limit is a number, or none.`,
		Example: "  formicary quota set queued=1000 running=20 --org acme\n  formicary quota set running=none --org acme",
		RunE: func(c *cobra.Command, args []string) error {
			limits := make(map[string]int64, len(args))
			for _, arg := range args {
				name, text, _ := strings.Cut(arg, "=")
				n, err := strconv.ParseInt(text, 10, 64)
				if text == "none" {
					n, err = -1, nil
				}
				if _, twice := limits[name]; err != nil || n < -1 || name == "" || twice {
					return usageError(fmt.Errorf("%s: want NAME=NUMBER or NAME=none, each name once", arg))
				}
				limits[name] = n
			}
			return a.inOrg(c.Context(), func(ctx context.Context, cl *client, org string) error {
				res, err := cl.quotas.SetQuota(ctx, &jobv1.SetQuotaRequest{Org: org, Limits: limits})
				if err != nil {
					return err
				}
				return a.showQuotas(res.GetQuotas())
			})
		},
	}
}
