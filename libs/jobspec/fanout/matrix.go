package fanout

import (
	"fmt"
	"maps"
	"slices"

	"github.com/formicary/formicary/libs/jobspec/read"
	"github.com/formicary/formicary/libs/jobspec/source"
	"github.com/formicary/formicary/libs/jobspec/template"
	"github.com/formicary/formicary/libs/jobspec/value"
)

// Entries of a matrix that are no lists of values.
const (
	keyInclude = "include"
	keyExclude = "exclude"
)

// maxCombinations bounds the combinations of a matrix, maxWork those times the values of include and exclude.
const (
	maxCombinations = 1_000
	maxWork         = 1_000_000
)

// axis is one list of a matrix.
type axis struct {
	name   string
	values []any
}

// Matrix reads a mapping of lists with include and exclude. Its combinations are known when the task starts: lists may be
// outputs of earlier tasks.
func Matrix(r *read.Reader, n *source.Node) List {
	if n.Kind != source.Map {
		r.Fault(n, source.CodeInvalidType, "matrix is "+n.Kind.String(), "a mapping of names to lists, with include and exclude")
		return List{}
	}
	var axes []axis
	var include, exclude []map[string]any
	whole := true
	size := 1
	for i := range n.Pairs {
		p := &n.Pairs[i]
		list, known := readList(r, p)
		if !known {
			whole = false
			continue
		}
		switch p.Key {
		case keyInclude:
			include = readEntries(r, p, list)
		case keyExclude:
			exclude = readEntries(r, p, list)
		default:
			if r.Name(p.Key, p.Line, p.Column) && template.IsBuiltin(p.Key) {
				r.Add(p.Line, p.Column, source.CodeInvalidName, source.QuoteName(p.Key)+" is a built-in variable", "another name")
			}
			axes = append(axes, axis{p.Key, list})
			size = min(size*len(list), maxCombinations+1)
		}
	}
	if !whole {
		return List{}
	}
	if size > maxCombinations || len(include) > maxCombinations || len(exclude) > maxCombinations {
		r.Fault(n, source.CodeInvalidValue, "the matrix has too many combinations", fmt.Sprintf("at most %d", maxCombinations))
		return List{}
	}
	if work(size, len(axes), include, exclude) > maxWork {
		r.Fault(n, source.CodeInvalidValue, "include and exclude of the matrix are too long", fmt.Sprintf("at most %d entries times combinations", maxWork))
		return List{}
	}
	items, labels := combine(axes, include, exclude)
	if len(items) > maxCombinations {
		r.Fault(n, source.CodeInvalidValue, "the matrix has too many combinations", fmt.Sprintf("at most %d", maxCombinations))
		return List{}
	}
	if len(items) == 0 && !r.Moment.Deciding { // an output may say that there is nothing to do
		r.Fault(n, source.CodeInvalidValue, "the matrix has no combination", "at least one")
		return List{}
	}
	list := checked(r, n, value.List(items))
	if list.Known {
		list.Labels = labels
	}
	return list
}

// work is what combine does at most: each combination is compared with each value of include and exclude, and may take
// it over.
func work(size, axes int, include, exclude []map[string]any) int {
	values := axes
	for _, entries := range [...][]map[string]any{include, exclude} {
		for _, entry := range entries {
			values += len(entry)
		}
	}
	return size * values
}

// readList reads a list of a matrix: written down, or one template with a list or with JSON text of one.
func readList(r *read.Reader, p *source.Pair) (list []any, known bool) {
	n := p.Value
	if n.Kind == source.List {
		list, _ = r.Value(n).([]any)
	} else {
		s, ok := r.Scalar(n)
		if ok && s.Known {
			v := s.Value
			if text, isText := v.(string); isText && n.Templated && len(text) <= template.MaxOutput {
				v, _ = template.FromJSON(text)
			}
			if list, ok = v.([]any); !ok {
				r.Fault(n, source.CodeInvalidType, p.Key+" of the matrix is no list", "a list")
				return nil, false
			}
		} else {
			list = []any{template.Unknown{}}
		}
	}
	if template.HasUnknown(list) {
		for _, at := range append([]*source.Node{n}, n.Items...) {
			if r.Checking && at.Templated {
				r.Needed = append(r.Needed, read.Needed{Node: at, Items: r.Items, Later: true})
			}
		}
		return nil, false
	}
	out, ok := value.DeepCanon(list, 1)
	list, _ = out.([]any)
	if !ok {
		r.Fault(n, source.CodeInvalidType, "a value of the matrix is of a kind that cannot be used", "text, a number, true or false")
	}
	return list, ok
}

