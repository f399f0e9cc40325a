package read

import (
	"slices"
	"strings"

	"github.com/formicary/formicary/libs/jobspec/field"
	"github.com/formicary/formicary/libs/jobspec/plan"
	"github.com/formicary/formicary/libs/jobspec/source"
)

// Unknown reports a key that the mapping does not have.
func (r *Reader) Unknown(p *source.Pair, table func() []field.Field) {
	if r.Collector.Full() {
		return
	}
	var known []string
	if r.Collector.Suggests() { // a loop can repeat an unknown field thousands of times, and the table is long
		known = field.Names(table())
	}
	r.UnknownField(p, known)
}

// UnknownIn is Unknown for a mapping that is easily confused with another, such as a job and its tasks, and for the words
// that other systems have.
func (r *Reader) UnknownIn(p *source.Pair, here string, table func() []field.Field, there string, other func() []field.Field) {
	switch {
	case r.Collector.Full():
	case r.Collector.Suggests() && slices.Contains(field.Names(other()), p.Key):
		r.Add(p.Line, p.Column, source.CodeUnknownField, "the field "+source.QuoteName(p.Key)+" is one of "+there+", not of "+here, "")
	case field.Elsewhere(p.Key) != "" && (strings.Contains(field.Elsewhere(p.Key), ".") || slices.Contains(field.Names(table()), field.Elsewhere(p.Key))):
		r.Add(p.Line, p.Column, source.CodeUnknownField, "the field "+source.QuoteName(p.Key)+" is not known", field.Elsewhere(p.Key))
	default:
		r.Unknown(p, table)
	}
}

// fewFields is how many a mapping has that are all listed for a field that it does not have.
const fewFields = 8

// UnknownField reports a key that is none of the known names.
func (r *Reader) UnknownField(p *source.Pair, known []string) {
	expected := "a field of the language"
	if len(known) > 0 && len(known) <= fewFields {
		expected = "one of " + strings.Join(known, ", ")
	}
	if near := r.Collector.Suggest(p.Key, known); near != "" {
		expected = near
	}
	r.Add(p.Line, p.Column, source.CodeUnknownField, "the field "+source.QuoteName(p.Key)+" is not known", expected)
}

// Misspelled warns of a misspelled key of a mapping and returns the name that was meant.
func (r *Reader) Misspelled(p *source.Pair, in *source.Node, level string) string {
	name := field.Misspelling(level, p.Key)
	if name != p.Key {
		if in.Get(name) != nil {
			r.Add(p.Line, p.Column, source.CodeConflict, name+" and "+p.Key+" are both given", "one of them")
		}
		r.Warn(p.Line, p.Column, source.CodeMisspelledField, "the field "+p.Key+" is misspelled", name)
	}
	return name
}

// OneOf reads one of a few words, in any case. What is not known yet is otherwise.
func (r *Reader) OneOf(n *source.Node, otherwise string, words []string) string {
	text, known := r.Text(n)
	if !known || text == "" {
		return otherwise
	}
	for _, word := range words {
		if strings.EqualFold(word, text) {
			return word
		}
	}
	r.Fault(n, source.CodeInvalidValue, r.Show(n)+" is not known here", "one of "+strings.Join(words, ", "))
	return otherwise
}

// ReadAs warns of what is accepted in a form that the language does not have.
func (r *Reader) ReadAs(n *source.Node, message, expected string) {
	r.Warn(n.Line, n.Column, source.CodeReadAs, message, expected)
}

// Moments reads one of whens, or a word that files in the wild have for it.
func (r *Reader) Moments(n *source.Node, otherwise string) string {
	text, known := r.Text(n)
	if !known {
		return otherwise
	}
	meant := ""
	switch strings.ToLower(strings.ReplaceAll(strings.ReplaceAll(text, "_", ""), "-", "")) {
	case "none":
		meant = plan.Never
	case "onsuccess":
		meant = plan.OnSuccess
	case "onfailure":
		meant = plan.OnFailure
	}
	if meant == "" || strings.EqualFold(meant, text) {
		return r.OneOf(n, otherwise, plan.Whens())
	}
	r.ReadAs(n, r.Show(n)+" is read as "+meant, meant)
	return meant
}

// MomentsForm is the form of what Moments reads.
func MomentsForm() field.Form {
	return field.Word(append(plan.Whens(), "none", "on_success", "on_failure", "on-success", "on-failure")...)
}
