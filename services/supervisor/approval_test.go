package supervisor_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/nats-io/nats.go"
	"google.golang.org/protobuf/proto"

	"github.com/formicary/formicary/libs/access"
	"github.com/formicary/formicary/libs/errs"
	"github.com/formicary/formicary/libs/jobspec/plan"
	"github.com/formicary/formicary/libs/passport/passporttest"
	"github.com/formicary/formicary/libs/testkit"
	antv1 "github.com/formicary/formicary/proto/gen/formicary/ant/v1"
	executionv1 "github.com/formicary/formicary/proto/gen/formicary/execution/v1"
	jobv1 "github.com/formicary/formicary/proto/gen/formicary/job/v1"
)

// manual is a task that waits for people.
func manual(name string, p *plan.Approval, next ...string) plan.Task {
	t := task(name, next...)
	t.Method, t.Approval = plan.MethodManual, p
	return t
}

// vote casts a vote as a user and returns the reason why it was refused.
func (w *world) vote(id, task, user, decision string, roles ...string) (*executionv1.Approval, string) {
	w.t.Helper()
	ctx := access.With(w.t.Context(), passporttest.Person("default", user, roles...))
	res, err := w.approvals.VoteOnApproval(ctx, &executionv1.VoteOnApprovalRequest{RequestId: id, Task: task, Decision: decision, Comments: "said by " + user})
	if err != nil && errs.Reason(err) == "" {
		w.t.Errorf("vote: %v", err)
	}
	return res.GetApproval(), errs.Reason(err)
}

// goesOn plays what job-manager does with a run that people have let go on: its request becomes READY again.
func (w *world) goesOn(id string) {
	w.t.Helper()
	w.becomes(id, executionv1.Execution_PAUSED)
	w.admitRun(id, 1)
}

func (w *world) asked(id, name string) *executionv1.Task {
	w.t.Helper()
	var task *executionv1.Task
	testkit.Eventually(w.t, waitTime, name+" waits for approval", func() bool {
		if w.execution(id) == nil {
			return false
		}
		task = w.tasks(id)[name]
		return task.GetState() == executionv1.Task_WAITING && task.GetWaitGate() == "approval"
	})
	return task
}

func TestApprovalByQuorum(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	a := w.newAnt("ant1", 4, nil)
	ok := manual("ok", &plan.Approval{MinApprovals: 2, AllowedUsers: []string{"alice", "bob", "sam"}, AllowedRoles: []string{"lead"}}, "deploy")
	ok.Description = "Ship it?"
	id := w.admit(planOf(task("build", "ok"), ok, task("deploy")))
	got := w.asked(id, "ok")
	if got.GetWaitReason() != "waits for 2 approvals; alice, bob and role lead may vote" {
		t.Errorf("reason %q", got.GetWaitReason())
	}
	w.becomes(id, executionv1.Execution_MANUAL_APPROVAL_REQUIRED)
	for user, want := range map[string]string{"eve": "NOT_AN_APPROVER", "sam": "SELF_APPROVAL_FORBIDDEN"} {
		if _, reason := w.vote(id, "ok", user, "APPROVED"); reason != want {
			t.Errorf("%s: %s", user, reason)
		}
	}
	if ap, reason := w.vote(id, "ok", "alice", "APPROVED"); reason != "" || ap.GetState() != executionv1.Approval_PENDING || len(ap.GetVotes()) != 1 || ap.GetDescription() != "Ship it?" {
		t.Errorf("alice: %s, %v", reason, ap)
	}
	if _, reason := w.vote(id, "ok", "alice", "APPROVED"); reason != "ALREADY_VOTED" {
		t.Errorf("again: %s", reason)
	}
	if got := w.asked(id, "ok"); got.GetWaitReason() != "waits for 1 more approval of 2; alice, bob and role lead may vote" {
		t.Errorf("reason %q", got.GetWaitReason())
	}
	ap, reason := w.vote(id, "ok", "eve", "APPROVED", "lead")
	if reason != "" || ap.GetState() != executionv1.Approval_APPROVED || len(ap.GetVotes()) != 2 || ap.GetSubmittedBy() != "sam" || ap.GetDecidedAt() == nil {
		t.Errorf("eve as lead: %s, %v", reason, ap)
	}
	if _, reason := w.vote(id, "ok", "bob", "APPROVED"); reason != "APPROVAL_NOT_PENDING" {
		t.Errorf("too late: %s", reason)
	}
	w.goesOn(id)
	w.becomes(id, executionv1.Execution_COMPLETED)
	if got := a.ran(); !slices.Equal(got, []string{"build", "deploy"}) {
		t.Errorf("ran %v", got)
	}
	if got := w.tasks(id)["ok"].GetMessage(); !strings.HasPrefix(got, "approved by eve") {
		t.Errorf("message %q", got)
	}
}

