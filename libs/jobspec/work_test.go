package jobspec

import (
	"strings"
	"testing"
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
		c := &collector{}
		l := newLines([]byte(text))
		p := compileTemplate(text, c, l)
		if p == nil {
			t.Fatalf("%s: %v", name, c.list)
		}
		s := &scope{}
		x := &exec{machine: newMachine(s), program: p, shape: &shape{}}
		_, err := x.list(p.body, &frame{rootDot: true, rootRoot: true})
		if err == nil {
			t.Errorf("%s: ran to its end", name)
		}
		const slack = 100_000 // of the step that passed the bound
		if x.steps > maxSteps+1 || x.work > maxWork+slack || x.text > maxOutput+slack || len(x.shape.text) > maxOutput || x.depth > maxCalls+1 {
			t.Errorf("%s: steps %d work %d text %d depth %d", name, x.steps, x.work, x.text, x.depth)
		}
	}
}
