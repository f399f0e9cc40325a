package param

import (
	"slices"

	"github.com/formicary/formicary/libs/exact"
	"github.com/formicary/formicary/libs/jobspec/source"
	"github.com/formicary/formicary/libs/jobspec/template"
	"github.com/formicary/formicary/libs/jobspec/value"
)

// Declared is what a definition says of the parameters of its requests.
type Declared struct {
	Params   []Param
	Required []string
	Given    value.Vars // what the definition gives itself: never missing
}

// Check checks the parameters of a request, fills defaults and converts values to the declared types; parsed are those whose
// JSON has been read.
func Check(c *source.Collector, params value.Vars, d Declared, parsed map[string]bool) value.Vars {
	out := make(value.Vars, len(params)+len(d.Params))
	refused := map[string]bool{} // given, and no value: such a parameter is not missing
	for _, name := range value.SortedKeys(params) {
		v, ok := value.DeepCanon(params[name], 1)
		switch {
		case !value.ValidName(name):
			c.Add(source.Problem{Code: source.CodeInvalidParam, Field: name, Message: "the name of the parameter cannot be used", Expected: "1 to 100 characters without spaces and ="})
		case !value.Storable(name):
			c.Add(source.Problem{Code: source.CodeInvalidParam, Field: name, Message: "the name of a parameter is no text", Expected: "UTF-8 without NUL"})
		case !value.Storable(v):
			c.Add(source.Problem{Code: source.CodeInvalidParam, Field: name, Message: "the parameter " + source.QuoteName(name) + " holds the character NUL, or bytes that are no text", Expected: "UTF-8 without NUL"})
		case !exact.InRange(params[name]):
			c.Add(source.Problem{Code: source.CodeInvalidParam, Field: name, Message: "the parameter " + source.QuoteName(name) + " holds a number that is too large or too small", Expected: "numbers that are 0 or between 4.9e-324 and 1.8e308, or text"})
		case !ok:
			c.Add(source.Problem{Code: source.CodeInvalidParam, Field: name, Message: "the parameter " + source.QuoteName(name) + " is of a kind that cannot be used", Expected: "text, a number, true or false, or JSON"})
		default:
			out[name] = v
			continue
		}
		refused[name] = true
	}
	for i := range d.Params {
		p := &d.Params[i]
		if p.Type == TypeSecret && parsed[p.Name] && out[p.Name] == Masked {
			continue // its value was checked, and lies elsewhere
		}
		if !refused[p.Name] && (p.Type != TypeJSON || !parsed[p.Name] || !p.Settled(out)) {
			checkParam(p, out, c)
		}
	}
	for _, name := range d.Required {
		_, given := out[name]
		_, own := d.Given[name]
		if !given && !own && !refused[name] {
			missingParam(c, name)
		}
	}
	return out
}

// Unknown warns of parameters that a job which declares some does not know.
func Unknown(c *source.Collector, job string, params value.Vars, d Declared) {
	if len(d.Params) == 0 {
		return
	}
	names := slices.Clone(d.Required)
	for i := range d.Params {
		names = append(names, d.Params[i].Name)
	}
	for _, name := range value.SortedKeys(params) {
		if _, own := d.Given[name]; own || slices.Contains(names, name) || template.IsBuiltin(name) {
			continue
		}
		p := source.Problem{Code: source.CodeUnknownParam, Field: name, Warning: true, Message: source.QuoteName(name) + " is no parameter of " + job}
		if near := c.Suggest(name, names); near != "" {
			p.Message += "; did you mean " + near + "?"
		}
		c.Add(p)
	}
}

func missingParam(c *source.Collector, name string) {
	c.Add(source.Problem{Code: source.CodeMissingParam, Field: name, Message: "the parameter " + source.QuoteName(name) + " is missing", Expected: "a value for it"})
}

func checkParam(p *Param, out value.Vars, c *source.Collector) {
	v := out[p.Name]
	if v == nil || v == "" && p.Type != TypeString {
		delete(out, p.Name)
		switch {
		case p.Default != nil:
			out[p.Name] = p.Default
		case p.Required:
			missingParam(c, p.Name)
		}
		return
	}
	if v == "" && p.Required {
		missingParam(c, p.Name)
		return
	}
	converted, wrong := p.Convert(v)
	if wrong != "" {
		c.Add(source.Problem{Code: source.CodeInvalidParam, Field: p.Name, Message: "the parameter " + source.QuoteName(p.Name) + " has a value that is not allowed", Expected: wrong})
		return
	}
	out[p.Name] = converted
}
