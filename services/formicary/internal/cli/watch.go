package cli

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/spf13/cobra"

	executionv1 "github.com/formicary/formicary/proto/gen/formicary/execution/v1"
	jobv1 "github.com/formicary/formicary/proto/gen/formicary/job/v1"
)

func (a *app) watchCmd() *cobra.Command {
	var logs bool
	c := &cobra.Command{
		Use: "watch ID", Short: "Follow a request to its end; the exit code is its outcome",
		Long: "Follow a request to its end; the exit code is its outcome. " + idHelp, Args: cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			return a.patiently(c.Context(), func(ctx context.Context, cl *client) error {
				return a.watch(ctx, cl, args[0], true, logs)
			})
		},
	}
	c.Flags().BoolVar(&logs, "logs", false, "print the output of the tasks too")
	return c
}

func (a *app) waitCmd() *cobra.Command {
	return &cobra.Command{
		Use: "wait ID", Short: "Wait for the end of a request and say nothing; the exit code is its outcome",
		Long: "Wait for the end of a request and say nothing; the exit code is its outcome, 8 after --timeout. " + idHelp, Args: cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			return a.patiently(c.Context(), func(ctx context.Context, cl *client) error {
				return a.watch(ctx, cl, args[0], false, false)
			})
		},
	}
}

// watch follows a request that somebody else submitted.
func (a *app) watch(ctx context.Context, cl *client, id string, progress, logs bool) error {
	r, err := cl.request(ctx, id)
	if err != nil {
		return err
	}
	f := &follower{c: cl, id: r.GetId()}
	if progress {
		f.progress = a.Err
	}
	if logs && a.output == "table" {
		f.logs = newStreamer(context.WithoutCancel(ctx), cl, r.GetId(), a.Out, f.progress)
		defer f.logs.end()
	}
	if r, err = f.until(ctx); err != nil {
		return a.leave(ctx, err, f.id)
	}
	if !progress {
		return outcome(r.GetState())
	}
	return a.conclude(ctx, f, r)
}

// leave explains what becomes of a request that is not watched any more.
func (a *app) leave(ctx context.Context, err error, id string) error {
	switch {
	case errors.Is(ctx.Err(), context.DeadlineExceeded):
		return &exit{exitRunning, fmt.Errorf("%s is still running after %s", short(id), a.timeout)}
	case ctx.Err() != nil:
		printf(a.Err, "detached; the request goes on. Come back with:  formicary request watch %s\n", short(id))
		return &exit{code: exitDetached}
	}
	return err
}

// conclude prints what a request that has ended came to.
func (a *app) conclude(ctx context.Context, f *follower, r *jobv1.JobRequest) error {
	tasks, err := f.c.tasks(ctx, r)
	if err != nil {
		return err
	}
	if f.logs != nil {
		f.logs.finish(ctx, r, tasks)
	}
	if a.output != "table" {
		if err := a.showResult(r, tasks, nil); err != nil {
			return err
		}
		return outcome(r.GetState())
	}
	line(a.Out, "")
	if err := tabulate(a.Out, func(w io.Writer) { taskTable(w, tasks) }); err != nil {
		return err
	}
	printf(a.Out, "\n%s %s", r.GetJobType(), r.GetState())
	if took := between(r.GetStartedAt(), r.GetEndedAt()); took != "" {
		printf(a.Out, " in %s", took)
	}
	if r.GetErrorCode() != "" || r.GetErrorMessage() != "" {
		printf(a.Out, ": %s %s", r.GetErrorCode(), r.GetErrorMessage())
	}
	line(a.Out, "")
	return outcome(r.GetState())
}

func (a *app) logsCmd() *cobra.Command {
	var (
		follow  bool
		attempt int32
		run     int32
	)
	c := &cobra.Command{
		Use: "logs ID [TASK]", Short: "Print the output of a task, or of all tasks in their order",
		Long: "Print the output of a task as it is (to a terminal without what would steer it), or of all tasks in their order\nwith a prefix. " + idHelp, Args: cobra.RangeArgs(1, 2),
		Example: "  formicary request logs @latest\n  formicary request logs @failed build --follow",
		RunE: func(c *cobra.Command, args []string) error {
			return a.patiently(c.Context(), func(ctx context.Context, cl *client) error {
				r, err := cl.request(ctx, args[0])
				if err != nil {
					return err
				}
				if run > 0 {
					r.Run = run
				}
				if len(args) == 2 {
					return a.oneLog(ctx, cl, &executionv1.WatchTaskLogRequest{
						RequestId: r.GetId(), Run: r.GetRun(), Task: args[1], Attempt: attempt, Follow: follow,
					})
				}
				return a.allLogs(ctx, cl, r, follow)
			})
		},
	}
	c.Flags().BoolVarP(&follow, "follow", "f", false, "wait for more until the end")
	c.Flags().Int32Var(&attempt, "attempt", 0, "`number` of the attempt; the newest unless given")
	c.Flags().Int32Var(&run, "run", 0, "`number` of the run; the newest unless given")
	return c
}

// oneLog prints the bytes of one log. Those that cannot be had now are counted on stderr.
func (a *app) oneLog(ctx context.Context, cl *client, req *executionv1.WatchTaskLogRequest) error {
	out, next := raw(a.Out), int64(0)
	return readLog(ctx, cl, req, func(p []byte, at int64) error {
		if at > next {
			printf(a.Err, "%s", missing(at-next))
		}
		next = at + int64(len(p))
		_, err := out.Write(p)
		return err
	})
}

// allLogs prints the logs of every attempt so far; with follow those to come as well.
func (a *app) allLogs(ctx context.Context, cl *client, r *jobv1.JobRequest, follow bool) error {
	s := newStreamer(ctx, cl, r.GetId(), a.Out, a.Err)
	defer s.end()
	if follow && !terminal(r.GetState()) {
		f := &follower{c: cl, id: r.GetId(), logs: s}
		end, err := f.until(ctx)
		if err != nil {
			return a.leave(ctx, err, r.GetId())
		}
		r = end
	}
	tasks, err := cl.tasks(ctx, r)
	if err != nil {
		return err
	}
	if follow {
		s.finish(ctx, r, tasks)
		return nil
	}
	for _, t := range tasks {
		for _, at := range t.GetAttempts() {
			s.copy(ctx, attemptKey{r.GetRun(), t.GetName(), at.GetNumber()}, false)
		}
	}
	return nil
}
