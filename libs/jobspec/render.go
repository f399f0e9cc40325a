package jobspec

import (
	"time"

	"github.com/formicary/formicary/libs/jobspec/graph"
	"github.com/formicary/formicary/libs/jobspec/plan"
	"github.com/formicary/formicary/libs/jobspec/read"
	"github.com/formicary/formicary/libs/jobspec/source"
	"github.com/formicary/formicary/libs/jobspec/template"
	"github.com/formicary/formicary/libs/jobspec/value"
	"github.com/formicary/formicary/libs/placement"
)

// Plan renders the definition for one run. vars are the parameters and the built-in variables. err is Problems.
func (d *Definition) Plan(vars value.Vars) (*plan.Plan, error) { return d.plan(vars, nil) }

// PlanWith is Plan with a host for the functions that count and submit jobs. An error of the host is returned as it is;
// other errors are Problems.
func (d *Definition) PlanWith(host template.Host, vars value.Vars) (*plan.Plan, error) {
	if host == nil || d.program == nil {
		return d.Plan(vars)
	}
	h := &template.Hosting{Host: host}
	plan, err := d.plan(value.Merged(vars), h)
	if h.Err != nil {
		return nil, h.Err
	}
	return plan, err
}

func (d *Definition) plan(vars value.Vars, h *template.Hosting) (*plan.Plan, error) {
	if d.static != nil && !d.conditional && !d.overridden(vars) {
		plan := *d.static
		plan.Vars = value.Merged(d.jobVars, template.BelowJob(vars, d.jobVars))
		return &plan, nil
	}
	c := &source.Collector{File: d.file}
	s, sh := d.openWith(vars, h, c)
	r := d.reader(c, sh, s)
	r.Later = true
	out := r.whole()
	if out != nil {
		r.checkStarts(out)
	}
	if _, err := c.Split(); err != nil || out == nil {
		return nil, err
	}
	out.plan.Vars = value.Merged(s.Job, s.Vars)
	return &out.plan, nil
}

// overridden reports whether a request gives a variable that a task of a static plan sets too.
func (d *Definition) overridden(vars value.Vars) bool {
	if len(d.own) == 0 {
		return false
	}
	for name := range vars {
		if d.own[name] {
			return true
		}
	}
	return false
}

// open finds the job's variables and the shape of the text for a rendering. The job's variables stand in the text that
// is rendered with them, so they are read first from a rendering without them.
func (d *Definition) open(vars value.Vars, l *template.Lookups, c *source.Collector) (*template.Scope, *rendering) {
	return d.openIn(&template.Scope{Vars: vars, JobType: d.JobType, Lookups: l}, c)
}

func (d *Definition) openWith(vars value.Vars, h *template.Hosting, c *source.Collector) (*template.Scope, *rendering) {
	return d.openIn(&template.Scope{Vars: vars, JobType: d.JobType, Hosting: h}, c)
}

func (d *Definition) openIn(s *template.Scope, c *source.Collector) (*template.Scope, *rendering) {
	h := s.Hosting
	if d.program == nil {
		s.Job = d.jobVars
		s.Vars = template.BelowJob(s.Vars, s.Job)
		return s, d.fixed
	}
	first := d.firstShape(s)
	if first.Root == nil {
		first = d.shapeFor(&template.Scope{Vars: s.Vars, JobType: d.JobType, Lenient: true, Lookups: s.Lookups}, template.GuessYes)
	}
	if !hasJobVariables(first.Root) {
		return s, d.shapeFor(s, template.GuessYes)
	}
	r := d.reader(c, first, s)
	s.Job = r.jobVariables(first.Root)
	if h == nil || !h.Vague {
		s.Job = read.Known(s.Job)
	}
	s.Vars = template.BelowJob(s.Vars, s.Job)
	return s, d.shapeFor(s, template.GuessYes)
}

// firstShape is the shape without the job's variables. A host does nothing for it: what is asked for may depend on them.
func (d *Definition) firstShape(s *template.Scope) *rendering {
	if h := s.Hosting; h != nil {
		vague := h.Vague
		h.Vague = true
		defer func() { h.Vague = vague }()
	}
	return d.shapeFor(s, template.GuessYes)
}

// checkStarts reports variables that are not set and that no task can set, because none ends before.
func (r *reader) checkStarts(out *draft) {
	for i, first := range graph.Starts(out.plan.Tasks) {
		if !first || r.Blank {
			continue
		}
		for k := range out.tasks[i].unset {
			template.AddFault(r.Collector, r.Source, &out.tasks[i].unset[k])
		}
	}
}

