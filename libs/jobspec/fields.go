package jobspec

import "github.com/formicary/formicary/libs/jobspec/source"

// The fields of the language are data: one table for each mapping that a definition can hold. From the tables come the
// names that are suggested for unknown fields, and the JSON Schema.

// field is one field of a mapping.
type field struct {
	name string
	// form is the JSON Schema of its value.
	form form
	// doc is one line for people: editors show it.
	doc string
	// aliases are spellings that are found in the wild and read with a warning.
	aliases []string
	// inactive says that this version checks and keeps the field and does not act on it; but a value of idle, in small
	// letters, asks for nothing.
	inactive bool
	idle     string
	// methods are those that act on a field of a task; nil: all that it is for.
	methods []string
}

// level is one kind of mapping.
type level struct {
	// name of it in the schema.
	name string
	doc  string
	// fields it can have, and those it must have.
	fields   func() []field
	required []string
}

func namesOf(fields []field) []string {
	out := make([]string, len(fields))
	for i := range fields {
		out[i] = fields[i].name
	}
	return out
}

// misspelling returns the right name of a field that is found misspelled in the wild, or the name itself. It is asked
// for every field of a text; a test holds it against the aliases in the tables.
func misspelling(level, name string) string {
	switch level + "." + name {
	case "task.task_variables":
		return "variables"
	case "job.filter":
		return "skip_if"
	case "task.delay":
		return "delay_between_retries"
	case "cache.keys":
		return "key_paths"
	case "cache.expire_after", "artifacts.expire_after":
		return "expires_after"
	}
	return name
}

// unknown reports a key that the mapping does not have.
func (r *reader) unknown(p *source.Pair, table func() []field) {
	if r.c.Full() {
		return
	}
	var known []string
	if r.c.Suggests() { // a loop can repeat an unknown field thousands of times, and the table is long
		known = namesOf(table())
	}
	r.unknownField(p, known)
}

// unknownField reports a key that is none of the known names.
func (r *reader) unknownField(p *source.Pair, known []string) {
	expected := "a field of the language"
	if near := r.c.Suggest(p.Key, known); near != "" {
		expected = near
	}
	r.add(p.Line, p.Column, source.CodeUnknownField, "the field "+source.QuoteName(p.Key)+" is not known", expected)
}

// misspelled warns of a misspelled key of a mapping and returns the name that was meant.
func (r *reader) misspelled(p *source.Pair, in *source.Node, level string) string {
	name := misspelling(level, p.Key)
	if name != p.Key {
		if in.Get(name) != nil {
			r.add(p.Line, p.Column, source.CodeConflict, name+" and "+p.Key+" are both given", "one of them")
		}
		r.warn(p.Line, p.Column, source.CodeMisspelledField, "the field "+p.Key+" is misspelled", name)
	}
	return name
}
