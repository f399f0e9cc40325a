package jobspec

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/formicary/formicary/libs/jobspec/plan"
	"github.com/formicary/formicary/libs/jobspec/read"
	"github.com/formicary/formicary/libs/jobspec/source"
	"github.com/formicary/formicary/libs/jobspec/value"
)

// allowFailure reads whether a failure of the task fails the job: a switch, a template of one, or an expression.
func (r *taskFieldReader) allowFailure(n *source.Node) {
	allowed, known := r.allows(n)
	r.t.task.AllowFailure = known && allowed && !r.flow.allowBlocks
	switch {
	case known && !r.flow.allowBlocks:
	case !r.Moment.Deciding:
		r.flow.late, r.t.task.AllowDecided = true, true
	case len(r.flow.itemNames) > 0:
		r.flow.ask.allow = n // each item is asked
	default:
		r.Fault(n, source.CodeUndefinedVariable, "allow_failure depends on what is not known when the task starts", "")
	}
}

// allows is what allow_failure says. known is false when only a later moment can tell.
func (r *reader) allows(n *source.Node) (allowed, known bool) {
	if n.Kind == source.Scalar && !n.Templated {
		if _, ok := read.SwitchOf(n.Text); !ok {
			return r.Holds(n, "allow_failure")
		}
	}
	s, ok := r.Scalar(n)
	switch {
	case !ok:
		return false, true
	case !s.Known:
		return false, false
	}
	return r.Switched(n, value.Text(s.Value)), true
}

// itemFields finds the fields that are asked for each item.
var itemFields = regexp.MustCompile(`\b(when|allow_failure)["']?\s*:`)

// itemBlocks says of the conditions of a task whether blocks of the template that look at the item write them. It is
// called when nothing but the shape has been read of the task.
func (r *reader) itemBlocks(n *source.Node, within span, names []string) (when, allow bool) {
	if r.Program == nil || !slices.ContainsFunc(names, func(name string) bool { return r.Reads[name] }) {
		return false, false
	}
	from, to := r.Shape.Source(n.Line, n.Column), len(r.Program.Text)
	if end := r.Shape.Source(r.Shape.Place(within.to)); end > from {
		to = end
	}
	text := r.Program.Text[from:to]
	for _, at := range itemFields.FindAllStringSubmatchIndex(text, -1) {
		looksAt := r.Program.Deciding(from+at[0], from+at[1]+valueEnd(text, at[1]))
		if !slices.ContainsFunc(looksAt, func(name string) bool { return slices.Contains(names, name) }) {
			continue
		}
		if text[at[2]:at[3]] == "when" {
			when = true
		} else {
			allow = true
		}
	}
	return when, allow
}

// valueEnd is how long the value of a field is that begins at a place: its line, and those below that are blank or
// further to the right than the line.
func valueEnd(text string, at int) int {
	start := strings.LastIndexByte(text[:at], '\n') + 1
	column := strings.IndexFunc(text[start:], func(c rune) bool { return c != ' ' && c != '-' })
	size := 0
	for line := range strings.Lines(text[at:]) {
		if indent := strings.IndexFunc(line, func(c rune) bool { return c > ' ' }); size > 0 && indent >= 0 && indent <= column {
			break
		}
		size += len(line)
	}
	return size
}

// maxItemText bounds the text that is rendered to ask the items: the definition as often as there are items, where blocks
// of the template write the conditions.
const maxItemText = 4 << 20

// askItems asks the conditions of the task about each item.
func (s *section) askItems(t *taskDraft, items []plan.Item) error {
	f := &t.flow
	blocks := f.whenBlocks || f.allowBlocks
	if f.ask == (itemFieldsOf{}) && !blocks {
		return nil
	}
	if blocks && len(items)*len(s.Program.Text) > maxItemText {
		s.Fault(s.node, source.CodeTemplateLimit, fmt.Sprintf("a block of the template that looks at the item would be rendered for each of %d items", len(items)),
			"when and allow_failure as expressions over the item")
		_, err := s.Collector.Split()
		return err
	}
	for i := range items {
		at, ask := s, f.ask
		own := s.itemVars(items[i].Value, i)
		if blocks {
			var err error
			if at, err = s.forItem(t.task.Name, own); err != nil {
				return err
			}
			ask = at.again(ask, f)
		}
		if err := at.askItem(t, &items[i], own, ask); err != nil {
			return err
		}
	}
	return nil
}

// itemFieldsOf are the fields that each item is asked; nil: it is not.
type itemFieldsOf struct{ when, allow, wait *source.Node }

// again are the same fields in the section of an item, and those that blocks of the template write.
func (s *section) again(ask itemFieldsOf, f *flowDraft) itemFieldsOf {
	own := itemFieldsOf{when: s.node.Get("when")}
	if f.allowBlocks || ask.allow != nil {
		own.allow = s.node.Get("allow_failure")
	}
	if ask.wait != nil {
		own.wait = s.node.Get("wait")
	}
	return own
}

// forItem is the section as the template writes it for an item.
func (s *section) forItem(name string, own value.Vars) (*section, error) {
	return s.def.deciding(name, value.Merged(s.Machine.Scope.Vars, own), s.Moment.Facts)
}

func (s *section) askItem(t *taskDraft, item *plan.Item, own value.Vars, ask itemFieldsOf) error {
	s.Items = t.flow.itemNames
	s.Machine.Scope.Task, s.Machine.Scope.TaskType, s.Machine.Scope.Item = t.task.Spec.Variables, t.task.Name, own
	defer s.end()
	holds, known := true, true
	if ask.when != nil {
		holds, known = s.Holds(ask.when, "when")
		item.Off = !holds
	}
	if ask.allow != nil && known && holds {
		item.AllowFailure, known = s.allows(ask.allow)
	}
	if ask.wait != nil && known && holds {
		item.Wait, item.Fault, known = s.itemWait(ask.wait)
	}
	if !known {
		s.Fault(s.node, source.CodeUndefinedVariable, "a condition depends on what is not known when the task starts", "")
	}
	_, err := s.Collector.Split()
	return err
}

// itemWait reads the time of an item. One that is none is the fault of the item alone.
func (s *section) itemWait(n *source.Node) (d time.Duration, fault string, known bool) {
	all := s.Collector
	defer func() { s.Collector = all }()
	s.Collector = &source.Collector{File: all.File}
	d, known = s.timeToWait(n)
	if _, err := s.Collector.Split(); err != nil {
		fault = err.Error()
	}
	return d, fault, known
}
