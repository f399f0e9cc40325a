package jobspec

import (
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/formicary/formicary/libs/jobspec/condition"
	"github.com/formicary/formicary/libs/jobspec/fanout"
	"github.com/formicary/formicary/libs/jobspec/plan"
	"github.com/formicary/formicary/libs/jobspec/source"
	"github.com/formicary/formicary/libs/jobspec/template"
	"github.com/formicary/formicary/libs/jobspec/value"
	"github.com/formicary/formicary/libs/placement"
)

// EnvItemIndex is the environment variable that holds the number of the item.
const EnvItemIndex = "FORMICARY_ITEM_INDEX"

// Decide says what becomes of a task that is about to start. vars are what is known now, outputs of earlier tasks
// included. err is Problems: the task cannot be decided and fails.
func (d *Definition) Decide(name string, vars value.Vars, facts condition.Facts) (*plan.Decision, error) {
	s, err := d.deciding(name, vars, &facts)
	if err != nil {
		return nil, err
	}
	t, err := s.read(nil)
	if err != nil {
		return nil, err
	}
	out := &plan.Decision{Off: t.flow.off, Skip: t.task.Skip, AllowFailure: t.task.AllowFailure, Wait: t.task.Wait, Fork: t.task.Fork, Approval: t.task.Approval, Webhook: t.task.Webhook}
	if out.Off || out.Skip {
		return out, nil
	}
	switch {
	case t.task.FanOut != nil:
		out.Fork = nil // each item has its own
		out.Items, err = s.items(t)
	case t.task.Fork != nil:
		err = s.checkFork(t.task.Fork)
	case t.task.Method == plan.MethodExpireArtifacts:
		out.Variables, err = s.variables(t)
	}
	if err != nil {
		return nil, err
	}
	return out, nil
}

// DecideItem says which job an item of a fan-out in job mode submits. err is Problems.
func (d *Definition) DecideItem(name string, item plan.Item, index int, vars value.Vars, facts condition.Facts) (*plan.Decision, error) {
	s, err := d.deciding(name, vars, &facts)
	if err != nil {
		return nil, err
	}
	t, err := s.read(s.itemVars(item.Value, index))
	if err != nil {
		return nil, err
	}
	if t.task.Fork == nil {
		return &plan.Decision{Skip: t.task.Skip}, nil
	}
	if err := s.checkFork(t.task.Fork); err != nil {
		return nil, err
	}
	return &plan.Decision{Skip: t.task.Skip, Fork: t.task.Fork}, nil
}

// Item renders the section of a fan-out for one of its items, at its claim. The item is among the variables and the
// environment of the result. err is Problems.
func (d *Definition) Item(name string, item plan.Item, index int, vars value.Vars) (*plan.Task, error) {
	return d.ItemWith(name, item, index, vars, nil)
}

// ItemWith is Item and notes what it looks at of the variables.
func (d *Definition) ItemWith(name string, item plan.Item, index int, vars value.Vars, l *template.Lookups) (*plan.Task, error) {
	s, err := d.section(name, vars, l)
	if err != nil {
		return nil, err
	}
	own := s.itemVars(item.Value, index)
	defer s.hosted(l)()
	t, err := s.read(own)
	if err != nil {
		return nil, err
	}
	task := &t.task
	task.Spec.Variables = value.Merged(task.Spec.Variables, own)
	environment := make(map[string]string, len(task.Spec.Environment)+1)
	maps.Copy(environment, task.Spec.Environment)
	environment[EnvItemIndex] = strconv.Itoa(index)
	task.Spec.Environment = environment
	task.Late = false
	return task, nil
}

// deciding finds a section for a decision: what does not decide may still be missing.
func (d *Definition) deciding(name string, vars value.Vars, facts *condition.Facts) (*section, error) {
	if vars == nil {
		vars = facts.Vars
	}
	s, err := d.section(name, vars, facts.Lookups)
	if err != nil {
		return nil, err
	}
	s.Later = true
	s.Moment.Deciding, s.Moment.Facts = true, facts
	return s, nil
}

