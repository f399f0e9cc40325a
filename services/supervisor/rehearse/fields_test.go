package rehearse_test

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/formicary/formicary/libs/jobspec/value"
	"github.com/formicary/formicary/services/supervisor/rehearse"
)

// fieldCase plays a definition with a field and without it.
type fieldCase struct {
	// field is its place in the tables of the language; libs/jobspec/testdata/field_tests.txt names it.
	field string
	// with stands in place of @ in the text; without, which may be empty, is what is compared.
	text, with, without string
	fakes               map[string][]rehearse.Fake
	// want and otherwise are beginnings of words of the outcome: see shown.
	want, otherwise string
}

const (
	aTask  = "method: SHELL, script: ['true']"
	failed = "a"
)

func fields() []fieldCase {
	one := "job_type: j\n@\ntasks:\n- {task_type: a, " + aTask + "}\n"
	own := "job_type: j\ntasks:\n- {task_type: a, " + aTask + "@}\n"
	two := "job_type: j\ntasks:\n- {task_type: a, " + aTask + "@}\n- {task_type: b, " + aTask + "}\n"
	items := "job_type: j\ntasks:\n- {task_type: a, " + aTask + ", fan_out: {items: [x, y]@}}\n"
	fork := "job_type: j\ntasks:\n- {task_type: a, method: FORK_JOB, fork_job_type: k, sub_workflow: {wait_for_completion: true@}, on_completed: b}\n- {task_type: b, " + aTask + ", when: vars.x == '1'}\n"
	fails := func(code int) map[string][]rehearse.Fake {
		return map[string][]rehearse.Fake{failed: {{ExitCode: code}}}
	}
	twice := map[string][]rehearse.Fake{failed: {{ExitCode: 1}, {}}}
	gives := map[string][]rehearse.Fake{failed: {{Outputs: map[string]string{"x": "1"}}}}
	return []fieldCase{
		{"job.retry", one, "retry: 1", "", twice, "COMPLETED after 2", "FAILED after 1"},
		{"job.delay_between_retries", one, "retry: 1\ndelay_between_retries: 10m", "retry: 1\ndelay_between_retries: 1s", twice, "in 10m", "in 0s"},
		{"job.retry_backoff_policy", one, "retry: 1\nretry_backoff_policy: {min: 20m}", "retry: 1\ndelay_between_retries: 1s", twice, "in 20m", "in 0s"},
		{"job.backoff", one, "retry: 1\nbackoff: {min: 20m}", "retry: 1\ndelay_between_retries: 1s", twice, "in 20m", "in 0s"},
		{"job.hard_reset_after_retries", "job_type: j\nretry: 2\n@\ntasks:\n- {task_type: a, " + aTask + ", on_completed: b}\n- {task_type: b, " + aTask + "}\n", "hard_reset_after_retries: 1", "hard_reset_after_retries: 2", map[string][]rehearse.Fake{"b": {{ExitCode: 1}, {ExitCode: 1}, {}}}, "a:COMPLETED/1", "a:COMPLETED/0"},
		{"job.cleanup_timeout", "job_type: j\n@\ntasks:\n- {task_type: a, " + aTask + "}\n- {task_type: b, " + aTask + ", always_run: true, on_exit_code: {1: EXECUTING}, delay_between_retries: 10s}\n", "cleanup_timeout: 20m", "cleanup_timeout: 40m", map[string][]rehearse.Fake{failed: {{ExitCode: 1}}, "b": {{ExitCode: 1}}}, "in 20m", "in 40m"},
		{"job.timeout", own[:len("job_type: j\n")] + "@\n" + own[len("job_type: j\n"):len(own)-3] + ", on_exit_code: {1: EXECUTING}, delay_between_retries: 1m}\n", "timeout: 10m", "timeout: 20m", fails(1), "", ""},
		{"job.skip_if", one, "skip_if: 'true'", "", nil, "SKIPPED", "COMPLETED"},
		{"job.job_variables", "job_type: j\n@\ntasks:\n- {task_type: a, " + aTask + ", when: vars.x == 1}\n", "job_variables: {x: 1}", "", nil, "a:COMPLETED", "a:SKIPPED"},
		{"job.variables", "job_type: j\n@\ntasks:\n- {task_type: a, " + aTask + ", when: vars.x == 1}\n", "variables: {x: 1}", "", nil, "a:COMPLETED", "a:SKIPPED"},
		{"job.configs", "job_type: j\n@\ntasks:\n- {task_type: a, " + aTask + ", when: vars.x == 1}\n", "configs: {x: 1}", "", nil, "a:COMPLETED", "a:SKIPPED"},
		{"variable.name", "job_type: j\njob_variables: [{name: @, value: 1}]\ntasks:\n- {task_type: a, " + aTask + ", when: vars.x == 1}\n", "x", "y", nil, "a:COMPLETED", "a:SKIPPED"},
		{"variable.value", "job_type: j\njob_variables: [{name: x, value: @}]\ntasks:\n- {task_type: a, " + aTask + ", when: vars.x == 1}\n", "1", "2", nil, "a:COMPLETED", "a:SKIPPED"},
		{"job.undefined_variables", "job_type: j\n@\ntasks:\n- {task_type: a, " + aTask + ", on_completed: b}\n- {task_type: b, method: FORK_JOB, fork_job_type: 'k{{.x}}'}\n", "undefined_variables: empty", "", nil, "a:COMPLETED/1 b:COMPLETED", "a:COMPLETED/1 b:FAILED"},
		{"job.tasks", "job_type: j\ntasks:\n- {task_type: a, " + aTask + "}\n@", "- {task_type: b, " + aTask + "}\n", "", nil, "a:COMPLETED/1 b:COMPLETED", "a:COMPLETED/1"},

		{"task.task_type", "job_type: j\ntasks:\n- {task_type: @, " + aTask + "}\n", "a", "b", nil, "a:", "b:"},
		{"task.on_completed", two, ", on_completed: b", ", on_failed: b", nil, "a:COMPLETED/1 b:COMPLETED", "a:COMPLETED/1 b:SKIPPED"},
		{"task.on_failed", two, ", on_failed: b", ", on_completed: b", fails(1), "a:FAILED/1 b:COMPLETED", "a:FAILED/1 b:SKIPPED"},
		{"task.on_exit_code", two, ", on_exit_code: {3: b}", ", on_exit_code: {4: b}", fails(3), "a:FAILED/1 b:COMPLETED", "a:FAILED/1 b:SKIPPED"},
		{"task.depends_on", "job_type: j\ntasks:\n- {task_type: b, " + aTask + "@}\n- {task_type: a, " + aTask + "}\n", ", depends_on: [a]", "", fails(1), "a:FAILED/1 b:SKIPPED", "a:FAILED/1 b:COMPLETED"},
		{"task.dependencies", "job_type: j\ntasks:\n- {task_type: b, " + aTask + "@}\n- {task_type: a, " + aTask + "}\n", ", dependencies: [a]", "", fails(1), "a:FAILED/1 b:SKIPPED", "a:FAILED/1 b:COMPLETED"},
		{"task.when", own, ", when: 'false'", "", nil, "a:SKIPPED", "a:COMPLETED"},
		{"task.except", own, ", except: 'true'", "", fails(1), "a:COMPLETED/0", "a:FAILED/1"},
		{"task.allow_failure", own, ", allow_failure: true", "", fails(1), "COMPLETED", "FAILED"},
		{"task.allow_failure", own, ", fan_out: {items: [x, y]}, allow_failure: item == 'x'", ", fan_out: {items: [x, y]}, allow_failure: item == 'y'", map[string][]rehearse.Fake{"a[0]": {{ExitCode: 1}}}, "COMPLETED after 1 in 0s: a:COMPLETED/0 a[0]:FAILED", "FAILED"},
		{"task.always_run", "job_type: j\ntasks:\n- {task_type: a, " + aTask + "}\n- {task_type: b, " + aTask + ", depends_on: [a]@}\n", ", always_run: true", "", fails(1), "a:FAILED/1 b:COMPLETED", "a:FAILED/1 b:SKIPPED"},
		{"task.retry", own, ", retry: 1", "", twice, "a:COMPLETED/2", "a:FAILED/1"},
		{"task.delay_between_retries", own, ", retry: 1, delay_between_retries: 10m", ", retry: 1, delay_between_retries: 1s", twice, "in 10m", "in 0s"},
		{"task.retry_backoff_policy", own, ", retry: 1, retry_backoff_policy: {min: 20m}", ", retry: 1, delay_between_retries: 1s", twice, "in 20m", "in 0s"},
		{"task.backoff", own, ", retry: 1, backoff: {min: 20m}", ", retry: 1, delay_between_retries: 1s", twice, "in 20m", "in 0s"},
		{"backoff.min", own, ", retry: 1, backoff: {min: 20m}", ", retry: 1, backoff: {min: 1m}", twice, "in 20m", "in 1m"},
		{"backoff.factor", own, ", retry: 2, backoff: {min: 1m, factor: 30}", ", retry: 2, backoff: {min: 1m, factor: 1}", map[string][]rehearse.Fake{failed: {{ExitCode: 1}, {ExitCode: 1}, {}}}, "in 31m", "in 2m"},
		{"backoff.max", own, ", retry: 2, backoff: {min: 1m, factor: 30, max: 7m}", ", retry: 2, backoff: {min: 1m, factor: 30}", map[string][]rehearse.Fake{failed: {{ExitCode: 1}, {ExitCode: 1}, {}}}, "in 8m", "in 31m"},
		{"task.retry_on", own, ", retry: 1, retry_on: [75]", ", retry: 1", map[string][]rehearse.Fake{failed: {{ExitCode: 3}, {}}}, "a:FAILED/1", "a:COMPLETED/2"},
		{"retry_on.codes", own, ", retry: 1, retry_on: {codes: [75]}", ", retry: 1, retry_on: {codes: [3]}", map[string][]rehearse.Fake{failed: {{ExitCode: 3}, {}}}, "a:FAILED/1", "a:COMPLETED/2"},
		{"retry_on.user", own, ", retry: 1, retry_on: {user: true}", ", retry: 1, retry_on: {codes: [75]}", map[string][]rehearse.Fake{failed: {{ExitCode: 3}, {}}}, "a:COMPLETED/2", "a:FAILED/1"},
		{"retry_on.timeout", own, ", retry_on: {timeout: 1}", "", map[string][]rehearse.Fake{failed: {{TimedOut: true}, {}}}, "a:COMPLETED/2", "a:FAILED/1"},
		{"retry_on.infra", own, ", retry_on: {infra: 0}", "", map[string][]rehearse.Fake{failed: {{Lost: true}, {}}}, "a:FAILED/1", "a:COMPLETED/2"},
		{"task.execution", own, ", execution: at_most_once", "", map[string][]rehearse.Fake{failed: {{Lost: true}, {}}}, "a:FAILED/1", "a:COMPLETED/2"},
		{"task.allow_start_if_completed", "job_type: j\nretry: 1\ntasks:\n- {task_type: a, " + aTask + ", on_completed: b@}\n- {task_type: b, " + aTask + "}\n", ", allow_start_if_completed: true", "", map[string][]rehearse.Fake{"b": {{ExitCode: 1}, {}}}, "a:COMPLETED/1", "a:COMPLETED/0"},
		{"task.outputs", own, ", outputs: [{name: x, required: true}]", "", nil, "", ""},
		{"output.required", own, ", outputs: [{name: x, required: true}]", ", outputs: [{name: x, required: false}]", nil, "", ""},
		{"output.name", own, ", outputs: [{name: y, required: true}]", ", outputs: [{name: x, required: true}]", gives, "a:FAILED", "a:COMPLETED"},
		{"output.type", own, ", outputs: [{name: x, type: json}]", ", outputs: [{name: x, type: int}]", map[string][]rehearse.Fake{failed: {{Outputs: map[string]string{"x": "{}"}}}}, "a:COMPLETED", "a:FAILED"},
		{"output.enum", own, ", outputs: [{name: x, enum: ['1', '2']}]", ", outputs: [{name: x, enum: ['2']}]", gives, "a:COMPLETED", "a:FAILED"},
		{"task.outputs", "job_type: j\ntasks:\n- {task_type: a, method: MANUAL, on_completed: b@}\n- {task_type: b, " + aTask + ", when: vars.x == '1'}\n", ", outputs: {x: int}", ", outputs: {x: duration}", gives, "a:COMPLETED/0 b:COMPLETED", "a:FAILED"},
		{"task.method", "job_type: j\ntasks:\n- {task_type: a, method: @, url: x, script: ['true']}\n", "HTTP_GET", "SHELL", fails(200), "a:COMPLETED", "a:FAILED"},
		{"task.timeout", own, ", on_exit_code: {1: EXECUTING}, delay_between_retries: 1m, timeout: 10m", ", on_exit_code: {1: EXECUTING}, delay_between_retries: 1m, timeout: 20m", fails(1), "", ""},
		{"timeouts.run", own, ", on_exit_code: {1: EXECUTING}, delay_between_retries: 1m, timeouts: {run: 10m}", ", on_exit_code: {1: EXECUTING}, delay_between_retries: 1m, timeouts: {run: 20m}", fails(1), "", ""},
		{"task.variables", own, ", when: vars.x == 1, variables: {x: 1}", ", when: vars.x == 1", nil, "", ""},

		{"task.fan_out", own, ", fan_out: {items: [x, y]}", "", nil, "a:COMPLETED/0 a[0]:COMPLETED/1 a[1]:COMPLETED/1", "a:COMPLETED/1"},
		{"task.matrix", own, ", matrix: {x: [1, 2]}", "", nil, "a:COMPLETED/0 a[1]:COMPLETED/1 a[2]:COMPLETED/1", "a:COMPLETED/1"},
		{"task.matrix", "job_type: j\ntasks:\n- {task_type: b, " + aTask + ", on_completed: a}\n- {task_type: a, " + aTask + ", matrix: {x: @, y: [u, v]}}\n", "'{{.l}}'", "[1]", map[string][]rehearse.Fake{"b": {{Outputs: map[string]string{"l": "[2, 3]"}}}}, "a[2,u]:COMPLETED/1 a[2,v]:COMPLETED/1 a[3,u]:COMPLETED/1 a[3,v]:COMPLETED/1 b", "a[1,u]:COMPLETED/1 a[1,v]:COMPLETED/1 b"},
		{"fan_out.items", own, ", fan_out: {items: [x]}", ", fan_out: {items: [x, y]}", nil, "a:COMPLETED/0 a[0]:COMPLETED/1", "a:COMPLETED/0 a[0]:COMPLETED/1 a[1]"},
		{"fan_out.source", "job_type: j\njob_variables: {l: [1], m: [1, 2]}\ntasks:\n- {task_type: a, " + aTask + ", fan_out: {source: @}}\n", "l", "m", nil, "a:COMPLETED/0 a[0]:COMPLETED/1", "a:COMPLETED/0 a[0]:COMPLETED/1 a[1]"},
		{"fan_out.min_success", items, ", min_success: 1", "", map[string][]rehearse.Fake{"a[0]": {{ExitCode: 1}}}, "a:COMPLETED", "a:FAILED"},
		{"fan_out.fail_fast", items, ", max_parallel: 1, fail_fast: true", ", max_parallel: 1", map[string][]rehearse.Fake{"a[0]": {{ExitCode: 1}}}, "a:FAILED/0 a[0]:FAILED/1 a[1]:SKIPPED", "a:FAILED/0 a[0]:FAILED/1 a[1]:COMPLETED"},
		{"fan_out.item_var", "job_type: j\ntasks:\n- {task_type: a, " + aTask + ", fan_out: {items: [x]@}, on_completed: b}\n- {task_type: b, " + aTask + ", when: vars.r_0_status == 'COMPLETED'}\n", ", item_var: r", ", item_var: s", nil, "a:COMPLETED/0 a[0]:COMPLETED/1 b:COMPLETED", "a:COMPLETED/0 a[0]:COMPLETED/1 b:SKIPPED"},
		{"fan_out.fork_job_type", "job_type: j\ntasks:\n- {task_type: a, fan_out: {items: [x], fork_job_type: @}}\n", "k", "l", nil, "forks k", "forks l"},

		{"task.wait", "job_type: j\ntasks:\n- {task_type: a, method: WAIT, wait: @}\n", "20m", "10m", nil, "in 20m", "in 10m"},
		{"task.wait", "job_type: j\ntasks:\n- {task_type: b, " + aTask + ", on_completed: a}\n- {task_type: a, method: WAIT, wait: '@'}\n", "{{.x}}m", "10m", map[string][]rehearse.Fake{"b": {{Outputs: map[string]string{"x": "30"}}}}, "in 30m", "in 10m"},
		{"task.wait", "job_type: j\ntasks:\n- {task_type: a, method: WAIT, wait: '@', fan_out: {items: [20, 40], max_parallel: 1}}\n", "{{.item}}m", "10m", nil, "in 1h0m", "in 20m"},
		{"task.fork_job_type", "job_type: j\ntasks:\n- {task_type: a, method: FORK_JOB, fork_job_type: @}\n", "k", "l", nil, "forks k", "forks l"},
		{"task.fork_job_version", "job_type: j\ntasks:\n- {task_type: a, method: FORK_JOB, fork_job_type: k, fork_job_version: @}\n", "^1.2", "2", nil, "forks k ^1.2", "forks k 2"},
		{"task.job_version", "job_type: j\ntasks:\n- {task_type: a, method: FORK_JOB, fork_job_type: k, job_version: @}\n", "^1.2", "2", nil, "forks k ^1.2", "forks k 2"},
		{"fan_out.fork_job_version", "job_type: j\ntasks:\n- {task_type: a, fan_out: {items: [x], fork_job_type: k, fork_job_version: @}}\n", "^1.2", "2", nil, "forks k ^1.2", "forks k 2"},
		{"task.sub_workflow", "job_type: j\ntasks:\n- {task_type: a, method: FORK_JOB, fork_job_type: k@}\n", ", sub_workflow: {wait_for_completion: true}", "", map[string][]rehearse.Fake{failed: {{Child: "FAILED"}}}, "FAILED", "COMPLETED"},
		{"sub_workflow.wait_for_completion", "job_type: j\ntasks:\n- {task_type: a, method: FORK_JOB, fork_job_type: k, sub_workflow: {wait_for_completion: @}}\n", "true", "false", map[string][]rehearse.Fake{failed: {{Child: "FAILED"}}}, "FAILED", "COMPLETED"},
		{"sub_workflow.output_variables", fork, ", output_variables: {y: x}", "", map[string][]rehearse.Fake{failed: {{Outputs: map[string]string{"y": "1"}}}}, "a:COMPLETED/0 b:COMPLETED", "a:COMPLETED/0 b:SKIPPED"},
		{"task.await_forked_tasks", "job_type: j\ntasks:\n- {task_type: a, method: FORK_JOB, fork_job_type: k, on_completed: c}\n- {task_type: c, method: FORK_JOB, fork_job_type: l, on_completed: b}\n- {task_type: b, method: AWAIT_FORKED_JOB, await_forked_tasks: [@]}\n", "a", "c", map[string][]rehearse.Fake{failed: {{Child: "FAILED"}}}, "FAILED", "COMPLETED"},
	}
}

