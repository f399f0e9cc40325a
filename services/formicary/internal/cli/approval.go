package cli

import (
	"context"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

	executionv1 "github.com/formicary/formicary/proto/gen/formicary/execution/v1"
	jobv1 "github.com/formicary/formicary/proto/gen/formicary/job/v1"
)

func (a *app) voteCmd(approve bool) *cobra.Command {
	verb, short, decision, why := "reject", "Vote against a task that waits for approval", "REJECTED", "the plan deletes the database"
	if approve {
		verb, short, decision, why = "approve", "Vote for a task that waits for approval", "APPROVED", "looked at the plan"
	}
	var comment, digest string
	var given []string
	c := &cobra.Command{
		Use: verb + " ID [TASK]", Short: short, Args: cobra.RangeArgs(1, 2),
		Long:    short + ". TASK may be left out when one task waits. You vote as who is logged in, where nobody logs in as --user; nobody votes on a job that they submitted,\nunless its approval_policy says allow_self_approval: true. " + idHelp,
		Example: fmt.Sprintf("  formicary request %[1]s @latest --user alice --comment %[2]q\n  formicary request %[1]s 0198f2c1 deploy --user alice --comment %[2]q\n  formicary request %[1]s 0198f2c1 deploy --digest 4be1a9c02d7f --comment %[2]q", verb, why),
		RunE: func(c *cobra.Command, args []string) error {
			values, err := valuesOf(given)
			if err != nil {
				return err
			}
			return a.with(c.Context(), func(ctx context.Context, cl *client) error {
				r, err := cl.request(ctx, args[0])
				if err != nil {
					return err
				}
				var task string
				if len(args) == 2 {
					task = args[1]
				} else if task, err = cl.waitsForApproval(ctx, r); err != nil {
					return err
				}
				res, err := cl.approvals.VoteOnApproval(ctx, &executionv1.VoteOnApprovalRequest{
					RequestId: r.GetId(), Task: task, Decision: decision, Comments: comment, Values: values, Digest: digest,
				})
				if err != nil {
					return err
				}
				one := []*executionv1.Approval{res.GetApproval()}
				return a.show(res.GetApproval(), []string{r.GetId()}, func(w io.Writer) { approvalTable(w, one) })
			})
		},
	}
	c.Flags().StringVar(&comment, "comment", "", "`text` that people see; a rejection needs one")
	c.Flags().StringVar(&digest, "digest", "", "`digest` that formicary request approvals shows: refuse to vote on anything else that the task asks meanwhile")
	c.Flags().StringArrayVar(&given, "value", nil, "`name=value` of an output that the task declares, may be repeated; later tasks see it as a variable")
	return c
}

// valuesOf reads name=value.
func valuesOf(given []string) (map[string]string, error) {
	values := make(map[string]string, len(given))
	for _, text := range given {
		name, v, ok := strings.Cut(text, "=")
		if _, twice := values[name]; !ok || name == "" || twice {
			return nil, usageError(fmt.Errorf("--value %s: want name=value, each name once", text))
		}
		values[name] = v
	}
	return values, nil
}

// waitsForApproval finds the one task of a request that can be voted on.
func (c *client) waitsForApproval(ctx context.Context, r *jobv1.JobRequest) (string, error) {
	tasks, err := c.tasks(ctx, r)
	if err != nil {
		return "", err
	}
	var names []string
	for _, t := range tasks {
		if t.GetWaitGate() == approvalGate {
			names = append(names, t.GetName())
		}
	}
	switch len(names) {
	case 0:
		return "", usageError(fmt.Errorf("no task of %s waits for approval", short(r.GetId())))
	case 1:
		return names[0], nil
	}
	return "", usageError(fmt.Errorf("several tasks wait for approval, name one: %s", strings.Join(names, ", ")))
}

func (a *app) approvalsCmd() *cobra.Command {
	return &cobra.Command{
		Use: "approvals", Short: "List what waits for approval, the oldest first", Args: cobra.NoArgs, Example: "  formicary request approvals",
		RunE: func(c *cobra.Command, _ []string) error {
			return a.with(c.Context(), func(ctx context.Context, cl *client) error {
				all := &executionv1.ListPendingApprovalsResponse{}
				err := pages(func(token string) (string, error) {
					page, err := cl.approvals.ListPendingApprovals(ctx, &executionv1.ListPendingApprovalsRequest{PageSize: pageSize, PageToken: token})
					all.Approvals = append(all.Approvals, page.GetApprovals()...)
					return page.GetNextPageToken(), err
				})
				if err != nil {
					return err
				}
				ids := make([]string, len(all.GetApprovals()))
				for i, p := range all.GetApprovals() {
					ids[i] = p.GetRequestId()
				}
				return a.show(all, ids, func(w io.Writer) { approvalTable(w, all.GetApprovals()) })
			})
		},
	}
}

