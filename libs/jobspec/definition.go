package jobspec

import (
	"bytes"
	"slices"
	"sync"
)

// Definition is a checked job definition. It is immutable and safe for concurrent use.
type Definition struct {
	// JobType is the name of the job.
	JobType     string
	Description string
	SemVersion  string
	// URL is a link for people.
	URL string
	// MaxConcurrency is how many runs of the job type there may be at once; 0 means no limit.
	MaxConcurrency int
	// Priority from 0 to 100.
	Priority int
	Disabled bool
	// RequiredParams are names that a request has to give; Params are the typed parameters.
	RequiredParams []string
	Params         []Param
	// PublicPlugin lets other organisations fork the job.
	PublicPlugin bool
	// Schedules start the job at times, Triggers at events; Retention is how long its runs are kept. They are checked and
	// stored, but nothing acts on them yet.
	Schedules []Schedule
	Triggers  []Trigger
	Retention Retention
	// Audience hears of a job that ends before it is rendered: what notify and webhook say without templates.
	Audience Audience

	file    string
	lines   *lines
	program *program // nil when the text has no template
	taint   *taint   // of the program, while it is checked
	// static is the plan of a text without templates; its Vars are not set. index finds its tasks.
	static *Plan
	index  map[string]int
	// own are the names of all tasks' variables in a static plan: a request that gives one of them changes the plan.
	own map[string]bool
	// jobVars are the job's variables as far as they depend on nothing.
	jobVars Vars
	// classes are the placement classes of the first tasks, when no variable decides them.
	classes []Class
	fixed   *shape // of a text without templates
	// conditions are the compiled expressions. conditional says that the plan of a text without templates depends on
	// them.
	conditions  conditions
	conditional bool

	mu     sync.Mutex
	shapes []*kept // the newest first
}

// kept is a shape of an earlier rendering.
type kept struct {
	shape  *shape
	assume guess
}

// Bounds of the shapes of a definition that are kept: how many, and the text of those after the newest.
const (
	maxKept     = 4
	maxKeptText = 1 << 20
)

// Parse reads and checks a definition. err is Problems, all faults at once; warnings do not keep the definition from
// being used. file is the name in the problems.
func Parse(file string, text []byte) (def *Definition, warnings Problems, err error) {
	return parseFrom(file, text, 1)
}

// parseFrom is Parse of a text that begins on a line of its file.
func parseFrom(file string, text []byte, first int) (def *Definition, warnings Problems, err error) {
	c := &collector{file: file}
	text, ok := checkText(text, first, c)
	if !ok {
		warnings, err = c.split()
		return nil, warnings, err
	}
	text = maskTriggers(text)
	d := &Definition{file: file, lines: newLines(text)}
	d.lines.before = first - 1
	var out *draft
	if bytes.Contains(text, []byte("{{")) {
		d.program = compileTemplate(string(text), c, d.lines)
		if d.program != nil {
			out = d.checkTemplated(c)
		}
	} else {
		out = d.checkStatic(bytes.Clone(text), c)
	}
	warnings, err = c.split()
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
	d.Audience = out.audience
	if out.settled {
		d.classes = out.plan.StartClasses()
	}
}