// TestFieldsAreActedOn plays each definition with and without a field: what happens must differ, and be what is wanted.
func TestFieldsAreActedOn(t *testing.T) {
	for _, c := range fields() {
		t.Run(c.field, func(t *testing.T) {
			with, without := outcome(t, c, c.with), outcome(t, c, c.without)
			if with == without {
				t.Errorf("the field changes nothing: %s", with)
			}
			if !strings.Contains(with, c.want) || !strings.Contains(without, c.otherwise) {
				t.Errorf("with the field:\n%s\nwant %q\nwithout:\n%s\nwant %q", with, c.want, without, c.otherwise)
			}
		})
	}
}

// outcome is how the job ended, then its tasks with their attempts, then what happened.
func outcome(t *testing.T, c fieldCase, field string) string {
	t.Helper()
	r, err := play(t, strings.Replace(c.text, "@", field, 1), value.Vars{}, c.fakes)
	if err != nil {
		t.Fatal(err)
	}
	text := fmt.Sprintf("%s after %d in %s:", r.State, r.Runs, r.Took.Truncate(time.Minute/6))
	for _, name := range slices.Sorted(maps.Keys(r.Tasks)) {
		text += fmt.Sprintf(" %s:%s/%d", name, r.Tasks[name].State, r.Tasks[name].Attempts)
	}
	return text + "\n" + strings.Join(r.Steps, "\n")
}
