package jobspec

import (
	"fmt"
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

// TestShapesAreReused counts renderings of the text: only what conditions and loops look at makes a new one.
func TestShapesAreReused(t *testing.T) {
	def, _, err := Parse("f", []byte(`job_type: j
job_variables: {greeting: hello}
tasks:
{{range $i := Iterate .n}}
  - {task_type: 't{{$i}}', method: SHELL, script: 'echo {{$.greeting}} {{$.who}}'}
{{end}}
`))
	if err != nil {
		t.Fatal(err)
	}
	shapeOf := func(vars Vars) *shape {
		_, sh := def.open(vars, nil, &collector{})
		return sh
	}
	first := shapeOf(Vars{"n": 1000, "who": "a"})
	if again := shapeOf(Vars{"n": "1000", "who": "b", "JobRetry": 1}); again == first {
		t.Error("text and number are different values")
	}
	if again := shapeOf(Vars{"n": 1000.0, "who": "b", "JobRetry": 1}); again != first {
		t.Error("a printed variable made a new shape")
	}
	if other := shapeOf(Vars{"n": 999, "who": "a"}); other == first {
		t.Error("another count did not make a new shape")
	}
	// The late rendering of one task costs that task.
	s, sh := def.open(Vars{"n": 1000, "who": "a"}, nil, &collector{})
	r := def.reader(&collector{}, sh, s)
	list := sh.root.get("tasks")
	i, ok := r.find(list, "t777")
	task := r.task(list.items[i], r.extent(list, i), 0)
	if !ok || task.task.Spec.Script[0] != "echo hello a" || r.m.work > 20 {
		t.Errorf("%v %+v, work %d", ok, task.task.Spec, r.m.work)
	}
	for n := range 20 {
		shapeOf(Vars{"n": n})
	}
	if len(def.shapes) > maxKept {
		t.Errorf("%d shapes are kept", len(def.shapes))
	}
}

func TestLines(t *testing.T) {
	text := []byte("aé\n\nüü\r\nx" + strings.Repeat("é", 500) + "y\n")
	l := newLines(text)
	line, column := 1, 1
	for i, r := range string(text) {
		if a, b := l.at(i); a != line || b != column {
			t.Fatalf("offset %d: %d:%d, want %d:%d", i, a, b, line, column)
		}
		if got := l.offset(line, column); got != i {
			t.Fatalf("%d:%d is at %d, want %d", line, column, got, i)
		}
		if column++; r == '\n' {
			line, column = line+1, 1
		}
	}
	for _, breaks := range []string{"\r", "\u0085", "\u2028", "\u2029", "\r\n"} {
		y := newYAMLLines([]byte("a" + breaks + "b" + breaks + "c"))
		if len(y.starts) != 3 || y.offset(3, 1) != 2+2*len(breaks) {
			t.Errorf("%q: %v", breaks, y.starts)
		}
	}
}

func TestNearest(t *testing.T) {
	for name, want := range map[string]string{"scripd": "script", "tag": "tags", "timeot": "timeout", "xyzzy": "", strings.Repeat("x", 200): ""} {
		if got := nearest(name, namesOf(taskTable())); got != want {
			t.Errorf("%.20s: %q, want %q", name, got, want)
		}
	}
}

func TestProblemsAreBounded(t *testing.T) {
	c := &collector{file: "f"}
	for i := range 1000 {
		c.add(Problem{Line: 1000 - i, Message: fmt.Sprint(i)})
		c.add(Problem{Line: 1000 - i, Message: fmt.Sprint(i)})
	}
	_, err := c.split()
	if ps, ok := err.(Problems); !ok || len(ps) != maxProblems || ps[0].Line > ps[1].Line { //nolint:errorlint // split returns it so
		t.Errorf("%v", err)
	}
}
