package supervisor_test

import (
	"encoding/xml"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	antv1 "github.com/formicary/formicary/proto/gen/formicary/ant/v1"
	executionv1 "github.com/formicary/formicary/proto/gen/formicary/execution/v1"
)

// bucket deletes objects like an object store.
type bucket struct {
	mu      sync.Mutex
	deleted []string
}

func (b *bucket) ServeHTTP(rw http.ResponseWriter, r *http.Request) {
	b.mu.Lock()
	defer b.mu.Unlock()
	var all struct {
		Object []struct{ Key string }
	}
	if _, ok := r.URL.Query()["delete"]; !ok || xml.NewDecoder(r.Body).Decode(&all) != nil {
		http.Error(rw, "", http.StatusBadRequest)
		return
	}
	for _, o := range all.Object {
		b.deleted = append(b.deleted, o.Key)
	}
	_, _ = rw.Write([]byte(`<DeleteResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/"></DeleteResult>`))
}

const expiring = `job_type: job
tasks:
- task_type: ask
  method: SHELL
  script: [ask]
  on_completed: expire
- task_type: expire
  method: EXPIRE_ARTIFACTS
  variables: {retention_days: "{{.days}}"}
  on_completed: after
- task_type: after
  method: SHELL
  script: [after]
`

func TestLogsExpire(t *testing.T) {
	t.Parallel()
	store := &bucket{}
	s3 := httptest.NewServer(store)
	t.Cleanup(s3.Close)
	w := newWorldWith(t, strings.TrimPrefix(s3.URL, "http://"))
	w.newAnt("ant1", 4, func(work *antv1.Work) *antv1.Result {
		r := &antv1.Result{Outcome: antv1.Result_SUCCEEDED, LogKey: "logs/" + work.GetTask(), LogBytes: 3}
		if work.GetTask() == "ask" {
			r.LogKey, r.Outputs = "", map[string]string{"days": "7"}
		}
		return r
	})
	w.becomes(w.admit(planOf(task("old", "new"), task("new"))), executionv1.Execution_COMPLETED)
	if _, err := w.pool.Exec(t.Context(), `UPDATE attempt SET ended_at = ended_at - interval '8 days' WHERE log_key = 'logs/old'`); err != nil {
		t.Fatal(err)
	}
	id := w.admitText(expiring)
	w.becomes(id, executionv1.Execution_COMPLETED)
	if got := w.tasks(id)["expire"].GetOutputs().AsMap()["expired"]; got != "1" {
		t.Errorf("expired %v", got)
	}
	store.mu.Lock()
	defer store.mu.Unlock()
	if len(store.deleted) != 1 || store.deleted[0] != "logs/old" {
		t.Errorf("deleted %v", store.deleted)
	}
	var left int
	if err := w.pool.QueryRow(t.Context(), `SELECT count(*) FROM attempt WHERE log_key = 'logs/new'`).Scan(&left); err != nil || left != 1 {
		t.Errorf("%d logs left, %v", left, err)
	}
}
