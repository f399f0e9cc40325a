package jobspec

import (
	"github.com/formicary/formicary/libs/exact"
	"github.com/formicary/formicary/libs/jobspec/param"
	"github.com/formicary/formicary/libs/jobspec/source"
	"github.com/formicary/formicary/libs/jobspec/value"
)

// CheckParams checks the parameters of a request, fills defaults and converts values to the declared types. Parameters
// that the definition does not declare are allowed. A text that is given for a json parameter is its JSON: it is read here,
// once. err is Problems that name the parameters and hold no values.
func (d *Definition) CheckParams(params value.Vars) (value.Vars, error) {
	return d.checkParams(params, nil)
}

// RecheckParams is CheckParams for what CheckParams of a version of the definition has returned before: a text in a json
// parameter of that version is a value by now, and no JSON.
func (d *Definition) RecheckParams(params value.Vars, of *Definition) (value.Vars, error) {
	read := map[string]bool{}
	for i := range of.Params {
		read[of.Params[i].Name] = of.Params[i].Type == param.TypeJSON
	}
	return d.checkParams(params, read)
}

// checkParams checks parameters; read are those whose JSON has been read.
func (d *Definition) checkParams(params value.Vars, read map[string]bool) (value.Vars, error) {
	c := &source.Collector{File: d.file}
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
			c.Add(source.Problem{Code: source.CodeInvalidParam, Field: name, Message: "the parameter " + source.QuoteName(name) + " holds a number that is too large or too small", Expected: "numbers of at most 1.8e308, or text"})
		case !ok:
			c.Add(source.Problem{Code: source.CodeInvalidParam, Field: name, Message: "the parameter " + source.QuoteName(name) + " is of a kind that cannot be used", Expected: "text, a number, true or false, or JSON"})
		default:
			out[name] = v
			continue
		}
		refused[name] = true
	}
	for i := range d.Params {
		if p := &d.Params[i]; !refused[p.Name] && (p.Type != param.TypeJSON || !read[p.Name] || !p.Settled(out)) {
			d.checkParam(p, out, c)
		}
	}
	for _, name := range d.RequiredParams {
		_, given := out[name]
		_, own := d.jobVars[name]
		if !given && !own && !refused[name] {
			missingParam(c, name)
		}
	}
	if _, err := c.Split(); err != nil {
		return nil, err
	}
	return out, nil
}

func missingParam(c *source.Collector, name string) {
	c.Add(source.Problem{Code: source.CodeMissingParam, Field: name, Message: "the parameter " + source.QuoteName(name) + " is missing", Expected: "a value for it"})
}

func (d *Definition) checkParam(p *param.Param, out value.Vars, c *source.Collector) {
	v := out[p.Name]
	if v == nil || v == "" && p.Type != param.TypeString {
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
