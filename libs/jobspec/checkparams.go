package jobspec

import (
	"slices"

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
		p := &of.Params[i]
		read[p.Name] = p.Type == param.TypeJSON || p.Type == param.TypeSecret
	}
	if err := d.sameSecrets(params, of); err != nil {
		return nil, err
	}
	return d.checkParams(params, read)
}

// UnknownParams warns of the parameters of a request that a definition with params does not name, neither there nor under
// its variables. They are variables like others, but a name that is close to a declared one is misspelled.
func (d *Definition) UnknownParams(params value.Vars) source.Problems {
	c := &source.Collector{File: d.file}
	param.Unknown(c, d.JobType, params, param.Declared{Params: d.Params, Required: d.RequiredParams, Given: d.jobVars})
	return c.List
}

// sameSecrets refuses a version in which a parameter that a request has given becomes a secret, or is none any more: its value
// would be known to others, or not be there.
func (d *Definition) sameSecrets(params value.Vars, of *Definition) error {
	if d == of {
		return nil
	}
	mine, before := param.Secrets(d.Params), param.Secrets(of.Params)
	var found source.Problems
	for _, name := range value.SortedKeys(params) {
		if slices.Contains(mine, name) != slices.Contains(before, name) {
			found = append(found, source.Problem{
				File: d.file, Code: source.CodeInvalidParam, Field: name, Message: "the parameter " + source.QuoteName(name) + " is a secret in one version and none in the other",
				Expected: "a new request",
			})
		}
	}
	if len(found) > 0 {
		return found
	}
	return nil
}

// checkParams checks parameters; read are those whose JSON has been read.
func (d *Definition) checkParams(params value.Vars, read map[string]bool) (value.Vars, error) {
	c := &source.Collector{File: d.file}
	out := param.Check(c, params, param.Declared{Params: d.Params, Required: d.RequiredParams, Given: d.jobVars}, read)
	if _, err := c.Split(); err != nil {
		return nil, err
	}
	return out, nil
}