// StartClasses returns the placement classes of the tasks that start at once. It is cheap when no template decides
// method, tags or structure. The result is read only.
func (d *Definition) StartClasses(vars value.Vars) ([]placement.Class, error) {
	s, err := d.Start(vars)
	return s.Classes, err
}

// Start returns what the job needs to start. It is as cheap as StartClasses. The result is read only.
func (d *Definition) Start(vars value.Vars) (plan.Start, error) {
	if d.start != nil {
		return *d.start, nil
	}
	rendered, err := d.plan(vars, &template.Hosting{Vague: true})
	if err != nil {
		return plan.Start{}, err
	}
	return rendered.Start(), nil
}

// Task renders one task at its claim. vars are those of the plan and what is known since: outputs of earlier tasks and
// counters such as JobRetry. Of the result the Spec and Skip are new; name, edges and placement stay those of the plan.
// err is Problems.
func (d *Definition) Task(name string, vars value.Vars) (*plan.Task, error) {
	return d.TaskWith(name, vars, nil)
}

// TaskWith is Task and notes what it looks at of the variables.
func (d *Definition) TaskWith(name string, vars value.Vars, l *template.Lookups) (*plan.Task, error) {
	if d.static != nil && !d.conditional && !d.overridden(vars) {
		if i, ok := d.index[name]; ok {
			t := d.static.Tasks[i]
			return &t, nil
		}
		return nil, d.notRendered(name)
	}
	s, err := d.section(name, vars, l)
	if err != nil {
		return nil, err
	}
	defer s.hosted(l)()
	t, err := s.read(nil)
	if err != nil {
		return nil, err
	}
	t.task.Late = false
	return &t.task, nil
}

// section is one task's part of the text, found for a rendering.
type section struct {
	*reader
	node   *source.Node
	within span
	grace  time.Duration
}

// section finds the section of a task. err is Problems.
func (d *Definition) section(name string, vars value.Vars, l *template.Lookups) (*section, error) {
	c := &source.Collector{File: d.file}
	s, sh := d.open(vars, l, c)
	for _, p := range sh.Problems {
		c.Add(p)
	}
	list := sh.Root.Get("tasks")
	if list == nil {
		if _, err := c.Split(); err != nil {
			return nil, err
		}
		return nil, d.notRendered(name)
	}
	r := d.reader(c, sh, s)
	i, ok := r.find(list, name)
	if !ok {
		return nil, d.notRendered(name)
	}
	grace := defaultGrace
	if n := sh.Root.Get("timeouts").Get("grace"); n != nil {
		grace = r.Duration(n)
	}
	return &section{reader: r, node: list.Items[i], within: r.extent(list, i), grace: grace}, nil
}

// hosted lets the host of l answer while the section is read, and notes what became of that. What stands around the
// section was rendered without one: every claim renders it.
func (s *section) hosted(l *template.Lookups) (note func()) {
	h := l.Hosting()
	s.Machine.Scope.Hosting = h
	return func() {
		if h != nil {
			l.Asked, l.HostErr = h.Asked, h.Err
		}
	}
}

// read reads the section; item are the variables of an item, if it is one. err is Problems.
func (s *section) read(item value.Vars) (*taskDraft, error) {
	s.Machine.Scope.Item = item
	s.Moment.Item = item != nil
	t := s.task(s.node, s.within, s.grace)
	if _, err := s.Collector.Split(); err != nil {
		return nil, err
	}
	return &t, nil
}

func (d *Definition) notRendered(name string) error {
	return source.Problems{{
		File: d.file, Code: source.CodeTaskNotInRendering, Field: name,
		Message: "the task " + source.QuoteName(name) + " is not in the rendered definition", Expected: "a task of the plan",
	}}
}

// find returns the number of a task. Where names depend on no variable they are looked up in a table.
func (r *reader) find(list *source.Node, name string) (int, bool) {
	if table := r.rendering.table(r, list); table != nil {
		i, ok := table[name]
		return i, ok
	}
	quiet := *r.Reader
	quiet.Collector = &source.Collector{}
	for i, n := range list.Items {
		if at := n.Get("task_type"); at != nil {
			if text, ok := quiet.Planned(at); ok && text == name {
				return i, true
			}
		}
	}
	return 0, false
}
