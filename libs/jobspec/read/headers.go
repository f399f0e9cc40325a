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
		at, shown := written(n, name)
		switch {
		case !validHeaderName(name):
			r.Fault(at, source.CodeInvalidName, shown+" cannot name a header", "letters, digits and -")
		case strings.ContainsFunc(all[name], func(c rune) bool { return c < ' ' && c != '\t' || c == 0x7F }):
			r.Fault(at, source.CodeInvalidValue, "the value of the header "+shown+" holds a line break or another control character", "one line of text")
		}
	}
	return all
}

// written finds where the name of a header stands, and how it is shown.
func written(n *source.Node, name string) (at *source.Node, shown string) {
	if v := n.Get(name); v != nil {
		return v, source.QuoteName(name)
	}
	for _, item := range n.Items {
		key := item.Get("name")
		before, _, _ := strings.Cut(item.Text, "=")
		if key != nil && key.Text == name || item.Kind == source.Scalar && before == name {
			return item, source.QuoteName(name)
		}
	}
	return n, "a name that a template writes"
}

// validHeaderName says that a text is a token as HTTP has it.
func validHeaderName(name string) bool {
	return name != "" && !slices.ContainsFunc([]byte(name), func(c byte) bool {
		return c <= ' ' || c >= 0x7F || strings.IndexByte(`()<>@,;:\"/[]?={}`, c) >= 0
	})
}
