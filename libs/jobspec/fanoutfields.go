package jobspec

import (
	"fmt"
	"strings"

	"github.com/formicary/formicary/libs/jobspec/fanout"
	"github.com/formicary/formicary/libs/jobspec/plan"
	"github.com/formicary/formicary/libs/jobspec/schema"
	"github.com/formicary/formicary/libs/jobspec/source"
	"github.com/formicary/formicary/libs/jobspec/template"
	"github.com/formicary/formicary/libs/jobspec/value"
)

// fanOut reads fan_out and matrix together.
func (r *taskFieldReader) fanOut(n *source.Node) {
	at, matrix := n.Get("fan_out"), n.Get("matrix")
	if r.flow.itemNames == nil {
		return
	}
	f := &plan.FanOut{ItemVar: fanout.ItemVar(n), Matrix: matrix != nil && matrix.Kind != source.Null}
	r.t.task.FanOut = f
	if at != nil {
		r.Mapping(at, func(p *source.Pair) { r.fanOutField(f, p) }, &source.Pair{Key: "fan_out"})
	}
	if r.Moment.Item {
		return // the list would be read once for each of its items
	}
	src, items := at.Get("source"), at.Get("items")
	var list fanout.List
	switch {
	case f.Matrix:
		if src != nil || items != nil {
			r.Fault(at, source.CodeConflict, "matrix and a list of fan_out are both given", "one of them")
		}
		r.decidedBy(func() { list = fanout.Matrix(r.Reader, matrix) })
	case src == nil && items == nil:
		r.Fault(at, source.CodeMissingField, "the field source is missing", "source, the variable with the list, or items, the list itself")
	case src != nil && items != nil:
		r.Fault(src, source.CodeConflict, "source and items are both given", "one of them")
	case items != nil:
		r.decidedBy(func() { list = fanout.Inline(r.Reader, items) })
	default:
		r.decidedBy(func() { f.Source, list = fanout.Source(r.Reader, src) })
		if task, found := strings.CutSuffix(f.Source, plan.ResultsSuffix); found {
			r.flow.resultsOf, r.flow.resultsAt = task, src
		}
	}
	f.Items, r.flow.itemsKnown, r.flow.matrixNames = list.Items, list.Known, list.Labels
	if f.MinSuccess > 0 && r.flow.itemsKnown && f.MinSuccess > len(f.Items) {
		r.Warn(at.Line, at.Column, source.CodeInvalidValue, "min_success is more than there are items", fmt.Sprintf("at most %d", len(f.Items)))
	}
}

func (r *taskFieldReader) fanOutField(f *plan.FanOut, p *source.Pair) {
	n := p.Value
	switch p.Key {
	case "source", "items":
	case "item_var":
		name := r.Literal(n, "item_var", value.MaxName)
		if name != "" && r.Name(name, n.Line, n.Column) && template.IsBuiltin(name) {
			r.Fault(n, source.CodeInvalidName, source.QuoteName(name)+" is a built-in variable", "another name")
		}
	case "max_parallel":
		f.MaxParallel, _ = r.Integer(n, 0, plan.MaxItems)
	case "fail_fast":
		f.FailFast = r.Flag(n)
	case "min_success":
		fanout.MinSuccess(r.Reader, f, n)
	case "fork_job_type":
		r.flow.jobMode = true
		r.decidedBy(func() { r.forkType(n) })
	case "fork_job_version":
		r.decidedBy(func() { r.forkVersion(p) })
	default:
		r.Unknown(p, schema.FanOut)
	}
}
