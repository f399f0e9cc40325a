package rehearse_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/formicary/formicary/libs/jobspec"
	"github.com/formicary/formicary/libs/jobspec/plan"
	"github.com/formicary/formicary/libs/jobspec/value"
	"github.com/formicary/formicary/services/supervisor/rehearse"
)

func play(t *testing.T, text string, vars value.Vars, fakes map[string][]rehearse.Fake) (*rehearse.Result, error) {
	t.Helper()
	def, _, err := jobspec.Parse("job.yaml", []byte(text))
	if err != nil {
		t.Fatal(err)
	}
	return rehearse.Play(def, vars, func(task, group string, attempt int) rehearse.Fake {
		list := fakes[task]
		if list == nil {
			list = fakes[group]
		}
		if len(list) == 0 {
			return rehearse.Fake{}
		}
		return list[min(attempt, len(list))-1]
	})
}

func TestPlay(t *testing.T) {
	const shell = "method: SHELL, script: ['true']"
	tests := []struct {
		name  string
		text  string
		fakes map[string][]rehearse.Fake
		state string
		code  string
		tasks map[string]string
		runs  int
	}{
		{
			name: "a route by its code", state: "COMPLETED", runs: 1,
			text:  "job_type: j\ntasks:\n- {task_type: a, " + shell + ", on_exit_code: {3: b, COMPLETED: c}}\n- {task_type: b, " + shell + "}\n- {task_type: c, " + shell + "}\n",
			fakes: map[string][]rehearse.Fake{"a": {{ExitCode: 3}}},
			tasks: map[string]string{"a": "FAILED", "b": "COMPLETED", "c": "SKIPPED"},
		},
		{
			name: "post-processing of a failure", state: "FAILED", code: "ERR_TASK_EXECUTE", runs: 1,
			text:  "job_type: j\ntasks:\n- {task_type: a, " + shell + ", on_failed: b, on_completed: c}\n- {task_type: b, " + shell + "}\n- {task_type: c, " + shell + "}\n",
			fakes: map[string][]rehearse.Fake{"a": {{ExitCode: 1}}},
			tasks: map[string]string{"a": "FAILED", "b": "COMPLETED", "c": "SKIPPED"},
		},
		{
			name: "what follows a failed fan-out sees its results", state: "FAILED", code: "ERR_TASK_EXECUTE", runs: 1,
			text:  "job_type: j\ntasks:\n- {task_type: a, " + shell + ", fan_out: {items: [x, y]}, on_failed: b}\n- {task_type: b, " + shell + ", when: \"vars.item_1_status == 'FAILED' && vars.item_1_u == 'v'\"}\n",
			fakes: map[string][]rehearse.Fake{"a[1]": {{ExitCode: 1, Outputs: map[string]string{"u": "v"}}}},
			tasks: map[string]string{"a": "FAILED", "a[0]": "COMPLETED", "b": "COMPLETED"},
		},
		{
			name: "a retry of the job keeps items that completed", state: "COMPLETED", runs: 2,
			text:  "job_type: j\nretry: 1\ntasks:\n- {task_type: a, " + shell + ", fan_out: {items: [x, y]}}\n",
			fakes: map[string][]rehearse.Fake{"a[0]": {{}, {ExitCode: 1}}, "a[1]": {{ExitCode: 1}, {}}},
			tasks: map[string]string{"a": "COMPLETED", "a[0]": "COMPLETED", "a[1]": "COMPLETED"},
		},
		{
			name: "clean-up runs once, after the last run", state: "COMPLETED", runs: 2,
			text:  "job_type: j\nretry: 2\ntasks:\n- {task_type: up, " + shell + ", on_completed: work}\n- {task_type: work, " + shell + ", on_completed: down}\n- {task_type: down, " + shell + ", always_run: true}\n",
			fakes: map[string][]rehearse.Fake{"work": {{ExitCode: 9}, {}}, "down": {{}, {ExitCode: 1}}},
			tasks: map[string]string{"up": "COMPLETED", "work": "COMPLETED", "down": "COMPLETED"},
		},
		{
			name: "a condition of each item", state: "COMPLETED", runs: 1,
			text:  "job_type: j\ntasks:\n- {task_type: a, " + shell + ", fan_out: {items: [x, y], item_var: it}, when: it == 'y'}\n",
			tasks: map[string]string{"a": "COMPLETED", "a[0]": "SKIPPED", "a[1]": "COMPLETED"},
		},
		{
			name: "retries until it succeeds", state: "COMPLETED", runs: 1,
			text:  "job_type: j\ntasks:\n- {task_type: a, " + shell + ", retry: 2}\n",
			fakes: map[string][]rehearse.Fake{"a": {{ExitCode: 1}, {TimedOut: true}, {}}},
			tasks: map[string]string{"a": "COMPLETED"},
		},
		{
			name: "job retries", state: "COMPLETED", runs: 3,
			text:  "job_type: j\nretry: 2\ntasks:\n- {task_type: a, " + shell + "}\n",
			fakes: map[string][]rehearse.Fake{"a": {{ExitCode: 1}, {ExitCode: 1}, {}}},
			tasks: map[string]string{"a": "COMPLETED"},
		},
		{
			name: "a rejection", state: "FAILED", code: "ERR_MANUAL_REJECTION", runs: 1,
			text:  "job_type: j\ntasks:\n- {task_type: a, method: MANUAL, on_completed: b}\n- {task_type: b, " + shell + "}\n",
			fakes: map[string][]rehearse.Fake{"a": {{Vote: "REJECTED"}}},
			tasks: map[string]string{"a": "FAILED", "b": "SKIPPED"},
		},
		{
			name: "items of a list that a task gave", state: "COMPLETED", runs: 1,
			text:  "job_type: j\ntasks:\n- {task_type: a, " + shell + ", on_completed: b}\n- {task_type: b, " + shell + ", fan_out: {source: list, min_success: 1}}\n",
			fakes: map[string][]rehearse.Fake{"a": {{Outputs: map[string]string{"list": "[1,2]"}}}, "b[1]": {{ExitCode: 1}}},
			tasks: map[string]string{"b": "COMPLETED", "b[0]": "COMPLETED", "b[1]": "FAILED"},
		},
		{
			name: "forks and joins", state: "FAILED", code: "ERR_TASK_EXECUTE", runs: 1,
			text:  "job_type: j\ntasks:\n- {task_type: a, method: FORK_JOB, fork_job_type: k, on_completed: b}\n- {task_type: b, method: AWAIT_FORKED_JOB, await_forked_tasks: [a]}\n",
			fakes: map[string][]rehearse.Fake{"a": {{Child: "FAILED"}}},
			tasks: map[string]string{"a": "COMPLETED", "b": "FAILED"},
		},
		{
			name: "a pause counts as a retry of the job", state: "COMPLETED", runs: 1,
			text:  "job_type: j\ntasks:\n- {task_type: a, " + shell + ", on_exit_code: {9: PAUSE_JOB}, on_completed: b}\n- {task_type: b, " + shell + ", when: vars.JobRetry == 2}\n",
			fakes: map[string][]rehearse.Fake{"a": {{ExitCode: 9}, {ExitCode: 9}, {}}},
			tasks: map[string]string{"a": "COMPLETED", "b": "COMPLETED"},
		},
		{
			name: "a fork that takes too long", state: "FAILED", code: "ERR_TASK_TIMED_OUT", runs: 1,
			text:  "job_type: j\ntasks:\n- {task_type: a, method: FORK_JOB, fork_job_type: k, sub_workflow: {wait_for_completion: true}, timeout: 2s, on_exit_code: {TIMED_OUT: b}}\n- {task_type: b, " + shell + "}\n",
			fakes: map[string][]rehearse.Fake{"a": {{TimedOut: true}}},
			tasks: map[string]string{"a": "FAILED", "b": "COMPLETED"},
		},
		{
			name: "a code of items that is an action, and what handles the failure", state: "FAILED", code: "ERR_TASK_EXECUTE", runs: 1,
			text:  "job_type: j\ntasks:\n- {task_type: a, " + shell + ", fan_out: {items: [x, y]}, on_exit_code: {1: FAILED}, on_failed: b}\n- {task_type: b, " + shell + "}\n",
			fakes: map[string][]rehearse.Fake{"a[1]": {{ExitCode: 1}}},
			tasks: map[string]string{"a": "FAILED", "b": "COMPLETED"},
		},
		{
			name: "items that time out", state: "FAILED", code: "ERR_TASK_TIMED_OUT", runs: 1,
			text:  "job_type: j\ntasks:\n- {task_type: a, " + shell + ", fan_out: {items: [x, y]}, on_exit_code: {TIMED_OUT: z, '*': b}}\n- {task_type: b, " + shell + "}\n- {task_type: z, " + shell + "}\n",
			fakes: map[string][]rehearse.Fake{"a": {{TimedOut: true}}},
			tasks: map[string]string{"a": "FAILED", "b": "SKIPPED", "z": "COMPLETED"},
		},
		{
			name: "results of a fan-out without a list", state: "FAILED", code: "ERR_TASK_EXECUTE", runs: 1,
			text:  "job_type: j\ntasks:\n- {task_type: a, " + shell + ", on_completed: b}\n- {task_type: b, " + shell + ", fan_out: {source: list}, on_failed: c}\n- {task_type: c, " + shell + ", when: \"vars.b_results == '[]'\"}\n",
			fakes: map[string][]rehearse.Fake{"a": {{Outputs: map[string]string{"list": "none"}}}},
			tasks: map[string]string{"b": "FAILED", "c": "COMPLETED"},
		},
		{
			name: "outputs of a child that failed", state: "COMPLETED", runs: 1,
			text:  "job_type: j\ntasks:\n- {task_type: a, method: FORK_JOB, fork_job_type: k, sub_workflow: {wait_for_completion: true, output_variables: {Out: mine}}, on_exit_code: {42: z}}\n- {task_type: z, " + shell + ", when: \"vars.mine == 'yes'\"}\n",
			fakes: map[string][]rehearse.Fake{"a": {{ExitCode: 42, Outputs: map[string]string{"Out": "yes"}}}},
			tasks: map[string]string{"a": "FAILED", "z": "COMPLETED"},
		},
		{
			name: "outputs of an awaited child that failed", state: "COMPLETED", runs: 1,
			text:  "job_type: j\ntasks:\n- {task_type: a, method: FORK_JOB, fork_job_type: k, sub_workflow: {output_variables: {Out: mine}}, on_completed: b}\n- {task_type: b, method: AWAIT_FORKED_JOB, await_forked_tasks: [a], on_exit_code: {42: z}}\n- {task_type: z, " + shell + ", when: \"vars.mine == 'yes'\"}\n",
			fakes: map[string][]rehearse.Fake{"a": {{ExitCode: 42, Outputs: map[string]string{"Out": "yes"}}}},
			tasks: map[string]string{"b": "FAILED", "z": "COMPLETED"},
		},
		{
			name: "outputs of a job of a fan-out that failed", state: "FAILED", code: "ERR_TASK_EXECUTE", runs: 1,
			text:  "job_type: j\ntasks:\n- {task_type: a, method: FORK_JOB, fan_out: {items: [x, y], item_var: i, fork_job_type: k}, on_failed: z}\n- {task_type: z, " + shell + ", when: \"vars.i_1_Out == 'yes'\"}\n",
			fakes: map[string][]rehearse.Fake{"a[1]": {{ExitCode: 42, Outputs: map[string]string{"Out": "yes"}}}},
			tasks: map[string]string{"a": "FAILED", "z": "COMPLETED"},
		},
		{
			name: "a pause by itself", state: "COMPLETED", runs: 1,
			text:  "job_type: j\ntasks:\n- {task_type: a, " + shell + ", on_exit_code: {9: PAUSE_JOB}}\n",
			fakes: map[string][]rehearse.Fake{"a": {{ExitCode: 9}, {}}},
			tasks: map[string]string{"a": "COMPLETED"},
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, err := play(t, tt.text, value.Vars{}, tt.fakes)
			if err != nil {
				t.Fatal(err)
			}
			if got.State != tt.state || got.ErrorCode != tt.code || got.Runs != tt.runs {
				t.Errorf("%s %q after %d runs, want %s %q after %d; %s", got.State, got.ErrorCode, got.Runs, tt.state, tt.code, tt.runs, strings.Join(got.Steps, "\n"))
			}
			for name, want := range tt.tasks {
				if got.Tasks[name].State != want {
					t.Errorf("task %s is %s, want %s", name, got.Tasks[name].State, want)
				}
			}
		})
	}
}

