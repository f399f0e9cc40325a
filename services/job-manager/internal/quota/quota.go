// Package quota bounds what an organisation takes of a colony: how much waits, how much runs and how often it calls. What
// is not bounded may be taken without end. The bounds are kept here and held where the thing happens: by the submission, by
// the scheduler's gate and by the gateway.
package quota

import (
	"context"
	"slices"
	"strings"
	"time"

	"github.com/formicary/formicary/libs/errs"
)

// The names of quotas.
const (
	Queued  = "queued"           // requests that are PENDING
	Running = "running"          // requests that are READY or EXECUTING
	Calls   = "calls_per_second" // to the API, in the long run
)

type kind struct {
	name  string
	least int64
}

// kinds are the quotas that there are, and the least that each may be.
var kinds = []kind{ //nolint:gochecknoglobals // a constant table
	{Queued, 0},
	{Running, 0},
	{Calls, 1}, // with none nobody could raise it again
}

// Names lists the quotas that there are.
func Names() []string {
	names := make([]string, len(kinds))
	for i, k := range kinds {
		names[i] = k.name
	}
	return names
}

// None as a bound takes it away.
const None = -1

// Reason of the errors that tell of a quota.
const Reason = "QUOTA_EXCEEDED"

// Bound is what an organisation may take of one thing.
type Bound struct {
	Org, Name string
	Most      int64
	SetAt     time.Time
	SetBy     string
}

// Used is what an organisation has at the moment.
type Used struct{ Queued, Running int64 }

// Store keeps bounds.
type Store interface {
	// Of returns the bounds of an organisation and what it has.
	Of(ctx context.Context, org string) ([]Bound, Used, error)
	// Named returns the bounds of a name behind an organisation, by organisation.
	Named(ctx context.Context, name, after string, most int) ([]Bound, error)
	// Set stores bounds of an organisation; None takes one away.
	Set(ctx context.Context, org string, most map[string]int64, by string) error
}

// Manager is what people do with quotas.
type Manager struct{ Store }

// Change sets the bounds that are named and leaves the others.
func (m Manager) Change(ctx context.Context, org string, most map[string]int64, by string) error {
	var faults []errs.Violation
	for name, n := range most {
		i := slices.IndexFunc(kinds, func(k kind) bool { return k.name == name })
		switch {
		case i < 0:
			faults = append(faults, errs.Violation{Field: name, Description: "there is no such quota: want " + strings.Join(Names(), ", ")})
		case n != None && n < kinds[i].least:
			faults = append(faults, errs.Violation{Field: name, Description: "the bound is too small; -1 takes it away"})
		}
	}
	if len(faults) > 0 || len(most) == 0 {
		return errs.Invalid("QUOTA_INVALID", "no quotas that could be set").WithViolations(faults...)
	}
	return m.Set(ctx, org, most, by)
}

// Full is the error of a submission beyond the bound.
func Full(org string, most int64) error {
	return errs.Exhausted(Reason, "organisation %s has %d requests waiting, which is all that its quota %q allows: wait until some have started, cancel some, or ask a platform-admin to raise it (formicary quota set)", org, most, Queued)
}
