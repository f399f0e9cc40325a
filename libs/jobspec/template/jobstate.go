package template

import "github.com/formicary/formicary/libs/jobspec/value"

// States that JobState can have.
const (
	jobExecuting = "EXECUTING"
	JobFailed    = "FAILED"
	JobCancelled = "CANCELLED"
)

// Variables that tell of the job.
const (
	VarJobState = "JobState"
	varJob      = "job"
)

// SetJob adds what templates and conditions know of the job at this moment. A variable `job` of the run stays as it is,
// which is why lint does not trust it as it trusts JobState.
// state is EXECUTING; FAILED or CANCELLED once the job will end so; COMPLETED when nothing is left of it but clean-up.
// Templates see it as {{.JobState}}, and, as conditions do, as {{.job.state}}, {{.job.failed}} and {{.job.cancelled}}.
func SetJob(v value.Vars, state string) {
	v[VarJobState] = state
	if _, given := v[varJob]; !given {
		v[varJob] = map[string]any{"state": state, "failed": state == JobFailed, "cancelled": state == JobCancelled}
	}
}
