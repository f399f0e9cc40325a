package template

import (
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"text/template/parse"

	"github.com/formicary/formicary/libs/jobspec/source"
	"github.com/formicary/formicary/libs/jobspec/value"
)

// Bounds of the template's text, before anything runs.
const (
	maxActions      = 50_000
	maxBlockNesting = 200
	maxDeclarations = 5_000_000 // variables declared × actions: the parser looks each use up in a list
)

// Program is a checked template.
type Program struct {
	Text   string
	body   []*Stmt
	blocks map[string][]*Stmt // bodies of define and block
}

type stmtKind uint8

const (
	stmtText stmtKind = iota
	stmtPrint
	stmtSet
	stmtIf
	stmtWith
	stmtRange
	stmtCall
	stmtBreak
	stmtContinue
)

// Stmt is a piece of text or an action.
type Stmt struct {
	kind stmtKind
	// From and to bound it in the source: the text itself, or the action with its braces.
	From, To int
	text     []byte
	expr     *expr
	names    []string // variables that the expression assigns to ("$x")
	declare  bool     // := and not =
	uses     []string // local variables that a printed expression reads
	body     []*Stmt
	other    []*Stmt // else
	block    string  // name of the template that is called
	blockPos int
}

type exprKind uint8

const (
	exprConst exprKind = iota
	exprDot
	exprLocal // variable
	exprField // fields of args[0]
	exprCall
	exprAnd
	exprOr
)

// expr is a part of an action that has a value.
type expr struct {
	kind   exprKind
	pos    int
	value  any      // of a constant
	name   string   // of a local variable or a function
	fields []string // of exprField
	fn     Function
	args   []*expr
}

// compiler turns the parse tree of text/template into a program. It keeps no values: a compiled template cannot call
// methods, and reaches no function but those of the table.
type compiler struct {
	c      *source.Collector
	lines  *source.Lines
	text   string
	failed bool
	uses   map[string]bool // of the action that is being compiled
	open   int             // where the innermost block begins that is not closed
}

// Compile parses and checks a template. It returns nil when there are faults.
func Compile(text string, c *source.Collector, l *source.Lines) *Program {
	k := &compiler{c: c, lines: l, text: text}
	if !k.measure() {
		return nil
	}
	trees := map[string]*parse.Tree{}
	tree := parse.New(rootTemplate)
	tree.Mode = parse.SkipFuncCheck
	if _, err := tree.Parse(text, "", "", trees); err != nil {
		k.syntax(err)
		return nil
	}
	p := &Program{Text: text, blocks: map[string][]*Stmt{}}
	for name, t := range trees {
		if name != rootTemplate {
			p.blocks[name] = k.list(t.Root)
		}
	}
	p.body = k.list(tree.Root)
	if k.failed {
		return nil
	}
	return p
}

func (k *compiler) fail(pos int, code, message, expected string) {
	k.failed = true
	if k.c.Full() {
		return
	}
	line, column := k.lines.At(pos)
	k.c.Add(source.Problem{Line: line, Column: column, Code: code, Message: message, Expected: expected})
}

var actionStart = regexp.MustCompile(`^-?\s*(if|range|with|define|block|end|else)?\b`)

// measure bounds what the recursive parser has to go through. It only guesses where actions begin: braces inside of
// comments and strings count too.
func (k *compiler) measure() bool {
	type block struct{ at, depth int } // with its chain of else
	var open []block
	depth, actions, declarations := 0, 0, 0
	for at := 0; ; {
		i := strings.Index(k.text[at:], "{{")
		if i < 0 {
			break
		}
		at += i + 2
		if actions++; actions > maxActions {
			break
		}
		rest := k.text[at:]
		if next := strings.Index(rest, "{{"); next >= 0 {
			rest = rest[:next]
		}
		if end := strings.Index(rest, "}}"); end >= 0 {
			rest = rest[:end]
		}
		declarations += strings.Count(rest, ":=") + strings.Count(rest, ",")
		switch m := actionStart.FindStringSubmatch(rest[:min(len(rest), 64)]); {
		case m == nil:
		case m[1] == "if" || m[1] == "range" || m[1] == "with" || m[1] == "define" || m[1] == "block":
			open = append(open, block{at - 2, 1})
			depth++
		case m[1] == "else" && len(open) > 0:
			open[len(open)-1].depth++
			depth++
		case m[1] == "end" && len(open) > 0:
			depth -= open[len(open)-1].depth
			open = open[:len(open)-1]
		}
		if depth > maxBlockNesting {
			k.fail(at-2, source.CodeTemplateLimit, "the template is nested too deeply", fmt.Sprintf("at most %d levels", maxBlockNesting))
			return false
		}
	}
	if len(open) > 0 {
		k.open = open[len(open)-1].at
	}
	if actions > maxActions || declarations*actions > maxDeclarations {
		k.fail(0, source.CodeTemplateLimit, "the template has too many actions or variables", fmt.Sprintf("at most %d actions", maxActions))
		return false
	}
	return true
}

