package jobspec

import (
	"strings"

	"github.com/formicary/formicary/libs/jobspec/plan"
)

// taskTable are the fields of a task.
func taskTable() []field {
	fields := []field{
		{name: "task_type", form: aName(), doc: "The name of the task, unique in the job."},
		{name: "description", form: aText(), doc: "Text for people; approvers see it."},
		{name: "method", form: aWord(plan.Methods()...), doc: "How the task is executed; KUBERNETES when not given."},
		{name: "tags", form: oneOrMore(aText()), doc: "Tags that the ant must have."},
		{name: "slots", form: aWhole(1, maxSlots), doc: "How many slots of the ant it takes."},
		{name: "variables", form: variablesForm(), doc: "Variables of the task.", aliases: []string{"task_variables"}},
		{name: "outputs", form: anyOf(listOf(anyOf(form{"type": "string"}, ref("output"))), mapOf(anyOf(form{"type": "string"}, ref("output")))), doc: "Values that the task promises to give."},
		{name: "secrets", form: anyOf(listOf(anyOf(form{"type": "string"}, ref("secret"))), ref("secret"), form{"type": "string"}), doc: "Secrets that are delivered to this task only.", inactive: true},
		{name: "resources", form: oneOrMore(ref("resource")), doc: "Virtual resources that the task needs.", inactive: true},
		{name: "webhook", form: webhookForm(), doc: "Called with JSON when the task ends."},
	}
	fields = append(fields, taskFlow()...)
	fields = append(fields, taskTimes()...)
	fields = append(fields, taskWork()...)
	return append(fields, optionTable()...)
}

// taskFlow are the fields about what comes before and after a task.
func taskFlow() []field {
	return []field{
		{name: "on_completed", form: targetsForm(), doc: "What follows a success: tasks, or one action."},
		{name: "on_failed", form: targetsForm(), doc: "What follows a failure: tasks, or one action. Tasks are post-processing: the job ends as FAILED unless allow_failure is set."},
		{name: "on_exit_code", form: routesForm(), doc: "What follows which exit code, status, range or outcome."},
		{name: "dependencies", form: oneOrMore(aName()), doc: "Tasks to wait for whose artifacts are downloaded. Beside edges that lead to the task they only delay it."},
		{name: "depends_on", form: oneOrMore(aName()), doc: "Tasks that must have ended well: COMPLETED, or FAILED with allow_failure; beside edges that lead to the task also SKIPPED."},
		{name: "artifact_ids", form: oneOrMore(aName()), doc: "Artifacts of other jobs that are downloaded.", inactive: true},
		{name: "when", form: conditionForm(), doc: "A CEL expression, or a template that renders true: else the task is skipped and leads nowhere."},
		{name: "except", form: conditionForm(), doc: "A CEL expression, or a template that renders true: the task counts as completed at once."},
		{name: "allow_failure", form: conditionForm(), doc: "A failure does not fail the job; on_completed follows. A switch, or a CEL expression; of a fan-out, one over the item."},
		{name: "always_run", form: aFlag(), doc: "Runs whatever the outcome of the job: clean-up."},
		{name: "allow_start_if_completed", form: aFlag(), doc: "Runs again in a restarted job even if it completed before."},
		{name: "execution", form: aWord("at_least_once", "at_most_once"), doc: "Whether a lost attempt is tried again."},
		{name: "fan_out", form: ref("fan_out"), doc: "Runs the task once for each item of a list."},
		{name: "matrix", form: ref("matrix"), doc: "Runs the task once for each combination of lists."},
		{name: "approval_policy", form: ref("approval_policy"), doc: "MANUAL: who has to agree."},
		{name: "wait", form: aDuration(), doc: "WAIT: how long the task waits."},
		{name: "fork_job_type", form: aText(), doc: "FORK_JOB: the job to submit."},
		{name: "fork_job_version", form: aName(), doc: "FORK_JOB: its version, or a range such as ^1.2."},
		{name: "job_version", form: aName(), doc: "Another name of fork_job_version."},
		{name: "sub_workflow", form: ref("sub_workflow"), doc: "FORK_JOB: parameters, outputs, and whether to wait."},
		{name: "cascade_cancel", form: aFlag(), doc: "FORK_JOB: cancels the child when the parent is cancelled."},
		{name: "await_forked_tasks", form: oneOrMore(aName()), doc: "AWAIT_FORKED_JOB: the FORK_JOB tasks whose jobs are waited for."},
	}
}

// taskTimes are the fields of a task about time and retries.
func taskTimes() []field {
	return []field{
		{name: "timeout", form: aDuration(), doc: "The time of one attempt, 1h when not given."},
		{name: "timeouts", form: ref("timeouts"), doc: "Bounds of the waiting, of one attempt, of all attempts together, and the time to end."},
		{name: "retry", form: aWhole(0, maxRetry), doc: "How many further attempts a failed one gets, by RESTART_TASK too; that is bounded by 100 when not given. Polls (EXECUTING) do not count."},
		{name: "retry_on", form: anyOf(oneOrMore(aName()), ref("retry_on")), doc: "Which failures are tried again."},
		{name: "delay_between_retries", form: aDuration(), doc: "A constant delay between attempts, and between polls of a sensor.", aliases: []string{"delay"}},
		{name: "retry_backoff_policy", form: ref("backoff"), doc: "A growing delay between attempts."},
		{name: "backoff", form: ref("backoff"), doc: "Another name of retry_backoff_policy."},
	}
}

