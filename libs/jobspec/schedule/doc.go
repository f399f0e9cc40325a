// Package schedule is when runs of a job start and how long they are kept: schedules, the deadline, the limit of runs at
// once, and the retention.
package schedule
