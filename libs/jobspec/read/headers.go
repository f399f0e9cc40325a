package read

import (
	"slices"
	"strings"

	"github.com/formicary/formicary/libs/jobspec/source"
	"github.com/formicary/formicary/libs/jobspec/value"
)

// Headers reads the headers of a request. One that no message can hold is refused here, with its place, and not by each
// attempt to send it. Values may be secret: they are not shown.
func (r *Reader) Headers(n *source.Node) map[string]string {
	all := r.Texts(n)
	for _, name := range value.SortedKeys(all) {
		at := n
		if v := n.Get(name); v != nil {
			at = v
		}
		switch {
		case !validHeaderName(name):
			r.Fault(at, source.CodeInvalidName, source.QuoteName(name)+" cannot name a header", "letters, digits and -")
		case strings.ContainsFunc(all[name], func(c rune) bool { return c < ' ' && c != '\t' || c == 0x7F }):
			r.Fault(at, source.CodeInvalidValue, "the value of the header "+name+" holds a line break or another control character", "one line of text")
		}
	}
	return all
}

// validHeaderName says that a text is a token as HTTP has it.
func validHeaderName(name string) bool {
	return name != "" && !slices.ContainsFunc([]byte(name), func(c byte) bool {
		return c <= ' ' || c >= 0x7F || strings.IndexByte(`()<>@,;:\"/[]?={}`, c) >= 0
	})
}
