package supervisor_test

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/formicary/formicary/libs/errs"
	"github.com/formicary/formicary/libs/jobspec"
	"github.com/formicary/formicary/libs/jobspec/plan"
	"github.com/formicary/formicary/libs/jobspec/value"
	"github.com/formicary/formicary/libs/testkit"
	antv1 "github.com/formicary/formicary/proto/gen/formicary/ant/v1"
	executionv1 "github.com/formicary/formicary/proto/gen/formicary/execution/v1"
	jobv1 "github.com/formicary/formicary/proto/gen/formicary/job/v1"
)

// admitText admits a request of the definition, which is the one that job-manager answers with from now on.
func (w *world) admitText(text string, change ...func(*jobv1.Launch)) string {
	w.t.Helper()
	id := w.jobs.add(w.planOf(text), change...)
	w.admitRun(id, 1)
	return id
}

func (w *world) planOf(text string) *plan.Plan {
	w.t.Helper()
	def, _, err := jobspec.Parse("job.yaml", []byte(text))
	if err != nil {
		w.t.Fatal(err)
	}
	p, err := def.Plan(value.Vars{})
	if err != nil {
		w.t.Fatal(err)
	}
	w.jobs.mu.Lock()
	w.jobs.yaml = text
	w.jobs.mu.Unlock()
	return p
}

// items returns the states of the items of a group.
func (w *world) items(id, group string) map[string]string {
	w.t.Helper()
	rows, err := w.pool.Query(w.t.Context(), `SELECT i.name, i.state FROM execution e JOIN task g ON g.execution_id = e.id
		JOIN task i ON i.execution_id = e.id AND i.group_idx = g.idx WHERE e.request_id = $1 AND g.name = $2`, id, group)
	if err != nil {
		w.t.Fatal(err)
	}
	defer rows.Close()
	states := map[string]string{}
	for rows.Next() {
		var name, state string
		if err := rows.Scan(&name, &state); err != nil {
			w.t.Fatal(err)
		}
		states[name] = state
	}
	return states
}

const resize = `job_type: job
tasks:
- task_type: resize
  method: SHELL
  fan_out:
    items: [{file: a.png}, {file: b.png}, {file: c.png}, {file: d.png}]
    item_var: image
    max_parallel: 2
  script:
  - convert {{.image.file}} {{.FanOutIndex}}
  on_completed: report
- task_type: report
  method: SHELL
  script:
  - echo {{.FanOutItemCount}} images
`

func TestFanOut(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	var mu sync.Mutex
	running, most := 0, 0
	a := w.newAnt("ant1", 8, func(work *antv1.Work) *antv1.Result {
		mu.Lock()
		running++
		most = max(most, running)
		mu.Unlock()
		return nil
	})
	id := w.admitText(resize)
	for i := range 4 {
		uid := a.live(fmt.Sprintf("resize[%d]", i))
		mu.Lock()
		running--
		mu.Unlock()
		a.end(uid, &antv1.Result{Outcome: antv1.Result_SUCCEEDED, Outputs: map[string]string{"n": fmt.Sprint(i)}})
	}
	a.end(a.live("report"), &antv1.Result{Outcome: antv1.Result_SUCCEEDED})
	w.becomes(id, executionv1.Execution_COMPLETED)
	mu.Lock()
	if most > 2 {
		t.Errorf("%d items ran at once", most)
	}
	mu.Unlock()
	a.mu.Lock()
	worked := slices.Clone(a.worked)
	a.mu.Unlock()
	keys := map[string]bool{}
	for i, work := range worked[:4] {
		keys[work.GetIdempotencyKey()] = true
		env := work.GetSpec().GetEnvironment()
		if got := work.GetSpec().GetScript()[0]; got != fmt.Sprintf("convert %c.png %d", 'a'+i, i) || env["FORMICARY_ITEM_INDEX"] != fmt.Sprint(i) {
			t.Errorf("item %d runs %q with index %s", i, got, env["FORMICARY_ITEM_INDEX"])
		}
	}
	if len(keys) != 4 {
		t.Errorf("idempotency keys %v", keys)
	}
	if got := worked[4].GetSpec().GetScript()[0]; got != "echo 4 images" {
		t.Errorf("after the fan-out: %q", got)
	}
	var results []plan.ItemResult
	text, _ := w.tasks(id)["resize"].GetOutputs().AsMap()["resize_results"].(string)
	if err := json.Unmarshal([]byte(text), &results); err != nil || len(results) != 4 || results[3].Outputs["n"] != "3" || results[3].Status != "COMPLETED" {
		t.Errorf("results %s: %v", text, err)
	}
	w.settled()
}

