package supervisor_test

import (
	"context"
	"slices"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/formicary/formicary/libs/testkit"
	antv1 "github.com/formicary/formicary/proto/gen/formicary/ant/v1"
	executionv1 "github.com/formicary/formicary/proto/gen/formicary/execution/v1"
)

// claimer is an ant whose claims the test makes itself.
type claimer struct {
	w       *world
	id      string
	session string
}

func (w *world) newClaimer(id string, slots int) *claimer {
	c := &claimer{w: w, id: id, session: uuid.NewString()}
	w.slots.set(id, c.session, slots)
	return c
}

// placed waits until attempts of the tasks are placed and returns their uids.
func (c *claimer) placed(tasks ...string) []string {
	c.w.t.Helper()
	uids := make([]string, len(tasks))
	for i, task := range tasks {
		testkit.Eventually(c.w.t, 20*time.Second, task+" is placed", func() bool {
			return c.w.pool.QueryRow(c.w.t.Context(), `SELECT a.uid::text FROM attempt a JOIN task t ON t.execution_id = a.execution_id AND t.idx = a.task_idx
				WHERE t.name = $1 AND a.state IN ('DISPATCHED', 'RUNNING')`, task).Scan(&uids[i]) == nil
		})
	}
	return uids
}

func (c *claimer) claim(limit time.Duration, partial bool, uids ...string) ([]*antv1.Work, error) {
	ctx, cancel := context.WithTimeout(c.w.t.Context(), limit)
	defer cancel()
	res, err := c.w.attempts.Claim(ctx, &antv1.ClaimRequest{AntId: c.id, Session: c.session, Uids: uids, Partial: partial})
	return res.GetWorks(), err
}

func (c *claimer) ends(uid string, r *antv1.Result) {
	r.Uid, r.AntId, r.Session = uid, c.id, c.session
	c.w.publish("formicary.result.0", r)
}

// TestATemplateThatAsksForLongKeepsNoOther: what is claimed together with it is answered, and the claim that comes again
// goes on where the last one ended.
func TestATemplateThatAsksForLongKeepsNoOther(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	const most = 3 // that is answered in one claim
	left := make(chan struct{}, most)
	refill := func() {
		for len(left) < most {
			left <- struct{}{}
		}
	}
	w.children.templates = func(ctx context.Context, _ string) error {
		select {
		case <-left:
			return nil
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	id := w.admitText(`job_type: job
tasks:
- task_type: find
  method: SHELL
  script: [find]
  on_completed: [slow, quick]
- task_type: slow
  method: SHELL
  script: ['echo {{if .Rows}}{{range $i := Iterate 8}}{{SubmitJob "other" "d" (printf "A=%v" $i)}} {{end}}{{end}}']
- task_type: quick
  method: SHELL
  script: ['echo {{.Rows}}']
`)
	c := w.newClaimer("ant1", 8)
	first := c.placed("find")[0]
	if _, err := c.claim(10*time.Second, true, first); err != nil {
		t.Fatal(err)
	}
	c.ends(first, &antv1.Result{Outcome: antv1.Result_SUCCEEDED, Outputs: map[string]string{"Rows": "many"}})
	uids := c.placed("slow", "quick")
	refill()
	works, err := c.claim(5*time.Second, true, uids...)
	if err != nil || len(works) != 2 || works[0].GetUid() != uids[0] || works[0].GetLater() == "" || works[0].GetSpec() != nil {
		t.Fatalf("%v, %v", works, err)
	}
	if works[1].GetLater() != "" || !slices.Equal(works[1].GetSpec().GetScript(), []string{"echo many"}) {
		t.Errorf("the other: %v", works[1])
	}
	refill()
	if works, err = c.claim(3*time.Second, false, uids...); err == nil {
		t.Errorf("an ant that knows nothing of it: %v, %v", works, err)
	}
	refill()
	works, err = c.claim(10*time.Second, true, uids...)
	if err != nil || works[0].GetLater() != "" || len(works[0].GetSpec().GetScript()) != 1 {
		t.Fatalf("in the end: %v, %v", works, err)
	}
	w.children.mu.Lock()
	if n := w.children.asked["other"]; n < 8 || n > 8+4 { // those that were not answered are asked again
		t.Errorf("%d submissions", n)
	}
	w.children.mu.Unlock()
	for _, uid := range uids {
		c.ends(uid, success())
	}
	w.becomes(id, executionv1.Execution_COMPLETED)
	w.settled()
}
