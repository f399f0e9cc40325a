package step

import (
	"fmt"

	"github.com/formicary/formicary/libs/jobspec/plan"
	"github.com/formicary/formicary/libs/jobspec/template"
	"github.com/formicary/formicary/services/supervisor/internal/definition"
)

// Decisions are made with what has ended of a run. Of that only what they look at is read, whose names are known once
// they have looked: first what the plan saw, then what was missing, until nothing is.

// pastOf is what a batch knows of the past of a run, and what it lacks.
type pastOf struct {
	*definition.Past
	lacking definition.Wants
}

// wantPast adds what is to be read before the run can be asked about tasks: the variables that the plan was rendered with
// are looked at again.
func (r *runState) wantPast(n *Needs, tasks []int) {
	if r.past.Past == nil {
		r.past.Past = &definition.Past{}
		seen := template.Lookups{Vars: map[string]bool{}}
		for _, idx := range tasks {
			if t := r.state.Tasks[idx]; t != nil {
				for _, name := range t.Spec.Uses {
					seen.Vars[name] = true
				}
			}
		}
		r.past.lacking.Add(r.past.Lacks(&seen))
	}
	if r.context == nil {
		n.Contexts = append(n.Contexts, r.ID)
	}
	if !r.past.lacking.Empty() {
		n.Past = append(n.Past, Past{r.ID, r.past.lacking})
		r.past.lacking = definition.Wants{}
	}
}

func (b *batch) addPast(l *Loaded) {
	for _, c := range l.Contexts {
		if r := b.runs[c.ID]; r != nil {
			c.Run, c.Now = r.Run, b.now
			r.context = c
		}
	}
	for _, o := range l.Outputs {
		if r := b.runs[o.Execution]; r != nil {
			r.past.AddOutput(o.Name, o.Value, o.Idx, o.At)
		}
	}
	for _, f := range l.Facts {
		if r := b.runs[f.Execution]; r != nil {
			r.past.AddFact(f.Idx, f.Name, f.At, f.TaskFact)
		}
	}
}

// answer gives the run what it asked for: decisions and how children stand.
func (b *batch) answer(r *runState) error {
	need := r.state.Need()
	if len(need.Decide) > 0 {
		if err := b.decide(r, need.Decide); err != nil {
			return err
		}
	}
	for idx, g := range r.keptGroups(need) {
		r.state.Keep(idx, b.kept[g])
	}
	for _, idx := range need.Children {
		r.state.Children(idx, r.children.of(idx), b.now)
	}
	return nil
}

// decide decides about tasks as far as it knows what that needs. What it lacks is loaded with what the run needs next, and
// the tasks that have got no decision ask again.
func (b *batch) decide(r *runState, tasks []int) error {
	def, _ := b.known.definition(r)
	if def == nil {
		for _, idx := range tasks {
			r.state.Decide(idx, &plan.Decision{Fault: b.known.faults[keyOf(r)]})
		}
		return nil
	}
	if r.context == nil {
		return fmt.Errorf("no variables of execution %s", r.ID)
	}
	// What this step has ended is past, too.
	r.past.See(r.state)
	r.context.Outlook = r.state.Job.Outlook()
	asker, err := definition.NewAsker(r.context, r.past.Past)
	lacking := map[string]bool{} // tasks of the definition: the items of one lack the same
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
		if more := r.past.Lacks(&seen); !more.Empty() {
			r.past.lacking.Add(more)
			lacking[t.Spec.Name] = true
			continue
		}
		r.state.Decide(idx, d)
	}
	return nil
}
