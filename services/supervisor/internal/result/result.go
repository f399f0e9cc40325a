// Package result takes the results that ants send: in batches, each exactly once, whatever is delivered twice.
package result

import (
	"context"
	"crypto/sha256"

	"github.com/google/uuid"

	"github.com/formicary/formicary/libs/storable"
	"github.com/formicary/formicary/services/supervisor/internal/engine"
	"github.com/formicary/formicary/services/supervisor/internal/execution"
)

// Result is the end of an attempt as its ant tells it.
type Result struct {
	UID       uuid.UUID
	Ant       string
	Canonical []byte // the same bytes for the same result
	Outcome   engine.Outcome
	Log       execution.StoredLog
	Usage     *execution.Usage    // nil when the ant did not tell
	Cache     *execution.CacheUse // nil when it asked for none
	Artifacts []execution.Kept
}

// Store applies what happens.
type Store interface {
	Step(ctx context.Context, events []execution.Event) ([]execution.Verdict, error)
}

// maxOutputs bounds the outputs of a task in bytes.
const maxOutputs = 64 << 10

// Apply stores results and returns a verdict for each; link makes the address of an artifact.
func Apply(ctx context.Context, store Store, link func(id uuid.UUID) string, results []Result) ([]execution.Verdict, error) {
	events := make([]execution.Event, len(results))
	for i := range results {
		r := &results[i]
		sum := sha256.Sum256(r.Canonical)
		artifacts := kept(r.Artifacts)
		for _, a := range artifacts {
			r.Outcome.Artifacts = append(r.Outcome.Artifacts, link(a.Upload))
		}
		events[i] = execution.Event{Kind: execution.AttemptEnded, UID: r.UID, End: execution.End{
			Outcome: judge(cleaned(r.Outcome)), Ant: storable.Text(r.Ant), Digest: sum[:],
			Log: stored(r.Log), Usage: r.Usage, Cache: cached(r.Cache), Artifacts: artifacts,
		}}
	}
	return store.Step(ctx, events)
}

// judge fills in what the ant left out and refuses what is too large.
func judge(o engine.Outcome) engine.Outcome {
	size := 0
	for k, v := range o.Outputs {
		size += len(k) + len(v)
	}
	if size > maxOutputs {
		o.State, o.FailureClass, o.Outputs = engine.AttemptFailed, engine.ClassUser, nil
		o.Message = "its outputs are larger than 64 KiB in all"
	}
	if o.State == engine.AttemptSucceeded {
		o.FailureClass = ""
		return o
	}
	if o.FailureClass != "" {
		return o
	}
	switch o.State {
	case engine.AttemptTimedOut:
		o.FailureClass = engine.ClassTimeout
	case engine.AttemptCancelled:
		o.FailureClass = engine.ClassCancelled
	case engine.AttemptLost:
		o.FailureClass = engine.ClassInfra
	case engine.AttemptFailed, engine.AttemptSucceeded, engine.AttemptDispatched, engine.AttemptRunning:
		o.FailureClass = engine.ClassUser
	}
	return o
}

// kept bounds what an ant may name, and how long it is kept.
func kept(all []execution.Kept) []execution.Kept {
	all = all[:min(len(all), execution.MostArtifacts)]
	out := make([]execution.Kept, len(all))
	for i, a := range all {
		if out[i] = a; a.Age <= 0 {
			out[i].Age = execution.ArtifactAge
		}
		out[i].Age = min(out[i].Age, execution.MostArtifactAge)
	}
	return out
}

// cached is what can be stored of what an ant says of a cache.
func cached(c *execution.CacheUse) *execution.CacheUse {
	if c == nil {
		return nil
	}
	out := *c
	out.Key, out.FoundKey = storable.Text(c.Key), storable.Text(c.FoundKey)
	return &out
}
