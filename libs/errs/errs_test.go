package errs_test

import (
	"errors"
	"fmt"
	"testing"

	"github.com/formicary/formicary/libs/errs"
)

func TestTypedErrorIsFoundInAChain(t *testing.T) {
	err := fmt.Errorf("load job: %w", errs.NotFound("JOB_NOT_FOUND", "job %s not found", "x"))
	if got := errs.Reason(err); got != "JOB_NOT_FOUND" {
		t.Errorf("reason %q", got)
	}
	if got := errs.CodeOf(err); got != errs.CodeNotFound {
		t.Errorf("code %v", got)
	}
	if plain := errors.New("x"); errs.Reason(plain) != "" || errs.CodeOf(plain) != errs.CodeUnknown {
		t.Error("a plain error has a reason or code")
	}
}
