package jobmanager_test

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/formicary/formicary/libs/testkit"
	executionv1 "github.com/formicary/formicary/proto/gen/formicary/execution/v1"
	jobv1 "github.com/formicary/formicary/proto/gen/formicary/job/v1"
	jobmanager "github.com/formicary/formicary/services/job-manager"
)

// call is what a receiver of webhooks saw.
type call struct {
	path, delivery, header string
	body                   map[string]any
}

// receiver is a server that people let webhooks call.
type receiver struct {
	*httptest.Server
	mu     sync.Mutex
	calls  []call
	answer func(n int) int // status of the n-th call, from 0
}

func newReceiver(t testing.TB, answer func(n int) int) *receiver {
	t.Helper()
	r := &receiver{answer: answer}
	r.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		raw, _ := io.ReadAll(req.Body)
		c := call{path: req.URL.RequestURI(), delivery: req.Header.Get("X-Formicary-Delivery"), header: req.Header.Get("X-Mine")}
		if err := json.Unmarshal(raw, &c.body); err != nil {
			t.Errorf("%s: %v", raw, err)
		}
		r.mu.Lock()
		n := len(r.calls)
		r.calls = append(r.calls, c)
		r.mu.Unlock()
		if r.answer != nil {
			w.WriteHeader(r.answer(n))
		}
	}))
	t.Cleanup(r.Close)
	return r
}

func (r *receiver) got() []call {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.calls)
}

// events returns what was told, sorted: deliveries of one request may overtake each other.
func (r *receiver) events() []string {
	var out []string
	for _, c := range r.got() {
		out = append(out, fmt.Sprint(c.body["event"]))
	}
	slices.Sort(out)
	return out
}

func (r *receiver) await(n int) []call {
	var got []call
	deadline := time.After(10 * time.Second)
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for got = r.got(); len(got) < n; got = r.got() {
		select {
		case <-deadline:
			return got
		case <-tick.C:
		}
	}
	return got
}

func quick(conf *jobmanager.Config) {
	conf.Notify.Egress.Private = true
	conf.Notify.PublicURL = "https://colony.example/base"
	conf.Delivery.Pace.First, conf.Delivery.Pace.Longest = 20*time.Millisecond, 50*time.Millisecond
	conf.Delivery.SweepEvery = 100 * time.Millisecond
}

// ran lets a request run to an end.
func (c *colony) ran(id string, run int32, end executionv1.Execution_State, code string) {
	c.Helper()
	c.admit(id)
	c.launchOf(id, run)
	started := timestamppb.New(time.Now().Add(-2 * time.Second))
	c.said(&executionv1.ExecutionChanged{RequestId: id, Run: run, Version: 2, State: executionv1.Execution_EXECUTING, StartedAt: started})
	c.awaitState(id, jobv1.JobRequest_EXECUTING, run)
	c.said(&executionv1.ExecutionChanged{
		RequestId: id, Run: run, Version: 3, State: end, ErrorCode: code, StartedAt: started, EndedAt: timestamppb.New(started.AsTime().Add(time.Second)),
	})
	c.awaitState(id, jobv1.JobRequest_State(jobv1.JobRequest_State_value[end.String()]), run)
}

func (c *colony) notifications(id string) []*jobv1.Notification {
	c.Helper()
	var all []*jobv1.Notification
	req := &jobv1.ListNotificationsRequest{RequestId: id, PageSize: 2}
	for {
		res, err := jobv1.NewNotificationServiceClient(c.dial("job-manager")).ListNotifications(c.Context(), req)
		if err != nil {
			c.Fatal(err)
		}
		all = append(all, res.GetNotifications()...)
		if req.PageToken = res.GetNextPageToken(); req.PageToken == "" {
			return all
		}
	}
}

func (c *colony) awaitSettled(id string, n int) []*jobv1.Notification {
	c.Helper()
	var list []*jobv1.Notification
	testkit.Eventually(c, 10*time.Second, fmt.Sprintf("%d deliveries are settled", n), func() bool {
		list = c.notifications(id)
		return len(list) == n && !slices.ContainsFunc(list, func(m *jobv1.Notification) bool { return m.GetState() == jobv1.Notification_PENDING })
	})
	return list
}