// rootTemplate is the name of the text as a template, beside those that it defines.
const rootTemplate = "job definition"

var templateError = regexp.MustCompile(`(?s)^template: ` + rootTemplate + `:(\d+): (?:template: )?(.*)$`)

// syntax reports an error of the parser. It knows the line only; the column is that of the first action in the line
// that fails alone with the same words, else of the first action.
func (k *compiler) syntax(err error) {
	line, message := 1, err.Error()
	if m := templateError.FindStringSubmatch(message); m != nil {
		line, _ = strconv.Atoi(m[1])
		message = m[2]
	}
	from := k.lines.Offset(line, 1)
	to := k.lines.Offset(line+1, 1)
	if message == "unexpected EOF" {
		k.fail(k.open, source.CodeTemplateSyntax, "the block of the template is not closed", "{{end}}")
		return
	}
	const attempts = 100
	pos, first := from, true
	for at, n := from, 0; at < to && n < attempts; n++ {
		i := strings.Index(k.text[at:to], "{{")
		if i < 0 {
			break
		}
		at += i
		if first {
			pos, first = at, false
		}
		end := strings.Index(k.text[at:to], "}}")
		if end < 0 {
			break
		}
		alone := parse.New(rootTemplate)
		alone.Mode = parse.SkipFuncCheck
		if _, err := alone.Parse(k.text[at:at+end+2], "", "", map[string]*parse.Tree{}); err != nil {
			if m := templateError.FindStringSubmatch(err.Error()); m != nil && m[2] == message {
				pos = at
				break
			}
		}
		at += end + 2
	}
	k.fail(pos, source.CodeTemplateSyntax, "the template cannot be read: "+message, "")
}

func (k *compiler) list(l *parse.ListNode) []*Stmt {
	if l == nil {
		return nil
	}
	out := make([]*Stmt, 0, len(l.Nodes))
	for _, n := range l.Nodes {
		if s := k.stmt(n); s != nil {
			out = append(out, s)
		}
	}
	return out
}

func (k *compiler) stmt(n parse.Node) *Stmt {
	switch n := n.(type) {
	case *parse.TextNode:
		return &Stmt{kind: stmtText, From: int(n.Pos), To: int(n.Pos) + len(n.Text), text: n.Text}
	case *parse.ActionNode:
		return k.action(n)
	case *parse.IfNode:
		return k.branch(stmtIf, &n.BranchNode)
	case *parse.WithNode:
		return k.branch(stmtWith, &n.BranchNode)
	case *parse.RangeNode:
		return k.branch(stmtRange, &n.BranchNode)
	case *parse.TemplateNode:
		s := k.at(stmtCall, int(n.Pos))
		s.block, s.blockPos = n.Name, int(n.Pos)
		if n.Pipe != nil {
			s.expr = k.pipe(n.Pipe)
		}
		return s
	case *parse.BreakNode:
		return k.at(stmtBreak, int(n.Pos))
	case *parse.ContinueNode:
		return k.at(stmtContinue, int(n.Pos))
	}
	return nil // comments
}

// at makes the statement of the action around pos.
func (k *compiler) at(kind stmtKind, pos int) *Stmt {
	s := &Stmt{kind: kind, From: pos, To: pos}
	if i := strings.LastIndex(k.text[:pos], "{{"); i >= 0 {
		s.From = i
	}
	if i := strings.Index(k.text[pos:], "}}"); i >= 0 {
		s.To = pos + i + 2
	}
	return s
}

func (k *compiler) action(n *parse.ActionNode) *Stmt {
	k.uses = map[string]bool{}
	s := k.at(stmtPrint, int(n.Pos))
	s.expr = k.pipe(n.Pipe)
	s.uses = value.SortedKeys(k.uses)
	k.declarations(s, n.Pipe)
	if len(s.names) > 0 {
		s.kind = stmtSet
	}
	return s
}

func (k *compiler) declarations(s *Stmt, pipe *parse.PipeNode) {
	for _, v := range pipe.Decl {
		s.names = append(s.names, v.Ident[0])
	}
	s.declare = !pipe.IsAssign
}

