package schema

import (
	"github.com/formicary/formicary/libs/jobspec/field"
	"github.com/formicary/formicary/libs/jobspec/notify"
	"github.com/formicary/formicary/libs/jobspec/read"
	"github.com/formicary/formicary/libs/jobspec/schedule"
	"github.com/formicary/formicary/libs/jobspec/value"
)

// Job are the fields of a definition.
func Job() []field.Field {
	fields := []field.Field{
		{Name: "job_type", Form: field.Form{"type": "string", "pattern": `^[A-Za-z0-9_][A-Za-z0-9_.-]*$`, "maxLength": value.MaxName}, Doc: "The name of the job; of a plugin in reverse-DNS style."},
		{Name: "description", Form: field.Text(), Doc: "Text for people."},
		{Name: "sem_version", Form: field.Name(), Doc: "The version for people, such as 1.2.3 or 1.2.3-rc1."},
		{Name: "version", Form: field.Name(), Doc: "Ignored: versions are counted by the server."},
		{Name: "url", Form: field.Text(), Doc: "A link for people."},
		{Name: "platform", Form: field.Text(), Doc: "A label that error rules can ask for."},
		{Name: "disabled", Form: field.Flag(), Doc: "Refuses new requests."},
		{Name: "public_plugin", Form: field.Flag(), Doc: "Lets other organisations fork the job; needs sem_version and a job_type of three dotted parts."},
		{Name: "max_concurrency", Form: field.Whole(0, schedule.MaxConcurrency), Doc: "How many runs there may be at once; 0 means no limit."},
		{Name: "concurrency", Form: field.AnyOf(field.Form{"type": "integer", "minimum": 0}, field.Ref("concurrency")), Doc: "The limit of runs, within a group of them, and what happens beyond it."},
		{Name: "priority", Form: field.Whole(0, 100), Doc: "The order among waiting jobs: 100 goes first, 50 is usual."},
		{Name: "tags", Form: field.AnyOf(field.Text(), field.ListOf(field.Text())), Doc: "Ignored: gathered from the tasks."},
		{Name: "methods", Form: field.AnyOf(field.Text(), field.ListOf(field.Text())), Doc: "Ignored: gathered from the tasks."},
		{Name: "required_params", Form: field.OneOrMore(field.Name()), Doc: "Names of parameters that a request has to give."},
		{Name: "params", Form: field.ListOf(field.Ref("param")), Doc: "The typed parameters."},
		{Name: "job_variables", Form: field.Variables(), Doc: "Variables for all tasks."},
		{Name: "variables", Form: field.Variables(), Doc: "Another name of job_variables; both may be given."},
		{Name: "configs", Form: field.Variables(), Doc: "Variables below job_variables."},
		{Name: "undefined_variables", Form: field.Word(read.UndefinedStrict, read.UndefinedEmpty), Doc: "What a printed variable is that is not set: a fault (strict, when not given) or empty text, as files of the existing system expect."},
		{Name: "dynamic_template_tasks", Form: field.Flag(), Doc: "Says that tasks are made by a template; every definition may do so."},
		{Name: "skip_if", Form: field.Condition(), Doc: "A CEL expression, or a template that renders true: the run is skipped.", Aliases: []string{"filter"}},
		{Name: "fail_fast", Form: field.Flag(), Doc: "Cancels what runs when a task fails the job."},
		{Name: "webhook", Form: notify.WebhookForm(), Doc: "Called with JSON at each change of the job's state."},
		{Name: "notify", Form: field.AnyOf(notify.Form(), field.ListOf(field.Ref("notification"))), Doc: "Who hears of the outcome, by channel."},
		{Name: "resources", Form: field.OneOrMore(field.Ref("resource")), Doc: "Virtual resources that the job needs.", Inactive: true},
		{Name: "triggers", Form: field.OneOrMore(field.Ref("trigger")), Doc: "Events that make requests.", Inactive: true},
		{Name: "tasks", Form: field.Form{"type": "array", "items": field.Ref("task"), "minItems": 1, "maxItems": MaxTasks}, Doc: "The steps."},
	}
	return append(fields, jobTimes()...)
}

