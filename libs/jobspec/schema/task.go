package schema

import (
	"strings"

	"github.com/formicary/formicary/libs/jobspec/field"
	"github.com/formicary/formicary/libs/jobspec/notify"
	"github.com/formicary/formicary/libs/jobspec/option"
	"github.com/formicary/formicary/libs/jobspec/plan"
)

// Task are the fields of a task.
func Task() []field.Field {
	fields := []field.Field{
		{Name: "task_type", Form: field.Name(), Doc: "The name of the task, unique in the job."},
		{Name: "description", Form: field.Text(), Doc: "Text for people; approvers see it."},
		{Name: "method", Form: field.Word(plan.Methods()...), Doc: "How the task is executed; KUBERNETES when not given."},
		{Name: "tags", Form: field.OneOrMore(field.Text()), Doc: "Tags that the ant must have."},
		{Name: "slots", Form: field.Whole(1, MaxSlots), Doc: "How many slots of the ant it takes."},
		{Name: "variables", Form: field.Variables(), Doc: "Variables of the task.", Aliases: []string{"task_variables"}},
		{Name: "outputs", Form: field.AnyOf(field.ListOf(field.AnyOf(field.Form{"type": "string"}, field.Ref("output"))), field.MapOf(field.AnyOf(field.Form{"type": "string"}, field.Ref("output")))), Doc: "Values that the task promises to give."},
		{Name: "secrets", Form: field.AnyOf(field.ListOf(field.AnyOf(field.Form{"type": "string"}, field.Ref("secret"))), field.Ref("secret"), field.Form{"type": "string"}), Doc: "Secrets that are delivered to this task only."},
		{Name: "resources", Form: field.OneOrMore(field.Ref("resource")), Doc: "Virtual resources that the task needs.", Inactive: true},
		{Name: "webhook", Form: notify.WebhookForm(), Doc: "Called with JSON when the task ends."},
	}
	fields = append(fields, taskFlow()...)
	fields = append(fields, taskTimes()...)
	fields = append(fields, taskWork()...)
	return append(fields, option.Fields()...)
}

// taskFlow are the fields about what comes before and after a task.
func taskFlow() []field.Field {
	return []field.Field{
		{Name: "on_completed", Form: field.Targets(), Doc: "What follows a success: tasks, or one action."},
		{Name: "on_failed", Form: field.Targets(), Doc: "What follows a failure: tasks, or one action. Tasks are post-processing: the job ends as FAILED unless allow_failure is set."},
		{Name: "on_exit_code", Form: routesForm(), Doc: "What follows which exit code, status, range or outcome."},
		{Name: "dependencies", Form: field.OneOrMore(field.Name()), Doc: "Tasks to wait for, whose artifacts are unpacked before the task starts. Beside edges that lead to the task they only delay it."},
		{Name: "depends_on", Form: field.OneOrMore(field.Name()), Doc: "Tasks that must have ended well: COMPLETED, or FAILED with allow_failure; beside edges that lead to the task also SKIPPED."},
		{Name: "artifact_ids", Form: field.OneOrMore(field.Name()), Doc: "Artifacts of other jobs that are downloaded."},
		{Name: "when", Form: field.Condition(), Doc: "A CEL expression, or a template that renders true: else the task is skipped and leads nowhere."},
		{Name: "except", Form: field.Condition(), Doc: "A CEL expression, or a template that renders true: the task counts as completed at once."},
		{Name: "allow_failure", Form: field.Condition(), Doc: "A failure does not fail the job; on_completed follows. A switch, or a CEL expression; of a fan-out, one over the item."},
		{Name: "always_run", Form: field.Flag(), Doc: "Runs whatever the outcome of the job: clean-up."},
		{Name: "allow_start_if_completed", Form: field.Flag(), Doc: "Runs again in a restarted job even if it completed before."},
		{Name: "execution", Form: field.Word("at_least_once", "at_most_once"), Doc: "Whether a lost attempt is tried again."},
		{Name: "fan_out", Form: field.Ref("fan_out"), Doc: "Runs the task once for each item of a list."},
		{Name: "matrix", Form: field.Ref("matrix"), Doc: "Runs the task once for each combination of lists."},
		{Name: "approval_policy", Form: field.Ref("approval_policy"), Doc: "MANUAL: who has to agree."},
		{Name: "wait", Form: field.Duration(), Doc: "WAIT: how long the task waits."},
		{Name: "fork_job_type", Form: field.Text(), Doc: "FORK_JOB: the job to submit."},
		{Name: "fork_job_version", Form: field.Name(), Doc: "FORK_JOB: its version, or a range such as ^1.2."},
		{Name: "job_version", Form: field.Name(), Doc: "Another name of fork_job_version."},
		{Name: "sub_workflow", Form: field.Ref("sub_workflow"), Doc: "FORK_JOB: parameters, outputs, and whether to wait."},
		{Name: "cascade_cancel", Form: field.Flag(), Doc: "FORK_JOB: cancels the child when the parent is cancelled."},
		{Name: "await_forked_tasks", Form: field.OneOrMore(field.Name()), Doc: "AWAIT_FORKED_JOB: the FORK_JOB tasks whose jobs are waited for."},
	}
}