func TestFanOutFailsFast(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	a := w.newAnt("ant1", 8, func(*antv1.Work) *antv1.Result { return nil })
	id := w.admitText(strings.Replace(resize, "max_parallel: 2", "max_parallel: 2\n    fail_fast: true", 1))
	second := a.live("resize[1]")
	a.end(a.live("resize[0]"), failed(3))
	testkit.Eventually(t, waitTime, "the other item is told to stop", func() bool {
		return slices.Contains(a.sync(false).GetStop(), second)
	})
	a.end(second, &antv1.Result{Outcome: antv1.Result_CANCELLED})
	e := w.becomes(id, executionv1.Execution_FAILED)
	want := map[string]string{"resize[0]": "FAILED", "resize[1]": "CANCELLED", "resize[2]": "SKIPPED", "resize[3]": "SKIPPED"}
	if got := w.items(id, "resize"); !maps.Equal(got, want) {
		t.Errorf("items %v", got)
	}
	if e.GetErrorCode() != "ERR_TASK_EXECUTE" || w.tasks(id)["report"].GetState() != executionv1.Task_SKIPPED {
		t.Errorf("%s: %s", e.GetErrorCode(), e.GetErrorMessage())
	}
	w.settled()
}

func TestFanOutIsCancelled(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	a := w.newAnt("ant1", 8, func(*antv1.Work) *antv1.Result { return nil })
	id := w.admitText(resize)
	uids := []string{a.live("resize[0]"), a.live("resize[1]")}
	w.control(id, jobv1.RequestControl_CANCEL)
	for _, uid := range uids {
		testkit.Eventually(t, waitTime, "the items are told to stop", func() bool { return slices.Contains(a.sync(false).GetStop(), uid) })
		a.end(uid, &antv1.Result{Outcome: antv1.Result_CANCELLED})
	}
	w.becomes(id, executionv1.Execution_CANCELLED)
	for name, state := range w.items(id, "resize") {
		if state != "CANCELLED" {
			t.Errorf("%s is %s", name, state)
		}
	}
	w.settled()
}

const dynamic = `job_type: job
tasks:
- task_type: find
  method: SHELL
  script: [find]
  on_completed: [work, rare]
- task_type: work
  method: SHELL
  fan_out:
    source: hosts
    item_var: host
  script:
  - ssh {{.host}}
  on_completed: last
- task_type: rare
  method: SHELL
  when: tasks.find.outputs.count == '9'
  script: [rare]
- task_type: last
  method: SHELL
  when: tasks.work.state == 'COMPLETED' && vars.FanOutItemCount == '3'
  script: [last]
`

func TestDecisionsUseWhatEarlierTasksFound(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	var hosts atomic.Value
	hosts.Store(`["a","b","c"]`)
	a := w.newAnt("ant1", 8, func(work *antv1.Work) *antv1.Result {
		r := &antv1.Result{Outcome: antv1.Result_SUCCEEDED}
		if work.GetTask() == "find" {
			r.Outputs = map[string]string{"hosts": hosts.Load().(string), "count": "3"}
		}
		return r
	})
	id := w.admitText(dynamic)
	w.becomes(id, executionv1.Execution_COMPLETED)
	ran := a.ran()
	slices.Sort(ran)
	if want := []string{"find", "last", "work[0]", "work[1]", "work[2]"}; !slices.Equal(ran, want) {
		t.Errorf("ran %v, want %v", ran, want)
	}
	if rare := w.tasks(id)["rare"]; rare.GetState() != executionv1.Task_SKIPPED {
		t.Errorf("rare is %s: %s", rare.GetState(), rare.GetMessage())
	}
	// An empty list completes at once.
	hosts.Store(`[]`)
	id = w.admitText(dynamic)
	w.becomes(id, executionv1.Execution_COMPLETED)
	if work := w.tasks(id)["work"]; work.GetState() != executionv1.Task_COMPLETED {
		t.Errorf("work is %s: %s", work.GetState(), work.GetMessage())
	}
	// What is no list fails the task, and nothing else.
	hosts.Store(`{`)
	id = w.admitText(dynamic)
	w.becomes(id, executionv1.Execution_FAILED)
	if work := w.tasks(id)["work"]; work.GetState() != executionv1.Task_FAILED || work.GetFailureClass() != "rejected" {
		t.Errorf("work is %s, %s: %s", work.GetState(), work.GetFailureClass(), work.GetMessage())
	}
	w.settled()
}

