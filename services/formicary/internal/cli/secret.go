package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/spf13/cobra"

	jobv1 "github.com/formicary/formicary/proto/gen/formicary/job/v1"
)

// scopeFlags choose where a config or a secret stands: the organisation's scope unless something else is said.
type scopeFlags struct {
	job          string
	user, system bool
}

func (s *scopeFlags) add(c *cobra.Command) *cobra.Command {
	f := c.Flags()
	f.StringVar(&s.job, "job", "", "the scope of a `job`")
	f.BoolVar(&s.user, "mine", false, "your own scope")
	f.BoolVar(&s.system, "system", false, "the scope of the whole system")
	c.MarkFlagsMutuallyExclusive("job", "mine", "system")
	return c
}

func (s *scopeFlags) String() string {
	switch {
	case s.system:
		return "system"
	case s.user:
		return "users"
	case s.job != "":
		return "jobs/" + s.job
	default:
		return "orgs" // that of the caller
	}
}

// maxValue bounds what is read as a value, in bytes; the server says what is too long.
const maxValue = 1 << 20

// readValue reads a value from a file, as it is typed, or from the standard input without its last line break.
func (a *app) readValue(file string) (string, error) {
	if file != "" && file != "-" {
		f, err := os.Open(file)
		if err != nil {
			return "", usageError(err)
		}
		defer func() { _ = f.Close() }()
		raw, err := io.ReadAll(io.LimitReader(f, maxValue))
		if err != nil {
			return "", fmt.Errorf("read %s: %w", file, err)
		}
		return string(raw), nil
	}
	in := a.input()
	if in.file != nil {
		value, err := in.secret(a, "Value, which is not shown: ")
		if err != nil {
			return "", err
		}
		again, err := in.secret(a, "Once more: ")
		if err == nil && again != value {
			err = usageError(errors.New("the two values differ: nothing is stored"))
		}
		return value, err
	}
	raw, err := io.ReadAll(io.LimitReader(in.lines, maxValue))
	if err != nil {
		return "", fmt.Errorf("read the value: %w", err)
	}
	text := strings.TrimSuffix(string(raw), "\n")
	return strings.TrimSuffix(text, "\r"), nil
}

func (a *app) secretCmd() *cobra.Command {
	return group("secret", "Values that only tasks which name them are given", "formicary secret set TOKEN --file token.txt",
		a.secretSetCmd(), a.secretListCmd(), a.secretGetCmd(), a.secretRevealCmd(), a.secretRemoveCmd(), a.secretRotateCmd())
}

func (a *app) secretSetCmd() *cobra.Command {
	s, file, about := &scopeFlags{}, "", ""
	c := &cobra.Command{
		Use: "set NAME", Short: "Store a value as the newest version of a secret", Args: cobra.ExactArgs(1),
		Long: `Store a value as the newest version of a secret. It is asked for at a terminal, where it is not shown, or read
from the standard input (without its last line break) or a file; never from the command line, where others could see it. 6 characters to
64 KiB.`,
		Example: "  pass show token | formicary secret set TOKEN\n  formicary secret set DEPLOY_KEY --job deploy --file id_ed25519",
		RunE: func(c *cobra.Command, args []string) error {
			value, err := a.readValue(file)
			if err != nil {
				return err
			}
			return a.with(c.Context(), func(ctx context.Context, cl *client) error {
				res, err := cl.secrets.SetSecret(ctx, &jobv1.SetSecretRequest{Scope: s.String(), Name: args[0], Value: value, Description: about})
				if err != nil {
					return err
				}
				return a.showSecrets([]*jobv1.Secret{res.GetSecret()})
			})
		},
	}
	c.Flags().StringVar(&file, "file", "", "read the value from this `file`, as it is")
	c.Flags().StringVar(&about, "description", "", "`text` for people")
	return s.add(c)
}

func (a *app) showSecrets(all []*jobv1.Secret) error {
	names := make([]string, len(all))
	for i, s := range all {
		names[i] = s.GetName()
	}
	return a.show(&jobv1.ListSecretsResponse{Secrets: all}, names, func(w io.Writer) {
		row(w, "NAME", "SCOPE", "VERSION", "BY", "DESCRIPTION")
		for _, s := range all {
			row(w, s.GetName(), s.GetScope(), s.GetVersion(), s.GetUpdatedBy(), firstLine(s.GetDescription()))
		}
	})
}

