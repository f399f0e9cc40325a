package definition

import (
	"cmp"
	"maps"
	"slices"
	"time"

	"github.com/formicary/formicary/libs/jobspec"
	"github.com/formicary/formicary/libs/jobspec/condition"
	"github.com/formicary/formicary/libs/jobspec/plan"
	"github.com/formicary/formicary/libs/jobspec/template"
	"github.com/formicary/formicary/libs/jobspec/value"
	"github.com/formicary/formicary/services/supervisor/internal/engine"
	"github.com/formicary/formicary/services/supervisor/internal/execution"
)

// Past is what has ended of a run, without the items of fan-outs: later tasks see what their groups make of them. It
// holds what it was given; of a run of thousands of tasks that is what Lacks has asked for.
type Past struct {
	tasks   map[int]ended     // by index
	outputs map[string]output // by name, the newest of the run when they were read
	facts   map[string]ended  // by name, as far as they were read
	asked   Wants             // and answered
}

type ended struct {
	idx  int
	name string
	at   time.Time
	fact condition.TaskFact
}

type output struct {
	idx   int
	at    time.Time
	value string
}

// Wants is what must be known of the past of a run for a decision.
type Wants struct {
	Outputs    map[string]bool // by name
	AllOutputs bool
	Tasks      map[string]template.TaskFields // by name
	AllTasks   bool
}

// Empty says that nothing is wanted.
func (w *Wants) Empty() bool {
	return len(w.Outputs)+len(w.Tasks) == 0 && !w.AllOutputs && !w.AllTasks
}

// Add adds what more is wanted. Of one task several may want different things.
func (w *Wants) Add(more Wants) {
	w.AllOutputs, w.AllTasks = w.AllOutputs || more.AllOutputs, w.AllTasks || more.AllTasks
	for name := range more.Outputs {
		put(&w.Outputs, name, true)
	}
	for name, fields := range more.Tasks {
		put(&w.Tasks, name, together(w.Tasks[name], fields))
	}
}

// Add takes a task that has ended.
func (p *Past) Add(idx int, name string, at time.Time, fact condition.TaskFact) {
	if p.tasks == nil {
		p.tasks = map[int]ended{}
	}
	p.tasks[idx] = ended{idx: idx, name: name, at: at, fact: fact}
}

// AddOutput takes an output that was asked for: the newest of its name.
func (p *Past) AddOutput(name, val string, idx int, at time.Time) {
	if p.outputs == nil {
		p.outputs = map[string]output{}
	}
	p.outputs[name] = output{idx: idx, at: at, value: val}
}

// AddFact takes what was asked for of a task that has ended. Of one that is given twice the outputs are put together.
func (p *Past) AddFact(idx int, name string, at time.Time, fact condition.TaskFact) {
	if p.facts == nil {
		p.facts = map[string]ended{}
	}
	if old, ok := p.facts[name]; ok {
		all := maps.Clone(old.fact.Outputs)
		if all == nil {
			all = map[string]string{}
		}
		maps.Copy(all, fact.Outputs)
		fact.Outputs = all
		fact.Result = cmp.Or(fact.Result, old.fact.Result)
	}
	p.facts[name] = ended{idx: idx, name: name, at: at, fact: fact}
}

// See takes what has ended in a step, too.
func (p *Past) See(s *engine.State) {
	for _, t := range s.Tasks {
		if t.EndedAt == nil || !t.State.Terminal() || t.IsItem() {
			continue
		}
		p.Add(t.Idx, t.Spec.Name, *t.EndedAt, condition.TaskFact{
			State: string(t.State), ExitCode: t.ExitCode, FailureClass: t.FailureClass, Message: t.Message, Outputs: t.Outputs, Result: t.Result,
		})
	}
}

