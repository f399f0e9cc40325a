package request

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"github.com/google/uuid"

	"github.com/formicary/formicary/libs/errs"
	"github.com/formicary/formicary/libs/jobspec"
	"github.com/formicary/formicary/libs/jobspec/plan"
	"github.com/formicary/formicary/libs/jobspec/source"
	"github.com/formicary/formicary/libs/jobspec/value"
	"github.com/formicary/formicary/libs/placement"
	"github.com/formicary/formicary/services/job-manager/internal/config"
	"github.com/formicary/formicary/services/job-manager/internal/definition"
	"github.com/formicary/formicary/services/job-manager/internal/quota"
)

// Submission is a person's wish for a run.
type Submission struct {
	OrgID, User string
	JobType     string
	// JobVersion pins a version; empty takes the newest.
	JobVersion string
	Params     value.Vars
	// Priority nil takes the definition's.
	Priority       *int
	ScheduledAt    *time.Time
	IdempotencyKey string
	Description    string
	ValidateOnly   bool
	// Parent is the request whose task or template submits it; nil for a person.
	Parent *Parent `json:",omitempty"`
}

// check refuses texts that no database holds; the parameters are checked with the definition. Of a call it was done before:
// templates and tasks submit, too.
func (s *Submission) check() error {
	const message = "a text holds the character NUL"
	var faults []errs.Violation
	for name, text := range map[string]string{
		"job_type": s.JobType, "job_version": s.JobVersion, "description": s.Description, "idempotency_key": s.IdempotencyKey,
	} {
		if strings.IndexByte(text, 0) >= 0 {
			faults = append(faults, errs.Violation{Field: name, Description: message, Reason: source.CodeInvalidValue})
		}
	}
	if len(faults) > 0 {
		return errs.Invalid("PARAMS_INVALID", message).WithViolations(faults...)
	}
	return nil
}

// digests are equal for submissions that ask for the same. Secrets may be in it, so what is stored is a keyed one.
func (m *Manager) digests(s *Submission) (digests, error) {
	wanted := *s
	wanted.OrgID, wanted.User, wanted.IdempotencyKey, wanted.ValidateOnly, wanted.Parent = "", "", "", false, nil
	if wanted.ScheduledAt != nil {
		at := wanted.ScheduledAt.UTC()
		wanted.ScheduledAt = &at
	}
	text, err := json.Marshal(wanted) // keys of maps are sorted
	if err != nil {
		return digests{}, fmt.Errorf("encode the submission: %w", err)
	}
	sum := sha256.Sum256(text)
	return digests{keyed: m.configs.Digest(text), plain: sum[:]}, nil
}

// submitTries bounds how often a submission follows a definition that is being replaced.
const submitTries = 5

// Submit checks a submission and stores it as a request; created is false when its idempotency key was known. Requests
// that come at the same time share one transaction.
func (m *Manager) Submit(ctx context.Context, s Submission) (rec Record, created bool, err error) {
	if err := s.check(); err != nil {
		return Record{}, false, err
	}
	hash, err := m.digests(&s)
	if err != nil {
		return Record{}, false, err
	}
	for range submitTries {
		draft, err := m.draft(ctx, s, hash)
		if err != nil {
			return m.orKnown(ctx, s, hash, err)
		}
		if s.ValidateOnly {
			return draft.Record, false, nil
		}
		out, err := m.submits.Do(ctx, draft)
		switch {
		case errs.Reason(err) == quota.Reason:
			return m.orKnown(ctx, s, hash, err)
		case err != nil:
			return Record{}, false, err
		case out.Stale:
			m.definitions.Forget(s.OrgID, s.JobType)
		case out.Created:
			return out.Record, true, nil
		default:
			return s.sameBody(out.Record, hash)
		}
	}
	return Record{}, false, errs.Aborted("DEFINITION_CHANGING", "the definition of %s is being replaced all the time; send the request again", s.JobType)
}

// Advise warns of what a submission that was accepted may not mean.
func (m *Manager) Advise(ctx context.Context, s Submission) source.Problems {
	if len(s.Params) == 0 {
		return nil
	}
	def, err := m.definitions.Resolve(ctx, definition.Query{OrgID: s.OrgID, JobType: s.JobType, Version: s.JobVersion})
	if err != nil {
		return nil //nolint:nilerr // it was accepted: a warning is not worth a failure
	}
	return def.Spec.UnknownParams(s.Params)
}

// orKnown answers a submission that is refused now but was accepted before under the same key.
func (m *Manager) orKnown(ctx context.Context, s Submission, hash digests, refused error) (Record, bool, error) {
	if s.IdempotencyKey == "" || errs.CodeOf(refused) == errs.CodeUnknown {
		return Record{}, false, refused
	}
	rec, found, err := m.store.ByKey(ctx, s.OrgID, s.IdempotencyKey)
	if err != nil {
		return Record{}, false, err
	}
	if !found {
		return Record{}, false, refused
	}
	return s.sameBody(rec, hash)
}

// sameBody answers with the request of a known key. A template that is rendered again may ask for something else, for
// example by what it counted: what it submitted first counts.
func (s *Submission) sameBody(rec Record, hash digests) (Record, bool, error) {
	if s.Parent == nil && !hash.fits(rec.Hash) {
		return Record{}, false, errs.Conflict("IDEMPOTENCY_CONFLICT", "the idempotency key was used for another submission: request %s", rec.ID)
	}
	return rec, false, nil
}

