package definition

import (
	"cmp"
	"maps"
	"slices"
	"time"

	"github.com/formicary/formicary/libs/jobspec"
	"github.com/formicary/formicary/services/supervisor/internal/engine"
	"github.com/formicary/formicary/services/supervisor/internal/execution"
)

// Past is what has ended of a run, without the items of fan-outs: later tasks see what their groups make of them.
type Past struct {
	tasks map[int]ended
}

type ended struct {
	name string
	at   time.Time
	fact jobspec.TaskFact
}

// Add takes a task that has ended.
func (p *Past) Add(idx int, name string, at time.Time, fact jobspec.TaskFact) {
	if p.tasks == nil {
		p.tasks = map[int]ended{}
	}
	p.tasks[idx] = ended{name: name, at: at, fact: fact}
}

// See takes what has ended in a step, too.
func (p *Past) See(s *engine.State) {
	for _, t := range s.Tasks {
		if t.EndedAt == nil || !t.State.Terminal() || t.IsItem() {
			continue
		}
		p.Add(t.Idx, t.Spec.Name, *t.EndedAt, jobspec.TaskFact{
			State: string(t.State), ExitCode: t.ExitCode, FailureClass: t.FailureClass, Message: t.Message, Outputs: t.Outputs, Result: t.Result,
		})
	}
}

// Outputs are those of the tasks that completed, later ones over earlier.
func (p *Past) Outputs() map[string]string {
	order := slices.SortedFunc(maps.Keys(p.tasks), func(a, b int) int {
		return cmp.Or(p.tasks[a].at.Compare(p.tasks[b].at), cmp.Compare(a, b))
	})
	out := map[string]string{}
	for _, idx := range order {
		if t := p.tasks[idx]; t.fact.State == string(engine.TaskCompleted) {
			maps.Copy(out, t.fact.Outputs)
		}
	}
	return out
}

// Facts are the tasks by their names.
func (p *Past) Facts() map[string]jobspec.TaskFact {
	facts := make(map[string]jobspec.TaskFact, len(p.tasks))
	for _, t := range p.tasks {
		facts[t.name] = t.fact
	}
	return facts
}

// Asker answers what the engine asks about tasks of one run that are about to start.
type Asker struct {
	job   *execution.Context
	vars  jobspec.Vars
	facts map[string]jobspec.TaskFact
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

// Ask answers for a task.
func (a *Asker) Ask(def *jobspec.Definition, t *engine.Task) *jobspec.Decision {
	q := Question{Task: t.Spec.Name, Vars: maps.Clone(a.vars), Tasks: a.facts}
	q.Vars["TaskType"], q.Vars["TaskRetry"] = t.Spec.Name, int64(t.UserTries+t.InfraTries)
	if t.IsItem() {
		q.Item = &execution.Item{Item: jobspec.Item{Name: t.ItemName, Value: t.ItemValue}, Group: t.Spec.Name, Index: t.Item}
		if t.Spec.FanOut != nil {
			maps.Copy(q.Vars, ItemVariables(t.Spec.FanOut, q.Item))
		}
	}
	return Decide(def, q)
}
