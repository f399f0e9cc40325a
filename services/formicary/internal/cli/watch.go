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
	"google.golang.org/protobuf/types/known/timestamppb"

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
		follow       bool
		attempt, run int32
		part         logPart
		since, grep  string
		tasks        []string
	)
	c := &cobra.Command{
		Use: "logs ID [TASK]", Short: "Print the output of a task, or of all tasks in their order, or search it",
		Long: "Print the output of a task as it is (to a terminal without what would steer it, stderr in red), or of all tasks in their\norder with a prefix. With --grep print the lines that a regular expression (RE2) matches, as TASK/ATTEMPT:LINE: TEXT; the\nexit code is 1 when there is none. " + idHelp,
		Args: cobra.RangeArgs(1, 2),
		Example: "  formicary request logs @latest\n  formicary request logs @failed build --follow\n  formicary request logs @failed build --tail 100 --timestamps\n" +
			"  formicary request logs @latest --since 10m\n  formicary request logs @latest --grep 'error|panic' --task build --task test",
		RunE: func(c *cobra.Command, args []string) error {
			if part.tail < 0 || part.tail > maxTail {
				return usageError(fmt.Errorf("--tail %d: want 0 to %d", part.tail, maxTail))
			}
			var err error
			if part.since, err = past(since, time.Now()); err != nil {
				return err
			}
			if grep != "" && (follow || part.tail > 0) {
				return usageError(errors.New("--grep looks at all that is there: it goes with neither --follow nor --tail"))
			}
			tasks = append(tasks, args[1:]...)
			return a.patiently(c.Context(), func(ctx context.Context, cl *client) error {
				r, err := cl.request(ctx, args[0])
				if err != nil {
					return err
				}
				if run > 0 {
					r.Run = run
				}
				switch {
				case grep != "":
					return a.grep(ctx, cl, &executionv1.SearchLogsRequest{
						RequestId: r.GetId(), Run: r.GetRun(), Pattern: grep, Regexp: true, Tasks: tasks, Attempt: attempt, Since: part.since,
					}, part)
				case len(tasks) == 1:
					return a.oneLog(ctx, cl, &executionv1.WatchTaskLogRequest{
						RequestId: r.GetId(), Run: r.GetRun(), Task: tasks[0], Attempt: attempt, Follow: follow,
						Tail: part.tail, Since: part.since,
					}, run == 0, part.timestamps)
				}
				return a.allLogs(ctx, cl, r, follow, part, func(task string, number int32) bool {
					return (len(tasks) == 0 || slices.Contains(tasks, task)) && (attempt == 0 || attempt == number)
				})
			})
		},
	}
	c.Flags().BoolVarP(&follow, "follow", "f", false, "wait for more until the end of the task, over its retries and the runs to come")
	c.Flags().Int32Var(&attempt, "attempt", 0, "`number` of the attempt; of one task the newest unless given, of several all")
	c.Flags().Int32Var(&run, "run", 0, "`number` of the run; the newest unless given")
	c.Flags().Int64Var(&part.tail, "tail", 0, "only so many of the last `lines` of each log; 0 prints all")
	c.Flags().StringVar(&since, "since", "", "only what was printed since a `time` as 2006-01-02T15:04:05Z, or that long ago, as 10m")
	c.Flags().BoolVarP(&part.timestamps, "timestamps", "t", false, "print the time (UTC) of each line")
	c.Flags().StringVar(&grep, "grep", "", "print the lines that match a `pattern`")
	c.Flags().StringArrayVar(&tasks, "task", nil, "only this `task`, may be repeated")
	return c
}

// maxTail is the most that the server takes.
const maxTail = 1_000_000

// past reads a time or how long ago it was; "" is none.
func past(text string, now time.Time) (*timestamppb.Timestamp, error) {
	if d, err := time.ParseDuration(text); err == nil {
		return timestamppb.New(now.Add(-d)), nil
	}
	return moment(text, now)
}

// oneLog prints the bytes of one task, with follow of all its attempts from the newest on, also of the runs to come unless
// one is named. Bytes that cannot be had now are counted on stderr.
func (a *app) oneLog(ctx context.Context, cl *client, req *executionv1.WatchTaskLogRequest, onward, times bool) error {
	for {
		err := a.oneRun(ctx, cl, req, times)
		if err != nil || !onward || !req.GetFollow() || req.GetAttempt() > 0 {
			return err
		}
		run, err := a.nextRun(ctx, cl, req)
		if err != nil || run == 0 {
			return err
		}
		req = &executionv1.WatchTaskLogRequest{RequestId: req.GetRequestId(), Run: run, Task: req.GetTask(), Follow: true, FromRun: run, FromAttempt: 1, Since: req.GetSince()}
	}
}

func (a *app) oneRun(ctx context.Context, cl *client, req *executionv1.WatchTaskLogRequest, times bool) error {
	out := raw(a.Out)
	_, terminal := out.(terminalWriter)
	styled := terminal && a.Getenv("NO_COLOR") == ""
	req.Records = times || styled
	view, of, next := &logView{times: times, styled: styled}, int32(0), int64(0)
	err := readLog(ctx, cl, req, func(m *executionv1.WatchTaskLogResponse) error {
		if m.GetAttempt() != of {
			of, next = m.GetAttempt(), 0
		}
		if m.GetGap() {
			printf(a.Err, "%s", missing(m.GetOffset()-next))
		}
		next = following(m)
		_, err := out.Write(view.text(m, m.GetData()))
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

// allLogs prints the logs of every wanted attempt so far; with follow of all, and of those to come as well.
func (a *app) allLogs(ctx context.Context, cl *client, r *jobv1.JobRequest, follow bool, part logPart, wanted func(task string, attempt int32) bool) error {
	s := newStreamer(ctx, cl, r.GetId(), a.Out, a.Err)
	s.part, s.wanted = part, wanted
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
