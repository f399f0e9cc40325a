package condition

import (
	"encoding/json"
	"slices"
	"strconv"

	"cel.dev/cel-go/cel"
	"cel.dev/cel-go/common/ast"
	"cel.dev/cel-go/common/operators"
	"cel.dev/cel-go/common/types"

	"github.com/formicary/formicary/libs/jobspec/template"
	"github.com/formicary/formicary/libs/jobspec/value"
)

// Uses is what an expression looks at. A variable that is not set counts as null there, an output that was not given
// as empty and a task that has not ended as one without a state, unless the expression asks for it with has().
type Uses struct {
	Vars     map[string]bool // true: only by has()
	All      bool            // variables whose names it computes
	Tasks    map[string]*taskUse
	AllTasks bool
	job      bool
	counters bool     // what changes while the job runs
	items    []string // variables of items that are named without vars before them
	issues   []Issue
}

// taskUse is a task that an expression names.
type taskUse struct {
	At      int             // where, in characters of the text
	probed  bool            // only by has()
	outputs map[string]bool // true: only by has()
	// result and allOutputs say that it looks at the result, and at outputs whose names it does not say.
	result, allOutputs bool
}

// usesOf walks an expression.
func usesOf(a *cel.Ast, text string, items []string) Uses {
	w := &useWalk{text: text, items: items, info: a.NativeRep().SourceInfo(), below: map[int64]bool{}}
	w.uses = Uses{Vars: map[string]bool{}, Tasks: map[string]*taskUse{}}
	ast.PreOrderVisit(a.NativeRep().Expr(), ast.NewExprVisitor(w.visit))
	return w.uses
}

type useWalk struct {
	uses  Uses
	text  string
	items []string
	info  *ast.SourceInfo
	below map[int64]bool // expressions that were understood together with the one around them
}

func (w *useWalk) at(e ast.Expr) int {
	loc := w.info.GetStartLocation(e.ID())
	return runeOffset(w.text, loc.Line(), loc.Column())
}

func (w *useWalk) fault(e ast.Expr, message string) {
	w.uses.issues = append(w.uses.issues, Issue{At: w.at(e), Message: message})
}

func (w *useWalk) visit(e ast.Expr) {
	switch e.Kind() {
	case ast.ComprehensionKind:
		c := e.AsComprehension()
		for _, name := range []string{c.IterVar(), c.IterVar2()} {
			if slices.Contains([]string{celParams, celVars, celTasks, celJob}, name) {
				w.fault(e, "the name "+name+" is taken")
			}
		}
	case ast.CallKind:
		if name := e.AsCall().FunctionName(); name == "join" || name == "replace" {
			w.fault(e, "the function "+name+" is not available in conditions")
			return
		}
		w.path(e)
	case ast.SelectKind, ast.IdentKind:
		w.path(e)
	default:
	}
}

// path understands params.a, vars["a"], tasks.t.outputs.o and the like.
func (w *useWalk) path(e ast.Expr) {
	if w.below[e.ID()] {
		return
	}
	root, keys, probed := w.steps(e)
	if root == nil {
		return
	}
	switch name := root.AsIdent(); name {
	case celParams, celVars:
		w.variable(keys, probed)
	case celTasks:
		w.task(root, keys, probed)
	case celJob:
		w.uses.job = true
		if len(keys) == 0 || slices.Contains([]string{"retry", "elapsed_secs", "state", "failed", "cancelled"}, keys[0]) {
			w.uses.counters = true
		}
	default:
		if slices.Contains(w.items, name) {
			w.variable(append([]string{name}, keys...), false)
			if !slices.Contains(w.uses.items, name) {
				w.uses.items = append(w.uses.items, name)
			}
		}
	}
}

