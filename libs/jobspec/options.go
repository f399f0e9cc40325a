package jobspec

// Options are what executors of containers and pods, the artifacts and the cache are told. They are checked here and
// handed through.
type Options struct{}

// option reads a field about containers, pods, artifacts or the cache. It returns false when the key is none of these.
func (r *taskFieldReader) option(p *pair) bool {
	switch p.key {
	case "container":
		r.container(p.value, p)
	default:
		return false
	}
	return true
}

func (r *taskFieldReader) container(n *node, at *pair) {
	r.mapping(n, func(p *pair) {
		switch p.key {
		case "cpu_limit":
			r.t.task.Spec.CPUMillis = r.cpu(p.value)
		case "memory_limit":
			r.t.task.Spec.MemoryBytes = r.memory(p.value)
		default:
			r.unknownField(p, unsupportedContainerFields(), containerFields())
		}
	}, at)
}