// itemVars are the variables of an item: the item itself, the entries of a combination, and its number.
func (s *section) itemVars(val any, index int) value.Vars {
	own := value.Vars{}
	if s.node.Get("matrix") != nil {
		if m, ok := val.(map[string]any); ok {
			for key, v := range m {
				own[key], _ = value.Canon(v)
			}
		}
	}
	own[fanout.ItemVar(s.node)], _ = value.Canon(val)
	own[template.VarFanOutIndex] = int64(index)
	return own
}

// variables are those of a task that nothing renders later: all of them must be known.
func (s *section) variables(t *taskDraft) (value.Vars, error) {
	for i := range t.unset {
		if !s.Blank {
			template.AddFault(s.Collector, s.Source, &t.unset[i])
		}
	}
	_, err := s.Collector.Split()
	return value.Merged(t.task.Spec.Variables), err
}

// checkFork refuses what can never be submitted.
func (s *section) checkFork(f *plan.Fork) error {
	if f.JobType != "" {
		return nil
	}
	s.Fault(s.node, source.CodeMissingField, "the job to submit is empty", "the name of a job")
	_, err := s.Collector.Split()
	return err
}

// items makes the items of a fan-out.
func (s *section) items(t *taskDraft) ([]plan.Item, error) {
	f := t.task.FanOut
	if !t.flow.itemsKnown {
		s.Fault(s.node, source.CodeUndefinedVariable, "the items of the fan-out are not known", "a list, or JSON text of one")
		_, err := s.Collector.Split()
		return nil, err
	}
	items := make([]plan.Item, len(f.Items))
	used := make(map[string]bool, len(items))
	for i, v := range f.Items {
		var label []any
		if i < len(t.flow.matrixNames) {
			label = t.flow.matrixNames[i]
		}
		items[i] = plan.Item{Name: itemName(t.task.Name, label, i, used), Value: v}
	}
	if err := s.askItems(t, items); err != nil {
		return nil, err
	}
	if !t.task.ItemClass {
		return items, nil
	}
	for i := range items {
		class, err := s.classOf(t, items[i].Value, i)
		if err != nil {
			return nil, err
		}
		items[i].Class = class
	}
	return items, nil
}

// itemName is the name of an item's task: its values in brackets when they are short and its own, else its number.
func itemName(task string, label []any, index int, used map[string]bool) string {
	if name, ok := labelled(task, label); ok && !used[name] {
		used[name] = true
		return name
	}
	name := task + "[" + strconv.Itoa(index) + "]"
	for used[name] { // a combination that looks like a number
		name = task + "[#" + strings.TrimPrefix(name, task+"[")
	}
	used[name] = true
	return name
}

func labelled(task string, label []any) (string, bool) {
	if len(label) == 0 {
		return "", false
	}
	parts := make([]string, len(label))
	for i, v := range label {
		switch v.(type) {
		case []any, map[string]any:
			return "", false
		}
		parts[i] = strings.Map(plainChar, value.Text(v))
	}
	name := task + "[" + strings.Join(parts, ",") + "]"
	return name, len(name) <= value.MaxName
}

// plainChar keeps the characters that names of tasks can have everywhere: in paths, subjects and logs.
func plainChar(c rune) rune {
	if c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || strings.ContainsRune("_-.+", c) {
		return c
	}
	return '-'
}

// classOf reads the fields that decide the placement, for one item.
func (s *section) classOf(t *taskDraft, val any, index int) (*placement.Class, error) {
	own := &taskDraft{task: plan.Task{Method: t.task.Method, Tags: t.task.Tags, Slots: t.task.Slots}, methodKnown: true}
	fields := taskFieldReader{reader: s.reader, t: own}
	s.Machine.Scope.Task, s.Machine.Scope.TaskType = t.task.Spec.Variables, t.task.Name
	s.Machine.Scope.Item = s.itemVars(val, index)
	defer s.end()
	later := s.Later
	s.Later = false
	for i := range s.node.Pairs {
		if p := &s.node.Pairs[i]; slices.Contains([]string{"method", "tags", "slots"}, p.Key) {
			fields.read(p, s.node)
		}
	}
	s.Later = later
	if _, err := s.Collector.Split(); err != nil {
		return nil, err
	}
	class := own.task.Class()
	return &class, nil
}
