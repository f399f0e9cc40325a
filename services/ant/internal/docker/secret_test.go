package docker

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"

	"github.com/formicary/formicary/libs/jobspec/plan"
	"github.com/formicary/formicary/libs/mask"
	"github.com/formicary/formicary/services/ant/internal/executor"
)

// TestSecretsAreNotShownByTheEngine gives a task secrets in a variable, a file and its script, of which inspect tells nothing.
func TestSecretsAreNotShownByTheEngine(t *testing.T) {
	const canary = "canary-8472 'docker'"
	e := start(t, nil)
	m := mask.New([]string{canary})
	secret := func(o plan.Options) executor.Task {
		return in(t, executor.Task{
			UID: unique("secret"), Masks: m, Environment: map[string]string{"TOKEN": canary}, Secrets: []executor.Secret{{File: "ssh/id", Value: canary, Variable: "KEY_FILE"}},
			Script: []string{"cat <<'END'\n" + canary + "\nEND", `echo "$TOKEN"`, `cat "$KEY_FILE"`, "echo", `stat -c %a "$KEY_FILE"`},
		}, o)
	}
	var out bytes.Buffer
	x := e.prepare(secret(plan.Options{}), executor.Merge(&out))
	defer x.Close()
	if err := x.Create(); err != nil {
		t.Fatal(err, x.Wait())
	}
	x.Start()
	_, raw, err := e.engine().ContainerInspectWithRaw(t.Context(), x.id, false)
	if err != nil || m.Holds(string(raw)) {
		t.Errorf("the engine tells %s, %v", raw, err)
	}
	if end := x.Wait(); end.Class != executor.None || out.String() != canary+"\n"+canary+"\n"+canary+"\n400\n" {
		t.Errorf("%+v, printed %q", end, out.String())
	}
	for name, o := range map[string]plan.Options{
		"command":              {Container: &plan.Container{Command: []string{"sh", "-c", "echo " + canary}}},
		"label":                {PodLabels: map[string]string{"a": canary}},
		"image":                {Container: &plan.Container{Image: "example.com/" + canary}},
		"variable of services": {Services: []plan.Sidecar{{Name: "db", Image: "busybox", Environment: map[string]string{"PASSWORD": canary}}}},
	} {
		refused(t, e, name, secret(o))
	}
	unscripted := secret(plan.Options{Container: &plan.Container{Command: []string{"true"}}})
	unscripted.Script = nil // its variables can go by the engine only
	refused(t, e, "a task without a shell", unscripted)
	odd := secret(plan.Options{})
	odd.Environment = map[string]string{"a-b": canary}
	refused(t, e, "a variable that no shell exports", odd)
}

func refused(t *testing.T, e *Executor, name string, task executor.Task) {
	t.Helper()
	var out bytes.Buffer
	x := e.prepare(task, executor.Merge(&out))
	defer x.Close()
	if err := x.Create(); err == nil {
		t.Errorf("%s: a container is made", name)
		return
	}
	end := x.Wait()
	raw, err := json.Marshal(end)
	if err != nil || end.Class != executor.Rejected || !strings.Contains(end.Message, "the engine would show it") || task.Masks.Holds(string(raw)+out.String()) {
		t.Errorf("%s: %+v, %v", name, end, err)
	}
}
