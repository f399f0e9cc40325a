// Command bench measures the colony from outside, the way a client meets it: it starts `formicary up` on a fresh data
// directory, drives it over REST, watches the end of jobs by the event stream and prints one table beside the floor
// of the same machine (bare fork and exec, a PostgreSQL commit, a NATS round trip).
//
//	bench --formicary bin/formicary --out .bench/latest.json
//
// Rows: w1 one job at a time, w2 many jobs by 16 clients, w3 chain and fan-out, w4 submit rate, w5 one job of 5,000
// tasks, w6 one job with a fan-out of 1,000, 3,000 and 10,000 items, docker (where an engine answers), artifact, cache, ants, log (100 MB), language (check and
// rendering of definitions), mask (secrets in the text of a log), idle start and memory, floor, history (a colony with 300,000 finished jobs, a million attempts, beside an empty one).
// --silence D measures the first job after D without any.
package main

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"time"
)

type options struct {
	formicary string
	out       string
	only      string
	jobs      int
	clients   int
	wide      int
	history   int
	silence   time.Duration
}

// report is the content of the output file: one object per row.
type report map[string]map[string]float64

func (r report) set(row, key string, v float64) {
	if r[row] == nil {
		r[row] = map[string]float64{}
	}
	r[row][key] = v
}

func main() {
	var o options
	flag.StringVar(&o.formicary, "formicary", "bin/formicary", "the binary to measure")
	flag.StringVar(&o.out, "out", ".bench/latest.json", "where the figures go, as JSON")
	flag.StringVar(&o.only, "only", "", "rows to measure, for example w1,w3; empty means all")
	flag.IntVar(&o.jobs, "jobs", 1000, "jobs of w2")
	flag.IntVar(&o.clients, "clients", 16, "clients of w2 and w4")
	flag.IntVar(&o.wide, "wide", 5000, "tasks of w5")
	flag.IntVar(&o.history, "history", 300_000, "finished jobs of the history")
	flag.DurationVar(&o.silence, "silence", 0, "silence before one more w1 job is measured")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	err := run(ctx, o)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, o options) error {
	rep := report{}
	if err := measureFloor(ctx, rep); err != nil {
		return fmt.Errorf("measure the floor: %w", err)
	}
	c, err := startColony(ctx, o.formicary, rep)
	if err != nil {
		return err
	}
	defer c.stop()
	for _, w := range workloads(o) {
		fmt.Fprintf(os.Stderr, "bench: %s\n", w.title)
		if err := w.run(ctx, c, rep); err != nil {
			return fmt.Errorf("%s: %w", w.title, err)
		}
	}
	if err := save(o.out, rep); err != nil {
		return err
	}
	return printTable(os.Stdout, rep)
}

func save(path string, rep report) error {
	raw, err := json.MarshalIndent(rep, "", "  ")
	if err != nil {
		return fmt.Errorf("encode figures: %w", err)
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil { // #nosec G301 -- figures are no secret
		return fmt.Errorf("make folder of figures: %w", err)
	}
	return os.WriteFile(path, append(raw, '\n'), 0o644) // #nosec G306 -- figures are no secret
}
