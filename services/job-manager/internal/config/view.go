package config

import (
	"context"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/formicary/formicary/libs/jobspec/value"
)

// View is what a run sees.
type View struct {
	// Low are the configs of the levels below the job's variables, Job those of the job.
	Low, Job value.Vars
	// Secrets are the names whose innermost entry is a secret, sorted.
	Secrets []string
}

// views are kept until an entry changes: they are wanted at every submission and launch, and change rarely.
type views struct {
	mu     sync.Mutex
	change int64 // that they belong to
	known  map[viewKey]View
	looked time.Time // when change was read last
}

type viewKey struct{ org, user, jobType string }

const (
	// maxViews bounds the views that are kept; then all are forgotten.
	maxViews = 10_000
	// viewAge is how old a view of a submission may be: the launch decides.
	viewAge = time.Second
)

// ViewAt returns what a run sees after a number of changes that was read after the run was asked for; 0 says that there never was
// an entry.
func (m *Manager) ViewAt(ctx context.Context, change int64, org, user, jobType string) (View, error) {
	if change == 0 {
		return View{}, nil
	}
	key := viewKey{org, user, jobType}
	m.views.mu.Lock()
	v, ok := m.views.known[key]
	ok = ok && m.views.change >= change
	m.views.mu.Unlock()
	if ok {
		return v, nil
	}
	entries, err := m.store.Visible(ctx, visible(org, user, jobType))
	if err != nil {
		return View{}, err
	}
	v = viewOf(entries)
	m.views.mu.Lock()
	defer m.views.mu.Unlock()
	switch {
	case m.views.change > change:
		return v, nil
	case m.views.change < change || len(m.views.known) >= maxViews || m.views.known == nil:
		m.views.known, m.views.change = map[viewKey]View{}, change
	}
	m.views.known[key] = v
	return v, nil
}

// View returns what a run would see now, or did a moment ago.
func (m *Manager) View(ctx context.Context, org, user, jobType string) (View, error) {
	change, err := m.recentChange(ctx)
	if err != nil {
		return View{}, err
	}
	return m.ViewAt(ctx, change, org, user, jobType)
}

func (m *Manager) recentChange(ctx context.Context) (int64, error) {
	m.views.mu.Lock()
	change, fresh := m.views.change, time.Since(m.views.looked) < viewAge
	m.views.mu.Unlock()
	if fresh {
		return change, nil
	}
	change, err := m.store.Changes(ctx)
	if err != nil {
		return 0, err
	}
	m.views.mu.Lock()
	defer m.views.mu.Unlock()
	m.views.looked = time.Now()
	if change > m.views.change {
		m.views.known, m.views.change = nil, change
	}
	return m.views.change, nil
}

// Forget makes the next View look again.
func (m *Manager) Forget() {
	m.views.mu.Lock()
	defer m.views.mu.Unlock()
	m.views.looked = time.Time{}
}

func viewOf(entries []Entry) View {
	rank := func(e Entry) int { return slices.Index([]Level{System, Org, User, Job}, e.Level) }
	slices.SortFunc(entries, func(a, b Entry) int { return rank(a) - rank(b) })
	v := View{Low: value.Vars{}, Job: value.Vars{}}
	secrets := map[string]bool{}
	for _, e := range entries { // an inner one replaces an outer one
		delete(v.Low, e.Name)
		delete(secrets, e.Name)
		to := v.Low
		if e.Level == Job {
			to = v.Job
		}
		if e.Secret {
			secrets[e.Name] = true
		} else if val, ok := valueOf(e.Type, e.Value); ok { // it was checked when it was stored
			to[e.Name] = val
		}
	}
	v.Secrets = slices.Sorted(maps.Keys(secrets))
	return v
}
