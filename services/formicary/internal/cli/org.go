package cli

import (
	"context"
	"io"
	"strings"

	"github.com/spf13/cobra"

	identityv1 "github.com/formicary/formicary/proto/gen/formicary/identity/v1"
)

func (a *app) orgCmd() *cobra.Command {
	return group("org", "Organisations and their members", "formicary org list",
		a.orgListCmd(), a.orgGetCmd(), a.orgCreateCmd(), a.orgCloseCmd(), a.orgMembersCmd(), a.orgAddMemberCmd(), a.orgSetRoleCmd(), a.orgRemoveMemberCmd())
}

func orgTable(w io.Writer, list []*identityv1.Org) {
	row(w, "ID", "TITLE", "CREATED", "BY")
	for _, o := range list {
		row(w, o.GetId(), o.GetTitle(), clock(o.GetCreatedAt()), o.GetCreatedBy())
	}
}

func (a *app) showOrg(o *identityv1.Org) error {
	return a.show(o, []string{o.GetId()}, func(w io.Writer) { orgTable(w, []*identityv1.Org{o}) })
}

func (a *app) orgListCmd() *cobra.Command {
	var everybodys bool
	c := &cobra.Command{
		Use: "list", Short: "List your organisations", Args: cobra.NoArgs, Example: "  formicary org list",
		RunE: func(c *cobra.Command, _ []string) error {
			return a.with(c.Context(), func(ctx context.Context, cl *client) error {
				all := &identityv1.ListOrgsResponse{}
				err := pages(func(token string) (string, error) {
					page, err := cl.orgs.ListOrgs(ctx, &identityv1.ListOrgsRequest{PageSize: pageSize, PageToken: token, All: everybodys})
					all.Orgs = append(all.Orgs, page.GetOrgs()...)
					return page.GetNextPageToken(), err
				})
				if err != nil {
					return err
				}
				return a.show(all, idsOf(all.GetOrgs()), func(w io.Writer) { orgTable(w, all.GetOrgs()) })
			})
		},
	}
	c.Flags().BoolVar(&everybodys, "all", false, "those of everybody; for roles of the platform")
	return c
}

func (a *app) orgGetCmd() *cobra.Command {
	return &cobra.Command{
		Use: "get ID", Short: "Show an organisation", Args: cobra.ExactArgs(1), Example: "  formicary org get acme",
		RunE: func(c *cobra.Command, args []string) error {
			return a.with(c.Context(), func(ctx context.Context, cl *client) error {
				res, err := cl.orgs.GetOrg(ctx, &identityv1.GetOrgRequest{Id: args[0]})
				if err != nil {
					return err
				}
				return a.showOrg(res.GetOrg())
			})
		},
	}
}

func (a *app) orgCreateCmd() *cobra.Command {
	req := &identityv1.CreateOrgRequest{}
	c := &cobra.Command{
		Use: "create ID", Short: "Make an organisation", Args: cobra.ExactArgs(1),
		Long: "Make an organisation. Its id never changes and is never given again.", Example: "  formicary org create acme --title 'Acme Ltd' --admin ann",
		RunE: func(c *cobra.Command, args []string) error {
			req.Id = args[0]
			return a.with(c.Context(), func(ctx context.Context, cl *client) error {
				res, err := cl.orgs.CreateOrg(ctx, req)
				if err != nil {
					return err
				}
				return a.showOrg(res.GetOrg())
			})
		},
	}
	c.Flags().StringVar(&req.Title, "title", "", "`name` for people")
	c.Flags().StringVar(&req.Admin, "admin", "", "`user` who becomes its org-admin")
	return c
}

func (a *app) orgCloseCmd() *cobra.Command {
	return &cobra.Command{
		Use: "close ID", Short: "End an organisation: nobody acts in it any more. What is stored of it stays", Args: cobra.ExactArgs(1), Example: "  formicary org close acme",
		RunE: func(c *cobra.Command, args []string) error {
			return a.with(c.Context(), func(ctx context.Context, cl *client) error {
				_, err := cl.orgs.CloseOrg(ctx, &identityv1.CloseOrgRequest{Id: args[0]})
				return err
			})
		},
	}
}

func memberTable(w io.Writer, list []*identityv1.Member) {
	row(w, "USER", "ROLE", "GROUPS", "TITLE", "EMAIL", "SINCE", "BY")
	for _, m := range list {
		row(w, m.GetUser(), m.GetRole(), strings.Join(m.GetGroups(), " "), m.GetTitle(), m.GetEmail(), clock(m.GetAddedAt()), m.GetAddedBy())
	}
}

