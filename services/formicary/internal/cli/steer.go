package cli

import (
	"context"
	"io"

	"github.com/spf13/cobra"

	jobv1 "github.com/formicary/formicary/proto/gen/formicary/job/v1"
)

// steer is a command that changes a request and prints it.
func (a *app) steer(use, short, example string, call func(context.Context, *client, string) (*jobv1.JobRequest, error)) *cobra.Command {
	return &cobra.Command{
		Use: use, Short: short, Long: short + ". " + idHelp, Args: cobra.ExactArgs(1), Example: example,
		RunE: func(c *cobra.Command, args []string) error {
			return a.with(c.Context(), func(ctx context.Context, cl *client) error {
				r, err := call(ctx, cl, args[0])
				if err != nil {
					return err
				}
				one := []*jobv1.JobRequest{r}
				return a.show(r, []string{r.GetId()}, func(w io.Writer) { requestTable(w, one) })
			})
		},
	}
}

func (a *app) cancelCmd() *cobra.Command {
	var reason string
	c := a.steer("cancel ID", "End a request as CANCELLED", "  formicary request cancel @latest --reason 'wrong branch'", func(ctx context.Context, cl *client, id string) (*jobv1.JobRequest, error) {
		res, err := cl.requests.CancelJobRequest(ctx, &jobv1.CancelJobRequestRequest{Id: id, Reason: reason})
		return res.GetRequest(), err
	})
	c.Flags().StringVar(&reason, "reason", "", "`text` that people see")
	return c
}

func (a *app) pauseCmd() *cobra.Command {
	return a.steer("pause ID", "Start nothing more of a request; what runs finishes", "  formicary request pause 0198f2c1", func(ctx context.Context, cl *client, id string) (*jobv1.JobRequest, error) {
		res, err := cl.requests.PauseJobRequest(ctx, &jobv1.PauseJobRequestRequest{Id: id})
		return res.GetRequest(), err
	})
}

func (a *app) resumeCmd() *cobra.Command {
	return a.steer("resume ID", "Let a paused request go on", "  formicary request resume 0198f2c1", func(ctx context.Context, cl *client, id string) (*jobv1.JobRequest, error) {
		res, err := cl.requests.ResumeJobRequest(ctx, &jobv1.ResumeJobRequestRequest{Id: id})
		return res.GetRequest(), err
	})
}

func (a *app) restartCmd() *cobra.Command {
	var req jobv1.RestartJobRequestRequest
	const example = "  formicary request restart @failed\n  formicary request restart 0198f2c1 --from deploy\n  formicary request restart 0198f2c1 --hard --version ^1.2"
	c := a.steer("restart ID", "Run an ended request again", example, func(ctx context.Context, cl *client, id string) (*jobv1.JobRequest, error) {
		req.Id = id
		res, err := cl.requests.RestartJobRequest(ctx, &req)
		return res.GetRequest(), err
	})
	c.Flags().BoolVar(&req.Hard, "hard", false, "run every task again; otherwise completed tasks are kept")
	c.Flags().StringVar(&req.FromTask, "from", "", "run this `task` and what follows it again, keep what completed before it")
	c.Flags().StringVar(&req.JobVersion, "version", "", "`version` of the definition to go on with; the request's own unless given")
	c.MarkFlagsMutuallyExclusive("hard", "from")
	return c
}

func (a *app) explainCmd() *cobra.Command {
	return &cobra.Command{
		Use: "explain ID", Short: "Say why a request, or a task of it, does not run", Long: "Say why a request, or a task of it, does not run. " + idHelp,
		Args: cobra.ExactArgs(1), Example: "  formicary request explain @latest",
		RunE: func(c *cobra.Command, args []string) error {
			return a.with(c.Context(), func(ctx context.Context, cl *client) error {
				res, err := cl.requests.ExplainJobRequest(ctx, &jobv1.ExplainJobRequestRequest{Id: args[0]})
				if err != nil {
					return err
				}
				return a.show(res, []string{res.GetRequest().GetId()}, func(w io.Writer) { explanation(w, res) })
			})
		},
	}
}

func explanation(w io.Writer, res *jobv1.ExplainJobRequestResponse) {
	r := res.GetRequest()
	printf(w, "%s of %s is %s\n", short(r.GetId()), r.GetJobType(), r.GetState())
	if r.GetErrorMessage() != "" || r.GetErrorCode() != "" {
		fact(w, "error", r.GetErrorCode()+" "+r.GetErrorMessage())
	}
	waitFacts(w, r.GetWait())
	if len(res.GetTasks()) == 0 {
		return
	}
	row(w, "TASK", "STATE", "WAITS FOR", "REASON")
	for _, t := range res.GetTasks() {
		row(w, t.GetTask(), t.GetState(), gateText(t.GetWait().GetGate()), t.GetWait().GetReason())
	}
}
