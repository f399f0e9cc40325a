package read

import (
	"fmt"
	"path/filepath"
	"strings"
	"time"

	"github.com/formicary/formicary/libs/archive"
	"github.com/formicary/formicary/libs/jobspec/source"
	"github.com/formicary/formicary/libs/jobspec/value"
)

// Short reads text of a name or label.
func (r *Reader) Short(n *source.Node) string {
	text, known := r.Text(n)
	if known && (len(text) > MaxURL || strings.ContainsAny(text, "\x00\n\r")) {
		r.Fault(n, source.CodeInvalidValue, r.Show(n)+" cannot stand here", fmt.Sprintf("one line of at most %d bytes", MaxURL))
		return ""
	}
	return text
}

// Path reads the name of a file or directory.
func (r *Reader) Path(n *source.Node) string {
	text, known := r.Text(n)
	if known && (len(text) > MaxPath || strings.ContainsAny(text, "\x00\n\r")) {
		r.Fault(n, source.CodeInvalidValue, r.Show(n)+" is no path", fmt.Sprintf("one line of at most %d bytes", MaxPath))
		return ""
	}
	return text
}

// Dir reads the name of a directory below the working directory; empty: that one.
func (r *Reader) Dir(n *source.Node) string {
	text := r.Path(n)
	if text != "" && !filepath.IsLocal(text) {
		r.outside(n)
		return ""
	}
	return text
}

func (r *Reader) outside(n *source.Node) {
	r.Fault(n, source.CodeInvalidValue, r.Show(n)+" is not below the working directory", "a path relative to that, without ..")
}

// Patterns reads patterns of files below the working directory; what can name none is a fault here, not after the task.
func (r *Reader) Patterns(n *source.Node) []string {
	return r.paths(n, func(it Item) {
		_, err := archive.Compile([]string{it.Text})
		switch {
		case err == nil:
		case !filepath.IsLocal(it.Text):
			r.outside(it.Node)
		default:
			r.Fault(it.Node, source.CodeInvalidValue, r.Show(it.Node)+" is no pattern", "a path in which * ? [a-z] {a,b} and ** have a meaning, after a backslash none")
		}
	})
}

// Paths reads names of files or directories.
func (r *Reader) Paths(n *source.Node) []string { return r.paths(n, func(Item) {}) }

func (r *Reader) paths(n *source.Node, check func(Item)) []string {
	items := r.List(n)
	if len(items) > maxPaths {
		r.Fault(n, source.CodeInvalidValue, "there are too many paths", fmt.Sprintf("at most %d", maxPaths))
		return nil
	}
	for _, it := range items {
		switch {
		case !it.Known:
		case it.Text == "" || len(it.Text) > MaxPath || strings.ContainsAny(it.Text, "\x00\n\r"):
			r.Fault(it.Node, source.CodeInvalidValue, r.Show(it.Node)+" is no path", fmt.Sprintf("one line of 1 to %d bytes", MaxPath))
		default:
			check(it)
		}
	}
	return Texts(items)
}

// LongText reads text that people read; what is not known in it shows as written.
func (r *Reader) LongText(n *source.Node, field string, longest int) string {
	text, known := r.Text(n)
	if known && len(text) > longest {
		r.Fault(n, source.CodeInvalidValue, "the "+field+" is too long", "at most "+value.Text(longest)+" bytes")
		return ""
	}
	return text
}

// LiteralInt is Integer for what must be known before anything is rendered.
func (r *Reader) LiteralInt(n *source.Node, field string, high int) int {
	if n.Templated {
		r.Literal(n, field, value.MaxName)
		return 0
	}
	i, _ := r.Integer(n, 0, high)
	return i
}

// LiteralFlag is Flag for what must be known before anything is rendered.
func (r *Reader) LiteralFlag(n *source.Node, field string) bool {
	if n.Templated {
		r.Literal(n, field, value.MaxName)
		return false
	}
	return r.Flag(n)
}

// Positive reads a duration that replaces a default. Nothing may run for 0 seconds.
func (r *Reader) Positive(n *source.Node, otherwise time.Duration) time.Duration {
	if n.Kind == source.Null {
		return otherwise
	}
	before := len(r.Collector.List)
	d := r.Duration(n)
	if d == 0 {
		if text, known := r.Text(n); known && len(r.Collector.List) == before && !r.Nothing(n, text) {
			r.Fault(n, source.CodeInvalidValue, "a timeout of nothing", "a duration above 0")
		}
		return otherwise
	}
	return d
}

// ValidTaskName says that a task, a job or a trigger can have the name: ExpectedName.
func ValidTaskName(name string) bool {
	if name == "" || len(name) > value.MaxName || name[0] == '-' || name[0] == '.' {
		return false
	}
	for i := range len(name) {
		c := name[i]
		if (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && (c < '0' || c > '9') && c != '_' && c != '-' && c != '.' {
			return false
		}
	}
	return true
}

// ExpectedName says what ValidTaskName allows.
const ExpectedName = "1 to 100 letters, digits, _, - and ., beginning with a letter, a digit or _"

// Bounds of texts, in bytes, and of lists.
const (
	MaxURL         = 2_000
	MaxDescription = 4_000
	MaxPath        = 4_096
	maxPaths       = 1_000
)
