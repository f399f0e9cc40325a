package template

import (
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"

	"github.com/formicary/formicary/libs/exact"
	"github.com/formicary/formicary/libs/jobspec/source"
	"github.com/formicary/formicary/libs/jobspec/value"
)

// Bounds of one rendering.
const (
	maxSteps  = 100_000   // iterations and template calls
	maxWork   = 2_000_000 // statements, parts of expressions, and 16-byte pieces of text that functions handle
	MaxOutput = 4 << 20   // text, tokens replaced

	pieceOfWork = 16
	maxCalls    = 100 // template calls inside of each other
)

// Unknown is a value that only a later rendering knows. What is computed from it is unknown too.
type Unknown struct{}

// Missing is a variable that is not set. It counts as nil in conditions and for the functions that ask for it; to print
// it or to compute with it is a fault.
type Missing struct {
	Name string
	pos  int
}

// Fault ends a rendering, or the evaluation of one printed value.
type Fault struct {
	pos     int
	Code    string
	field   string // the variable
	message string
}

func (f *Fault) Error() string { return f.message }

func faultf(pos int, code, format string, args ...any) error {
	return &Fault{pos: pos, Code: code, message: fmt.Sprintf(format, args...)}
}

func undefined(m Missing) error {
	return &Fault{pos: m.pos, Code: source.CodeUndefinedVariable, field: m.Name, message: "the variable " + m.Name + " is not set"}
}

// Machine evaluates expressions for one rendering and counts what it costs.
type Machine struct {
	Scope             *Scope
	steps, Work, text int
	// structural says that what is evaluated decides the structure, and is no printed value.
	structural bool
	// path tells the turns of loops and the calls of templates around an expression from each other.
	path uint64
}

// deeper is the path of what stands inside of a loop's turn or of a called template.
func deeper(path uint64, pos, turn int) uint64 {
	const prime = 1099511628211
	return ((path*prime)^uint64(pos+1))*prime ^ uint64(turn+1)
}

// NewMachine returns a machine that evaluates with the variables of the scope.
func NewMachine(s *Scope) *Machine { return &Machine{Scope: s} }

var errWork = errors.New("too much work")

// spend counts work; its error has no position yet.
func (m *Machine) spend(n int) error {
	if m.Work += n; m.Work > maxWork {
		return errWork
	}
	return nil
}

// frame is what an expression sees besides the scope. dot and root are nil-able values; rootDot and rootRoot say that
// they are the set of all variables.
type frame struct {
	dot, root         any
	rootDot, rootRoot bool
	locals            []local
}

type local struct {
	name  string
	value any
	root  bool
}

func (f *frame) find(name string) *local {
	for i := len(f.locals) - 1; i >= 0; i-- {
		if f.locals[i].name == name {
			return &f.locals[i]
		}
	}
	return nil
}

// rootValue stands for the set of all variables while an expression is evaluated.
type rootValue struct{}

// eval returns the value of an expression: of a kind that Vars lists, or unknown, missing or rootValue.
func (m *Machine) eval(e *expr, f *frame) (any, error) {
	if err := m.spend(1); err != nil {
		return nil, faultf(e.pos, source.CodeTemplateLimit, "the template works too much")
	}
	switch e.kind {
	case exprConst:
		return e.value, nil
	case exprDot:
		if f.rootDot {
			return rootValue{}, nil
		}
		return f.dot, nil
	case exprLocal:
		return m.local(e, f)
	case exprField:
		return m.fields(e, f)
	case exprAnd, exprOr:
		return m.andOr(e, f)
	default:
		return m.call(e, f)
	}
}

func (m *Machine) local(e *expr, f *frame) (any, error) {
	if e.name == "$" {
		if f.rootRoot {
			return rootValue{}, nil
		}
		return f.root, nil
	}
	l := f.find(e.name)
	switch {
	case l == nil:
		return nil, faultf(e.pos, source.CodeTemplateFailed, "the variable %s is not declared here", e.name)
	case l.root:
		return rootValue{}, nil
	}
	return l.value, nil
}

// fieldOfText returns a field of a text that is a JSON object.
func (m *Machine) fieldOfText(text, name string, pos int) (any, error) {
	if err := m.spend(1 + len(text)/pieceOfWork); err != nil {
		return nil, faultf(pos, source.CodeTemplateLimit, "the template works too much")
	}
	parsed, err := FromJSON(text)
	object, ok := parsed.(map[string]any)
	if err != nil || !ok {
		return nil, faultf(pos, source.CodeTemplateFailed, "the field %s is asked of what is no mapping", name)
	}
	if v, ok := object[name]; ok {
		return v, nil
	}
	return Missing{Name: name, pos: pos}, nil
}

