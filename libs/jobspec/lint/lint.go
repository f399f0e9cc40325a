package lint

import (
	"regexp/syntax"
	"slices"
	"strings"

	"github.com/formicary/formicary/libs/jobspec/environ"
	"github.com/formicary/formicary/libs/jobspec/param"
	"github.com/formicary/formicary/libs/jobspec/plan"
	"github.com/formicary/formicary/libs/jobspec/read"
	"github.com/formicary/formicary/libs/jobspec/source"
	"github.com/formicary/formicary/libs/jobspec/template"
	"github.com/formicary/formicary/libs/jobspec/value"
)

// maxPasted bounds the warnings about scripts: they must not crowd faults out.
const maxPasted = 50

// linter warns of values that whoever submits a job chooses, and that become text of a script.
type linter struct {
	*read.Reader
	taint  *template.Taint
	params map[string]*param.Param
	// job and own are the variables to which the job and the task give a value: their nodes.
	job, own map[string]*source.Node
	outputs  map[string]bool // names that tasks give, as far as it can be seen
	judged   map[string]bool // what untrusted said of the variables of the task, and of the job
	warned   int
	// all are the variables of any task, required the parameters that a request has to give.
	all, required map[string]bool
}

// Job is what the reading of a job gave.
type Job struct {
	Params   []param.Param
	Required []string      // the parameters that a request has to give
	Needed   []read.Needed // what must be known when the job starts
}

// Warn adds to the problems of a job that r has read: warnings, and a fault for what can never be rendered. taint is of the
// program that gave the shape; without one there is nothing to say.
func Warn(r *read.Reader, taint *template.Taint, job Job) {
	list := r.Shape.Root.Get("tasks")
	if taint == nil || list == nil {
		return
	}
	l := &linter{Reader: r, taint: taint, params: map[string]*param.Param{}, job: map[string]*source.Node{}}
	for i := range job.Params {
		l.params[job.Params[i].Name] = &job.Params[i]
	}
	for _, field := range [...]string{"configs", "variables", "job_variables"} {
		l.define(r.Shape.Root.Get(field), l.job)
	}
	l.outputs = l.outputNames(list)
	l.all, l.required = map[string]bool{}, map[string]bool{}
	for _, name := range job.Required {
		l.required[name] = true
	}
	for _, n := range list.Items {
		l.own, l.judged = map[string]*source.Node{}, map[string]bool{}
		l.define(n.Get("task_variables"), l.own)
		l.define(n.Get("variables"), l.own)
		l.items(n)
		l.task(n)
		for name := range l.own {
			l.all[name] = true
		}
	}
	l.hintUnset(list)
	l.never(job.Needed)
}

// define takes the variables of a mapping, or of a list of {name, value}.
func (l *linter) define(n *source.Node, into map[string]*source.Node) {
	if n == nil {
		return
	}
	for i := range n.Pairs {
		into[n.Pairs[i].Key] = n.Pairs[i].Value
	}
	for _, item := range n.Items {
		if name := item.Get("name"); name != nil {
			into[name.Text] = item.Get("value")
		}
	}
}

// given returns the value that the definition gives a variable.
func (l *linter) given(name string) (*source.Node, bool) {
	if n, ok := l.own[name]; ok {
		return n, true
	}
	n, ok := l.job[name]
	return n, ok
}

// items takes the variables of a fan-out's items: as far to be trusted as the list that they come from.
func (l *linter) items(n *source.Node) {
	if matrix := n.Get("matrix"); matrix != nil {
		l.own["matrix"] = matrix
		for i := range matrix.Pairs {
			l.own[matrix.Pairs[i].Key] = matrix.Pairs[i].Value
		}
	}
	fan := n.Get("fan_out")
	if fan == nil {
		return
	}
	name := "item"
	if v := fan.Get("item_var"); v != nil {
		name = v.Text
	}
	list := fan.Get("items")
	if src := fan.Get("source"); src != nil {
		if src.Kind == source.Scalar && l.untrusted(src.Text) {
			return // and so are the items
		}
		list = nil
	}
	l.own[name] = list
}

// outputNames finds what scripts say to set, and what tasks declare.
func (l *linter) outputNames(list *source.Node) map[string]bool {
	out := map[string]bool{}
	for _, n := range list.Items {
		if declared := n.Get("outputs"); declared != nil {
			for i := range declared.Pairs {
				out[declared.Pairs[i].Key] = true
			}
			for _, item := range declared.Items {
				out[item.Text] = true
				if name := item.Get("name"); name != nil {
					out[name.Text] = true
				}
			}
		}
		for _, field := range scriptFields() {
			n.Get(field).EachScalar(func(line *source.Node) { outputsOf(line.Text, out) })
		}
	}
	delete(out, "")
	return out
}

