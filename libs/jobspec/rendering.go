package jobspec

import "sync"

// rendering is the text that a template gave, with what the language finds in it once.
type rendering struct {
	*shape
	exports []string // see Task.Exports
	// names are the tasks by name, when no name depends on variables; once fills them.
	once  sync.Once
	names map[string]int
}

// newRendering reads the text as YAML.
func newRendering(sh *shape, src *lines) *rendering {
	sh.parse(src)
	if sh.nulls {
		sh.root = withoutNulls(sh.root, jobRule())
	}
	return &rendering{shape: sh, exports: findExports(sh.root)}
}

// table finds tasks by name, or is nil when a name depends on variables.
func (sh *rendering) table(r *reader, list *node) map[string]int {
	sh.once.Do(func() {
		dependent := false
		s := *r.m.scope
		s.onRead = func(string, any) { dependent = true }
		quiet := &reader{c: &collector{}, p: r.p, src: r.src, shape: sh, m: newMachine(&s)}
		names := make(map[string]int, len(list.items))
		for i, n := range list.items {
			at := n.get("task_type")
			if at == nil {
				continue
			}
			text, ok := quiet.planned(at)
			if !ok || dependent {
				return
			}
			names[text] = i
		}
		sh.names = names
	})
	return sh.names
}
