package apigateway_test

import (
	"io"
	"net/http"
	"strings"
	"testing"

	"google.golang.org/protobuf/types/known/structpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	jobv1 "github.com/formicary/formicary/proto/gen/formicary/job/v1"
	"github.com/formicary/formicary/services/api-gateway/internal/limit"
)

// BenchmarkGet measures one request by three ways; the difference between REST or gRPC and direct is what the
// gateway costs, HTTP client and loopback connection included.
func BenchmarkGet(b *testing.B) {
	w := start(b)
	params, err := structpb.NewStruct(map[string]any{"table": "orders", "day": "2026-11-01", "limit": 100})
	if err != nil {
		b.Fatal(err)
	}
	w.peers.when(jobs+"GetJobRequest", one(&jobv1.GetJobRequestResponse{Request: &jobv1.JobRequest{
		Id: id, OrgId: "default", JobType: "etl", DefinitionId: other, DefinitionVersion: 3, State: jobv1.JobRequest_EXECUTING, Run: 1, Version: 4,
		Priority: 50, Params: params, CreatedBy: "local", CreatedAt: timestamppb.Now(), UpdatedAt: timestamppb.Now(), StartedAt: timestamppb.Now(),
	}}))
	b.Run("direct", func(b *testing.B) {
		client := jobv1.NewJobRequestServiceClient(w.direct)
		for b.Loop() {
			if _, err := client.GetJobRequest(b.Context(), &jobv1.GetJobRequestRequest{Id: id}); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("gRPC", func(b *testing.B) {
		client := jobv1.NewJobRequestServiceClient(w.grpc)
		for b.Loop() {
			if _, err := client.GetJobRequest(b.Context(), &jobv1.GetJobRequestRequest{Id: id}); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("REST", func(b *testing.B) {
		for b.Loop() {
			w.fetch(b, http.MethodGet, "/api/v1/jobs/requests/"+id, "")
		}
	})
	b.Run("REST submit", func(b *testing.B) {
		for b.Loop() {
			w.fetch(b, http.MethodPost, "/api/v1/jobs/requests", `{"job_type":"etl","params":{"table":"orders","day":"2026-11-01","limit":100}}`)
		}
	})
	b.Run("floor", func(b *testing.B) { // HTTP alone
		for b.Loop() {
			w.fetch(b, http.MethodGet, "/livez", "")
		}
	})
}

// BenchmarkAuthorisation compares a call that says nothing of its caller, where callers are believed, with one that brings an API token, where
// they are not: the difference is what it costs to know who calls.
func BenchmarkAuthorisation(b *testing.B) {
	unlimited := func(s *setting) { s.conf.Limits.Credential, s.conf.Limits.Org = limit.Rate{}, limit.Rate{} }
	answer := one(&jobv1.GetJobRequestResponse{Request: &jobv1.JobRequest{Id: id, OrgId: "default", JobType: "etl"}})
	local, asked := start(b, unlimited), secured(b, unlimited)
	local.peers.when(jobs+"GetJobRequest", answer)
	asked.peers.when(jobs+"GetJobRequest", answer)
	token := field(b, asked.do("POST", "/api/v1/tokens", `{"name":"bench"}`, bearer(asked.root)), "secret")
	b.Run("local", func(b *testing.B) {
		for b.Loop() {
			local.fetch(b, http.MethodGet, "/api/v1/jobs/requests/"+id, "")
		}
	})
	b.Run("token", func(b *testing.B) {
		for b.Loop() {
			asked.fetch(b, http.MethodGet, "/api/v1/jobs/requests/"+id, "", "Bearer "+token)
		}
	})
}

func (w *world) fetch(b *testing.B, verb, path, body string, authorization ...string) {
	req, err := http.NewRequestWithContext(b.Context(), verb, w.base+path, strings.NewReader(body))
	if err != nil {
		b.Fatal(err)
	}
	for _, a := range authorization {
		req.Header.Set("Authorization", a)
	}
	res, err := w.http.Do(req)
	if err != nil {
		b.Fatal(err)
	}
	_, _ = io.Copy(io.Discard, res.Body)
	_ = res.Body.Close()
	if res.StatusCode != http.StatusOK {
		b.Fatal(res.Status)
	}
}

// BenchmarkEvent measures the way of an event from NATS to the client of an NDJSON stream.
func BenchmarkEvent(b *testing.B) {
	w := start(b)
	next := w.lines("/api/v1/events", "Accept: application/x-ndjson")
	next()
	var version int64
	for b.Loop() {
		version++
		w.publish("formicary.event.job.changed", &jobv1.RequestChanges{Changes: []*jobv1.RequestChanged{{RequestId: id, OrgId: "default", JobType: "etl", Run: 1, Version: version, State: jobv1.JobRequest_COMPLETED}}})
		if next() == "" {
			b.Fatal("the stream ended")
		}
	}
}