// outputsOf reads the two ways in which a script gives an output.
func outputsOf(line string, out map[string]bool) {
	const command = "::set-output name="
	for rest := line; ; {
		_, after, ok := strings.Cut(rest, command)
		if !ok {
			break
		}
		name, _, _ := strings.Cut(after, "::")
		out[name], rest = true, after
	}
	if !strings.Contains(line, "FORMICARY_OUTPUT") {
		return
	}
	for word := range strings.FieldsFuncSeq(line, func(r rune) bool { return r <= ' ' || r == '"' || r == '\'' }) {
		if name, _, ok := strings.Cut(word, "="); ok {
			out[name] = true
		}
	}
}

func scriptFields() [3]string { return [...]string{"before_script", "script", "after_script"} }

// task looks at the scripts of one task.
func (l *linter) task(n *source.Node) {
	if m := n.Get("method"); m != nil && m.Kind == source.Scalar && !m.Templated && !plan.IsScript(strings.ToUpper(m.Text)) {
		return
	}
	for _, field := range scriptFields() {
		n.Get(field).EachScalar(func(line *source.Node) {
			for _, s := range l.printed(line) {
				for _, name := range l.taint.Prints[s] {
					if l.untrusted(name) {
						l.pasted(s, name)
					}
				}
			}
		})
	}
}

// printed lists the actions whose values stand in a node.
func (l *linter) printed(n *source.Node) []*template.Stmt { return l.Shape.Sources(n.Text) }

func (l *linter) pasted(s *template.Stmt, name string) {
	if l.warned++; l.warned > maxPasted {
		return
	}
	line, column := l.Source.At(s.From)
	p := source.Problem{
		Line: line, Column: column, Code: source.CodeUntrustedInScript, Field: name, Warning: true,
		Message:  "the value of " + name + " becomes part of a script: whoever gives it can run commands of their own",
		Expected: "shellquote",
	}
	if name == template.Everything {
		p.Field, p.Message = "", "the values of variables become part of a script: whoever gives them can run commands of their own"
	}
	if value.IsEnvName(name) && !environ.Reserved(name) && !environ.Own(name) {
		p.Expected += `, or the variable of the environment: "$` + name + `"`
	}
	l.Collector.Add(p)
}

// untrusted says that a variable's text is chosen by whoever submits the job or fires its trigger.
func (l *linter) untrusted(name string) bool {
	if name == template.Everything {
		return true
	}
	if said, ok := l.judged[name]; ok {
		return said
	}
	l.judged[name] = false // if it is made of itself
	said := l.judge(name)
	l.judged[name] = said
	return said
}

func (l *linter) judge(name string) bool {
	base, _, _ := strings.Cut(name, ".")
	for _, n := range [...]string{name, base} {
		if p := l.params[n]; p != nil {
			return !narrow(p)
		}
	}
	for _, n := range [...]string{name, base} {
		if val, ok := l.given(n); ok {
			return l.carries(val)
		}
	}
	return !template.IsBuiltin(base) && !l.outputs[base] && !setByEngine(name)
}

// carries says that a value of the definition is made of one that is not to be trusted.
func (l *linter) carries(n *source.Node) bool {
	found := false
	n.EachScalar(func(n *source.Node) {
		for _, s := range l.printed(n) {
			found = found || slices.ContainsFunc(l.taint.Prints[s], l.untrusted)
		}
	})
	return found
}

// setByEngine names the outputs that no script chooses.
func setByEngine(name string) bool {
	if _, ok := template.ArtifactTask(name); ok {
		return true
	}
	switch name {
	case "FanOutItemCount", "FanOutSource", "FanOutMode":
		return true
	}
	return strings.HasSuffix(name, ".ForkedJobID") || strings.HasSuffix(name, plan.StatusSuffix) || strings.HasSuffix(name, plan.ResultsSuffix)
}

// narrow says that the values a parameter allows mean nothing to a shell.
func narrow(p *param.Param) bool {
	switch p.Type {
	case param.TypeInt, param.TypeNumber, param.TypeBool, param.TypeEnum, param.TypeDuration:
		return true
	}
	if len(p.Enum) > 0 {
		return true
	}
	if p.Pattern == "" {
		return false
	}
	re, err := syntax.Parse(p.Pattern, syntax.Perl)
	return err == nil && plainText(re)
}

// plainText says that all texts which match an expression are made of letters, digits and a few harmless signs.
func plainText(re *syntax.Regexp) bool {
	plain := func(r rune) bool {
		return r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || strings.ContainsRune("_-.,:/@%+=", r)
	}
	switch re.Op {
	case syntax.OpAnyChar, syntax.OpAnyCharNotNL:
		return false
	case syntax.OpLiteral:
		return !slices.ContainsFunc(re.Rune, func(r rune) bool { return !plain(r) })
	case syntax.OpCharClass:
		for i := 0; i+1 < len(re.Rune); i += 2 {
			if re.Rune[i+1]-re.Rune[i] > 128 {
				return false
			}
			for r := re.Rune[i]; r <= re.Rune[i+1]; r++ {
				if !plain(r) {
					return false
				}
			}
		}
	default:
	}
	return !slices.ContainsFunc(re.Sub, func(sub *syntax.Regexp) bool { return !plainText(sub) })
}
