// Package errs is the one typed error that crosses a service's border: a code, a reason that programs branch on and a
// message that a person reads. Every other error stays inside and reaches a caller as internal, without its text.
package errs

import (
	"errors"
	"fmt"
	"time"
)

// Code says what kind of failure it is; each maps to the gRPC code of the same meaning.
type Code int

// The codes.
const (
	CodeUnknown         Code = iota // not a typed error
	CodeInvalid                     // the request is wrong whatever the state
	CodeNotFound                    // the object does not exist for this caller
	CodeConflict                    // it exists already, or with another content
	CodePrecondition                // the state of the object does not allow it
	CodeAborted                     // a concurrent change won; fenced writers get this
	CodeUnavailable                 // try again later
	CodeExhausted                   // a limit is reached; try again later
	CodeDenied                      // the caller may not
	CodeUnauthenticated             // the caller is unknown
)

// Violation is one fault of a request.
type Violation struct {
	// Field is where it is: a field path, or file:line:column.
	Field string
	// Description says what is wrong and what was expected.
	Description string
	// Reason is a stable code.
	Reason string
}

// Error is the typed error.
type Error struct {
	Code       Code
	Reason     string
	Message    string
	Violations []Violation
	Meta       map[string]string
	// RetryAfter is when the same call may work; 0 when that is not known.
	RetryAfter time.Duration
}

// Error returns the message.
func (e *Error) Error() string { return e.Message }

// WithViolations adds the faults of the request.
func (e *Error) WithViolations(v ...Violation) *Error {
	e.Violations = append(e.Violations, v...)
	return e
}

// WithMeta adds a detail for programs.
func (e *Error) WithMeta(key, value string) *Error {
	if e.Meta == nil {
		e.Meta = map[string]string{}
	}
	e.Meta[key] = value
	return e
}

// After says when the same call may work.
func (e *Error) After(d time.Duration) *Error {
	e.RetryAfter = d
	return e
}

func newError(code Code, reason, format string, args []any) *Error {
	return &Error{Code: code, Reason: reason, Message: fmt.Sprintf(format, args...)}
}

// Invalid says that the request is wrong whatever the state.
func Invalid(reason, format string, args ...any) *Error {
	return newError(CodeInvalid, reason, format, args)
}

// NotFound says that the object does not exist for this caller.
func NotFound(reason, format string, args ...any) *Error {
	return newError(CodeNotFound, reason, format, args)
}

// Conflict says that the object exists already, or with another content.
func Conflict(reason, format string, args ...any) *Error {
	return newError(CodeConflict, reason, format, args)
}

// Precondition says that the state of the object does not allow it.
func Precondition(reason, format string, args ...any) *Error {
	return newError(CodePrecondition, reason, format, args)
}

// Aborted says that a concurrent change won.
func Aborted(reason, format string, args ...any) *Error {
	return newError(CodeAborted, reason, format, args)
}

// Unavailable says that the same call may work later.
func Unavailable(reason, format string, args ...any) *Error {
	return newError(CodeUnavailable, reason, format, args)
}

// Exhausted says that a limit is reached.
func Exhausted(reason, format string, args ...any) *Error {
	return newError(CodeExhausted, reason, format, args)
}

// Denied says that the caller may not.
func Denied(reason, format string, args ...any) *Error {
	return newError(CodeDenied, reason, format, args)
}

// Unauthenticated says that the caller is unknown.
func Unauthenticated(reason, format string, args ...any) *Error {
	return newError(CodeUnauthenticated, reason, format, args)
}

// ErrShutdown says that this replica is ending. The same call may work elsewhere, or here when it is back.
var ErrShutdown = Unavailable("SHUTTING_DOWN", "this server is ending; try again")

// Reason returns the reason of the typed error in the chain of err, or "".
func Reason(err error) string {
	if e, ok := errors.AsType[*Error](err); ok {
		return e.Reason
	}
	return ""
}

// CodeOf returns the code of the typed error in the chain of err, or CodeUnknown.
func CodeOf(err error) Code {
	if e, ok := errors.AsType[*Error](err); ok {
		return e.Code
	}
	return CodeUnknown
}
