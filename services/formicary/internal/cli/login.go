package cli

import (
	"bufio"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/formicary/formicary/libs/errs"
	identityv1 "github.com/formicary/formicary/proto/gen/formicary/identity/v1"
)

// loginOptions are the flags of login.
type loginOptions struct {
	name                                              string // of the context
	passwordStdin, tokenStdin, bootstrap, device, inv bool
	browser                                           bool
	approve, deny                                     string
}

func (a *app) loginCmd() *cobra.Command {
	var o loginOptions
	c := &cobra.Command{
		Use: "login", Short: "Log in at a server and use it from now on", Args: cobra.NoArgs,
		Long: `Log in at the server in use (--server names another one). What proves who you are is kept in a context in
~/.config/formicary/contexts.json, which only you can read; formicary logout ends it.

By default your browser opens ($BROWSER, or that of the desktop): log in there by what the server offers, a provider or a
password, and confirm that this machine asks. --user NAME asks for a password here instead, where the server keeps passwords.
--device, and a machine without a desktop, shows a code that you confirm in a browser anywhere, or by formicary login --approve
CODE. --token-stdin reads an API token. A server that nobody administers yet prints a code at its start: --bootstrap makes you
its administrator. --invitation makes a user of you by the code of an invitation and a password; with a provider, type that code
on the page in the browser. Codes and passwords are read from standard input, never from the command line.`,
		Example: `  formicary login --server ci.example.com:7777
  formicary login --user ann
  formicary login --device
  formicary login --approve BCDF-GHJK
  formicary login --token-stdin < token.txt`,
		RunE: func(c *cobra.Command, _ []string) error { return a.login(c.Context(), o) },
	}
	f := c.Flags()
	f.StringVar(&o.name, "context", "", "`name` of the context to keep it in; the server's unless given")
	f.BoolVar(&o.passwordStdin, "password-stdin", false, "read the password from standard input, without a prompt")
	f.BoolVar(&o.tokenStdin, "token-stdin", false, "read an API token from standard input")
	f.BoolVar(&o.bootstrap, "bootstrap", false, "become the first administrator by the code that the server printed")
	f.BoolVar(&o.inv, "invitation", false, "become a user by the code of an invitation")
	f.BoolVar(&o.browser, "browser", false, "log in by the browser of this machine, whatever else is possible")
	f.BoolVar(&o.device, "device", false, "show a code that you confirm where you are logged in")
	f.StringVar(&o.approve, "approve", "", "confirm, as who you are, the login that shows this `code`")
	f.StringVar(&o.deny, "deny", "", "refuse the login that shows this `code`")
	c.MarkFlagsMutuallyExclusive("password-stdin", "token-stdin", "bootstrap", "browser", "device", "approve", "deny", "invitation")
	return c
}

func (a *app) login(ctx context.Context, o loginOptions) error {
	if o.approve != "" || o.deny != "" {
		return a.approve(ctx, cmp.Or(o.approve, o.deny), o.deny != "")
	}
	t, err := a.target()
	if err != nil {
		return err
	}
	a.used = t
	_, acc, ok, err := a.chosen()
	if err != nil {
		return err
	}
	if a.Getenv("FORMICARY_INSECURE") != "true" && (!ok || acc.Server != t.server() || !acc.Insecure) {
		if err := unseen(t); err != nil {
			return err
		}
	}
	cl, err := dial(t, caller{})
	if err != nil {
		return err
	}
	defer cl.close()
	secret, err := a.prove(ctx, cl, o)
	if err != nil {
		return err
	}
	return a.keep(ctx, t, o.name, secret)
}

