// Package errorcode keeps the codes that failures have, and the rules by which an organisation gives failures of tasks
// its own codes and actions.
//
// Rules travel with the launch of a run, so a run keeps those that it began with. They change rarely and are needed at
// every launch: what a job type gets is cached, and a counter of changes, which the store reads together with the
// requests to launch, says when the cache is outdated.
package errorcode

import (
	"context"
	"slices"
	"strconv"
	"time"

	"github.com/google/uuid"

	"github.com/formicary/formicary/libs/errs"
	"github.com/formicary/formicary/libs/jobspec/errorrule"
)

// Rule is a stored rule.
type Rule struct {
	ID    uuid.UUID
	OrgID string
	errorrule.Rule
	// Description is for operators.
	Description string
	UpdatedAt   time.Time
	UpdatedBy   string
}

// MaxRules bounds the rules of an organisation: all that fit travel with every launch.
const MaxRules = 1000

// Store keeps rules. Every change of them is counted.
type Store interface {
	// Rules returns those of an organisation, the oldest first.
	Rules(ctx context.Context, org string) ([]Rule, error)
	// Save stores a rule: a new one while the organisation has fewer than limit when its id is nil.
	Save(ctx context.Context, r Rule, limit int) (Rule, error)
	Delete(ctx context.Context, org string, id uuid.UUID) error
}

// NotFound is the error for a rule that does not exist for this caller.
func NotFound(id uuid.UUID) error {
	return errs.NotFound("ERROR_CODE_NOT_FOUND", "no error code %s", id)
}

// applies says whether a rule can fit failures of a job type.
func (r *Rule) applies(jobType string) bool {
	return r.JobType == "" || r.JobType == "*" || r.JobType == jobType
}

// sorted puts the most specific rules first.
func sorted(rules []Rule) []Rule {
	// The rank of a rule follows from its conditions, so its code can carry the place that it had.
	keys := make([]errorrule.Rule, len(rules))
	for i := range rules {
		keys[i] = rules[i].Rule
		keys[i].ErrorCode = strconv.Itoa(i)
	}
	errorrule.Sort(keys)
	out := make([]Rule, len(rules))
	for i := range keys {
		place, _ := strconv.Atoi(keys[i].ErrorCode) // written above
		out[i] = rules[place]
	}
	return out
}

// of returns the rules that apply to a job type.
func of(rules []Rule, jobType string) []Rule {
	return slices.DeleteFunc(slices.Clone(rules), func(r Rule) bool { return !r.applies(jobType) })
}
