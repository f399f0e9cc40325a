package template

// BuiltinDoc documents one built-in variable, or one kind of those that tasks set: a part of docs/language.md is made of these.
type BuiltinDoc struct {
	// Name, or the pattern of names with what varies in braces.
	Name string
	Doc  string
	// Known says from when on.
	Known string
}

// BuiltinTable lists the variables of the engine.
func BuiltinTable() []BuiltinDoc {
	const launch, claim, after = "launch", "start of the task", "end of that task"
	return []BuiltinDoc{
		{"JobID", "The id of the request.", launch},
		{"JobType", "The name of the job.", "always"},
		{"JobRetry", "The number of retries and pauses of the job, 0 at first.", claim},
		{"JobElapsedSecs", "Seconds since the run began.", claim},
		{"JobState", "What becomes of the job as it stands: `EXECUTING`, `FAILED`, `CANCELLED`, `COMPLETED`.", claim},
		{"UserID", "Who submitted the job; may be empty.", launch},
		{"OrganizationID", "Whose job it is; may be empty.", launch},
		{"TaskType", "The name of the task.", "in its section"},
		{"TaskRetry", "The number of the attempt, 0 for the first.", claim},
		{"FanOutIndex", "The number of the item, from 0.", "start of the item"},
		{"DateYear", "The year of the launch (UTC), a number; so are the next three.", launch},
		{"DateMonth", "The month, from 1.", launch},
		{"DateDay", "The day of the month.", launch},
		{"YearDay", "The day of the year.", launch},
		{"FullDate", "The same day as 2006-01-02.", launch},
		{"EpochSecs", "Seconds since 1970 at the launch; what `now` and `Random` rest on.", launch},
		{"WorkflowVersion", "The number of the definition's version.", launch},
		{"UnescapeHTML", "False unless given; values are never escaped, so it changes nothing.", launch},
		{"debug", "False unless given; for scripts.", launch},
		{"log_interval", "Empty unless given; for scripts.", launch},
		{"{task}-status", "How a task ended: `{{index . \"build-status\"}}`; in conditions `tasks.build.state`.", after},
		{"{task}_result", "The body of an HTTP task; of a JSON object `{{.call_result.id}}` is a field.", after},
		{"{task}.ForkedJobID", "The id of the job that a FORK_JOB task submitted: `{{.fork.ForkedJobID}}`, or `{{index . \"my-fork.ForkedJobID\"}}` when the name is no identifier.", after},
		{"{task}_ArtifactURL_{n}", "A URL of the n-th artifact of a task.", after},
		{"{task}_results", "The list of what the items of a fan-out came to.", after},
		{"FanOutItemCount", "How many items the last fan-out had; `FanOutSource` names its list, `FanOutMode` is `task` or `job`.", after},
		{"{item_var}_{index}_{key}", "An output of an item, and its `status`, `exit_code`, `error_code` and `error_message`.", after},
	}
}
