package plan

// MaxRestarts is how often RESTART_TASK starts a task again, and RESTART_JOB a job, where no retry is written, and how
// often a job pauses itself by PAUSE_JOB in any case.
const MaxRestarts = 100

// Restarts is how many times something that has written a retry, or none, may be started again by an action.
func Restarts(retry int, given bool) int {
	if given || retry > 0 {
		return retry
	}
	return MaxRestarts
}
