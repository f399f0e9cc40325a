package cli

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/formicary/formicary/libs/errs"
)

// account is a context: a server, and as whom and where to act at it.
type account struct {
	// Server is the HTTP address, GRPC that of gRPC where it is not the next port.
	Server string `json:"server"`
	GRPC   string `json:"grpc,omitempty"`
	User   string `json:"user,omitempty"`
	Org    string `json:"org,omitempty"`
	Token  string `json:"token,omitempty"`
	trust
	// Insecure sends the token over plain connections to other machines.
	Insecure bool `json:"insecure,omitempty"`
}

// accounts is the file of contexts.
type accounts struct {
	path     string
	Current  string             `json:"current,omitempty"`
	Contexts map[string]account `json:"contexts"`
}

// contextsPath is contexts.json in the user's configuration.
func (a *app) contextsPath() (string, error) {
	if dir := a.Getenv("XDG_CONFIG_HOME"); dir != "" {
		return filepath.Join(dir, "formicary", "contexts.json"), nil
	}
	if home := a.Getenv("HOME"); home != "" {
		return filepath.Join(home, ".config", "formicary", "contexts.json"), nil
	}
	return "", errors.New("find your configuration: neither XDG_CONFIG_HOME nor HOME is set")
}

// accounts reads the file. Without one there are none.
func (a *app) accounts() (*accounts, error) {
	all := &accounts{Contexts: map[string]account{}}
	path, err := a.contextsPath()
	if err != nil {
		return all, err
	}
	all.path = path
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return all, nil
	}
	if err != nil {
		return all, fmt.Errorf("read the contexts: %w", err)
	}
	defer func() { _ = f.Close() }()
	info, err := f.Stat()
	if err != nil {
		return all, fmt.Errorf("read the contexts: %w", err)
	}
	if info.Mode().Perm()&0o077 != 0 {
		return all, usageError(fmt.Errorf("%s holds tokens and others may read it (%s): chmod 600 it", path, info.Mode().Perm()))
	}
	raw, err := readAll(f)
	if err == nil {
		err = json.Unmarshal(raw, all)
	}
	if err != nil {
		return all, fmt.Errorf("read %s: %w", path, err)
	}
	if all.Contexts == nil {
		all.Contexts = map[string]account{}
	}
	return all, nil
}

// save replaces the file at once, readable by its user only.
func (all *accounts) save() error {
	raw, err := json.MarshalIndent(all, "", "  ")
	if err != nil {
		return fmt.Errorf("encode the contexts: %w", err)
	}
	dir := filepath.Dir(all.path)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("store the contexts: %w", err)
	}
	f, err := os.CreateTemp(dir, "contexts-") // with mode 0600
	if err != nil {
		return fmt.Errorf("store the contexts: %w", err)
	}
	defer func() { _ = os.Remove(f.Name()) }()
	_, err = f.Write(append(raw, '\n'))
	if err = errors.Join(err, f.Sync(), f.Close()); err == nil {
		err = os.Rename(f.Name(), all.path)
	}
	if err != nil {
		return fmt.Errorf("store the contexts: %w", err)
	}
	return nil
}

// chosen is the context in use; ok says whether there is one.
func (a *app) chosen() (name string, acc account, ok bool, err error) {
	all, err := a.accounts()
	if err != nil {
		if a.Getenv("HOME") == "" && a.Getenv("XDG_CONFIG_HOME") == "" {
			return "", acc, false, nil // nobody's
		}
		return "", acc, false, err
	}
	if all.Current == "" {
		return "", acc, false, nil
	}
	acc, ok = all.Contexts[all.Current]
	if !ok {
		return "", acc, false, usageError(fmt.Errorf("the context in use, %s, is not in %s: choose one with `formicary context use`", all.Current, all.path))
	}
	return all.Current, acc, true, nil
}

// caller is as whom calls to a server are made.
type caller struct {
	// user is a name that a colony believes which needs no login; token proves who it is.
	user, token, org string
}

// callerAt chooses as whom to call a server: the token of the environment, else that of a context of this server and no
// other one: a token never goes to a server that it is not for.
func (a *app) callerAt(t target) (caller, error) {
	c := caller{user: a.who(), token: a.Getenv("FORMICARY_TOKEN"), org: a.org}
	if c.org == "" {
		c.org = a.Getenv("FORMICARY_ORG")
	}
	insecure := a.Getenv("FORMICARY_INSECURE") == "true"
	_, acc, ok, err := a.chosen()
	if err != nil {
		return c, err
	}
	if ok && acc.Server == t.server() {
		if c.token == "" {
			c.token, insecure = acc.Token, acc.Insecure || insecure
		}
		if c.org == "" {
			c.org = acc.Org
		}
	}
	if c.token != "" && !insecure {
		return c, unseen(t)
	}
	return c, nil
}

// unseen refuses to send a secret over a connection that others may read.
func unseen(t target) error {
	if t.tls != nil || loopback(t.grpc) {
		return nil
	}
	return errs.Denied("TOKEN_UNPROTECTED", "the connection to %s is not encrypted, and whoever sees it could take the token or password: let it show a certificate (https://), go through a tunnel, or say FORMICARY_INSECURE=true (context add --insecure) where the network is trusted", t.grpc)
}

// loopback says whether an address leads to this machine only.
func loopback(addr string) bool {
	host, _, err := net.SplitHostPort(addr)
	if err != nil {
		return false
	}
	if host == "localhost" {
		return true
	}
	ip, err := netip.ParseAddr(host)
	return err == nil && ip.Unmap().IsLoopback()
}

func (a *app) contextCmd() *cobra.Command {
	return group("context", "Servers, and as whom and where to act at them", "formicary context list",
		a.contextListCmd(), a.contextShowCmd(), a.contextUseCmd(), a.contextAddCmd(), a.contextRmCmd())
}

