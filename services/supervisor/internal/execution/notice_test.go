package execution

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/formicary/formicary/libs/jobspec/plan"
	"github.com/formicary/formicary/services/supervisor/internal/engine"
)

func TestEndedTellsWhatRan(t *testing.T) {
	r := Run{ID: uuid.New(), Org: "default", JobType: "etl"}
	hook := &plan.Webhook{URL: "https://example.com"}
	for name, tt := range map[string]struct {
		task engine.Task
		told bool
	}{
		"completed":    {engine.Task{State: engine.TaskCompleted, Spec: &plan.Task{Name: "a", Webhook: hook}}, true},
		"failed":       {engine.Task{State: engine.TaskFailed, Spec: &plan.Task{Name: "a", Webhook: hook}}, true},
		"without hook": {engine.Task{State: engine.TaskCompleted, Spec: &plan.Task{Name: "a"}}, false},
		"not ended":    {engine.Task{State: engine.TaskReady, Spec: &plan.Task{Name: "a", Webhook: hook}}, false},
		"never ran":    {engine.Task{State: engine.TaskSkipped, Spec: &plan.Task{Name: "a", Webhook: hook}}, false},
		"decided":      {engine.Task{State: engine.TaskCompleted, Spec: &plan.Task{Name: "a", Webhook: &plan.Webhook{URL: "{{.x}}", Late: true}}, Extra: engine.Extra{Webhook: hook}}, true},
		"unknown":      {engine.Task{State: engine.TaskFailed, Spec: &plan.Task{Name: "a", Webhook: &plan.Webhook{URL: "{{.x}}", Late: true}}}, false},
		"ran before":   {engine.Task{State: engine.TaskCompleted, Reuse: true, Spec: &plan.Task{Name: "a", Webhook: hook}}, false},
	} {
		n, err := Ended(r, &tt.task, time.Unix(1, 0))
		if err != nil || (n != nil) != tt.told {
			t.Errorf("%s: %v, %v", name, n, err)
		}
		if n != nil && !strings.Contains(string(n.Webhook), "https://example.com") {
			t.Errorf("%s: %s", name, n.Webhook)
		}
	}
}

func TestTheSameNoticeHasTheSameID(t *testing.T) {
	r := Run{ID: uuid.New()}
	task := engine.Task{State: engine.TaskCompleted, Attempts: 1, Spec: &plan.Task{Name: "a", Webhook: &plan.Webhook{}}}
	first, _ := Ended(r, &task, time.Unix(1, 0))
	again, _ := Ended(r, &task, time.Unix(2, 0))
	task.Attempts = 2
	later, _ := Ended(r, &task, time.Unix(3, 0))
	if first.ID != again.ID || first.ID == later.ID {
		t.Error(first.ID, again.ID, later.ID)
	}
	p := &plan.Approval{EscalationRecipients: []string{"#ops"}}
	if Requested(r, &task, p, 1, time.Unix(1, 0)).ID == Escalated(r, &task, p, 1, time.Unix(1, 0)).ID {
		t.Error("two kinds have one id")
	}
}

func TestWhoIsAskedForApproval(t *testing.T) {
	task := engine.Task{Spec: &plan.Task{Name: "ok", Description: "go live?"}}
	for name, tt := range map[string]struct {
		policy plan.Approval
		want   []string
	}{
		"addresses":          {plan.Approval{AllowedUsers: []string{"bob", "ann@example.com", "#team", "@", "ann@"}, EscalationRecipients: []string{"boss@example.com"}}, []string{"ann@example.com", "#team"}},
		"who hears it later": {plan.Approval{AllowedUsers: []string{"bob"}, EscalationRecipients: []string{"boss@example.com"}}, []string{"boss@example.com"}},
		"nobody":             {plan.Approval{AllowedUsers: []string{"bob"}}, nil},
	} {
		var got []string
		if n := Requested(Run{JobType: "etl"}, &task, &tt.policy, 1, time.Unix(1, 0)); n != nil {
			got = n.Recipients
			if n.Message != "task ok of job etl waits for an approval: go live?" {
				t.Errorf("%s: %s", name, n.Message)
			}
		}
		if !slices.Equal(got, tt.want) {
			t.Errorf("%s: %v", name, got)
		}
	}
}

func TestEscalationSaysWhatIsConfigured(t *testing.T) {
	task := engine.Task{Spec: &plan.Task{Name: "ok"}}
	p := &plan.Approval{SLA: time.Hour, EscalationRecipients: []string{"#ops"}}
	if n := Escalated(Run{JobType: "etl"}, &task, p, 1, time.Unix(1, 0)); !strings.Contains(n.Message, "nobody has decided within 1h0m0s") {
		t.Error(n.Message)
	}
	p.EscalationMessage = "please look"
	if n := Escalated(Run{}, &task, p, 1, time.Unix(1, 0)); n.Message != "please look" {
		t.Error(n.Message)
	}
	if n := Escalated(Run{}, &task, &plan.Approval{}, 1, time.Unix(1, 0)); n != nil {
		t.Error("nobody is to hear of it")
	}
}