func TestWebhookOfJob(t *testing.T) {
	c := newColony(t, quick)
	c.start("other") // two replicas: nothing is told twice
	hook := newReceiver(t, nil)
	c.upload(job("j", fmt.Sprintf("webhook: {url: '%s/hook?a=1', headers: {X-Mine: '{{.Who}}'}, query: {token: secret}}\n", hook.URL)))
	r := c.submit(&jobv1.SubmitJobRequest{JobType: "j", Params: params(t, "Who", "me")})
	c.ran(r.GetId(), 1, executionv1.Execution_FAILED, "ERR_X")
	calls := hook.await(2)
	if got := fmt.Sprint(hook.events()); got != "[job.executing job.failed]" {
		t.Fatal(got)
	}
	end := calls[slices.IndexFunc(calls, func(c call) bool { return c.body["event"] == "job.failed" })]
	if end.path != "/hook?a=1&token=secret" || end.header != "me" || end.delivery != end.body["id"] {
		t.Errorf("%+v", end)
	}
	for name, want := range map[string]any{
		"org": "default", "job_type": "j", "request_id": r.GetId(), "run": 1.0, "state": "FAILED", "error_code": "ERR_X", "fixed": false,
		"duration_ms": 1000.0, "url": "https://colony.example/base/api/v1/jobs/requests/" + r.GetId(),
	} {
		if end.body[name] != want {
			t.Errorf("%s is %v, want %v", name, end.body[name], want)
		}
	}
	list := c.awaitSettled(r.GetId(), 2)
	first := list[0]
	if first.GetState() != jobv1.Notification_SENT || first.GetRecipient() != hook.URL+"/hook" || first.GetAttempts() != 1 || first.GetSentAt() == nil ||
		first.GetChannel() != "webhook" || first.GetSubject() != "Job j failed" || first.GetNextAt() != nil {
		t.Errorf("%v", first)
	}
	if n := c.count("SELECT count(*) FROM delivery WHERE target IS NOT NULL"); n != 0 {
		t.Errorf("%d settled deliveries keep their target", n)
	}
	_, err := jobv1.NewNotificationServiceClient(c.dial("job-manager")).ListNotifications(c.of("stranger"), &jobv1.ListNotificationsRequest{RequestId: r.GetId()})
	wantReason(t, err, "REQUEST_NOT_FOUND")
}

// TestPlainJobsTellNobody makes sure that jobs without an audience leave nothing.
func TestPlainJobsTellNobody(t *testing.T) {
	c := newColony(t, quick)
	c.upload(job("j", ""))
	r := c.submit(&jobv1.SubmitJobRequest{JobType: "j"})
	c.ran(r.GetId(), 1, executionv1.Execution_COMPLETED, "")
	if n := c.count("SELECT count(*) FROM delivery") + c.count("SELECT count(*) FROM request WHERE audience IS NOT NULL"); n != 0 {
		t.Error(n)
	}
}

func TestFixed(t *testing.T) {
	c := newColony(t, quick)
	hook := newReceiver(t, nil)
	c.upload(job("j", fmt.Sprintf("notify: {webhook: {recipients: ['%s'], when: onSuccess}}\n", hook.URL)))
	c.upload(job("k", ""))
	run := func(jobType string, end executionv1.Execution_State) *jobv1.JobRequest {
		r := c.submit(&jobv1.SubmitJobRequest{JobType: jobType})
		c.ran(r.GetId(), 1, end, "")
		return r
	}
	subject := func(r *jobv1.JobRequest) string {
		list := c.awaitSettled(r.GetId(), 1)
		return list[0].GetSubject()
	}
	if got := subject(run("j", executionv1.Execution_COMPLETED)); got != "Job j completed" {
		t.Error(got)
	}
	failed := run("j", executionv1.Execution_FAILED)
	run("j", executionv1.Execution_CANCELLED)
	run("k", executionv1.Execution_COMPLETED)
	fixed := run("j", executionv1.Execution_COMPLETED)
	if got := subject(fixed); got != "Fixed: Job j completed" {
		t.Error(got)
	}
	if got := subject(run("j", executionv1.Execution_COMPLETED)); got != "Job j completed" {
		t.Error(got)
	}
	// A restart follows the failure of its own request.
	c.restart(&jobv1.RestartJobRequestRequest{Id: failed.GetId()})
	c.ran(failed.GetId(), 2, executionv1.Execution_COMPLETED, "")
	if got := subject(failed); got != "Fixed: Job j completed" {
		t.Error(got)
	}
	calls := hook.await(4)
	if i := slices.IndexFunc(calls, func(one call) bool { return one.body["request_id"] == fixed.GetId() }); i < 0 || calls[i].body["fixed"] != true {
		t.Errorf("%v", calls)
	}
}

