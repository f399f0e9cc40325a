package main

import (
	"context"
	"fmt"
	"math"
	"os"
	"slices"
	"strings"
	"sync"
	"time"
)

type workload struct {
	title string
	run   func(context.Context, *colony, report) error
}

// workloads are in the order in which they run.
func workloads(o options) []workload {
	all := []struct {
		key string
		workload
	}{
		{"w1", workload{"w1: one job at a time", func(ctx context.Context, c *colony, r report) error { return oneByOne(ctx, c, r, "w1", 200) }}},
		{"w2", workload{"w2: jobs by many clients", func(ctx context.Context, c *colony, r report) error { return many(ctx, c, r, "w2", o.jobs, o.clients) }}},
		{"w3", workload{"w3: chain of 50 and fan-out of 100", shapes}},
		{"w4", workload{"w4: submissions", func(ctx context.Context, c *colony, r report) error { return submissions(ctx, c, r, o.clients) }}},
		{"w5", workload{"w5: one wide job", func(ctx context.Context, c *colony, r report) error { return wide(ctx, c, r, o.wide) }}},
		{"w6", workload{"w6: fan-out over 1,000 to 10,000 items", items}},
		{"run", workload{"run: a hop beside 10 and 10,000 completed tasks", late}},
		{"docker", workload{"docker: one job in a container at a time", containers}},
		{"artifact", workload{"artifact: 2 GiB and 20,000 files from task to task", artifacts}},
		{"cache", workload{"cache: 500 MB stored, restored, restored from the ant's copy", caches}},
		{"ants", workload{"ants: reservations and beats with 10,000 ants", ants}},
		{"log", workload{"log: a log of 100 MB, and one that is followed", func(ctx context.Context, c *colony, r report) error { return logs(ctx, o.formicary, c, r) }}},
		{"language", workload{"language: check and rendering of definitions", language}},
		{"mask", workload{"mask: secrets in the text of a log", masking}},
		{"history", workload{fmt.Sprintf("history: %d finished jobs beside none", o.history), func(ctx context.Context, _ *colony, r report) error { return history(ctx, o, r) }}},
	}
	var out []workload
	for _, w := range all {
		if o.only == "" || slices.Contains(strings.Split(o.only, ","), w.key) {
			out = append(out, w.workload)
		}
	}
	if o.silence > 0 {
		out = append(out, workload{"w1 after silence", func(ctx context.Context, c *colony, r report) error {
			select {
			case <-time.After(o.silence):
			case <-ctx.Done():
				return ctx.Err()
			}
			return oneByOne(ctx, c, r, "w1_silence", 1)
		}})
	}
	return out
}

const noop = `job_type: bench-noop
tasks:
  - task_type: noop
    method: SHELL
    script:
      - "true"
`

// oneByOne submits a job, waits for its end and submits the next.
func oneByOne(ctx context.Context, c *colony, rep report, row string, n int) error {
	if err := c.define(ctx, noop); err != nil {
		return err
	}
	warm := min(20, n-1)
	took, err := c.each(ctx, "bench-noop", n+warm)
	if err != nil {
		return err
	}
	took = took[warm:]
	rep.set(row, "p50_ms", quantile(took, 0.50))
	rep.set(row, "p95_ms", quantile(took, 0.95))
	return nil
}

// each returns how long n jobs of a type take, one at a time.
func (c *colony) each(ctx context.Context, jobType string, n int) ([]time.Duration, error) {
	took := make([]time.Duration, n)
	for i := range took {
		began := time.Now()
		id, err := c.submit(ctx, jobType)
		if err != nil {
			return nil, err
		}
		e, err := c.wait(ctx, id)
		if err != nil {
			return nil, err
		}
		took[i] = e.at.Sub(began)
	}
	return took, nil
}

// quantile of the durations in milliseconds.
func quantile(d []time.Duration, q float64) float64 {
	slices.Sort(d)
	i := int(math.Ceil(q*float64(len(d)))) - 1
	return float64(d[max(i, 0)]) / float64(time.Millisecond)
}

// many submits n jobs from several clients as fast as they are accepted and waits for all ends.
func many(ctx context.Context, c *colony, rep report, row string, n, clients int) error {
	if err := c.define(ctx, noop); err != nil {
		return err
	}
	mem := peak(c.footprint)
	cpu, began := c.cpu(), time.Now()
	ids, err := submitAll(ctx, c, "bench-noop", n, clients)
	if err != nil {
		mem()
		return err
	}
	var last time.Time
	for i, id := range ids {
		e, err := c.wait(ctx, id)
		if err != nil {
			mem()
			return err
		}
		if e.at.After(last) {
			last = e.at
		}
		if n > 5000 && i%5000 == 0 {
			fmt.Fprintf(os.Stderr, "bench: %d of %d ended\n", i, n)
		}
	}
	took := last.Sub(began)
	rep.set(row, "jobs_per_s", float64(n)/took.Seconds())
	rep.set(row, "cpu_ms_per_job", float64((c.cpu()-cpu).Milliseconds())/float64(n))
	rep.set(row, "peak_rss_mib", mem())
	return nil
}

