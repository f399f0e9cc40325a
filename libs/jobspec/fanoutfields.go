package jobspec

import (
	"fmt"
	"strconv"
	"strings"
)

const defaultMatrixVar = "matrix"

// itemNames lists the variables of the items of a task: they are not known before an item is rendered, whatever else has
// their names. It is nil for a task without fan-out.
func (r *reader) itemNames(n *node) []string {
	fan, matrix := n.get("fan_out"), n.get("matrix")
	if (fan == nil || fan.kind == nodeNull) && (matrix == nil || matrix.kind == nodeNull) {
		return nil
	}
	names := []string{r.itemVar(n), VarFanOutIndex}
	if matrix == nil || matrix.kind != nodeMap {
		return names
	}
	for i := range matrix.pairs {
		p := &matrix.pairs[i]
		switch p.key {
		case matrixInclude:
			for _, entry := range p.value.items {
				for k := range entry.pairs {
					names = append(names, entry.pairs[k].key)
				}
			}
		case matrixExclude:
		default:
			names = append(names, p.key)
		}
	}
	return names
}

// itemVar is the variable that holds the whole item.
func (r *reader) itemVar(n *node) string {
	if at := n.get("fan_out").get("item_var"); at != nil && at.kind == nodeScalar && !at.templated && validName(at.text) {
		return at.text
	}
	if at := n.get("matrix"); at != nil && at.kind != nodeNull {
		return defaultMatrixVar
	}
	return defaultItemVar
}

// hideItems makes the variables of the items unknown while the section of the group is read.
func (r *reader) hideItems(names []string) {
	if len(names) == 0 || r.m.scope.item != nil {
		return // none, or an item is being rendered
	}
	r.m.scope.item = make(Vars, len(names))
	for _, name := range names {
		r.m.scope.item[name] = unknown{}
	}
}

// fanOut reads fan_out and matrix together.
func (r *taskFieldReader) fanOut(n *node) {
	at, matrix := n.get("fan_out"), n.get("matrix")
	if r.flow.itemNames == nil {
		return
	}
	f := &FanOut{ItemVar: r.itemVar(n), Matrix: matrix != nil && matrix.kind != nodeNull}
	r.t.task.FanOut = f
	if at != nil {
		r.mapping(at, func(p *pair) { r.fanOutField(f, p) }, &pair{key: "fan_out"})
	}
	if r.moment.item {
		return // the list would be read once for each of its items
	}
	source, items := at.get("source"), at.get("items")
	switch {
	case f.Matrix:
		if source != nil || items != nil {
			r.fault(at, CodeConflict, "matrix and a list of fan_out are both given", "one of them")
		}
		r.matrix(matrix, f)
	case source == nil && items == nil:
		r.fault(at, CodeMissingField, "the field source is missing", "source, the variable with the list, or items, the list itself")
	case source != nil && items != nil:
		r.fault(source, CodeConflict, "source and items are both given", "one of them")
	case items != nil:
		r.decidedBy(func() { f.Items, r.flow.itemsKnown = r.inlineItems(items) })
	default:
		r.decidedBy(func() { r.source(source, f) })
	}
	if f.MinSuccess > 0 && r.flow.itemsKnown && f.MinSuccess > len(f.Items) {
		r.warn(at.line, at.column, CodeInvalidValue, "min_success is more than there are items", fmt.Sprintf("at most %d", len(f.Items)))
	}
}

func (r *taskFieldReader) fanOutField(f *FanOut, p *pair) {
	n := p.value
	switch p.key {
	case "source", "items":
	case "item_var":
		name := r.literal(n, "item_var", maxName)
		if name != "" && r.name(name, n.line, n.column) && isBuiltin(name) {
			r.fault(n, CodeInvalidName, quoteName(name)+" is a built-in variable", "another name")
		}
	case "max_parallel":
		f.MaxParallel, _ = r.integer(n, 0, MaxItems)
	case "fail_fast":
		f.FailFast = r.boolean(n)
	case "min_success":
		r.minSuccess(f, n)
	case "fork_job_type":
		r.flow.jobMode = true
		r.decidedBy(func() { r.forkType(n) })
	case "fork_job_version":
		r.decidedBy(func() { r.forkVersion(p) })
	default:
		r.unknown(p, fanOutFields)
	}
}

// minSuccess reads a number of items, or a part of them such as 90%.
func (r *taskFieldReader) minSuccess(f *FanOut, n *node) {
	text, ok := r.planned(n)
	if !ok {
		return
	}
	digits, percent := strings.CutSuffix(strings.TrimSpace(text), "%")
	i, err := strconv.Atoi(strings.TrimSpace(digits))
	most := MaxItems
	if percent {
		most = 100
	}
	if err != nil || i < 1 || i > most {
		r.fault(n, CodeInvalidValue, r.show(n)+" is no number of items", "1 to "+textOf(MaxItems)+", or a part such as 90%")
		return
	}
	if percent {
		f.MinSuccessPercent = i
	} else {
		f.MinSuccess = i
	}
}

