package jobmanager_test

import (
	"testing"

	jobv1 "github.com/formicary/formicary/proto/gen/formicary/job/v1"
)

// BenchmarkSubmit submits a job of one task from 64 clients, or one at a time.
func BenchmarkSubmit(b *testing.B) {
	c := newColony(b)
	c.upload(job("j", ""))
	req := &jobv1.SubmitJobRequest{JobType: "j"}
	b.Run("clients=64", func(b *testing.B) {
		b.SetParallelism(32)
		b.RunParallel(func(p *testing.PB) {
			for p.Next() {
				if _, err := c.requests.SubmitJob(b.Context(), req); err != nil {
					b.Error(err)
					return
				}
			}
		})
		b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "submits/s")
	})
	b.Run("clients=1", func(b *testing.B) {
		for b.Loop() {
			if _, err := c.requests.SubmitJob(b.Context(), req); err != nil {
				b.Fatal(err)
			}
		}
	})
}

// BenchmarkReadQueue reads the heads beside 100,000 pending, finished and sleeping requests each.
func BenchmarkReadQueue(b *testing.B) {
	c := newColony(b)
	c.fill(c.upload(job("j", "")).GetId(), 300_000)
	for b.Loop() {
		c.queue(100)
	}
}