// TestRetriesAreQuiet tells nobody of a run that is followed by another one by itself.
func TestRetriesAreQuiet(t *testing.T) {
	c := newColony(t, quick)
	hook := newReceiver(t, nil)
	c.upload(job("j", fmt.Sprintf("notify: {webhook: {recipients: ['%s'], when: onFailure}}\n", hook.URL)))
	r := c.submit(&jobv1.SubmitJobRequest{JobType: "j"})
	c.admit(r.GetId())
	c.launchOf(r.GetId(), 1)
	c.said(&executionv1.ExecutionChanged{
		RequestId: r.GetId(), Run: 1, Version: 3, State: executionv1.Execution_FAILED, RestartAt: timestamppb.New(time.Now().Add(-time.Second)), EndedAt: timestamppb.Now(),
	})
	c.awaitState(r.GetId(), jobv1.JobRequest_PENDING, 2)
	if list := c.notifications(r.GetId()); len(list) != 0 {
		t.Errorf("%v", list)
	}
	c.ran(r.GetId(), 2, executionv1.Execution_FAILED, "")
	if list := c.awaitSettled(r.GetId(), 1); list[0].GetRun() != 2 {
		t.Errorf("%v", list)
	}
}

// TestEndBeforeLaunch tells those whom the definition names without templates.
func TestEndBeforeLaunch(t *testing.T) {
	c := newColony(t, quick)
	hook := newReceiver(t, nil)
	c.upload(job("j", fmt.Sprintf("description: '{{.X}}'\nnotify: {webhook: {recipients: ['%s/n'], when: onFailure}}\nwebhook: '%s/{{.X}}'\n", hook.URL, hook.URL)))
	c.upload(strings.ReplaceAll(job("bad", fmt.Sprintf("notify: {webhook: {recipients: ['%s/n']}}\n", hook.URL)), `"true"`, `{{SubmitJob "nowhere" "d"}}`))
	r := c.submit(&jobv1.SubmitJobRequest{JobType: "j", Params: params(t, "X", "x")})
	if _, err := c.requests.CancelJobRequest(t.Context(), &jobv1.CancelJobRequestRequest{Id: r.GetId()}); err != nil {
		t.Fatal(err)
	}
	if list := c.awaitSettled(r.GetId(), 1); list[0].GetRecipient() != hook.URL+"/n" || list[0].GetSubject() != "Job j cancelled" {
		t.Errorf("%v", list)
	}
	bad := c.submit(&jobv1.SubmitJobRequest{JobType: "bad"})
	c.ran(bad.GetId(), 1, executionv1.Execution_FAILED, "ERR_JOB_LAUNCH")
	if list := c.awaitSettled(bad.GetId(), 1); list[0].GetSubject() != "Job bad failed" {
		t.Errorf("%v", list)
	}
}

// TestChildrenNotifyNobody leaves that to their parents; their webhook is called.
func TestChildrenNotifyNobody(t *testing.T) {
	c := newColony(t, quick)
	hook := newReceiver(t, nil)
	c.upload(job("parent", ""))
	c.upload(job("child", fmt.Sprintf("notify: {webhook: {recipients: ['%s/n']}}\nwebhook: '%s/h'\n", hook.URL, hook.URL)))
	parent := c.submit(&jobv1.SubmitJobRequest{JobType: "parent"})
	id := c.fork(childOf(parent, "e/1/1", "child"))[0].GetRequestId()
	c.ran(id, 1, executionv1.Execution_COMPLETED, "")
	for _, m := range c.awaitSettled(id, 2) {
		if m.GetRecipient() != hook.URL+"/h" {
			t.Errorf("%v", m)
		}
	}
}