func TestRunsThatLackTheirDefinitionDoNotStopOthers(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	a := w.newAnt("ant1", 8, func(*antv1.Work) *antv1.Result { return nil })
	id := w.admitText(dynamic)
	find := a.live("find")
	w.jobs.mu.Lock()
	w.jobs.gone = errs.Unavailable("AWAY", "away")
	w.jobs.mu.Unlock()
	other := w.admit(planOf(task("other")))
	uid := a.live("other")
	a.end(find, &antv1.Result{Outcome: antv1.Result_SUCCEEDED, Outputs: map[string]string{"hosts": `["a"]`, "count": "1"}})
	a.end(uid, &antv1.Result{Outcome: antv1.Result_SUCCEEDED})
	w.becomes(other, executionv1.Execution_COMPLETED)
	if got := w.tasks(id)["find"].GetState(); got != executionv1.Task_RUNNING {
		t.Errorf("find is %s", got)
	}
	w.jobs.mu.Lock()
	w.jobs.gone = nil
	w.jobs.mu.Unlock()
	a.end(a.live("work[0]"), &antv1.Result{Outcome: antv1.Result_SUCCEEDED})
	w.becomes(id, executionv1.Execution_COMPLETED)
	w.settled()
}

func TestARecordThatCannotBeReadFailsItsRunAlone(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	ids := make([]string, 3)
	for i := range ids {
		ids[i] = w.admit(planOf(task("a", "b"), task("b")))
		w.becomes(ids[i], executionv1.Execution_READY)
	}
	_, err := w.pool.Exec(t.Context(), `UPDATE task SET spec = '[]' FROM execution e WHERE e.id = execution_id AND idx = 0 AND request_id = $1`, ids[1])
	if err != nil {
		t.Fatal(err)
	}
	w.newAnt("ant1", 8, nil)
	w.nc.Publish("formicary.live.ant", nil) //nolint:errcheck // a hint
	w.becomes(ids[0], executionv1.Execution_COMPLETED)
	w.becomes(ids[2], executionv1.Execution_COMPLETED)
	e := w.becomes(ids[1], executionv1.Execution_FAILED)
	if !strings.Contains(e.GetErrorMessage(), "cannot be read") && !strings.Contains(e.GetErrorMessage(), "read spec") {
		t.Errorf("%s: %s", e.GetErrorCode(), e.GetErrorMessage())
	}
	var n int
	if err := w.pool.QueryRow(t.Context(), `SELECT count(*) FROM quarantine WHERE kind = 'record'`).Scan(&n); err != nil || n == 0 {
		t.Errorf("%d records in quarantine: %v", n, err)
	}
	w.settled()
}

func TestLaunchCarriesRulesAndRetries(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.newAnt("ant1", 8, func(*antv1.Work) *antv1.Result { return failed(3) })
	p := planOf(task("a"))
	p.Retry = 1
	for retries, again := range map[int32]bool{0: true, 1: false} {
		id := w.jobs.add(p, func(l *jobv1.Launch) {
			l.Retries, l.ErrorRules = retries, []byte(`[{"regex":"it said no","error_code":"ERR_NO","message":"refused"}]`)
		})
		w.admitRun(id, 1)
		e := w.becomes(id, executionv1.Execution_FAILED)
		if e.GetErrorCode() != "ERR_NO" {
			t.Errorf("%s: %s", e.GetErrorCode(), e.GetErrorMessage())
		}
		var restart *time.Time
		if err := w.pool.QueryRow(t.Context(), `SELECT restart_at FROM execution WHERE request_id = $1`, id).Scan(&restart); err != nil || (restart != nil) != again {
			t.Errorf("after %d retries: %v, %v", retries, restart, err)
		}
	}
	w.settled()
}

func TestRestartFromATask(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	a := w.newAnt("ant1", 8, nil)
	p := planOf(task("a", "b"), task("b", "c"), task("c"))
	id := w.jobs.add(p)
	w.admitRun(id, 1)
	w.becomes(id, executionv1.Execution_COMPLETED)
	w.jobs.mu.Lock()
	again := w.jobs.launches[fmt.Sprint(id, 1)]
	w.jobs.mu.Unlock()
	w.jobs.set(&jobv1.Launch{
		RequestId: id, Run: 2, OrgId: "default", JobType: "job", DefinitionId: again.GetDefinitionId(), Plan: again.GetPlan(), Vars: again.GetVars(),
		Priority: 50, AgeAt: again.GetAgeAt(), ReuseRun: 1, FromTask: "b",
	})
	w.admitRun(id, 2)
	testkit.Eventually(t, waitTime, "the second run ends", func() bool {
		e := w.execution(id)
		return e.GetRun() == 2 && e.GetState() == executionv1.Execution_COMPLETED
	})
	if want := []string{"a", "b", "c", "b", "c"}; !slices.Equal(a.ran(), want) {
		t.Errorf("ran %v", a.ran())
	}
}
