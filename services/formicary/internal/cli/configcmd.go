package cli

import (
	"context"
	"io"

	"github.com/spf13/cobra"

	jobv1 "github.com/formicary/formicary/proto/gen/formicary/job/v1"
)

func (a *app) configCmd() *cobra.Command {
	return group("config", "Values that definitions use by their names", "formicary config set REGION eu-1 --job deploy",
		a.configSetCmd(), a.configListCmd(), a.configGetCmd(), a.configRemoveCmd())
}

func (a *app) configSetCmd() *cobra.Command {
	s, kind, about := &scopeFlags{}, "", ""
	c := &cobra.Command{
		Use: "set NAME VALUE", Short: "Store a config; secrets are stored by formicary secret set", Args: cobra.ExactArgs(2),
		Example: "  formicary config set REGION eu-1\n  formicary config set REPLICAS 3 --type int --job deploy",
		RunE: func(c *cobra.Command, args []string) error {
			return a.with(c.Context(), func(ctx context.Context, cl *client) error {
				res, err := cl.configs.SetConfig(ctx, &jobv1.SetConfigRequest{Scope: s.String(), Name: args[0], Value: args[1], Type: kind, Description: about})
				if err != nil {
					return err
				}
				return a.showConfigs([]*jobv1.Config{res.GetConfig()})
			})
		},
	}
	c.Flags().StringVar(&kind, "type", "", "`type` of the value: string, int, number, bool or json")
	c.Flags().StringVar(&about, "description", "", "`text` for people")
	return s.add(c)
}

func (a *app) showConfigs(all []*jobv1.Config) error {
	names := make([]string, len(all))
	for i, c := range all {
		names[i] = c.GetName()
	}
	return a.show(&jobv1.ListConfigsResponse{Configs: all}, names, func(w io.Writer) {
		row(w, "NAME", "SCOPE", "TYPE", "VALUE", "BY")
		for _, c := range all {
			row(w, c.GetName(), c.GetScope(), c.GetType(), firstLine(c.GetValue()), c.GetUpdatedBy())
		}
	})
}

func (a *app) configListCmd() *cobra.Command {
	s := &scopeFlags{}
	return s.add(&cobra.Command{
		Use: "list", Short: "List the configs of a scope", Args: cobra.NoArgs, Example: "  formicary config list --job deploy",
		RunE: func(c *cobra.Command, _ []string) error {
			return a.with(c.Context(), func(ctx context.Context, cl *client) error {
				var all []*jobv1.Config
				err := pages(func(token string) (string, error) {
					page, err := cl.configs.ListConfigs(ctx, &jobv1.ListConfigsRequest{Scope: s.String(), PageSize: pageSize, PageToken: token})
					all = append(all, page.GetConfigs()...)
					return page.GetNextPageToken(), err
				})
				if err != nil {
					return err
				}
				return a.showConfigs(all)
			})
		},
	})
}

func (a *app) configGetCmd() *cobra.Command {
	s := &scopeFlags{}
	return s.add(&cobra.Command{
		Use: "get NAME", Short: "Show a config", Args: cobra.ExactArgs(1), Example: "  formicary config get REGION",
		RunE: func(c *cobra.Command, args []string) error {
			return a.with(c.Context(), func(ctx context.Context, cl *client) error {
				res, err := cl.configs.GetConfig(ctx, &jobv1.GetConfigRequest{Scope: s.String(), Name: args[0]})
				if err != nil {
					return err
				}
				return a.showConfigs([]*jobv1.Config{res.GetConfig()})
			})
		},
	})
}

func (a *app) configRemoveCmd() *cobra.Command {
	s := &scopeFlags{}
	return s.add(&cobra.Command{
		Use: "rm NAME", Short: "Remove a config", Args: cobra.ExactArgs(1), Example: "  formicary config rm REGION",
		RunE: func(c *cobra.Command, args []string) error {
			return a.with(c.Context(), func(ctx context.Context, cl *client) error {
				_, err := cl.configs.DeleteConfig(ctx, &jobv1.DeleteConfigRequest{Scope: s.String(), Name: args[0]})
				return err
			})
		},
	})
}
