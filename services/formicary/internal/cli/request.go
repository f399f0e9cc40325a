package cli

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"google.golang.org/protobuf/types/known/structpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/formicary/formicary/libs/exact"
	jobv1 "github.com/formicary/formicary/proto/gen/formicary/job/v1"
)

const idHelp = "ID is a request's id, a unique beginning of it (8 characters or more), @latest or @failed."

func (a *app) requestCmd() *cobra.Command {
	return group("request", "Requests: jobs that run, ran or wait", "formicary request list --state FAILED",
		alsoCalled(a.submitCmd(), "create", "start"), a.requestListCmd(), alsoCalled(a.requestGetCmd(), "show", "status"), alsoCalled(a.watchCmd(), "follow"), a.waitCmd(), alsoCalled(a.logsCmd(), "log"), a.explainCmd(),
		alsoCalled(a.cancelCmd(), "stop", "kill"), a.pauseCmd(), a.resumeCmd(), alsoCalled(a.restartCmd(), "retry", "rerun"),
		a.itemsCmd(), a.approvalsCmd(), a.voteCmd(true), a.voteCmd(false), a.notificationsCmd())
}

func (a *app) submitCmd() *cobra.Command {
	var (
		params   []string
		priority int32
		at       string
		req      jobv1.SubmitJobRequest
	)
	c := &cobra.Command{
		Use: "submit JOB", Short: "Ask for a run of a job", Args: cobra.ExactArgs(1),
		Example: "  formicary request submit build -p branch=main\n  formicary request submit report --at 2026-12-01T06:00:00Z --key report-december",
		RunE: func(c *cobra.Command, args []string) error {
			values, err := keyValues(params)
			if err != nil {
				return err
			}
			if req.Params, err = structpb.NewStruct(values); err != nil {
				return usageError(err)
			}
			if c.Flags().Changed("priority") {
				req.Priority = &priority
			}
			if req.ScheduledAt, err = moment(at, time.Now()); err != nil {
				return err
			}
			req.JobType = args[0]
			return a.with(c.Context(), func(ctx context.Context, cl *client) error {
				res, err := cl.requests.SubmitJob(ctx, &req)
				if err != nil {
					return err
				}
				a.printWarnings(res.GetWarnings())
				id := res.GetRequest().GetId()
				return a.show(res.GetRequest(), []string{id}, func(w io.Writer) {
					line(w, id)
					if !res.GetCreated() {
						line(a.Err, "this key was used before: the request exists already")
					}
					printf(a.Err, "follow it with:  formicary request watch %s\n", short(id))
				})
			})
		},
	}
	f := c.Flags()
	f.StringArrayVarP(&params, "param", "p", nil, "parameter `name=value`, may be repeated")
	f.Int32Var(&priority, "priority", 0, "0 to 100, higher first; the definition's unless given")
	f.StringVar(&at, "at", "", "earliest start: a `time` as 2006-01-02T15:04:05Z or a duration from now as 90m")
	f.StringVar(&req.IdempotencyKey, "key", "", "idempotency key: the same key again gives the same request")
	f.StringVar(&req.Description, "description", "", "text for people")
	f.StringVar(&req.JobVersion, "version", "", "version of the definition; the newest unless given")
	return c
}

// moment reads a time or a duration from now; "" is none.
func moment(text string, now time.Time) (*timestamppb.Timestamp, error) {
	if text == "" {
		return nil, nil //nolint:nilnil // no time is not an error
	}
	if d, err := time.ParseDuration(text); err == nil {
		return timestamppb.New(now.Add(d)), nil
	}
	t, err := time.Parse(time.RFC3339, text)
	if err != nil {
		return nil, usageError(fmt.Errorf("time %q: want 2006-01-02T15:04:05Z or a duration as 90m", text))
	}
	return timestamppb.New(t), nil
}

func (a *app) requestListCmd() *cobra.Command {
	var (
		jobType string
		parent  string
		states  []string
		limit   int32
	)
	c := &cobra.Command{
		Use: "list", Short: "List requests, newest first", Args: cobra.NoArgs,
		Example: "  formicary request list\n  formicary request list --state FAILED --job build -o name",
		RunE: func(c *cobra.Command, _ []string) error {
			if limit < 1 {
				return usageError(fmt.Errorf("--limit %d: want 1 or more", limit))
			}
			req := &jobv1.ListJobRequestsRequest{JobType: jobType, ParentRequestId: parent}
			for _, s := range states {
				n, ok := jobv1.JobRequest_State_value[strings.ToUpper(s)]
				if !ok || n == 0 {
					return usageError(fmt.Errorf("unknown state %q", s))
				}
				req.States = append(req.States, jobv1.JobRequest_State(n))
			}
			return a.with(c.Context(), func(ctx context.Context, cl *client) error {
				all, err := cl.listRequests(ctx, req, limit)
				if err != nil {
					return err
				}
				ids := make([]string, len(all.GetRequests()))
				for i, r := range all.GetRequests() {
					ids[i] = r.GetId()
				}
				return a.show(all, ids, func(w io.Writer) { requestTable(w, all.GetRequests()) })
			})
		},
	}
	c.Flags().StringVar(&jobType, "job", "", "only requests of this `job`")
	c.Flags().StringVar(&parent, "parent", "", "only the jobs that this `request` forked, by its whole id")
	c.Flags().StringSliceVar(&states, "state", nil, "only requests in this `state`, may be repeated")
	c.Flags().Int32Var(&limit, "limit", 50, "at most so many, 1 or more")
	return c
}