func (a *app) secretListCmd() *cobra.Command {
	s := &scopeFlags{}
	return s.add(&cobra.Command{
		Use: "list", Short: "List the secrets of a scope, without values", Args: cobra.NoArgs, Example: "  formicary secret list --job deploy",
		RunE: func(c *cobra.Command, _ []string) error {
			return a.with(c.Context(), func(ctx context.Context, cl *client) error {
				var all []*jobv1.Secret
				err := pages(func(token string) (string, error) {
					page, err := cl.secrets.ListSecrets(ctx, &jobv1.ListSecretsRequest{Scope: s.String(), PageSize: pageSize, PageToken: token})
					all = append(all, page.GetSecrets()...)
					return page.GetNextPageToken(), err
				})
				if err != nil {
					return err
				}
				return a.showSecrets(all)
			})
		},
	})
}

func (a *app) secretGetCmd() *cobra.Command {
	s := &scopeFlags{}
	return s.add(&cobra.Command{
		Use: "get NAME", Aliases: []string{"versions"}, Short: "Show what is known of a secret and its versions, without values", Args: cobra.ExactArgs(1),
		Example: "  formicary secret get TOKEN",
		RunE: func(c *cobra.Command, args []string) error {
			return a.with(c.Context(), func(ctx context.Context, cl *client) error {
				res, err := cl.secrets.GetSecret(ctx, &jobv1.GetSecretRequest{Scope: s.String(), Name: args[0]})
				if err != nil {
					return err
				}
				return a.show(res, []string{args[0]}, func(w io.Writer) {
					row(w, "VERSION", "STORED", "BY", "KEY")
					for _, v := range res.GetVersions() {
						row(w, v.GetVersion(), v.GetCreatedAt().AsTime().Format("2006-01-02 15:04:05"), v.GetCreatedBy(), v.GetKeyId())
					}
				})
			})
		},
	})
}

func (a *app) secretRevealCmd() *cobra.Command {
	s, version := &scopeFlags{}, int32(0)
	c := &cobra.Command{
		Use: "reveal NAME", Short: "Print the value of a secret; the audit log tells of it", Args: cobra.ExactArgs(1), Example: "  formicary secret reveal TOKEN --version 3",
		RunE: func(c *cobra.Command, args []string) error {
			return a.with(c.Context(), func(ctx context.Context, cl *client) error {
				res, err := cl.secrets.RevealSecret(ctx, &jobv1.RevealSecretRequest{Scope: s.String(), Name: args[0], Version: version})
				if err != nil {
					return err
				}
				printf(a.Out, "%s\n", res.GetValue())
				return nil
			})
		},
	}
	c.Flags().Int32Var(&version, "version", 0, "`number` of the version; 0 is the newest")
	return s.add(c)
}

func (a *app) secretRemoveCmd() *cobra.Command {
	s := &scopeFlags{}
	return s.add(&cobra.Command{
		Use: "rm NAME", Short: "Remove a secret with all versions; tasks that name it fail from then on", Args: cobra.ExactArgs(1), Example: "  formicary secret rm TOKEN",
		RunE: func(c *cobra.Command, args []string) error {
			return a.with(c.Context(), func(ctx context.Context, cl *client) error {
				_, err := cl.secrets.DeleteSecret(ctx, &jobv1.DeleteSecretRequest{Scope: s.String(), Name: args[0]})
				return err
			})
		},
	})
}

func (a *app) secretRotateCmd() *cobra.Command {
	show := false
	c := &cobra.Command{
		Use: "rotate", Short: "Make a new primary key of the key ring; what others hold is encrypted again", Args: cobra.NoArgs,
		Example: "  formicary secret rotate\n  formicary secret rotate --status",
		RunE: func(c *cobra.Command, _ []string) error {
			return a.with(c.Context(), func(ctx context.Context, cl *client) error {
				if !show {
					if _, err := cl.secrets.RotateKeyRing(ctx, &jobv1.RotateKeyRingRequest{}); err != nil {
						return err
					}
				}
				res, err := cl.secrets.GetKeyRing(ctx, &jobv1.GetKeyRingRequest{})
				if err != nil {
					return err
				}
				return a.show(res, []string{res.GetPrimaryKeyId()}, func(w io.Writer) {
					row(w, "KEY", "HOLDS", "")
					for _, k := range res.GetKeys() {
						row(w, k.GetKeyId(), k.GetDataKeys(), keyNote(k, res.GetPrimaryKeyId()))
					}
				})
			})
		},
	}
	c.Flags().BoolVar(&show, "status", false, "only say how far the last rotation is")
	return c
}

func keyNote(k *jobv1.RingKey, primary string) string {
	switch {
	case k.GetMissing():
		return "missing: what it holds cannot be read"
	case k.GetKeyId() == primary:
		return "primary"
	case k.GetDataKeys() > 0:
		return "being rotated"
	}
	return ""
}
