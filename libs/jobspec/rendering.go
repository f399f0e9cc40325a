package jobspec

import (
	"sync"

	"github.com/formicary/formicary/libs/jobspec/environ"
	"github.com/formicary/formicary/libs/jobspec/read"
	"github.com/formicary/formicary/libs/jobspec/schema"
	"github.com/formicary/formicary/libs/jobspec/source"
	"github.com/formicary/formicary/libs/jobspec/template"
)

// rendering is the text that a template gave, with what the language finds in it once.
type rendering struct {
	*template.Shape
	exports []string // see Task.Exports
	// names are the tasks by name, when no name depends on variables; once fills them.
	once  sync.Once
	names map[string]int
}

// newRendering reads the text as YAML.
func newRendering(sh *template.Shape, src *source.Lines) *rendering {
	sh.Parse(src)
	if sh.Nulls {
		sh.Root = schema.WithoutNulls(sh.Root, schema.JobRule())
	}
	return &rendering{Shape: sh, exports: environ.Declared(sh.Root)}
}

// table finds tasks by name, or is nil when a name depends on variables.
func (sh *rendering) table(r *reader, list *source.Node) map[string]int {
	sh.once.Do(func() {
		dependent := false
		s := *r.Machine.Scope
		s.OnRead = func(string, any) { dependent = true }
		quiet := &read.Reader{Collector: &source.Collector{}, Program: r.Program, Source: r.Source, Shape: sh.Shape, Machine: template.NewMachine(&s)}
		names := make(map[string]int, len(list.Items))
		for i, n := range list.Items {
			at := n.Get("task_type")
			if at == nil {
				continue
			}
			text, ok := quiet.Planned(at)
			if !ok || dependent {
				return
			}
			names[text] = i
		}
		sh.names = names
	})
	return sh.names
}

// reader reads the language: the values of one rendering, and what the language finds in its text.
type reader struct {
	*read.Reader

	def       *Definition
	rendering *rendering
}
