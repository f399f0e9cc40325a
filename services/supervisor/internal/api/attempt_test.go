package api

import (
	"context"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/formicary/formicary/libs/rpc"
	antv1 "github.com/formicary/formicary/proto/gen/formicary/ant/v1"
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