// steps follows constant selections down to a name, or returns no root. probed says that the last one is has().
func (w *useWalk) steps(e ast.Expr) (root ast.Expr, keys []string, probed bool) {
	var seen []int64
	for first := true; ; first = false {
		seen = append(seen, e.ID())
		switch e.Kind() {
		case ast.IdentKind:
			for _, id := range seen {
				w.below[id] = true
			}
			slices.Reverse(keys)
			return e, keys, probed
		case ast.SelectKind:
			s := e.AsSelect()
			probed = probed || first && s.IsTestOnly()
			keys = append(keys, s.FieldName())
			e = s.Operand()
		case ast.CallKind:
			c := e.AsCall()
			if c.FunctionName() != operators.Index || len(c.Args()) != 2 {
				return nil, nil, false
			}
			key, ok := literalText(c.Args()[1])
			if !ok {
				return nil, nil, false
			}
			keys = append(keys, key)
			e = c.Args()[0]
		default:
			return nil, nil, false
		}
	}
}

func literalText(e ast.Expr) (string, bool) {
	if e.Kind() != ast.LiteralKind {
		return "", false
	}
	s, ok := e.AsLiteral().(types.String)
	return string(s), ok
}

func (w *useWalk) variable(keys []string, probed bool) {
	if len(keys) == 0 {
		w.uses.All = true
		return
	}
	onlyProbed, seen := w.uses.Vars[keys[0]]
	probed = probed && len(keys) == 1
	w.uses.Vars[keys[0]] = probed && (onlyProbed || !seen)
	if template.IsCounter(keys[0]) {
		w.uses.counters = true
	}
}

func (w *useWalk) task(e ast.Expr, keys []string, probed bool) {
	if len(keys) == 0 {
		w.uses.AllTasks = true
		return
	}
	use := w.uses.Tasks[keys[0]]
	if use == nil {
		use = &taskUse{At: w.at(e), probed: true, outputs: map[string]bool{}}
		w.uses.Tasks[keys[0]] = use
	}
	if !probed || len(keys) > 1 {
		use.probed = false
	}
	use.result = use.result || len(keys) == 1 && !probed || len(keys) > 1 && keys[1] == "result"
	use.allOutputs = use.allOutputs || len(keys) == 1 && !probed || len(keys) == 2 && keys[1] == "outputs"
	if len(keys) > 2 && keys[1] == "outputs" {
		probed = probed && len(keys) == 3
		onlyProbed, seen := use.outputs[keys[2]]
		use.outputs[keys[2]] = probed && (onlyProbed || !seen)
	}
}

// Known says what an expression can be told.
type Known uint8

// What an expression can be told.
const (
	Ready Known = iota
	Waits       // for what only a later moment knows
	Large       // a variable is too large
)

// Activation gathers what an expression looks at. facts are nil before the task is about to start. waits says that a
// variable which is not set may still be given by a task.
func (u *Uses) Activation(s *template.Scope, facts *Facts, waits bool) (map[string]any, Known) {
	vars := map[string]any{}
	if u.All {
		all, ok := s.All().(map[string]any)
		if !ok {
			return nil, Waits
		}
		if value.Size(all, maxConditionValue) > maxConditionValue {
			return nil, Large
		}
		vars, _ = celValue(all).(map[string]any)
	}
	for _, name := range value.SortedKeys(u.Vars) {
		v := s.Get(name, 0)
		switch x := v.(type) {
		case template.Unknown:
			return nil, Waits
		case template.Missing:
			if waits {
				return nil, Waits
			}
			if !u.Vars[name] {
				vars[name] = nil
			}
			continue
		case string:
			if len(x) > maxConditionText {
				return nil, Large
			}
		}
		if value.Size(v, maxConditionValue) > maxConditionValue {
			return nil, Large
		}
		vars[name] = celValue(v)
	}
	if facts != nil {
		u.note(facts.Lookups)
	}
	if waits && u.counters || facts == nil && (len(u.Tasks) > 0 || u.AllTasks) {
		return nil, Waits
	}
	tasks, fits := u.taskFacts(facts)
	if !fits {
		return nil, Large
	}
	known := map[string]any{celParams: vars, celVars: vars, celTasks: tasks, celJob: u.jobFacts(s)}
	for _, name := range u.items {
		known[name] = vars[name]
	}
	return known, Ready
}

