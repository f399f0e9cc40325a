package jobspec_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/formicary/formicary/libs/jobspec"
	"github.com/formicary/formicary/libs/jobspec/condition"
	"github.com/formicary/formicary/libs/jobspec/plan"
	"github.com/formicary/formicary/libs/jobspec/value"
)

// longJob is a definition of about 2,000 lines with everything that costs something: templates, conditions, routes.
func longJob() string {
	var b strings.Builder
	b.WriteString("job_type: long\njob_variables: {region: eu, mode: fast}\nskip_if: params.mode == 'off'\ntasks:\n")
	for i := range 142 {
		fmt.Fprintf(&b, `  - task_type: t%d
    description: step %d of many
    method: SHELL
    tags: [linux]
    retry: 2
    retry_on: [75, timeout]
    when: params.mode != 'x%d' || job.retry > 0
    variables: {n: "%d"}
    environment: {REGION: "{{.region}}"}
    script:
      - echo {{.n}} {{.region}} {{.JobID}}
      - ./run --mode={{.mode}}
    {{if eq .mode "fast"}}
    timeout: 5m
`, i, i, i, i)
		b.WriteString("    {{end}}\n")
		if i < 141 {
			fmt.Fprintf(&b, "    on_completed: t%d\n", i+1)
		}
	}
	return b.String()
}

func BenchmarkLint2000(b *testing.B) {
	text := longJob()
	b.ReportMetric(float64(strings.Count(text, "\n")), "lines")
	for b.Loop() {
		if _, _, err := jobspec.Parse("job.yaml", []byte(text)); err != nil {
			b.Fatal(err)
		}
	}
}

// fiftyTasks is a templated definition of 50 tasks.
func fiftyTasks() string {
	var b strings.Builder
	b.WriteString("job_type: fifty\njob_variables: {region: eu, mode: fast}\ntasks:\n")
	for i := range 50 {
		fmt.Fprintf(&b, "  - task_type: t%d\n    method: SHELL\n    variables: {n: %d}\n    environment: {R: '{{.region}}'}\n    script: ['echo {{.n}} {{.JobID}} {{.version}}']\n    {{if eq .mode \"fast\"}}\n    timeout: 5m\n    {{end}}\n", i, i)
		if i < 49 {
			fmt.Fprintf(&b, "    on_completed: t%d\n", i+1)
		}
	}
	return b.String()
}

func BenchmarkClaim50(b *testing.B) {
	def := parse(b, fiftyTasks())
	vars := value.Vars{"JobID": "j", "version": "1"}
	b.ReportAllocs()
	for b.Loop() {
		if _, err := def.Task("t40", vars); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkDecide(b *testing.B) {
	def := parse(b, longJob())
	vars := value.Vars{"JobID": "j"}
	b.ReportAllocs()
	for b.Loop() {
		if _, err := def.Decide("t40", vars, condition.Facts{}); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkItems(b *testing.B) {
	def := parse(b, flowJob("method: SHELL\ntags: ['{{.item.os}}']\nscript: run {{.item.name}}\nfan_out: {source: list}"))
	for _, n := range []int{1000, 10_000} {
		list := make([]any, n)
		for i := range list {
			list[i] = map[string]any{"name": fmt.Sprint("n", i), "os": "linux"}
		}
		vars := value.Vars{"list": list}
		b.Run(fmt.Sprintf("decide%d", n), func(b *testing.B) {
			for b.Loop() {
				if _, err := def.Decide("a", vars, condition.Facts{}); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*n), "ns/item")
		})
	}
	b.Run("render", func(b *testing.B) {
		vars := value.Vars{"list": []any{}}
		item := plan.Item{Name: "a[1]", Value: map[string]any{"name": "n", "os": "linux"}}
		b.ReportAllocs()
		for b.Loop() {
			if _, err := def.Item("a", item, 1, vars); err != nil {
				b.Fatal(err)
			}
		}
	})
}
