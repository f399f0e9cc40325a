package draw

import (
	"fmt"
	"strconv"
	"strings"
	"unicode"

	"github.com/formicary/formicary/libs/jobspec/plan"
)

// Mermaid draws the plan as a flowchart in the language of mermaid.js.
func Mermaid(p *plan.Plan) string {
	d := of(p)
	var b strings.Builder
	b.WriteString("flowchart TD\n")
	used := map[figure]bool{}
	for i, n := range d.nodes {
		open, closing, class := mermaidShape(n.figure)
		label := mermaidText(shortened(n.name))
		if n.detail != "" {
			label += "<br/>" + mermaidText(shortened(n.detail))
		}
		fmt.Fprintf(&b, "  n%d%s\"%s\"%s", i, open, label, closing)
		if class != "" {
			b.WriteString(":::" + class)
			used[n.figure] = true
		}
		b.WriteByte('\n')
	}
	for _, e := range d.edges {
		switch {
		case e.data:
			fmt.Fprintf(&b, "  n%d -.-> n%d\n", e.from, e.to)
		case e.label == "":
			fmt.Fprintf(&b, "  n%d --> n%d\n", e.from, e.to)
		default:
			fmt.Fprintf(&b, "  n%d -->|\"%s\"| n%d\n", e.from, mermaidText(shortened(e.label)), e.to)
		}
	}
	for f := figureTask; f <= figureNote; f++ {
		if _, _, class := mermaidShape(f); used[f] {
			b.WriteString("  classDef " + class + " " + mermaidStyle(f) + "\n")
		}
	}
	return b.String()
}

func mermaidShape(f figure) (open, closing, class string) {
	switch f {
	case figureCleanup:
		return `[\`, `/]`, "always"
	case figureFanOut:
		return `[[`, `]]`, "fanout"
	case figureFork:
		return `{{`, `}}`, "fork"
	case figureApproval:
		return `{`, `}`, "approval"
	case figureAction:
		return `([`, `])`, "action"
	case figureNote:
		return `>`, `]`, "note"
	case figureTask:
	}
	return `[`, `]`, ""
}

func mermaidStyle(f figure) string {
	switch f {
	case figureCleanup:
		return "stroke-dasharray:4 2"
	case figureFanOut:
		return "stroke:#0969da"
	case figureFork:
		return "stroke:#8250df"
	case figureApproval:
		return "stroke:#bf8700"
	case figureAction:
		return "stroke:#6e7781,stroke-width:1px"
	case figureNote:
		return "stroke:#cf222e"
	case figureTask:
	}
	return "stroke-width:1px"
}

// mermaidText writes what is neither a letter, a digit nor harmless as the number of its character.
func mermaidText(text string) string {
	var b strings.Builder
	for _, c := range text {
		switch {
		case unicode.IsLetter(c), unicode.IsDigit(c), strings.ContainsRune(" _.,:/+=@%-…×*", c):
			b.WriteRune(c)
		default:
			fmt.Fprintf(&b, "#%d;", c)
		}
	}
	return b.String()
}

// DOT draws the plan in the language of Graphviz.
func DOT(p *plan.Plan) string {
	d := of(p)
	var b strings.Builder
	fmt.Fprintf(&b, "digraph %s {\n", dotText(shortened(p.JobType)))
	b.WriteString("  rankdir=TB;\n  node [shape=box, style=rounded, fontname=\"sans-serif\"];\n  edge [fontname=\"sans-serif\", fontsize=10];\n")
	for i, n := range d.nodes {
		label := shortened(n.name)
		if n.detail != "" {
			label += "\n" + shortened(n.detail)
		}
		fmt.Fprintf(&b, "  n%d [label=%s%s];\n", i, dotText(label), dotShape(n.figure))
	}
	for _, e := range d.edges {
		fmt.Fprintf(&b, "  n%d -> n%d", e.from, e.to)
		switch {
		case e.data:
			b.WriteString(" [style=dashed]")
		case e.label != "":
			b.WriteString(" [label=" + dotText(shortened(e.label)) + "]")
		}
		b.WriteString(";\n")
	}
	b.WriteString("}\n")
	return b.String()
}

func dotShape(f figure) string {
	switch f {
	case figureCleanup:
		return `, shape=invtrapezium, style=dashed`
	case figureFanOut:
		return `, shape=box3d, style=solid`
	case figureFork:
		return `, shape=hexagon, style=solid`
	case figureApproval:
		return `, shape=diamond, style=solid`
	case figureAction:
		return `, shape=oval, style=solid, fontsize=11`
	case figureNote:
		return `, shape=note, style=solid`
	case figureTask:
	}
	return ""
}

// dotText quotes text: quotes and backslashes are the only characters that mean something in it.
func dotText(text string) string {
	return `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`, "\n", `\n`).Replace(text) + `"`
}

// number writes a coordinate.
func number(f float64) string { return strconv.FormatFloat(f, 'f', 1, 64) }
