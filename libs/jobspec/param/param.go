package param

import (
	"errors"
	"fmt"
	"math"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/formicary/formicary/libs/jobspec/field"
	"github.com/formicary/formicary/libs/jobspec/plan"
	"github.com/formicary/formicary/libs/jobspec/read"
	"github.com/formicary/formicary/libs/jobspec/source"
	"github.com/formicary/formicary/libs/jobspec/template"
	"github.com/formicary/formicary/libs/jobspec/value"
)

// Types of parameters.
const (
	TypeString   = "string"
	TypeInt      = "int"
	TypeNumber   = "number"
	TypeBool     = "bool"
	TypeEnum     = "enum"
	TypeDuration = "duration"
	TypeJSON     = "json"
	TypeSecret   = "secret"
)

func paramTypes() []string {
	return []string{TypeString, TypeInt, TypeNumber, TypeBool, TypeEnum, TypeDuration, TypeJSON, TypeSecret}
}

// Masked stands for the value of a secret wherever a request shows its parameters.
const Masked = "****"

// Secrets are the names of the parameters of type secret.
func Secrets(params []Param) []string {
	var names []string
	for i := range params {
		if params[i].Type == TypeSecret {
			names = append(names, params[i].Name)
		}
	}
	return names
}

// Param is one typed parameter of a job.
type Param struct {
	Name string `json:"name"`
	// Type is one of the Type constants.
	Type string `json:"type"`
	// Default is used when a request does not give the parameter; nil: none.
	Default  any  `json:"default,omitempty"`
	Required bool `json:"required,omitempty"`
	// Pattern is a regular expression that the whole text has to match.
	Pattern string `json:"pattern,omitempty"`
	// Enum lists the values that are allowed, as text.
	Enum        []string `json:"enum,omitempty"`
	Description string   `json:"description,omitempty"`

	pattern *regexp.Regexp
}

// params reads the list of typed parameters.
func (r reader) params(n *source.Node) []Param {
	if n.Kind == source.Null {
		return nil
	}
	if n.Kind != source.List || len(n.Items) > maxParams {
		r.Fault(n, source.CodeInvalidType, "params is "+n.Kind.String(), fmt.Sprintf("a list of at most %d parameters", maxParams))
		return nil
	}
	seen := map[string]bool{}
	out := make([]Param, 0, len(n.Items))
	for _, item := range n.Items {
		p := r.param(item)
		if seen[p.Name] && p.Name != "" {
			r.Fault(item, source.CodeDuplicateKey, "the parameter "+source.QuoteName(p.Name)+" is given twice", "each name once")
		}
		seen[p.Name] = true
		out = append(out, p)
	}
	return out
}

func (r reader) param(n *source.Node) Param {
	p := Param{}
	if n.Kind != source.Map {
		r.Fault(n, source.CodeInvalidType, "a parameter is "+n.Kind.String(), "a mapping with name and type")
		return p
	}
	var fallback *source.Node
	for i := range n.Pairs {
		switch f := &n.Pairs[i]; f.Key {
		case "name":
			p.Name = r.Literal(f.Value, "the name", value.MaxName)
			r.Name(p.Name, f.Value.Line, f.Value.Column)
		case "type":
			p.Type = r.paramType(f.Value)
		case "default":
			fallback = f.Value
		case "required":
			p.Required = r.LiteralFlag(f.Value, "required")
		case "pattern":
			p.Pattern = r.Literal(f.Value, "the pattern", maxPattern)
			p.pattern = r.compile(p.Pattern, f.Value)
		case "enum":
			p.Enum = read.Texts(r.List(f.Value))
			if f.Value.Templated {
				r.Literal(f.Value, "enum", maxPattern)
			}
		case "description":
			p.Description = r.LongText(f.Value, "description", read.MaxDescription)
		default:
			r.Unknown(f, Fields)
		}
	}
	if n.Get("name") == nil {
		r.Fault(n, source.CodeMissingField, "the field name is missing", "the name of the parameter")
	}
	r.paramDefaults(&p, n, fallback)
	return p
}