// taskWork are the fields that say what an ant does.
func taskWork() []field {
	return []field{
		{name: "before_script", form: oneOrMore(aText()), doc: "Lines before the script, in the same shell session."},
		{name: "script", form: oneOrMore(aText()), doc: "The lines to run; of an HTTP method the URL."},
		{name: "after_script", form: oneOrMore(aText()), doc: "Lines after the script, whatever its outcome."},
		{name: "environment", form: texts(), doc: "Variables of the process."},
		{name: "working_dir", form: aText(), doc: "A directory inside the attempt's own."},
		{name: "url", form: aText(), doc: "HTTP methods and WEBSOCKET: the URL."},
		{name: "headers", form: texts(), doc: "HTTP methods: headers of the request."},
		{name: "query", form: texts(), doc: "HTTP methods: parameters of the URL."},
		{name: "report_stdout", form: aFlag(), doc: "Puts the beginning of the output into the result."},
		{name: "cpu_limit", form: aCPU(), doc: "Processors, such as 2, 0.5 or 500m."},
		{name: "memory_limit", form: aMemory(), doc: "Memory, such as 512Mi or 1G."},
		{name: "messaging_request_queue", form: aText(), doc: "MESSAGING: the subject that the request is sent to."},
		{name: "messaging_reply_queue", form: aText(), doc: "MESSAGING: the subject that the reply is expected on."},
	}
}

func routesForm() form {
	words := plan.States()
	for i := range words {
		words[i] = anyCase(words[i])
	}
	keys := `^(-?[0-9]+(\s*-\s*-?[0-9]+)?|[1-9][xX][xX]|\*|` + strings.Join(words, "|") + ")$"
	return form{"type": "object", "propertyNames": form{"pattern": keys}, "additionalProperties": targetsForm()}
}

func fanOutFields() []field {
	return []field{
		{name: "source", form: aText(), doc: "The variable that holds the list."},
		{name: "items", form: anyOf(listOf(form{}), pattern(aTemplate)), doc: "The list itself."},
		{name: "item_var", form: aName(), doc: "The variable that holds the item."},
		{name: "max_parallel", form: aWhole(0, plan.MaxItems), doc: "How many items run at once; 0 means no limit. Of jobs no more than 500 do."},
		{name: "fail_fast", form: aFlag(), doc: "Cancels the other items when one has failed."},
		{name: "min_success", form: anyOf(aWhole(0, plan.MaxItems), pattern(`^[0-9]+%$`)), doc: "How many items must complete, or how many of a hundred with %."},
		{name: "fork_job_type", form: aText(), doc: "Submits this job for each item."},
		{name: "fork_job_version", form: aName(), doc: "Its version, or a range such as ^1.2."},
	}
}

func approvalFields() []field {
	people := func() form { return oneOrMore(aText()) }
	return []field{
		{name: "min_approvals", form: aWhole(1, 1000), doc: "How many have to approve."},
		{name: "allowed_users", form: people(), doc: "Who may vote: names in a list, or with commas."},
		{name: "allowed_roles", form: people(), doc: "Roles that may vote: names in a list, or with commas."},
		{name: "require_unanimous", form: aFlag(), doc: "One rejection is enough to refuse."},
		{name: "allow_self_approval", form: aFlag(), doc: "Lets the submitter of the job vote."},
		{name: "sla_deadline", form: aDuration(), doc: "The time to decide in."},
		{name: "timeout_action", form: aWord(plan.AutoApprove, plan.AutoReject, plan.Escalate), doc: "What happens when nobody decides in time."},
		{name: "escalation_recipients", form: people(), doc: "Who hears of it with ESCALATE."},
		{name: "escalation_message", form: aText(), doc: "What they are told."},
	}
}

func subWorkflowFields() []field {
	return []field{
		{name: "input_params", form: variablesForm(), doc: "Parameters of the child."},
		{name: "output_variables", form: anyOf(mapOf(aText()), listOf(anyOf(aText(), ref("variable")))), doc: "Outputs of the child (name) that become outputs of the task (value)."},
		{name: "wait_for_completion", form: aFlag(), doc: "The task ends when the child does, and as it does."},
		{name: "cascade_cancel", form: aFlag(), doc: "Cancels the child when the parent is cancelled."},
	}
}

func retryOnFields() []field {
	budget := func() form { return anyOf(aWhole(0, maxRetry), aFlag()) }
	return []field{
		{name: "codes", form: oneOrMore(aName()), doc: "Exit codes, statuses or ranges that use up retry; * for all."},
		{name: "user", form: aFlag(), doc: "Failures of the task itself use up retry, whatever their code."},
		{name: "timeout", form: budget(), doc: "Timeouts: a number of their own, or true to use up retry."},
		{name: "oom", form: budget(), doc: "Ends for lack of memory: a number of their own, or true to use up retry."},
		{name: "infra", form: budget(), doc: "Lost attempts: a number of their own, 3 when not given, or true to use up retry."},
	}
}

func outputFields() []field {
	return []field{
		{name: "name", form: aName(), doc: "The name of the output."},
		{name: "type", form: form{"enum": anys(outputTypes())}, doc: "Its type; string when not given."},
		{name: "required", form: aFlag(), doc: "The task fails without it."},
		{name: "description", form: aText(), doc: "Text for people."},
	}
}

func secretFields() []field {
	return []field{
		{name: "name", form: aText(), doc: "The name of the secret."},
		{name: "env", form: aText(), doc: "The variable that it is delivered in."},
		{name: "file", form: aText(), doc: "The path in the working directory that it is delivered in."},
	}
}
