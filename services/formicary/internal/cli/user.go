package cli

import (
	"context"
	"fmt"
	"io"

	"github.com/spf13/cobra"

	identityv1 "github.com/formicary/formicary/proto/gen/formicary/identity/v1"
)

func (a *app) userCmd() *cobra.Command {
	return group("user", "People who may log in", "formicary user list",
		a.userListCmd(), a.userGetCmd(), a.userCreateCmd(), a.userInviteCmd(), a.userJoinCmd(), a.userPasswordCmd(), a.userRoleCmd(),
		a.userDisableCmd(true), a.userDisableCmd(false), a.userSessionsCmd())
}

func userTable(w io.Writer, list []*identityv1.User) {
	row(w, "NAME", "TITLE", "EMAIL", "PLATFORM ROLE", "CREATED", "DISABLED")
	for _, u := range list {
		row(w, u.GetName(), u.GetTitle(), u.GetEmail(), u.GetPlatformRole(), clock(u.GetCreatedAt()), clock(u.GetDisabledAt()))
	}
}

func (a *app) showUser(u *identityv1.User) error {
	return a.show(u, []string{u.GetName()}, func(w io.Writer) { userTable(w, []*identityv1.User{u}) })
}

func (a *app) userListCmd() *cobra.Command {
	var everybody bool
	c := &cobra.Command{
		Use: "list", Short: "List the users of the organisation in use", Args: cobra.NoArgs, Example: "  formicary user list",
		RunE: func(c *cobra.Command, _ []string) error {
			return a.with(c.Context(), func(ctx context.Context, cl *client) error {
				all := &identityv1.ListUsersResponse{}
				err := pages(func(token string) (string, error) {
					page, err := cl.users.ListUsers(ctx, &identityv1.ListUsersRequest{PageSize: pageSize, PageToken: token, All: everybody})
					all.Users = append(all.Users, page.GetUsers()...)
					return page.GetNextPageToken(), err
				})
				if err != nil {
					return err
				}
				names := make([]string, len(all.GetUsers()))
				for i, u := range all.GetUsers() {
					names[i] = u.GetName()
				}
				return a.show(all, names, func(w io.Writer) { userTable(w, all.GetUsers()) })
			})
		},
	}
	c.Flags().BoolVar(&everybody, "all", false, "everybody; for roles of the platform")
	return c
}

func (a *app) userGetCmd() *cobra.Command {
	return &cobra.Command{
		Use: "get [NAME]", Short: "Show a user; without a name who you are and what you may do", Args: cobra.MaximumNArgs(1), Example: "  formicary user get",
		RunE: func(c *cobra.Command, args []string) error {
			return a.with(c.Context(), func(ctx context.Context, cl *client) error {
				if len(args) == 1 {
					res, err := cl.users.GetUser(ctx, &identityv1.GetUserRequest{Name: args[0]})
					if err != nil {
						return err
					}
					return a.showUser(res.GetUser())
				}
				res, err := cl.users.GetProfile(ctx, &identityv1.GetProfileRequest{})
				if err != nil {
					return err
				}
				return a.show(res, []string{res.GetUser().GetName()}, func(w io.Writer) {
					fact(w, "User", res.GetUser().GetName())
					fact(w, "Organisation", res.GetOrg())
					for _, r := range res.GetRoles() {
						fact(w, "Role", r)
					}
					for _, s := range res.GetScopes() {
						fact(w, "Scope", s)
					}
				})
			})
		},
	}
}

