package draw_test

import (
	"bytes"
	"encoding/xml"
	"errors"
	"flag"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/formicary/formicary/libs/jobspec"
	"github.com/formicary/formicary/libs/jobspec/plan"
	"github.com/formicary/formicary/libs/jobspec/value"
	"github.com/formicary/formicary/services/formicary/internal/draw"
)

var update = flag.Bool("update", false, "write the golden files anew")

// golden compares text with a file.
func golden(t *testing.T, name string, got []byte) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if *update {
		if err := os.WriteFile(path, got, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), string(got)); diff != "" {
		t.Errorf("%s: %s", name, diff)
	}
}

// pictured has every kind of node and edge.
func pictured() *plan.Plan {
	route := func(key string, targets ...string) plan.Route { return plan.Route{Key: key, Targets: targets} }
	return &plan.Plan{JobType: "io.formicary.pictured", Tasks: []plan.Task{
		{Name: "fetch", Method: "HTTP_GET", Routes: []plan.Route{route("404", "EXECUTING"), route("5xx", "FATAL"), route("COMPLETED", "build", "test"), route("*", "FATAL")}},
		{Name: "build", Method: "SHELL", FanOut: &plan.FanOut{Items: make([]any, 6), Matrix: true}, Routes: []plan.Route{route("COMPLETED", "approve")}},
		{Name: "test", Method: "SHELL", FanOut: &plan.FanOut{Source: "suites"}, DependsOn: []string{"fetch"}, Routes: []plan.Route{route("COMPLETED", "approve"), route("FAILED", "approve", "report")}},
		{Name: "approve", Method: "MANUAL", Approval: &plan.Approval{MinApprovals: 2}, Routes: []plan.Route{route("APPROVED", "deploy"), route("REJECTED", "report")}},
		{Name: "deploy", Method: "FORK_JOB", Fork: &plan.Fork{JobType: "io.formicary.deploy"}},
		{Name: "report", Method: "SHELL", AlwaysRun: true, When: "tasks.fetch.exit_code == 0", DependsOn: []string{"fetch", "deploy"}},
		{Name: "clean", Method: "SHELL", AlwaysRun: true},
	}}
}

func TestDrawings(t *testing.T) {
	p := pictured()
	golden(t, "pictured.mmd", []byte(draw.Mermaid(p)))
	golden(t, "pictured.dot", []byte(draw.DOT(p)))
	golden(t, "pictured.svg", draw.SVG(p))
	for range 5 {
		if again := pictured(); draw.Mermaid(again) != draw.Mermaid(p) || draw.DOT(again) != draw.DOT(p) || !bytes.Equal(draw.SVG(again), draw.SVG(p)) {
			t.Fatal("a drawing differs from one time to the next")
		}
	}
}

// FuzzDraw draws names that no definition may have: a plan can come from elsewhere.
func FuzzDraw(f *testing.F) {
	for _, name := range []string{
		`a"b`, `a]-->b`, `a"]:::x`, "a\nb --> c", `<script>alert(1)</script>`, `</svg>`, `&amp;`, `a\" -> b`, `a\`, `#quot;`, "`x`",
		`%%{init: {}}%%`, "a\x00b\x1b", "click n0 href", "end", "]]>", "\xff\xfe", `"];evil[label="`, "subgraph", "é😀", `';--`,
	} {
		f.Add(name)
	}
	f.Fuzz(func(t *testing.T, name string) {
		p := &plan.Plan{JobType: name, Tasks: []plan.Task{
			{Name: name, Method: name, Routes: []plan.Route{{Key: name, Targets: []string{"other"}}, {Key: "*", Targets: []string{"ERR_" + name}}}},
			{Name: "other", Method: "FORK_JOB", Fork: &plan.Fork{JobType: name}, FanOut: &plan.FanOut{Source: name}},
		}}
		checkSVG(t, draw.SVG(p))
		checkLines(t, draw.Mermaid(p), mermaidLine)
		checkLines(t, draw.DOT(p), dotLine)
	})
}

// TestDrawTheDefinitionWithEverything draws what uses all of the language.
func TestDrawTheDefinitionWithEverything(t *testing.T) {
	text, err := os.ReadFile("../../../../libs/jobspec/testdata/every_field.yaml")
	if err != nil {
		t.Fatal(err)
	}
	def, _, err := jobspec.Parse("every_field.yaml", text)
	if err != nil {
		t.Fatal(err)
	}
	params, err := def.CheckParams(value.Vars{"branch": "main/a"})
	if err != nil {
		t.Fatal(err)
	}
	maps.Copy(params, value.Vars{"FullDate": "2026-07-01", "JobID": "1", "UserID": "ann", "OrganizationID": "org"})
	p, err := def.Plan(params)
	if err != nil {
		t.Fatal(err)
	}
	checkSVG(t, draw.SVG(p))
	checkLines(t, draw.Mermaid(p), mermaidLine)
	checkLines(t, draw.DOT(p), dotLine)
}

