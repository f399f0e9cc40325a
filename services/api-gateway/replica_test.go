package apigateway_test

import (
	"testing"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	jobv1 "github.com/formicary/formicary/proto/gen/formicary/job/v1"
)

// TestWatchGoesOnAtAnotherReplica comes back with the id of one gateway to another one that heard the same.
func TestWatchGoesOnAtAnotherReplica(t *testing.T) {
	a := start(t)
	also := func(s *setting) { s.nats = a.nats }
	b := start(t, also)
	began := time.Now()
	tell := func(version int64, after time.Duration, s jobv1.JobRequest_State) {
		a.publish("formicary.event.job.changed", &jobv1.RequestChanges{Changes: []*jobv1.RequestChanged{
			{RequestId: id, OrgId: "default", JobType: "etl", Run: 1, Version: version, State: s, Time: timestamppb.New(began.Add(after))},
		}})
	}
	here, there := a.events(""), b.events("")
	hello := want(t, here, "hello")[0]
	want(t, there, "hello")
	tell(1, 10*time.Second, jobv1.JobRequest_PENDING)
	tell(2, 60*time.Second, jobv1.JobRequest_READY)
	seen := want(t, here, "request PENDING", "request READY")
	tell(3, 61*time.Second, jobv1.JobRequest_EXECUTING)
	tell(4, 9*time.Second, jobv1.JobRequest_COMPLETED) // late: its publisher died and another one found it
	want(t, there, "request PENDING", "request READY", "request EXECUTING", "request COMPLETED")

	// What is not surely known to the client comes again, what came long before does not, and what came late does.
	again := b.events("", "Last-Event-ID: "+seen[1].ID)
	if got := want(t, again, "hello", "request READY", "request EXECUTING", "request COMPLETED"); got[0].Message != "" {
		t.Errorf("the other replica knows of nothing missing, but says: %s", got[0].Message)
	}
	// The same gateway is exact.
	again = a.events("", "Last-Event-ID: "+seen[1].ID)
	if got := want(t, again, "hello", "request EXECUTING", "request COMPLETED"); got[0].Message != "" {
		t.Errorf("the same replica says: %s", got[0].Message)
	}
	// One that began later cannot know what came before, and says so.
	if got := want(t, start(t, also).events("", "Last-Event-ID: "+hello.ID), "hello"); got[0].Message == "" {
		t.Error("a replica that began later says that nothing is missing")
	}
}
