package jobspec

import "strings"

// The fields of the language. The first list of each level is what this version reads, the second what it knows of but
// does not do yet: ignoring those would run a job in another way than it says.

func jobFields() []string {
	return strings.Fields(`job_type description sem_version version url platform disabled timeout timeouts retry
		delay_between_retries retry_backoff_policy backoff max_concurrency priority fail_fast cleanup_timeout pause_time
		job_variables params required_params skip_if dynamic_template_tasks tasks tags methods`)
}

func unsupportedJobFields() []string {
	return strings.Fields(`cron_trigger schedule hard_reset_after_retries retention_days_for_failed
		retention_days_for_completed retention_days_for_cancelled public_plugin webhook notify resources triggers
		concurrency deadline configs variables`)
}

func taskFields() []string {
	return strings.Fields(`task_type description method tags slots before_script script after_script environment variables
		working_dir timeout timeouts retry delay_between_retries retry_backoff_policy backoff allow_failure always_run
		allow_start_if_completed execution on_completed on_failed on_exit_code dependencies depends_on except url headers
		query report_stdout cpu_limit memory_limit container`)
}

func unsupportedTaskFields() []string {
	return strings.Fields(`host_network webhook approval_policy resources job_version artifact_ids fork_job_type
		fork_job_version await_forked_tasks messaging_request_queue messaging_reply_queue sub_workflow fan_out matrix when
		retry_on outputs secrets name helper_environment artifacts_dir artifacts cache_dir cache dependent_artifact_ids helper
		services privileged affinity node_selector node_tolerations pod_labels pod_annotations network_mode
		artifact_key_prefix cost_factor execute_command_without_shell debug`)
}

// Of the container, a shell task uses the limits.
func containerFields() []string { return []string{"cpu_limit", "memory_limit"} }

func unsupportedContainerFields() []string {
	return strings.Fields(`image imageDefinition volumes volume_driver volumes_from devices bind_dir cpu_request
		memory_request ephemeral_storage_limit ephemeral_storage_request service_account env_from env_value_from`)
}

// misspelling returns the right name of a field that is found misspelled in the wild, or the name itself.
func misspelling(level, name string) string {
	switch level + "." + name {
	case "task.task_variables":
		return "variables"
	case "job.filter":
		return "skip_if"
	}
	return name
}

// unknownField reports a key that is not read.
func (r *reader) unknownField(p *pair, unsupported, known []string) {
	if r.c.full() {
		return
	}
	for _, name := range unsupported {
		if p.key == name {
			r.add(p.line, p.column, CodeUnsupportedField, "the field "+name+" is not supported yet", "a definition without it")
			return
		}
	}
	expected := "a field of the language"
	if near := r.c.suggest(p.key, known); near != "" {
		expected = near
	}
	r.add(p.line, p.column, CodeUnknownField, "the field "+quoteName(p.key)+" is not known", expected)
}

// misspelled warns of a misspelled key and returns the name that was meant.
func (r *reader) misspelled(p *pair, level string) string {
	name := misspelling(level, p.key)
	if name != p.key {
		r.warn(p.line, p.column, CodeMisspelledField, "the field "+p.key+" is misspelled", name)
	}
	return name
}
