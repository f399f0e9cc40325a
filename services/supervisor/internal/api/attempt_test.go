package api

import (
	"context"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/formicary/formicary/libs/jobspec/environ"
	"github.com/formicary/formicary/libs/jobspec/plan"
	"github.com/formicary/formicary/libs/rpc"
	antv1 "github.com/formicary/formicary/proto/gen/formicary/ant/v1"
	"github.com/formicary/formicary/services/supervisor/internal/attempt"
	"github.com/formicary/formicary/services/supervisor/internal/execution"
)

// A work that fits no message must not be claimed again and again.
func TestSendable(t *testing.T) {
	for name, tt := range map[string]struct {
		w    *antv1.Work
		want string
	}{
		"text":  {&antv1.Work{Spec: &antv1.Spec{Script: []string{"a", "b\xff"}}}, "the field spec.script[1] is no UTF-8"},
		"large": {&antv1.Work{Spec: &antv1.Spec{Environment: map[string]string{"A": strings.Repeat("x", rpc.MaxMessage)}}}, "at most"},
		"good":  {&antv1.Work{Spec: &antv1.Spec{Script: []string{"é"}}}, ""},
	} {
		err := sendable(tt.w)
		if (err == nil) != (tt.want == "") || err != nil && !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// What is not known when a call is nearly over is left for the next one.
func TestInTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		call, cancel := context.WithTimeout(t.Context(), 5*time.Second)
		defer cancel()
		ctx, end := inTime(call)
		defer end()
		began := time.Now()
		<-ctx.Done()
		if d := time.Since(began); d != 4*time.Second || call.Err() != nil {
			t.Errorf("it ended after %s", d)
		}
		if ctx, end := inTime(t.Context()); ctx.Err() != nil {
			t.Error(ctx.Err())
		} else {
			end()
		}
	})
}

// What is missing in an environment is told to whoever gets it.
func TestNotesGoToWhoTakesTheEnvironment(t *testing.T) {
	for method, want := range map[string]int{plan.MethodMessaging: 1, plan.MethodWebsocket: 1, plan.MethodHTTPGet: 0} {
		w := &attempt.Work{Claimed: &execution.Claimed{Task: &plan.Task{Method: method}, Job: &execution.Context{}}, Environment: environ.Env{Notes: []string{"left out"}}}
		out, err := work(w)
		if err != nil || len(out.GetSpec().GetNotes()) != want {
			t.Errorf("%s: %v, %v", method, out.GetSpec().GetNotes(), err)
		}
	}
}