func approvalTable(w io.Writer, list []*executionv1.Approval) {
	row(w, "REQUEST", "JOB", "TASK", "STATE", "VOTES", "WHO MAY", "AGE", "DUE", "DIGEST", "QUESTION")
	for _, p := range list {
		yes, no := 0, 0
		for _, v := range p.GetVotes() {
			if v.GetApprove() {
				yes++
			} else {
				no++
			}
		}
		votes := fmt.Sprintf("%d of %d", yes, p.GetMinApprovals())
		if no > 0 {
			votes += fmt.Sprintf(", %d against", no)
		}
		row(w, short(p.GetRequestId()), p.GetJobType(), p.GetTask(), p.GetState(), votes, whoMay(p), since(p.GetRequestedAt()), clock(p.GetDueAt()), digestHead(p.GetDigest()), firstLine(p.GetDescription()))
	}
}

// digestHead is as much of a digest as a vote has to name.
func digestHead(digest string) string { return digest[:min(len(digest), 12)] }

func (a *app) itemsCmd() *cobra.Command {
	var states []string
	c := &cobra.Command{
		Use: "items ID TASK", Short: "List the items of a task with fan_out or matrix", Long: "List the items of a task with fan_out or matrix. " + idHelp,
		Example: "  formicary request items @latest load --state FAILED", Args: cobra.ExactArgs(2),
		RunE: func(c *cobra.Command, args []string) error {
			req := &executionv1.ListTasksRequest{ItemsOf: args[1], PageSize: pageSize}
			for _, s := range states {
				n, ok := executionv1.Task_State_value[strings.ToUpper(s)]
				if !ok || n == 0 {
					return usageError(fmt.Errorf("unknown state %q", s))
				}
				req.States = append(req.States, executionv1.Task_State(n))
			}
			return a.with(c.Context(), func(ctx context.Context, cl *client) error {
				r, err := cl.request(ctx, args[0])
				if err != nil {
					return err
				}
				req.RequestId, req.Run = r.GetId(), r.GetRun()
				all := &executionv1.ListTasksResponse{}
				err = pages(func(token string) (string, error) {
					req.PageToken = token
					page, err := cl.executions.ListTasks(ctx, req)
					all.Tasks = append(all.Tasks, page.GetTasks()...)
					return page.GetNextPageToken(), err
				})
				if err != nil {
					return err
				}
				names := make([]string, len(all.GetTasks()))
				for i, t := range all.GetTasks() {
					names[i] = t.GetName()
				}
				return a.show(all, names, func(w io.Writer) { taskTable(w, all.GetTasks()) })
			})
		},
	}
	c.Flags().StringSliceVar(&states, "state", nil, "only items in this `state`, may be repeated")
	return c
}

func (a *app) notificationsCmd() *cobra.Command {
	return &cobra.Command{
		Use: "notifications ID", Short: "List who was told about a request, and what could not be delivered", Args: cobra.ExactArgs(1),
		Long:    "List who was told about a request, and what could not be delivered. " + idHelp,
		Example: "  formicary request notifications @latest",
		RunE: func(c *cobra.Command, args []string) error {
			return a.with(c.Context(), func(ctx context.Context, cl *client) error {
				r, err := cl.request(ctx, args[0])
				if err != nil {
					return err
				}
				res, err := cl.notices.ListNotifications(ctx, &jobv1.ListNotificationsRequest{RequestId: r.GetId(), PageSize: pageSize})
				if err != nil {
					return err
				}
				ids := make([]string, len(res.GetNotifications()))
				for i, n := range res.GetNotifications() {
					ids[i] = n.GetId()
				}
				return a.show(res, ids, func(w io.Writer) {
					row(w, "CHANNEL", "RECIPIENT", "STATE", "TRIES", "AGE", "SUBJECT", "ERROR")
					for _, n := range res.GetNotifications() {
						row(w, n.GetChannel(), n.GetRecipient(), n.GetState(), n.GetAttempts(), since(n.GetCreatedAt()), n.GetSubject(), firstLine(n.GetError()))
					}
				})
			})
		},
	}
}
