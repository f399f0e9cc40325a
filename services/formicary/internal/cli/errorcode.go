package cli

import (
	"context"
	"fmt"
	"io"

	"github.com/google/uuid"
	"github.com/spf13/cobra"

	jobv1 "github.com/formicary/formicary/proto/gen/formicary/job/v1"
)

func (a *app) errorCodeCmd() *cobra.Command {
	return group("error-code", "Rules that name failures and say what follows", "formicary error-code list --job build", a.errorCodeListCmd(), a.errorCodeSaveCmd(), a.errorCodeDeleteCmd())
}

func (a *app) errorCodeListCmd() *cobra.Command {
	var jobType string
	c := &cobra.Command{
		Use: "list", Short: "List the rules, the most specific first", Args: cobra.NoArgs, Example: "  formicary error-code list --job build",
		RunE: func(c *cobra.Command, _ []string) error {
			return a.with(c.Context(), func(ctx context.Context, cl *client) error {
				all := &jobv1.ListErrorCodesResponse{}
				err := pages(func(token string) (string, error) {
					page, err := cl.errorCodes.ListErrorCodes(ctx, &jobv1.ListErrorCodesRequest{PageSize: pageSize, PageToken: token, JobType: jobType})
					all.ErrorCodes = append(all.ErrorCodes, page.GetErrorCodes()...)
					return page.GetNextPageToken(), err
				})
				if err != nil {
					return err
				}
				ids := make([]string, len(all.GetErrorCodes()))
				for i, e := range all.GetErrorCodes() {
					ids[i] = e.GetId()
				}
				return a.show(all, ids, func(w io.Writer) { errorCodeTable(w, all.GetErrorCodes()) })
			})
		},
	}
	c.Flags().StringVar(&jobType, "job", "", "only the rules that apply to this `job`")
	return c
}

func errorCodeTable(w io.Writer, list []*jobv1.ErrorCode) {
	row(w, "ID", "CODE", "ACTION", "JOB", "TASK", "EXIT", "REGEX", "MESSAGE")
	for _, e := range list {
		row(w, e.GetId(), e.GetErrorCode(), e.GetAction(), e.GetJobType(), e.GetTaskTypeScope(), e.GetExitCode(), e.GetRegex(), firstLine(e.GetDisplayMessage()))
	}
}

func (a *app) errorCodeSaveCmd() *cobra.Command {
	e := &jobv1.ErrorCode{}
	c := &cobra.Command{
		Use: "save CODE", Short: "Store a rule: what fits all conditions gets this code", Args: cobra.ExactArgs(1),
		Long: `Store a rule. A failed task that fits all conditions gets the error code and the action:
RETRY_TASK tries the task again, RETRY_JOB the job, SUSPEND_JOB pauses the job until somebody resumes it, HARD_FAILURE fails
it without any retry. Without conditions every failure fits.`,
		Example: `  formicary error-code save ERR_OUT_OF_DISK --regex 'No space left' --action SUSPEND_JOB --message "The disk is full"
  formicary error-code save ERR_FLAKY --job build --task test --exit-code 75 --action RETRY_TASK --retry 3`,
		RunE: func(c *cobra.Command, args []string) error {
			e.ErrorCode = args[0]
			return a.with(c.Context(), func(ctx context.Context, cl *client) error {
				res, err := cl.errorCodes.SaveErrorCode(ctx, &jobv1.SaveErrorCodeRequest{ErrorCode: e})
				if err != nil {
					return err
				}
				one := []*jobv1.ErrorCode{res.GetErrorCode()}
				return a.show(res.GetErrorCode(), []string{res.GetErrorCode().GetId()}, func(w io.Writer) { errorCodeTable(w, one) })
			})
		},
	}
	f := c.Flags()
	f.StringVar(&e.Id, "id", "", "`id` of the rule to replace; a new one unless given")
	f.StringVar(&e.JobType, "job", "*", "`job` it is for, * for all")
	f.StringVar(&e.TaskTypeScope, "task", "", "`task` it is for")
	f.StringVar(&e.PlatformScope, "platform", "", "`platform` of the job it is for")
	f.StringVar(&e.CommandScope, "command", "", "`text` that the script contains")
	f.StringVar(&e.Regex, "regex", "", "regular `expression` that matches in the message or the last lines of the log; ^ and $ are the ends of a line")
	f.StringVar(&e.ExitCode, "exit-code", "", "`code` or range such as 500-599 or 4xx")
	f.StringVar(&e.Action, "action", "", "RETRY_TASK, RETRY_JOB, SUSPEND_JOB or HARD_FAILURE")
	f.Int32Var(&e.Retry, "retry", 0, "how often RETRY_TASK or RETRY_JOB tries; 0 means as often as the definition says")
	f.StringVar(&e.DisplayMessage, "message", "", "`text` that people see instead of the failure's own")
	f.StringVar(&e.DisplayCode, "display-code", "", "short `code` for people")
	f.StringVar(&e.Description, "description", "", "`text` for operators")
	return c
}

func (a *app) errorCodeDeleteCmd() *cobra.Command {
	return &cobra.Command{
		Use: "delete ID", Short: "Remove a rule", Args: cobra.ExactArgs(1),
		Long:    "Remove a rule. ID is the first column of: formicary error-code list",
		Example: "  formicary error-code delete 0198f2c1-7d3f-7abc-8000-000000000000",
		RunE: func(c *cobra.Command, args []string) error {
			return a.with(c.Context(), func(ctx context.Context, cl *client) error {
				if _, err := uuid.Parse(args[0]); err != nil {
					return usageError(fmt.Errorf("%q is no id of a rule; formicary error-code list shows the ids", args[0]))
				}
				if _, err := cl.errorCodes.DeleteErrorCode(ctx, &jobv1.DeleteErrorCodeRequest{Id: args[0]}); err != nil {
					return err
				}
				printf(a.Err, "%s deleted\n", args[0])
				return nil
			})
		},
	}
}
