package jobspec

import (
	"github.com/formicary/formicary/libs/jobspec/field"
	"github.com/formicary/formicary/libs/jobspec/plan"
	"github.com/formicary/formicary/libs/jobspec/read"
	"github.com/formicary/formicary/libs/jobspec/value"
)

// jobTable are the fields of a definition.
func jobTable() []field.Field {
	fields := []field.Field{
		{Name: "job_type", Form: field.Form{"type": "string", "pattern": `^[A-Za-z0-9_][A-Za-z0-9_.-]*$`, "maxLength": value.MaxName}, Doc: "The name of the job; of a plugin in reverse-DNS style."},
		{Name: "description", Form: field.Text(), Doc: "Text for people."},
		{Name: "sem_version", Form: field.Name(), Doc: "The version for people, such as 1.2.3 or 1.2.3-rc1."},
		{Name: "version", Form: field.Name(), Doc: "Ignored: versions are counted by the server."},
		{Name: "url", Form: field.Text(), Doc: "A link for people."},
		{Name: "platform", Form: field.Text(), Doc: "A label that error rules can ask for."},
		{Name: "disabled", Form: field.Flag(), Doc: "Refuses new requests."},
		{Name: "public_plugin", Form: field.Flag(), Doc: "Lets other organisations fork the job; needs sem_version and a job_type of three dotted parts."},
		{Name: "max_concurrency", Form: field.Whole(0, maxConcurrency), Doc: "How many runs there may be at once; 0 means no limit."},
		{Name: "concurrency", Form: field.AnyOf(field.Form{"type": "integer", "minimum": 0}, field.Ref("concurrency")), Doc: "The limit of runs, within a group of them, and what happens beyond it."},
		{Name: "priority", Form: field.Whole(0, 100), Doc: "The order among waiting jobs: 100 goes first, 50 is usual."},
		{Name: "tags", Form: field.AnyOf(field.Text(), field.ListOf(field.Text())), Doc: "Ignored: gathered from the tasks."},
		{Name: "methods", Form: field.AnyOf(field.Text(), field.ListOf(field.Text())), Doc: "Ignored: gathered from the tasks."},
		{Name: "required_params", Form: field.OneOrMore(field.Name()), Doc: "Names of parameters that a request has to give."},
		{Name: "params", Form: field.ListOf(field.Ref("param")), Doc: "The typed parameters."},
		{Name: "job_variables", Form: field.Variables(), Doc: "Variables for all tasks."},
		{Name: "variables", Form: field.Variables(), Doc: "Another name of job_variables; both may be given."},
		{Name: "configs", Form: field.Variables(), Doc: "Variables below job_variables."},
		{Name: "undefined_variables", Form: field.Word(UndefinedStrict, UndefinedEmpty), Doc: "What a printed variable is that is not set: a fault (strict, when not given) or empty text, as files of the existing system expect."},
		{Name: "dynamic_template_tasks", Form: field.Flag(), Doc: "Says that tasks are made by a template; every definition may do so."},
		{Name: "skip_if", Form: field.Condition(), Doc: "A CEL expression, or a template that renders true: the run is skipped.", Aliases: []string{"filter"}},
		{Name: "fail_fast", Form: field.Flag(), Doc: "Cancels what runs when a task fails the job."},
		{Name: "webhook", Form: webhookForm(), Doc: "Called with JSON at each change of the job's state."},
		{Name: "notify", Form: field.AnyOf(notifyMap(), field.ListOf(field.Ref("notification"))), Doc: "Who hears of the outcome, by channel."},
		{Name: "resources", Form: field.OneOrMore(field.Ref("resource")), Doc: "Virtual resources that the job needs.", Inactive: true},
		{Name: "triggers", Form: field.OneOrMore(field.Ref("trigger")), Doc: "Events that make requests.", Inactive: true},
		{Name: "tasks", Form: field.Form{"type": "array", "items": field.Ref("task"), "minItems": 1, "maxItems": maxTasks}, Doc: "The steps."},
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
		{Name: "retry", Form: field.Whole(0, maxRetry), Doc: "How often a failed job is started again, by RESTART_JOB too; that is bounded by 100 when not given."},
		{Name: "hard_reset_after_retries", Form: field.Whole(0, maxRetry), Doc: "After so many retries completed tasks run again too; 3 when not given, 0 means never."},
		{Name: "delay_between_retries", Form: field.Duration(), Doc: "A constant delay between retries."},
		{Name: "retry_backoff_policy", Form: field.Ref("backoff"), Doc: "A growing delay between retries."},
		{Name: "backoff", Form: field.Ref("backoff"), Doc: "Another name of retry_backoff_policy."},
		{Name: "cron_trigger", Form: cronForm(), Doc: "When the job is started, as cron text of 5 to 7 fields.", Inactive: true},
		{Name: "schedule", Form: field.OneOrMore(field.Ref("schedule")), Doc: "When the job is started, with zone, overlap and catch-up.", Inactive: true},
		{Name: "retention_days_for_failed", Form: days(), Doc: "Days that failed runs are kept.", Inactive: true},
		{Name: "retention_days_for_completed", Form: days(), Doc: "Days that completed runs are kept.", Inactive: true},
		{Name: "retention_days_for_cancelled", Form: days(), Doc: "Days that cancelled runs are kept.", Inactive: true},
	}
}

