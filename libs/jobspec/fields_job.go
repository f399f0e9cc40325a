package jobspec

import (
	"github.com/formicary/formicary/libs/jobspec/plan"
	"github.com/formicary/formicary/libs/jobspec/value"
)

// jobTable are the fields of a definition.
func jobTable() []field {
	fields := []field{
		{name: "job_type", form: form{"type": "string", "pattern": `^[A-Za-z0-9_][A-Za-z0-9_.-]*$`, "maxLength": value.MaxName}, doc: "The name of the job; of a plugin in reverse-DNS style."},
		{name: "description", form: aText(), doc: "Text for people."},
		{name: "sem_version", form: aName(), doc: "The version for people, such as 1.2.3 or 1.2.3-rc1."},
		{name: "version", form: aName(), doc: "Ignored: versions are counted by the server."},
		{name: "url", form: aText(), doc: "A link for people."},
		{name: "platform", form: aText(), doc: "A label that error rules can ask for."},
		{name: "disabled", form: aFlag(), doc: "Refuses new requests."},
		{name: "public_plugin", form: aFlag(), doc: "Lets other organisations fork the job; needs sem_version and a job_type of three dotted parts."},
		{name: "max_concurrency", form: aWhole(0, maxConcurrency), doc: "How many runs there may be at once; 0 means no limit."},
		{name: "concurrency", form: anyOf(form{"type": "integer", "minimum": 0}, ref("concurrency")), doc: "The limit of runs, within a group of them, and what happens beyond it."},
		{name: "priority", form: aWhole(0, 100), doc: "The order among waiting jobs: 100 goes first, 50 is usual."},
		{name: "tags", form: anyOf(aText(), listOf(aText())), doc: "Ignored: gathered from the tasks."},
		{name: "methods", form: anyOf(aText(), listOf(aText())), doc: "Ignored: gathered from the tasks."},
		{name: "required_params", form: oneOrMore(aName()), doc: "Names of parameters that a request has to give."},
		{name: "params", form: listOf(ref("param")), doc: "The typed parameters."},
		{name: "job_variables", form: variablesForm(), doc: "Variables for all tasks."},
		{name: "variables", form: variablesForm(), doc: "Another name of job_variables; both may be given."},
		{name: "configs", form: variablesForm(), doc: "Variables below job_variables."},
		{name: "undefined_variables", form: aWord(UndefinedStrict, UndefinedEmpty), doc: "What a printed variable is that is not set: a fault (strict, when not given) or empty text, as files of the existing system expect."},
		{name: "dynamic_template_tasks", form: aFlag(), doc: "Says that tasks are made by a template; every definition may do so."},
		{name: "skip_if", form: conditionForm(), doc: "A CEL expression, or a template that renders true: the run is skipped.", aliases: []string{"filter"}},
		{name: "fail_fast", form: aFlag(), doc: "Cancels what runs when a task fails the job."},
		{name: "webhook", form: webhookForm(), doc: "Called with JSON at each change of the job's state."},
		{name: "notify", form: anyOf(notifyMap(), listOf(ref("notification"))), doc: "Who hears of the outcome, by channel."},
		{name: "resources", form: oneOrMore(ref("resource")), doc: "Virtual resources that the job needs.", inactive: true},
		{name: "triggers", form: oneOrMore(ref("trigger")), doc: "Events that make requests.", inactive: true},
		{name: "tasks", form: form{"type": "array", "items": ref("task"), "minItems": 1, "maxItems": maxTasks}, doc: "The steps."},
	}
	return append(fields, jobTimes()...)
}

