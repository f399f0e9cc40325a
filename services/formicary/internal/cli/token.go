package cli

import (
	"context"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"google.golang.org/protobuf/types/known/durationpb"

	identityv1 "github.com/formicary/formicary/proto/gen/formicary/identity/v1"
)

func (a *app) tokenCmd() *cobra.Command {
	return group("token", "API tokens: credentials for programs", "formicary token list", a.tokenCreateCmd(), a.tokenListCmd(), a.tokenRevokeCmd())
}

func (a *app) tokenCreateCmd() *cobra.Command {
	req := &identityv1.CreateTokenRequest{}
	var life time.Duration
	c := &cobra.Command{
		Use: "create NAME", Short: "Make a token and print it, this once", Args: cobra.ExactArgs(1),
		Long: `Make a token that acts for you in the organisation in use. It can do no more than its scopes: permissions such as
request.submit, all of a noun (request.*), or what only reads (*.read); without --scope all that you can. What it is for is its
NAME. Programs send it as the header "Authorization: Bearer TOKEN", the command line takes it from FORMICARY_TOKEN.`,
		Example: "  formicary token create ci --scope request.submit --scope '*.read' --life 720h",
		RunE: func(c *cobra.Command, args []string) error {
			req.Name = args[0]
			if life != 0 {
				req.Life = durationpb.New(life)
			}
			return a.with(c.Context(), func(ctx context.Context, cl *client) error {
				res, err := cl.tokens.CreateToken(ctx, req)
				if err != nil {
					return err
				}
				return a.show(res, []string{res.GetSecret()}, func(w io.Writer) {
					fact(w, "Token", res.GetSecret())
					fact(w, "Id", res.GetToken().GetId())
					fact(w, "Acts in", orAll(res.GetToken().GetOrg()))
					fact(w, "Scopes", scopes(res.GetToken()))
					fact(w, "Expires", clock(res.GetToken().GetExpiresAt()))
				})
			})
		},
	}
	f := c.Flags()
	f.StringArrayVar(&req.Scopes, "scope", nil, "`permission` that it has; may be given several times")
	f.DurationVar(&life, "life", 0, "`time` after which it ends, at most 8784h; 0 means 2160h (90 days)")
	f.BoolVar(&req.AllOrgs, "all-orgs", false, "let it act in all your organisations")
	return c
}

func orAll(org string) string {
	if org == "" {
		return "all organisations"
	}
	return org
}

func scopes(t *identityv1.Token) string {
	if t.GetAllScopes() {
		return "all"
	}
	return strings.Join(t.GetScopes(), " ")
}

func (a *app) tokenListCmd() *cobra.Command {
	var of string
	c := &cobra.Command{
		Use: "list", Short: "List your tokens", Args: cobra.NoArgs, Example: "  formicary token list",
		RunE: func(c *cobra.Command, _ []string) error {
			return a.with(c.Context(), func(ctx context.Context, cl *client) error {
				all := &identityv1.ListTokensResponse{}
				err := pages(func(token string) (string, error) {
					page, err := cl.tokens.ListTokens(ctx, &identityv1.ListTokensRequest{PageSize: pageSize, PageToken: token, User: of})
					all.Tokens = append(all.Tokens, page.GetTokens()...)
					return page.GetNextPageToken(), err
				})
				if err != nil {
					return err
				}
				return a.show(all, idsOf(all.GetTokens()), func(w io.Writer) {
					row(w, "ID", "NAME", "ORG", "SCOPES", "EXPIRES", "LAST USED")
					for _, t := range all.GetTokens() {
						row(w, t.GetId(), t.GetName(), orAll(t.GetOrg()), scopes(t), clock(t.GetExpiresAt()), clock(t.GetLastUsedAt()))
					}
				})
			})
		},
	}
	c.Flags().StringVar(&of, "of", "", "`user` whose tokens to list; for administrators of the platform")
	return c
}

// idsOf returns the ids of a list.
func idsOf[T interface{ GetId() string }](list []T) []string {
	ids := make([]string, len(list))
	for i, x := range list {
		ids[i] = x.GetId()
	}
	return ids
}

func (a *app) tokenRevokeCmd() *cobra.Command {
	return &cobra.Command{
		Use: "revoke ID...", Short: "End tokens, within five seconds everywhere", Args: cobra.MinimumNArgs(1),
		Example: "  formicary token revoke 0198c2a4-7d3f-7abc-8000-000000000000",
		RunE: func(c *cobra.Command, args []string) error {
			return a.with(c.Context(), func(ctx context.Context, cl *client) error {
				for _, id := range args {
					if _, err := cl.tokens.RevokeToken(ctx, &identityv1.RevokeTokenRequest{Id: id}); err != nil {
						return err
					}
					printf(a.Err, "revoked %s\n", id)
				}
				return nil
			})
		},
	}
}