func (m *Machine) fields(e *expr, f *frame) (any, error) {
	v, err := m.eval(e.args[0], f)
	if err != nil {
		return nil, err
	}
	fields := e.fields
	if _, ok := v.(rootValue); ok {
		v, fields = m.Scope.Field(fields, e.pos)
	}
	for _, name := range fields {
		switch x := v.(type) {
		case Unknown, Missing:
			return v, nil
		case map[string]any:
			item, ok := x[name]
			if !ok {
				return Missing{Name: name, pos: e.pos}, nil
			}
			if v, ok = canonOrUnknown(item); !ok {
				return nil, faultf(e.pos, source.CodeTemplateFailed, "the field %s is of a kind that templates cannot use", name)
			}
		case nil:
			return Missing{Name: name, pos: e.pos}, nil
		case string: // an output, or the body of an HTTP task
			if v, err = m.fieldOfText(x, name, e.pos); err != nil {
				return nil, err
			}
		default:
			return nil, faultf(e.pos, source.CodeTemplateFailed, "the field %s is asked of what is no mapping", name)
		}
	}
	return v, nil
}

func (m *Machine) andOr(e *expr, f *frame) (any, error) {
	if len(e.args) == 0 {
		return nil, faultf(e.pos, source.CodeTemplateFailed, "and and or need a value")
	}
	var v any
	for _, arg := range e.args {
		var err error
		if v, err = m.eval(arg, f); err != nil {
			return nil, err
		}
		holds, known := truth(v)
		if !known {
			return Unknown{}, nil
		}
		if holds == (e.kind == exprOr) {
			return v, nil
		}
	}
	return v, nil
}

func (m *Machine) call(e *expr, f *frame) (any, error) {
	if e.name == "index" && len(e.args) > 1 && isRoot(e.args[0], f) {
		return m.indexRoot(e, f)
	}
	args := make([]any, len(e.args))
	size, lenient := 0, e.fn.lenient
	unk := false
	for i, a := range e.args {
		v, err := m.eval(a, f)
		if err != nil {
			return nil, err
		}
		switch x := v.(type) {
		case Unknown:
			unk = true
		case Missing:
			if !lenient {
				if v, err = m.unset(x); err != nil {
					return nil, err
				}
			}
		case rootValue:
			v = m.Scope.All()
			if _, ok := v.(Unknown); ok {
				unk = true
			}
		case string:
			size += len(x)
		case []any, map[string]any:
			size += value.Size(x, MaxOutput)
			unk = unk || e.name != "index" && e.name != "len" && m.Scope.Vague() && HasUnknown(x)
		}
		args[i] = v
	}
	if unk && !lenient {
		return Unknown{}, nil
	}
	if err := m.spend(1 + size/pieceOfWork); err != nil {
		return nil, faultf(e.pos, source.CodeTemplateLimit, "the template works too much")
	}
	v, err := e.fn.call(&invocation{m: m, pos: e.pos, name: e.name}, args)
	if err != nil {
		return nil, positioned(err, e)
	}
	if err := m.spend(value.Size(v, MaxOutput) / pieceOfWork); err != nil {
		return nil, faultf(e.pos, source.CodeTemplateLimit, "the template works too much")
	}
	return v, nil
}

// isRoot reports whether an expression stands for the set of all variables.
func isRoot(e *expr, f *frame) bool {
	switch {
	case e.kind == exprDot:
		return f.rootDot
	case e.kind != exprLocal:
		return false
	case e.name == "$":
		return f.rootRoot
	}
	l := f.find(e.name)
	return l != nil && l.root
}

// indexRoot looks up one variable by its name: index . "build-status". The others do not matter then.
func (m *Machine) indexRoot(e *expr, f *frame) (any, error) {
	args := make([]any, len(e.args)-1)
	for i, a := range e.args[1:] {
		v, err := m.eval(a, f)
		switch x := v.(type) {
		case Unknown:
			return v, err
		case Missing:
			v, err = m.unset(x)
		}
		if err != nil {
			return nil, err
		}
		args[i] = v
	}
	name, ok := args[0].(string)
	if !ok {
		return nil, faultf(e.pos, source.CodeTemplateFailed, "the function index failed: the name of a variable is text")
	}
	args[0] = m.Scope.Get(name, e.pos)
	switch args[0].(type) {
	case Unknown, Missing:
		return args[0], nil
	}
	v, err := index(&invocation{m: m, pos: e.pos, name: e.name}, args)
	if err != nil {
		return nil, positioned(err, e)
	}
	return v, nil
}