func (a *app) userCreateCmd() *cobra.Command {
	req := &identityv1.CreateUserRequest{}
	var stdin bool
	c := &cobra.Command{
		Use: "create NAME", Short: "Make a user", Args: cobra.ExactArgs(1),
		Long:    "Make a user. Its name never changes and is never given again. --member makes it a member of the organisation in use.",
		Example: "  formicary user create ann --email ann@example.com --member org-operator --password-stdin < password.txt",
		RunE: func(c *cobra.Command, args []string) (err error) {
			req.Name = args[0]
			if stdin {
				if req.Password, err = a.input().secret(a, "Password of "+req.Name+": "); err != nil {
					return err
				}
			}
			return a.with(c.Context(), func(ctx context.Context, cl *client) error {
				if req.GetRole() != "" {
					if req.Org, err = orgInUse(ctx, cl); err != nil {
						return err
					}
				}
				res, err := cl.users.CreateUser(ctx, req)
				if err != nil {
					return err
				}
				return a.showUser(res.GetUser())
			})
		},
	}
	f := c.Flags()
	f.StringVar(&req.Title, "title", "", "`name` for people")
	f.StringVar(&req.Email, "email", "", "mail `address`")
	f.StringVar(&req.Role, "member", "", "`role` in the organisation in use: org-viewer, org-developer, org-operator, org-admin")
	f.BoolVar(&stdin, "password-stdin", false, "read a password from standard input")
	return c
}

// orgInUse is the org in which the server lets the caller act.
func orgInUse(ctx context.Context, cl *client) (string, error) {
	res, err := cl.users.GetProfile(ctx, &identityv1.GetProfileRequest{})
	return res.GetOrg(), err
}

func (a *app) userInviteCmd() *cobra.Command {
	req := &identityv1.CreateInvitationRequest{}
	c := &cobra.Command{
		Use: "invite", Short: "Make a code by which somebody becomes a member of the organisation in use, once", Args: cobra.NoArgs,
		Long: `Make a code by which somebody, once and within seven days, becomes a member of the organisation in use: with a new user by
formicary login --invitation, with one that exists by formicary user join.`,
		Example: "  formicary user invite --role org-operator --group release --note 'Ann of QA'",
		RunE: func(c *cobra.Command, _ []string) error {
			return a.with(c.Context(), func(ctx context.Context, cl *client) (err error) {
				if req.Org, err = orgInUse(ctx, cl); err != nil {
					return err
				}
				res, err := cl.orgs.CreateInvitation(ctx, req)
				if err != nil {
					return err
				}
				return a.show(res, []string{res.GetCode()}, func(w io.Writer) {
					fact(w, "Code", res.GetCode())
					fact(w, "Organisation", res.GetInvitation().GetOrg())
					fact(w, "Role", res.GetInvitation().GetRole())
					fact(w, "Expires", clock(res.GetInvitation().GetExpiresAt()))
				})
			})
		},
	}
	f := c.Flags()
	f.StringVar(&req.Role, "role", "", "`role` of the member; org-developer unless given")
	f.StringArrayVar(&req.Groups, "group", nil, "`group` of the member; may be given several times")
	f.StringVar(&req.Note, "note", "", "for `whom` it is")
	return c
}

func (a *app) userJoinCmd() *cobra.Command {
	return &cobra.Command{
		Use: "join", Short: "Become a member by the code of an invitation, read from standard input", Args: cobra.NoArgs, Example: "  formicary user join < code.txt",
		RunE: func(c *cobra.Command, _ []string) error {
			code, err := a.input().secret(a, "Code of the invitation: ")
			if err != nil {
				return err
			}
			return a.with(c.Context(), func(ctx context.Context, cl *client) error {
				res, err := cl.sessions.Join(ctx, &identityv1.JoinRequest{Code: code})
				if err == nil {
					printf(a.Err, "you are %s in %s; use it by --org %s\n", res.GetRole(), res.GetOrg(), res.GetOrg())
				}
				return err
			})
		},
	}
}