func (a *app) showMember(m *identityv1.Member) error {
	return a.show(m, []string{m.GetUser()}, func(w io.Writer) { memberTable(w, []*identityv1.Member{m}) })
}

// inOrg calls f with the org in use.
func (a *app) inOrg(ctx context.Context, f func(ctx context.Context, cl *client, org string) error) error {
	return a.with(ctx, func(ctx context.Context, cl *client) error {
		org, err := orgInUse(ctx, cl)
		if err != nil {
			return err
		}
		return f(ctx, cl, org)
	})
}

func (a *app) orgMembersCmd() *cobra.Command {
	return &cobra.Command{
		Use: "members", Short: "List the members of the organisation in use", Args: cobra.NoArgs, Example: "  formicary org members --org acme",
		RunE: func(c *cobra.Command, _ []string) error {
			return a.inOrg(c.Context(), func(ctx context.Context, cl *client, org string) error {
				all := &identityv1.ListMembersResponse{}
				err := pages(func(token string) (string, error) {
					page, err := cl.orgs.ListMembers(ctx, &identityv1.ListMembersRequest{Org: org, PageSize: pageSize, PageToken: token})
					all.Members = append(all.Members, page.GetMembers()...)
					return page.GetNextPageToken(), err
				})
				if err != nil {
					return err
				}
				names := make([]string, len(all.GetMembers()))
				for i, m := range all.GetMembers() {
					names[i] = m.GetUser()
				}
				return a.show(all, names, func(w io.Writer) { memberTable(w, all.GetMembers()) })
			})
		},
	}
}

func (a *app) orgAddMemberCmd() *cobra.Command {
	req := &identityv1.AddMemberRequest{}
	c := &cobra.Command{
		Use: "add-member USER", Short: "Make a user a member of the organisation in use, without asking", Args: cobra.ExactArgs(1),
		Long:    "Make a user a member of the organisation in use, without asking: for administrators of the platform. Others invite, by formicary user invite.",
		Example: "  formicary org add-member ann --role org-operator --group release --org acme",
		RunE: func(c *cobra.Command, args []string) error {
			return a.inOrg(c.Context(), func(ctx context.Context, cl *client, org string) error {
				req.Org, req.User = org, args[0]
				res, err := cl.orgs.AddMember(ctx, req)
				if err != nil {
					return err
				}
				return a.showMember(res.GetMember())
			})
		},
	}
	c.Flags().StringVar(&req.Role, "role", "org-developer", "`role`: org-viewer, org-developer, org-operator, org-admin")
	c.Flags().StringArrayVar(&req.Groups, "group", nil, "`group` that approvals ask for; may be given several times")
	return c
}

func (a *app) orgSetRoleCmd() *cobra.Command {
	var groups []string
	c := &cobra.Command{
		Use: "set-role USER [ROLE]", Short: "Give a member of the organisation in use another role or other groups", Args: cobra.RangeArgs(1, 2),
		Example: "  formicary org set-role ann org-operator\n  formicary org set-role ann --groups release,finance",
		RunE: func(c *cobra.Command, args []string) error {
			return a.inOrg(c.Context(), func(ctx context.Context, cl *client, org string) error {
				req := &identityv1.SetMemberRequest{Org: org, User: args[0]}
				if len(args) == 2 {
					req.Role = args[1]
				}
				if c.Flags().Changed("groups") {
					req.Groups = &identityv1.Groups{Groups: groups}
				}
				res, err := cl.orgs.SetMember(ctx, req)
				if err != nil {
					return err
				}
				return a.showMember(res.GetMember())
			})
		},
	}
	c.Flags().StringSliceVar(&groups, "groups", nil, "`groups` that the member has from now on, separated by commas")
	return c
}

func (a *app) orgRemoveMemberCmd() *cobra.Command {
	return &cobra.Command{
		Use: "remove-member USER", Short: "End a membership in the organisation in use; the user stays", Args: cobra.ExactArgs(1), Example: "  formicary org remove-member ann",
		RunE: func(c *cobra.Command, args []string) error {
			return a.inOrg(c.Context(), func(ctx context.Context, cl *client, org string) error {
				_, err := cl.orgs.RemoveMember(ctx, &identityv1.RemoveMemberRequest{Org: org, User: args[0]})
				return err
			})
		},
	}
}
