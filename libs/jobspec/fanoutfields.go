package jobspec

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/formicary/formicary/libs/jobspec/plan"
	"github.com/formicary/formicary/libs/jobspec/schema"
	"github.com/formicary/formicary/libs/jobspec/source"
	"github.com/formicary/formicary/libs/jobspec/template"
	"github.com/formicary/formicary/libs/jobspec/value"
)

const defaultMatrixVar = "matrix"

// itemNames lists the variables of the items of a task: they are not known before an item is rendered, whatever else has
// their names. It is nil for a task without fan-out.
func (r *reader) itemNames(n *source.Node) []string {
	fan, matrix := n.Get("fan_out"), n.Get("matrix")
	if (fan == nil || fan.Kind == source.Null) && (matrix == nil || matrix.Kind == source.Null) {
		return nil
	}
	names := []string{r.itemVar(n), template.VarFanOutIndex}
	if matrix == nil || matrix.Kind != source.Map {
		return names
	}
	for i := range matrix.Pairs {
		p := &matrix.Pairs[i]
		switch p.Key {
		case matrixInclude:
			for _, entry := range p.Value.Items {
				for k := range entry.Pairs {
					names = append(names, entry.Pairs[k].Key)
				}
			}
		case matrixExclude:
		default:
			names = append(names, p.Key)
		}
	}
	return names
}

// itemVar is the variable that holds the whole item.
func (r *reader) itemVar(n *source.Node) string {
	if at := n.Get("fan_out").Get("item_var"); at != nil && at.Kind == source.Scalar && !at.Templated && value.ValidName(at.Text) {
		return at.Text
	}
	if at := n.Get("matrix"); at != nil && at.Kind != source.Null {
		return defaultMatrixVar
	}
	return plan.DefaultItemVar
}

// hideItems makes the variables of the items unknown while the section of the group is read.
func (r *reader) hideItems(names []string) {
	if len(names) == 0 || r.Machine.Scope.Item != nil {
		return // none, or an item is being rendered
	}
	r.Machine.Scope.Item = make(value.Vars, len(names))
	for _, name := range names {
		r.Machine.Scope.Item[name] = template.Unknown{}
	}
}

// fanOut reads fan_out and matrix together.
func (r *taskFieldReader) fanOut(n *source.Node) {
	at, matrix := n.Get("fan_out"), n.Get("matrix")
	if r.flow.itemNames == nil {
		return
	}
	f := &plan.FanOut{ItemVar: r.itemVar(n), Matrix: matrix != nil && matrix.Kind != source.Null}
	r.t.task.FanOut = f
	if at != nil {
		r.Mapping(at, func(p *source.Pair) { r.fanOutField(f, p) }, &source.Pair{Key: "fan_out"})
	}
	if r.Moment.Item {
		return // the list would be read once for each of its items
	}
	src, items := at.Get("source"), at.Get("items")
	switch {
	case f.Matrix:
		if src != nil || items != nil {
			r.Fault(at, source.CodeConflict, "matrix and a list of fan_out are both given", "one of them")
		}
		r.decidedBy(func() { r.matrix(matrix, f) })
	case src == nil && items == nil:
		r.Fault(at, source.CodeMissingField, "the field source is missing", "source, the variable with the list, or items, the list itself")
	case src != nil && items != nil:
		r.Fault(src, source.CodeConflict, "source and items are both given", "one of them")
	case items != nil:
		r.decidedBy(func() { f.Items, r.flow.itemsKnown = r.inlineItems(items) })
	default:
		r.decidedBy(func() { r.source(src, f) })
	}
	if f.MinSuccess > 0 && r.flow.itemsKnown && f.MinSuccess > len(f.Items) {
		r.Warn(at.Line, at.Column, source.CodeInvalidValue, "min_success is more than there are items", fmt.Sprintf("at most %d", len(f.Items)))
	}
}

func (r *taskFieldReader) fanOutField(f *plan.FanOut, p *source.Pair) {
	n := p.Value
	switch p.Key {
	case "source", "items":
	case "item_var":
		name := r.Literal(n, "item_var", value.MaxName)
		if name != "" && r.Name(name, n.Line, n.Column) && template.IsBuiltin(name) {
			r.Fault(n, source.CodeInvalidName, source.QuoteName(name)+" is a built-in variable", "another name")
		}
	case "max_parallel":
		f.MaxParallel, _ = r.Integer(n, 0, plan.MaxItems)
	case "fail_fast":
		f.FailFast = r.Flag(n)
	case "min_success":
		r.minSuccess(f, n)
	case "fork_job_type":
		r.flow.jobMode = true
		r.decidedBy(func() { r.forkType(n) })
	case "fork_job_version":
		r.decidedBy(func() { r.forkVersion(p) })
	default:
		r.Unknown(p, schema.FanOut)
	}
}