// checkStatic reads a text without templates: once, for all runs.
func (d *Definition) checkStatic(text []byte, c *collector) *draft {
	d.fixed = &shape{text: text}
	d.fixed.parse(d.lines)
	r := d.reader(c, d.fixed, &scope{})
	r.checking = true // nothing is unknown but what conditions ask for
	out := r.whole()
	if out == nil {
		return nil
	}
	d.conditional = r.moment.asked
	d.jobVars = Vars{}
	if hasJobVariables(d.fixed.root) {
		d.jobVars = d.reader(&collector{}, d.fixed, &scope{}).jobVariables(d.fixed.root)
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
func (d *Definition) checkTemplated(c *collector) *draft {
	d.taint = taintOf(d.program)
	defer func() { d.taint = nil }()
	first, sh := d.attempt(guessYes, Vars{}, Vars{})
	if !sh.guessed {
		c.list = append(c.list, first.c.list...)
		d.jobVars = first.jobVars
		return first.draft
	}
	tried := d.guesses(first, len(sh.text))
	d.judge(tried, c)
	out := pick(tried)
	if out.draft == nil && !c.faulty() {
		out = d.header(sh, c)
	}
	if out.draft == nil {
		if !c.faulty() { // no guess can be read, and they fail in different ways: the first one speaks
			for _, p := range first.c.list {
				c.add(p)
			}
		}
		return nil
	}
	d.jobVars = out.jobVars
	if !d.checkDefaults(out, c) && !out.clean() {
		c.add(Problem{
			Code: CodePartialCheck, Warning: true,
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
	no, sh := d.attempt(guessNo, Vars{}, Vars{})
	tried := []attempt{first, no}
	size += len(sh.text)
	for g := guessNo + 1; g < guesses && size < maxGuessed && !pick(tried).clean(); g++ {
		next, sh := d.attempt(g, Vars{}, Vars{})
		tried = append(tried, next)
		size += len(sh.text)
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
func (d *Definition) judge(tried []attempt, c *collector) {
	count := map[Problem]int{}
	for _, a := range tried {
		for _, p := range a.c.list {
			count[p]++
		}
	}
	for _, a := range tried[:2] {
		for _, p := range a.c.list {
			if !ofWhole(p.Code) || count[p] == len(tried) {
				c.add(p)
			}
		}
	}
}

// header reads what stands before the tasks, of a text that can be read as a whole only when its variables are known.
func (d *Definition) header(sh *shape, c *collector) attempt {
	end := 0
	if !bytes.HasPrefix(sh.text, []byte("tasks:")) {
		end = 1 + bytes.Index(sh.text, []byte("\ntasks:"))
	}
	if end == 0 {
		return attempt{}
	}
	head := &shape{text: sh.text[:end], tokens: sh.tokens, segments: sh.segments, guessed: true}
	head.parse(d.lines)
	a := d.read(head, &scope{vars: Vars{}, job: Vars{}, lenient: true})
	if a.draft == nil || a.draft.plan.JobType == "" {
		return attempt{}
	}
	for _, p := range a.c.list {
		if !ofWhole(p.Code) {
			c.add(p)
		}
	}
	return a
}

// checkDefaults reads the text once more with the values that are used when a request gives none. If they settle the
// structure it returns true: faults of the whole are certain then.
func (d *Definition) checkDefaults(out attempt, c *collector) bool {
	defaults := Vars{}
	for i := range out.draft.params {
		if p := &out.draft.params[i]; p.Default != nil {
			defaults[p.Name] = p.Default
		}
	}
	if len(defaults)+len(out.jobVars) == 0 || c.faulty() {
		return false
	}
	again, sh := d.attempt(guessYes, defaults, out.jobVars)
	if sh.guessed {
		return false
	}
	for _, p := range again.c.list {
		if p.Code != CodeMissingField {
			c.add(p)
		}
	}
	return true
}

// attempt is one reading of a text whose variables are not known.
type attempt struct {
	c       *collector
	draft   *draft // nil when the text cannot be read
	jobVars Vars
}

// clean says that nothing is wrong between the parts.
func (a attempt) clean() bool {
	return a.draft != nil && !slices.ContainsFunc(a.c.list, func(p Problem) bool { return !p.Warning && ofWhole(p.Code) })
}

func (d *Definition) attempt(assume guess, vars, job Vars) (attempt, *shape) {
	s := &scope{vars: vars, job: job, lenient: true}
	sh := d.shapeFor(s, assume)
	return d.read(sh, s), sh
}

func (d *Definition) read(sh *shape, s *scope) attempt {
	a := attempt{c: &collector{file: d.file}}
	r := d.reader(a.c, sh, s)
	r.checking = true
	if a.draft = r.whole(); a.draft != nil {
		d.lint(a.c, sh, s, a.draft)
	}
	if hasJobVariables(sh.root) && a.draft != nil {
		a.jobVars = known(d.quiet(sh, s).jobVariables(sh.root))
	}
	return a
}

// known drops what is not known.
func known(vars Vars) Vars {
	for name, v := range vars {
		if hasUnknown(v) {
			delete(vars, name)
		}
	}
	return vars
}

func hasUnknown(v any) bool {
	switch v := v.(type) {
	case unknown:
		return true
	case []any:
		return slices.ContainsFunc(v, hasUnknown)
	case map[string]any:
		for _, item := range v {
			if hasUnknown(item) {
				return true
			}
		}
	}
	return false
}

// ofWhole lists the faults that are between parts of a definition.
func ofWhole(code string) bool {
	switch code {
	case CodeSyntax, CodeDuplicateKey, CodeMissingField, CodeDuplicateTask, CodeUnknownTask, CodeSelfEdge, CodeCycle,
		CodeUnreachable, CodeConflict, CodeTooManyEdges, CodeTooManyTasks, CodeInvalidType, CodeDepth:
		return true
	}
	return false
}

func (d *Definition) reader(c *collector, sh *shape, s *scope) *reader {
	return &reader{c: c, p: d.program, src: d.lines, shape: sh, m: newMachine(s), moment: moment{conditions: &d.conditions}}
}

// quiet is a reader whose problems are told elsewhere.
func (d *Definition) quiet(sh *shape, s *scope) *reader {
	r := d.reader(&collector{}, sh, s)
	r.checking = true
	return r
}

// whole reads the shape as a job and checks it. It returns nil when the text cannot be read at all.
func (r *reader) whole() *draft {
	for _, p := range r.shape.problems {
		r.c.add(p)
	}
	if r.shape.root == nil {
		return nil
	}
	out := r.job(r.shape.root)
	r.checkGraph(out)
	return out
}

// shapeFor runs the template, or finds an earlier run that would be the same.
func (d *Definition) shapeFor(s *scope, assume guess) *shape {
	if d.program == nil {
		return d.fixed
	}
	d.mu.Lock()
	candidates := append([]*kept{}, d.shapes...)
	d.mu.Unlock()
	for _, k := range candidates {
		if (k.assume == assume || !k.shape.guessed) && k.shape.serves(s) {
			return k.shape
		}
	}
	sh := run(d.program, s, assume, d.lines)
	sh.parse(d.lines)
	d.mu.Lock()
	defer d.mu.Unlock()
	shapes := []*kept{{sh, assume}}
	size := 0
	for _, k := range d.shapes {
		if size += len(k.shape.text); len(shapes) < maxKept && size <= maxKeptText {
			shapes = append(shapes, k)
		}
	}
	d.shapes = shapes
	return sh
}

// parse reads the shape's text as YAML.
func (sh *shape) parse(src *lines) {
	sh.rendered = newYAMLLines(sh.text)
	if sh.broken {
		return
	}
	c := &collector{}
	sh.root = readYAML(sh.text, c, func(line, column int) (int, int) { return src.at(sh.source(line, column)) })
	sh.problems = append(sh.problems, c.list...)
	sh.findExports()
}
