package template

import (
	"strings"
	"testing"

	"github.com/formicary/formicary/libs/jobspec/source"
)

// TestWorkIsCounted runs templates without end and looks at what they did before they were stopped.
func TestWorkIsCounted(t *testing.T) {
	for name, text := range map[string]string{
		"loops":     `{{range Iterate 10000}}{{range Iterate 10000}}{{end}}{{end}}`,
		"work":      `{{range Iterate 10000}}` + strings.Repeat(`{{$x := lower "A"}}`, 1000) + `{{end}}`,
		"output":    `{{range Iterate 10000}}` + strings.Repeat("x", 10_000) + `{{end}}`,
		"calls":     `{{define "a"}}{{template "a"}}{{end}}{{template "a"}}`,
		"long text": `{{$x := "` + strings.Repeat("a", 100_000) + `"}}{{range Iterate 10000}}{{$y := upper $x}}{{end}}`,
		"numbers":   `{{range 1000000000000}}{{end}}`,
	} {
		c := &source.Collector{}
		l := source.NewLines([]byte(text))
		p := Compile(text, c, l)
		if p == nil {
			t.Fatalf("%s: %v", name, c.List)
		}
		s := &Scope{}
		x := &exec{Machine: NewMachine(s), program: p, shape: &Shape{}}
		_, err := x.list(p.body, &frame{rootDot: true, rootRoot: true})
		if err == nil {
			t.Errorf("%s: ran to its end", name)
		}
		const slack = 100_000 // of the step that passed the bound
		if x.steps > maxSteps+1 || x.Work > maxWork+slack || x.text > MaxOutput+slack || len(x.shape.Text) > MaxOutput || x.depth > maxCalls+1 {
			t.Errorf("%s: steps %d work %d text %d depth %d", name, x.steps, x.Work, x.text, x.depth)
		}
	}
}