// draft checks everything that can be checked without the database.
func (m *Manager) draft(ctx context.Context, s Submission, hash digests) (Draft, error) {
	def, err := m.definitions.Resolve(ctx, definition.Query{
		OrgID: s.OrgID, JobType: s.JobType, Version: s.JobVersion, Plugins: s.Parent != nil && s.Parent.Key != "",
	})
	if err != nil {
		return Draft{}, err
	}
	params, err := checkParams(def.Spec, s.Params)
	if err != nil {
		return Draft{}, err
	}
	id, err := uuid.NewV7()
	if err != nil {
		return Draft{}, fmt.Errorf("make an id: %w", err)
	}
	rec := Record{
		ID: id, OrgID: s.OrgID, JobType: s.JobType, DefinitionID: def.ID, DefinitionVersion: def.Version,
		State: Pending, Run: 1, Version: 1, Priority: def.Spec.Priority, ScheduledAt: s.ScheduledAt,
		Description: s.Description, IdempotencyKey: s.IdempotencyKey, Hash: hash.keyed, CreatedBy: s.User,
	}
	sealed, err := m.seal(ctx, def.Spec, &rec, params)
	if err != nil {
		return Draft{}, err
	}
	if rec.Params, err = encodeParams(params); err != nil {
		return Draft{}, err
	}
	if s.Priority != nil {
		rec.Priority = *s.Priority
	}
	if p := s.Parent; p != nil {
		rec.ParentID, rec.ParentTask, rec.ChildKey, rec.Depth = &p.ID, p.Task, p.Key, p.Depth+1
	}
	if rec.PlacementClass, rec.PendingTimeout, err = m.rehearse(ctx, def.Spec, &rec, params); err != nil {
		return Draft{}, err
	}
	return Draft{Record: rec, Sealed: sealed, Seen: def.Seen, Owner: def.OrgID, Disabled: def.Disabled}, nil
}

// checkParams returns the parameters with their defaults.
func checkParams(spec *jobspec.Definition, given value.Vars) (value.Vars, error) {
	params, err := spec.CheckParams(given)
	return params, unfit(spec, err)
}

// unfit is the error for parameters that do not fit.
func unfit(spec *jobspec.Definition, err error) error {
	if err == nil {
		return nil
	}
	return errs.Invalid("PARAMS_INVALID", "the parameters do not fit job type %s", spec.JobType).WithViolations(definition.Violations(err)...)
}

func encodeParams(params value.Vars) (json.RawMessage, error) {
	if params == nil {
		return json.RawMessage("{}"), nil
	}
	text, err := json.Marshal(params)
	if err != nil {
		return nil, fmt.Errorf("encode the parameters: %w", err)
	}
	return text, nil
}

// rehearse renders what the launch will render, and refuses what the launch would. What does not fit the configs of a moment ago
// is tried with those of now.
func (m *Manager) rehearse(ctx context.Context, spec *jobspec.Definition, rec *Record, params value.Vars) (class string, pending time.Duration, err error) {
	for again := false; ; again = true {
		view, missing := m.configs.View(ctx, rec.OrgID, rec.CreatedBy, rec.JobType)
		if missing != nil {
			return "", 0, missing
		}
		class, pending, err = m.rehearseWith(spec, rec, params, &view)
		if err == nil || again {
			return class, pending, err
		}
		m.configs.Forget()
	}
}

// rehearseWith is rehearse with the configs that are seen. Of a definition that is known to be slow the launch tells.
func (m *Manager) rehearseWith(
	spec *jobspec.Definition, rec *Record, params value.Vars, view *config.View,
) (class string, pending time.Duration, err error) {
	began := time.Now()
	vars := seen(spec, view, Variables(rec, params, began))
	var start plan.Start
	if m.slow.slow(rec.DefinitionID) {
		if start, err = spec.Start(vars); err != nil {
			return "", 0, nil //nolint:nilerr // it is admitted, and its launch fails with the reason
		}
		return placementOf(start.Classes), start.Pending, nil
	}
	start, err = spec.Rehearse(vars)
	if took := time.Since(began); took >= slowRender {
		m.slow.record(rec.DefinitionID, took)
	}
	if err != nil {
		bad := errs.Invalid("PARAMS_INVALID", "job type %s cannot be launched with these parameters", spec.JobType)
		return "", 0, bad.WithViolations(definition.Violations(err)...)
	}
	return placementOf(start.Classes), start.Pending, nil
}

// maxPlacement bounds the text of a placement class in bytes; every single class is shorter.
const maxPlacement = 4096

// placementOf joins the classes of the first tasks, as many as there is room for: the others are found to fit or not when
// their turn comes. A definition that cannot be rendered with these variables has none.
func placementOf(classes []placement.Class) string {
	var texts []string
	room := maxPlacement
	for _, c := range classes {
		text := c.String()
		if room -= len(text) + len(";"); room < 0 {
			break
		}
		texts = append(texts, text)
	}
	return strings.Join(texts, ";")
}

func (m *Manager) submitBatch(ctx context.Context, drafts []Draft) ([]Stored, []error) {
	m.observe(len(drafts))
	return m.store.Submit(ctx, drafts)
}