// readEntries reads the mappings of include or exclude.
func readEntries(r *read.Reader, p *source.Pair, list []any) []map[string]any {
	out := make([]map[string]any, 0, len(list))
	for _, v := range list {
		m, ok := v.(map[string]any)
		if !ok || len(m) == 0 {
			r.Fault(p.Value, source.CodeInvalidType, "an entry of "+p.Key+" is no mapping", "a mapping of names to values")
			return nil
		}
		out = append(out, m)
	}
	return out
}

// combine makes the combinations of a matrix: the product of the axes, the last one changing fastest; without those
// that have all the values of an entry of exclude; then each entry of include is added to all combinations of the
// product that it changes no axis of, or is a combination of its own when there is none such. names are the values that
// a combination is called by.
func combine(axes []axis, include, exclude []map[string]any) (items []map[string]any, names [][]any) {
	if len(axes) > 0 {
		items, names = product(axes)
	}
	kept := 0
	for i, item := range items {
		if !excluded(item, exclude) {
			items[kept], names[kept] = item, names[i]
			kept++
		}
	}
	items, names = items[:kept], names[:kept]
	original := make([]map[string]any, kept)
	for i := range original {
		original[i] = maps.Clone(items[i])
	}
	for _, entry := range include {
		added := false
		for i := range original {
			if fitsAxes(original[i], entry) {
				maps.Copy(items[i], entry)
				added = true
			}
		}
		if added {
			continue
		}
		items = append(items, maps.Clone(entry))
		names = append(names, label(axes, entry))
	}
	return items, names
}

// label orders the values of an entry of include as those of the product: by the lists of the matrix; further keys come
// after, by their names.
func label(axes []axis, entry map[string]any) []any {
	values := make([]any, 0, len(entry))
	ofAxis := make(map[string]bool, len(axes))
	for _, axis := range axes {
		ofAxis[axis.name] = true
		if v, ok := entry[axis.name]; ok {
			values = append(values, v)
		}
	}
	for _, key := range value.SortedKeys(entry) {
		if !ofAxis[key] {
			values = append(values, entry[key])
		}
	}
	return values
}

func product(axes []axis) (items []map[string]any, names [][]any) {
	items, names = []map[string]any{{}}, [][]any{nil}
	for _, axis := range axes {
		nextItems := make([]map[string]any, 0, len(items)*len(axis.values))
		nextNames := make([][]any, 0, len(items)*len(axis.values))
		for i, item := range items {
			for _, v := range axis.values {
				extended := maps.Clone(item)
				extended[axis.name] = v
				nextItems = append(nextItems, extended)
				nextNames = append(nextNames, append(slices.Clip(names[i]), v))
			}
		}
		items, names = nextItems, nextNames
	}
	return items, names
}

// excluded reports whether an entry has nothing but values of the item.
func excluded(item map[string]any, exclude []map[string]any) bool {
	for _, entry := range exclude {
		if hasAll(item, entry) {
			return true
		}
	}
	return false
}

func hasAll(item, entry map[string]any) bool {
	for key, v := range entry {
		own, ok := item[key]
		if !ok || !value.Same(own, v) {
			return false
		}
	}
	return true
}

// fitsAxes reports whether an entry changes none of the values of a combination.
func fitsAxes(item, entry map[string]any) bool {
	for key, v := range entry {
		if own, ok := item[key]; ok && !value.Same(own, v) {
			return false
		}
	}
	return true
}