// jobTimes are the fields of a definition about time and retries.
func jobTimes() []field {
	days := func() form { return aWhole(0, maxRetention) }
	return []field{
		{name: "timeout", form: aDuration(), doc: "The time of one run, 2h when not given."},
		{name: "timeouts", form: ref("timeouts"), doc: "Bounds of the waiting, of one run, of all runs together, and the time to clean up."},
		{name: "cleanup_timeout", form: aDuration(), doc: "The time of always_run tasks after a failure, timeout or cancel."},
		{name: "pause_time", form: aDuration(), doc: "How long a paused job waits before it resumes."},
		{name: "deadline", form: anyOf(aDuration(), pattern(`^([01]?[0-9]|2[0-3]):[0-5][0-9]( [A-Za-z0-9_+/-]+)?$`)), doc: "The goal to be ready by: a time after the submit, or a time of day with a zone.", inactive: true},
		{name: "retry", form: aWhole(0, maxRetry), doc: "How often a failed job is started again, by RESTART_JOB too; that is bounded by 100 when not given."},
		{name: "hard_reset_after_retries", form: aWhole(0, maxRetry), doc: "After so many retries completed tasks run again too; 3 when not given, 0 means never."},
		{name: "delay_between_retries", form: aDuration(), doc: "A constant delay between retries."},
		{name: "retry_backoff_policy", form: ref("backoff"), doc: "A growing delay between retries."},
		{name: "backoff", form: ref("backoff"), doc: "Another name of retry_backoff_policy."},
		{name: "cron_trigger", form: cronForm(), doc: "When the job is started, as cron text of 5 to 7 fields.", inactive: true},
		{name: "schedule", form: oneOrMore(ref("schedule")), doc: "When the job is started, with zone, overlap and catch-up.", inactive: true},
		{name: "retention_days_for_failed", form: days(), doc: "Days that failed runs are kept.", inactive: true},
		{name: "retention_days_for_completed", form: days(), doc: "Days that completed runs are kept.", inactive: true},
		{name: "retention_days_for_cancelled", form: days(), doc: "Days that cancelled runs are kept.", inactive: true},
	}
}

func cronForm() form {
	return form{"type": "string", "pattern": `^\s*(@[A-Za-z0-9]+|\S+(\s+\S+){4,6})\s*$`}
}

func webhookForm() form { return anyOf(pattern(`^https?://`), ref("webhook")) }

func notifyMap() form {
	properties := form{}
	for _, channel := range plan.Channels() {
		properties[channel] = anyOf(oneOrMore(aText()), ref("notify"))
	}
	properties[notifyExcept] = described(conditionForm(), "A condition under which nobody is told, asked at the launch.", false)
	return form{"type": "object", "properties": properties, "additionalProperties": false}
}

func concurrencyFields() []field {
	return []field{
		{name: "limit", form: aWhole(0, maxConcurrency), doc: "How many runs there may be at once; 0 means no limit."},
		{name: "key", form: aText(), doc: "A template: the limit is for runs with the same text.", inactive: true},
		{name: "on_conflict", form: aWord(plan.Conflicts()...), doc: "What happens to a run beyond the limit; queue when not given.", inactive: true, idle: plan.ConflictQueue},
	}
}

func timeoutFields() []field {
	return []field{
		{name: "pending", form: aDuration(), doc: "The longest wait before the start."},
		{name: "run", form: aDuration(), doc: "The longest run or attempt; timeout is the short form."},
		{name: "total", form: aDuration(), doc: "All runs or attempts together, waits included."},
		{name: "grace", form: aDuration(), doc: "From TERM to KILL."},
	}
}

func backoffFields() []field {
	return []field{
		{name: "min", form: aDuration(), doc: "The first delay."},
		{name: "max", form: aDuration(), doc: "The longest delay."},
		{name: "factor", form: aNumber(1, 1000), doc: "What each delay is multiplied with, 2 when not given."},
		{name: "jitter", form: aFlag(), doc: "Spreads the delays."},
	}
}

func variableFields() []field {
	return []field{
		{name: "name", form: aName(), doc: "The name of the variable."},
		{name: "value", form: form{}, doc: "Its value."},
		{name: "kind", form: aText(), doc: "Ignored: the type follows from the value."},
		{name: "secret", form: aFlag(), doc: "Marks a secret; not supported yet."},
	}
}

func paramFields() []field {
	return []field{
		{name: "name", form: aName(), doc: "The name of the parameter."},
		{name: "type", form: form{"enum": anys(paramTypes())}, doc: "Its type; string when not given."},
		{name: "default", form: form{}, doc: "The value when a request gives none."},
		{name: "required", form: aFlag(), doc: "A request has to give it."},
		{name: "pattern", form: written(maxPattern), doc: "A regular expression (RE2) for the whole text."},
		{name: "enum", form: oneOrMore(aText()), doc: "The values that are allowed."},
		{name: "description", form: aText(), doc: "Text for people."},
	}
}