// submitAll returns the ids of n new requests, made by several clients.
func submitAll(ctx context.Context, c *colony, jobType string, n, clients int) ([]string, error) {
	var (
		wg    sync.WaitGroup
		mu    sync.Mutex
		ids   []string
		first error
	)
	next := make(chan struct{}, n)
	for range n {
		next <- struct{}{}
	}
	close(next)
	for range clients {
		wg.Go(func() {
			for range next {
				id, err := c.submit(ctx, jobType)
				mu.Lock()
				if err != nil && first == nil {
					first = err
				}
				ids = append(ids, id)
				stop := first != nil
				mu.Unlock()
				if stop {
					return
				}
			}
		})
	}
	wg.Wait()
	return ids, first
}

// shapes runs a chain of 50 tasks and one task followed by 100 parallel ones.
func shapes(ctx context.Context, c *colony, rep report) error {
	const hops, branches, rounds = 50, 100, 5
	if err := c.define(ctx, chain("bench-chain", hops)); err != nil {
		return err
	}
	if err := c.define(ctx, fan("bench-fan", branches)); err != nil {
		return err
	}
	perHop, err := repeated(ctx, c, "bench-chain", rounds)
	if err != nil {
		return err
	}
	fanOut, err := repeated(ctx, c, "bench-fan", rounds)
	if err != nil {
		return err
	}
	rep.set("w3", "chain_ms_per_hop", perHop/hops)
	rep.set("w3", "fan100_ms", fanOut)
	return nil
}

// repeated returns the median time of a job in milliseconds.
func repeated(ctx context.Context, c *colony, jobType string, rounds int) (float64, error) {
	var took []time.Duration
	for range rounds {
		began := time.Now()
		id, err := c.submit(ctx, jobType)
		if err != nil {
			return 0, err
		}
		e, err := c.wait(ctx, id)
		if err != nil {
			return 0, err
		}
		took = append(took, e.at.Sub(began))
	}
	return quantile(took, 0.5), nil
}

func task(b *strings.Builder, name string, lines ...string) {
	fmt.Fprintf(b, "  - task_type: %s\n    method: SHELL\n    script: [\"true\"]\n", name)
	for _, l := range lines {
		fmt.Fprintf(b, "    %s\n", l)
	}
}

func chain(jobType string, n int) string {
	var b strings.Builder
	fmt.Fprintf(&b, "job_type: %s\ntasks:\n", jobType)
	for i := range n {
		if i == n-1 {
			task(&b, fmt.Sprintf("t%d", i))
			continue
		}
		task(&b, fmt.Sprintf("t%d", i), fmt.Sprintf("on_completed: t%d", i+1))
	}
	return b.String()
}

func fan(jobType string, n int) string {
	var b strings.Builder
	fmt.Fprintf(&b, "job_type: %s\ntasks:\n", jobType)
	names := make([]string, n)
	for i := range names {
		names[i] = fmt.Sprintf("t%d", i)
	}
	task(&b, "start", "on_completed: ["+strings.Join(names, ", ")+"]")
	for _, name := range names {
		task(&b, name)
	}
	return b.String()
}

// submissions measures how fast requests are accepted; they are scheduled far away, so that nothing else runs.
func submissions(ctx context.Context, c *colony, rep report, clients int) error {
	const n = 5000
	began := time.Now()
	if _, err := submitAll(ctx, c, `bench-noop","scheduled_at":"2099-01-01T00:00:00Z`, n, clients); err != nil {
		return err
	}
	rep.set("w4", "submits_per_s", n/time.Since(began).Seconds())
	return nil
}

// wide runs one job of many parallel tasks.
func wide(ctx context.Context, c *colony, rep report, n int) error {
	yaml := fmt.Sprintf(`job_type: bench-wide
dynamic_template_tasks: true
tasks:
{{- range $i := Iterate %d }}
  - task_type: t{{ $i }}
    method: SHELL
    script: ["true"]
{{- end }}
`, n)
	if err := c.define(ctx, yaml); err != nil {
		return err
	}
	mem := peak(c.rss)
	began := time.Now()
	id, err := c.submit(ctx, "bench-wide")
	if err != nil {
		mem()
		return err
	}
	e, err := c.wait(ctx, id)
	rep.set("w5", "rss_mib", mem())
	if err != nil {
		return err
	}
	rep.set("w5", "total_s", e.at.Sub(began).Seconds())
	return nil
}
