package plan_test

import (
	"maps"
	"slices"
	"testing"

	"github.com/formicary/formicary/libs/jobspec/plan"
)

func TestArtifactsIn(t *testing.T) {
	outputs := map[string]string{
		"b_ArtifactURL_10": "b10", "b_ArtifactURL_2": "b2", "a_ArtifactURL_1": "a1", "item_0_a_ArtifactURL_1": "a1", "other": "x",
		"_ArtifactURL_1": "nobody's", "b_ArtifactURL_x": "none", "b_ArtifactURL_": "none", "b_ArtifactURL_99999999999999999999": "none",
	}
	if got, want := plan.ArtifactsIn(outputs), []string{"a1", "b2", "b10"}; !slices.Equal(got, want) {
		t.Errorf("%q, want %q", got, want)
	}
	if task, n, ok := plan.ArtifactOf(plan.ArtifactVar("my-task", 7)); task != "my-task" || n != 7 || !ok {
		t.Error(task, n, ok)
	}
}

// What a child kept is told under the name of the task that forked it; under the names of the child's tasks it would replace
// what the parent's own tasks of these names kept.
func TestAForkKeepsTheAddressesOfItsParent(t *testing.T) {
	outputs := map[string]string{"b_ArtifactURL_1": "c1", "b_ArtifactURL_x": "text", "version": "7"}
	if got, want := (&plan.Fork{}).Given(outputs), map[string]string{"b_ArtifactURL_x": "text", "version": "7"}; !maps.Equal(got, want) {
		t.Errorf("%q, want %q", got, want)
	}
	asked := &plan.Fork{Outputs: []plan.OutputName{{Name: "b_ArtifactURL_1", As: "built"}}}
	if got, want := asked.Given(outputs), map[string]string{"built": "c1"}; !maps.Equal(got, want) {
		t.Errorf("%q, want %q", got, want)
	}
}
