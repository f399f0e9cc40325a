package attempt

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"

	"github.com/formicary/formicary/libs/batch"
	"github.com/formicary/formicary/libs/errs"
	"github.com/formicary/formicary/libs/jobspec/template"
	"github.com/formicary/formicary/libs/mask"
	"github.com/formicary/formicary/services/supervisor/internal/definition"
	"github.com/formicary/formicary/services/supervisor/internal/execution"
	"github.com/formicary/formicary/services/supervisor/internal/secret"
)

// Secrets give the values of secrets; nil: there are none.
type Secrets interface {
	Resolve(ctx context.Context, queries []secret.Query) ([]secret.Answer, error)
}

// Secret is one that a task gets.
type Secret struct {
	Name               string
	Value              secret.Value
	Env, File, FileEnv string
}

// resolve is the call for the tasks of a batch of claims.
func (m *Manager) resolve(ctx context.Context, queries []secret.Query) ([]secret.Answer, []error) {
	answers, err := m.given.Resolve(ctx, queries)
	if err != nil {
		return nil, batch.All(len(queries), err)
	}
	return answers, make([]error, len(queries))
}

// secretsOf asks for what a task names as secrets. It is asked after the transaction of the claim, at every claim anew, and of
// what comes nothing is kept.
func (m *Manager) secretsOf(ctx context.Context, x *execution.Claimed) (map[string]secret.Value, error) {
	if x.Fault != nil || len(x.Task.Secrets) == 0 {
		return nil, nil //nolint:nilerr // who renders the task says what its fault is
	}
	if m.given == nil {
		return nil, fmt.Errorf("%w: it names secrets, and there are none here", definition.ErrFault)
	}
	q := secret.Query{Org: x.Job.Org, JobType: x.Job.JobType, User: x.Job.Submitter, Request: x.Job.Request.String()}
	for _, s := range x.Task.Secrets {
		if !slices.Contains(q.Names, s.Name) {
			q.Names = append(q.Names, s.Name)
		}
	}
	a, err := m.secrets.Do(ctx, q)
	if err != nil {
		return nil, err
	}
	for _, f := range a.Faults {
		if f.Passing {
			return nil, errs.Unavailable(f.Reason, "the secret %s: %s", f.Name, f.Message)
		}
	}
	for _, name := range q.Names {
		if _, ok := a.Values[name]; ok {
			continue
		}
		f := secret.Fault{Name: name, Reason: "SECRET_NOT_FOUND", Message: "it was not given"}
		if i := slices.IndexFunc(a.Faults, func(f secret.Fault) bool { return f.Name == name }); i >= 0 {
			f = a.Faults[i]
		}
		return nil, fmt.Errorf("%w: the secret %s: %s [%s]", definition.ErrFault, name, f.Message, f.Reason)
	}
	return a.Values, nil
}

// inClear are the values for a template.
func inClear(values map[string]secret.Value) map[string]string {
	out := make(map[string]string, len(values))
	for name, v := range values {
		out[name] = v.Clear()
	}
	return out
}

// masked is an error that shows no secret.
func (w *Work) masked(err error) error {
	if err == nil || w.masker == nil {
		return err
	}
	return maskedError{err, w.masker.String(err.Error())}
}

type maskedError struct {
	error
	text string
}

func (e maskedError) Error() string { return e.text }
func (e maskedError) Unwrap() error { return e.error }

// discreet is a host that is told no secret: what it is asked is stored.
type discreet struct {
	template.Host
	masks *mask.Masker
}

var errToldSecret = errs.Invalid("SECRET_IN_REQUEST", "a template gives a secret to a function that submits or counts jobs, and what those get is stored") //nolint:gochecknoglobals // a constant

// CountByState implements template.Host.
func (d discreet) CountByState(jobType string, states []string) (int, error) {
	if d.masks.Holds(jobType) || slices.ContainsFunc(states, d.masks.Holds) {
		return 0, errToldSecret
	}
	return d.Host.CountByState(jobType, states)
}

// Submit implements template.Host.
func (d discreet) Submit(jobType, description string, params map[string]any) (string, error) {
	raw, err := json.Marshal(params)
	if err != nil || d.masks.Holds(jobType) || d.masks.Holds(description) || d.masks.Holds(string(raw)) {
		return "", errToldSecret
	}
	return d.Host.Submit(jobType, description, params)
}

// give says how the task gets its secrets, and what must not be seen of it.
func (w *Work) give(values map[string]secret.Value) {
	for _, s := range w.Task.Secrets {
		w.Secrets = append(w.Secrets, Secret{Name: s.Name, Value: values[s.Name], Env: s.Env, File: s.File, FileEnv: s.FileEnv})
	}
	var texts []string
	for _, v := range values {
		w.Masks = append(w.Masks, v)
		texts = append(texts, v.Clear())
	}
	w.masker = mask.New(texts)
}
