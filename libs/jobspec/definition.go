package jobspec

import (
	"bytes"
	"slices"
	"strings"
	"sync"

	"github.com/formicary/formicary/libs/jobspec/condition"
	"github.com/formicary/formicary/libs/jobspec/graph"
	"github.com/formicary/formicary/libs/jobspec/lint"
	"github.com/formicary/formicary/libs/jobspec/param"
	"github.com/formicary/formicary/libs/jobspec/plan"
	"github.com/formicary/formicary/libs/jobspec/read"
	"github.com/formicary/formicary/libs/jobspec/schedule"
	"github.com/formicary/formicary/libs/jobspec/source"
	"github.com/formicary/formicary/libs/jobspec/template"
	"github.com/formicary/formicary/libs/jobspec/trigger"
	"github.com/formicary/formicary/libs/jobspec/value"
)

// Definition is a checked job definition. It is immutable and safe for concurrent use.
type Definition struct {
	// JobType is the name of the job.
	JobType     string
	Description string
	// SemVersion in its longest form: 1.0.0 for what says 1 or 1.0.
	SemVersion string
	// URL is a link for people.
	URL string
	// MaxConcurrency is how many runs of the job type there may be at once; 0 means no limit.
	MaxConcurrency int
	// Priority from 0 to 100.
	Priority int
	Disabled bool
	// RequiredParams are names that a request has to give; Params are the typed parameters.
	RequiredParams []string
	Params         []param.Param
	// PublicPlugin lets other organisations fork the job.
	PublicPlugin bool
	// Schedules start the job at times, Triggers at events; Retention is how long its runs are kept. They are checked and
	// stored, but nothing acts on them yet.
	Schedules []schedule.Schedule
	Triggers  []trigger.Trigger
	Retention schedule.Retention
	// Audience hears of a job that ends before it is rendered: what notify and webhook say without templates.
	Audience plan.Audience

	file    string
	lines   *source.Lines
	blank   bool              // undefined_variables: empty
	program *template.Program // nil when the text has no template
	taint   *template.Taint   // of the program, while it is checked
	// static is the plan of a text without templates; its Vars are not set. index finds its tasks.
	static *plan.Plan
	index  map[string]int
	// own are the names of all tasks' variables in a static plan: a request that gives one of them changes the plan.
	own map[string]bool
	// jobVars are the job's variables as far as they depend on nothing.
	jobVars value.Vars
	// start is what the job needs to start, when no variable decides it.
	start *plan.Start
	fixed *rendering // of a text without templates
	// conditions are the compiled expressions. conditional says that the plan of a text without templates depends on
	// them.
	conditions  condition.Set
	conditional bool

	mu     sync.Mutex
	shapes []*kept // the newest first
}

// kept is a shape of an earlier rendering.
type kept struct {
	shape  *rendering
	assume template.Guess
}

// Bounds of the shapes of a definition that are kept: how many, and the text of those after the newest.
const (
	maxKept     = 4
	maxKeptText = 1 << 20
)

// Parse reads and checks a definition. err is Problems, all faults at once; warnings do not keep the definition from
// being used. file is the name in the problems.
func Parse(file string, text []byte) (def *Definition, warnings source.Problems, err error) {
	return parseFrom(file, text, 1)
}

// parseFrom is Parse of a text that begins on a line of its file.
func parseFrom(file string, text []byte, first int) (def *Definition, warnings source.Problems, err error) {
	c := &source.Collector{File: file}
	text, ok := source.CheckText(text, first, c)
	if !ok {
		warnings, err = c.Split()
		return nil, warnings, err
	}
	text = trigger.Mask(text)
	d := &Definition{file: file, lines: source.NewLines(text), blank: read.BlankText(text)}
	d.lines.Before = first - 1
	var out *draft
	if bytes.Contains(text, []byte("{{")) {
		d.program = template.Compile(string(text), c, d.lines)
		if d.program != nil {
			out = d.checkTemplated(c)
		}
	} else {
		out = d.checkStatic(bytes.Clone(text), c)
	}
	warnings, err = c.Split()
	if err != nil {
		return nil, warnings, err
	}
	d.take(out)
	return d, warnings, nil
}

// take copies what is known of the job before it is rendered.
func (d *Definition) take(out *draft) {
	d.JobType, d.Description, d.SemVersion, d.URL = out.plan.JobType, out.description, out.semVersion, out.url
	d.MaxConcurrency, d.Priority, d.Disabled = out.plan.MaxConcurrency, out.plan.Priority, out.disabled
	d.Params, d.RequiredParams = out.params, out.requiredParams
	d.PublicPlugin, d.Schedules, d.Triggers, d.Retention = out.publicPlugin, out.schedules, out.triggers, out.retention
	d.Audience, d.blank = out.audience, out.blank
	if out.settled {
		start := out.plan.Start()
		d.start = &start
	}
}

