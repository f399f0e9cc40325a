package reason_test

import (
	"strings"
	"testing"

	"github.com/formicary/formicary/services/supervisor/internal/reason"
)

func TestEnds(t *testing.T) {
	long := strings.Repeat("é", 200)
	for message, want := range map[string][2]string{
		"": {}, " one \n": {"one", ""}, "why\nlog\n\n the end \n": {"why", "the end"}, long: {long[:300] + "…", ""},
		"x" + long: {"x" + long[:298] + "…", ""},
	} {
		if first, last := reason.Ends(message); first != want[0] || last != want[1] {
			t.Errorf("%q: %q and %q", message, first, last)
		}
	}
}
