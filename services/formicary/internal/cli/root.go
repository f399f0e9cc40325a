// Package cli is the command line: it starts the embedded colony, speaks gRPC to a gateway and prints. Data goes to
// stdout, progress and errors to stderr, and the exit code says what became of it.
package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"github.com/formicary/formicary/libs/run"
)

// Env is what the command line sees of the world.
type Env struct {
	// Args without the program's name.
	Args []string
	// In is standard input; nil for that of the process.
	In io.Reader
	// Out takes data, Err progress and errors.
	Out, Err io.Writer
	// Getenv reads the environment.
	Getenv func(string) string
	// Version of the binary.
	Version string
}

// app is one call of the command line: the global flags and what the commands share.
type app struct {
	Env
	server  string
	ca      string
	colony  string
	output  string
	user    string
	org     string
	timeout time.Duration

	flags   string // that name the colony in a command that is printed
	used    target // the server that was asked, for the error when it does not answer
	command string // that was asked for
	started bool   // a command has begun: what fails from here on is no fault of usage

	interrupt context.CancelFunc // ends the command as the first signal does
}

var formats = []string{"table", "json", "yaml", "name"}

// Run executes one command line and returns its exit code. The first SIGINT, SIGTERM, SIGHUP or SIGQUIT ends the command
// in order, the second at once; up and run kill their tasks at the second and are killed by the third.
func Run(ctx context.Context, env Env) int {
	ctx, interrupt := context.WithCancel(ctx)
	defer interrupt()
	ctx, stop := run.Interruptible(ctx, syscall.SIGQUIT)
	defer stop()
	a := &app{Env: env, interrupt: interrupt}
	root := a.root()
	root.SetArgs(env.Args)
	root.SetOut(env.Out)
	root.SetErr(env.Err)
	used, err := root.ExecuteContextC(ctx)
	a.command = used.CommandPath()
	if err != nil && !a.started {
		err = usageError(err)
	}
	var e *exit
	if err != nil && ctx.Err() != nil && !errors.As(err, &e) {
		return exitDetached // interrupted; what failed because of it is no news
	}
	return a.report(err)
}

func (a *app) root() *cobra.Command {
	root := &cobra.Command{
		Use:   "formicary",
		Short: "Runs jobs: DAGs of tasks, described in YAML, executed by ants",
		Long: `Formicary runs jobs. A job is a DAG of tasks in a YAML file; ants execute the tasks.

  formicary run job.yaml -p k=v     run a file here and now, no server needed
  formicary up                      the whole colony in one process
  formicary request list            what ran, on the server in use

Which server is used: --server, --colony, $FORMICARY_SERVER, $FORMICARY_COLONY, the context in use (formicary login,
formicary context), a colony that runs in ./formicary-data, 127.0.0.1:7777. $FORMICARY_TOKEN is a token
to send to it. A server is named by its HTTP address, with https:// before it if it is encrypted; gRPC is spoken to the next port, or to
$FORMICARY_GRPC. Exit codes: 0 ok, 1 the job failed, 2 usage or invalid YAML, 3 not found, 4 denied, 5 conflict,
6 unavailable, 7 cancelled, 8 still running, 130 detached.`,
		SilenceErrors: true, SilenceUsage: true, Version: a.Version,
		Args: cobra.ArbitraryArgs,
		RunE: func(c *cobra.Command, args []string) error {
			if len(args) == 0 {
				return c.Help()
			}
			return unknownCommand(c, args[0])
		},
		PersistentPreRunE: func(c *cobra.Command, _ []string) error {
			own := formatsOf(c)
			if !slices.Contains(own, a.output) {
				return fmt.Errorf("unknown output format %q: want %s", a.output, strings.Join(own, ", "))
			}
			// cobra looks at these only after this function, when what fails counts as no fault of usage any more.
			if err := errors.Join(c.ValidateRequiredFlags(), c.ValidateFlagGroups()); err != nil {
				return err
			}
			a.started = true
			return nil
		},
	}
	root.SetVersionTemplate(a.versionLine())
	f := root.PersistentFlags()
	f.StringVar(&a.server, "server", "", "HTTP `address` of the server, for example 127.0.0.1:7777 or https://ci.example.com:7777")
	f.StringVar(&a.ca, "ca", "", "`file` of certificates to trust beside those of the system, for servers with https; $FORMICARY_CA unless given")
	f.StringVar(&a.colony, "colony", "", "`file` with the colony's addresses, DATA/colony.json")
	f.StringVarP(&a.output, "output", "o", "table", strings.Join(formats, ", "))
	f.StringVar(&a.user, "user", "", "`name` to act under; $FORMICARY_USER, or the name of the account, unless given")
	f.StringVar(&a.org, "org", "", "`organisation` to act in; $FORMICARY_ORG, or that of the context, unless given")
	f.DurationVar(&a.timeout, "timeout", 0, "give up after this `duration`; 0 means 30s for a call and for ever when waiting")
	root.AddCommand(a.upCmd(), a.runCmd(), a.jobCmd(), a.requestCmd(), a.artifactCmd(), a.cacheCmd(), a.antCmd(), a.errorCodeCmd(), a.configCmd(), a.secretCmd(), a.loginCmd(), a.logoutCmd(), a.contextCmd(), a.tokenCmd(), a.userCmd(), a.orgCmd(), a.quotaCmd(), a.schemaCmd(), a.auditCmd(), a.doctorCmd(), a.versionCmd())
	return root
}