const maxPattern = 1000

func (r reader) compile(pattern string, at *source.Node) *regexp.Regexp {
	if pattern == "" {
		return nil
	}
	re, err := regexp.Compile(`^(?:` + pattern + `)$`)
	if err != nil {
		r.Fault(at, source.CodeInvalidValue, "the pattern is no regular expression", "a regular expression of Go (RE2)")
	}
	return re
}

func (r reader) paramType(n *source.Node) string {
	name := r.Literal(n, "the type", value.MaxName)
	switch {
	case !slices.Contains(paramTypes(), name) && !n.Templated:
		expected := "one of " + strings.Join(paramTypes(), ", ")
		if near := r.Collector.Suggest(name, paramTypes()); near != "" {
			expected = near
		}
		r.Fault(n, source.CodeInvalidValue, r.Show(n)+" is no type", expected)
	default:
		return name
	}
	return TypeString
}

// paramDefaults completes a parameter and checks what it says of itself.
func (r reader) paramDefaults(p *Param, n, fallback *source.Node) {
	if p.Type == "" {
		p.Type = TypeString
		if len(p.Enum) > 0 {
			p.Type = TypeEnum
		}
	}
	if p.Type == TypeEnum && len(p.Enum) == 0 {
		r.Fault(n, source.CodeMissingField, "the field enum is missing", "the list of allowed values")
		return
	}
	if p.Type == TypeSecret && (fallback != nil || len(p.Enum) > 0) {
		r.Fault(n, source.CodeConflict, "the secret "+source.QuoteName(p.Name)+" has a default or an enum, which everybody can read in the definition", "neither of both")
		return
	}
	if fallback == nil || fallback.Kind == source.Null {
		return
	}
	if fallback.Templated {
		r.Literal(fallback, "the default", source.MaxText)
		return
	}
	v, wrong := p.Convert(r.Value(fallback))
	if wrong != "" {
		r.Fault(fallback, source.CodeInvalidValue, "the default of "+source.QuoteName(p.Name)+" is not allowed", wrong)
		return
	}
	p.Default = v
}

func (r reader) requiredParams(n *source.Node) []string {
	var names []string
	seen := map[string]bool{}
	for _, it := range r.List(n) {
		if it.Node.Templated {
			r.Literal(it.Node, "the name", value.MaxName)
			continue
		}
		if r.Name(it.Text, it.Node.Line, it.Node.Column) && !seen[it.Text] {
			seen[it.Text] = true
			names = append(names, it.Text)
		}
		if len(names) > maxParams {
			r.Fault(n, source.CodeInvalidValue, "there are too many parameters", fmt.Sprintf("at most %d", maxParams))
			break
		}
	}
	return names
}

// Settled reports whether a JSON value that was read before stays as it is.
func (p *Param) Settled(vars value.Vars) bool {
	v, given := vars[p.Name]
	return given && p.fits(v) == ""
}

// Convert gives a value the type of the parameter; wrong says what would be right.
func (p *Param) Convert(v any) (out any, wrong string) {
	v, ok := value.Canon(v)
	if !ok {
		return nil, "a value of the type " + p.Type
	}
	out, wrong = convertTo(p.Type, v)
	if wrong == "" {
		wrong = p.fits(out)
	}
	if wrong != "" {
		return nil, wrong
	}
	return out, ""
}

// fits says what would be right where a value of the right type is not allowed.
func (p *Param) fits(v any) (wrong string) {
	if len(p.Enum) > 0 && !slices.Contains(p.Enum, value.Text(v)) {
		return "one of " + strings.Join(p.Enum, ", ")
	}
	if p.pattern != nil && !p.pattern.MatchString(value.Text(v)) {
		return "text that matches " + p.Pattern
	}
	return ""
}