func (a *app) contextListCmd() *cobra.Command {
	return &cobra.Command{
		Use: "list", Short: "List the contexts", Args: cobra.NoArgs, Example: "  formicary context list",
		RunE: func(*cobra.Command, []string) error {
			all, err := a.accounts()
			if err != nil {
				return err
			}
			return a.showAccounts(all, slices.Sorted(maps.Keys(all.Contexts)))
		},
	}
}

// showAccounts prints contexts, never their tokens.
func (a *app) showAccounts(all *accounts, names []string) error {
	type shown struct {
		Name     string `json:"name"`
		Current  bool   `json:"current"`
		Server   string `json:"server"`
		User     string `json:"user,omitempty"`
		Org      string `json:"org,omitempty"`
		LoggedIn bool   `json:"logged_in"`
	}
	list := make([]shown, len(names))
	for i, name := range names {
		acc := all.Contexts[name]
		list[i] = shown{name, name == all.Current, acc.Server, acc.User, acc.Org, acc.Token != ""}
	}
	switch a.output {
	case "name":
		for _, name := range names {
			line(a.Out, name)
		}
		return nil
	case "table":
		return tabulate(a.Out, func(w io.Writer) {
			row(w, "", "NAME", "SERVER", "USER", "ORG", "TOKEN")
			for _, s := range list {
				row(w, map[bool]string{true: "*"}[s.Current], s.Name, s.Server, s.User, s.Org, map[bool]string{true: "yes", false: "no"}[s.LoggedIn])
			}
		})
	}
	raw, err := json.Marshal(list)
	if err != nil {
		return fmt.Errorf("encode contexts: %w", err)
	}
	return a.showJSON(raw)
}

func (a *app) contextShowCmd() *cobra.Command {
	return &cobra.Command{
		Use: "show [NAME]", Short: "Show a context, the one in use unless named", Args: cobra.MaximumNArgs(1), Example: "  formicary context show",
		RunE: func(_ *cobra.Command, args []string) error {
			all, name, err := a.named1(args)
			if err != nil {
				return err
			}
			return a.showAccounts(all, []string{name})
		},
	}
}

// named1 returns the contexts and the name of the one that is meant.
func (a *app) named1(args []string) (*accounts, string, error) {
	all, err := a.accounts()
	if err != nil {
		return nil, "", err
	}
	name := all.Current
	if len(args) > 0 {
		name = args[0]
	}
	if _, ok := all.Contexts[name]; !ok {
		if name == "" {
			return nil, "", errs.NotFound("CONTEXT_NOT_FOUND", "no context is in use")
		}
		return nil, "", errs.NotFound("CONTEXT_NOT_FOUND", "there is no context %q; `formicary context list` lists them", name)
	}
	return all, name, nil
}

// noContext stands for none in use.
const noContext = "local"

func (a *app) contextUseCmd() *cobra.Command {
	return &cobra.Command{
		Use: "use NAME", Short: "Use a context from now on; " + noContext + " uses none", Args: cobra.ExactArgs(1), Example: "  formicary context use work",
		RunE: func(_ *cobra.Command, args []string) error {
			if args[0] == noContext {
				all, err := a.accounts()
				if err != nil {
					return err
				}
				all.Current = ""
				return all.save()
			}
			all, name, err := a.named1(args)
			if err != nil {
				return err
			}
			all.Current = name
			return all.save()
		},
	}
}

func (a *app) contextAddCmd() *cobra.Command {
	var acc account
	c := &cobra.Command{
		Use: "add NAME", Short: "Add a context, or replace it", Args: cobra.ExactArgs(1),
		Long: `Add a context: a server (--server), and the organisation (--org) in which to act at it. formicary login fills in who you
are. A context that is replaced keeps its token if its server stays the same.`,
		Example: "  formicary context add work --server https://ci.example.com:7777 --org acme\n  formicary context add lab --server https://10.1.2.3:7777 --ca lab-ca.pem",
		RunE: func(_ *cobra.Command, args []string) error {
			if a.server == "" {
				return usageError(errors.New("--server names the server of the context"))
			}
			if strings.ContainsAny(args[0], " \t\n") || args[0] == noContext || args[0] == "" {
				return usageError(fmt.Errorf("%q is no name of a context", args[0]))
			}
			t, err := a.fromAddress(a.server, "--server", trust{})
			if err != nil {
				return err
			}
			all, err := a.accounts()
			if err != nil {
				return err
			}
			acc.Server, acc.Org = t.server(), a.org
			if acc.trust, err = t.trust.anywhere(); err != nil {
				return err
			}
			if old := all.Contexts[args[0]]; old.Server == acc.Server {
				acc.User, acc.Token = old.User, old.Token
			}
			all.Contexts[args[0]] = acc
			if all.Current == "" {
				all.Current = args[0]
			}
			return all.save()
		},
	}
	c.Flags().StringVar(&acc.GRPC, "grpc", "", "gRPC `address` of the server where it is not the next port")
	c.Flags().BoolVar(&acc.Insecure, "insecure", false, "send tokens to this server over connections that are not encrypted")
	return c
}

func (a *app) contextRmCmd() *cobra.Command {
	return &cobra.Command{
		Use: "rm NAME", Short: "Remove a context. Its session goes on: log out first", Args: cobra.ExactArgs(1), Example: "  formicary context rm work",
		RunE: func(_ *cobra.Command, args []string) error {
			all, name, err := a.named1(args)
			if err != nil {
				return err
			}
			delete(all.Contexts, name)
			if all.Current == name {
				all.Current = ""
			}
			return all.save()
		},
	}
}