// positioned gives the error of a function its place. Errors of functions never hold values.
func positioned(err error, e *expr) error {
	if _, ok := errors.AsType[*Fault](err); ok {
		return err
	}
	return faultf(e.pos, source.CodeTemplateFailed, "the function %s failed: %s", e.name, err)
}

// truth is what if and its like see in a value; known is false for unknown ones.
func truth(v any) (holds, known bool) {
	switch v := v.(type) {
	case Unknown:
		return false, false
	case nil, Missing:
		return false, true
	case bool:
		return v, true
	case string:
		return v != "", true
	case int64:
		return v != 0, true
	case float64:
		return v != 0, true
	case []any:
		return len(v) > 0, true
	case map[string]any:
		return len(v) > 0, true
	}
	return true, true
}

// Scope is the variables by name, in their order of precedence. It is used by one goroutine.
type Scope struct {
	Item value.Vars // of a fan-out, while its section is read: the item's variables; unknown before an item is rendered
	Vars value.Vars // of the caller: parameters, built-ins, outputs, and (after the launch) the job's variables again
	Job  value.Vars // the job's own variables
	Task value.Vars // the task's own variables, while its section is read
	// Secrets are what the task names as secrets, while its section is read; unknown before its claim.
	Secrets value.Vars
	// JobType and taskType are the built-ins that the definition knows itself.
	JobType, TaskType string
	// Empty gives empty text for a variable that is not set where strict would be a fault: see undefined_variables.
	Empty bool
	// Lenient gives what is not set as unknown instead of missing.
	Lenient bool
	// Hosting does what functions ask of the host; nil: there is none.
	Hosting *Hosting
	// Lookups notes what of vars is looked at; nil: nobody asks.
	Lookups *Lookups
	// OnRead is told of each variable that is looked up.
	OnRead func(name string, val any)
}

// Vague says that values can be unknown.
func (s *Scope) Vague() bool { return s.Lenient || s.Hosting != nil && s.Hosting.Vague }

// Get looks a variable up.
func (s *Scope) Get(name string, pos int) any {
	v, ok := s.Lookup(name)
	switch {
	case ok:
	case s.Lenient:
		v = Unknown{}
	default:
		v = Missing{Name: name, pos: pos}
	}
	if s.OnRead != nil {
		s.OnRead(name, v)
	}
	return v
}

// Lookup finds a variable without noting that it was looked at.
func (s *Scope) Lookup(name string) (any, bool) {
	if v, ok := s.Item[name]; ok {
		return v, true
	}
	if v, ok := s.Secrets[name]; ok {
		return v, true
	}
	s.Lookups.variable(name)
	if v, ok := s.Vars[name]; ok && !s.hides(name, v) {
		return canonOrUnknown(v)
	}
	if v, ok := s.Task[name]; ok {
		return v, true
	}
	if v, ok := s.Vars[name]; ok {
		return canonOrUnknown(v)
	}
	if v, ok := s.Job[name]; ok {
		return v, true
	}
	if name == "TaskType" && s.TaskType != "" {
		return s.TaskType, true
	}
	if name == "JobType" && s.JobType != "" {
		return s.JobType, true
	}
	if !s.Lenient {
		return builtinDefault(name)
	}
	return nil, false
}

// hides says that the task's own variable goes before the value that the caller gives: that is a built-in, or (after
// the launch the caller cannot tell them apart) the job's own variable.
func (s *Scope) hides(name string, val any) bool {
	own, ok := s.Task[name]
	if !ok || value.Same(own, val) {
		return false
	}
	if IsBuiltin(name) {
		return true
	}
	if job, ok := s.Job[name]; ok && value.Same(job, val) {
		return true
	}
	return s.isConfig(name, val)
}

// isConfig says that a variable has the value of a config, so that nothing has replaced it since.
func (s *Scope) isConfig(name string, val any) bool {
	return holds(s.Vars, OuterConfigs, name, val) || holds(s.Vars, JobConfigs, name, val)
}

func holds(vars value.Vars, kind, name string, val any) bool {
	configs, _ := vars[kind].(map[string]any)
	config, ok := configs[name]
	return ok && value.Same(config, val)
}

// BelowJob takes the outer configs from vars that variables of the job hide.
func BelowJob(vars, job value.Vars) value.Vars {
	if vars[OuterConfigs] == nil {
		return vars
	}
	out := value.Merged(vars)
	for name := range job {
		if v, ok := out[name]; ok && holds(vars, OuterConfigs, name, v) {
			delete(out, name)
		}
	}
	return out
}

