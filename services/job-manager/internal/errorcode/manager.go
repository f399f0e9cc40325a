package errorcode

import (
	"context"
	"encoding/json"
	"fmt"
	"sync"

	"github.com/google/uuid"

	"github.com/formicary/formicary/libs/errs"
)

// Manager is what people do with rules, and what launches get of them.
type Manager struct {
	store Store

	mu sync.Mutex
	// change is the count of changes that the cache belongs to.
	change int64
	orgs   map[string][]Rule
	types  map[typeKey][]byte
}

type typeKey struct{ org, jobType string }

// maxCached bounds the job types whose rules are kept; then all are forgotten.
const maxCached = 10_000

// NewManager returns a manager.
func NewManager(store Store) *Manager {
	return &Manager{store: store, orgs: map[string][]Rule{}, types: map[typeKey][]byte{}}
}

// Page asks for a part of the rules of an organisation.
type Page struct {
	OrgID string
	// JobType lists only those that apply to it; empty lists all.
	JobType string
	// Skip is how many the pages before had.
	Skip, Limit int
}

// List returns a page, the most specific first.
func (m *Manager) List(ctx context.Context, p Page) ([]Rule, error) {
	rules, err := m.store.Rules(ctx, p.OrgID)
	if err != nil {
		return nil, err
	}
	if p.JobType != "" {
		rules = of(rules, p.JobType)
	}
	rules = sorted(rules)
	low := min(p.Skip, len(rules))
	return rules[low:min(low+p.Limit, len(rules))], nil
}

// Save checks a rule and stores it: a new one when its id is nil.
func (m *Manager) Save(ctx context.Context, r Rule) (Rule, error) {
	if err := r.Check(); err != nil {
		return Rule{}, errs.Invalid("INVALID_ERROR_CODE", "the error code is not valid: %s", err)
	}
	return m.store.Save(ctx, r, MaxRules)
}

// Delete removes a rule.
func (m *Manager) Delete(ctx context.Context, org string, id uuid.UUID) error {
	return m.store.Delete(ctx, org, id)
}

// Encoded returns the rules that apply to a job type as JSON, the most specific first; empty for none. change is the
// count of changes that was read after the launch was asked for; 0 says that there never was a rule.
func (m *Manager) Encoded(ctx context.Context, change int64, org, jobType string) ([]byte, error) {
	if change == 0 {
		return nil, nil
	}
	key := typeKey{org, jobType}
	if text, ok := m.cached(change, key); ok {
		return text, nil
	}
	rules, err := m.rules(ctx, change, org)
	if err != nil {
		return nil, err
	}
	text, err := encode(rules, jobType)
	if err != nil {
		return nil, err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.change == change {
		m.types[key] = text
	}
	return text, nil
}

// cached looks a job type up, and forgets everything when there was a change since.
func (m *Manager) cached(change int64, key typeKey) ([]byte, bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if change > m.change || len(m.types) > maxCached {
		m.change = change
		clear(m.orgs)
		clear(m.types)
	}
	text, ok := m.types[key]
	// An answer that is older than the cache gets what is newer.
	return text, ok
}

// rules returns those of an organisation, sorted. They may be newer than change, never older.
func (m *Manager) rules(ctx context.Context, change int64, org string) ([]Rule, error) {
	m.mu.Lock()
	rules, ok := m.orgs[org]
	m.mu.Unlock()
	if ok {
		return rules, nil
	}
	rules, err := m.store.Rules(ctx, org)
	if err != nil {
		return nil, err
	}
	rules = sorted(rules)
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.change == change {
		m.orgs[org] = rules
	}
	return rules, nil
}

func encode(rules []Rule, jobType string) ([]byte, error) {
	fit := of(rules, jobType)
	if len(fit) == 0 {
		return nil, nil
	}
	list := make([]any, len(fit))
	for i := range fit {
		list[i] = fit[i].Rule
	}
	text, err := json.Marshal(list)
	if err != nil {
		return nil, fmt.Errorf("encode the error rules of %s: %w", jobType, err)
	}
	return text, nil
}