// TestDeliveriesAreRetried fails, refuses and delays.
func TestDeliveriesAreRetried(t *testing.T) {
	c := newColony(t, quick)
	flaky := newReceiver(t, func(n int) int { return []int{503, 429, 200}[min(n, 2)] })
	refusing := newReceiver(t, func(int) int { return http.StatusGone })
	c.upload(job("j", fmt.Sprintf("notify:\n  - {channel: webhook, recipients: ['%s/a', '%s/b']}\n  - {channel: email, recipients: [a@b.example]}\n  - {channel: slack, recipients: ['#x']}\n", flaky.URL, refusing.URL)))
	r := c.submit(&jobv1.SubmitJobRequest{JobType: "j"})
	c.ran(r.GetId(), 1, executionv1.Execution_COMPLETED, "")
	for _, m := range c.awaitSettled(r.GetId(), 4) {
		want := map[string]string{flaky.URL + "/a": "SENT 3", refusing.URL + "/b": "FAILED 1", "a@b.example": "FAILED 1", "#x": "FAILED 1"}[m.GetRecipient()]
		if got := fmt.Sprintf("%s %d", m.GetState(), m.GetAttempts()); got != want {
			t.Errorf("%s: %s, want %s (%s)", m.GetRecipient(), got, want, m.GetError())
		}
		names := map[string]string{refusing.URL + "/b": "410", "a@b.example": "FORMICARY_SMTP_HOST", "#x": "FORMICARY_SLACK_TOKEN"}[m.GetRecipient()]
		if !strings.Contains(m.GetError(), names) {
			t.Errorf("%s: %q does not name %s", m.GetRecipient(), m.GetError(), names)
		}
	}
	calls := flaky.got()
	if len(calls) != 3 || calls[0].delivery != calls[2].delivery {
		t.Errorf("%+v", calls)
	}
}

// TestDeliveryAfterCrash finds a delivery whose sender died, and rows that cannot be read.
func TestDeliveryAfterCrash(t *testing.T) {
	c := newColony(t, quick)
	hook := newReceiver(t, nil)
	insert := func(id, target, lease string) {
		_, err := c.pool.Exec(t.Context(), `
			INSERT INTO delivery (id, org_id, request_id, run, task, channel, recipient, host, subject, target, message, attempts, leased_until)
			VALUES ($1, 'default', $1, 1, '', 'webhook', 'r', 'h', 's', $2, '{"event": "job.failed"}', 1, now() + $3::interval)`, id, target, lease)
		if err != nil {
			t.Fatal(err)
		}
	}
	good := fmt.Sprintf(`{"address": %q}`, hook.URL)
	insert("01900000-0000-7000-8000-000000000001", good, "300 ms")
	insert("01900000-0000-7000-8000-000000000002", `[]`, "-1 s")
	insert("01900000-0000-7000-8000-000000000003", good, "1 hour")
	if calls := hook.await(1); len(calls) != 1 || calls[0].delivery != "01900000-0000-7000-8000-000000000001" {
		t.Fatalf("%+v", calls)
	}
	testkit.Eventually(t, 20*time.Second, "two are settled, one is somebody else's", func() bool {
		return c.count("SELECT count(*) FROM delivery WHERE state = 'SENT'") == 1 && c.count("SELECT count(*) FROM delivery WHERE state = 'FAILED'") == 1 &&
			c.count("SELECT count(*) FROM delivery WHERE state = 'PENDING'") == 1
	})
}