// taskTimes are the fields of a task about time and retries.
func taskTimes() []field.Field {
	return []field.Field{
		{Name: "timeout", Form: field.Duration(), Doc: "The time of one attempt, 1h when not given."},
		{Name: "timeouts", Form: field.Ref("timeouts"), Doc: "Bounds of the waiting, of one attempt, of all attempts together, and the time to end."},
		{Name: "retry", Form: field.Whole(0, MaxRetry), Doc: "How many further attempts a failed one gets, by RESTART_TASK too; that is bounded by 100 when not given. Polls (EXECUTING) do not count."},
		{Name: "retry_on", Form: field.AnyOf(field.OneOrMore(field.Name()), field.Ref("retry_on")), Doc: "Which failures are tried again."},
		{Name: "delay_between_retries", Form: field.Duration(), Doc: "A constant delay between attempts, and between polls of a sensor.", Aliases: []string{"delay"}},
		{Name: "retry_backoff_policy", Form: field.Ref("backoff"), Doc: "A growing delay between attempts."},
		{Name: "backoff", Form: field.Ref("backoff"), Doc: "Another name of retry_backoff_policy."},
	}
}

// taskWork are the fields that say what an ant does.
func taskWork() []field.Field {
	return []field.Field{
		{Name: "before_script", Form: field.OneOrMore(field.Text()), Doc: "Lines before the script, in the same shell session."},
		{Name: "script", Form: field.OneOrMore(field.Text()), Doc: "The lines to run; of an HTTP method the URL."},
		{Name: "after_script", Form: field.OneOrMore(field.Text()), Doc: "Lines after the script, whatever its outcome."},
		{Name: "environment", Form: field.Texts(), Doc: "Variables of the process."},
		{Name: "working_dir", Form: field.Text(), Doc: "A directory inside the attempt's own."},
		{Name: "url", Form: field.Text(), Doc: "HTTP methods and WEBSOCKET: the URL."},
		{Name: "headers", Form: field.Texts(), Doc: "HTTP methods: headers of the request."},
		{Name: "query", Form: field.Texts(), Doc: "HTTP methods: parameters of the URL."},
		{Name: "report_stdout", Form: field.Flag(), Doc: "Puts the beginning of the output into the result."},
		{Name: "cpu_limit", Form: field.CPU(), Doc: "Processors, such as 2, 0.5 or 500m."},
		{Name: "memory_limit", Form: field.Memory(), Doc: "Memory, such as 512Mi or 1G."},
		{Name: "log_limit", Form: field.Memory(), Doc: "How much of the log is kept, its beginning and its end, such as 256Mi; 64Mi without."},
		{Name: "messaging_request_queue", Form: field.Text(), Doc: "MESSAGING: the subject that the request is sent to."},
		{Name: "messaging_reply_queue", Form: field.Text(), Doc: "MESSAGING: the subject that the reply is expected on."},
	}
}

func routesForm() field.Form {
	words := plan.States()
	for i := range words {
		words[i] = field.AnyCase(words[i])
	}
	keys := `^(-?[0-9]+(\s*-\s*-?[0-9]+)?|[1-9][xX][xX]|\*|` + strings.Join(words, "|") + ")$"
	return field.Form{"type": "object", "propertyNames": field.Form{"pattern": keys}, "additionalProperties": field.Targets()}
}