// TestApprovalsHoldForOneDefinition restarts a run that people let go on: what they approved is not asked again, unless it is
// another version of the definition that runs. A vote on what was seen before is no vote on what is asked now.
func TestApprovalsHoldForOneDefinition(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	a := w.newAnt("ant1", 4, func(work *antv1.Work) *antv1.Result {
		if work.GetTask() == "deploy" && work.GetRun() == 1 {
			return failed(9)
		}
		return &antv1.Result{Outcome: antv1.Result_SUCCEEDED}
	})
	id := w.admit(planOf(manual("ok", nil, "deploy"), task("deploy")))
	w.asked(id, "ok")
	first, _ := w.vote(id, "ok", "alice", "APPROVED")
	w.goesOn(id)
	w.becomes(id, executionv1.Execution_FAILED)
	w.again(id, 2, "") // the same definition: kept
	w.jobs.mu.Lock()
	before := w.jobs.launches[fmt.Sprint(id, 2)]
	w.jobs.mu.Unlock()
	other := proto.CloneOf(before)
	other.Run, other.ReuseRun, other.DefinitionId = 3, 2, uuid.NewString()
	w.jobs.set(other)
	w.admitRun(id, 3)
	w.asked(id, "ok")
	voteOn := func(digest string) (*executionv1.Approval, string) {
		ctx := access.With(t.Context(), passporttest.Person("default", "bob"))
		res, err := w.approvals.VoteOnApproval(ctx, &executionv1.VoteOnApprovalRequest{RequestId: id, Task: "ok", Decision: "APPROVED", Digest: digest})
		return res.GetApproval(), errs.Reason(err)
	}
	if _, reason := voteOn(first.GetDigest()); reason != "APPROVAL_CHANGED" {
		t.Errorf("a vote on what was seen in the first run: %q", reason)
	}
	now, err := w.approvals.GetApproval(access.With(t.Context(), passporttest.Person("default", "bob")), &executionv1.GetApprovalRequest{RequestId: id, Task: "ok"})
	if err != nil {
		t.Fatal(err)
	}
	if _, reason := voteOn(now.GetApproval().GetDigest()[:12]); reason != "" {
		t.Errorf("a vote on what is asked: %q", reason)
	}
	testkit.Eventually(t, waitTime, "the run with the other definition goes on", func() bool {
		e := w.execution(id)
		return e.GetRun() == 3 && e.GetState() == executionv1.Execution_PAUSED
	})
	w.admitRun(id, 3)
	w.becomes(id, executionv1.Execution_COMPLETED)
	if got := a.ran(); !slices.Equal(got, []string{"deploy", "deploy", "deploy"}) {
		t.Errorf("ran %v", got)
	}
}