func TestNoticesOfTasks(t *testing.T) {
	c := newColony(t, quick)
	c.start("other")
	hook := newReceiver(t, nil)
	c.upload(job("j", ""))
	r := c.submit(&jobv1.SubmitJobRequest{JobType: "j"})
	notice := func(n int, kind string) *executionv1.TaskNotice {
		return &executionv1.TaskNotice{
			Id: fmt.Sprintf("01900000-0000-7000-8000-%012d", n), RequestId: r.GetId(), Run: 1, OrgId: "default", JobType: "j", Task: "a", Kind: kind,
			State: "FAILED", ExitCode: 3, Message: "line\nline", Time: timestamppb.Now(),
		}
	}
	task, approval, odd, bad := notice(1, "task"), notice(2, "approval"), notice(3, "odd"), notice(4, "task")
	task.Webhook = []byte(fmt.Sprintf(`{"url": "%s/t", "headers": {"X-Mine": "h"}}`, hook.URL))
	approval.Recipients = []string{hook.URL + "/u", "#ops", "who"}
	bad.Webhook = task.GetWebhook()
	bad.OrgId = "a\x00b" // the database refuses it
	publish := func(notices ...*executionv1.TaskNotice) {
		if _, err := c.js.Publish(t.Context(), "formicary.event.execution.notice", mustMarshal(t, &executionv1.TaskNotices{Notices: notices})); err != nil {
			t.Fatal(err)
		}
	}
	publish(task, odd, approval)
	publish(task)
	publish(bad)
	publish(approval)
	list := c.awaitSettled(r.GetId(), 4)
	calls := hook.await(2)
	if got := fmt.Sprint(hook.events()); got != "[approval.requested task.failed]" || len(list) != 4 {
		t.Fatalf("%s, %v", got, list)
	}
	told := calls[slices.IndexFunc(calls, func(one call) bool { return one.path == "/t" })]
	if told.body["exit_code"] != 3.0 || told.body["task"] != "a" || told.header != "h" || told.body["error_message"] != "line\nline" {
		t.Errorf("%+v", told)
	}
	testkit.Eventually(t, 20*time.Second, "the odd one is kept", func() bool {
		return c.count("SELECT count(*) FROM poison WHERE subject = 'formicary.event.execution.notice'") == 1
	})
}

// TestNoticesWhoseEventIsLost: supervisor keeps them until they are stored. An event that comes late changes nothing, and
// one that can never be stored hides none.
func TestNoticesWhoseEventIsLost(t *testing.T) {
	c := newColony(t, quick, func(conf *jobmanager.Config) { conf.SweepEvery = 50 * time.Millisecond })
	c.start("other")
	hook := newReceiver(t, nil)
	c.upload(job("j", ""))
	r := c.submit(&jobv1.SubmitJobRequest{JobType: "j"})
	var all []*executionv1.TaskNotice
	for i := range 5 {
		n := &executionv1.TaskNotice{
			Id: uuid.NewString(), RequestId: r.GetId(), Run: 1, OrgId: "default", JobType: "j", Task: fmt.Sprint("t", i), Kind: "task",
			State: "COMPLETED", Webhook: fmt.Appendf(nil, `{"url": "%s/t%d"}`, hook.URL, i), Time: timestamppb.Now(),
		}
		if i == 1 {
			n.OrgId = "a\x00b" // the database refuses it
		}
		all = append(all, n)
	}
	c.supervisor.mu.Lock()
	c.supervisor.notices = slices.Clone(all)
	c.supervisor.mu.Unlock()
	testkit.Eventually(t, 20*time.Second, "all are confirmed", func() bool { return c.supervisor.owes() == 0 })
	c.awaitSettled(r.GetId(), 4)
	late := slices.Delete(slices.Clone(all), 1, 2)
	if _, err := c.js.Publish(t.Context(), "formicary.event.execution.notice", mustMarshal(t, &executionv1.TaskNotices{Notices: late})); err != nil {
		t.Fatal(err)
	}
	last := &executionv1.TaskNotice{
		Id: uuid.NewString(), RequestId: r.GetId(), Run: 1, OrgId: "default", JobType: "j", Task: "last", Kind: "task", State: "COMPLETED",
		Webhook: fmt.Appendf(nil, `{"url": "%s/last"}`, hook.URL), Time: timestamppb.Now(),
	}
	if _, err := c.js.Publish(t.Context(), "formicary.event.execution.notice", mustMarshal(t, &executionv1.TaskNotices{Notices: []*executionv1.TaskNotice{last}})); err != nil {
		t.Fatal(err)
	}
	c.awaitSettled(r.GetId(), 5)
	var paths []string
	for _, one := range hook.got() {
		paths = append(paths, one.path)
	}
	slices.Sort(paths)
	if got := fmt.Sprint(paths); got != "[/last /t0 /t2 /t3 /t4]" {
		t.Errorf("%s", got)
	}
	if n := c.count("SELECT count(*) FROM poison WHERE subject = 'formicary.event.execution.notice'"); n == 0 {
		t.Error("the refused one is not kept")
	}
}