func webhookFields() []field {
	return []field{
		{name: "url", form: pattern(`^https?://`), doc: "What is called by POST."},
		{name: "headers", form: texts(), doc: "Headers of the call."},
		{name: "query", form: texts(), doc: "Parameters of the URL."},
	}
}

func notifyFields() []field {
	return []field{
		{name: "recipients", form: oneOrMore(aText()), doc: "Addresses, Slack channels or URLs."},
		{name: "when", form: momentsForm(), doc: "After which outcomes; always when not given."},
	}
}

func notificationFields() []field {
	return append([]field{{name: "channel", form: aWord(plan.Channels()...), doc: "How it is sent."}}, notifyFields()...)
}

func resourceFields() []field {
	return []field{
		{name: "resource_type", form: aText(), doc: "The type of the resource."},
		{name: "description", form: aText(), doc: "Text for people."},
		{name: "platform", form: aText(), doc: "The platform that it must have."},
		{name: "category", form: aText(), doc: "The category that it must have."},
		{name: "tags", form: oneOrMore(aText()), doc: "Tags that it must have."},
		{name: "value", form: aWhole(1, maxResource), doc: "How much of it, 1 when not given."},
		{name: "extract_config", form: ref("extract_config"), doc: "Which of its properties become variables."},
	}
}

func extractFields() []field {
	return []field{
		{name: "properties", form: oneOrMore(aText()), doc: "Names of properties."},
		{name: "context_prefix", form: aText(), doc: "What is put before the names of the variables."},
	}
}

func scheduleFields() []field {
	return []field{
		{name: "cron", form: cronForm(), doc: "Cron text of 5 to 7 fields, or a name such as @daily."},
		{name: "timezone", form: written(value.MaxName), doc: "A name of the IANA database; UTC when not given."},
		{name: "overlap", form: aWord(overlaps()...), doc: "What happens when the last run has not ended; queue when not given."},
		{name: "catch_up", form: aWord(catchUps()...), doc: "Which missed runs are made up for; none when not given."},
		{name: "calendar", form: written(value.MaxName), doc: "A calendar of days without runs."},
	}
}

func triggerFields() []field {
	return []field{
		{name: "type", form: aWord(triggerTypes()...), doc: "Where the events come from."},
		{name: "name", form: aName(), doc: "Unique in the definition."},
		{name: "params", form: texts(), doc: "Parameters of the request, templates over the event."},
		{name: "filter", form: aText(), doc: "A template that renders true for events that count."},
		{name: "dedup_key", form: aText(), doc: "A template: events with the same text make one request."},
		{name: "rate_limit", form: ref("rate_limit"), doc: "How many requests at most."},
		{name: "path", form: aText(), doc: "webhook: the path below the trigger's own."},
		{name: "auth", form: ref("trigger_auth"), doc: "webhook: who may call."},
		{name: "mode", form: aWord(s3Modes()...), doc: "s3: poll, or be told."},
		{name: "bucket", form: aText(), doc: "s3: the bucket."},
		{name: "prefix", form: aText(), doc: "s3: how keys begin."},
		{name: "suffix", form: aText(), doc: "s3: how keys end."},
		{name: "poll_interval", form: aDuration(), doc: "s3: between two polls, 30s when not given."},
		{name: "topic", form: aText(), doc: "s3 and queue: the subject to listen on."},
		{name: "group", form: aText(), doc: "queue: listeners that share messages."},
		{name: "shared", form: aFlag(), doc: "queue: messages are shared with other listeners of the group."},
	}
}

func rateFields() []field {
	return []field{
		{name: "max", form: aWhole(1, maxRate), doc: "How many requests in a window."},
		{name: "window", form: aDuration(), doc: "The length of the window."},
	}
}

func authFields() []field {
	return []field{
		{name: "method", form: aWord(authMethods()...), doc: "How a call is authenticated."},
		{name: "secret_config", form: aText(), doc: "The config that holds the secret."},
		{name: "header", form: aText(), doc: "The header with the signature or key."},
	}
}
