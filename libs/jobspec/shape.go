package jobspec

import (
	"errors"
	"sort"
	"strconv"
	"strings"
)

// shape is the outcome of running a template: text in which every printed value is a token, and for each token how its
// value is found. It depends only on the variables that the template looked at to decide what to print, so one shape
// serves all renderings in which those are equal.
type shape struct {
	text     []byte
	tokens   []token
	segments []segment
	// reads are the variables that decided what was printed, and decided their values.
	reads    []read
	decided  map[string]any
	readsAll bool // the template looked at all variables at once
	// guessed says that a condition or a loop depends on what is not known.
	guessed bool

	root     *node // of the text as YAML
	nulls    bool  // it holds some
	problems Problems
	broken   bool // the text is no YAML, or the template failed
	rendered *lines
}

// token is one printed value.
type token struct {
	source *stmt
	path   uint64 // see machine
	// done says that value or err is final; else the expression is evaluated with what it saw.
	done  bool
	value any
	err   error
	frame frame
}

// segment says where a stretch of the rendered text comes from.
type segment struct {
	out, from int
	loop      bool // inside of a range
}

// read is a variable that decided what the text looks like, and where in the text that was.
type read struct {
	name string
	out  int
}

// exec runs a template.
type exec struct {
	*machine
	program *program
	assume  guess
	shape   *shape
	depth   int
	loops   int
	guessed int // loops that run by a guess
}

// flow says how a list of statements ended.
type flow uint8

const (
	flowOn flow = iota
	flowBreak
	flowContinue
)

// run executes the template. Faults make the shape broken and are among its problems.
func run(p *program, s *scope, assume guess, l *lines) *shape {
	sh := &shape{}
	x := &exec{machine: newMachine(s), program: p, assume: assume, shape: sh}
	x.structural = true
	s.onRead = sh.note
	f := &frame{rootDot: true, rootRoot: true}
	_, err := x.list(p.body, f)
	s.onRead = nil
	if err != nil {
		c := &collector{}
		addFault(c, l, err)
		sh.problems, sh.broken = c.list, true
	}
	return sh
}

func (sh *shape) note(name string, value any) {
	if name == everything {
		sh.readsAll = true
		return
	}
	if _, ok := sh.decided[name]; !ok {
		if m, ok := value.(missing); ok {
			value = missing{name: m.name}
		}
		if sh.decided == nil {
			sh.decided = map[string]any{}
		}
		sh.decided[name] = value
	}
	if n := len(sh.reads); n == 0 || sh.reads[n-1] != (read{name, len(sh.text)}) {
		sh.reads = append(sh.reads, read{name, len(sh.text)})
	}
}

// serves reports whether another run with this scope would give the same shape.
func (sh *shape) serves(s *scope) bool {
	if sh.readsAll {
		return false
	}
	for name, old := range sh.decided {
		switch v := s.get(name, 0).(type) {
		case unknown:
			if _, ok := old.(unknown); !ok {
				return false
			}
		case missing:
			if _, ok := old.(missing); !ok {
				return false
			}
		default:
			if !sameValue(v, old) {
				return false
			}
		}
	}
	return true
}

// addFault reports what ended a template.
func addFault(c *collector, l *lines, err error) {
	var f *fault
	if !errors.As(err, &f) {
		c.add(Problem{Code: CodeTemplateFailed, Message: "the template failed"})
		return
	}
	line, column := l.at(f.pos)
	expected := ""
	if f.code == CodeUndefinedVariable {
		expected = "a parameter, a variable or an output of an earlier task of this name; or undefined_variables: empty at the job, for files of the existing system"
		if task, ok := artifactTask(f.field); ok {
			expected = "an artifact with this number, of a task " + quoteName(task) + " that has ended"
		}
	}
	c.add(Problem{Line: line, Column: column, Code: f.code, Field: f.field, Message: f.message, Expected: expected})
}

func (x *exec) list(stmts []*stmt, f *frame) (flow, error) {
	for _, s := range stmts {
		if err := x.spend(1); err != nil {
			return flowOn, faultf(s.from, CodeTemplateLimit, "the template works too much")
		}
		next, err := x.stmt(s, f)
		if err != nil || next != flowOn {
			return next, err
		}
	}
	return flowOn, nil
}

func (x *exec) stmt(s *stmt, f *frame) (flow, error) {
	switch s.kind {
	case stmtText:
		return flowOn, x.write(s, s.text)
	case stmtPrint:
		return flowOn, x.print(s, f)
	case stmtSet:
		v, err := x.eval(s.expr, f)
		if err != nil {
			return flowOn, err
		}
		for _, name := range s.names {
			x.set(f, name, v, s.declare)
		}
		return flowOn, nil
	case stmtIf, stmtWith:
		return x.branch(s, f)
	case stmtRange:
		return flowOn, x.iterate(s, f)
	case stmtCall:
		return flowOn, x.callBlock(s, f)
	case stmtBreak:
		return flowBreak, nil
	default:
		return flowContinue, nil
	}
}

