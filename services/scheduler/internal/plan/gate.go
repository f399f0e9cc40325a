package plan

import (
	"fmt"
	"strings"
	"time"

	"github.com/formicary/formicary/libs/placement"
)

// Kind of a gate.
type Kind int

// The gates of admission.
const (
	Disabled    Kind = iota + 1 // the job type is switched off
	Concurrency                 // the job type runs as often as it may
	Capacity                    // enough is admitted for the slots there are
	NoAnt                       // no ant offers the method, the tags or the slots
	OrgQuota                    // the organisation runs as much as its quota allows
)

// Gate is closed: it holds the pending requests of a job type or, with Class, those of a placement class.
type Gate struct {
	Kind    Kind
	Org     string
	JobType string // empty when it holds a class
	Class   string // empty when it holds a job type
	Reason  string // one sentence for a person
	Holders []string
}

// fewIDs is how many holders a gate names.
const fewIDs = 5

// ahead is how many admitted requests of a class may wait for a slot at least; with many slots it is twice the slots,
// so that no slot waits for a decision.
const ahead = 16

// disabled holds a job type that is switched off.
func disabled(t *Type) (Gate, bool) {
	if !t.Disabled {
		return Gate{}, false
	}
	return Gate{
		Kind: Disabled, Org: t.Org, JobType: t.Name,
		Reason: fmt.Sprintf("job type %s is disabled", t.Name),
	}, true
}

// concurrency holds a job type that runs as often as it may, counting what this plan has admitted.
func concurrency(t *Type, admitted []string) (Gate, bool) {
	active := t.Active + len(admitted)
	if t.MaxConcurrency <= 0 || active < t.MaxConcurrency {
		return Gate{}, false
	}
	holders := make([]string, 0, fewIDs)
	for _, ids := range [][]string{t.Holders, admitted} {
		holders = append(holders, ids[:min(len(ids), fewIDs-len(holders))]...)
	}
	reason := fmt.Sprintf("job type %s may run %s at once and %d %s", t.Name, placement.Count(t.MaxConcurrency, "request"), active, placement.Plural(active, "does", "do"))
	if len(holders) > 0 {
		reason += ": " + strings.Join(holders, ", ")
	}
	if active > len(holders) && len(holders) > 0 {
		reason += fmt.Sprintf(" and %d more", active-len(holders))
	}
	return Gate{Kind: Concurrency, Org: t.Org, JobType: t.Name, Reason: reason, Holders: holders}, true
}

// quota: an organisation runs no more requests at once than it may, whatever their types.
func quota(t *Type, q Quota, admitted int) (Gate, bool) {
	active := q.Running + admitted
	if active < q.Most {
		return Gate{}, false
	}
	return Gate{Kind: OrgQuota, Org: t.Org, JobType: t.Name, Reason: fmt.Sprintf("organisation %s may run %s at once and %d %s (its quota running; a platform-admin can raise it)",
		t.Org, placement.Count(q.Most, "request"), active, placement.Plural(active, "does", "do"))}, true
}

// noAnt holds a class that no ant will take, however long it waits.
func noAnt(org, class string, f fit) (Gate, bool) {
	if f.missing == "" {
		return Gate{}, false
	}
	return Gate{Kind: NoAnt, Org: org, Class: class, Reason: f.missing}, true
}

// capacity holds a class of which enough is admitted for the slots that could run it.
func capacity(org, class string, f fit, unstarted int) (Gate, bool) {
	if unstarted < max(ahead, 2*f.tasks) {
		return Gate{}, false
	}
	waiting := placement.Count(unstarted, "request")
	reason := fmt.Sprintf("%s before it are being launched", waiting)
	if f.want != "" {
		reason = fmt.Sprintf("%s: %d of %s %s taken and %s before it wait for one", f.want, f.used, placement.Count(f.slots, "slot"), placement.Plural(f.used, "is", "are"), waiting)
	}
	return Gate{Kind: Capacity, Org: org, Class: class, Holders: f.ants, Reason: reason}, true
}

// schedule holds requests whose time has not come; they are not in the snapshot, so it only says when to look again.
func schedule(next, now time.Time) time.Duration {
	if next.IsZero() {
		return 0
	}
	return max(next.Sub(now), time.Millisecond)
}