var (
	mermaidLine = regexp.MustCompile(`^(flowchart TD|  n\d+[\[({\\>/]+"[^"<>\x60&]*(<br/>[^"<>\x60&]*)?"[\])}\\/]+(:::[a-z]+)?|  n\d+ (-->|-\.->|-->\|"[^"<>\x60&]*"\|) n\d+|  classDef [a-z]+ [a-z0-9#:, -]+)$`)
	dotLine     = regexp.MustCompile(`^(digraph "([^"\\]|\\["\\n])*" \{|  (rankdir|node|edge)\b.*;|  n\d+ \[label="([^"\\]|\\["\\n])*"(, [a-z]+=[a-z0-9]+)*\];|  n\d+ -> n\d+( \[(style=dashed|label="([^"\\]|\\["\\n])*")\])?;|\})$`)
)

func checkLines(t *testing.T, text string, allowed *regexp.Regexp) {
	t.Helper()
	for line := range strings.Lines(text) {
		if !allowed.MatchString(strings.TrimSuffix(line, "\n")) {
			t.Errorf("the line breaks out: %q", line)
		}
	}
}

// checkSVG reads the picture as XML with the elements that are drawn and no others.
func checkSVG(t *testing.T, text []byte) {
	t.Helper()
	decoder := xml.NewDecoder(bytes.NewReader(text))
	for {
		token, err := decoder.Token()
		if errors.Is(err, io.EOF) {
			return
		}
		if err != nil {
			t.Errorf("no XML: %v in %s", err, text)
			return
		}
		start, ok := token.(xml.StartElement)
		if !ok {
			continue
		}
		switch start.Name.Local {
		case "svg", "title", "style", "defs", "marker", "path", "g", "rect", "polygon", "text":
		default:
			t.Errorf("the element %s", start.Name.Local)
		}
		for _, a := range start.Attr {
			if strings.HasPrefix(a.Name.Local, "on") || strings.Contains(a.Name.Local, "href") {
				t.Errorf("the attribute %s", a.Name.Local)
			}
		}
	}
}

// TestDrawLarge draws plans of the largest size. Each drawing takes some hundredths of a second; the limit only finds what
// is no longer linear, beside other tests and under the race detector too.
func TestDrawLarge(t *testing.T) {
	const n = 10_000
	named := func(i int) string { return fmt.Sprintf("t%d", i) }
	plans := map[string]*plan.Plan{"chain": {}, "fan": {}, "pairs": {}, "layers": {}, "cycle": {}}
	for i := range n {
		add := func(rendered string, targets ...string) {
			task := plan.Task{Name: named(i), Method: "SHELL"}
			if len(targets) > 0 {
				task.Routes = []plan.Route{{Key: "COMPLETED", Targets: targets}}
			}
			plans[rendered].Tasks = append(plans[rendered].Tasks, task)
		}
		var layer []string
		for k := range 20 {
			if next := (i/20+1)*20 + k; next < n {
				layer = append(layer, named(next))
			}
		}
		add("layers", layer...)
		add("cycle", named((i+1)%n))
		if i == n-1 {
			add("chain")
			add("fan")
		} else {
			add("chain", named(i+1))
			add("fan", named(n-1))
		}
		if i%2 == 0 {
			add("pairs", named(i+1))
		} else {
			add("pairs")
		}
	}
	for name, p := range plans {
		begin := time.Now()
		mermaid, dot, svg := draw.Mermaid(p), draw.DOT(p), draw.SVG(p)
		took := time.Since(begin)
		t.Logf("%s: %v, %d bytes", name, took, len(svg))
		if took > 15*time.Second {
			t.Errorf("%s: %v", name, took)
		}
		checkSVG(t, svg)
		if len(mermaid) > 200_000 || len(dot) > 200_000 || len(svg) > 2_000_000 {
			t.Errorf("%s: %d, %d and %d bytes", name, len(mermaid), len(dot), len(svg))
		}
		if name == "fan" && !strings.Contains(mermaid, "9999 tasks") || name == "chain" && !strings.Contains(mermaid, "9700 tasks left out") {
			t.Errorf("%s: %.400s", name, mermaid)
		}
	}
}

func TestDrawNothing(t *testing.T) {
	p := &plan.Plan{}
	checkSVG(t, draw.SVG(p))
	checkLines(t, draw.Mermaid(p), mermaidLine)
	checkLines(t, draw.DOT(p), dotLine)
}