func cronForm() field.Form {
	return field.Form{"type": "string", "pattern": `^\s*(@[A-Za-z0-9]+|\S+(\s+\S+){4,6})\s*$`}
}

func webhookForm() field.Form { return field.AnyOf(field.Pattern(`^https?://`), field.Ref("webhook")) }

func notifyMap() field.Form {
	properties := field.Form{}
	for _, channel := range plan.Channels() {
		properties[channel] = field.AnyOf(field.OneOrMore(field.Text()), field.Ref("notify"))
	}
	properties[read.NotifyExcept] = field.Described(field.Condition(), "A condition under which nobody is told, asked at the launch.", false)
	return field.Form{"type": "object", "properties": properties, "additionalProperties": false}
}

func concurrencyFields() []field.Field {
	return []field.Field{
		{Name: "limit", Form: field.Whole(0, maxConcurrency), Doc: "How many runs there may be at once; 0 means no limit."},
		{Name: "key", Form: field.Text(), Doc: "A template: the limit is for runs with the same text.", Inactive: true},
		{Name: "on_conflict", Form: field.Word(plan.Conflicts()...), Doc: "What happens to a run beyond the limit; queue when not given.", Inactive: true, Idle: plan.ConflictQueue},
	}
}

func timeoutFields() []field.Field {
	return []field.Field{
		{Name: "pending", Form: field.Duration(), Doc: "The longest wait before the start."},
		{Name: "run", Form: field.Duration(), Doc: "The longest run or attempt; timeout is the short form."},
		{Name: "total", Form: field.Duration(), Doc: "All runs or attempts together, waits included."},
		{Name: "grace", Form: field.Duration(), Doc: "From TERM to KILL."},
	}
}

func backoffFields() []field.Field {
	return []field.Field{
		{Name: "min", Form: field.Duration(), Doc: "The first delay."},
		{Name: "max", Form: field.Duration(), Doc: "The longest delay."},
		{Name: "factor", Form: field.Number(1, 1000), Doc: "What each delay is multiplied with, 2 when not given."},
		{Name: "jitter", Form: field.Flag(), Doc: "Spreads the delays."},
	}
}

func variableFields() []field.Field {
	return []field.Field{
		{Name: "name", Form: field.Name(), Doc: "The name of the variable."},
		{Name: "value", Form: field.Form{}, Doc: "Its value."},
		{Name: "kind", Form: field.Text(), Doc: "Ignored: the type follows from the value."},
		{Name: "secret", Form: field.Flag(), Doc: "Marks a secret; not supported yet."},
	}
}

func paramFields() []field.Field {
	return []field.Field{
		{Name: "name", Form: field.Name(), Doc: "The name of the parameter."},
		{Name: "type", Form: field.Form{"enum": field.Anys(paramTypes())}, Doc: "Its type; string when not given."},
		{Name: "default", Form: field.Form{}, Doc: "The value when a request gives none."},
		{Name: "required", Form: field.Flag(), Doc: "A request has to give it."},
		{Name: "pattern", Form: field.Literal(maxPattern), Doc: "A regular expression (RE2) for the whole text."},
		{Name: "enum", Form: field.OneOrMore(field.Text()), Doc: "The values that are allowed."},
		{Name: "description", Form: field.Text(), Doc: "Text for people."},
	}
}

func webhookFields() []field.Field {
	return []field.Field{
		{Name: "url", Form: field.Pattern(`^https?://`), Doc: "What is called by POST."},
		{Name: "headers", Form: field.Texts(), Doc: "Headers of the call."},
		{Name: "query", Form: field.Texts(), Doc: "Parameters of the URL."},
	}
}

