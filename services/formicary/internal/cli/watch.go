package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"time"

	"github.com/spf13/cobra"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	executionv1 "github.com/formicary/formicary/proto/gen/formicary/execution/v1"
	jobv1 "github.com/formicary/formicary/proto/gen/formicary/job/v1"
)

func (a *app) watchCmd() *cobra.Command {
	var logs bool
	c := &cobra.Command{
		Use: "watch ID", Short: "Follow a request to its end; the exit code is its outcome",
		Long: "Follow a request to its end; the exit code is its outcome. " + idHelp, Args: cobra.ExactArgs(1),
		Example: "  formicary request watch @latest --logs",
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
		Example: "  formicary request wait 0198f2c1 --timeout 10m && echo done",
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
	f := a.follower(cl, r.GetId())
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
					}, run == 0)
				}
				return a.allLogs(ctx, cl, r, follow)
			})
		},
	}
	c.Flags().BoolVarP(&follow, "follow", "f", false, "wait for more until the end of the task, over its retries and the runs to come")
	c.Flags().Int32Var(&attempt, "attempt", 0, "`number` of the attempt; the newest unless given")
	c.Flags().Int32Var(&run, "run", 0, "`number` of the run; the newest unless given")
	return c
}

// oneLog prints the bytes of one task, with follow of all its attempts from the newest on, also of the runs to come unless
// one is named. Bytes that cannot be had now are counted on stderr.
func (a *app) oneLog(ctx context.Context, cl *client, req *executionv1.WatchTaskLogRequest, onward bool) error {
	for {
		err := a.oneRun(ctx, cl, req)
		if err != nil || !onward || !req.GetFollow() || req.GetAttempt() > 0 {
			return err
		}
		run, err := a.nextRun(ctx, cl, req)
		if err != nil || run == 0 {
			return err
		}
		req = &executionv1.WatchTaskLogRequest{RequestId: req.GetRequestId(), Run: run, Task: req.GetTask(), Follow: true, FromRun: run, FromAttempt: 1}
	}
}

func (a *app) oneRun(ctx context.Context, cl *client, req *executionv1.WatchTaskLogRequest) error {
	out, of, next := raw(a.Out), int32(0), int64(0)
	err := readLog(ctx, cl, req, func(m *executionv1.WatchTaskLogResponse) error {
		if m.GetAttempt() != of {
			of, next = m.GetAttempt(), 0
		}
		if m.GetOffset() > next {
			printf(a.Err, "%s", missing(m.GetOffset()-next))
		}
		next = m.GetOffset() + int64(len(m.GetData()))
		_, err := out.Write(m.GetData())
		return err
	})
	if end, limited := ctx.Deadline(); limited && status.Code(err) == codes.DeadlineExceeded && time.Until(end) < time.Second {
		<-ctx.Done() // the server's clock was faster
	}
	if err != nil && ctx.Err() != nil {
		return a.leave(ctx, err, req.GetRequestId())
	}
	return err
}

// nextRun returns the run in which a task begins anew that has ended, 0 when there is none: after a failure it waits until
// the request has ended too.
func (a *app) nextRun(ctx context.Context, cl *client, req *executionv1.WatchTaskLogRequest) (int32, error) {
	for {
		r, err := cl.request(ctx, req.GetRequestId())
		switch {
		case err != nil:
			return 0, err
		case r.GetRun() > req.GetRun():
			return req.GetRun() + 1, nil
		case terminal(r.GetState()):
			return 0, nil
		}
		tasks, err := cl.tasks(ctx, r)
		if err != nil {
			return 0, err
		}
		i := slices.IndexFunc(tasks, func(t *executionv1.Task) bool { return t.GetName() == req.GetTask() })
		if i < 0 || tasks[i].GetState() == executionv1.Task_COMPLETED || tasks[i].GetState() == executionv1.Task_SKIPPED {
			return 0, nil // an item of a fan-out is followed in its run only
		}
		select {
		case <-time.After(checkEvery):
		case <-ctx.Done():
			return 0, a.leave(ctx, ctx.Err(), req.GetRequestId())
		}
	}
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
