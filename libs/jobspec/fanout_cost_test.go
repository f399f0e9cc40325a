package jobspec_test

import (
	"encoding/json"
	"testing"

	"github.com/formicary/formicary/libs/jobspec/condition"
	"github.com/formicary/formicary/libs/jobspec/plan"
	"github.com/formicary/formicary/libs/jobspec/value"
)

// TestAnItemCostsTheSameInALongList renders single items: their list must not be read again for each of them.
func TestAnItemCostsTheSameInALongList(t *testing.T) {
	def := parse(t, `job_type: job
tasks:
- task_type: work
  method: FORK_JOB
  fan_out: {source: hosts, item_var: host, fork_job_type: other}
`)
	cost := func(n int) (item, decision float64) {
		hosts, err := json.Marshal(make([]int, n))
		if err != nil {
			t.Fatal(err)
		}
		vars := value.Vars{"hosts": string(hosts)}
		it := plan.Item{Name: "work[1]", Value: "b"}
		item = testing.AllocsPerRun(10, func() { _, err = def.Item("work", it, 1, vars) })
		if err != nil {
			t.Fatal(err)
		}
		var d *plan.Decision
		decision = testing.AllocsPerRun(10, func() { d, err = def.DecideItem("work", it, 1, vars, condition.Facts{Vars: vars}) })
		if err != nil || d.Fork.JobType != "other" {
			t.Fatal(err)
		}
		return item, decision
	}
	item, decision := cost(2)
	longItem, longDecision := cost(5000)
	if longItem > 2*item || longDecision > 2*decision {
		t.Errorf("an item costs %v and a decision %v allocations, of a long list %v and %v", item, decision, longItem, longDecision)
	}
}