// TestValuesOfAVote gives values with votes: they are outputs of the task, and stand in the history of the votes.
func TestValuesOfAVote(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.newAnt("ant1", 4, nil)
	ok := manual("ok", &plan.Approval{MinApprovals: 2}, "deploy")
	ok.Outputs = []plan.Output{{Name: "version", Type: "string", Required: true}, {Name: "n", Type: "int"}}
	id := w.admit(planOf(ok, task("deploy")))
	w.asked(id, "ok")
	vote := func(user string, values map[string]string) (*executionv1.Approval, string) {
		ctx := access.With(t.Context(), passporttest.Person("default", user))
		res, err := w.approvals.VoteOnApproval(ctx, &executionv1.VoteOnApprovalRequest{RequestId: id, Task: "ok", Decision: "APPROVED", Values: values})
		return res.GetApproval(), errs.Reason(err)
	}
	if _, reason := vote("alice", map[string]string{"other": "1"}); reason != "VALUE_UNKNOWN" {
		t.Errorf("an unknown value: %q", reason)
	}
	if _, reason := vote("alice", map[string]string{"version": "1", "n": "3"}); reason != "" {
		t.Errorf("alice: %q", reason)
	}
	a, reason := vote("bob", map[string]string{"version": "2"})
	if reason != "" || len(a.GetVotes()) != 2 || a.GetVotes()[0].GetValues()["version"] != "1" || a.GetVotes()[1].GetValues()["version"] != "2" {
		t.Errorf("bob: %q, %v", reason, a)
	}
	w.goesOn(id)
	w.becomes(id, executionv1.Execution_COMPLETED)
	if got := w.tasks(id)["ok"].GetOutputs().AsMap(); fmt.Sprint(got) != "map[n:3 version:2]" {
		t.Errorf("outputs %v", got)
	}
}

func TestRejectionFailsTheJob(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	id := w.admit(planOf(manual("ok", nil, "deploy"), task("deploy")))
	w.asked(id, "ok")
	ctx := access.With(t.Context(), passporttest.Person("default", "bob"))
	req := &executionv1.VoteOnApprovalRequest{RequestId: id, Task: "ok", Decision: "REJECTED"}
	if _, err := w.approvals.VoteOnApproval(ctx, req); errs.Reason(err) != "COMMENT_REQUIRED" {
		t.Error(err)
	}
	if ap, reason := w.vote(id, "ok", "bob", "REJECTED"); reason != "" || ap.GetState() != executionv1.Approval_REJECTED {
		t.Errorf("%s %v", reason, ap)
	}
	e := w.becomes(id, executionv1.Execution_FAILED)
	if e.GetErrorCode() != "ERR_MANUAL_REJECTION" || !strings.Contains(e.GetErrorMessage(), "said by bob") {
		t.Errorf("%s %s", e.GetErrorCode(), e.GetErrorMessage())
	}
}

func TestApprovalsOfOthersAreNotSeen(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	id := w.admit(planOf(manual("ok", nil), task("x")))
	w.asked(id, "ok")
	other := access.With(t.Context(), passporttest.Person("other", "bob"))
	if _, err := w.approvals.VoteOnApproval(other, &executionv1.VoteOnApprovalRequest{RequestId: id, Task: "ok", Decision: "APPROVED"}); errs.Reason(err) != "TASK_NOT_FOUND" {
		t.Errorf("vote: %v", err)
	}
	if _, err := w.approvals.GetApproval(other, &executionv1.GetApprovalRequest{RequestId: id, Task: "ok"}); errs.Reason(err) != "APPROVAL_NOT_FOUND" {
		t.Errorf("get: %v", err)
	}
	if res, err := w.approvals.ListPendingApprovals(other, &executionv1.ListPendingApprovalsRequest{}); err != nil || len(res.GetApprovals()) > 0 {
		t.Errorf("list: %v, %v", res, err)
	}
	if _, err := w.approvals.GetApproval(t.Context(), &executionv1.GetApprovalRequest{RequestId: id, Task: "x"}); errs.Reason(err) != "APPROVAL_NOT_FOUND" {
		t.Errorf("no approval: %v", err)
	}
	if _, reason := w.vote(id, "x", "bob", "APPROVED"); reason != "APPROVAL_NOT_PENDING" {
		t.Errorf("no approval: %s", reason)
	}
}