// listRequests reads pages until limit.
func (c *client) listRequests(ctx context.Context, req *jobv1.ListJobRequestsRequest, limit int32) (*jobv1.ListJobRequestsResponse, error) {
	all := &jobv1.ListJobRequestsResponse{}
	for limit > 0 {
		req.PageSize = min(limit, pageSize)
		page, err := c.requests.ListJobRequests(ctx, req)
		if err != nil {
			return nil, err
		}
		all.Requests = append(all.Requests, page.GetRequests()...)
		limit -= int32(len(page.GetRequests()))
		if req.PageToken = page.GetNextPageToken(); req.PageToken == "" || len(page.GetRequests()) == 0 {
			break
		}
	}
	all.NextPageToken = req.GetPageToken()
	return all, nil
}

func requestTable(w io.Writer, list []*jobv1.JobRequest) {
	row(w, "ID", "JOB", "STATE", "RUN", "AGE", "DURATION", "NOTE")
	for _, r := range list {
		took := ""
		if r.GetStartedAt() != nil {
			took = between(r.GetStartedAt(), r.GetEndedAt())
		}
		row(w, short(r.GetId()), r.GetJobType(), r.GetState(), r.GetRun(), since(r.GetCreatedAt()), took, remark(r))
	}
}

// remark is why a request waits or failed.
func remark(r *jobv1.JobRequest) string {
	const width = 80
	text := r.GetWait().GetReason()
	if r.GetCancelRequestedAt() != nil && !terminal(r.GetState()) {
		text = "cancel asked"
	}
	if text == "" {
		text = r.GetErrorMessage()
	}
	if text == "" {
		text = r.GetErrorCode()
	}
	if cut := []rune(text); len(cut) > width {
		return string(cut[:width]) + "…"
	}
	return text
}

func (a *app) requestGetCmd() *cobra.Command {
	return &cobra.Command{
		Use: "get ID", Short: "Show a request with its tasks", Args: cobra.ExactArgs(1),
		Long: "Show a request with its tasks, and what their attempts used: how long they waited for an ant, pulled images, downloaded, ran and " +
			"uploaded, the OTHER time of an attempt (to make its container, to tell its end), processor time, and the most memory that a process had (of a script without a limit only when it is more than the ant has). " + idHelp,
		Example: "  formicary request get @latest\n  formicary request get 0198f2c1 -o json",
		RunE: func(c *cobra.Command, args []string) error {
			return a.with(c.Context(), func(ctx context.Context, cl *client) error {
				r, err := cl.request(ctx, args[0])
				if err != nil {
					return err
				}
				tasks, err := cl.tasks(ctx, r)
				if err != nil {
					return err
				}
				if err := a.showResult(r, tasks, func(w io.Writer) { requestFacts(w, r) }); err != nil || a.output != "table" {
					return err
				}
				if err := a.showUsage(tasks); err != nil {
					return err
				}
				return a.showCaches(tasks)
			})
		},
	}
}

func (c *client) request(ctx context.Context, id string) (*jobv1.JobRequest, error) {
	res, err := c.requests.GetJobRequest(ctx, &jobv1.GetJobRequestRequest{Id: id})
	return res.GetRequest(), err
}

// requestFacts prints what is known of a request, a line per fact.
func requestFacts(w io.Writer, r *jobv1.JobRequest) {
	fact(w, "id", r.GetId())
	fact(w, "job", fmt.Sprintf("%s, version %d", r.GetJobType(), r.GetDefinitionVersion()))
	fact(w, "state", r.GetState())
	fact(w, "run", r.GetRun())
	fact(w, "retries", r.GetRetries())
	if r.GetParentRequestId() != "" {
		fact(w, "forked by", fmt.Sprintf("%s, task %s", short(r.GetParentRequestId()), r.GetParentTask()))
	}
	fact(w, "priority", r.GetPriority())
	fact(w, "description", r.GetDescription())
	params, err := exact.Map(r.GetParams(), r.GetParamsJson())
	if err != nil {
		fact(w, "params", err)
	}
	for _, name := range slices.Sorted(maps.Keys(params)) {
		row(w, "param "+name+":", paramText(params[name]))
	}
	fact(w, "key", r.GetIdempotencyKey())
	fact(w, "scheduled", clock(r.GetScheduledAt()))
	fact(w, "submitted", clock(r.GetCreatedAt()))
	fact(w, "started", clock(r.GetStartedAt()))
	fact(w, "ended", clock(r.GetEndedAt()))
	fact(w, "cancel asked", clock(r.GetCancelRequestedAt()))
	fact(w, "error", strings.TrimSpace(r.GetErrorCode()+" "+r.GetErrorMessage()))
	waitFacts(w, r.GetWait())
}

// paramText writes a number as it was given, a list or a mapping as JSON.
func paramText(v any) any {
	switch v := v.(type) {
	case float64:
		return exact.Float(v)
	case []any, map[string]any:
		if raw, err := json.Marshal(v); err == nil {
			return string(raw)
		}
	}
	return v
}

func waitFacts(w io.Writer, wait *jobv1.Wait) {
	if wait == nil || wait.GetGate() == jobv1.Gate_GATE_UNSPECIFIED && wait.GetReason() == "" {
		return
	}
	fact(w, "waits for", gateText(wait.GetGate()))
	fact(w, "reason", wait.GetReason())
	fact(w, "held by", strings.Join(wait.GetHolders(), ", "))
	fact(w, "rank", wait.GetRank())
}

func gateText(g jobv1.Gate) string {
	return strings.ToLower(strings.TrimPrefix(g.String(), "GATE_"))
}