// prove returns a session or token.
func (a *app) prove(ctx context.Context, cl *client, o loginOptions) (string, error) {
	call, cancel := context.WithTimeout(ctx, cmp.Or(a.timeout, callTime))
	defer cancel()
	ways, err := cl.sessions.ListLoginWays(call, &identityv1.ListLoginWaysRequest{})
	if err != nil {
		return "", err
	}
	in := a.input()
	switch {
	case o.tokenStdin:
		return in.secret(a, "Token: ")
	case o.bootstrap:
		return a.begin(ctx, in, ways.GetPasswords(), "Code: ", func(ctx context.Context, code, user, password string) (string, error) {
			res, err := cl.sessions.Bootstrap(ctx, &identityv1.BootstrapRequest{Code: code, User: user, Password: password})
			return res.GetSecret(), err
		})
	case o.inv:
		return a.begin(ctx, in, true, "Code of the invitation: ", func(ctx context.Context, code, user, password string) (string, error) {
			res, err := cl.sessions.SignUp(ctx, &identityv1.SignUpRequest{Code: code, User: user, Password: password})
			return res.GetSecret(), err
		})
	case o.device:
		return a.byDevice(ctx, cl, a.pages(ways))
	case o.browser || !o.passwordStdin && a.who() == "" && a.hasBrowser():
		return a.byBrowser(ctx, cl, a.pages(ways))
	case !ways.GetPasswords() || !o.passwordStdin && a.who() == "":
		return a.byDevice(ctx, cl, a.pages(ways))
	}
	user, err := a.userName()
	if err != nil {
		return "", err
	}
	prompt := "Password of " + user + ": "
	if o.passwordStdin {
		prompt = ""
	}
	password, err := in.secret(a, prompt)
	if err != nil {
		return "", err
	}
	call, cancel = context.WithTimeout(ctx, cmp.Or(a.timeout, callTime))
	defer cancel()
	res, err := cl.sessions.Login(call, &identityv1.LoginRequest{User: user, Password: password})
	return res.GetSecret(), err
}

// begin reads the code that makes a user, and the password of that user.
func (a *app) begin(ctx context.Context, in *input, passwords bool, prompt string, f func(ctx context.Context, code, user, password string) (string, error)) (string, error) {
	user, err := a.userName()
	if err != nil {
		return "", err
	}
	code, err := in.secret(a, prompt)
	if err != nil {
		return "", err
	}
	password := ""
	if passwords {
		if password, err = in.secret(a, "New password of "+user+": "); err != nil && !errors.Is(err, io.ErrUnexpectedEOF) {
			return "", err
		}
	}
	ctx, cancel := context.WithTimeout(ctx, cmp.Or(a.timeout, callTime))
	defer cancel()
	return f(ctx, code, user, password)
}

func (a *app) userName() (string, error) {
	name := strings.ToLower(a.who())
	if name == "" {
		return "", usageError(errors.New("--user says who you are"))
	}
	return name, nil
}

// byDevice waits until somebody who is logged in has confirmed the code.
func (a *app) byDevice(ctx context.Context, cl *client, pages string) (string, error) {
	begun, err := cl.sessions.BeginDeviceLogin(ctx, &identityv1.BeginDeviceLoginRequest{})
	if err != nil {
		return "", err
	}
	printf(a.Err, "Confirm this code until %s:\n\n  %s\n\nat  %s/device\nor, where you are logged in, by  formicary login --approve %s\n",
		clock(begun.GetExpiresAt()), begun.GetUserCode(), pages, begun.GetUserCode())
	tick := time.NewTicker(max(begun.GetInterval().AsDuration(), time.Second))
	defer tick.Stop()
	for {
		res, err := cl.sessions.PollDeviceLogin(ctx, &identityv1.PollDeviceLoginRequest{DeviceCode: begun.GetDeviceCode()})
		if err != nil && errs.CodeOf(err) != errs.CodeUnavailable {
			return "", err
		}
		if err == nil && !res.GetPending() {
			return res.GetSecret(), nil
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return "", ctx.Err()
		}
	}
}

// approve settles the login of another device.
func (a *app) approve(ctx context.Context, code string, deny bool) error {
	return a.with(ctx, func(ctx context.Context, cl *client) error {
		res, err := cl.sessions.ApproveLogin(ctx, &identityv1.ApproveLoginRequest{UserCode: code, Deny: deny})
		if err != nil {
			return err
		}
		printf(a.Err, "%s the login that %s began from %s\n", map[bool]string{false: "confirmed", true: "refused"}[deny], cmp.Or(res.GetAgent(), "somebody"), cmp.Or(res.GetAddress(), "an unknown address"))
		return nil
	})
}

