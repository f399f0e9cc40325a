package e2e

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"testing"
)

// faulty is a definition that must not be stored, and what the answer says.
type faulty struct {
	name, yaml, says string
	placed           bool
}

// faultyTask is a definition with one task that has the given fields.
func faultyTask(name, says, fields string) faulty {
	return faulty{name, "job_type: bad\ntasks:\n  - task_type: a\n    method: SHELL\n    script: [\"true\"]\n" + fields, says, true}
}

// faultyFields are definitions whose tasks ask for too much, or for what does not fit together.
func faultyFields() []faulty {
	hundred := numbers(100)
	ask := "job_type: bad\ntasks:\n  - task_type: a\n    method: MANUAL\n    approval_policy: "
	await := func(name, says, names string) faulty {
		return faulty{name, "job_type: bad\ntasks:\n  - {task_type: f, method: SHELL, script: [x], on_completed: w}\n" +
			"  - {task_type: w, method: AWAIT_FORKED_JOB, await_forked_tasks: " + names + "}\n", says, true}
	}
	return []faulty{
		faultyTask("10,001 items", "10000", "    fan_out: {items: "+numbers(10_001)+"}\n"),
		faultyTask("matrix of a million", "combinations", fmt.Sprintf("    matrix: {x: %s, y: %[1]s, z: %[1]s}\n", hundred)),
		faultyTask("two lists", "source and items", "    fan_out: {items: [1], source: things}\n"),
		faultyTask("items that are no list", "no JSON list", "    fan_out: {items: seven}\n"),
		faultyTask("item named like a built-in", "JobID", "    fan_out: {items: [1], item_var: JobID}\n"),
		faultyTask("negative parallelism", "0 to 10000", "    fan_out: {items: [1], max_parallel: -1}\n"),
		faultyTask("more success than there is", "150%", "    fan_out: {items: [1], min_success: 150%}\n"),
		faultyTask("endless retries", "0 to 1000", "    retry_on: {infra: 1000000000}\n"),
		faultyTask("output twice", "given twice", "    outputs: [{name: A}, {name: A}]\n"),
		faultyTask("condition with an open bracket", "CEL", "    when: (params.a\n"),
		faultyTask("deep condition", "INVALID_CONDITION", "    when: "+strings.Repeat("(", 5000)+"true"+strings.Repeat(")", 5000)+"\n"),
		faultyTask("huge condition", "INVALID_CONDITION", "    when: "+strings.Repeat("true && ", 50_000)+"true\n"),
		{"policy with an unknown key", ask + "{min_approvals: 1, allowed_user: [ann]}\n", "allowed_users", true},
		{"policy without approvals", ask + "{min_approvals: 0}\n", "1 to 1000", true},
		{"policy with an unknown action", ask + "{sla_deadline: 1h, timeout_action: EXPLODE}\n", "AUTO_REJECT", true},
		await("await of what forks nothing", "f", "[f]"),
		await("await of nobody", "nobody", "[nobody]"),
		{"queue of the system", "job_type: bad\ntasks:\n  - {task_type: a, method: MESSAGING, messaging_request_queue: formicary.task.ant}\n", "formicary.", true},
		{"fork of itself", "job_type: bad\ntasks:\n  - {task_type: a, method: FORK_JOB, fork_job_type: bad}\n", "submit itself", true},
		{"schedule that is none", "job_type: bad\nschedule: [{cron: 61 * * * *}]\ntasks:\n  - {task_type: a, method: SHELL, script: [x]}\n", "cron", true},
	}
}

// numbers is a list of n numbers.
func numbers(n int) string {
	list := make([]string, n)
	for i := range list {
		list[i] = strconv.Itoa(i)
	}
	return "[" + strings.Join(list, ",") + "]"
}

// nested is an expression with loops in each other.
func nested(depth int, list string) string {
	text := "true"
	for i := range depth {
		text = fmt.Sprintf("%s.all(x%d, %s)", list, i, text)
	}
	return text
}

