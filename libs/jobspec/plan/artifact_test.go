package plan_test

import (
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