func convertTo(kind string, v any) (out any, wrong string) {
	switch kind {
	case TypeInt:
		if i, ok := template.AsInt(v); ok {
			return i, ""
		}
		n, isNumber := template.AsNumber(v)
		_, isText := v.(string)
		switch f, isFloat := n.(float64); {
		case isText && isFloat && f == math.Trunc(f):
			return nil, "a whole number without point and exponent"
		case isFloat && f == math.Trunc(f):
			return nil, "a whole number; one of this size as text, so that it keeps its digits"
		case isNumber && !isFloat:
			return nil, "a whole number from -2^63 to 2^63-1"
		}
		return nil, "a whole number"
	case TypeNumber:
		if i, ok := template.AsInt(v); ok {
			return i, ""
		}
		if n, ok := template.AsNumber(v); ok {
			return n, ""
		}
		return nil, "a number that is 0 or between 4.9e-324 and 1.8e308"
	case TypeBool:
		if b, ok := v.(bool); ok {
			return b, ""
		}
		if s, ok := v.(string); ok {
			if b, err := strconv.ParseBool(s); err == nil {
				return b, ""
			}
		}
		return nil, "true or false"
	case TypeDuration:
		if s := value.Text(v); s != "" {
			if _, err := read.ParseDuration(s); err == nil {
				return s, ""
			}
		}
		return nil, "a duration such as 90s, 10m or 1h30m"
	case TypeJSON:
		s, ok := v.(string)
		if !ok {
			return v, ""
		}
		parsed, err := template.FromJSON(s)
		switch {
		case errors.Is(err, template.ErrNumberRange):
			return nil, "JSON with numbers that are 0 or between 4.9e-324 and 1.8e308"
		case err != nil:
			return nil, "JSON"
		}
		return parsed, ""
	}
	switch v.(type) {
	case []any, map[string]any:
		return nil, "text"
	}
	return value.Text(v), ""
}

// CheckOutputs compares what a task gave with what it declares. The error is for people and holds no values.
func CheckOutputs(t *plan.Task, outputs map[string]string) error {
	var wrong []string
	for _, o := range t.Outputs {
		v, given := outputs[o.Name]
		if !given {
			if o.Required {
				wrong = append(wrong, "the output "+source.QuoteName(o.Name)+" is missing")
			}
			continue
		}
		if _, expected := convertTo(o.Type, v); expected != "" {
			wrong = append(wrong, "the output "+source.QuoteName(o.Name)+" is not "+expected)
		}
		if len(o.Enum) > 0 && !slices.Contains(o.Enum, v) {
			wrong = append(wrong, "the output "+source.QuoteName(o.Name)+" is not one of "+strings.Join(o.Enum, ", "))
		}
	}
	if len(wrong) == 0 {
		return nil
	}
	return errors.New(strings.Join(wrong, "; "))
}

// Fields are those of a parameter.
func Fields() []field.Field {
	return []field.Field{
		{Name: "name", Form: field.Name(), Doc: "The name of the parameter."},
		{Name: "type", Form: field.Form{"enum": field.Anys(paramTypes())}, Doc: "Its type; string when not given."},
		{Name: "default", Form: field.Form{}, Doc: "The value when a request gives none."},
		{Name: "required", Form: field.Flag(), Doc: "A request has to give it."},
		{Name: "pattern", Form: field.Literal(maxPattern), Doc: "A regular expression (RE2) for the whole text."},
		{Name: "enum", Form: field.OneOrMore(field.Text()), Doc: "The values that are allowed."},
		{Name: "description", Form: field.Text(), Doc: "Text for people."},
	}
}

// maxParams bounds the parameters of a job.
const maxParams = 1_000

// reader reads parameters.
type reader struct{ *read.Reader }

// Read reads the list of typed parameters.
func Read(r *read.Reader, n *source.Node) []Param { return reader{r}.params(n) }

// Required reads names of parameters that a request has to give.
func Required(r *read.Reader, n *source.Node) []string { return reader{r}.requiredParams(n) }