// write appends text of the source. The text of a printed value, a token, comes from its action as a whole.
func (x *exec) write(s *stmt, text []byte) error {
	sh := x.shape
	if x.text += len(text); x.text > maxOutput {
		return faultf(s.from, CodeTemplateLimit, "the template prints more than %d bytes", maxOutput)
	}
	sh.segments = append(sh.segments, segment{out: len(sh.text), from: s.from, loop: x.loops > 0})
	sh.text = append(sh.text, text...)
	return nil
}

// print appends a token. What depends on no variable is evaluated now, the rest whenever its value is asked for.
func (x *exec) print(s *stmt, f *frame) error {
	t := token{source: s, path: x.path}
	captured := frame{dot: f.dot, root: f.root, rootDot: f.rootDot, rootRoot: f.rootRoot}
	for _, name := range s.uses {
		if l := f.find(name); l != nil {
			captured.locals = append(captured.locals, *l)
		}
	}
	t.frame = captured
	if closed(s.expr, &captured) {
		v, err := x.eval(s.expr, &captured)
		var flt *fault
		if errors.As(err, &flt) && flt.code == CodeTemplateLimit {
			return err
		}
		t.done, t.value, t.err, t.frame = true, v, err, frame{}
	}
	id := strconv.AppendInt(nil, int64(len(x.shape.tokens)), 10)
	text := append([]byte(string(tokenOpen)), id...)
	text = append(text, string(tokenClose)...)
	x.shape.tokens = append(x.shape.tokens, t)
	return x.write(s, text)
}

// closed reports whether an expression can look at no variable beyond those that it captured.
func closed(e *expr, f *frame) bool {
	switch e.kind {
	case exprDot:
		return !f.rootDot
	case exprLocal:
		if e.name == "$" {
			return !f.rootRoot
		}
		l := f.find(e.name)
		return l != nil && !l.root
	case exprCall:
		if e.fn.open {
			return false
		}
	default:
	}
	for _, a := range e.args {
		if !closed(a, f) {
			return false
		}
	}
	return true
}

func (x *exec) set(f *frame, name string, v any, declare bool) {
	_, root := v.(rootValue)
	if !declare {
		if l := f.find(name); l != nil {
			l.value, l.root = v, root
			return
		}
	}
	f.locals = append(f.locals, local{name: name, value: v, root: root})
}

func (x *exec) branch(s *stmt, f *frame) (flow, error) {
	mark := len(f.locals)
	defer func() { f.locals = f.locals[:mark] }()
	v, err := x.eval(s.expr, f)
	if err != nil {
		return flowOn, err
	}
	for _, name := range s.names {
		x.set(f, name, v, s.declare)
	}
	holds, known := truth(v)
	if !known {
		x.shape.guessed = true
		holds = x.assume.holds(x.program.text[s.from:s.to], x.guessed > 0)
	}
	if !holds {
		return x.list(s.other, f)
	}
	if s.kind == stmtWith {
		_, root := v.(rootValue)
		dot, rootDot := f.dot, f.rootDot
		f.dot, f.rootDot = v, root
		defer func() { f.dot, f.rootDot = dot, rootDot }()
	}
	return x.list(s.body, f)
}

func (x *exec) iterate(s *stmt, f *frame) error {
	v, err := x.eval(s.expr, f)
	if err != nil {
		return err
	}
	if _, ok := v.(rootValue); ok {
		v = x.scope.all()
	}
	mark := len(f.locals)
	dot, rootDot := f.dot, f.rootDot
	x.loops++
	outer := x.path
	defer func() {
		f.locals, f.dot, f.rootDot = f.locals[:mark], dot, rootDot
		x.loops--
		x.path = outer
	}()
	turns := 0
	each := func(key, value any) (bool, error) {
		x.path = deeper(outer, s.from, turns)
		turns++
		if x.steps++; x.steps > maxSteps {
			return false, faultf(s.from, CodeTemplateLimit, "the template takes more than %d steps", maxSteps)
		}
		value, ok := canonOrUnknown(value)
		if !ok {
			return false, faultf(s.from, CodeTemplateFailed, "an item is of a kind that templates cannot use")
		}
		f.locals, f.dot, f.rootDot = f.locals[:mark], value, false
		switch len(s.names) {
		case 1:
			x.set(f, s.names[0], value, s.declare)
		case 2:
			x.set(f, s.names[0], key, s.declare)
			x.set(f, s.names[1], value, s.declare)
		}
		next, err := x.list(s.body, f)
		return next != flowBreak, err
	}
	switch v := v.(type) {
	case unknown:
		x.shape.guessed = true
		if x.assume.runs() {
			x.guessed++
			_, err = each(unknown{}, unknown{})
			x.guessed--
		}
	case nil, missing:
	case []any:
		for i, item := range v {
			if more, err := each(int64(i), item); err != nil || !more {
				return err
			}
		}
	case map[string]any:
		for _, k := range sortedKeys(v) {
			if more, err := each(k, v[k]); err != nil || !more {
				return err
			}
		}
	case int64:
		if len(s.names) > 1 {
			return faultf(s.from, CodeTemplateFailed, "range over a number has one variable")
		}
		for i := range v {
			if more, err := each(nil, i); err != nil || !more {
				return err
			}
		}
	default:
		return faultf(s.from, CodeTemplateFailed, "range goes over what is no list, mapping or number")
	}
	if err != nil || turns > 0 {
		return err
	}
	f.locals, f.dot, f.rootDot = f.locals[:mark], dot, rootDot
	x.loops--
	_, err = x.list(s.other, f)
	x.loops++
	return err
}

