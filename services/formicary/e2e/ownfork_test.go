package e2e

import "testing"

const countdown = `job_type: e2e-countdown
params: [{name: n, type: int, default: 3}]
tasks:
  - task_type: again
    method: FORK_JOB
    fork_job_type: e2e-countdown
    when: params.n > 0
    sub_workflow: {wait_for_completion: true, input_params: {n: '{{Add .n -1}}'}}
`

// TestJobForksItselfUnderACondition counts down until the condition ends the chain.
func TestJobForksItselfUnderACondition(t *testing.T) {
	w := newWorld(t)
	w.embedded()
	w.define(countdown)
	id := w.submit("e2e-countdown", "", nil)
	w.finishes(id, "COMPLETED")
	depth := 0
	for list := w.children(t, id); len(list) == 1; list = w.children(t, list[0].ID) {
		depth++
	}
	if depth != 3 {
		t.Errorf("%d generations, want 3", depth)
	}
}