func TestPlayEndsEvenIfTheJobDoesNot(t *testing.T) {
	got, err := play(t, "job_type: j\ntasks:\n- {task_type: a, method: SHELL, script: ['true'], on_exit_code: {1: RESTART_JOB}}\n", value.Vars{},
		map[string][]rehearse.Fake{"a": {{ExitCode: 1}}})
	if err != nil || got.State != "FAILED" || got.Runs != plan.MaxRestarts+1 {
		t.Errorf("a job that restarts itself: %v %v, want FAILED after %d runs", got, err, plan.MaxRestarts+1)
	}
	got, err = play(t, "job_type: j\ntasks:\n- {task_type: a, method: SHELL, script: ['true'], on_exit_code: {1: PAUSE_JOB}}\n", value.Vars{},
		map[string][]rehearse.Fake{"a": {{ExitCode: 1}}})
	if err != nil || got.State != "FAILED" || got.Tasks["a"].Attempts != plan.MaxRestarts+1 {
		t.Errorf("a job that pauses itself: %v %v, want FAILED after %d pauses", got, err, plan.MaxRestarts)
	}
	got, err = play(t, "job_type: j\ntasks:\n- {task_type: a, method: SHELL, script: ['true'], timeout: 1h, on_exit_code: {1: EXECUTING}}\n", value.Vars{},
		map[string][]rehearse.Fake{"a": {{ExitCode: 1}}})
	if err != nil || got.State != "FAILED" {
		t.Errorf("a sensor that never fires: %v %v, want FAILED by its timeout", got, err)
	}
}

// What no ant renders is rendered for each attempt, too.
func TestEachAttemptIsRendered(t *testing.T) {
	for text, want := range map[string]string{
		"method: FORK_JOB, fork_job_type: 'k{{.TaskRetry}}', sub_workflow: {wait_for_completion: true}": "a forks k0, a forks k1",
		"method: FORK_JOB, fan_out: {items: [x], fork_job_type: 'k{{.TaskRetry}}'}":                     "a[0] forks k0, a[0] forks k1",
	} {
		got, err := play(t, "job_type: j\ntasks:\n- {task_type: a, retry: 1, "+text+"}\n", value.Vars{}, map[string][]rehearse.Fake{"a": {{ExitCode: 1}, {}}})
		if err != nil {
			t.Fatal(err)
		}
		forks := slices.DeleteFunc(got.Steps, func(s string) bool { return !strings.Contains(s, "forks") })
		if got.State != "COMPLETED" || strings.Join(forks, ", ") != want {
			t.Errorf("%s: %s, %v, want %s", text, got.State, forks, want)
		}
	}
}
