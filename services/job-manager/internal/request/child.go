package request

import (
	"context"
	"strconv"
	"strings"
	"time"

	"github.com/google/uuid"

	"github.com/formicary/formicary/libs/errs"
	"github.com/formicary/formicary/libs/jobspec/value"
	"github.com/formicary/formicary/services/job-manager/internal/definition"
	"github.com/formicary/formicary/services/job-manager/internal/quota"
)

// MaxDepth is how many ancestors a request may have.
const MaxDepth = 10

// Parent is what a child knows of the request that submits it.
type Parent struct {
	ID uuid.UUID
	// Task that forks, and the key that is the same each time it does; both empty for a template.
	Task, Key string
	// Depth of the parent.
	Depth int
}

// Fork is a child that a task asks for.
type Fork struct {
	Key      string
	ParentID uuid.UUID
	// Task of the parent.
	Task       string
	JobType    string
	JobVersion string
	Params     value.Vars
	// Priority nil takes the definition's.
	Priority *int
	// User submitted the parent; empty takes who is stored with it.
	User string
	// Fault is what is wrong with how it was asked for; nil for nothing.
	Fault error
}

// Answer says what became of a fork.
type Answer struct {
	// RequestID of the child; nil when there is none.
	RequestID uuid.UUID
	// Refused says why it never will be submitted, Reason the same for programs.
	Refused, Reason string
	// Retry says that it could not be decided now.
	Retry bool
}

// Reasons for which forks are refused.
const (
	reasonTooDeep   = "TOO_DEEP"
	reasonDisabled  = "JOB_DISABLED"
	reasonNoParent  = "PARENT_NOT_FOUND"
	reasonCancelled = "CANCELLED"
)

func tooDeep() *errs.Error {
	return errs.Precondition(reasonTooDeep, "a job may have at most %d ancestors", MaxDepth)
}

// SubmitChildren submits what tasks fork, with one answer for each. A key that was submitted before answers with its
// request, so a call may be repeated.
func (m *Manager) SubmitChildren(ctx context.Context, forks []Fork) ([]Answer, error) {
	answers := make([]Answer, len(forks))
	open := make([]int, len(forks))
	for i := range open {
		open[i] = i
	}
	for range submitTries {
		var err error
		if open, err = m.submitChildren(ctx, forks, open, answers); err != nil || len(open) == 0 {
			return answers, err
		}
	}
	for _, i := range open {
		answers[i].Retry = true
	}
	return answers, nil
}

// submitChildren answers those of the forks that can be decided now and returns the others: somebody else submitted or
// cancelled them meanwhile, or their definition changed.
func (m *Manager) submitChildren(ctx context.Context, forks []Fork, open []int, answers []Answer) (left []int, err error) {
	keys, parents := make([]string, len(open)), make([]uuid.UUID, len(open))
	for n, i := range open {
		keys[n], parents[n] = forks[i].Key, forks[i].ParentID
	}
	family, err := m.store.Family(ctx, keys, parents)
	if err != nil {
		return nil, err
	}
	var drafts []Draft
	var drafted []int
	for _, i := range open {
		draft, done, err := m.draftChild(ctx, &forks[i], &family, &answers[i])
		if err != nil {
			return nil, err
		}
		if !done {
			drafts, drafted = append(drafts, draft), append(drafted, i)
		}
	}
	if len(drafts) == 0 {
		return nil, nil
	}
	stored, failed := m.store.SubmitChildren(ctx, drafts)
	for n, i := range drafted {
		switch {
		case n < len(failed) && failed[n] != nil:
			if !forGood(failed[n]) && errs.Reason(failed[n]) != quota.Reason {
				return nil, failed[n]
			}
			answers[i].refuse(failed[n])
		case stored[n].Created:
			answers[i].RequestID = stored[n].Record.ID
		default:
			m.definitions.Forget(drafts[n].Record.OrgID, drafts[n].Record.JobType)
			left = append(left, i)
		}
	}
	return left, nil
}

