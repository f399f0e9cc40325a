package step

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/google/uuid"

	"github.com/formicary/formicary/libs/errs"
	"github.com/formicary/formicary/libs/jobspec"
	"github.com/formicary/formicary/libs/jobspec/source"
	"github.com/formicary/formicary/services/supervisor/internal/definition"
)

// Definitions answers for pinned versions. Known asks nobody, so that it may be called while locks are held.
type Definitions interface {
	Known(k definition.Key) *jobspec.Definition
	Get(ctx context.Context, k definition.Key) (*jobspec.Definition, error)
}

// known are the definitions that a step needs. A step that needs one that is not known ends without a trace and is
// repeated once it is: job-manager is never asked while locks are held.
type known struct {
	stepper     *Stepper
	definitions map[definition.Key]*jobspec.Definition
	faults      map[definition.Key]string // definitions that can never be had: their tasks fail
	away        map[uuid.UUID]bool        // runs that cannot go on now, because theirs cannot be had now
}

// withDefinitions calls f, a transaction with a step, until it has all the definitions that it needs.
func (s *Stepper) withDefinitions(ctx context.Context, f func(*known) error) error {
	k := &known{
		stepper: s, definitions: map[definition.Key]*jobspec.Definition{}, faults: map[definition.Key]string{}, away: map[uuid.UUID]bool{},
	}
	for {
		err := f(k)
		needs, ok := errors.AsType[*needsDefinitions](err)
		if !ok {
			return err
		}
		if err := k.fetch(ctx, needs); err != nil {
			return err
		}
	}
}

// needsDefinitions is the end of a step that needs definitions.
type needsDefinitions struct {
	by map[definition.Key][]uuid.UUID // the runs that need them
}

func (n *needsDefinitions) Error() string { return fmt.Sprintf("%d definitions are needed", len(n.by)) }

func keyOf(r *runState) definition.Key { return definition.Key{Org: r.Org, ID: r.Definition} }

// definition returns what the run was made of; final says that the answer is.
func (k *known) definition(r *runState) (def *jobspec.Definition, final bool) {
	key := keyOf(r)
	if def = k.definitions[key]; def != nil {
		return def, true
	}
	if _, bad := k.faults[key]; bad {
		return nil, true
	}
	if def = k.stepper.definitions.Known(key); def == nil {
		return nil, false
	}
	k.definitions[key] = def // for the whole step: the cache may forget it
	return def, true
}

// require ends the step if definitions have to be asked for first.
func (k *known) require(runs []*runState) error {
	n := &needsDefinitions{by: map[definition.Key][]uuid.UUID{}}
	for _, r := range runs {
		if len(r.state.Need().Decide) == 0 {
			continue
		}
		if _, ok := k.definition(r); !ok {
			n.by[keyOf(r)] = append(n.by[keyOf(r)], r.ID)
		}
	}
	if len(n.by) == 0 {
		return nil
	}
	return n
}

// fetchTime bounds the wait for a definition: the other runs of the step wait, too.
const fetchTime = 2 * time.Second

// fetch asks for definitions. Runs whose definition cannot be had now are left out of the step, so that the others go on.
func (k *known) fetch(ctx context.Context, n *needsDefinitions) error {
	for key, runs := range n.by {
		def, err := k.get(ctx, key)
		var bad source.Problems
		switch {
		case err == nil:
			k.definitions[key] = def
		case ctx.Err() != nil:
			return fmt.Errorf("get definition %s: %w", key.ID, err)
		case errors.As(err, &bad), errs.CodeOf(err) == errs.CodeNotFound:
			k.faults[key] = err.Error()
		default:
			k.stepper.log.Warn("runs cannot go on without their definition", "definition", key.ID, "runs", len(runs), "error", err)
			for _, id := range runs {
				k.away[id] = true
			}
		}
	}
	return nil
}

func (k *known) get(ctx context.Context, key definition.Key) (*jobspec.Definition, error) {
	ctx, cancel := context.WithTimeout(ctx, fetchTime)
	defer cancel()
	return k.stepper.definitions.Get(ctx, key)
}
