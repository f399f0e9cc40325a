package result

import (
	"strings"
	"testing"

	"github.com/formicary/formicary/services/supervisor/internal/engine"
)

func TestJudge(t *testing.T) {
	large := map[string]string{"a": strings.Repeat("x", maxOutputs)}
	tests := map[string]struct {
		in    engine.Outcome
		state engine.AttemptState
		class string
	}{
		"success":           {engine.Outcome{State: engine.AttemptSucceeded, FailureClass: "user"}, engine.AttemptSucceeded, ""},
		"failure":           {engine.Outcome{State: engine.AttemptFailed}, engine.AttemptFailed, "user"},
		"out of memory":     {engine.Outcome{State: engine.AttemptFailed, FailureClass: "oom"}, engine.AttemptFailed, "oom"},
		"timeout":           {engine.Outcome{State: engine.AttemptTimedOut}, engine.AttemptTimedOut, "timeout"},
		"cancelled":         {engine.Outcome{State: engine.AttemptCancelled}, engine.AttemptCancelled, "cancelled"},
		"lost":              {engine.Outcome{State: engine.AttemptLost}, engine.AttemptLost, "infra"},
		"too large outputs": {engine.Outcome{State: engine.AttemptSucceeded, Outputs: large}, engine.AttemptFailed, "user"},
	}
	for name, tt := range tests {
		got := judge(tt.in)
		if got.State != tt.state || got.FailureClass != tt.class {
			t.Errorf("%s: %s %s", name, got.State, got.FailureClass)
		}
		if name == "too large outputs" && (got.Outputs != nil || got.Message == "") {
			t.Errorf("%s: kept, or without a reason", name)
		}
	}
}
