package e2e

import "fmt"

// shape is a definition and the state in which its requests must end.
type shape struct {
	jobType string
	yaml    string
	want    string
	cancel  bool
}

// shapes are the mixed jobs of the kill test. Every task writes the journal.
func shapes(journal, scratch string) []shape {
	run := func(body string) string { return "      - |\n        " + script(journal, body) + "\n" }
	task := func(name, more, body string) string {
		return fmt.Sprintf("  - task_type: %s\n    method: SHELL\n%s    script:\n%s", name, more, run(body))
	}
	return []shape{
		{jobType: "e2e-chain", want: "COMPLETED", yaml: "job_type: e2e-chain\ntasks:\n" +
			task("a", "    on_completed: b\n", "sleep 0.02") + task("b", "    on_completed: c\n", "sleep 0.02") + task("c", "", "sleep 0.02")},
		{jobType: "e2e-diamond", want: "COMPLETED", yaml: "job_type: e2e-diamond\ntasks:\n" +
			task("a", "    on_completed: [b, c]\n", "true") + task("b", "    on_completed: d\n", "sleep 0.05") +
			task("c", "    on_completed: d\n", "sleep 0.01") + task("d", "", "true")},
		{jobType: "e2e-branch", want: "COMPLETED", yaml: "job_type: e2e-branch\ntasks:\n" +
			task("a", "    on_exit_code:\n      3: fix\n      COMPLETED: never\n", "exit 3") + task("fix", "", "true") + task("never", "", "false")},
		{jobType: "e2e-retry", want: "COMPLETED", yaml: "job_type: e2e-retry\ntasks:\n" +
			task("a", "    retry: 5\n    delay_between_retries: 100ms\n",
				fmt.Sprintf(`f=%s/retry-$FORMICARY_JOB_ID; if [ ! -e $f ]; then touch $f; exit 1; fi`, scratch))},
		{jobType: "e2e-timeout", want: "FAILED", yaml: "job_type: e2e-timeout\ntasks:\n" +
			task("a", "    timeout: 300ms\n    timeouts:\n      grace: 200ms\n", "sleep 30")},
		{jobType: "e2e-cancel", want: "CANCELLED", cancel: true, yaml: "job_type: e2e-cancel\ntasks:\n" + task("a", "", "sleep 120")},
		{jobType: "e2e-always", want: "FAILED", yaml: "job_type: e2e-always\ntasks:\n" +
			task("a", "    on_completed: b\n", "exit 1") + task("b", "", "true") + task("clean", "    always_run: true\n", "sleep 0.02")},
		{jobType: "e2e-allow", want: "COMPLETED", yaml: "job_type: e2e-allow\ntasks:\n" +
			task("a", "    allow_failure: true\n    on_completed: b\n", "exit 1") + task("b", "", "true")},
	}
}
