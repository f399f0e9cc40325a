// Package source is the text of a definition: its lines and columns, the nodes that YAML makes of it, and the problems
// that are found at places in it. It knows no field of the language.
package source

import (
	"fmt"
	"sort"
	"strings"
)

// Problem is one fault or one warning in a definition's text, in a request's parameters or in a rendering.
type Problem struct {
	// File as named by the caller of Parse.
	File string `json:"file"`
	// Line and Column of the original text count from 1 (columns count characters); 0 means that no place is known.
	Line   int `json:"line"`
	Column int `json:"column"`
	// Code is stable, for example UNKNOWN_FIELD.
	Code string `json:"code"`
	// Field is the name of the parameter or variable concerned; empty for most faults of the text.
	Field string `json:"field,omitempty"`
	// Message says what is wrong. It never holds the value of a variable.
	Message string `json:"message"`
	// Expected says what would be right; may be empty.
	Expected string `json:"expected,omitempty"`
	// Warning does not keep the definition from being used.
	Warning bool `json:"warning,omitempty"`
}

// String formats the problem as "file:line:column: what, expected what [CODE]".
func (p Problem) String() string {
	var b strings.Builder
	b.WriteString(p.File)
	if p.Line > 0 {
		fmt.Fprintf(&b, ":%d:%d", p.Line, p.Column)
	}
	b.WriteString(": ")
	if p.Warning {
		b.WriteString("warning: ")
	}
	b.WriteString(p.Message)
	if p.Expected != "" {
		b.WriteString(", expected ")
		b.WriteString(p.Expected)
	}
	b.WriteString(" [" + p.Code + "]")
	return b.String()
}

// Problems are sorted by position. As an error they hold at least one that is not a warning.
type Problems []Problem

// Error lists the problems, one per line.
func (ps Problems) Error() string {
	lines := make([]string, len(ps))
	for i, p := range ps {
		lines[i] = p.String()
	}
	return strings.Join(lines, "\n")
}

// Codes of problems. They are part of the published interface: never renamed.
const (
	CodeSize               = "TOO_LARGE"
	CodeEncoding           = "INVALID_ENCODING"
	CodeSyntax             = "YAML_SYNTAX"
	CodeDepth              = "TOO_DEEP"
	CodeNodes              = "TOO_MANY_NODES"
	CodeAliases            = "TOO_MANY_ALIASES"
	CodeDuplicateKey       = "DUPLICATE_KEY"
	CodeTemplateSyntax     = "TEMPLATE_SYNTAX"
	CodeTemplateLimit      = "TEMPLATE_LIMIT"
	CodeTemplateFailed     = "TEMPLATE_FAILED"
	CodeTemplateKey        = "TEMPLATE_KEY"
	CodeUndefinedVariable  = "UNDEFINED_VARIABLE"
	CodeUnknownField       = "UNKNOWN_FIELD"
	CodeUnsupportedField   = "UNSUPPORTED_FIELD"
	CodeUnsupportedMethod  = "UNSUPPORTED_METHOD"
	CodeMisspelledField    = "MISSPELLED_FIELD"
	CodeInactiveField      = "INACTIVE_FIELD"
	CodeMissingField       = "MISSING_FIELD"
	CodeInvalidType        = "INVALID_TYPE"
	CodeInvalidValue       = "INVALID_VALUE"
	CodeInvalidName        = "INVALID_NAME"
	CodeConflict           = "CONFLICTING_FIELDS"
	CodeDuplicateTask      = "DUPLICATE_TASK"
	CodeUnknownTask        = "UNKNOWN_TASK"
	CodeSelfEdge           = "SELF_EDGE"
	CodeCycle              = "CYCLE"
	CodeUnreachable        = "UNREACHABLE_TASK"
	CodeTooManyTasks       = "TOO_MANY_TASKS"
	CodeTooManyEdges       = "TOO_MANY_EDGES"
	CodeInvalidRoute       = "INVALID_ROUTE"
	CodeCondition          = "INVALID_CONDITION"
	CodeNotUpstream        = "NOT_UPSTREAM"
	CodeMissingParam       = "MISSING_PARAM"
	CodeInvalidParam       = "INVALID_PARAM"
	CodeUnknownParam       = "UNKNOWN_PARAM"
	CodeTaskNotInRendering = "TASK_NOT_RENDERED"
	CodePartialCheck       = "PARTIAL_CHECK"
	CodeUnboundedRestart   = "UNBOUNDED_RESTART"
	CodeUntrustedInScript  = "UNTRUSTED_IN_SCRIPT"
	CodeArgumentOrder      = "ARGUMENT_ORDER"
	CodeReadAs             = "READ_AS"
	CodeOwnFork            = "OWN_FORK"
)

