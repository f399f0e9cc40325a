package request

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/google/uuid"

	"github.com/formicary/formicary/libs/batch"
	"github.com/formicary/formicary/libs/errs"
	"github.com/formicary/formicary/libs/jobspec"
	"github.com/formicary/formicary/services/job-manager/internal/definition"
)

// Submission is a person's wish for a run.
type Submission struct {
	OrgID, User string
	JobType     string
	// JobVersion pins a version; empty takes the newest.
	JobVersion string
	Params     jobspec.Vars
	// Priority nil takes the definition's.
	Priority       *int
	ScheduledAt    *time.Time
	IdempotencyKey string
	Description    string
	ValidateOnly   bool
}

// check refuses what neither the database nor the environment of a process can hold.
func (s *Submission) check() error {
	const message = "a text holds the character NUL"
	var faults []errs.Violation
	for name, text := range map[string]any{"description": s.Description, "idempotency_key": s.IdempotencyKey, "params": map[string]any(s.Params)} {
		if holdsNUL(text) {
			faults = append(faults, errs.Violation{Field: name, Description: message, Reason: jobspec.CodeInvalidValue})
		}
	}
	if len(faults) > 0 {
		return errs.Invalid("PARAMS_INVALID", message).WithViolations(faults...)
	}
	return nil
}

func holdsNUL(v any) bool {
	switch v := v.(type) {
	case string:
		return strings.ContainsRune(v, 0)
	case []any:
		return slices.ContainsFunc(v, holdsNUL)
	case map[string]any:
		for key, item := range v {
			if holdsNUL(key) || holdsNUL(item) {
				return true
			}
		}
	}
	return false
}

// hash is equal for submissions that ask for the same.
func (s *Submission) hash() ([]byte, error) {
	wanted := *s
	wanted.OrgID, wanted.User, wanted.IdempotencyKey, wanted.ValidateOnly = "", "", "", false
	if wanted.ScheduledAt != nil {
		at := wanted.ScheduledAt.UTC()
		wanted.ScheduledAt = &at
	}
	text, err := json.Marshal(wanted) // keys of maps are sorted
	if err != nil {
		return nil, fmt.Errorf("encode the submission: %w", err)
	}
	sum := sha256.Sum256(text)
	return sum[:], nil
}

// submitTries bounds how often a submission follows a definition that is being replaced.
const submitTries = 5

// Submit checks a submission and stores it as a request; created is false when its idempotency key was known. Requests
// that come at the same time share one transaction.
func (m *Manager) Submit(ctx context.Context, s Submission) (rec Record, created bool, err error) {
	if err := s.check(); err != nil {
		return Record{}, false, err
	}
	hash, err := s.hash()
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
		case errors.Is(err, batch.ErrClosed):
			return Record{}, false, errs.Unavailable("SHUTTING_DOWN", "this server is ending; send the request again")
		case err != nil:
			return Record{}, false, err
		case out.Stale:
			m.definitions.Forget(s.OrgID, s.JobType)
		case out.Created:
			return out.Record, true, nil
		default:
			return sameBody(out.Record, hash)
		}
	}
	return Record{}, false, errs.Aborted("DEFINITION_CHANGING", "the definition of %s is being replaced all the time; send the request again", s.JobType)
}

// orKnown answers a submission that is refused now but was accepted before under the same key.
func (m *Manager) orKnown(ctx context.Context, s Submission, hash []byte, refused error) (Record, bool, error) {
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
	return sameBody(rec, hash)
}

func sameBody(rec Record, hash []byte) (Record, bool, error) {
	if !bytes.Equal(rec.Hash, hash) {
		return Record{}, false, errs.Conflict("IDEMPOTENCY_CONFLICT", "the idempotency key was used for another submission: request %s", rec.ID)
	}
	return rec, false, nil
}

// draft checks everything that can be checked without the database.
func (m *Manager) draft(ctx context.Context, s Submission, hash []byte) (Draft, error) {
	def, err := m.definitions.Resolve(ctx, s.OrgID, s.JobType, s.JobVersion)
	if err != nil {
		return Draft{}, err
	}
	params, err := def.Spec.CheckParams(s.Params)
	if err != nil {
		bad := errs.Invalid("PARAMS_INVALID", "the parameters do not fit job type %s", s.JobType)
		return Draft{}, bad.WithViolations(definition.Violations(err)...)
	}
	text, err := json.Marshal(params)
	if err != nil {
		return Draft{}, fmt.Errorf("encode the parameters: %w", err)
	}
	if params == nil {
		text = []byte("{}")
	}
	id, err := uuid.NewV7()
	if err != nil {
		return Draft{}, fmt.Errorf("make an id: %w", err)
	}
	rec := Record{
		ID: id, OrgID: s.OrgID, JobType: s.JobType, DefinitionID: def.ID, DefinitionVersion: def.Version,
		State: Pending, Run: 1, Version: 1, Priority: def.Spec.Priority, ScheduledAt: s.ScheduledAt, Params: text,
		Description: s.Description, IdempotencyKey: s.IdempotencyKey, Hash: hash, CreatedBy: s.User,
	}
	if s.Priority != nil {
		rec.Priority = *s.Priority
	}
	rec.PlacementClass = placement(def, &rec, params)
	return Draft{Record: rec, Newest: s.JobVersion == ""}, nil
}

// maxPlacement bounds the text of a placement class in bytes; every single class is shorter.
const maxPlacement = 4096

// placement joins the classes of the first tasks, as many as there is room for: the others are found to fit or not when
// their turn comes. A definition that cannot be rendered with these variables has none:
// it is admitted and its launch fails with the reason.
func placement(def *definition.Parsed, rec *Record, params jobspec.Vars) string {
	classes, err := def.Spec.StartClasses(Variables(rec, params, time.Now()))
	if err != nil {
		return ""
	}
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
