package request

import (
	"context"
	"log/slog"
	"slices"
	"strings"
	"time"

	"github.com/google/uuid"

	"github.com/formicary/formicary/libs/batch"
	"github.com/formicary/formicary/libs/errs"
	"github.com/formicary/formicary/services/job-manager/internal/definition"
)

// Options size a manager.
type Options struct {
	// Batch is the largest number of submissions in one transaction, Flushers how many such transactions run at once.
	Batch, Flushers int
	// Observe is told the size of every batch of submissions.
	Observe func(size int)
	// Launches bound how long launches may take.
	Launches LaunchTimes
	// Refused says of an error of the store that the content is at fault.
	Refused func(error) bool
	// Configs are what runs see beside their parameters, and keep the secret ones.
	Configs Configs
	Log     *slog.Logger
}

// Manager is what people and supervisor do with requests.
type Manager struct {
	store       Store
	definitions *definition.Manager
	rules       Rules
	submits     *batch.Group[Draft, Stored]
	observe     func(int)
	times       LaunchTimes
	slow        slowness
	refused     func(error) bool
	configs     Configs
	log         *slog.Logger
}

// Rules gives launches the error rules of their job types.
type Rules interface {
	// Encoded returns the rules as JSON, empty for none. changes is how often rules had been changed.
	Encoded(ctx context.Context, changes int64, org, jobType string) ([]byte, error)
}

// NewManager returns a manager that accepts submissions while Run does.
func NewManager(store Store, definitions *definition.Manager, rules Rules, o Options) *Manager {
	m := &Manager{
		store: store, definitions: definitions, rules: rules, observe: o.Observe, times: o.Launches, refused: o.Refused, configs: o.Configs, log: o.Log,
	}
	if m.configs == nil {
		m.configs = noConfigs{}
	}
	m.submits = batch.New(batch.Options{Max: o.Batch, Flushers: o.Flushers}, m.submitBatch)
	return m
}

// Run handles submissions until ctx ends.
func (m *Manager) Run(ctx context.Context) error { return m.submits.Run(ctx) }

// Get returns the request that name means to org: an id, a unique prefix of one, "@latest" or "@failed".
func (m *Manager) Get(ctx context.Context, org, name string) (Record, error) {
	ref, err := parseRef(org, name)
	if err != nil {
		return Record{}, err
	}
	found, err := m.store.Find(ctx, ref)
	switch {
	case err != nil:
		return Record{}, err
	case len(found) == 0:
		return Record{}, errs.NotFound("REQUEST_NOT_FOUND", "no job request %s", name)
	case len(found) > 1:
		return Record{}, errs.Invalid("REQUEST_AMBIGUOUS", "more than one job request begins with %s", name)
	}
	return found[0], nil
}

const (
	minPrefix = 8
	uuidHex   = 32
)

func parseRef(org, name string) (Ref, error) {
	switch name {
	case "@latest":
		return Ref{OrgID: org, Latest: true}, nil
	case "@failed":
		return Ref{OrgID: org, State: Failed}, nil
	}
	digits := strings.ToLower(strings.ReplaceAll(name, "-", ""))
	bad := len(digits) < minPrefix || len(digits) > uuidHex || strings.Trim(digits, "0123456789abcdef") != ""
	if bad {
		return Ref{}, errs.NotFound("REQUEST_NOT_FOUND", "no job request %s: want an id, at least %d characters of one, @latest or @failed", name, minPrefix)
	}
	rest := uuidHex - len(digits)
	low, _ := uuid.Parse(digits + strings.Repeat("0", rest)) // 32 hexadecimal digits
	high, _ := uuid.Parse(digits + strings.Repeat("f", rest))
	return Ref{OrgID: org, Low: low, High: high}, nil
}

// List returns a page of requests, newest first.
func (m *Manager) List(ctx context.Context, f Filter) ([]Record, error) { return m.store.List(ctx, f) }

// Cancel ends the request or asks supervisor to; a terminal one is returned as it is.
func (m *Manager) Cancel(ctx context.Context, org, name, reason string) (Record, error) {
	return m.change(ctx, org, name, func(now time.Time, r *Request) error {
		r.Cancel(now, reason)
		return nil
	})
}

// Pause keeps the request from starting anything more.
func (m *Manager) Pause(ctx context.Context, org, name string) (Record, error) {
	return m.change(ctx, org, name, func(now time.Time, r *Request) error { return r.Pause(now) })
}

// Resume lets a paused request go on.
func (m *Manager) Resume(ctx context.Context, org, name string) (Record, error) {
	return m.change(ctx, org, name, func(now time.Time, r *Request) error { return r.Resume(now) })
}

func (m *Manager) change(ctx context.Context, org, name string, f func(time.Time, *Request) error) (Record, error) {
	rec, err := m.Get(ctx, org, name)
	if err != nil {
		return Record{}, err
	}
	recs, err := m.store.Update(ctx, []uuid.UUID{rec.ID}, f)
	if err != nil {
		return Record{}, err
	}
	if len(recs) == 0 {
		return Record{}, errs.NotFound("REQUEST_NOT_FOUND", "no job request %s", name)
	}
	return recs[0], nil
}

// Waits says of each record why it does not run, as far as this service knows; nil where nothing is to be said.
func (m *Manager) Waits(ctx context.Context, recs []Record, ranked bool) ([]*Wait, error) {
	waits := make([]*Wait, len(recs))
	waiting := func(r Record) bool { return r.State == Pending || r.State == Paused || r.State == Manual }
	if !slices.ContainsFunc(recs, waiting) {
		return waits, nil
	}
	standings, now, err := m.store.Standing(ctx, recs, ranked)
	if err != nil {
		return nil, err
	}
	for i := range recs {
		waits[i] = Explain(&recs[i], standings[i], now)
	}
	return waits, nil
}

// Mirror applies what supervisor said of several requests, the newest of each, in one transaction.
func (m *Manager) Mirror(ctx context.Context, said map[uuid.UUID]Execution) (recs []Record, err error) {
	ids := make([]uuid.UUID, 0, len(said))
	for id := range said {
		ids = append(ids, id)
	}
	return m.store.Update(ctx, ids, func(now time.Time, r *Request) error {
		r.Apply(now, said[r.rec.ID])
		return nil
	})
}
