package template

import (
	"fmt"
	"strings"

	"github.com/formicary/formicary/libs/jobspec/source"
)

// textFirst tells the functions that take the text first and what is looked for in it after. Other template languages
// have it the other way round, so that the text can come from a pipe; a call written so is no fault and gives nonsense.
func textFirst(name string) bool {
	switch name {
	case "trimPrefix", "trimSuffix", "hasPrefix", "hasSuffix", "contains", "replace", "split", "join":
		return true
	}
	return false
}

// longestPart is the length up to which a literal is rather what is looked for than the text that it is looked for in.
const longestPart = 32

// arguments checks the number of arguments of a call, and warns when they look turned round. piped says that the last
// of them comes from a pipe.
func (k *compiler) arguments(e *expr, piped bool) {
	if e.kind != exprCall || e.fn.call == nil {
		return
	}
	if n := len(e.args); n < e.fn.Least || e.fn.Most >= 0 && n > e.fn.Most {
		k.fail(e.pos, source.CodeTemplateFailed, fmt.Sprintf("the function %s has the wrong number of arguments", e.name), usageOf(e.name))
		return
	}
	if !textFirst(e.name) || !turned(e, piped) {
		return
	}
	message := "the arguments of " + e.name + " look turned round: the text comes first"
	if piped {
		message = "the arguments of " + e.name + " look turned round: a pipe gives the last argument, and the text comes first"
	}
	line, column := k.lines.At(e.pos)
	k.c.Add(source.Problem{Line: line, Column: column, Code: source.CodeArgumentOrder, Message: message, Expected: usageOf(e.name), Warning: true})
}

// turned says that a call has what is looked for where the text belongs.
func turned(e *expr, piped bool) bool {
	part, isText := constText(e.args[0])
	if !isText {
		return false
	}
	if text, all := constText(e.args[len(e.args)-1]); all {
		return part != text && part != "" && strings.Contains(text, part)
	}
	switch {
	case len(part) > longestPart && !piped, e.name == "contains" && strings.ContainsAny(part, ",;| "):
		return false // a list of words that the variable may be one of
	case len(e.args) == 3:
		_, isText = constText(e.args[1])
		return isText
	}
	return true
}

func constText(e *expr) (string, bool) {
	if e.kind != exprConst {
		return "", false
	}
	s, ok := e.value.(string)
	return s, ok
}
