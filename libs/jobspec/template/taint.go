package template

import (
	"slices"
	"strings"

	"github.com/formicary/formicary/libs/jobspec/value"
)

// Taint finds, without running a template, whose values each printing action shows: the names of variables that flow
// into it. It looks at the text only, so what a local variable may hold is what all assignments to its name may give.
type Taint struct {
	program *Program
	Prints  map[*Stmt]names
	locals  map[string]flowing
	blocks  map[string]flowing // what each block is called with
	changed bool
}

// names is a small sorted set.
type names []string

// maxNames bounds a set; one that grows beyond stands for all variables.
const maxNames = 16

// flowing is what an expression may hold: values of variables, or all variables at once.
type flowing struct {
	from names
	root bool
}

func (n names) with(other names) names {
	for _, name := range other {
		if i, ok := slices.BinarySearch(n, name); !ok {
			if len(n) >= maxNames {
				return names{Everything}
			}
			n = slices.Insert(slices.Clip(n), i, name)
		}
	}
	return n
}

func (f flowing) with(other flowing) flowing {
	return flowing{from: f.from.with(other.from), root: f.root || other.root}
}

// text is what is printed of it.
func (f flowing) text() names {
	if f.root {
		return f.from.with(names{Everything})
	}
	return f.from
}

// maxRounds bounds how often assignments are followed around loops.
const maxRounds = 8

// TaintOf follows the variables of a template to the actions that print them.
func TaintOf(p *Program) *Taint {
	t := &Taint{program: p, Prints: map[*Stmt]names{}, locals: map[string]flowing{}, blocks: map[string]flowing{}}
	for range maxRounds {
		t.changed = false
		t.list(p.body, flowing{root: true}, flowing{root: true})
		for _, name := range value.SortedKeys(p.blocks) {
			if arg, ok := t.blocks[name]; ok {
				t.list(p.blocks[name], arg, arg)
			}
		}
		if !t.changed {
			break
		}
	}
	return t
}

// merge widens an entry and notes whether it grew.
func (t *Taint) merge(into map[string]flowing, name string, f flowing) {
	old, ok := into[name]
	wider := old.with(f)
	if !ok || wider.root != old.root || !slices.Equal(wider.from, old.from) {
		into[name] = wider
		t.changed = true
	}
}

func (t *Taint) list(stmts []*Stmt, dot, root flowing) {
	for _, s := range stmts {
		var f flowing
		if s.expr != nil {
			f = t.expr(s.expr, dot, root)
		}
		switch s.kind {
		case stmtPrint:
			t.Prints[s] = t.Prints[s].with(f.text())
		case stmtCall:
			t.merge(t.blocks, s.block, f)
		case stmtSet, stmtIf, stmtWith:
			for _, name := range s.names {
				t.merge(t.locals, name, f)
			}
		case stmtRange:
			if len(s.names) > 0 { // of two, the first is an index or a key
				t.merge(t.locals, s.names[len(s.names)-1], f)
			}
		default:
		}
		inner := dot
		if s.kind == stmtWith || s.kind == stmtRange {
			inner = f
		}
		t.list(s.body, inner, root)
		t.list(s.other, dot, root)
	}
}

func (t *Taint) expr(e *expr, dot, root flowing) flowing {
	switch e.kind {
	case exprConst:
		return flowing{}
	case exprDot:
		return dot
	case exprLocal:
		if e.name == "$" {
			return root
		}
		return t.locals[e.name]
	case exprField:
		base := t.expr(e.args[0], dot, root)
		if !base.root {
			return base
		}
		return flowing{from: base.from.with(names{strings.Join(e.fields[:min(len(e.fields), 2)], ".")})}
	default:
	}
	if e.kind == exprCall {
		if harmless(e) {
			return flowing{}
		}
		if name, ok := t.indexed(e, dot, root); ok {
			return flowing{from: names{name}}
		}
	}
	var out flowing
	for i, a := range e.args {
		if e.kind == exprCall && i == 0 && (e.name == "FormatTime" || e.name == "formatTime") {
			continue
		}
		out = out.with(t.expr(a, dot, root))
	}
	return out
}

// indexed recognizes index . "name".
func (t *Taint) indexed(e *expr, dot, root flowing) (string, bool) {
	if e.name != "index" || len(e.args) < 2 || e.args[1].kind != exprConst || !t.expr(e.args[0], dot, root).root {
		return "", false
	}
	name, ok := e.args[1].value.(string)
	return name, ok
}

// harmless says that what a function gives can mean nothing to a shell, whatever its arguments are.
func harmless(e *expr) bool {
	switch e.name {
	case "shellquote", "sha256", "atoi", "atof", "len", "Add", "Iterate", "Random", "Percent100", "now", "not", "eq", "ne", "lt",
		"le", "gt", "ge", "contains", "hasPrefix", "hasSuffix", "semverCompare", "urlquery", "CountByJobTypeAndState",
		"SubmitJob", "SubmitJobsFromJSON":
		return true
	case "printf":
		if len(e.args) == 0 {
			return false
		}
		format, ok := e.args[0].value.(string)
		return ok && e.args[0].kind == exprConst && len(verbsOf(format)) > 0 &&
			!slices.ContainsFunc(verbsOf(format), func(verb byte) bool { return strings.IndexByte("dxXobtfFeEgG", verb) < 0 })
	}
	return false
}