// jobTimes are the fields of a definition about time and retries.
func jobTimes() []field.Field {
	days := func() field.Form { return field.Whole(0, read.MaxRetention) }
	return []field.Field{
		{Name: "timeout", Form: field.Duration(), Doc: "The time of one run, 2h when not given."},
		{Name: "timeouts", Form: field.Ref("timeouts"), Doc: "Bounds of the waiting, of one run, of all runs together, and the time to clean up."},
		{Name: "cleanup_timeout", Form: field.Duration(), Doc: "The time of always_run tasks after a failure, timeout or cancel."},
		{Name: "pause_time", Form: field.Duration(), Doc: "How long a paused job waits before it resumes."},
		{Name: "deadline", Form: field.AnyOf(field.Duration(), field.Pattern(`^([01]?[0-9]|2[0-3]):[0-5][0-9]( [A-Za-z0-9_+/-]+)?$`)), Doc: "The goal to be ready by: a time after the submit, or a time of day with a zone.", Inactive: true},
		{Name: "retry", Form: field.Whole(0, MaxRetry), Doc: "How often a failed job is started again, by RESTART_JOB too; that is bounded by 100 when not given."},
		{Name: "hard_reset_after_retries", Form: field.Whole(0, MaxRetry), Doc: "After so many retries completed tasks run again too; 3 when not given, 0 means never."},
		{Name: "delay_between_retries", Form: field.Duration(), Doc: "A constant delay between retries."},
		{Name: "retry_backoff_policy", Form: field.Ref("backoff"), Doc: "A growing delay between retries."},
		{Name: "backoff", Form: field.Ref("backoff"), Doc: "Another name of retry_backoff_policy."},
		{Name: "cron_trigger", Form: schedule.CronForm(), Doc: "When the job is started, as cron text of 5 to 7 fields.", Inactive: true},
		{Name: "schedule", Form: field.OneOrMore(field.Ref("schedule")), Doc: "When the job is started, with zone, overlap and catch-up.", Inactive: true},
		{Name: "retention_days_for_failed", Form: days(), Doc: "Days that failed runs are kept.", Inactive: true},
		{Name: "retention_days_for_completed", Form: days(), Doc: "Days that completed runs are kept.", Inactive: true},
		{Name: "retention_days_for_cancelled", Form: days(), Doc: "Days that cancelled runs are kept.", Inactive: true},
	}
}

// Timeouts are the fields of timeouts.
func Timeouts() []field.Field {
	return []field.Field{
		{Name: "pending", Form: field.Duration(), Doc: "The longest wait before the start."},
		{Name: "run", Form: field.Duration(), Doc: "The longest run or attempt; timeout is the short form."},
		{Name: "total", Form: field.Duration(), Doc: "All runs or attempts together, waits included."},
		{Name: "grace", Form: field.Duration(), Doc: "From TERM to KILL."},
	}
}

// Backoff are the fields of a growing delay.
func Backoff() []field.Field {
	return []field.Field{
		{Name: "min", Form: field.Duration(), Doc: "The first delay."},
		{Name: "max", Form: field.Duration(), Doc: "The longest delay."},
		{Name: "factor", Form: field.Number(1, 1000), Doc: "What each delay is multiplied with, 2 when not given."},
		{Name: "jitter", Form: field.Flag(), Doc: "Spreads the delays."},
	}
}

func variables() []field.Field {
	return []field.Field{
		{Name: "name", Form: field.Name(), Doc: "The name of the variable."},
		{Name: "value", Form: field.Form{}, Doc: "Its value."},
		{Name: "kind", Form: field.Text(), Doc: "Ignored: the type follows from the value."},
		{Name: "secret", Form: field.Flag(), Doc: "Marks a secret; not supported yet."},
	}
}

// Resource are the fields of a virtual resource.
func Resource() []field.Field {
	return []field.Field{
		{Name: "resource_type", Form: field.Text(), Doc: "The type of the resource."},
		{Name: "description", Form: field.Text(), Doc: "Text for people."},
		{Name: "platform", Form: field.Text(), Doc: "The platform that it must have."},
		{Name: "category", Form: field.Text(), Doc: "The category that it must have."},
		{Name: "tags", Form: field.OneOrMore(field.Text()), Doc: "Tags that it must have."},
		{Name: "value", Form: field.Whole(1, MaxResource), Doc: "How much of it, 1 when not given."},
		{Name: "extract_config", Form: field.Ref("extract_config"), Doc: "Which of its properties become variables."},
	}
}

// Extract are the fields of extract_config.
func Extract() []field.Field {
	return []field.Field{
		{Name: "properties", Form: field.OneOrMore(field.Text()), Doc: "Names of properties."},
		{Name: "context_prefix", Form: field.Text(), Doc: "What is put before the names of the variables."},
	}
}