// celValue gives numbers that expressions do not know the nearest kind that they do.
func celValue(v any) any {
	if !hasNumber(v) {
		return v
	}
	switch x := v.(type) {
	case json.Number:
		if u, err := strconv.ParseUint(x.String(), 10, 64); err == nil {
			return u
		}
		f, _ := x.Float64()
		return f
	case []any:
		out := make([]any, len(x))
		for i, item := range x {
			out[i] = celValue(item)
		}
		return out
	case map[string]any:
		out := make(map[string]any, len(x))
		for k, item := range x {
			out[k] = celValue(item)
		}
		return out
	}
	return v
}

func hasNumber(v any) bool {
	switch x := v.(type) {
	case json.Number:
		return true
	case []any:
		return slices.ContainsFunc(x, hasNumber)
	case map[string]any:
		for _, item := range x {
			if hasNumber(item) {
				return true
			}
		}
	}
	return false
}

func (u *Uses) taskFacts(facts *Facts) (tasks map[string]*celTask, fits bool) {
	tasks = map[string]*celTask{}
	if facts == nil {
		return tasks, true
	}
	size := 0
	put := func(name string, f TaskFact, use *taskUse) {
		t := &celTask{State: f.State, ExitCode: int64(f.ExitCode), FailureClass: f.FailureClass, Message: f.Message}
		if use == nil || use.result {
			t.Result = f.Result
		}
		t.Outputs = make(map[string]string, len(f.Outputs)+1)
		size += len(t.Message) + len(t.Result)
		for key, v := range f.Outputs {
			if use != nil && !use.allOutputs {
				if _, asked := use.outputs[key]; !asked {
					continue
				}
			}
			t.Outputs[key] = v
			size += len(key) + len(v)
		}
		tasks[name] = t
	}
	if u.AllTasks {
		for name := range facts.Tasks {
			put(name, facts.Tasks[name], nil)
		}
	}
	for name, use := range u.Tasks {
		f, ended := facts.Tasks[name]
		if !ended && use.probed {
			continue
		}
		if !u.AllTasks || !ended {
			put(name, f, use)
		}
		for key, probed := range use.outputs {
			if _, given := f.Outputs[key]; !given && !probed {
				tasks[name].Outputs[key] = ""
			}
		}
	}
	return tasks, size <= maxConditionValue
}

func (u *Uses) jobFacts(s *template.Scope) *celJobFacts {
	if !u.job {
		return &celJobFacts{}
	}
	text := func(name string) string {
		switch v := s.Get(name, 0).(type) {
		case template.Unknown, template.Missing:
			return ""
		default:
			return value.Text(v)
		}
	}
	number := func(name string) int64 {
		n, _ := template.AsInt(s.Get(name, 0))
		return n
	}
	state := text(template.VarJobState)
	return &celJobFacts{
		State: state, Failed: state == template.JobFailed, Cancelled: state == template.JobCancelled,
		ID: text("JobID"), Type: text("JobType"), Retry: number("JobRetry"), Elapsed: number("JobElapsedSecs"),
		User: text("UserID"), Organization: text("OrganizationID"),
	}
}

// note notes what an expression asks of tasks.
func (u *Uses) note(l *template.Lookups) {
	if l == nil {
		return
	}
	l.AllTasks = l.AllTasks || u.AllTasks
	for name, use := range u.Tasks {
		if l.Tasks == nil {
			l.Tasks = map[string]template.TaskFields{}
		}
		f := l.Tasks[name]
		f.Result, f.AllOutputs = f.Result || use.result, f.AllOutputs || use.allOutputs
		for key := range use.outputs {
			if f.Outputs == nil {
				f.Outputs = map[string]bool{}
			}
			f.Outputs[key] = true
		}
		l.Tasks[name] = f
	}
}
