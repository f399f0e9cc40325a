package config

import (
	"context"
	"crypto/sha256"
	"strings"

	"github.com/google/uuid"

	"github.com/formicary/formicary/libs/errs"
	"github.com/formicary/formicary/libs/keyring"
)

// Query asks for secrets of one task.
type Query struct {
	Org, JobType, User string
	// Request whose parameters may be among the names.
	Request uuid.UUID
	Names   []string
}

// ParamPrefix begins the names of parameters.
const ParamPrefix = "params."

// Secret is a secret in clear.
type Secret struct {
	Name, Value string
	Version     int
	// Scope that it was found in; nil of parameters and of what a source gave.
	Scope *Scope
}

// Fault is why a secret cannot be given.
type Fault struct {
	Name string
	Err  error
}

// Answer to a query.
type Answer struct {
	Secrets []Secret
	Faults  []Fault
}

// asking is one name of one query.
type asking struct {
	query int
	name  string
	place keyring.Place // of a parameter
	spots []Spot        // where else it may be, from the outermost to the innermost
	found *Found
	spot  Spot // that found is of
}

// Resolve finds the secrets of tasks, of all tasks with two reads. A name that cannot be given is a fault of its query only.
func (m *Manager) Resolve(ctx context.Context, queries []Query) ([]Answer, error) {
	asked := m.asked(queries)
	if err := m.look(ctx, asked); err != nil {
		return nil, err
	}
	if err := m.lookParams(ctx, asked); err != nil {
		return nil, err
	}
	answers := make([]Answer, len(queries))
	for i := range asked {
		a := &asked[i]
		to := &answers[a.query]
		s, err := m.open(ctx, a)
		if err != nil {
			to.Faults = append(to.Faults, Fault{Name: a.name, Err: err})
			continue
		}
		to.Secrets = append(to.Secrets, s)
	}
	return answers, nil
}

func (m *Manager) asked(queries []Query) []asking {
	var asked []asking
	for i, q := range queries {
		for _, name := range q.Names {
			a := asking{query: i, name: name}
			if param, ok := strings.CutPrefix(name, ParamPrefix); ok {
				a.place = ParamPlace(q.Org, q.Request, param)
			} else {
				for _, s := range visible(q.Org, q.User, q.JobType) {
					a.spots = append(a.spots, Spot{Scope: s, Name: name})
				}
			}
			asked = append(asked, a)
		}
	}
	return asked
}

// ParamPlace is where a parameter of a request is encrypted for.
func ParamPlace(org string, request uuid.UUID, name string) keyring.Place {
	return keyring.Place{Org: org, Scope: "request/" + request.String(), Name: name}
}

// SealParams encrypts parameters of a request.
func (m *Manager) SealParams(ctx context.Context, org string, request uuid.UUID, params map[string]string) ([]Sealing, error) {
	if m.keys == nil {
		return nil, errNoRing()
	}
	var all []Sealing
	for name, value := range params {
		place := ParamPlace(org, request, name)
		sealed, err := keyring.Seal(ctx, m.keys, place, []byte(value))
		if err != nil {
			return nil, err
		}
		all = append(all, Sealing{Place: place, Sealed: sealed})
	}
	return all, nil
}

// Digest is a hash with a key of the ring; without a ring it has none, and there are no secrets.
func (m *Manager) Digest(text []byte) []byte {
	if m.keys == nil {
		sum := sha256.Sum256(text)
		return sum[:]
	}
	return m.keys.Digest(text)
}

// look finds the innermost secret of each name.
func (m *Manager) look(ctx context.Context, asked []asking) error {
	var spots []Spot
	var of []int
	for i := range asked {
		for _, s := range asked[i].spots {
			spots, of = append(spots, s), append(of, i)
		}
	}
	if len(spots) == 0 {
		return nil
	}
	found, err := m.store.Newest(ctx, spots)
	if err != nil {
		return err
	}
	inner := make([]int, len(asked))
	for i := range found {
		f := &found[i]
		a := &asked[of[f.N]]
		if a.found == nil || f.N > inner[of[f.N]] { // spots stand from the outermost to the innermost
			a.found, a.spot, inner[of[f.N]] = f, spots[f.N], f.N
		}
	}
	return nil
}

func (m *Manager) lookParams(ctx context.Context, asked []asking) error {
	var places []keyring.Place
	var of []int
	for i := range asked {
		if asked[i].spots == nil {
			places, of = append(places, asked[i].place), append(of, i)
		}
	}
	if len(places) == 0 {
		return nil
	}
	found, err := m.store.Params(ctx, places)
	if err != nil {
		return err
	}
	for i := range found {
		asked[of[found[i].N]].found = &found[i]
	}
	return nil
}

func (m *Manager) open(ctx context.Context, a *asking) (Secret, error) {
	if a.found == nil {
		if a.spots != nil {
			return Secret{}, errs.NotFound("SECRET_NOT_FOUND", "no secret %s at a level that this job sees (system, org, user, job)", a.name)
		}
		return Secret{}, errs.NotFound("SECRET_NOT_FOUND", "the request has no parameter %s of type secret", strings.TrimPrefix(a.name, ParamPrefix))
	}
	if m.keys == nil {
		return Secret{}, errNoRing()
	}
	place := a.place
	out := Secret{Name: a.name, Version: a.found.Version}
	if a.spots != nil {
		place = a.spot.Place(a.name, a.found.Version)
		out.Scope = &a.spot.Scope
	}
	value, err := keyring.Open(ctx, m.keys, place, a.found.Sealed)
	if err != nil {
		return Secret{}, unreadable(a.name, a.found.KeyID, err)
	}
	out.Value = string(value)
	return out, nil
}