// FanOut are the fields of fan_out.
func FanOut() []field.Field {
	return []field.Field{
		{Name: "source", Form: field.Text(), Doc: "The variable that holds the list."},
		{Name: "items", Form: field.AnyOf(field.ListOf(field.Form{}), field.Pattern(field.Template)), Doc: "The list itself."},
		{Name: "item_var", Form: field.Name(), Doc: "The variable that holds the item."},
		{Name: "max_parallel", Form: field.Whole(0, plan.MaxItems), Doc: "How many items run at once; 0 means no limit. Of jobs no more than 500 do."},
		{Name: "fail_fast", Form: field.Flag(), Doc: "Cancels the other items when one has failed."},
		{Name: "min_success", Form: field.AnyOf(field.Whole(0, plan.MaxItems), field.Pattern(`^[0-9]+%$`)), Doc: "How many items must complete, or how many of a hundred with %."},
		{Name: "fork_job_type", Form: field.Text(), Doc: "Submits this job for each item."},
		{Name: "fork_job_version", Form: field.Name(), Doc: "Its version, or a range such as ^1.2."},
	}
}

// Approval are the fields of an approval policy.
func Approval() []field.Field {
	people := func() field.Form { return field.OneOrMore(field.Text()) }
	return []field.Field{
		{Name: "min_approvals", Form: field.Whole(1, 1000), Doc: "How many have to approve."},
		{Name: "allowed_users", Form: people(), Doc: "Who may vote: names in a list, or with commas."},
		{Name: "allowed_roles", Form: people(), Doc: "Roles that may vote: names in a list, or with commas."},
		{Name: "require_unanimous", Form: field.Flag(), Doc: "One rejection is enough to refuse."},
		{Name: "allow_self_approval", Form: field.Flag(), Doc: "Lets the submitter of the job vote."},
		{Name: "sla_deadline", Form: field.Duration(), Doc: "The time to decide in."},
		{Name: "timeout_action", Form: field.Word(plan.AutoApprove, plan.AutoReject, plan.Escalate), Doc: "What happens when nobody decides in time."},
		{Name: "escalation_recipients", Form: people(), Doc: "Who hears of it with ESCALATE."},
		{Name: "escalation_message", Form: field.Text(), Doc: "What they are told."},
	}
}

// SubWorkflow are the fields of sub_workflow.
func SubWorkflow() []field.Field {
	return []field.Field{
		{Name: "input_params", Form: field.Variables(), Doc: "Parameters of the child."},
		{Name: "output_variables", Form: field.AnyOf(field.MapOf(field.Text()), field.ListOf(field.AnyOf(field.Text(), field.Ref("variable")))), Doc: "Outputs of the child (name) that become outputs of the task (value)."},
		{Name: "wait_for_completion", Form: field.Flag(), Doc: "The task ends when the child does, and as it does."},
		{Name: "cascade_cancel", Form: field.Flag(), Doc: "Cancels the child when the parent is cancelled."},
	}
}

// RetryOn are the fields of retry_on.
func RetryOn() []field.Field {
	budget := func() field.Form { return field.AnyOf(field.Whole(0, MaxRetry), field.Flag()) }
	return []field.Field{
		{Name: "codes", Form: field.OneOrMore(field.Name()), Doc: "Exit codes, statuses or ranges that use up retry; * for all."},
		{Name: "user", Form: field.Flag(), Doc: "Failures of the task itself use up retry, whatever their code."},
		{Name: "timeout", Form: budget(), Doc: "Timeouts: a number of their own, or true to use up retry."},
		{Name: "oom", Form: budget(), Doc: "Ends for lack of memory: a number of their own, or true to use up retry."},
		{Name: "infra", Form: budget(), Doc: "Lost attempts: a number of their own, 3 when not given, or true to use up retry."},
	}
}

// Output are the fields of an output.
func Output() []field.Field {
	return []field.Field{
		{Name: "name", Form: field.Name(), Doc: "The name of the output."},
		{Name: "type", Form: field.Form{"enum": field.Anys(OutputTypes())}, Doc: "Its type; string when not given."},
		{Name: "required", Form: field.Flag(), Doc: "The task fails without it."},
		{Name: "enum", Form: field.OneOrMore(field.Text()), Doc: "The texts that it may be."},
		{Name: "description", Form: field.Text(), Doc: "Text for people."},
	}
}

// Secret are the fields of a secret.
func Secret() []field.Field {
	return []field.Field{
		{Name: "name", Form: field.Text(), Doc: "The name of the secret."},
		{Name: "env", Form: field.Text(), Doc: "The variable that it is delivered in."},
		{Name: "file", Form: field.Text(), Doc: "The path in the working directory that it is delivered in."},
	}
}
