package cli

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/formicary/formicary/libs/errs"
	jobv1 "github.com/formicary/formicary/proto/gen/formicary/job/v1"
)

// The exit codes.
const (
	exitOK          = 0
	exitFailed      = 1
	exitUsage       = 2
	exitNotFound    = 3
	exitDenied      = 4
	exitConflict    = 5
	exitUnavailable = 6
	exitCancelled   = 7
	exitRunning     = 8
	exitDetached    = 130
)

// exit is an error with an exit code of its own; without an error inside nothing is printed.
type exit struct {
	code int
	err  error
}

func (e *exit) Error() string {
	if e.err == nil {
		return fmt.Sprintf("exit code %d", e.code)
	}
	return e.err.Error()
}

func (e *exit) Unwrap() error { return e.err }

func usageError(err error) error {
	if _, ok := errors.AsType[*exit](err); ok {
		return err
	}
	return &exit{exitUsage, err}
}

// outcome is the error, if any, that tells the end of a request by the exit code.
func outcome(s jobv1.JobRequest_State) error {
	switch s {
	case jobv1.JobRequest_COMPLETED, jobv1.JobRequest_SKIPPED:
		return nil
	case jobv1.JobRequest_FAILED:
		return &exit{code: exitFailed}
	case jobv1.JobRequest_CANCELLED:
		return &exit{code: exitCancelled}
	default:
		return &exit{code: exitRunning}
	}
}

func exitCode(err error) int {
	if e, ok := errors.AsType[*exit](err); ok {
		return e.code
	}
	switch errs.CodeOf(err) {
	case errs.CodeInvalid:
		return exitUsage
	case errs.CodeNotFound:
		return exitNotFound
	case errs.CodeDenied, errs.CodeUnauthenticated:
		return exitDenied
	case errs.CodeConflict, errs.CodePrecondition, errs.CodeAborted:
		return exitConflict
	case errs.CodeUnavailable, errs.CodeExhausted:
		return exitUnavailable
	case errs.CodeUnknown:
	}
	if late(err) {
		return exitUnavailable
	}
	return exitFailed
}

// late says that an answer did not come in time.
func late(err error) bool {
	return errors.Is(err, context.DeadlineExceeded) || status.Code(err) == codes.DeadlineExceeded
}

// report prints err with everything it knows and returns the exit code.
func (a *app) report(err error) int {
	if err == nil {
		return exitOK
	}
	var e *exit
	if errors.As(err, &e) && e.err == nil {
		return e.code
	}
	var typed *errs.Error
	switch {
	case errors.As(err, &typed) && len(typed.Violations) > 0:
		for _, v := range typed.Violations {
			line(a.Err, violation(v))
		}
		if n := len(typed.Violations); n > 1 {
			printf(a.Err, "formicary: %d faults; nothing was stored\n", n)
		} else {
			line(a.Err, "formicary: nothing was stored")
		}
	case errors.As(err, &typed) && typed.Code == errs.CodeUnavailable && typed.Reason == "" && a.used.grpc != "":
		line(a.Err, a.used.silent(typed.Message))
	case status.Code(err) == codes.DeadlineExceeded:
		printf(a.Err, "formicary: no answer from %s in time\n", a.used.grpc)
	case exitCode(err) == exitUsage:
		printf(a.Err, "formicary: %v\nTry '%s --help'.\n", err, a.command)
	default:
		printf(a.Err, "formicary: %v\n", err)
	}
	return exitCode(err)
}

// violation formats a fault as "where: what [CODE]".
func violation(v errs.Violation) string {
	s := v.Description
	if v.Field != "" {
		s = v.Field + ": " + s
	}
	if v.Reason != "" && !strings.Contains(s, "["+v.Reason+"]") {
		s += " [" + v.Reason + "]"
	}
	return s
}
