package field

import (
	"maps"
	"slices"
	"strings"
	"unicode"
)

// Form is a part of the JSON Schema. Wherever a value may come from a template, text with {{ is allowed as well.
type Form map[string]any

// Template is the pattern of a text that holds a template.
const Template = `\{\{`

// AnyOf is one of several forms.
func AnyOf(forms ...Form) Form {
	all := make([]any, len(forms))
	for i := range forms {
		all[i] = forms[i]
	}
	return Form{"anyOf": all}
}

// Ref is a mapping of a level.
func Ref(level string) Form { return Form{"$ref": "#/$defs/" + level} }

// Pattern is text that matches, or holds a template.
func Pattern(p string) Form { return Form{"type": "string", "pattern": p + "|" + Template} }

// Text is any single value: YAML's numbers and switches are text where text is expected.
func Text() Form { return Form{"type": []any{"string", "number", "boolean"}} }

// Name is a name: text, or a number that is read as text.
func Name() Form { return Form{"type": []any{"string", "number"}} }

// Literal is text that must not come from a template.
func Literal(longest int) Form {
	return Form{"type": "string", "maxLength": longest, "not": Form{"pattern": Template}}
}

// Object is a mapping of any keys.
func Object() Form { return Form{"type": "object"} }

// Flag is a switch.
func Flag() Form {
	return AnyOf(Form{"type": "boolean"}, Pattern(`^([Tt][Rr][Uu][Ee]|[Ff][Aa][Ll][Ss][Ee]|[Yy][Ee][Ss]|[Nn][Oo]|[Oo][Nn]|[Oo][Ff][Ff])$`))
}

// Whole is a whole number within bounds.
func Whole(low, high int) Form {
	return AnyOf(Form{"type": "integer", "minimum": low, "maximum": high}, Pattern(`^[0-9]+$`))
}

// Number is a number within bounds that may have a fraction.
func Number(low, high float64) Form {
	return AnyOf(Form{"type": "number", "minimum": low, "maximum": high}, Pattern(`^[0-9.eE+-]+$`))
}

// Duration is a duration such as 90s or 1h30m.
func Duration() Form {
	return AnyOf(Form{"const": 0}, Pattern(`^(0|([0-9]+d)?(([0-9]+(\.[0-9]*)?|\.[0-9]+)(ns|us|µs|ms|s|m|h))*)$`))
}

// CPU is a number of processors.
func CPU() Form {
	return AnyOf(Form{"type": "number", "exclusiveMinimum": 0}, Pattern(`^[0-9.eE+]+m?$`))
}

// Memory is an amount of memory.
func Memory() Form {
	return AnyOf(Form{"type": "number", "exclusiveMinimum": 0}, Pattern(`^[0-9.eE+]+ *([kKmMgGtT]?[iI]?[bB]?)$`))
}

// Word is one of a few words; case does not matter.
func Word(words ...string) Form {
	cases := make([]string, len(words))
	for i, word := range words {
		cases[i] = AnyCase(word)
	}
	return AnyOf(Form{"enum": Anys(words)}, Pattern("^("+strings.Join(cases, "|")+")$"))
}

// AnyCase is a pattern for a word in any case.
func AnyCase(word string) string {
	var b strings.Builder
	for _, c := range word {
		switch {
		case unicode.IsLetter(c):
			b.WriteString("[" + string(unicode.ToUpper(c)) + string(unicode.ToLower(c)) + "]")
		default:
			b.WriteRune(c)
		}
	}
	return b.String()
}

// Anys are words as JSON Schema has them.
func Anys(words []string) []any {
	out := make([]any, len(words))
	for i, word := range words {
		out[i] = word
	}
	return out
}

// ListOf is a list.
func ListOf(item Form) Form { return Form{"type": "array", "items": item} }

// OneOrMore is a single value or a list of them.
func OneOrMore(item Form) Form { return AnyOf(item, ListOf(item)) }

// MapOf is a mapping of any keys to values of a form.
func MapOf(value Form) Form { return Form{"type": "object", "additionalProperties": value} }

// Texts is a mapping of names to text, or a list of name=value or {name, value}; variables the same with any values.
func Texts() Form {
	value := Form{"type": []any{"string", "number", "boolean", "null"}}
	return AnyOf(MapOf(value), ListOf(AnyOf(Pattern("="), Ref("variable"))), Pattern(Template))
}

// Variables is a mapping of names to values, or a list of {name, value}.
func Variables() Form {
	return AnyOf(Object(), ListOf(Ref("variable")), Pattern(Template))
}

// Targets is what a route leads to.
func Targets() Form { return OneOrMore(Name()) }

// Condition is a CEL expression or a template that renders true.
func Condition() Form { return Text() }

// Schema is the JSON Schema of a mapping.
func (l *Level) Schema() Form {
	properties := Form{}
	for _, f := range l.Fields() {
		value := orNull(f.Form)
		properties[f.Name] = Described(value, f.Doc+f.activityNote(), false)
		for _, alias := range f.Aliases {
			properties[alias] = Described(value, "Misspelled: "+f.Name+".", true)
		}
	}
	out := Form{"type": "object", "description": l.Doc, "properties": properties, "additionalProperties": false}
	if len(l.Required) > 0 {
		out["required"] = l.Required
	}
	return out
}

// orNull is a value or null, which means that the field is not there.
func orNull(f Form) Form {
	null := Form{"type": "null"}
	if len(f) == 0 {
		return f
	}
	if options, ok := f["anyOf"].([]any); ok && len(f) == 1 {
		return Form{"anyOf": append(slices.Clone(options), null)}
	}
	return AnyOf(f, null)
}

// Described is a form with what editors show about it.
func Described(f Form, doc string, deprecated bool) Form {
	out := maps.Clone(f)
	if out == nil {
		out = Form{}
	}
	out["description"] = doc
	if deprecated {
		out["deprecated"] = true
	}
	return out
}

// activityNote is what the documentation of a field says besides.
func (f *Field) activityNote() string {
	switch {
	case f.Inactive:
		return " Not acted on by this version."
	case len(f.Methods) > 0:
		return " Acted on by the methods " + strings.Join(f.Methods, " and ") + " only."
	}
	return ""
}
