package definition

import (
	"context"
	"fmt"
	"strings"

	"github.com/google/uuid"

	"github.com/formicary/formicary/libs/errs"
	"github.com/formicary/formicary/libs/jobspec"
	"github.com/formicary/formicary/libs/jobspec/source"
)

// Manager is what people and other services do with definitions.
type Manager struct {
	store Store
	// parsed holds versions by id; they never change.
	parsed *lru[uuid.UUID, *Parsed]
	// named remembers which version a name meant when it was last looked up.
	named *lru[Query, meaning]
}

type meaning struct {
	id       uuid.UUID
	seen     int
	disabled bool
}

// namesPerVersion sizes the cache of names: small entries, and a version has a few.
const namesPerVersion = 8

// NewManager returns a manager that caches up to cached parsed definitions.
func NewManager(store Store, cached int) *Manager {
	return &Manager{
		store: store, parsed: newLRU[uuid.UUID, *Parsed](cached), named: newLRU[Query, meaning](namesPerVersion * cached),
	}
}

// Upload checks a text and stores it as the newest version of its job type; created is false when the newest version
// has the same text.
func (m *Manager) Upload(ctx context.Context, u Upload) (d Definition, created bool, warnings source.Problems, err error) {
	d, warnings, err = parse(u)
	if err != nil {
		return Definition{}, false, nil, err
	}
	d, created, err = m.store.Create(ctx, d, u.ValidateOnly)
	if err != nil {
		return Definition{}, false, nil, err
	}
	if created {
		m.Forget(d.OrgID, d.JobType)
	}
	return d, created, warnings, nil
}

// Get returns the version that ref names: an id, "job_type" or "job_type@version".
func (m *Manager) Get(ctx context.Context, org, ref string) (Definition, error) {
	if id, err := uuid.Parse(ref); err == nil {
		return m.store.Find(ctx, Ref{OrgID: org, ID: id})
	}
	jobType, version, _ := strings.Cut(ref, "@")
	if version == "" {
		return m.store.Find(ctx, Ref{OrgID: org, JobType: jobType})
	}
	chosen, _, err := m.pick(ctx, Query{OrgID: org, JobType: jobType, Version: version}, org)
	if errs.Reason(err) == reasonVersion {
		return Definition{}, NotFound(ref)
	}
	if err != nil {
		return Definition{}, err
	}
	return m.store.Find(ctx, Ref{OrgID: org, ID: chosen})
}

// List returns a page.
func (m *Manager) List(ctx context.Context, p Page) ([]Definition, error) {
	return m.store.List(ctx, p)
}

// Plugins returns a page of the plugins of all organisations.
func (m *Manager) Plugins(ctx context.Context, p Page) ([]Definition, error) {
	return m.store.Plugins(ctx, p)
}

// own returns the version that ref names if it belongs to org.
func (m *Manager) own(ctx context.Context, org, ref string) (Definition, error) {
	d, err := m.Get(ctx, org, ref)
	if err == nil && d.OrgID != org {
		return Definition{}, NotFound(ref)
	}
	return d, err
}

// SetDisabled switches the job type that ref names and returns its newest version.
func (m *Manager) SetDisabled(ctx context.Context, org, ref string, disabled bool) (Definition, error) {
	d, err := m.own(ctx, org, ref)
	if err != nil {
		return Definition{}, err
	}
	defer m.Forget(org, d.JobType)
	if err := m.store.SetDisabled(ctx, org, d.JobType, disabled); err != nil {
		return Definition{}, err
	}
	return m.store.Find(ctx, Ref{OrgID: org, JobType: d.JobType})
}

// Delete removes all versions of the job type that ref names.
func (m *Manager) Delete(ctx context.Context, org, ref string) error {
	d, err := m.own(ctx, org, ref)
	if err != nil {
		return err
	}
	defer m.Forget(org, d.JobType)
	return m.store.Delete(ctx, org, d.JobType)
}

// Resolve returns the version that a name means. It may be outdated: another replica can have stored a newer one, so
// whoever uses it verifies that in its transaction and calls Forget when it is.
func (m *Manager) Resolve(ctx context.Context, q Query) (Resolved, error) {
	if known, ok := m.named.get(q); ok {
		p, err := m.Parsed(ctx, known.id)
		return Resolved{Parsed: p, Seen: known.seen, Disabled: known.disabled}, err
	}
	owner := q.OrgID
	if q.Plugins {
		var err error
		if owner, err = m.store.Owner(ctx, q.OrgID, q.JobType); err != nil {
			return Resolved{}, err
		}
	}
	ref, seen := Ref{OrgID: owner, JobType: q.JobType}, 0
	if q.Version != "" {
		var err error
		if ref.ID, seen, err = m.pick(ctx, q, owner); err != nil {
			return Resolved{}, err
		}
	}
	d, err := m.store.Find(ctx, ref)
	if err != nil {
		return Resolved{}, err
	}
	if q.Version == "" {
		seen = d.Version
	}
	p, err := m.remember(d)
	if err != nil {
		return Resolved{}, err
	}
	if !q.Plugins || !d.Disabled { // a fork of what is disabled is refused for good, so it is looked up each time
		m.named.put(q, meaning{d.ID, seen, d.Disabled})
	}
	return Resolved{Parsed: p, Seen: seen, Disabled: d.Disabled}, nil
}

const reasonVersion = "VERSION_NOT_FOUND"

// pick chooses among the versions of owner's job type.
func (m *Manager) pick(ctx context.Context, q Query, owner string) (id uuid.UUID, seen int, err error) {
	names, newest, err := m.store.Versions(ctx, owner, q.JobType, number(q.Version), owner != q.OrgID)
	if err != nil {
		return uuid.Nil, 0, err
	}
	chosen, ranged, err := choose(q.JobType, names, q.Version)
	if err != nil {
		return uuid.Nil, 0, err
	}
	if ranged {
		seen = newest
	}
	return chosen.ID, seen, nil
}

// Forget drops what is remembered of the names of a job type.
func (m *Manager) Forget(org, jobType string) {
	m.named.drop(func(q Query) bool { return q.OrgID == org && q.JobType == jobType })
}

// Parsed returns a version by its id, deleted or not.
func (m *Manager) Parsed(ctx context.Context, id uuid.UUID) (*Parsed, error) {
	if p, ok := m.parsed.get(id); ok {
		return p, nil
	}
	d, err := m.store.Find(ctx, Ref{ID: id})
	if err != nil {
		return nil, err
	}
	return m.remember(d)
}

func (m *Manager) remember(d Definition) (*Parsed, error) {
	if p, ok := m.parsed.get(d.ID); ok {
		return p, nil
	}
	spec, _, err := jobspec.Parse(defaultFile, []byte(d.YAML))
	if err != nil {
		// It was valid when it was stored: the rules have become stricter since.
		return nil, errs.Precondition("DEFINITION_INVALID", "%s version %d is not valid any more: %s", d.JobType, d.Version, fmt.Sprint(err))
	}
	p := &Parsed{ID: d.ID, OrgID: d.OrgID, Version: d.Version, Spec: spec}
	m.parsed.put(d.ID, p)
	return p, nil
}