func (a *app) userPasswordCmd() *cobra.Command {
	return &cobra.Command{
		Use: "password [NAME]", Short: "Change your password, or set that of somebody else", Args: cobra.MaximumNArgs(1),
		Long: `Change your password: standard input has the current one and the new one, each on a line. All your sessions end. With
NAME it has the new one only: administrators of the platform set it, and the sessions and tokens of that user end.`,
		Example: "  formicary user password",
		RunE: func(c *cobra.Command, args []string) error {
			in := a.input()
			current := ""
			var err error
			if len(args) == 0 {
				if current, err = in.secret(a, "Current password: "); err != nil {
					return err
				}
			}
			password, err := in.secret(a, "New password: ")
			if err != nil {
				return err
			}
			return a.with(c.Context(), func(ctx context.Context, cl *client) error {
				if len(args) == 0 {
					_, err = cl.users.ChangePassword(ctx, &identityv1.ChangePasswordRequest{Current: current, Password: password})
				} else {
					_, err = cl.users.SetPassword(ctx, &identityv1.SetPasswordRequest{Name: args[0], Password: password})
				}
				if err == nil {
					line(a.Err, "the password was changed; log in again")
				}
				return err
			})
		},
	}
}

func (a *app) userRoleCmd() *cobra.Command {
	return &cobra.Command{
		Use: "role NAME ROLE", Short: "Give a user a role of the platform: platform-admin, platform-auditor, or none", Args: cobra.ExactArgs(2),
		Example: "  formicary user role ann platform-auditor",
		RunE: func(c *cobra.Command, args []string) error {
			role := args[1]
			if role == "none" {
				role = ""
			}
			return a.with(c.Context(), func(ctx context.Context, cl *client) error {
				res, err := cl.users.SetPlatformRole(ctx, &identityv1.SetPlatformRoleRequest{Name: args[0], Role: role})
				if err != nil {
					return err
				}
				return a.showUser(res.GetUser())
			})
		},
	}
}

func (a *app) userDisableCmd(disable bool) *cobra.Command {
	use, short := "enable", "Let a user in again"
	if disable {
		use, short = "disable", "End what a user can do, with all sessions and tokens, within five seconds"
	}
	return &cobra.Command{
		Use: use + " NAME", Short: short, Args: cobra.ExactArgs(1), Example: fmt.Sprintf("  formicary user %s ann", use),
		RunE: func(c *cobra.Command, args []string) error {
			return a.with(c.Context(), func(ctx context.Context, cl *client) error {
				if disable {
					res, err := cl.users.DisableUser(ctx, &identityv1.DisableUserRequest{Name: args[0]})
					if err != nil {
						return err
					}
					return a.showUser(res.GetUser())
				}
				res, err := cl.users.EnableUser(ctx, &identityv1.EnableUserRequest{Name: args[0]})
				if err != nil {
					return err
				}
				return a.showUser(res.GetUser())
			})
		},
	}
}

func (a *app) userSessionsCmd() *cobra.Command {
	var end string
	c := &cobra.Command{
		Use: "sessions [NAME]", Short: "List where you are logged in, and end what you do not know", Args: cobra.MaximumNArgs(1),
		Example: "  formicary user sessions\n  formicary user sessions --end 0198c2a4-7d3f-7abc-8000-000000000000",
		RunE: func(c *cobra.Command, args []string) error {
			name := ""
			if len(args) == 1 {
				name = args[0]
			}
			return a.with(c.Context(), func(ctx context.Context, cl *client) error {
				if end != "" {
					_, err := cl.sessions.EndSession(ctx, &identityv1.EndSessionRequest{Id: end, User: name})
					return err
				}
				res, err := cl.sessions.ListSessions(ctx, &identityv1.ListSessionsRequest{User: name})
				if err != nil {
					return err
				}
				return a.show(res, idsOf(res.GetSessions()), func(w io.Writer) {
					row(w, "", "ID", "KIND", "BY", "FROM", "AGENT", "SINCE", "LAST SEEN")
					for _, s := range res.GetSessions() {
						row(w, map[bool]string{true: "*"}[s.GetCurrent()], s.GetId(), s.GetKind(), s.GetMethod(), s.GetAddress(), s.GetAgent(), clock(s.GetCreatedAt()), clock(s.GetLastSeenAt()))
					}
				})
			})
		},
	}
	c.Flags().StringVar(&end, "end", "", "end the session with this `id`")
	return c
}