// keep checks a session or token and stores it in a context, which is used from now on.
func (a *app) keep(ctx context.Context, t target, name, secret string) error {
	cl, err := dial(t, caller{token: secret, org: a.org})
	if err != nil {
		return err
	}
	defer cl.close()
	ctx, cancel := context.WithTimeout(ctx, cmp.Or(a.timeout, callTime))
	defer cancel()
	who, err := cl.users.GetProfile(ctx, &identityv1.GetProfileRequest{})
	if err != nil {
		return err
	}
	all, err := a.accounts()
	if err != nil {
		return err
	}
	name = cmp.Or(name, t.http)
	old := all.Contexts[name]
	known, err := t.trust.anywhere()
	if err != nil {
		return err
	}
	all.Contexts[name] = account{Server: t.server(), GRPC: old.GRPC, trust: known, User: who.GetUser().GetName(), Org: who.GetOrg(), Token: secret, Insecure: old.Insecure}
	if acc := all.Contexts[name]; acc.GRPC == "" && a.notNext(t) {
		acc.GRPC = t.grpc
		all.Contexts[name] = acc
	}
	all.Current = name
	if err := all.save(); err != nil {
		return err
	}
	printf(a.Err, "logged in as %s in %s at %s\n", who.GetUser().GetName(), cmp.Or(who.GetOrg(), "no organisation"), t.server())
	return nil
}

// notNext says whether gRPC of a server is not at the port after that of HTTP.
func (a *app) notNext(t target) bool {
	next, err := a.fromAddress(t.http, "", trust{})
	return err != nil || next.grpc != t.grpc
}

func (a *app) logoutCmd() *cobra.Command {
	var everywhere bool
	c := &cobra.Command{
		Use: "logout", Short: "End the session of the context in use", Args: cobra.NoArgs,
		Example: "  formicary logout\n  formicary logout --everywhere",
		RunE: func(c *cobra.Command, _ []string) error {
			all, name, err := a.named1(nil)
			if err != nil {
				return err
			}
			err = a.with(c.Context(), func(ctx context.Context, cl *client) error {
				res, err := cl.sessions.Logout(ctx, &identityv1.LogoutRequest{Everywhere: everywhere})
				if err == nil {
					printf(a.Err, "%d sessions ended\n", res.GetEnded())
				}
				return err
			})
			if err != nil {
				return err
			}
			acc := all.Contexts[name]
			acc.Token = ""
			all.Contexts[name] = acc
			return all.save()
		},
	}
	c.Flags().BoolVar(&everywhere, "everywhere", false, "end all your sessions, in browsers and on other machines too")
	return c
}

// input is standard input: a terminal, where secrets are typed without being shown, or lines.
type input struct {
	file  *os.File // a terminal
	lines *bufio.Reader
}

func (a *app) input() *input {
	in := a.In
	if in == nil {
		in = os.Stdin
	}
	if f, ok := in.(*os.File); ok && term.IsTerminal(int(f.Fd())) {
		return &input{file: f}
	}
	return &input{lines: bufio.NewReader(io.LimitReader(in, maxInput))}
}

// secret reads a line.
func (in *input) secret(a *app, prompt string) (string, error) {
	if in.file != nil {
		printf(a.Err, "%s", prompt)
		raw, err := term.ReadPassword(int(in.file.Fd()))
		printf(a.Err, "\n")
		if err != nil {
			return "", fmt.Errorf("read from the terminal: %w", err)
		}
		return string(raw), nil
	}
	text, err := in.lines.ReadString('\n')
	text = strings.TrimRight(text, "\r\n")
	if text == "" {
		return "", usageError(fmt.Errorf("standard input ended before what is asked for: %s%w", prompt, io.ErrUnexpectedEOF))
	}
	if err != nil && !errors.Is(err, io.EOF) {
		return "", fmt.Errorf("read standard input: %w", err)
	}
	return text, nil
}
