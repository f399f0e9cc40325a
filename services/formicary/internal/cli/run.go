package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"google.golang.org/protobuf/types/known/structpb"

	"github.com/formicary/formicary/libs/colony"
	"github.com/formicary/formicary/libs/errs"
	"github.com/formicary/formicary/libs/run"
	jobv1 "github.com/formicary/formicary/proto/gen/formicary/job/v1"
	"github.com/formicary/formicary/services/formicary/internal/up"
)

// runOptions are the flags of run.
type runOptions struct {
	file   string
	jobs   []fileJob // of the file
	main   int       // the one to run
	name   string    // of it, if it is not the first
	params []string
	quiet  bool
	slots  int
	tags   []string
}

func (a *app) runCmd() *cobra.Command {
	var o runOptions
	c := &cobra.Command{
		Use: "run FILE", Short: "Run a definition here and now; the exit code is the job's outcome",
		Long: `Run a definition and follow it to its end.

Without a server named by --server, --colony, $FORMICARY_SERVER or $FORMICARY_COLONY the whole colony is started in
this process, in a temporary directory that is removed at the end. State changes go to stderr; the output of the tasks,
prefixed with the task, and the result go to stdout.

A file may define several jobs, with lines "---" between them: a job and those that it forks. All are stored, the first is run.

When a task waits for an approval the command that gives it is printed, for another terminal.

Ctrl-C cancels the job: its tasks get TERM and their grace, what is to run always runs, and a second Ctrl-C kills them. When
the job runs on a server it goes on and the command says how to come back. SIGTERM, SIGHUP, SIGQUIT and the end of whoever
reads the output (run job.yaml | head) do the same.`,
		Example: "  formicary run job.yaml\n  formicary run job.yaml --tags builder,linux\n  formicary run job.yaml -p branch=main -p depth=2\n  formicary run job.yaml --server 127.0.0.1:7777 -o json",
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) != 1 {
				return errors.New("which FILE? One is wanted; formicary job init hello writes one to begin with")
			}
			return nil
		},
		RunE: func(c *cobra.Command, args []string) error {
			o.file = args[0]
			a.heard()
			return a.run(c.Context(), o)
		},
	}
	f := c.Flags()
	f.StringArrayVarP(&o.params, "param", "p", nil, "parameter `name=value`, may be repeated")
	f.BoolVarP(&o.quiet, "quiet", "q", false, "print only the output of the tasks")
	f.StringVar(&o.name, "job-type", "", "`job` to run of a file that defines several; the first unless given")
	f.IntVar(&o.slots, "slots", 0, "slots of the embedded ant; 0 means 8 per core, at least 32")
	f.StringSliceVar(&o.tags, "tags", nil, "tags that the embedded ant owns, for tasks that ask for them: a,b")
	return c
}

func (a *app) run(ctx context.Context, o runOptions) error {
	values, err := keyValues(o.params)
	if err != nil {
		return err
	}
	params, err := structpb.NewStruct(values)
	if err != nil {
		return usageError(err)
	}
	// A faulty definition is told before a colony is started for it.
	if o.jobs, err = a.readJobs(o.file); err != nil {
		return err
	}
	if o.main, err = choose(o.file, o.jobs, o.name); err != nil {
		return err
	}
	if a.named() {
		if len(o.tags) > 0 {
			return usageError(errors.New("--tags gives tags to the embedded ant; the ants of a server have their own"))
		}
		return a.patiently(ctx, func(ctx context.Context, cl *client) error {
			id, err := a.start(ctx, cl, o, params)
			if err != nil {
				return err
			}
			return a.runAndTell(ctx, cl, id, o, func(ctx context.Context, err error, f *follower) error { return a.leave(ctx, err, f.id) })
		})
	}
	a.hintTags(o, values)
	return a.embedded(ctx, o, func(ctx context.Context, cl *client) error {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		// The job is cancelled in its own time, so calls go on when the user has pressed Ctrl-C.
		id, err := a.start(context.WithoutCancel(ctx), cl, o, params)
		if err != nil {
			return err
		}
		return a.runAndTell(ctx, cl, id, o, func(ctx context.Context, err error, f *follower) error {
			if ctx.Err() == nil {
				return err
			}
			return a.abandon(ctx, f, o)
		})
	})
}

// start stores the definitions and submits a request of the one to run.
func (a *app) start(ctx context.Context, cl *client, o runOptions, params *structpb.Struct) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, callTime)
	defer cancel()
	all, err := a.uploadAll(ctx, cl, o.file, o.jobs)
	if err != nil {
		return "", err
	}
	def := all[o.main]
	res, err := cl.requests.SubmitJob(ctx, &jobv1.SubmitJobRequest{
		JobType: def.GetDefinition().GetJobType(), JobVersion: fmt.Sprint(def.GetDefinition().GetVersion()), Params: params,
	})
	a.printWarnings(res.GetWarnings())
	return res.GetRequest().GetId(), inFile(err, o.file)
}

// storedName is what the server calls the file of a definition that it has stored.
const storedName = "job.yaml:"

// inFile names the user's own file in the faults that the server tells of a stored definition.
func inFile(err error, file string) error {
	var typed *errs.Error
	if !errors.As(err, &typed) {
		return err
	}
	own := *typed
	own.Violations = slices.Clone(typed.Violations)
	for i := range own.Violations {
		v := &own.Violations[i]
		if at, found := strings.CutPrefix(v.Field, storedName); found {
			v.Field = file + ":" + at
		}
		if at, found := strings.CutPrefix(v.Description, storedName); found {
			v.Description = file + ":" + at
		}
	}
	return &own
}