// formatsKey is the annotation of a command that prints in other formats than the usual ones.
const formatsKey = "formats"

// printsIn gives a command formats of its own; the first is its default.
func printsIn(c *cobra.Command, own ...string) *cobra.Command {
	c.Annotations = map[string]string{formatsKey: strings.Join(own, " ")}
	c.Long += "\n\nFormats of -o: " + strings.Join(own, ", ") + "."
	return c
}

func formatsOf(c *cobra.Command) []string {
	if own := c.Annotations[formatsKey]; own != "" {
		return append(strings.Fields(own), "table")
	}
	return formats
}

// group is a command that only holds others.
func group(use, short, example string, subs ...*cobra.Command) *cobra.Command {
	c := &cobra.Command{
		Use: use, Short: short, Example: "  " + example, Args: cobra.ArbitraryArgs,
		RunE: func(c *cobra.Command, args []string) error {
			if len(args) == 0 {
				return c.Help()
			}
			return unknownCommand(c, args[0])
		},
	}
	c.AddCommand(subs...)
	return c
}

func unknownCommand(c *cobra.Command, typed string) error {
	err := fmt.Errorf("unknown command %q of %q", typed, c.CommandPath())
	if near := meant(c, typed); len(near) > 0 {
		err = fmt.Errorf("%w, did you mean %s?", err, strings.Join(near, ", "))
	}
	return usageError(err)
}

// meant are the commands below c that a word could mean: those that other tools call so, those of a group, and those that
// are spelled nearly so.
func meant(c *cobra.Command, typed string) []string {
	var names []string
	for _, sub := range c.Commands() {
		if slices.Contains(sub.SuggestFor, typed) {
			names = append(names, sub.Name())
		}
		for _, below := range sub.Commands() {
			if below.Name() == typed || slices.Contains(below.SuggestFor, typed) {
				names = append(names, sub.Name()+" "+below.Name())
			}
		}
	}
	if len(names) == 0 {
		c.SuggestionsMinimumDistance = 2
		names = c.SuggestionsFor(typed)
	}
	return names
}

// alsoCalled gives a command the words that other tools have for it.
func alsoCalled(c *cobra.Command, words ...string) *cobra.Command {
	c.SuggestFor = words
	return c
}

func (a *app) versionCmd() *cobra.Command {
	return &cobra.Command{
		Use: "version", Short: "Print the version", Args: cobra.NoArgs, Example: "  formicary version -o json",
		RunE: func(*cobra.Command, []string) error { return a.showVersion() },
	}
}
