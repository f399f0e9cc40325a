package shell

import (
	"testing"

	"github.com/formicary/formicary/services/ant/internal/executor"
	"github.com/formicary/formicary/services/ant/internal/executor/executortest"
)

func TestConformance(t *testing.T) {
	inBothCages(t, func(t *testing.T, e *Executor) {
		executortest.Run(t, executortest.Subject{
			Executor: e, LimitsMemory: e.caged && (e.groups.v1["memory"] != ""),
			Complete: func(task executor.Task) executor.Task { return task },
		})
	})
}