// runAndTell follows the request; left says what an interruption means.
func (a *app) runAndTell(ctx context.Context, cl *client, id string, o runOptions, left func(context.Context, error, *follower) error) error {
	f := a.follower(cl, id)
	if !o.quiet {
		f.progress = a.Err
	}
	if a.output == "table" {
		f.logs = newStreamer(context.WithoutCancel(ctx), cl, id, a.Out, f.progress)
		defer f.logs.end()
	}
	r, err := f.until(ctx)
	if err != nil {
		return left(ctx, err, f)
	}
	if o.quiet && a.output == "table" {
		tasks, err := cl.tasks(ctx, r)
		if err != nil {
			return err
		}
		f.logs.finish(ctx, r, tasks)
		if err := outcome(r.GetState()); err != nil && len(begun(tasks)) == 0 { // nothing else tells why
			printf(a.Err, "%s %s: %s\n", r.GetJobType(), r.GetState(), strings.TrimSpace(r.GetErrorCode()+" "+r.GetErrorMessage()))
		}
		return outcome(r.GetState())
	}
	return a.conclude(ctx, f, r)
}

// abandon cancels a request of the embedded colony and waits for its end, which the graces of its tasks and the time for
// clean-up bound; not when the user asks again.
func (a *app) abandon(ctx context.Context, f *follower, o runOptions) error {
	code, reason := exitCancelled, "interrupted"
	if errors.Is(ctx.Err(), context.DeadlineExceeded) {
		code, reason = exitRunning, "--timeout"
	}
	if !o.quiet {
		printf(a.Err, "cancelling (%s) …\n", reason)
	}
	again := run.Hurried(ctx)
	ctx, cancel := hurried(context.WithoutCancel(ctx), again)
	defer cancel()
	call, done := context.WithTimeout(ctx, callTime)
	defer done()
	if _, err := f.c.requests.CancelJobRequest(call, &jobv1.CancelJobRequestRequest{Id: f.id, Reason: reason}); err != nil && ctx.Err() == nil {
		return err
	}
	r, err := f.until(ctx)
	if ctx.Err() != nil { // nothing of it is waited for any more
		return &exit{code: code}
	}
	if err != nil {
		return err
	}
	if tasks, err := f.c.tasks(ctx, r); err == nil && f.logs != nil {
		f.logs.finish(ctx, r, tasks)
	}
	if r.GetState() != jobv1.JobRequest_CANCELLED { // it ended before the cancel came
		return outcome(r.GetState())
	}
	return &exit{code: code}
}

// embedded starts a colony for one command. The colony outlives ctx until f has returned.
func (a *app) embedded(ctx context.Context, o runOptions, f func(context.Context, *client) error) (err error) {
	place, err := newWorkplace()
	if err != nil {
		return err
	}
	defer func() {
		if left := place.leave(); left != nil {
			printf(a.Err, "warning: %v\n", left)
		}
	}()
	conf := up.DefaultConfig()
	conf.DataDir, conf.Listen, conf.Throwaway, conf.Slots, conf.Version = place.data(), "127.0.0.1:0", true, o.slots, a.Version
	conf.Tags = o.tags
	if engine := a.Getenv("DOCKER_HOST"); engine != "" {
		conf.Docker.Host = engine
	}
	place.sweep(ctx, conf)
	if err := conf.Validate(); err != nil {
		return usageError(err)
	}
	log, err := logger(io.Discard, "error", "text")
	if err != nil {
		return err
	}
	if !o.quiet {
		line(a.Err, "starting a colony for this run; --server or --colony uses one that runs already")
	}
	c, err := up.New(conf, log)
	if err != nil {
		return err
	}
	a.flags = " --colony " + word(filepath.Join(place.data(), colonyFile))
	work := func(col colony.Colony) error {
		cl, err := dial(target{grpc: col.GRPC}, caller{user: a.who(), org: a.org})
		if err != nil {
			return err
		}
		defer cl.close()
		limited := ctx
		if a.timeout > 0 {
			var cancel context.CancelFunc
			limited, cancel = context.WithTimeout(ctx, a.timeout)
			defer cancel()
		}
		return f(limited, cl)
	}
	err, stop := during(context.WithoutCancel(ctx), c, work)
	if stop != nil { // the outcome is that of the job
		printf(a.Err, "warning: the colony of this run did not end in order: %v\n", stop)
	}
	return err
}

// runner is a colony, as a command uses it.
type runner interface {
	Run(ctx context.Context, ready func(colony.Colony)) error
}

// during runs the colony while work runs, and returns the error of work, or of a colony that ended before it, and that of
// the colony's end after it.
func during(ctx context.Context, c runner, work func(colony.Colony) error) (err, stop error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	ready := make(chan colony.Colony, 1)
	ended := make(chan error, 1)
	go func() { ended <- c.Run(ctx, func(col colony.Colony) { ready <- col }) }()
	select {
	case err := <-ended:
		return err, nil
	case col := <-ready:
		worked := make(chan error, 1)
		go func() { worked <- work(col) }()
		select {
		case err := <-worked:
			cancel()
			return err, <-ended
		case err := <-ended:
			return fmt.Errorf("the embedded colony ended: %w", err), nil
		}
	}
}
