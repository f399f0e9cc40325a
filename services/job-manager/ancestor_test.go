package jobmanager_test

import (
	"slices"
	"strings"
	"testing"

	jobv1 "github.com/formicary/formicary/proto/gen/formicary/job/v1"
)

// A request that waits for a place which its own ancestor holds says so: that one may wait for it.
func TestExplainNamesTheAncestorThatHoldsThePlace(t *testing.T) {
	c := newColony(t)
	c.upload(job("a", "max_concurrency: 1\n"))
	c.upload(job("b", ""))
	parent := c.submit(&jobv1.SubmitJobRequest{JobType: "a"})
	c.admit(parent.GetId())
	middle := c.get(c.fork(childOf(parent, "k1", "b"))[0].GetRequestId())
	c.admit(middle.GetId())
	child := c.fork(childOf(middle, "k2", "a"))[0].GetRequestId()
	other := c.submit(&jobv1.SubmitJobRequest{JobType: "a"}).GetId()
	for id, kin := range map[string]bool{child: true, other: false} {
		res, err := c.requests.ExplainJobRequest(t.Context(), &jobv1.ExplainJobRequestRequest{Id: id})
		if err != nil {
			t.Fatal(err)
		}
		w := res.GetRequest().GetWait()
		if w.GetGate() != jobv1.Gate_GATE_CONCURRENCY || !slices.Contains(w.GetHolders(), parent.GetId()) || len(w.GetHolders()) != 1 ||
			strings.Contains(w.GetReason(), parent.GetId()+" is its own ancestor") != kin {
			t.Errorf("%s waits: %v", id, w)
		}
	}
}