func TestPendingApprovalsArePaged(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	var tasks []plan.Task
	for i := range 7 {
		tasks = append(tasks, manual(fmt.Sprint("ok", i), nil))
	}
	id := w.admit(planOf(tasks...))
	w.becomes(id, executionv1.Execution_MANUAL_APPROVAL_REQUIRED)
	var seen []string
	req := &executionv1.ListPendingApprovalsRequest{PageSize: 3}
	for range 4 {
		res, err := w.approvals.ListPendingApprovals(t.Context(), req)
		if err != nil {
			t.Fatal(err)
		}
		for _, a := range res.GetApprovals() {
			seen = append(seen, a.GetTask())
		}
		if req.PageToken = res.GetNextPageToken(); req.GetPageToken() == "" {
			break
		}
	}
	if !slices.Equal(seen, []string{"ok0", "ok1", "ok2", "ok3", "ok4", "ok5", "ok6"}) {
		t.Errorf("listed %v", seen)
	}
	req.PageToken = "nonsense"
	if _, err := w.approvals.ListPendingApprovals(t.Context(), req); errs.Reason(err) != "PAGE_TOKEN_INVALID" {
		t.Error(err)
	}
}

func TestCancelWithdrawsApprovals(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	id := w.admit(planOf(manual("ok", nil)))
	w.asked(id, "ok")
	w.control(id, jobv1.RequestControl_CANCEL)
	w.becomes(id, executionv1.Execution_CANCELLED)
	res, err := w.approvals.GetApproval(t.Context(), &executionv1.GetApprovalRequest{RequestId: id, Task: "ok"})
	if err != nil || res.GetApproval().GetState() != executionv1.Approval_WITHDRAWN {
		t.Errorf("%v, %v", res, err)
	}
	if _, reason := w.vote(id, "ok", "bob", "APPROVED"); reason != "APPROVAL_NOT_PENDING" {
		t.Error(reason)
	}
}

// TestOneOfManyVotersDecides: votes and a cancel at the same time leave one decision.
func TestOneOfManyVotersDecides(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	id := w.admit(planOf(manual("ok", &plan.Approval{MinApprovals: 1})))
	w.asked(id, "ok")
	var mu sync.Mutex
	decided := 0
	var all sync.WaitGroup
	for i := range 8 {
		all.Go(func() {
			ctx := access.With(context.WithoutCancel(t.Context()), passporttest.Person("default", fmt.Sprint("user", i)))
			decision := []string{"APPROVED", "REJECTED"}[i%2]
			_, err := w.approvals.VoteOnApproval(ctx, &executionv1.VoteOnApprovalRequest{RequestId: id, Task: "ok", Decision: decision, Comments: "c"})
			mu.Lock()
			defer mu.Unlock()
			switch {
			case err == nil:
				decided++
			case errs.Reason(err) != "APPROVAL_NOT_PENDING":
				t.Errorf("vote: %v", err)
			}
		})
	}
	w.control(id, jobv1.RequestControl_CANCEL)
	all.Wait()
	testkit.Eventually(t, waitTime, "the run has ended", func() bool { return w.execution(id).GetEndedAt() != nil })
	res, err := w.approvals.GetApproval(t.Context(), &executionv1.GetApprovalRequest{RequestId: id, Task: "ok"})
	if err != nil {
		t.Fatal(err)
	}
	if decided > 1 || decided != len(res.GetApproval().GetVotes()) || (decided == 0) != (res.GetApproval().GetState() == executionv1.Approval_WITHDRAWN) {
		t.Errorf("%d decided, %v", decided, res.GetApproval())
	}
}

// notices hears what people are told.
func (w *world) notices() func() []*executionv1.TaskNotice {
	w.t.Helper()
	var mu sync.Mutex
	var all []*executionv1.TaskNotice
	sub, err := w.nc.Subscribe("formicary.event.execution.notice", func(m *nats.Msg) {
		n := &executionv1.TaskNotices{}
		if proto.Unmarshal(m.Data, n) == nil {
			mu.Lock()
			all = append(all, n.GetNotices()...)
			mu.Unlock()
		}
	})
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() { _ = sub.Unsubscribe() })
	return func() []*executionv1.TaskNotice {
		mu.Lock()
		defer mu.Unlock()
		return slices.Clone(all)
	}
}

