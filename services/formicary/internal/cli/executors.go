package cli

import (
	"context"
	"fmt"
	"io"
	"maps"
	"slices"

	"github.com/spf13/cobra"

	resourcev1 "github.com/formicary/formicary/proto/gen/formicary/resource/v1"
)

func (a *app) antExecutorsCmd() *cobra.Command {
	return group("executors", "What runs on the hosts of the ants", "formicary ant executors list", a.executorsListCmd(), a.executorsRmCmd())
}

func (a *app) executorsListCmd() *cobra.Command {
	return &cobra.Command{
		Use: "list", Short: "List the processes and containers of attempts, as the ants see them", Args: cobra.NoArgs,
		Long: "List the processes and containers of attempts, as the ants see them. What is LEFT belongs to no attempt that its ant knows:\n" +
			"nobody waits for its end.",
		Example: "  formicary ant executors list\n  formicary ant executors list -o name",
		RunE: func(c *cobra.Command, _ []string) error {
			return a.with(c.Context(), func(ctx context.Context, cl *client) error {
				res, err := cl.executors.ListExecutors(ctx, &resourcev1.ListExecutorsRequest{})
				if err != nil {
					return err
				}
				for _, id := range slices.Sorted(maps.Keys(res.GetSilent())) {
					printf(a.Err, "warning: the list is not whole: ant %s: %s\n", id, res.GetSilent()[id])
				}
				return a.show(res, executorIDs(res.GetExecutors()), func(w io.Writer) { executorTable(w, res.GetExecutors()) })
			})
		},
	}
}

func (a *app) executorsRmCmd() *cobra.Command {
	return &cobra.Command{
		Use: "rm EXECUTOR…", Short: "End what runs of an attempt", Args: cobra.MinimumNArgs(1),
		Long: "End what runs of an attempt. What is LEFT is killed. An attempt that its ant knows is asked to end, gets its grace and counts as\n" +
			"lost: it runs again where its task allows that. To end a job use `formicary request cancel`.",
		Example: "  formicary ant executors rm 0b1f6c1e-2f5a-4d0e-9a51-6a1f0c7a2b11",
		RunE: func(c *cobra.Command, args []string) error {
			return a.with(c.Context(), func(ctx context.Context, cl *client) error {
				var all []*resourcev1.Executor
				for _, id := range args {
					res, err := cl.executors.DeleteExecutor(ctx, &resourcev1.DeleteExecutorRequest{Id: id})
					if err != nil {
						return err
					}
					all = append(all, res.GetExecutors()...)
				}
				return a.show(&resourcev1.DeleteExecutorResponse{Executors: all}, executorIDs(all), func(w io.Writer) { executorTable(w, all) })
			})
		},
	}
}

func executorIDs(all []*resourcev1.Executor) []string {
	ids := make([]string, len(all))
	for i, x := range all {
		ids[i] = x.GetId()
	}
	return ids
}

func executorTable(w io.Writer, all []*resourcev1.Executor) {
	row(w, "EXECUTOR", "ANT", "METHOD", "ON THE HOST", "SINCE", "JOB", "TASK")
	for _, x := range all {
		job, task := x.GetJobType()+" "+x.GetRequestId(), fmt.Sprintf("%s (attempt %d)", x.GetTask(), x.GetAttempt())
		if x.GetLeft() {
			job, task = "LEFT", ""
		}
		row(w, x.GetId(), x.GetAntId(), x.GetMethod(), x.GetHostId(), since(x.GetStartedAt()), job, task)
	}
}
