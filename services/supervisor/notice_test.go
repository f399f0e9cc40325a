package supervisor_test

import (
	"slices"
	"testing"

	"github.com/formicary/formicary/libs/bus"
	"github.com/formicary/formicary/libs/jobspec/plan"
	executionv1 "github.com/formicary/formicary/proto/gen/formicary/execution/v1"
)

// TestNoticesAreKeptUntilTheyAreStored: the bus is wiped after the commit, and what people asked to be told is still known.
func TestNoticesAreKeptUntilTheyAreStored(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.newAnt("ant1", 4, nil)
	hook := task("build", "ok")
	hook.Webhook = &plan.Webhook{URL: "https://example.com/hook", Headers: map[string]string{"a": "b"}}
	id := w.admit(planOf(hook, manual("ok", &plan.Approval{MinApprovals: 1, AllowedUsers: []string{"ann@example.com"}})))
	w.asked(id, "ok")
	w.settled()
	if err := w.js.DeleteStream(t.Context(), bus.Events); err != nil {
		t.Fatal(err)
	}
	take := func(stored ...string) (ids []string) {
		t.Helper()
		res, err := w.states.TakeNotices(t.Context(), &executionv1.TakeNoticesRequest{Stored: stored})
		if err != nil {
			t.Fatal(err)
		}
		for _, n := range res.GetNotices() {
			ids = append(ids, n.GetId())
			if n.GetRequestId() != id || n.GetRun() != 1 || n.GetOrgId() != "default" || (n.GetKind() == "task") != (len(n.GetWebhook()) > 0) ||
				(n.GetKind() == "approval") != slices.Equal(n.GetRecipients(), []string{"ann@example.com"}) || n.GetTime().GetSeconds() == 0 ||
				(n.GetKind() == "task") != (n.GetStartedAt() != nil && n.GetEndedAt() != nil) {
				t.Errorf("%v", n)
			}
		}
		return ids
	}
	if ids := take(); len(ids) != 0 {
		t.Errorf("%v are handed out before their event can have arrived", ids)
	}
	if _, err := w.pool.Exec(t.Context(), `INSERT INTO notice VALUES (gen_random_uuid(), 'no JSON', now() - interval '1 day');
		UPDATE notice SET created_at = created_at - interval '11 seconds'`); err != nil {
		t.Fatal(err)
	}
	ids := take()
	if len(ids) != 2 {
		t.Fatalf("%v are handed out, want two", ids)
	}
	if again := take(ids[0]); !slices.Equal(again, ids[1:]) {
		t.Errorf("%v are left of %v", again, ids)
	}
	if none := take(ids[1]); len(none) != 0 {
		t.Errorf("%v are left", none)
	}
	var n int
	if err := w.pool.QueryRow(t.Context(), `SELECT count(*) FROM quarantine WHERE kind = 'notice'`).Scan(&n); err != nil || n != 1 {
		t.Errorf("%d unreadable ones are kept: %v", n, err)
	}
}
