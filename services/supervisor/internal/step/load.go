package step

import (
	"context"
	"fmt"

	"github.com/formicary/formicary/libs/jobspec/plan"
	"github.com/formicary/formicary/services/supervisor/internal/engine"
	"github.com/formicary/formicary/services/supervisor/internal/execution"
)

// loadMore loads what the runs need, in one round trip, and answers what they ask.
func (b *batch) loadMore(ctx context.Context, runs []*runState) error {
	if err := b.known.require(runs); err != nil {
		return err
	}
	if n := needsOf(runs); !n.Empty() {
		if err := b.read(ctx, n); err != nil {
			return err
		}
	}
	if err := b.specify(ctx); err != nil {
		return err
	}
	opened := false
	for _, r := range runs {
		need := r.state.Need()
		if err := r.loaded(need); err != nil {
			return err
		}
		opened = opened || need.Open || len(need.Items) > 0
	}
	if opened {
		b.addLive()
	}
	for _, r := range runs {
		if err := b.answer(r); err != nil {
			return err
		}
	}
	return nil
}

// read reads what the runs need. Where children are counted, what this step makes of children is written first.
func (b *batch) read(ctx context.Context, n *Needs) error {
	if len(n.Children) > 0 {
		if err := b.tx.Save(&Writes{Now: b.now, Effects: b.writes.Effects, Vote: b.writes.Vote}); err != nil {
			return err
		}
		b.writes.Effects, b.writes.Vote = Effects{}, nil
	}
	l, err := b.tx.Load(ctx, n)
	if err != nil {
		return err
	}
	b.add(l)
	return nil
}

// Empty says that nothing is to be read.
func (n *Needs) Empty() bool {
	return len(n.Out)+len(n.Tasks)+len(n.Items)+len(n.Results)+len(n.Open)+len(n.Trailing)+len(n.Contexts)+len(n.Past)+len(n.Kept)+
		len(n.Children) == 0 && n.Approval == nil
}

// needsOf puts together what runs need, so that it is loaded in one round trip.
func needsOf(runs []*runState) *Needs {
	n := &Needs{}
	for _, r := range runs {
		need := r.state.Need()
		n.Out = append(n.Out, r.tasks(need.Out)...)
		n.Tasks = append(n.Tasks, r.tasks(need.Tasks)...)
		n.Items = append(n.Items, r.tasks(need.Items)...)
		n.Results = append(n.Results, r.tasks(need.Results)...)
		for _, g := range need.Results {
			if r.state.Results == nil {
				r.state.Results = map[int][]plan.ItemResult{}
			}
			r.state.Results[g] = nil
		}
		if need.Open {
			n.Open = append(n.Open, r.ID)
		} else if need.Trailing {
			n.Trailing = append(n.Trailing, r.ID)
		}
		if len(need.Decide) > 0 {
			r.wantPast(n, need.Decide)
		}
		for _, g := range r.keptGroups(need) {
			n.Kept = append(n.Kept, g)
		}
		n.Children = append(n.Children, r.unreadChildren(need)...)
	}
	return n
}

func (r *runState) tasks(idx []int) []Task {
	tasks := make([]Task, len(idx))
	for i, x := range idx {
		tasks[i] = Task{r.ID, x}
	}
	return tasks
}

// keptGroups are the fan-outs whose completed items a run keeps, by index.
func (r *runState) keptGroups(need engine.Need) map[int]KeptGroup {
	groups := make(map[int]KeptGroup, len(need.Kept))
	for _, idx := range need.Kept {
		t := r.state.Tasks[idx]
		groups[idx] = KeptGroup{execution.Key{Request: r.Request, Run: t.KeepOf}, t.Spec.Name}
	}
	return groups
}

// loaded tells the run that what it needed is there. What was asked for and does not exist is a fault of its records: to
// ask for it again would hold the run's lock for ever.
func (r *runState) loaded(need engine.Need) error {
	for _, i := range need.Tasks {
		if r.state.Tasks[i] == nil {
			return fmt.Errorf("execution %s has no task %d, which one of its tasks counts on", r.ID, i)
		}
	}
	for _, i := range need.Out {
		for _, e := range r.state.Out[i] {
			if r.state.Tasks[e.To] == nil {
				return fmt.Errorf("execution %s has no task %d, to which an edge of task %d leads", r.ID, e.To, i)
			}
		}
	}
	for _, i := range need.Out {
		if _, ok := r.state.Out[i]; !ok {
			r.state.Out[i] = nil
		}
	}
	if need.Trailing || need.Open {
		r.state.TrailingLoaded = true
	}
	r.state.AllOpen = r.state.AllOpen || need.Open
	for _, g := range need.Items {
		if r.state.ItemsLoaded == nil {
			r.state.ItemsLoaded = map[int]bool{}
		}
		r.state.ItemsLoaded[g] = true
	}
	return nil
}

// item is an item of a fan-out that was read.
type item struct {
	r *runState
	t *engine.Task
}

// group returns the group of an item, nil when it is not loaded.
func (x item) group() *engine.Task { return x.r.state.Tasks[x.t.Group] }

// specify gives the items that were read the spec of their group.
func (b *batch) specify(ctx context.Context) error {
	var lost []item
	var missing []Task
	for _, x := range b.items {
		if g := x.group(); g != nil {
			x.t.Spec = g.Spec
			continue
		}
		lost = append(lost, x)
		missing = append(missing, Task{x.r.ID, x.t.Group})
	}
	b.items = nil
	if len(lost) == 0 {
		return nil
	}
	l, err := b.tx.Load(ctx, &Needs{Tasks: missing})
	if err != nil {
		return fmt.Errorf("load groups of %d items: %w", len(lost), err)
	}
	b.add(l)
	for _, x := range lost {
		if g := x.group(); g != nil {
			x.t.Spec = g.Spec
		}
	}
	return nil
}

// loadNextItems reads as many items that groups release next as items of them may end in this batch: they would be
// asked for one after the other.
func (b *batch) loadNextItems(ctx context.Context) error {
	type group struct {
		r   *runState
		idx int
	}
	ends := map[group]int{}
	for _, r := range b.order {
		for _, i := range r.events {
			if t := r.state.Tasks[b.taskOf(&b.events[i])]; t != nil && t.IsItem() {
				ends[group{r, t.Group}]++
			}
		}
	}
	var next []Task
	for g, n := range ends {
		t := g.r.state.Tasks[g.idx]
		if t == nil || t.Items == nil || t.Items.Stopping {
			continue
		}
		for i := t.Items.Next; i < min(t.Items.Next+n, t.Items.Total); i++ {
			next = append(next, Task{g.r.ID, t.Items.First + i})
		}
	}
	if len(next) == 0 {
		return nil
	}
	l, err := b.tx.Load(ctx, &Needs{Tasks: next})
	if err != nil {
		return fmt.Errorf("load %d items: %w", len(next), err)
	}
	b.add(l)
	return b.specify(ctx)
}

func (b *batch) taskOf(e *execution.Event) int {
	if e.Kind == execution.AttemptEnded {
		if a := b.attempts[e.UID]; a != nil {
			return a.Idx
		}
		return -1
	}
	return e.Idx
}

func (b *batch) addResults(results []LoadedResult) {
	for _, x := range results {
		if r := b.runs[x.Group.Execution]; r != nil {
			r.state.Results[x.Group.Idx] = append(r.state.Results[x.Group.Idx], x.ItemResult)
		}
	}
}