func (k *compiler) branch(kind stmtKind, n *parse.BranchNode) *Stmt {
	s := k.at(kind, int(n.Pos))
	s.expr = k.pipe(n.Pipe)
	k.declarations(s, n.Pipe)
	s.body, s.other = k.list(n.List), k.list(n.ElseList)
	return s
}

// pipe chains commands: the value of each is the last argument of the next.
func (k *compiler) pipe(n *parse.PipeNode) *expr {
	var e *expr
	for _, cmd := range n.Cmds {
		e = k.command(cmd, e)
	}
	return e
}

func (k *compiler) command(n *parse.CommandNode, final *expr) *expr {
	first := n.Args[0]
	if id, ok := first.(*parse.IdentifierNode); ok {
		e := k.function(id)
		for _, arg := range n.Args[1:] {
			e.args = append(e.args, k.operand(arg))
		}
		if final != nil {
			e.args = append(e.args, final)
		}
		k.arguments(e, final != nil)
		return e
	}
	e := k.operand(first)
	if _, ok := first.(*parse.NilNode); ok {
		k.fail(e.pos, source.CodeTemplateSyntax, "nil stands alone", "a value")
	}
	if len(n.Args) > 1 || final != nil {
		k.fail(int(first.Position()), source.CodeTemplateSyntax, "arguments are given to what is no function", "")
	}
	return e
}

func (k *compiler) function(id *parse.IdentifierNode) *expr {
	pos := int(id.Pos)
	e := &expr{kind: exprCall, pos: pos, name: id.Ident}
	switch id.Ident {
	case "and":
		e.kind = exprAnd
		return e
	case "or":
		e.kind = exprOr
		return e
	case "call":
		k.fail(pos, source.CodeTemplateSyntax, "the function call is not allowed", "")
		return e
	}
	fn, ok := FunctionNamed(id.Ident)
	if !ok {
		expected := "a function of the language"
		if n := k.c.Suggest(id.Ident, FunctionNames()); n != "" {
			expected = n
		}
		k.fail(pos, source.CodeTemplateSyntax, "the template function "+source.QuoteName(id.Ident)+" does not exist", expected)
	}
	e.fn = fn
	return e
}

func (k *compiler) operand(n parse.Node) *expr {
	pos := int(n.Position())
	switch n := n.(type) {
	case *parse.DotNode:
		return &expr{kind: exprDot, pos: pos}
	case *parse.NilNode:
		return &expr{kind: exprConst, pos: pos}
	case *parse.BoolNode:
		return &expr{kind: exprConst, pos: pos, value: n.True}
	case *parse.StringNode:
		if !value.Storable(n.Text) {
			k.fail(pos, source.CodeEncoding, "the text holds the character NUL, or bytes that are no text", "UTF-8 without NUL")
		}
		return &expr{kind: exprConst, pos: pos, value: n.Text}
	case *parse.NumberNode:
		return k.number(n)
	case *parse.FieldNode:
		return &expr{kind: exprField, pos: pos, fields: n.Ident, args: []*expr{{kind: exprDot, pos: pos}}}
	case *parse.VariableNode:
		if k.uses != nil {
			k.uses[n.Ident[0]] = true
		}
		e := &expr{kind: exprLocal, pos: pos, name: n.Ident[0]}
		if len(n.Ident) > 1 {
			e = &expr{kind: exprField, pos: pos, fields: n.Ident[1:], args: []*expr{e}}
		}
		return e
	case *parse.ChainNode:
		return &expr{kind: exprField, pos: pos, fields: n.Field, args: []*expr{k.operand(n.Node)}}
	case *parse.PipeNode:
		if len(n.Decl) > 0 {
			k.fail(pos, source.CodeTemplateSyntax, "a variable is declared inside of an expression", "")
		}
		return k.pipe(n)
	case *parse.IdentifierNode:
		e := k.function(n)
		k.arguments(e, false)
		return e
	}
	k.fail(pos, source.CodeTemplateSyntax, "the expression cannot be read", "")
	return &expr{}
}

func (k *compiler) number(n *parse.NumberNode) *expr {
	e := &expr{kind: exprConst, pos: int(n.Pos)}
	switch {
	case n.IsInt:
		e.value = n.Int64
	case n.IsFloat:
		e.value = n.Float64
	default:
		k.fail(e.pos, source.CodeTemplateSyntax, "the number is out of range", "")
	}
	return e
}
