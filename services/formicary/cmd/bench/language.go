package main

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/formicary/formicary/libs/jobspec"
	"github.com/formicary/formicary/libs/jobspec/value"
)

// items runs one job with a fan-out over a list that its first task finds, for growing numbers of items.
func items(ctx context.Context, c *colony, rep report) error {
	const yaml = `job_type: bench-items
params:
  - {name: count, type: int, required: true}
tasks:
  - task_type: list
    method: SHELL
    script:
      - printf 'numbers=[%s]\n' "$(seq -s, 1 "$count")" >> "$FORMICARY_OUTPUT"
    on_completed: each
  - task_type: each
    method: SHELL
    fan_out: {source: numbers, item_var: n}
    script: ["true"]
`
	if err := c.define(ctx, yaml); err != nil {
		return err
	}
	for _, n := range []int{1000, 3000, 10000} {
		row := fmt.Sprintf("w6_%d", n)
		mem := peak(c.rss)
		cpu, began := c.cpu(), time.Now()
		id, err := c.submit(ctx, fmt.Sprintf(`bench-items","params":{"count":%d},"description":"`, n))
		rep.set(row, "accepted_s", time.Since(began).Seconds())
		if err != nil {
			mem()
			return err
		}
		e, err := c.wait(ctx, id)
		rep.set(row, "rss_mib", mem())
		if err != nil {
			return err
		}
		took := e.at.Sub(began)
		rep.set(row, "total_s", took.Seconds())
		rep.set(row, "ms_per_item", float64(took.Microseconds())/1000/float64(n))
		rep.set(row, "cpu_ms_per_item", float64((c.cpu()-cpu).Microseconds())/1000/float64(n))
	}
	return nil
}

// language measures the reading of definitions in this process: a check of 2,000 lines, and the rendering of one task
// of fifty when it is claimed.
func language(_ context.Context, _ *colony, rep report) error {
	lint, err := median(15, func() error {
		_, _, err := jobspec.Parse("long.yaml", []byte(long(2000)))
		return err
	})
	if err != nil {
		return err
	}
	def, _, err := jobspec.Parse("templated.yaml", []byte(templated(50)))
	if err != nil {
		return err
	}
	vars := value.Vars{"JobID": "x", "branch": "main", "t0_out": "value"}
	claim, err := median(200, func() error {
		_, err := def.Task("t25", vars)
		return err
	})
	if err != nil {
		return err
	}
	rep.set("language", "lint_ms", lint)
	rep.set("language", "claim_ms", claim)
	return nil
}

// median time of f in milliseconds.
func median(rounds int, f func() error) (float64, error) {
	took := make([]time.Duration, 0, rounds)
	for range rounds {
		began := time.Now()
		if err := f(); err != nil {
			return 0, err
		}
		took = append(took, time.Since(began))
	}
	return quantile(took, 0.5), nil
}

// long is a definition of about that many lines, with templates.
func long(lines int) string {
	var b strings.Builder
	b.WriteString("job_type: bench-long\nparams:\n  - {name: branch, type: string, default: main}\ntasks:\n")
	const each = 10
	n := lines / each
	for i := range n {
		fmt.Fprintf(&b, "  - task_type: t%d\n    method: SHELL\n    retry: 2\n    environment:\n      BRANCH: \"{{.branch}}\"\n", i)
		fmt.Fprintf(&b, "    script:\n      - echo \"building {{.branch | shellquote}}\"\n      - make all\n")
		if i+1 < n {
			fmt.Fprintf(&b, "    on_completed: t%d\n    when: params.branch != \"none\"\n", i+1)
		}
	}
	return b.String()
}

// templated is a definition whose tasks print variables that only a claim knows.
func templated(tasks int) string {
	var b strings.Builder
	b.WriteString("job_type: bench-templated\nparams:\n  - {name: branch, type: string, default: main}\ntasks:\n")
	for i := range tasks {
		fmt.Fprintf(&b, "  - task_type: t%d\n    method: SHELL\n    script:\n      - echo {{.branch | shellquote}}\n", i)
		if i > 0 {
			b.WriteString("      - echo {{.t0_out | shellquote}}\n")
		}
		if i+1 < tasks {
			fmt.Fprintf(&b, "    on_completed: t%d\n", i+1)
		}
	}
	return b.String()
}
