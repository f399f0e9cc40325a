package template

import (
	"maps"
	"slices"
)

// Deciding lists the variables that blocks look at which stand around or inside of a stretch of the source: what is
// written there depends on them. It looks at the text only.
func (p *Program) Deciding(from, to int) []string {
	d := &deciding{from: from, to: to, found: map[string]bool{}, locals: map[string]map[string]bool{}}
	for range 2 { // what local variables hold is known after the first
		d.found = map[string]bool{}
		d.list(p.body, len(p.Text))
	}
	return slices.Sorted(maps.Keys(d.found))
}

type deciding struct {
	from, to int
	found    map[string]bool
	locals   map[string]map[string]bool
}

// list walks statements; end is where the block that they are the body of ends.
func (d *deciding) list(stmts []*Stmt, end int) {
	for i, s := range stmts {
		next := end
		if i+1 < len(stmts) {
			next = stmts[i+1].From
		}
		if s.expr != nil {
			d.stmt(s, s.From < d.to && next > d.from)
		}
		middle := next
		if len(s.other) > 0 {
			middle = s.other[0].From
		}
		d.list(s.body, middle)
		d.list(s.other, next)
	}
}

func (d *deciding) stmt(s *Stmt, near bool) {
	for _, name := range s.names {
		if d.locals[name] == nil {
			d.locals[name] = map[string]bool{}
		}
		d.names(s.expr, d.locals[name])
	}
	switch s.kind {
	case stmtIf, stmtWith, stmtRange, stmtCall:
		if near {
			d.names(s.expr, d.found)
		}
	default:
	}
}

// names adds the variables that an expression looks at.
func (d *deciding) names(e *expr, into map[string]bool) {
	switch e.kind {
	case exprLocal:
		maps.Copy(into, d.locals[e.name])
	case exprField:
		if base := e.args[0]; base.kind == exprDot || base.kind == exprLocal && base.name == "$" {
			into[e.fields[0]] = true
		}
	case exprCall:
		if e.name == "index" && len(e.args) > 1 {
			if name, ok := e.args[1].value.(string); ok {
				into[name] = true
			}
		}
	default:
	}
	for _, a := range e.args {
		d.names(a, into)
	}
}