// maxDotted bounds the points in the name of a variable.
const maxDotted = 6

// Field looks up a name with fields. Names with a point in them, such as the ForkedJobID of a task, are variables too.
func (s *Scope) Field(fields []string, pos int) (any, []string) {
	if len(fields) > 1 {
		for n := 2; n <= min(len(fields), maxDotted); n++ {
			joined := strings.Join(fields[:n], ".")
			if _, ok := s.Lookup(joined); ok {
				return s.Get(joined, pos), fields[n:]
			}
		}
		if _, ok := s.Lookup(fields[0]); !ok && s.OnRead != nil && !s.Lenient {
			// An output of this name may come later and decide: it has been looked for.
			for n := 2; n <= min(len(fields), maxDotted); n++ {
				s.Get(strings.Join(fields[:n], "."), pos)
			}
		}
	}
	return s.Get(fields[0], pos), fields[1:]
}

// Everything is the name under which a template that looks at all variables at once is recorded.
const Everything = UsesAll

// UsesAll stands for all variables in Task.Uses. No variable has this name.
const UsesAll = "*"

// All returns all variables at once.
func (s *Scope) All() any {
	if s.OnRead != nil {
		s.OnRead(Everything, nil)
	}
	s.Lookups.everything()
	if s.Lenient {
		return Unknown{}
	}
	out := make(map[string]any, len(s.Vars)+len(s.Job))
	for _, v := range s.Item {
		if _, ok := v.(Unknown); ok {
			return Unknown{}
		}
	}
	for _, layer := range []value.Vars{s.Job, s.Vars, s.Task, s.Item} {
		for name := range layer {
			if v, ok := s.Lookup(name); ok && !IsResultName(name) {
				out[name] = v
			}
		}
	}
	return out
}

// AsInt converts a number or a text that is one.
func AsInt(v any) (int64, bool) {
	switch v := v.(type) {
	case int64:
		return v, true
	case float64:
		if v == math.Trunc(v) && math.Abs(v) < 1<<53 {
			return int64(v), true
		}
	case json.Number:
		return exact.Int(v)
	case string:
		i, err := strconv.ParseInt(v, 10, 64)
		return i, err == nil
	}
	return 0, false
}

// AsNumber converts a number, or a text that is one, without a change of its digits.
func AsNumber(v any) (any, bool) {
	switch v := v.(type) {
	case int64, json.Number:
		return v, true
	case float64:
		return v, !math.IsInf(v, 0) && !math.IsNaN(v)
	case string:
		text := strings.TrimPrefix(v, "+")
		sign := ""
		if rest, ok := strings.CutPrefix(text, "-"); ok {
			sign, text = "-", rest
		}
		if strings.HasPrefix(text, ".") {
			text = "0" + text
		}
		text = strings.TrimSuffix(text, ".")
		if trimmed := strings.TrimLeft(text, "0"); trimmed != "" && trimmed[0] >= '0' && trimmed[0] <= '9' {
			text = trimmed
		}
		return exact.Number(json.Number(sign + text))
	}
	return nil, false
}

func asFloat(v any) (float64, bool) {
	switch v := v.(type) {
	case int64:
		return float64(v), true
	case float64:
		return v, true
	case json.Number:
		f, err := v.Float64()
		return f, err == nil
	case string:
		f, err := strconv.ParseFloat(v, 64)
		return f, err == nil && !math.IsNaN(f) && !math.IsInf(f, 0)
	}
	return 0, false
}

// HasUnknown says that a value is unknown or holds one that is.
func HasUnknown(v any) bool {
	switch v := v.(type) {
	case Unknown:
		return true
	case []any:
		return slices.ContainsFunc(v, HasUnknown)
	case map[string]any:
		for _, item := range v {
			if HasUnknown(item) {
				return true
			}
		}
	}
	return false
}

// IsItem reports whether a variable is one of the item of a fan-out.
func (s *Scope) IsItem(name string) bool {
	_, ok := s.Item[name]
	return ok
}

// IsSecret reports whether a variable is a secret of the task.
func (s *Scope) IsSecret(name string) bool {
	_, ok := s.Secrets[name]
	return ok
}

// unset is what a variable is that is not set and is asked for.
func (m *Machine) unset(v Missing) (any, error) {
	if m.Scope.Empty {
		return "", nil
	}
	return nil, undefined(v)
}
