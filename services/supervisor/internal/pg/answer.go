package pg

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/google/uuid"

	"github.com/formicary/formicary/libs/errs"
	"github.com/formicary/formicary/libs/jobspec"
	"github.com/formicary/formicary/libs/jobspec/plan"
	"github.com/formicary/formicary/libs/jobspec/source"
	"github.com/formicary/formicary/libs/jobspec/template"
	"github.com/formicary/formicary/services/supervisor/internal/definition"
)

// answers are the definitions that a step needs. A step that needs one that is not known ends without a trace and is
// repeated once it is: job-manager is never asked while locks are held.
type answers struct {
	store  *Store
	known  map[definition.Key]*jobspec.Definition
	faults map[definition.Key]string // definitions that can never be had: their tasks fail
	unable map[uuid.UUID]bool        // runs that cannot go on now, because theirs cannot be had now
}

// informed calls f, a transaction with a step, until it has all the definitions that it wants.
func (s *Store) informed(ctx context.Context, f func(*answers) error) error {
	a := &answers{store: s}
	for {
		err := f(a)
		want, ok := errors.AsType[*wanted](err)
		if !ok {
			return err
		}
		if err := a.fetch(ctx, want); err != nil {
			return err
		}
	}
}

// wanted is the end of a step that needs definitions.
type wanted struct {
	by map[definition.Key][]uuid.UUID // the runs that need them
}

func (w *wanted) Error() string { return fmt.Sprintf("%d definitions are needed", len(w.by)) }

func keyOf(r *run) definition.Key { return definition.Key{Org: r.Org, ID: r.Definition} }

// definition returns what the run was made of; known says that the answer is final.
func (a *answers) definition(r *run) (def *jobspec.Definition, known bool) {
	k := keyOf(r)
	if def = a.known[k]; def != nil {
		return def, true
	}
	if _, bad := a.faults[k]; bad {
		return nil, true
	}
	if def = a.store.definitions.Known(k); def == nil {
		return nil, false
	}
	a.keep(k, def)
	return def, true
}

// keep holds a definition for the whole step: the cache may forget it.
func (a *answers) keep(k definition.Key, def *jobspec.Definition) {
	if a.known == nil {
		a.known = map[definition.Key]*jobspec.Definition{}
	}
	a.known[k] = def
}

// know ends the step if definitions have to be asked for first.
func (a *answers) know(runs []*run) error {
	var w *wanted
	for _, r := range runs {
		if len(r.state.Need().Decide) == 0 {
			continue
		}
		if _, ok := a.definition(r); ok {
			continue
		}
		if w == nil {
			w = &wanted{by: map[definition.Key][]uuid.UUID{}}
		}
		w.by[keyOf(r)] = append(w.by[keyOf(r)], r.ID)
	}
	if w == nil {
		return nil
	}
	return w
}

// fetchTime bounds the wait for a definition: the other runs of the step wait, too.
const fetchTime = 2 * time.Second

// fetch asks for definitions. Runs whose definition cannot be had now are left out of the step, so that the others go on.
func (a *answers) fetch(ctx context.Context, w *wanted) error {
	for k, runs := range w.by {
		def, err := a.get(ctx, k)
		var bad source.Problems
		switch {
		case err == nil:
			a.keep(k, def)
		case ctx.Err() != nil:
			return fmt.Errorf("get definition %s: %w", k.ID, err)
		case errors.As(err, &bad), errs.CodeOf(err) == errs.CodeNotFound:
			if a.faults == nil {
				a.faults = map[definition.Key]string{}
			}
			a.faults[k] = err.Error()
		default:
			a.store.log.Warn("runs cannot go on without their definition", "definition", k.ID, "runs", len(runs), "error", err)
			if a.unable == nil {
				a.unable = map[uuid.UUID]bool{}
			}
			for _, id := range runs {
				a.unable[id] = true
			}
		}
	}
	return nil
}

func (a *answers) get(ctx context.Context, k definition.Key) (*jobspec.Definition, error) {
	ctx, cancel := context.WithTimeout(ctx, fetchTime)
	defer cancel()
	return a.store.definitions.Get(ctx, k)
}

// answer gives the run what it asked for: decisions and how children stand.
func (st *step) answer(r *run) error {
	need := r.state.Need()
	if len(need.Decide) > 0 {
		if err := st.decide(r, need.Decide); err != nil {
			return err
		}
	}
	for idx, g := range r.keeps(need) {
		r.state.Keep(idx, st.kept[g])
	}
	for _, idx := range need.Children {
		r.state.Children(idx, r.family.of(idx), st.now)
	}
	return nil
}

// decide decides about tasks as far as it knows what that needs. What it lacks is wanted: it is loaded with what the run
// needs next, and the tasks that have got no decision ask again.
func (st *step) decide(r *run, tasks []int) error {
	def, _ := st.answers.definition(r)
	if def == nil {
		for _, idx := range tasks {
			r.state.Decide(idx, &plan.Decision{Fault: st.answers.faults[keyOf(r)]})
		}
		return nil
	}
	if r.context == nil {
		return fmt.Errorf("no variables of execution %s", r.ID)
	}
	// What this step has ended is past, too.
	r.past.See(r.state)
	r.context.Outlook = r.state.Job.Outlook()
	asker, err := definition.NewAsker(r.context, r.past)
	lacking := map[string]bool{} // tasks of the definition: the items of one want the same
	for _, idx := range tasks {
		t := r.state.Tasks[idx]
		if err != nil {
			r.state.Decide(idx, &plan.Decision{Fault: err.Error()})
			continue
		}
		if lacking[t.Spec.Name] {
			continue
		}
		var seen template.Lookups
		d := asker.Ask(def, t, &seen)
		if want := r.past.Lacks(&seen); !want.Empty() {
			r.want.add(want)
			lacking[t.Spec.Name] = true
			continue
		}
		r.state.Decide(idx, d)
	}
	return nil
}