// TestHostileRunsEndClearly starts what only shows its fault when it runs.
func TestHostileRunsEndClearly(t *testing.T) {
	w := newWorld(t)
	w.embedded()
	fan := "job_type: e2e-source\nparams: [{name: list, type: json}]\ntasks:\n  - {task_type: a, method: SHELL, fan_out: {source: list}, script: [\"true\"]}\n"
	forked := "job_type: e2e-%s\ntasks:\n" + forks("f", "    fork_job_type: e2e-%s\n    sub_workflow: {wait_for_completion: true}\n")
	for _, text := range []string{
		fan,
		"job_type: e2e-gone\ntasks:\n  - {task_type: a, method: SHELL, fan_out: {source: gone}, script: [\"true\"]}\n",
		"job_type: e2e-large\ntasks:\n  - task_type: a\n    method: SHELL\n    script: ['printf \"A=%070000d\\n\" 1 >> \"$FORMICARY_OUTPUT\"']\n",
		"job_type: e2e-cost\nparams: [{name: list, type: json}]\ntasks:\n  - task_type: a\n    method: SHELL\n    script: [\"true\"]\n" +
			"    when: params.list.all(x, params.list.all(y, params.list.all(z, x + y + z >= 0.0)))\n",
		faultyTask("", "", "    when: '"+nested(6, numbers(100))+"'\n").yaml,
		fmt.Sprintf(forked, "ping", "pong"), fmt.Sprintf(forked, "pong", "ping"),
		fmt.Sprintf(forked, "orphan", "nobody"),
	} {
		w.define(text)
	}
	list := func(n int) map[string]any { return map[string]any{"list": make([]int, n)} }
	tests := []struct {
		jobType string
		params  map[string]any
		says    string
	}{
		{"e2e-source", map[string]any{"list": `"nope"`}, "list"},
		{"e2e-source", map[string]any{"list": map[string]any{"a": 1}}, "list"},
		{"e2e-source", list(10_001), "10000"},
		{"e2e-large", nil, "64"},
		{"e2e-ping", nil, "ancestors"}, // its family is counted below
		{"e2e-orphan", nil, "e2e-nobody"},
	}
	for jobType, c := range map[string]struct { // the submit sees what the launch would
		params map[string]any
		says   string
	}{
		"e2e-cost": {list(2000), "works too much"}, "bad": {nil, "works too much"}, "e2e-gone": {nil, "the variable gone"},
	} {
		body, err := json.Marshal(map[string]any{"job_type": jobType, "params": c.params})
		if err != nil {
			t.Fatal(err)
		}
		code, err := w.call(http.MethodPost, "/api/v1/jobs/requests", "application/json", body, nil)
		if code != http.StatusBadRequest || !strings.Contains(fmt.Sprint(err), c.says) {
			t.Errorf("%s is answered %d, %v", jobType, code, err)
		}
	}
	ids := make([]string, len(tests))
	for i, tt := range tests {
		ids[i] = w.submit(tt.jobType, fmt.Sprintf("hostile-%d", i), tt.params)
	}
	for i, tt := range tests {
		t.Run(fmt.Sprintf("%s-%d", tt.jobType, i), func(t *testing.T) {
			w := w.in(t)
			r := w.finishes(ids[i], "FAILED")
			if !strings.Contains(r.ErrorMessage, tt.says) || r.ErrorCode == "" {
				t.Errorf("it says %s: %q, wanted %q", r.ErrorCode, r.ErrorMessage, tt.says)
			}
		})
	}
	ancestors := 0
	for id := ids[4]; id != ""; ancestors++ {
		below := w.children(t, id)
		id = ""
		if len(below) > 0 {
			id = below[0].ID
		}
	}
	if ancestors != 11 {
		t.Errorf("%d jobs forked each other, want 11", ancestors)
	}
	if code, err := w.call(http.MethodPost, "/api/v1/error-codes", "application/json", []byte(`{"error_code":"ERR_X","regex":"(a"}`), nil); code != http.StatusBadRequest {
		t.Errorf("a faulty rule is answered %d, %v", code, err)
	}
	w.equalItems()
	w.audit()
}

// equalItems runs a matrix that names a value twice: its items keep apart.
func (w *world) equalItems() {
	w.t.Helper()
	w.define("job_type: e2e-twice\ntasks:\n  - {task_type: a, method: SHELL, matrix: {x: [one, one, two]}, script: [\"true\"]}\n")
	id := w.submit("e2e-twice", "twice", nil)
	w.finishes(id, "COMPLETED")
	names := map[string]bool{}
	for _, item := range w.tasks(id, "a") {
		names[item.Name] = true
	}
	if len(names) != 3 {
		w.t.Errorf("items are named %v", names)
	}
}