func canonOrUnknown(v any) (any, bool) {
	if _, ok := v.(unknown); ok {
		return v, true
	}
	return canon(v)
}

func (x *exec) callBlock(s *stmt, f *frame) error {
	body, ok := x.program.blocks[s.block]
	if !ok {
		return faultf(s.from, CodeTemplateFailed, "the template %s is not defined", quoteName(s.block))
	}
	if x.steps++; x.steps > maxSteps {
		return faultf(s.from, CodeTemplateLimit, "the template takes more than %d steps", maxSteps)
	}
	if x.depth++; x.depth > maxCalls {
		return faultf(s.from, CodeTemplateLimit, "templates call each other more than %d deep", maxCalls)
	}
	outer := x.path
	x.path = deeper(outer, s.from, 0)
	defer func() {
		x.depth--
		x.path = outer
	}()
	inner := &frame{}
	if s.expr != nil {
		v, err := x.eval(s.expr, f)
		if err != nil {
			return err
		}
		if _, root := v.(rootValue); root {
			inner.rootDot, inner.rootRoot = true, true
		} else {
			inner.dot, inner.root = v, v
		}
	}
	_, err := x.list(body, inner)
	return err
}

// value returns what a token stands for. The scope is that of the section in which the token stands.
func (sh *shape) value(m *machine, id int) (any, error) {
	if id < 0 || id >= len(sh.tokens) {
		return nil, faultf(0, CodeTemplateFailed, "the token is not known")
	}
	t := &sh.tokens[id]
	v, err := t.value, t.err
	if !t.done {
		m.path = t.path
		v, err = m.eval(t.source.expr, &t.frame)
	}
	if err != nil {
		return nil, err
	}
	switch x := v.(type) {
	case missing:
		return m.unset(x)
	case rootValue:
		return nil, faultf(t.source.from, CodeTemplateFailed, "all variables at once cannot be printed")
	}
	return v, nil
}

// sourceOf returns the action that printed a token, as it stands in the source.
func (sh *shape) sourceOf(p *program, id int) string {
	if p == nil || id < 0 || id >= len(sh.tokens) {
		return ""
	}
	s := sh.tokens[id].source
	return p.text[s.from:s.to]
}

// sources lists the actions that printed the tokens of a text.
func (sh *shape) sources(text string) []*stmt {
	var out []*stmt
	for rest := text; ; {
		_, after, found := strings.Cut(rest, tokenBytes)
		if !found {
			return out
		}
		digits, tail, _ := strings.Cut(after, string(tokenClose))
		if id, err := strconv.Atoi(digits); err == nil && id < len(sh.tokens) {
			out = append(out, sh.tokens[id].source)
		}
		rest = tail
	}
}

// segmentAt returns the segment of a position of the rendered text, or nil when the text is the source itself.
func (sh *shape) segmentAt(line, column int) (*segment, int) {
	if len(sh.segments) == 0 {
		return nil, 0
	}
	offset := sh.offset(line, column)
	i := sort.Search(len(sh.segments), func(i int) bool { return sh.segments[i].out > offset })
	return &sh.segments[max(0, i-1)], offset
}

func (sh *shape) offset(line, column int) int {
	return sh.rendered.offset(line, column)
}

// source translates a position of the rendered text to an offset in the source.
func (sh *shape) source(line, column int) int {
	s, offset := sh.segmentAt(line, column)
	if s == nil {
		return sh.offset(line, column)
	}
	if offset < len(sh.text) && strings.HasPrefix(string(sh.text[s.out:min(len(sh.text), s.out+4)]), tokenBytes) {
		return s.from
	}
	return s.from + max(0, offset-s.out)
}

// place is the inverse of offset.
func (sh *shape) place(offset int) (line, column int) { return sh.rendered.at(offset) }

// parse reads the shape's text as YAML.
func (sh *shape) parse(src *lines) {
	sh.rendered = newYAMLLines(sh.text)
	if sh.broken {
		return
	}
	c := &collector{}
	sh.root, sh.nulls = readYAML(sh.text, c, func(line, column int) (int, int) { return src.at(sh.source(line, column)) })
	sh.problems = append(sh.problems, c.list...)
}