// minSuccess reads a number of items, or a part of them such as 90%.
func (r *taskFieldReader) minSuccess(f *plan.FanOut, n *source.Node) {
	text, ok := r.Planned(n)
	if !ok {
		return
	}
	digits, percent := strings.CutSuffix(strings.TrimSpace(text), "%")
	i, err := strconv.Atoi(strings.TrimSpace(digits))
	most := plan.MaxItems
	if percent {
		most = 100
	}
	if err != nil || i < 1 || i > most {
		r.Fault(n, source.CodeInvalidValue, r.Show(n)+" is no number of items", "1 to "+value.Text(plan.MaxItems)+", or a part such as 90%")
		return
	}
	if percent {
		f.MinSuccessPercent = i
	} else {
		f.MinSuccess = i
	}
}

// source reads where the list comes from: the name of a variable, or a template with the list.
func (r *taskFieldReader) source(n *source.Node, f *plan.FanOut) {
	s, ok := r.Scalar(n)
	if !ok || !s.Known {
		return
	}
	if list, isList := s.Value.([]any); isList {
		f.Items, r.flow.itemsKnown = r.checkedItems(n, list)
		return
	}
	text := strings.TrimSpace(value.Text(s.Value))
	if n.Templated && strings.HasPrefix(text, "[") {
		f.Items, r.flow.itemsKnown = r.parsedItems(n, text)
		return
	}
	if !value.ValidName(text) {
		r.Fault(n, source.CodeInvalidValue, r.Show(n)+" is no variable", "the name of the variable that holds the list")
		return
	}
	f.Source = text
	if task, found := strings.CutSuffix(text, plan.ResultsSuffix); found {
		r.flow.resultsOf, r.flow.resultsAt = task, n
	}
	if r.Checking {
		return
	}
	r.fromVariable(n, f)
}

// fromVariable takes the list out of the variable. Before the task is about to start it may not be there yet.
func (r *taskFieldReader) fromVariable(n *source.Node, f *plan.FanOut) {
	shown := f.Source
	if n.Templated {
		shown = r.Show(n) // the name is a value
	}
	v, rest := r.Machine.Scope.Field(strings.Split(f.Source, "."), 0)
	for _, key := range rest {
		m, ok := v.(map[string]any)
		if !ok {
			break
		}
		item, found := m[key]
		if !found {
			v = template.Missing{Name: f.Source}
			break
		}
		v, _ = value.Canon(item)
	}
	switch v := v.(type) {
	case template.Unknown, template.Missing:
		if r.Moment.Deciding {
			r.Fault(n, source.CodeUndefinedVariable, "the variable "+shown+" is not set", "a list, or JSON text of one")
		}
	case []any:
		f.Items, r.flow.itemsKnown = r.checkedItems(n, v)
	case string:
		f.Items, r.flow.itemsKnown = r.parsedItems(n, v)
	default:
		r.Fault(n, source.CodeInvalidType, "the variable "+shown+" holds no list", "a list, or JSON text of one")
	}
}

func (r *taskFieldReader) parsedItems(n *source.Node, text string) ([]any, bool) {
	if len(text) > template.MaxOutput {
		r.Fault(n, source.CodeTemplateLimit, "the list is too long", fmt.Sprintf("at most %d bytes", template.MaxOutput))
		return nil, false
	}
	v, err := template.FromJSON(text)
	list, ok := v.([]any)
	if err != nil || !ok {
		r.Fault(n, source.CodeInvalidType, "the list of the fan-out is no JSON list", `such as ["a", "b"] or [{"name": "a"}]`)
		return nil, false
	}
	return r.checkedItems(n, list)
}

// inlineItems reads items that are written down, or a template with a list.
func (r *taskFieldReader) inlineItems(n *source.Node) ([]any, bool) {
	if n.Kind == source.Scalar {
		s, ok := r.Scalar(n)
		switch v := s.Value.(type) {
		case []any:
			return r.checkedItems(n, v)
		case string:
			if ok && s.Known {
				return r.parsedItems(n, strings.TrimSpace(v))
			}
		}
		if ok && s.Known {
			r.Fault(n, source.CodeInvalidType, "items is no list", "a list")
		}
		return nil, false
	}
	if n.Kind != source.List {
		r.Fault(n, source.CodeInvalidType, "items is "+n.Kind.String(), "a list")
		return nil, false
	}
	list, _ := r.Value(n).([]any)
	if template.HasUnknown(list) {
		return nil, false
	}
	return r.checkedItems(n, list)
}

// checkedItems bounds a list of items.
func (r *taskFieldReader) checkedItems(n *source.Node, list []any) ([]any, bool) {
	if len(list) > plan.MaxItems {
		r.Fault(n, source.CodeInvalidValue, fmt.Sprintf("the fan-out has %d items", len(list)), fmt.Sprintf("at most %d", plan.MaxItems))
		return nil, false
	}
	if value.Size(list, template.MaxOutput) > template.MaxOutput {
		r.Fault(n, source.CodeTemplateLimit, "the items of the fan-out are too large", fmt.Sprintf("at most %d bytes together", template.MaxOutput))
		return nil, false
	}
	out, ok := value.DeepCanon(list, 1)
	items, isList := out.([]any)
	if !ok || !isList {
		r.Fault(n, source.CodeInvalidType, "an item is of a kind that cannot be used", "text, a number, true or false, a list or a mapping")
		return nil, false
	}
	return items, true
}
