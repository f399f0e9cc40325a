package cli

import (
	"context"
	"io"

	"github.com/spf13/cobra"

	resourcev1 "github.com/formicary/formicary/proto/gen/formicary/resource/v1"
)

func (a *app) antTokenCmd() *cobra.Command {
	return group("token", "Join tokens: let ants into the colony", "formicary ant token create --pool build",
		a.antTokenCreateCmd(), a.antTokenListCmd(), a.antTokenRevokeCmd())
}

func (a *app) antTokenCreateCmd() *cobra.Command {
	req := &resourcev1.CreateJoinTokenRequest{}
	c := &cobra.Command{
		Use: "create", Short: "Make a token with which one ant joins, and print it, this once", Args: cobra.NoArgs,
		Long: `Make a token with which one ant joins the colony within 15 minutes. The ant works for the organisation in use and is of the
pool; neither changes until it joins again. The token also tells the ant which authority it may trust: give it to nobody else.`,
		Example: "  formicary ant token create --pool build\n  formicary ant start --id ant-2 --data ant-2 --join \"$(formicary ant token create -q)\"",
		RunE: func(c *cobra.Command, _ []string) error {
			return a.with(c.Context(), func(ctx context.Context, cl *client) error {
				res, err := cl.antIdentity.CreateJoinToken(ctx, req)
				if err != nil {
					return err
				}
				return a.show(res, []string{res.GetToken()}, func(w io.Writer) {
					fact(w, "Token", res.GetToken())
					fact(w, "Id", res.GetInfo().GetId())
					fact(w, "Works for", orAll(res.GetInfo().GetOrgId()))
					fact(w, "Pool", res.GetInfo().GetPool())
					fact(w, "Expires", clock(res.GetInfo().GetExpiresAt()))
				})
			})
		},
	}
	f := c.Flags()
	f.StringVar(&req.Pool, "pool", "", "`name` of the pool that the ant will be in; default unless given")
	f.StringVar(&req.OrgId, "for", "", "`organisation` that the ant will work for, if not the one in use; for administrators of the platform")
	f.BoolVar(&req.Shared, "shared", false, "let the ant work for all organisations; for administrators of the platform")
	c.MarkFlagsMutuallyExclusive("for", "shared")
	return c
}

func (a *app) antTokenListCmd() *cobra.Command {
	return &cobra.Command{
		Use: "list", Short: "List the join tokens of the last day", Args: cobra.NoArgs, Example: "  formicary ant token list",
		RunE: func(c *cobra.Command, _ []string) error {
			return a.with(c.Context(), func(ctx context.Context, cl *client) error {
				res, err := cl.antIdentity.ListJoinTokens(ctx, &resourcev1.ListJoinTokensRequest{})
				if err != nil {
					return err
				}
				return a.show(res, idsOf(res.GetTokens()), func(w io.Writer) {
					row(w, "ID", "ORG", "POOL", "BY", "EXPIRES", "USED BY")
					for _, t := range res.GetTokens() {
						row(w, t.GetId(), orAll(t.GetOrgId()), t.GetPool(), t.GetCreatedBy(), clock(t.GetExpiresAt()), t.GetUsedBy())
					}
				})
			})
		},
	}
}

func (a *app) antTokenRevokeCmd() *cobra.Command {
	return &cobra.Command{
		Use: "revoke ID...", Short: "End join tokens that were not used", Args: cobra.MinimumNArgs(1),
		Example: "  formicary ant token revoke 0198c2a4-7d3f-7abc-8000-000000000000",
		RunE: func(c *cobra.Command, args []string) error {
			return a.with(c.Context(), func(ctx context.Context, cl *client) error {
				for _, id := range args {
					if _, err := cl.antIdentity.RevokeJoinToken(ctx, &resourcev1.RevokeJoinTokenRequest{Id: id}); err != nil {
						return err
					}
					printf(a.Err, "revoked %s\n", id)
				}
				return nil
			})
		},
	}
}

func (a *app) antRevokeCmd() *cobra.Command {
	return &cobra.Command{
		Use: "revoke ANT...", Short: "Shut ants out, within five seconds everywhere; what they run is lost", Args: cobra.MinimumNArgs(1),
		Long: `Shut ants out: their certificates count nowhere any more and their sessions end; tasks that they ran are started elsewhere
when their retries allow it. An ant of the same name may join again with a new token. An ant that can read the colony's authority
gives itself a new certificate when it is started again: end its process, too.`,
		Example: "  formicary ant revoke ant-2",
		RunE: func(c *cobra.Command, args []string) error {
			return a.with(c.Context(), func(ctx context.Context, cl *client) error {
				for _, id := range args {
					if _, err := cl.antIdentity.RevokeAnt(ctx, &resourcev1.RevokeAntRequest{Id: id}); err != nil {
						return err
					}
					printf(a.Err, "revoked %s\n", id)
				}
				return nil
			})
		},
	}
}