// maxProblems bounds what one text can make the reader say. Warnings have a bound of their own, so that they leave room
// for the faults.
const (
	maxProblems = 200
	maxWarnings = 100
)

// maxSuggestions bounds the work for names that are close to known ones.
const maxSuggestions = 20

// Collector gathers problems while a text is read.
type Collector struct {
	File   string
	List   Problems
	seen   map[Problem]bool
	warned int
	sought int
}

// Add takes a problem once: the body of a loop would say the same a thousand times.
func (c *Collector) Add(p Problem) {
	p.File = c.File
	same := p
	same.Expected = ""
	if c.Full() || c.seen[same] || p.Warning && c.warned >= maxWarnings {
		return
	}
	if p.Warning {
		c.warned++
	}
	if c.seen == nil {
		c.seen = map[Problem]bool{}
	}
	c.seen[same] = true
	c.List = append(c.List, p)
}

// Full says that nothing more will be taken.
func (c *Collector) Full() bool { return len(c.List) >= maxProblems }

// Faulty says that something other than a warning was found.
func (c *Collector) Faulty() bool {
	for _, p := range c.List {
		if !p.Warning {
			return true
		}
	}
	return false
}

// Suggests says that suggest still looks for names.
func (c *Collector) Suggests() bool { return c.sought < maxSuggestions }

// Suggest is nearest for the first names that are asked for.
func (c *Collector) Suggest(name string, candidates []string) string {
	if !c.Suggests() || len(candidates) > 2000 {
		return ""
	}
	c.sought++
	return nearest(name, candidates)
}

// Split sorts the problems and parts faults from warnings; the error is nil without faults.
func (c *Collector) Split() (warnings Problems, err error) {
	sort.SliceStable(c.List, func(i, j int) bool {
		a, b := c.List[i], c.List[j]
		return a.Line < b.Line || a.Line == b.Line && a.Column < b.Column
	})
	var faults Problems
	for _, p := range c.List {
		if p.Warning {
			warnings = append(warnings, p)
		} else {
			faults = append(faults, p)
		}
	}
	if len(faults) > 0 {
		return warnings, faults
	}
	return warnings, nil
}

// nearest returns the candidate closest to name when it is close enough to be meant, else "".
func nearest(name string, candidates []string) string {
	if len(name) > 100 {
		return ""
	}
	best, limit := "", 1+len(name)/4
	for _, c := range candidates {
		if d := distance(strings.ToLower(name), strings.ToLower(c), limit); d <= limit {
			if d < limit || best == "" {
				best, limit = c, d
			}
		}
	}
	return best
}

// distance is the edit distance of a and b, or more than limit when it is larger than that.
func distance(a, b string, limit int) int {
	if len(a)-len(b) > limit || len(b)-len(a) > limit {
		return limit + 1
	}
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := 1; i <= len(a); i++ {
		diagonal := row[0]
		row[0] = i
		for j := 1; j <= len(b); j++ {
			cost := diagonal
			if a[i-1] != b[j-1] {
				cost++
			}
			diagonal = row[j]
			row[j] = min(cost, row[j]+1, row[j-1]+1)
		}
	}
	return row[len(b)]
}