func TestTheTimeToDecideEnds(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	told := w.notices()
	sla := func(action string) *plan.Approval {
		return &plan.Approval{MinApprovals: 1, SLA: 200 * time.Millisecond, TimeoutAction: action, EscalationRecipients: []string{"#ops"}}
	}
	approved := w.admit(planOf(manual("ok", sla(plan.AutoApprove))))
	rejected := w.admit(planOf(manual("ok", sla(plan.AutoReject))))
	escalated := w.admit(planOf(manual("ok", sla(plan.Escalate))))
	w.becomes(approved, executionv1.Execution_COMPLETED)
	if e := w.becomes(rejected, executionv1.Execution_FAILED); e.GetErrorCode() != "ERR_MANUAL_REJECTION" {
		t.Errorf("%s", e.GetErrorCode())
	}
	for id, want := range map[string]executionv1.Approval_State{approved: executionv1.Approval_APPROVED, rejected: executionv1.Approval_REJECTED} {
		res, err := w.approvals.GetApproval(t.Context(), &executionv1.GetApprovalRequest{RequestId: id, Task: "ok"})
		if a := res.GetApproval(); err != nil || a.GetState() != want || len(a.GetVotes()) != 1 || a.GetVotes()[0].GetVoter() != plan.SystemVoter {
			t.Errorf("%v, %v", res, err)
		}
	}
	testkit.Eventually(t, waitTime, "the escalation is told", func() bool {
		return slices.ContainsFunc(told(), func(n *executionv1.TaskNotice) bool {
			return n.GetKind() == "escalation" && n.GetRequestId() == escalated
		})
	})
	res, err := w.approvals.GetApproval(t.Context(), &executionv1.GetApprovalRequest{RequestId: escalated, Task: "ok"})
	if a := res.GetApproval(); err != nil || !a.GetEscalated() || a.GetState() != executionv1.Approval_PENDING {
		t.Errorf("%v, %v", res, err)
	}
	if _, reason := w.vote(escalated, "ok", "bob", "APPROVED"); reason != "" {
		t.Errorf("a vote after the escalation: %s", reason)
	}
	w.becomes(escalated, executionv1.Execution_COMPLETED)
}

func TestPeopleAreToldOfTasks(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	told := w.notices()
	w.newAnt("ant1", 4, nil)
	hook := task("build", "ok")
	hook.Webhook = &plan.Webhook{URL: "https://example.com/hook", Headers: map[string]string{"a": "b"}}
	quiet := manual("quiet", &plan.Approval{MinApprovals: 1, AllowedUsers: []string{"bob"}})
	id := w.admit(planOf(hook, manual("ok", &plan.Approval{MinApprovals: 1, AllowedUsers: []string{"bob", "ann@example.com"}, EscalationRecipients: []string{"#ops"}}), quiet))
	w.asked(id, "ok")
	w.asked(id, "quiet")
	w.settled()
	testkit.Eventually(t, waitTime, "both are told", func() bool { return len(told()) >= 2 })
	ids := map[string]bool{}
	for _, n := range told() {
		ids[n.GetId()] = true
		switch n.GetKind() {
		case "task":
			if n.GetTask() != "build" || n.GetState() != "COMPLETED" || !strings.Contains(string(n.GetWebhook()), `"url":"https://example.com/hook"`) || n.GetRequestId() != id {
				t.Errorf("%v", n)
			}
		case "approval":
			if n.GetTask() != "ok" || !slices.Equal(n.GetRecipients(), []string{"ann@example.com"}) {
				t.Errorf("%v", n)
			}
		default:
			t.Errorf("%v", n)
		}
	}
	if len(ids) != 2 {
		t.Errorf("%d notices", len(ids))
	}
}