func notifyFields() []field.Field {
	return []field.Field{
		{Name: "recipients", Form: field.OneOrMore(field.Text()), Doc: "Addresses, Slack channels or URLs."},
		{Name: "when", Form: momentsForm(), Doc: "After which outcomes; always when not given."},
	}
}

func notificationFields() []field.Field {
	return append([]field.Field{{Name: "channel", Form: field.Word(plan.Channels()...), Doc: "How it is sent."}}, notifyFields()...)
}

func resourceFields() []field.Field {
	return []field.Field{
		{Name: "resource_type", Form: field.Text(), Doc: "The type of the resource."},
		{Name: "description", Form: field.Text(), Doc: "Text for people."},
		{Name: "platform", Form: field.Text(), Doc: "The platform that it must have."},
		{Name: "category", Form: field.Text(), Doc: "The category that it must have."},
		{Name: "tags", Form: field.OneOrMore(field.Text()), Doc: "Tags that it must have."},
		{Name: "value", Form: field.Whole(1, maxResource), Doc: "How much of it, 1 when not given."},
		{Name: "extract_config", Form: field.Ref("extract_config"), Doc: "Which of its properties become variables."},
	}
}

func extractFields() []field.Field {
	return []field.Field{
		{Name: "properties", Form: field.OneOrMore(field.Text()), Doc: "Names of properties."},
		{Name: "context_prefix", Form: field.Text(), Doc: "What is put before the names of the variables."},
	}
}

func scheduleFields() []field.Field {
	return []field.Field{
		{Name: "cron", Form: cronForm(), Doc: "Cron text of 5 to 7 fields, or a name such as @daily."},
		{Name: "timezone", Form: field.Literal(value.MaxName), Doc: "A name of the IANA database; UTC when not given."},
		{Name: "overlap", Form: field.Word(overlaps()...), Doc: "What happens when the last run has not ended; queue when not given."},
		{Name: "catch_up", Form: field.Word(catchUps()...), Doc: "Which missed runs are made up for; none when not given."},
		{Name: "calendar", Form: field.Literal(value.MaxName), Doc: "A calendar of days without runs."},
	}
}

func triggerFields() []field.Field {
	return []field.Field{
		{Name: "type", Form: field.Word(triggerTypes()...), Doc: "Where the events come from."},
		{Name: "name", Form: field.Name(), Doc: "Unique in the definition."},
		{Name: "params", Form: field.Texts(), Doc: "Parameters of the request, templates over the event."},
		{Name: "filter", Form: field.Text(), Doc: "A template that renders true for events that count."},
		{Name: "dedup_key", Form: field.Text(), Doc: "A template: events with the same text make one request."},
		{Name: "rate_limit", Form: field.Ref("rate_limit"), Doc: "How many requests at most."},
		{Name: "path", Form: field.Text(), Doc: "webhook: the path below the trigger's own."},
		{Name: "auth", Form: field.Ref("trigger_auth"), Doc: "webhook: who may call."},
		{Name: "mode", Form: field.Word(s3Modes()...), Doc: "s3: poll, or be told."},
		{Name: "bucket", Form: field.Text(), Doc: "s3: the bucket."},
		{Name: "prefix", Form: field.Text(), Doc: "s3: how keys begin."},
		{Name: "suffix", Form: field.Text(), Doc: "s3: how keys end."},
		{Name: "poll_interval", Form: field.Duration(), Doc: "s3: between two polls, 30s when not given."},
		{Name: "topic", Form: field.Text(), Doc: "s3 and queue: the subject to listen on."},
		{Name: "group", Form: field.Text(), Doc: "queue: listeners that share messages."},
		{Name: "shared", Form: field.Flag(), Doc: "queue: messages are shared with other listeners of the group."},
	}
}

func rateFields() []field.Field {
	return []field.Field{
		{Name: "max", Form: field.Whole(1, maxRate), Doc: "How many requests in a window."},
		{Name: "window", Form: field.Duration(), Doc: "The length of the window."},
	}
}

func authFields() []field.Field {
	return []field.Field{
		{Name: "method", Form: field.Word(authMethods()...), Doc: "How a call is authenticated."},
		{Name: "secret_config", Form: field.Text(), Doc: "The config that holds the secret."},
		{Name: "header", Form: field.Text(), Doc: "The header with the signature or key."},
	}
}
