package e2e

import (
	"fmt"
	"net/http"
	"testing"
)

// shape is a definition and how its requests must end.
type shape struct {
	jobType string
	yaml    string
	want    string
	cancel  bool
	// approve is a task that waits for a vote.
	approve string
	// children is how many jobs a request forks.
	children int
	// most names a fan-out and how many of its items may run at once.
	most map[string]int
}

// flow writes definitions whose tasks keep the journal.
type flow struct {
	journal, scratch string
}

func (f flow) task(name, more, body string) string {
	return fmt.Sprintf("  - task_type: %s\n    method: SHELL\n%s    script:\n      - |\n        %s\n", name, more, script(f.journal, body))
}

func (f flow) job(jobType string, tasks ...string) string {
	text := "job_type: " + jobType + "\ntasks:\n"
	for _, t := range tasks {
		text += t
	}
	return text
}

// once is a body that fails with a code in the first attempt of a job that comes as far as that.
func (f flow) once(name string, code int) string {
	return fmt.Sprintf("f=%s/%s-$FORMICARY_JOB_ID; if [ ! -e $f ]; then touch $f; exit %d; fi", f.scratch, name, code)
}

// forks is a task that forks e2e-child.
func forks(name, more string) string {
	return "  - task_type: " + name + "\n    method: FORK_JOB\n" + more
}

// shapes are the mixed jobs of the kill test.
func shapes(journal, scratch string) []shape {
	f := flow{journal, scratch}
	return append(f.simple(), f.dynamic()...)
}

// child is what the forking shapes fork.
func child(journal string) string {
	f := flow{journal: journal}
	return f.job("e2e-child", f.task("work", "", "sleep 0.05"))
}

func (f flow) simple() []shape {
	return []shape{
		{jobType: "e2e-chain", want: "COMPLETED", yaml: f.job("e2e-chain",
			f.task("a", "    on_completed: b\n", "sleep 0.02"), f.task("b", "    on_completed: c\n", "sleep 0.02"), f.task("c", "", "sleep 0.02"))},
		{jobType: "e2e-diamond", want: "COMPLETED", yaml: f.job("e2e-diamond",
			f.task("a", "    on_completed: [b, c]\n", "true"), f.task("b", "    on_completed: d\n", "sleep 0.05"),
			f.task("c", "    on_completed: d\n", "sleep 0.01"), f.task("d", "", "true"))},
		{jobType: "e2e-branch", want: "COMPLETED", yaml: f.job("e2e-branch",
			f.task("a", "    on_exit_code:\n      3: fix\n      COMPLETED: never\n", "exit 3"), f.task("fix", "", "true"), f.task("never", "", "false"))},
		{jobType: "e2e-retry", want: "COMPLETED", yaml: f.job("e2e-retry",
			f.task("a", "    retry: 5\n    delay_between_retries: 100ms\n", f.once("retry", 1)))},
		{jobType: "e2e-timeout", want: "FAILED", yaml: f.job("e2e-timeout",
			f.task("a", "    timeout: 300ms\n    timeouts:\n      grace: 200ms\n", "sleep 30"))},
		{jobType: "e2e-cancel", want: "CANCELLED", cancel: true, yaml: f.job("e2e-cancel", f.task("a", "", "sleep 120"))},
		{jobType: "e2e-always", want: "FAILED", yaml: f.job("e2e-always",
			f.task("a", "    on_completed: b\n", "exit 1"), f.task("b", "", "true"), f.task("clean", "    always_run: true\n", "sleep 0.02"))},
		{jobType: "e2e-allow", want: "COMPLETED", yaml: f.job("e2e-allow",
			f.task("a", "    allow_failure: true\n    on_completed: b\n", "exit 1"), f.task("b", "", "true"))},
	}
}

