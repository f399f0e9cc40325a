package jobspec

import (
	"strings"
	"unicode"
)

// form is a part of the JSON Schema. Wherever a value may come from a template, text with {{ is allowed as well.
type form map[string]any

const aTemplate = `\{\{`

func anyOf(forms ...form) form {
	all := make([]any, len(forms))
	for i := range forms {
		all[i] = forms[i]
	}
	return form{"anyOf": all}
}

func ref(level string) form { return form{"$ref": "#/$defs/" + level} }

// pattern is text that matches, or holds a template.
func pattern(p string) form { return form{"type": "string", "pattern": p + "|" + aTemplate} }

// aText is any single value: YAML's numbers and switches are text where text is expected.
func aText() form { return form{"type": []any{"string", "number", "boolean"}} }

func aName() form { return form{"type": []any{"string", "number"}} }

// written is text that must not come from a template.
func written(longest int) form {
	return form{"type": "string", "maxLength": longest, "not": form{"pattern": aTemplate}}
}

func anObject() form { return form{"type": "object"} }

func aFlag() form {
	return anyOf(form{"type": "boolean"}, pattern(`^([Tt][Rr][Uu][Ee]|[Ff][Aa][Ll][Ss][Ee]|[Yy][Ee][Ss]|[Nn][Oo]|[Oo][Nn]|[Oo][Ff][Ff])$`))
}

func aWhole(low, high int) form {
	return anyOf(form{"type": "integer", "minimum": low, "maximum": high}, pattern(`^[0-9]+$`))
}

func aNumber(low, high float64) form {
	return anyOf(form{"type": "number", "minimum": low, "maximum": high}, pattern(`^[0-9.eE+-]+$`))
}

func aDuration() form {
	return anyOf(form{"const": 0}, pattern(`^(0|([0-9]+d)?(([0-9]+(\.[0-9]*)?|\.[0-9]+)(ns|us|µs|ms|s|m|h))*)$`))
}

// aCPU and aMemory are quantities.
func aCPU() form {
	return anyOf(form{"type": "number", "exclusiveMinimum": 0}, pattern(`^[0-9.eE+]+m?$`))
}

func aMemory() form {
	return anyOf(form{"type": "number", "exclusiveMinimum": 0}, pattern(`^[0-9.eE+]+ *([kKmMgGtT]?[iI]?[bB]?)$`))
}

// aWord is one of a few words; case does not matter.
func aWord(words ...string) form {
	cases := make([]string, len(words))
	for i, word := range words {
		cases[i] = anyCase(word)
	}
	return anyOf(form{"enum": anys(words)}, pattern("^("+strings.Join(cases, "|")+")$"))
}

func anyCase(word string) string {
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

func anys(words []string) []any {
	out := make([]any, len(words))
	for i, word := range words {
		out[i] = word
	}
	return out
}

func listOf(item form) form { return form{"type": "array", "items": item} }

// oneOrMore is a single value or a list of them.
func oneOrMore(item form) form { return anyOf(item, listOf(item)) }

func mapOf(value form) form { return form{"type": "object", "additionalProperties": value} }

// texts is a mapping of names to text, or a list of name=value or {name, value}; variables the same with any values.
func texts() form {
	value := form{"type": []any{"string", "number", "boolean", "null"}}
	return anyOf(mapOf(value), listOf(anyOf(pattern("="), ref("variable"))), pattern(aTemplate))
}

func variablesForm() form {
	return anyOf(anObject(), listOf(ref("variable")), pattern(aTemplate))
}

// targetsForm is what a route leads to.
func targetsForm() form { return oneOrMore(aName()) }

func conditionForm() form { return aText() }
