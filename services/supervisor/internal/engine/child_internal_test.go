package engine

import "testing"

func TestTheFirstCauseOfAChainIsTold(t *testing.T) {
	message := "disk full"
	for i, want := range []string{
		"its job ended as FAILED: ERR_X disk full",
		"its job ended as FAILED: a job below it ended as FAILED: ERR_X disk full",
		"its job ended as FAILED: a job below it ended as FAILED: ERR_X disk full",
	} {
		c := ChildOutcome{State: "FAILED", ErrorCode: "ERR_X", Message: message}
		got := c.describe()
		if got != want {
			t.Errorf("link %d: %q, want %q", i, got, want)
		}
		message = `task "f" failed: ` + got
	}
}