func (f flow) dynamic() []shape {
	return []shape{
		{jobType: "e2e-fan", want: "COMPLETED", most: map[string]int{"items": 3}, yaml: f.job("e2e-fan",
			f.task("items", "    fan_out: {items: [0, 1, 2, 3, 4, 5, 6, 7, 8, 9], max_parallel: 3}\n    on_completed: join\n", "sleep 0.05"),
			f.task("join", "", `test "$FanOutItemCount" = 10`))},
		{jobType: "e2e-fan-jobs", want: "COMPLETED", children: 4, yaml: f.job("e2e-fan-jobs",
			"  - task_type: jobs\n    fan_out: {items: [a, b, c, d], fork_job_type: e2e-child}\n    on_completed: join\n",
			f.task("join", "", `test "$FanOutItemCount" = 4`))},
		{jobType: "e2e-fork", want: "COMPLETED", children: 2, yaml: f.job("e2e-fork",
			forks("left", "    fork_job_type: e2e-child\n    on_completed: await\n"),
			forks("right", "    fork_job_type: e2e-child\n    on_completed: await\n"),
			"  - task_type: await\n    method: AWAIT_FORKED_JOB\n    await_forked_tasks: [left, right]\n    on_completed: after\n",
			f.task("after", "", "true"))},
		{jobType: "e2e-sub", want: "COMPLETED", children: 1, yaml: f.job("e2e-sub",
			forks("sub", "    fork_job_type: e2e-child\n    sub_workflow: {wait_for_completion: true}\n    on_completed: after\n"),
			f.task("after", "", "true"))},
		{jobType: "e2e-approval", want: "COMPLETED", approve: "ask", yaml: f.job("e2e-approval",
			f.task("before", "    on_completed: ask\n", "true"),
			"  - task_type: ask\n    method: MANUAL\n    on_completed: after\n", f.task("after", "", "true"))},
		{jobType: "e2e-pause", want: "COMPLETED", yaml: "pause_time: 300ms\n" + f.job("e2e-pause",
			f.task("a", "    on_exit_code: {30: PAUSE_JOB, COMPLETED: b}\n", f.once("pause", 30)), f.task("b", "", "true"))},
		{jobType: "e2e-sensor", want: "COMPLETED", yaml: f.job("e2e-sensor",
			f.task("a", "    delay_between_retries: 200ms\n    timeout: 3m\n    on_exit_code: {4: EXECUTING, COMPLETED: b}\n", f.once("sensor", 4)),
			f.task("b", "", "true"))},
		{jobType: "e2e-job-retry", want: "COMPLETED", yaml: "retry: 3\ndelay_between_retries: 100ms\n" + f.job("e2e-job-retry",
			f.task("a", "    on_completed: b\n", "true"), f.task("b", "", f.once("job-retry", 1)))},
		{jobType: "e2e-rule", want: "COMPLETED", yaml: f.job("e2e-rule",
			f.task("a", "    delay_between_retries: 100ms\n", f.once("rule", 75)))},
		{jobType: "e2e-when", want: "COMPLETED", yaml: "params: [{name: go, type: bool, default: false}]\n" + f.job("e2e-when",
			f.task("a", "    on_completed: [b, c]\n", "true"), f.task("b", "    when: params.go\n    on_completed: c\n", "false"), f.task("c", "", "true"))},
	}
}

// rule retries what shape e2e-rule fails with.
const rule = `{"job_type":"e2e-rule","exit_code":"75","error_code":"ERR_FLAKY","action":"RETRY_TASK","retry":5}`

func (w *world) saveRule(rule string) {
	w.t.Helper()
	w.eventually("rule stored", func() bool {
		code, err := w.call(http.MethodPost, "/api/v1/error-codes", "application/json", []byte(rule), nil)
		if err != nil && code >= 400 && code < 500 {
			w.t.Fatal(err)
		}
		return err == nil
	})
}

// children returns the requests that a request forked, newest first.
func (w *world) children(t *testing.T, id string) []request {
	t.Helper()
	var out struct {
		Requests []request `json:"requests"`
	}
	w.eventually("children of "+id, func() bool {
		_, err := w.call(http.MethodGet, "/api/v1/jobs/requests?page_size=1000&parent_request_id="+id, "application/json", nil, &out)
		return err == nil
	})
	return out.Requests
}
