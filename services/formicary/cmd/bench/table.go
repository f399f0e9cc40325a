package main

import (
	"fmt"
	"io"
	"text/tabwriter"
)

// figure says how a value is shown and what it should reach on an idle machine of two cores.
type figure struct {
	row, key, what, unit string
	digits               int
	target               string
	reached              func(float64) bool
}

func atMost(limit float64) func(float64) bool  { return func(v float64) bool { return v <= limit } }
func atLeast(limit float64) func(float64) bool { return func(v float64) bool { return v >= limit } }

// figures in the order of the table.
func figures() []figure {
	return []figure{
		{"floor", "exec_per_s", "fork and exec of /bin/true", "/s", 0, "", nil},
		{"floor", "commit_us", "PostgreSQL commit of one row", "µs", 0, "", nil},
		{"floor", "nats_us", "JetStream publish, deliver, confirm", "µs", 0, "", nil},
		{"up", "first_ready_s", "up on an empty directory", "s", 2, "", nil},
		{"up", "ready_s", "up on an initialised directory", "s", 2, "≤ 2", atMost(2)},
		{"up", "idle_rss_mib", "memory when idle, without PostgreSQL", "MiB", 0, "≤ 250", atMost(250)},
		{"w1", "p50_ms", "one job at a time, median", "ms", 1, "≤ 15", atMost(15)},
		{"w1", "p95_ms", "one job at a time, 95th percentile", "ms", 1, "≤ 40", atMost(40)},
		{"w2", "jobs_per_s", "jobs by many clients", "/s", 0, "≥ 350", atLeast(350)},
		{"w2", "cpu_ms_per_job", "processor time of a job", "ms", 2, "", nil},
		{"w2", "peak_rss_mib", "memory of everything, peak", "MiB", 0, "", nil},
		{"w3", "chain_ms_per_hop", "chain of 50, per hop", "ms", 1, "≤ 6", atMost(6)},
		{"w3", "fan100_ms", "fan-out of 100", "ms", 0, "≤ 400", atMost(400)},
		{"w4", "submits_per_s", "submissions", "/s", 0, "≥ 1500", atLeast(1500)},
		{"w5", "total_s", "one job of many tasks", "s", 1, "≤ 15", atMost(15)},
		{"w5", "rss_mib", "its memory, without PostgreSQL", "MiB", 0, "≤ 300", atMost(300)},
		{"w6_1000", "ms_per_item", "fan-out of 1,000, per item", "ms", 2, "", nil},
		{"w6_1000", "cpu_ms_per_item", "its processor time, per item", "ms", 2, "", nil},
		{"w6_3000", "ms_per_item", "fan-out of 3,000, per item", "ms", 2, "", nil},
		{"w6_3000", "cpu_ms_per_item", "its processor time, per item", "ms", 2, "", nil},
		{"w6_10000", "accepted_s", "fan-out of 10,000, accepted", "s", 3, "≤ 5", atMost(5)},
		{"w6_10000", "total_s", "fan-out of 10,000", "s", 1, "≤ 60", atMost(60)},
		{"w6_10000", "ms_per_item", "fan-out of 10,000, per item", "ms", 2, "", nil},
		{"w6_10000", "cpu_ms_per_item", "its processor time, per item", "ms", 2, "", nil},
		{"w6_10000", "rss_mib", "its memory, without PostgreSQL", "MiB", 0, "≤ 500", atMost(500)},
		{"run", "claim_10", "hop beside 10 completed tasks", "ms", 1, "", nil},
		{"run", "claim_10000", "hop beside 10,000 completed tasks", "ms", 1, "≤ 6", atMost(6)},
		{"docker", "floor_ms", "a container made, started and removed by a bare client", "ms", 1, "", nil},
		{"docker", "p50_ms", "one job in a container at a time, median", "ms", 1, "", nil},
		{"docker", "over_ms", "the difference", "ms", 1, "≤ 60", atMost(60)},
		{"artifact", "floor_mib_per_s", "plain copy of a file of 2 GiB, synced", "MiB/s", 0, "", nil},
		{"artifact", "up_mib_per_s", "artifact of 2 GiB, upload", "MiB/s", 0, "≥ 150", atLeast(150)},
		{"artifact", "down_mib_per_s", "artifact of 2 GiB, download", "MiB/s", 0, "≥ 150", atLeast(150)},
		{"artifact", "rss_growth_mib", "memory that it takes, store and services too", "MiB", 0, "", nil},
		{"artifact", "ant_memory", "memory that it takes of an ant alone", "MiB", 0, "≤ 64", atMost(64)},
		{"artifact", "small_up_s", "artifact of 20,000 files, upload", "s", 1, "≤ 20", atMost(20)},
		{"artifact", "small_down_s", "artifact of 20,000 files, download", "s", 1, "≤ 20", atMost(20)},
		{"artifact", "piece_p50_ms", "4 KiB out of 2 GiB, median", "ms", 1, "≤ 200", atMost(200)},
		{"ants", "reserve_10000_1_ms", "one place among 10,000 ants", "ms", 1, "≤ 10", atMost(10)},
		{"ants", "reserve_10000_256_ms", "256 places among 10,000 ants", "ms", 1, "≤ 10", atMost(10)},
		{"ants", "heartbeats_2000", "2,000 beats a second, of one core", "%", 0, "≤ 20", atMost(20)},
		{"cache", "floor_s", "500 MB in 50 files, copied", "s", 2, "", nil},
		{"cache", "store_s", "stored as a cache", "s", 2, "", nil},
		{"cache", "restore_s", "restored from the object store", "s", 2, "≤ 5", atMost(5)},
		{"cache", "local_s", "restored from the ant's copy", "s", 2, "≤ 2", atMost(2)},
		{"language", "lint_ms", "check of a definition of 2,000 lines", "ms", 1, "≤ 100", atMost(100)},
		{"language", "claim_ms", "rendering of a task at its claim, 50 tasks", "ms", 3, "≤ 0.5", atMost(0.5)},
		{"mask", "floor_mb_per_s", "plain copy of the text of a log", "MB/s", 0, "", nil},
		{"mask", "mb_per_s", "the same, in which 100 secrets are looked for", "MB/s", 0, "≥ 200", atLeast(200)},
		{"mask", "ready_ms", "what looks for 100 secrets, made", "ms", 1, "", nil},
		{"log", "sh_s", "a shell prints 100 MB to a file", "s", 2, "", nil},
		{"log", "print_s", "a task prints 100 MB, submitted to ended", "s", 2, "", nil},
		{"log", "print_ratio", "the same, against the shell", "", 1, "", nil},
		{"log", "tail_file_ms", "tail: last 100 lines of the file", "ms", 1, "", nil},
		{"log", "tail_ms", "last 100 lines of the log", "ms", 1, "≤ 100", atMost(100)},
		{"log", "grep_ms", "grep in the file", "ms", 1, "", nil},
		{"log", "search_ms", "search of all of the log", "ms", 1, "≤ 1000", atMost(1000)},
		{"log", "live_p50_ms", "from the write of a line to who follows, median", "ms", 1, "≤ 200", atMost(200)},
		{"log", "live_p95_ms", "the same, 95th percentile", "ms", 1, "≤ 200", atMost(200)},
		{"history", "fill_s", "finished jobs, 3.3 attempts each, are written", "s", 0, "", nil},
		{"history", "w1_p50_ms", "one job at a time beside them, median", "ms", 1, "", nil},
		{"history", "w1_p50_ratio", "the same, against an empty colony", "", 2, "≤ 1.10", atMost(1.10)},
		{"history", "cpu_ms_per_job", "processor time of a job beside them", "ms", 2, "", nil},
		{"history", "cpu_per_job_ratio", "the same, against an empty colony", "", 2, "≤ 1.10", atMost(1.10)},
		{"w1_silence", "p50_ms", "first job after silence", "ms", 1, "≤ 15", atMost(15)},
	}
}

// printTable writes one line per figure that was measured.
func printTable(w io.Writer, rep report) error {
	t := tabwriter.NewWriter(w, 0, 4, 2, ' ', 0)
	_, _ = fmt.Fprintln(t, "ROW\tFIGURE\tVALUE\tTARGET\t")
	for _, f := range figures() {
		v, ok := rep[f.row][f.key]
		if !ok {
			continue
		}
		mark := ""
		if f.reached != nil && !f.reached(v) {
			mark = "missed"
		}
		_, _ = fmt.Fprintf(t, "%s\t%s\t%.*f %s\t%s\t%s\n", f.row, f.what, f.digits, v, f.unit, f.target, mark)
	}
	return t.Flush()
}