// draftChild answers a fork that is known or refused, or drafts its request.
func (m *Manager) draftChild(ctx context.Context, f *Fork, family *Family, a *Answer) (d Draft, done bool, err error) {
	if rec, known := family.Children[f.Key]; known {
		a.RequestID = rec.ID
		return Draft{}, true, nil
	}
	if family.Refused[f.Key] {
		a.Refused, a.Reason = "cancelled", reasonCancelled
		return Draft{}, true, nil
	}
	s, err := f.submission(family)
	if err == nil {
		d, err = m.draftFork(ctx, s)
	}
	if forGood(err) {
		a.refuse(err)
		return Draft{}, true, nil
	}
	return d, false, err
}

func (a *Answer) refuse(err error) {
	a.Refused, a.Reason = short(message(err)), refusal(errs.Reason(err))
}

// submission checks what does not depend on the definition.
func (f *Fork) submission(family *Family) (Submission, error) {
	parent, ok := family.Parents[f.ParentID]
	switch {
	case f.Fault != nil:
		return Submission{}, f.Fault
	case !ok:
		return Submission{}, errs.NotFound(reasonNoParent, "no job request %s", f.ParentID)
	case parent.Depth >= MaxDepth:
		return Submission{}, tooDeep()
	case f.JobType == "" || !storable(f.JobType):
		return Submission{}, definition.NotFound(strconv.Quote(f.JobType))
	case !storable(f.JobVersion):
		return Submission{}, errs.NotFound("VERSION_NOT_FOUND", "%q is no version", f.JobVersion)
	case f.Priority != nil && (*f.Priority < 0 || *f.Priority > maxPriority):
		return Submission{}, errs.Invalid("PARAMS_INVALID", "priority %d is not from 0 to %d", *f.Priority, maxPriority)
	}
	s := Submission{
		OrgID: parent.OrgID, User: f.User, JobType: f.JobType, JobVersion: f.JobVersion, Params: f.Params, Priority: f.Priority,
		Parent: &Parent{ID: parent.ID, Task: f.Task, Key: f.Key, Depth: parent.Depth},
	}
	if s.User == "" {
		s.User = parent.CreatedBy
	}
	return s, s.check()
}

const (
	maxPriority = 100
	maxName     = 100
)

// storable says that a name can be looked for.
func storable(name string) bool { return len(name) <= maxName && !strings.ContainsRune(name, 0) }

func (m *Manager) draftFork(ctx context.Context, s Submission) (Draft, error) {
	hash, err := m.digests(&s)
	if err != nil {
		return Draft{}, err
	}
	d, err := m.draft(ctx, s, hash)
	if err == nil && d.Disabled {
		return Draft{}, errs.Precondition(reasonDisabled, "job type %s is disabled", s.JobType)
	}
	return d, err
}

// refusal is the reason of a refused fork for a reason of a refused submission.
func refusal(reason string) string {
	switch reason {
	case "DEFINITION_NOT_FOUND":
		return "JOB_TYPE_NOT_FOUND"
	case "PARAMS_INVALID":
		return "INVALID_PARAMS"
	}
	return reason
}

// Children returns the requests of those keys that were submitted.
func (m *Manager) Children(ctx context.Context, keys []string) ([]Record, error) {
	family, err := m.store.Family(ctx, keys, nil)
	if err != nil {
		return nil, err
	}
	recs := make([]Record, 0, len(family.Children))
	for _, key := range keys {
		if rec, ok := family.Children[key]; ok {
			recs = append(recs, rec)
		}
	}
	return recs, nil
}

// CancelChildren ends children, or asks supervisor to. What was not submitted yet never will be.
func (m *Manager) CancelChildren(ctx context.Context, keys []string, reason string) error {
	ids, err := m.store.Refuse(ctx, keys, reason)
	if err != nil || len(ids) == 0 {
		return err
	}
	_, err = m.store.Update(ctx, ids, func(now time.Time, r *Request) error {
		r.Cancel(now, reason)
		return nil
	})
	return err
}