// TestReplicasSendOnce shares many deliveries between two.
func TestReplicasSendOnce(t *testing.T) {
	c := newColony(t, quick, func(conf *jobmanager.Config) { conf.Delivery.PerHost = 16 })
	c.start("other")
	hook := newReceiver(t, nil)
	_, err := c.pool.Exec(t.Context(), `
		INSERT INTO delivery (id, org_id, request_id, run, task, channel, recipient, host, subject, target, message)
		SELECT gen_random_uuid(), 'default', gen_random_uuid(), 1, '', 'webhook', 'r', 'h', 's', $1, '{}' FROM generate_series(1, 300)`,
		fmt.Sprintf(`{"address": %q}`, hook.URL))
	if err != nil {
		t.Fatal(err)
	}
	testkit.Eventually(t, 10*time.Second, "all are sent", func() bool { return c.count("SELECT count(*) FROM delivery WHERE state = 'SENT'") == 300 })
	seen := map[string]bool{}
	for _, one := range hook.got() {
		seen[one.delivery] = true
	}
	if len(seen) != 300 || len(hook.got()) != 300 {
		t.Errorf("%d deliveries by %d calls", len(seen), len(hook.got()))
	}
}

// TestMessageToPeople goes to Slack with the tasks of the run.
func TestMessageToPeople(t *testing.T) {
	slack := newReceiver(t, nil)
	slack.Config.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		one := call{header: r.Header.Get("Authorization")}
		_ = json.NewDecoder(r.Body).Decode(&one.body)
		slack.mu.Lock()
		slack.calls = append(slack.calls, one)
		slack.mu.Unlock()
		_, _ = io.WriteString(w, `{"ok": true}`)
	})
	c := newColony(t, quick, func(conf *jobmanager.Config) { conf.Notify.Slack.API, conf.Notify.Slack.Token = slack.URL, "xoxb" })
	c.supervisor.tasks = []*executionv1.Task{{Name: "report", State: executionv1.Task_COMPLETED, Result: "42 rows"}}
	c.upload(job("j", "notify: {slack: {recipients: ['#ops']}}\n"))
	r := c.submit(&jobv1.SubmitJobRequest{JobType: "j"})
	c.ran(r.GetId(), 1, executionv1.Execution_COMPLETED, "")
	calls := slack.await(1)
	if len(calls) != 1 || calls[0].header != "Bearer xoxb" || calls[0].body["channel"] != "#ops" {
		t.Fatalf("%+v", calls)
	}
	text := fmt.Sprint(calls[0].body["text"])
	for _, want := range []string{"*Job j completed*", "report", "42 rows", "https://colony.example/base/api/v1/jobs/requests/" + r.GetId()} {
		if !strings.Contains(text, want) {
			t.Errorf("%s lacks %q", text, want)
		}
	}
}

// TestForgetDeliveries deletes what was settled long ago.
func TestForgetDeliveries(t *testing.T) {
	c := newColony(t, func(conf *jobmanager.Config) { conf.Delivery.Keep = time.Hour })
	_, err := c.pool.Exec(t.Context(), `
		INSERT INTO delivery (id, org_id, request_id, run, task, channel, recipient, host, subject, message, state, settled_at)
		SELECT gen_random_uuid(), 'default', gen_random_uuid(), 1, '', 'webhook', 'r', 'h', 's', '{}', 'SENT', now() - i * interval '1 minute'
		FROM generate_series(1, 2500) i`)
	if err != nil {
		t.Fatal(err)
	}
	c.start("other") // deletes when it starts
	testkit.Eventually(t, 20*time.Second, "the old ones are gone", func() bool { return c.count("SELECT count(*) FROM delivery") <= 60 })
}

// TestPrivateAddressesAreRefused is the service alone: it does not reach this host.
func TestPrivateAddressesAreRefused(t *testing.T) {
	c := newColony(t)
	hook := newReceiver(t, nil)
	c.upload(job("j", fmt.Sprintf("webhook: '%s'\n", hook.URL)))
	r := c.submit(&jobv1.SubmitJobRequest{JobType: "j"})
	if _, err := c.requests.CancelJobRequest(t.Context(), &jobv1.CancelJobRequestRequest{Id: r.GetId()}); err != nil {
		t.Fatal(err)
	}
	if m := c.awaitSettled(r.GetId(), 1)[0]; m.GetState() != jobv1.Notification_FAILED || m.GetAttempts() != 1 || !strings.Contains(m.GetError(), "private") {
		t.Errorf("%v", m)
	}
	if len(hook.got()) != 0 {
		t.Error("it was called")
	}
}
