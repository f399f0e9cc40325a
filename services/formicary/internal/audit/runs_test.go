package audit

import "testing"

func TestPairs(t *testing.T) {
	settled := func(state string) (request, execution) {
		end := state == "COMPLETED" || state == "FAILED" || state == "CANCELLED"
		return request{"r", "default", state, 1, end, true}, execution{"r", "default", state, 1, end, true}
	}
	r, e := settled("COMPLETED")
	running, running2 := settled("EXECUTING")
	failed, failed2 := settled("FAILED")
	young := r
	young.settled = false
	foreign := e
	foreign.org = "other"
	for _, c := range []struct {
		name string
		r    request
		e    execution
		want string
	}{
		{"both ended", r, e, ""},
		{"both run", running, running2, ""},
		{"request ended alone", r, running2, "terminal_request_terminal_execution"},
		{"request ended alone a moment ago", young, running2, ""},
		{"execution ended alone", running, e, "terminal_execution_terminal_request"},
		{"different ends", failed, e, "same_outcome"},
		{"the same failure", failed, failed2, ""},
		{"different owners", r, foreign, "same_org"},
	} {
		var f findings
		f.pair(c.r, c.e)
		got := ""
		if len(f.list) > 0 {
			got = f.list[0].Check
		}
		if got != c.want {
			t.Errorf("%s: got %q, want %q", c.name, got, c.want)
		}
	}
}

func TestRequestsWithoutExecution(t *testing.T) {
	for state, want := range map[string]int{"PENDING": 0, "CANCELLED": 0, "COMPLETED": 1, "FAILED": 1} {
		var f findings
		f.alone(request{"r", "default", state, 1, state != "PENDING", true})
		if len(f.list) != want {
			t.Errorf("%s without execution: %v", state, f.list)
		}
	}
	var f findings
	f.other(request{"r", "default", "PENDING", 1, false, true}, execution{"r", "default", "FAILED", 2, true, true})
	f.orphan(execution{"x", "default", "READY", 1, false, true})
	if len(f.list) != 2 {
		t.Errorf("executions of unknown runs: %v", f.list)
	}
}

func TestFindingsOfAKindAreBounded(t *testing.T) {
	var f findings
	for range 3 * mostOfAKind {
		f.orphan(execution{settled: true})
	}
	if len(f.list) != mostOfAKind {
		t.Errorf("kept %d findings", len(f.list))
	}
}
