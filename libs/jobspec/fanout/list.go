package fanout

import (
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/formicary/formicary/libs/jobspec/plan"
	"github.com/formicary/formicary/libs/jobspec/read"
	"github.com/formicary/formicary/libs/jobspec/source"
	"github.com/formicary/formicary/libs/jobspec/template"
	"github.com/formicary/formicary/libs/jobspec/value"
)

// List is what a task runs for.
type List struct {
	Items []any
	// Known says that the items are.
	Known bool
	// Labels are the values that each combination of a matrix is called by.
	Labels [][]any
}

// Source reads where the list comes from: the name of a variable, which is returned, or a template with the list.
func Source(r *read.Reader, n *source.Node) (variable string, list List) {
	s, ok := r.Scalar(n)
	if !ok || !s.Known {
		return "", List{}
	}
	if items, isList := s.Value.([]any); isList {
		return "", checked(r, n, items)
	}
	text := strings.TrimSpace(value.Text(s.Value))
	if n.Templated && strings.HasPrefix(text, "[") {
		return "", parsed(r, n, text)
	}
	if !value.ValidName(text) {
		r.Fault(n, source.CodeInvalidValue, r.Show(n)+" is no variable", "the name of the variable that holds the list")
		return "", List{}
	}
	if r.Checking {
		return text, List{}
	}
	return text, ofVariable(r, n, text)
}

// ofVariable takes the list out of the variable. Before the task is about to start it may not be there yet.
func ofVariable(r *read.Reader, n *source.Node, variable string) List {
	shown := variable
	if n.Templated {
		shown = r.Show(n) // the name is a value
	}
	v, rest := r.Machine.Scope.Field(strings.Split(variable, "."), 0)
	for _, key := range rest {
		m, ok := v.(map[string]any)
		if !ok {
			break
		}
		item, found := m[key]
		if !found {
			v = template.Missing{Name: variable}
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
		return checked(r, n, v)
	case string:
		return parsed(r, n, v)
	default:
		r.Fault(n, source.CodeInvalidType, "the variable "+shown+" holds no list", "a list, or JSON text of one")
	}
	return List{}
}

// parsed reads JSON text of a list.
func parsed(r *read.Reader, n *source.Node, text string) List {
	if len(text) > template.MaxOutput {
		r.Fault(n, source.CodeTemplateLimit, "the list is too long", fmt.Sprintf("at most %d bytes", template.MaxOutput))
		return List{}
	}
	v, err := template.FromJSON(text)
	list, ok := v.([]any)
	switch {
	case err != nil && !errors.Is(err, template.ErrNoJSON):
		r.Fault(n, source.CodeInvalidValue, "the list of the fan-out cannot be used: "+err.Error(), "")
		return List{}
	case !ok:
		r.Fault(n, source.CodeInvalidType, "the list of the fan-out is no JSON list", `such as ["a", "b"] or [{"name": "a"}]`)
		return List{}
	}
	return checked(r, n, list)
}

// Inline reads items that are written down, or a template with a list.
func Inline(r *read.Reader, n *source.Node) List {
	if n.Kind == source.Scalar {
		s, ok := r.Scalar(n)
		switch v := s.Value.(type) {
		case []any:
			return checked(r, n, v)
		case string:
			if ok && s.Known {
				return parsed(r, n, strings.TrimSpace(v))
			}
		}
		if ok && s.Known {
			r.Fault(n, source.CodeInvalidType, "items is no list", "a list")
		}
		return List{}
	}
	if n.Kind != source.List {
		r.Fault(n, source.CodeInvalidType, "items is "+n.Kind.String(), "a list")
		return List{}
	}
	list, _ := r.Value(n).([]any)
	if template.HasUnknown(list) {
		return List{}
	}
	return checked(r, n, list)
}

// checked bounds a list of items.
func checked(r *read.Reader, n *source.Node, list []any) List {
	if len(list) > plan.MaxItems {
		r.Fault(n, source.CodeInvalidValue, fmt.Sprintf("the fan-out has %d items", len(list)), fmt.Sprintf("at most %d", plan.MaxItems))
		return List{}
	}
	if value.Size(list, template.MaxOutput) > template.MaxOutput {
		r.Fault(n, source.CodeTemplateLimit, "the items of the fan-out are too large", fmt.Sprintf("at most %d bytes together", template.MaxOutput))
		return List{}
	}
	out, ok := value.DeepCanon(list, 1)
	items, isList := out.([]any)
	if !ok || !isList {
		r.Fault(n, source.CodeInvalidType, "an item is of a kind that cannot be used", "text, a number, true or false, a list or a mapping")
		return List{}
	}
	return List{Items: items, Known: true}
}

// MinSuccess reads a number of items, or a part of them such as 90%.
func MinSuccess(r *read.Reader, f *plan.FanOut, n *source.Node) {
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
