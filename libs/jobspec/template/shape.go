package template

import (
	"errors"
	"sort"
	"strconv"
	"strings"

	"github.com/formicary/formicary/libs/jobspec/source"
	"github.com/formicary/formicary/libs/jobspec/value"
)

// Shape is the outcome of running a template: text in which every printed value is a token, and for each token how its
// value is found. It depends only on the variables that the template looked at to decide what to print, so one shape
// serves all renderings in which those are equal.
type Shape struct {
	Text     []byte
	Tokens   []token
	Segments []segment
	// Reads are the variables that decided what was printed, and decided their values.
	Reads    []read
	decided  map[string]any
	readsAll bool // the template looked at all variables at once
	// Guessed says that a condition or a loop depends on what is not known.
	Guessed bool

	Root     *source.Node // of the text as YAML
	Nulls    bool         // it holds some
	Problems source.Problems
	broken   bool // the text is no YAML, or the template failed
	rendered *source.Lines
}

// token is one printed value.
type token struct {
	source *Stmt
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
	Loop      bool // inside of a range
}

// read is a variable that decided what the text looks like, and where in the text that was.
type read struct {
	Name string
	Out  int
}

// exec runs a template.
type exec struct {
	*Machine
	program *Program
	assume  Guess
	shape   *Shape
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

// Run executes the template. Faults make the shape broken and are among its problems.
func Run(p *Program, s *Scope, assume Guess, l *source.Lines) *Shape {
	sh := &Shape{}
	x := &exec{Machine: NewMachine(s), program: p, assume: assume, shape: sh}
	x.structural = true
	s.OnRead = sh.note
	f := &frame{rootDot: true, rootRoot: true}
	_, err := x.list(p.body, f)
	s.OnRead = nil
	if err != nil {
		c := &source.Collector{}
		AddFault(c, l, err)
		sh.Problems, sh.broken = c.List, true
	}
	return sh
}

func (sh *Shape) note(name string, val any) {
	if name == Everything {
		sh.readsAll = true
		return
	}
	if _, ok := sh.decided[name]; !ok {
		if m, ok := val.(Missing); ok {
			val = Missing{Name: m.Name}
		}
		if sh.decided == nil {
			sh.decided = map[string]any{}
		}
		sh.decided[name] = val
	}
	if n := len(sh.Reads); n == 0 || sh.Reads[n-1] != (read{name, len(sh.Text)}) {
		sh.Reads = append(sh.Reads, read{name, len(sh.Text)})
	}
}

// Serves reports whether another run with this scope would give the same shape.
func (sh *Shape) Serves(s *Scope) bool {
	if sh.readsAll {
		return false
	}
	for name, old := range sh.decided {
		switch v := s.Get(name, 0).(type) {
		case Unknown:
			if _, ok := old.(Unknown); !ok {
				return false
			}
		case Missing:
			if _, ok := old.(Missing); !ok {
				return false
			}
		default:
			if !value.Same(v, old) {
				return false
			}
		}
	}
	return true
}

// AddFault reports what ended a template.
func AddFault(c *source.Collector, l *source.Lines, err error) {
	var f *Fault
	if !errors.As(err, &f) {
		c.Add(source.Problem{Code: source.CodeTemplateFailed, Message: "the template failed"})
		return
	}
	line, column := l.At(f.pos)
	expected := ""
	if f.Code == source.CodeUndefinedVariable {
		expected = "a parameter, a variable or an output of an earlier task of this name; or undefined_variables: empty at the job, for files of the existing system"
		if task, ok := ArtifactTask(f.field); ok {
			expected = "an artifact with this number, of a task " + source.QuoteName(task) + " that has ended"
		}
	}
	c.Add(source.Problem{Line: line, Column: column, Code: f.Code, Field: f.field, Message: f.message, Expected: expected})
}

func (x *exec) list(stmts []*Stmt, f *frame) (flow, error) {
	for _, s := range stmts {
		if err := x.spend(1); err != nil {
			return flowOn, faultf(s.From, source.CodeTemplateLimit, "the template works too much")
		}
		next, err := x.stmt(s, f)
		if err != nil || next != flowOn {
			return next, err
		}
	}
	return flowOn, nil
}

func (x *exec) stmt(s *Stmt, f *frame) (flow, error) {
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
func (x *exec) write(s *Stmt, text []byte) error {
	sh := x.shape
	if x.text += len(text); x.text > MaxOutput {
		return faultf(s.From, source.CodeTemplateLimit, "the template prints more than %d bytes", MaxOutput)
	}
	sh.Segments = append(sh.Segments, segment{out: len(sh.Text), from: s.From, Loop: x.loops > 0})
	sh.Text = append(sh.Text, text...)
	return nil
}

// print appends a token. What depends on no variable is evaluated now, the rest whenever its value is asked for.
func (x *exec) print(s *Stmt, f *frame) error {
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
		var flt *Fault
		if errors.As(err, &flt) && flt.Code == source.CodeTemplateLimit {
			return err
		}
		t.done, t.value, t.err, t.frame = true, v, err, frame{}
	}
	id := strconv.AppendInt(nil, int64(len(x.shape.Tokens)), 10)
	text := append([]byte(string(source.TokenOpen)), id...)
	text = append(text, string(source.TokenClose)...)
	x.shape.Tokens = append(x.shape.Tokens, t)
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

func (x *exec) branch(s *Stmt, f *frame) (flow, error) {
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
		x.shape.Guessed = true
		holds = x.assume.holds(x.program.Text[s.From:s.To], x.guessed > 0)
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

func (x *exec) iterate(s *Stmt, f *frame) error {
	v, err := x.eval(s.expr, f)
	if err != nil {
		return err
	}
	if _, ok := v.(rootValue); ok {
		v = x.Scope.All()
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
	each := func(key, val any) (bool, error) {
		x.path = deeper(outer, s.From, turns)
		turns++
		if x.steps++; x.steps > maxSteps {
			return false, faultf(s.From, source.CodeTemplateLimit, "the template takes more than %d steps", maxSteps)
		}
		val, ok := canonOrUnknown(val)
		if !ok {
			return false, faultf(s.From, source.CodeTemplateFailed, "an item is of a kind that templates cannot use")
		}
		f.locals, f.dot, f.rootDot = f.locals[:mark], val, false
		switch len(s.names) {
		case 1:
			x.set(f, s.names[0], val, s.declare)
		case 2:
			x.set(f, s.names[0], key, s.declare)
			x.set(f, s.names[1], val, s.declare)
		}
		next, err := x.list(s.body, f)
		return next != flowBreak, err
	}
	switch v := v.(type) {
	case Unknown:
		x.shape.Guessed = true
		if x.assume.runs() {
			x.guessed++
			_, err = each(Unknown{}, Unknown{})
			x.guessed--
		}
	case nil, Missing:
	case []any:
		for i, item := range v {
			if more, err := each(int64(i), item); err != nil || !more {
				return err
			}
		}
	case map[string]any:
		for _, k := range value.SortedKeys(v) {
			if more, err := each(k, v[k]); err != nil || !more {
				return err
			}
		}
	case int64:
		if len(s.names) > 1 {
			return faultf(s.From, source.CodeTemplateFailed, "range over a number has one variable")
		}
		for i := range v {
			if more, err := each(nil, i); err != nil || !more {
				return err
			}
		}
	default:
		return faultf(s.From, source.CodeTemplateFailed, "range goes over what is no list, mapping or number")
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
	if _, ok := v.(Unknown); ok {
		return v, true
	}
	return value.Canon(v)
}

func (x *exec) callBlock(s *Stmt, f *frame) error {
	body, ok := x.program.blocks[s.block]
	if !ok {
		return faultf(s.From, source.CodeTemplateFailed, "the template %s is not defined", source.QuoteName(s.block))
	}
	if x.steps++; x.steps > maxSteps {
		return faultf(s.From, source.CodeTemplateLimit, "the template takes more than %d steps", maxSteps)
	}
	if x.depth++; x.depth > maxCalls {
		return faultf(s.From, source.CodeTemplateLimit, "templates call each other more than %d deep", maxCalls)
	}
	outer := x.path
	x.path = deeper(outer, s.From, 0)
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

// Value returns what a token stands for. The scope is that of the section in which the token stands.
func (sh *Shape) Value(m *Machine, id int) (any, error) {
	if id < 0 || id >= len(sh.Tokens) {
		return nil, faultf(0, source.CodeTemplateFailed, "the token is not known")
	}
	t := &sh.Tokens[id]
	v, err := t.value, t.err
	if !t.done {
		m.path = t.path
		v, err = m.eval(t.source.expr, &t.frame)
	}
	if err != nil {
		return nil, err
	}
	switch x := v.(type) {
	case Missing:
		return m.unset(x)
	case rootValue:
		return nil, faultf(t.source.From, source.CodeTemplateFailed, "all variables at once cannot be printed")
	}
	return v, nil
}

// SourceOf returns the action that printed a token, as it stands in the source.
func (sh *Shape) SourceOf(p *Program, id int) string {
	if p == nil || id < 0 || id >= len(sh.Tokens) {
		return ""
	}
	s := sh.Tokens[id].source
	return p.Text[s.From:s.To]
}

// Sources lists the actions that printed the tokens of a text.
func (sh *Shape) Sources(text string) []*Stmt {
	var out []*Stmt
	for rest := text; ; {
		_, after, found := strings.Cut(rest, source.TokenPrefix)
		if !found {
			return out
		}
		digits, tail, _ := strings.Cut(after, string(source.TokenClose))
		if id, err := strconv.Atoi(digits); err == nil && id < len(sh.Tokens) {
			out = append(out, sh.Tokens[id].source)
		}
		rest = tail
	}
}

// SegmentAt returns the segment of a position of the rendered text, or nil when the text is the source itself.
func (sh *Shape) SegmentAt(line, column int) (*segment, int) {
	if len(sh.Segments) == 0 {
		return nil, 0
	}
	offset := sh.Offset(line, column)
	i := sort.Search(len(sh.Segments), func(i int) bool { return sh.Segments[i].out > offset })
	return &sh.Segments[max(0, i-1)], offset
}

// Offset returns the offset of a position of the rendered text in it.
func (sh *Shape) Offset(line, column int) int {
	return sh.rendered.Offset(line, column)
}

// Source translates a position of the rendered text to an offset in the source.
func (sh *Shape) Source(line, column int) int {
	s, offset := sh.SegmentAt(line, column)
	if s == nil {
		return sh.Offset(line, column)
	}
	if offset < len(sh.Text) && strings.HasPrefix(string(sh.Text[s.out:min(len(sh.Text), s.out+4)]), source.TokenPrefix) {
		return s.from
	}
	return s.from + max(0, offset-s.out)
}

// Place is the inverse of offset.
func (sh *Shape) Place(offset int) (line, column int) { return sh.rendered.At(offset) }

// Parse reads the shape's text as YAML.
func (sh *Shape) Parse(src *source.Lines) {
	sh.rendered = source.NewYAMLLines(sh.Text)
	if sh.broken {
		return
	}
	c := &source.Collector{}
	sh.Root, sh.Nulls = source.ReadYAML(sh.Text, c, func(line, column int) (int, int) { return src.At(sh.Source(line, column)) })
	sh.Problems = append(sh.Problems, c.List...)
}
