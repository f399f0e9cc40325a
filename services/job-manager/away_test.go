package jobmanager_test

import (
	"fmt"
	"sync"
	"testing"

	"google.golang.org/grpc/codes"

	"github.com/formicary/formicary/libs/errs"
	"github.com/formicary/formicary/libs/rpc"
	jobv1 "github.com/formicary/formicary/proto/gen/formicary/job/v1"
)

// When connections of the database are ended, calls are told to come again, never that something is broken; what was
// acknowledged is there, and what was sent with a key is there once.
func TestConnectionsOfTheDatabaseEnd(t *testing.T) {
	c := newColony(t)
	c.upload(job("j", ""))
	var mu sync.Mutex
	acknowledged := map[string]bool{}
	refused := 0
	var wg sync.WaitGroup
	for k := range 8 {
		wg.Go(func() {
			for i := range 25 {
				if k == 0 && i%4 == 3 {
					_, _ = c.pool.Exec(c.Context(), `SELECT pg_terminate_backend(pid) FROM pg_stat_activity
						WHERE datname = current_database() AND pid <> pg_backend_pid()`)
				}
				key := fmt.Sprint(k, "-", i)
				res, err := c.requests.SubmitJob(c.Context(), &jobv1.SubmitJobRequest{JobType: "j", IdempotencyKey: key})
				mu.Lock()
				switch code := rpc.ToStatus(err).Code(); {
				case err == nil:
					acknowledged[res.GetRequest().GetId()] = true
				case errs.CodeOf(err) == errs.CodeUnavailable || code == codes.DeadlineExceeded:
					refused++
				default:
					t.Errorf("%v", err)
				}
				mu.Unlock()
				if _, err := c.requests.ListJobRequests(c.Context(), &jobv1.ListJobRequestsRequest{}); err != nil && errs.CodeOf(err) != errs.CodeUnavailable {
					t.Errorf("list: %v", err)
				}
			}
		})
	}
	wg.Wait()
	if n := c.count(`SELECT count(*) FROM request`); n < len(acknowledged) || n > 200 {
		t.Errorf("%d are acknowledged, %d stored", len(acknowledged), n)
	}
	if len(acknowledged) < 100 {
		t.Errorf("%d acknowledged, %d were to come again", len(acknowledged), refused)
	}
}
