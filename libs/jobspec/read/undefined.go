package read

import (
	"regexp"
	"strings"

	"github.com/formicary/formicary/libs/jobspec/source"
	"github.com/formicary/formicary/libs/jobspec/value"
)

// What becomes of a printed variable that is not set: undefined_variables of the job.
const (
	UndefinedStrict = "strict" // it is a fault, the default
	UndefinedEmpty  = "empty"  // it is empty text, for files of the existing system
)

// blankField finds undefined_variables: empty in a text.
var blankField = regexp.MustCompile(`(?m)^[ \t{]*["']?undefined_variables["']?[ \t]*:[ \t]*["']?empty\b`)

// BlankText says whether a text has undefined_variables: empty. It is asked before the text is read: templates are run first.
func BlankText(text []byte) bool { return blankField.Match(text) }

// UndefinedVariables reads the field. It is needed before anything is rendered.
func (r *Reader) UndefinedVariables(n *source.Node) bool {
	text := r.Literal(n, "undefined_variables", value.MaxName)
	switch {
	case n.Templated, text == "", strings.EqualFold(text, UndefinedStrict):
		return false
	case strings.EqualFold(text, UndefinedEmpty):
		return true
	}
	r.Fault(n, source.CodeInvalidValue, r.Show(n)+" is not known here", "strict or empty")
	return false
}
