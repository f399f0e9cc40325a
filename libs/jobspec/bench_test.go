package jobspec_test

import (
	"fmt"
	"maps"
	"strings"
	"testing"

	"github.com/formicary/formicary/libs/jobspec/value"
)

const oneTask = `job_type: one
tasks:
  - task_type: a
    method: SHELL
    script: ["true"]
`

// chain makes a definition of n tasks, each leading to the next.
func chain(n int) string {
	var b strings.Builder
	b.WriteString("job_type: chain\ntasks:\n")
	for i := range n {
		fmt.Fprintf(&b, "  - task_type: t%d\n    method: SHELL\n    script: ['true']\n", i)
		if i+1 < n {
			fmt.Fprintf(&b, "    on_completed: t%d\n", i+1)
		}
	}
	return b.String()
}

const wide = `job_type: wide
tasks:
{{range $i := Iterate 5000}}
  - task_type: t{{$i}}
    method: SHELL
    script: ['echo {{$i}} {{$.JobID}}']
    on_completed: join
{{end}}
  - task_type: join
    method: SHELL
    script: ['true']
`

func BenchmarkPlan(b *testing.B) {
	for _, c := range []struct{ name, text string }{
		{"static", oneTask},
		{"values", strings.Replace(oneTask, "true", "echo {{.x}}", 1)},
		{"wide", wide},
		{"chain10000", chain(10000)},
	} {
		b.Run(c.name, func(b *testing.B) {
			def := parse(b, c.text)
			vars := value.Vars{"JobID": "j", "x": "y"}
			b.ReportAllocs()
			for b.Loop() {
				if _, err := def.Plan(vars); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func BenchmarkPlanCold(b *testing.B) {
	vars := value.Vars{"JobID": "j"}
	for b.Loop() {
		b.StopTimer()
		def := parse(b, strings.Replace(wide, "5000", "$.n", 1))
		vars["n"] = 5000
		b.StartTimer()
		if _, err := def.Plan(vars); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkTask(b *testing.B) {
	def := parse(b, wide)
	vars := value.Vars{"JobID": "j"}
	b.ReportAllocs()
	for b.Loop() {
		if _, err := def.Task("t4000", vars); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkParse(b *testing.B) {
	for _, c := range []struct{ name, text string }{{"one", oneTask}, {"wide", wide}, {"chain10000", chain(10000)}} {
		b.Run(c.name, func(b *testing.B) {
			for b.Loop() {
				parse(b, c.text)
			}
		})
	}
}

// fifty is a definition as people write them: a loop makes its 50 tasks, which print parameters and use conditions.
const fifty = `job_type: fifty
params: [{name: Region, default: eu}, {name: Debug, type: bool, default: false}]
job_variables: {Image: app, Version: 1.2.3, Targets: [a, b, c]}
tasks:
{{- range $i := Iterate 50}}
  - task_type: step-{{$i}}
    method: SHELL
    tags: [linux]
    timeout: 10m
    retry: 2
    environment:
      REGION: {{$.Region}}
      STEP: {{$i}}
    {{- if $.Debug}}
      DEBUG: 1
    {{- end}}
    variables: {attempt: '{{$.JobRetry}}', image: '{{$.Image}}:{{$.Version}}'}
    before_script: ['cd {{shellquote $.Region}}']
    script:
    {{- range $.Targets}}
      - 'deploy {{.}} --image {{shellquote $.Image}} --step {{$i}} --job {{$.JobID}}'
    {{- end}}
      - 'report {{$.JobRetry}}'
    {{- if lt $i 49}}
    on_completed: step-{{Add $i 1}}
    {{- end}}
{{- end}}
`

// BenchmarkTaskOfFifty is what a claim pays; it should stay below half a millisecond.
func BenchmarkTaskOfFifty(b *testing.B) {
	def := parse(b, fifty)
	plan, err := def.Plan(value.Vars{"JobID": "j", "Region": "eu", "Debug": false})
	if err != nil {
		b.Fatal(err)
	}
	for _, cold := range []bool{false, true} {
		b.Run(fmt.Sprintf("cold=%t", cold), func(b *testing.B) {
			vars := maps.Clone(plan.Vars)
			vars["JobRetry"] = 1
			b.ReportAllocs()
			for i := 0; b.Loop(); i++ {
				if cold { // conditions see other values: the text is rendered again
					vars["Debug"] = strings.Repeat("x", 1+i%9)
				}
				if _, err := def.Task("step-33", vars); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
