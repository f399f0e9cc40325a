package jobspec_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/formicary/formicary/libs/jobspec"
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
			vars := jobspec.Vars{"JobID": "j", "x": "y"}
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
	vars := jobspec.Vars{"JobID": "j"}
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
	vars := jobspec.Vars{"JobID": "j"}
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