// checkStatic reads a text without templates: once, for all runs.
func (d *Definition) checkStatic(text []byte, c *source.Collector) *draft {
	d.fixed = newRendering(&template.Shape{Text: text}, d.lines)
	r := d.reader(c, d.fixed, &template.Scope{})
	r.Checking = true // nothing is unknown but what conditions ask for
	out := r.whole()
	if out == nil {
		return nil
	}
	d.conditional = r.Moment.Asked
	d.jobVars = value.Vars{}
	if hasJobVariables(d.fixed.Root) {
		d.jobVars = d.reader(&source.Collector{}, d.fixed, &template.Scope{}).jobVariables(d.fixed.Root)
	}
	d.static = &out.plan
	d.index = make(map[string]int, len(out.plan.Tasks))
	d.own = map[string]bool{}
	for i := range out.plan.Tasks {
		d.index[out.plan.Tasks[i].Name] = i
		for name := range out.plan.Tasks[i].Spec.Variables {
			d.own[name] = true
		}
	}
	return out
}

// checkTemplated reads a text with templates while every variable is unknown. Where the structure depends on variables,
// it is read under several guesses: a fault of a part stands, a fault of the whole (a task that is not there, a key that
// comes twice) stands only when every guess has it, because only some combinations ever happen.
func (d *Definition) checkTemplated(c *source.Collector) *draft {
	d.taint = template.TaintOf(d.program)
	defer func() { d.taint = nil }()
	first, sh := d.attempt(template.GuessYes, value.Vars{}, value.Vars{})
	if !sh.Guessed {
		c.List = append(c.List, first.c.List...)
		d.jobVars = first.jobVars
		return first.draft
	}
	tried := d.guesses(first, len(sh.Text))
	d.judge(tried, c)
	out := pick(tried)
	if out.draft == nil && !c.Faulty() {
		out = d.header(sh, c)
	}
	if out.draft == nil {
		if !c.Faulty() { // no guess can be read, and they fail in different ways: the first one speaks
			for _, p := range first.c.List {
				c.Add(p)
			}
		}
		return nil
	}
	d.jobVars = out.jobVars
	if !d.checkDefaults(out, c) && !out.clean() {
		c.Add(source.Problem{
			Code: source.CodePartialCheck, Warning: true,
			Message:  "the structure depends on parameters in a way that could be checked in part only",
			Expected: "defaults for the parameters that decide it; the launch checks the rest",
		})
	}
	return out.draft
}

// maxGuessed bounds the text that the guesses after the first two render.
const maxGuessed = 1 << 20

// guesses reads the text under further guesses, until one is without faults of the whole.
func (d *Definition) guesses(first attempt, size int) []attempt {
	no, sh := d.attempt(template.GuessNo, value.Vars{}, value.Vars{})
	tried := []attempt{first, no}
	size += len(sh.Text)
	for g := template.GuessNo + 1; g < template.Guesses && size < maxGuessed && !pick(tried).clean(); g++ {
		next, sh := d.attempt(g, value.Vars{}, value.Vars{})
		tried = append(tried, next)
		size += len(sh.Text)
	}
	return tried
}

// pick returns the attempt that found the least wrong with the whole.
func pick(tried []attempt) attempt {
	for _, a := range tried {
		if a.clean() {
			return a
		}
	}
	for _, a := range tried {
		if a.draft != nil {
			return a
		}
	}
	return tried[0]
}

// judge reports what is wrong under all guesses, and what is wrong with parts under the two plain ones.
func (d *Definition) judge(tried []attempt, c *source.Collector) {
	count := map[source.Problem]int{}
	for _, a := range tried {
		for _, p := range a.c.List {
			count[p]++
		}
	}
	for _, a := range tried[:2] {
		for _, p := range a.c.List {
			if !ofWhole(p.Code) || count[p] == len(tried) {
				c.Add(p)
			}
		}
	}
}

// header reads what stands before the tasks, of a text that can be read as a whole only when its variables are known.
func (d *Definition) header(sh *rendering, c *source.Collector) attempt {
	end := 0
	if !bytes.HasPrefix(sh.Text, []byte("tasks:")) {
		end = 1 + bytes.Index(sh.Text, []byte("\ntasks:"))
	}
	if end == 0 {
		return attempt{}
	}
	head := newRendering(&template.Shape{Text: sh.Text[:end], Tokens: sh.Tokens, Segments: sh.Segments, Guessed: true}, d.lines)
	a := d.read(head, &template.Scope{Vars: value.Vars{}, Job: value.Vars{}, Lenient: true})
	if a.draft == nil || a.draft.plan.JobType == "" {
		return attempt{}
	}
	for _, p := range a.c.List {
		if !ofWhole(p.Code) {
			c.Add(p)
		}
	}
	return a
}

// checkDefaults reads the text once more with the values that are used when a request gives none. If they settle the
// structure it returns true: faults of the whole are certain then.
func (d *Definition) checkDefaults(out attempt, c *source.Collector) bool {
	defaults := value.Vars{}
	for i := range out.draft.params {
		if p := &out.draft.params[i]; p.Default != nil {
			defaults[p.Name] = p.Default
		}
	}
	if len(defaults)+len(out.jobVars) == 0 || c.Faulty() {
		return false
	}
	again, sh := d.attempt(template.GuessYes, defaults, out.jobVars)
	if sh.Guessed {
		return false
	}
	for _, p := range again.c.List {
		if p.Code != source.CodeMissingField {
			c.Add(p)
		}
	}
	return true
}

