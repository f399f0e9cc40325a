package steptest_test

import (
	"testing"

	"github.com/formicary/formicary/services/supervisor/internal/step"
	"github.com/formicary/formicary/services/supervisor/internal/step/steptest"
)

func TestMemory(t *testing.T) {
	steptest.Suite(t, func(testing.TB) step.Store { return steptest.NewMemory() })
}