// source reads where the list comes from: the name of a variable, or a template with the list.
func (r *taskFieldReader) source(n *node, f *FanOut) {
	s, ok := r.scalar(n)
	if !ok || !s.known {
		return
	}
	if list, isList := s.value.([]any); isList {
		f.Items, r.flow.itemsKnown = r.checkedItems(n, list)
		return
	}
	text := strings.TrimSpace(textOf(s.value))
	if n.templated && strings.HasPrefix(text, "[") {
		f.Items, r.flow.itemsKnown = r.parsedItems(n, text)
		return
	}
	if !validName(text) {
		r.fault(n, CodeInvalidValue, r.show(n)+" is no variable", "the name of the variable that holds the list")
		return
	}
	f.Source = text
	if task, found := strings.CutSuffix(text, resultsSuffix); found {
		r.flow.resultsOf, r.flow.resultsAt = task, n
	}
	if r.checking {
		return
	}
	r.fromVariable(n, f)
}

// fromVariable takes the list out of the variable. Before the task is about to start it may not be there yet.
func (r *taskFieldReader) fromVariable(n *node, f *FanOut) {
	shown := f.Source
	if n.templated {
		shown = r.show(n) // the name is a value
	}
	v, rest := r.m.scope.field(strings.Split(f.Source, "."), 0)
	for _, key := range rest {
		m, ok := v.(map[string]any)
		if !ok {
			break
		}
		item, found := m[key]
		if !found {
			v = missing{name: f.Source}
			break
		}
		v, _ = canon(item)
	}
	switch v := v.(type) {
	case unknown, missing:
		if r.moment.deciding {
			r.fault(n, CodeUndefinedVariable, "the variable "+shown+" is not set", "a list, or JSON text of one")
		}
	case []any:
		f.Items, r.flow.itemsKnown = r.checkedItems(n, v)
	case string:
		f.Items, r.flow.itemsKnown = r.parsedItems(n, v)
	default:
		r.fault(n, CodeInvalidType, "the variable "+shown+" holds no list", "a list, or JSON text of one")
	}
}

func (r *taskFieldReader) parsedItems(n *node, text string) ([]any, bool) {
	if len(text) > maxOutput {
		r.fault(n, CodeTemplateLimit, "the list is too long", fmt.Sprintf("at most %d bytes", maxOutput))
		return nil, false
	}
	v, err := fromJSON(text)
	list, ok := v.([]any)
	if err != nil || !ok {
		r.fault(n, CodeInvalidType, "the list of the fan-out is no JSON list", `such as ["a", "b"] or [{"name": "a"}]`)
		return nil, false
	}
	return r.checkedItems(n, list)
}

// inlineItems reads items that are written down, or a template with a list.
func (r *taskFieldReader) inlineItems(n *node) ([]any, bool) {
	if n.kind == nodeScalar {
		s, ok := r.scalar(n)
		switch v := s.value.(type) {
		case []any:
			return r.checkedItems(n, v)
		case string:
			if ok && s.known {
				return r.parsedItems(n, strings.TrimSpace(v))
			}
		}
		if ok && s.known {
			r.fault(n, CodeInvalidType, "items is no list", "a list")
		}
		return nil, false
	}
	if n.kind != nodeList {
		r.fault(n, CodeInvalidType, "items is "+n.kind.String(), "a list")
		return nil, false
	}
	list, _ := r.value(n).([]any)
	if hasUnknown(list) {
		return nil, false
	}
	return r.checkedItems(n, list)
}

// checkedItems bounds a list of items.
func (r *taskFieldReader) checkedItems(n *node, list []any) ([]any, bool) {
	if len(list) > MaxItems {
		r.fault(n, CodeInvalidValue, fmt.Sprintf("the fan-out has %d items", len(list)), fmt.Sprintf("at most %d", MaxItems))
		return nil, false
	}
	if sizeOf(list, maxOutput) > maxOutput {
		r.fault(n, CodeTemplateLimit, "the items of the fan-out are too large", fmt.Sprintf("at most %d bytes together", maxOutput))
		return nil, false
	}
	out, ok := deepCanon(list, 1)
	items, isList := out.([]any)
	if !ok || !isList {
		r.fault(n, CodeInvalidType, "an item is of a kind that cannot be used", "text, a number, true or false, a list or a mapping")
		return nil, false
	}
	return items, true
}