// attempt is one reading of a text whose variables are not known.
type attempt struct {
	c       *source.Collector
	draft   *draft // nil when the text cannot be read
	jobVars value.Vars
}

// clean says that nothing is wrong between the parts.
func (a attempt) clean() bool {
	return a.draft != nil && !slices.ContainsFunc(a.c.List, func(p source.Problem) bool { return !p.Warning && ofWhole(p.Code) })
}

func (d *Definition) attempt(assume template.Guess, vars, job value.Vars) (attempt, *rendering) {
	s := &template.Scope{Vars: vars, Job: job, Lenient: true}
	sh := d.shapeFor(s, assume)
	return d.read(sh, s), sh
}

func (d *Definition) read(sh *rendering, s *template.Scope) attempt {
	a := attempt{c: &source.Collector{File: d.file}}
	r := d.reader(a.c, sh, s)
	r.Checking = true
	if a.draft = r.whole(); a.draft != nil {
		lint.Warn(d.reader(a.c, sh, s).Reader, d.taint, lint.Job{Params: a.draft.params, Required: a.draft.requiredParams, Needed: a.draft.needed})
	}
	if hasJobVariables(sh.Root) && a.draft != nil {
		a.jobVars = read.Known(d.quiet(sh, s).jobVariables(sh.Root))
	}
	return a
}

// ofWhole lists the faults that are between parts of a definition.
func ofWhole(code string) bool {
	switch code {
	case source.CodeSyntax, source.CodeDuplicateKey, source.CodeMissingField, source.CodeDuplicateTask, source.CodeUnknownTask, source.CodeSelfEdge, source.CodeCycle,
		source.CodeUnreachable, source.CodeConflict, source.CodeTooManyEdges, source.CodeTooManyTasks, source.CodeInvalidType, source.CodeDepth:
		return true
	}
	return false
}

// declares says that all values which actions print are declared by the definition: parameters that are no secrets, and
// variables of the job that nobody replaced.
func (d *Definition) declares(printed []*template.Stmt, s *template.Scope) bool {
	t := template.TaintOf(d.program)
	for _, action := range printed {
		for _, name := range t.Prints[action] {
			base, _, _ := strings.Cut(name, ".")
			_, own := d.jobVars[base]
			_, replaced := s.Vars[base]
			param := slices.ContainsFunc(d.Params, func(p param.Param) bool { return p.Name == base && p.Type != param.TypeSecret })
			if !param && (!own || replaced) && !template.IsBuiltin(base) {
				return false
			}
		}
	}
	return true
}

// hides says that a secret may be among the values which actions print: a parameter, or what was made of one.
func (d *Definition) hides(printed []*template.Stmt, s *template.Scope) bool {
	secret := func(p param.Param) bool { return p.Type == param.TypeSecret }
	return slices.ContainsFunc(d.Params, secret) && !d.declares(printed, s)
}

func (d *Definition) reader(c *source.Collector, sh *rendering, s *template.Scope) *reader {
	return &reader{
		Reader: &read.Reader{
			Collector: c, Program: d.program, Declares: d.declares, Hides: d.hides, Source: d.lines, Shape: sh.Shape, Machine: template.NewMachine(s), Blank: d.blank,
			Moment: read.Moment{Conditions: &d.conditions},
		},
		def: d, rendering: sh,
	}
}

// quiet is a reader whose problems are told elsewhere.
func (d *Definition) quiet(sh *rendering, s *template.Scope) *reader {
	r := d.reader(&source.Collector{}, sh, s)
	r.Checking = true
	return r
}

// whole reads the shape as a job and checks it. It returns nil when the text cannot be read at all.
func (r *reader) whole() *draft {
	for _, p := range r.Shape.Problems {
		r.Collector.Add(p)
	}
	if r.Shape.Root == nil {
		return nil
	}
	out := r.job(r.Shape.Root)
	graph.Check(r.Reader, &out.plan, out.nodes())
	return out
}

// shapeFor runs the template, or finds an earlier run that would be the same.
func (d *Definition) shapeFor(s *template.Scope, assume template.Guess) *rendering {
	if d.program == nil {
		return d.fixed
	}
	d.mu.Lock()
	candidates := append([]*kept{}, d.shapes...)
	d.mu.Unlock()
	for _, k := range candidates {
		if (k.assume == assume || !k.shape.Guessed) && k.shape.Serves(s) {
			return k.shape
		}
	}
	s.Empty = d.blank
	sh := newRendering(template.Run(d.program, s, assume, d.lines), d.lines)
	d.mu.Lock()
	defer d.mu.Unlock()
	shapes := []*kept{{sh, assume}}
	size := 0
	for _, k := range d.shapes {
		if size += len(k.shape.Text); len(shapes) < maxKept && size <= maxKeptText {
			shapes = append(shapes, k)
		}
	}
	d.shapes = shapes
	return sh
}