// Lacks returns what a rendering has looked at and nobody has asked for yet; it counts as asked for from then on.
func (p *Past) Lacks(l *template.Lookups) Wants {
	var w Wants
	if l.All && !p.asked.AllOutputs {
		w.AllOutputs, p.asked.AllOutputs = true, true
	}
	if l.AllTasks && !p.asked.AllTasks {
		w.AllTasks, p.asked.AllTasks = true, true
	}
	for name := range l.Vars {
		if !p.asked.AllOutputs && !p.asked.Outputs[name] {
			put(&w.Outputs, name, true)
			put(&p.asked.Outputs, name, true)
		}
	}
	for name, fields := range l.Tasks {
		known, asked := p.asked.Tasks[name]
		if p.asked.AllTasks || asked && covers(known, fields) {
			continue
		}
		put(&w.Tasks, name, fields)
		put(&p.asked.Tasks, name, together(known, fields))
	}
	return w
}

func put[V any](m *map[string]V, key string, v V) {
	if *m == nil {
		*m = map[string]V{}
	}
	(*m)[key] = v
}

// covers says that a task of which known was asked holds all of fields.
func covers(known, fields template.TaskFields) bool {
	if fields.Result && !known.Result || fields.AllOutputs && !known.AllOutputs {
		return false
	}
	for key := range fields.Outputs {
		if !known.AllOutputs && !known.Outputs[key] {
			return false
		}
	}
	return true
}

func together(a, b template.TaskFields) template.TaskFields {
	outputs := make(map[string]bool, len(a.Outputs)+len(b.Outputs))
	maps.Copy(outputs, a.Outputs)
	maps.Copy(outputs, b.Outputs)
	return template.TaskFields{Result: a.Result || b.Result, AllOutputs: a.AllOutputs || b.AllOutputs, Outputs: outputs}
}

// Outputs are those of the tasks that have ended, however they did, later ones over earlier.
func (p *Past) Outputs() map[string]string {
	newest := maps.Clone(p.outputs)
	if newest == nil {
		newest = map[string]output{}
	}
	for _, idx := range slices.Sorted(maps.Keys(p.tasks)) {
		t := p.tasks[idx]
		if !engine.TaskState(t.fact.State).Gives() {
			continue
		}
		for name, v := range t.fact.Outputs {
			if old, ok := newest[name]; !ok || cmp.Or(old.at.Compare(t.at), cmp.Compare(old.idx, idx)) <= 0 {
				newest[name] = output{idx: idx, at: t.at, value: v}
			}
		}
	}
	out := make(map[string]string, len(newest))
	for name, o := range newest {
		out[name] = o.value
	}
	return out
}

// Facts are the tasks by their names.
func (p *Past) Facts() map[string]condition.TaskFact {
	facts := make(map[string]condition.TaskFact, len(p.tasks)+len(p.facts))
	for name, t := range p.facts {
		facts[name] = t.fact
	}
	for _, t := range p.tasks {
		facts[t.name] = t.fact
	}
	return facts
}

// Asker answers what the engine asks about tasks of one run that are about to start.
type Asker struct {
	job   *execution.Context
	vars  value.Vars
	facts map[string]condition.TaskFact
}

// NewAsker prepares the answers. Outputs of job are set to those of the past.
func NewAsker(job *execution.Context, past *Past) (*Asker, error) {
	job.Outputs = past.Outputs()
	vars, err := Variables(job, "", 0)
	if err != nil {
		return nil, err
	}
	return &Asker{job: job, vars: vars, facts: past.Facts()}, nil
}

// Ask answers for a task. What it looks at is noted in l, if that is given: the answer is wrong when the past lacks any
// of it.
func (a *Asker) Ask(def *jobspec.Definition, t *engine.Task, l *template.Lookups) *plan.Decision {
	q := Question{Task: t.Spec.Name, Vars: maps.Clone(a.vars), Tasks: a.facts, Lookups: l}
	q.Vars["TaskType"], q.Vars["TaskRetry"] = t.Spec.Name, int64(t.Tries())
	if t.IsItem() {
		q.Item = &execution.Item{Item: plan.Item{Name: t.ItemName, Value: t.ItemValue}, Group: t.Spec.Name, Index: t.Item}
		if t.Spec.FanOut != nil {
			maps.Copy(q.Vars, ItemVariables(t.Spec.FanOut, q.Item))
		}
	}
	return Decide(def, q)
}
