package ant_test

import (
	"testing"

	antv1 "github.com/formicary/formicary/proto/gen/formicary/ant/v1"
)

// What a script prints is text in its result: U+FFFD stands for NUL and for what is not UTF-8.
func TestResultsAreText(t *testing.T) {
	c := newColony(t)
	c.start(c.config())
	r := c.result(c.dispatch(script(`printf 'fail \000 \377 here' >&2; exit 3`)))
	if r.GetOutcome() != antv1.Result_FAILED || r.GetExitCode() != 3 || r.GetMessage() != "exit code 3\nfail \uFFFD \uFFFD here" {
		t.Errorf("%s %d %q", r.GetOutcome(), r.GetExitCode(), r.GetMessage())
	}
	w := script(`printf 'head \000 \377'; printf 'k=a\000b\n' >> "$FORMICARY_OUTPUT"`)
	w.Spec.ReportStdout = true
	r = c.result(c.dispatch(w))
	if r.GetBody() != "head \uFFFD \uFFFD" || r.GetOutputs()["k"] != "a\uFFFDb" {
		t.Errorf("%q, %q", r.GetBody(), r.GetOutputs())
	}
}
