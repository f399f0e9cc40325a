package rpc

import (
	"context"
	"errors"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/protoadapt"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/formicary/formicary/libs/errs"
)

const domain = "formicary"

var codeOf = map[errs.Code]codes.Code{
	errs.CodeInvalid:         codes.InvalidArgument,
	errs.CodeNotFound:        codes.NotFound,
	errs.CodeConflict:        codes.AlreadyExists,
	errs.CodePrecondition:    codes.FailedPrecondition,
	errs.CodeAborted:         codes.Aborted,
	errs.CodeUnavailable:     codes.Unavailable,
	errs.CodeExhausted:       codes.ResourceExhausted,
	errs.CodeDenied:          codes.PermissionDenied,
	errs.CodeUnauthenticated: codes.Unauthenticated,
}

// ToStatus turns an error into what a caller may see: a typed error whole, the end of the caller's context as such, a
// status made by a handler as it is, a server that was lost as UNAVAILABLE, anything else as internal without its text.
func ToStatus(err error) *status.Status {
	if typed, ok := errors.AsType[*errs.Error](err); ok {
		return fromTyped(typed)
	}
	switch {
	case errors.Is(err, context.Canceled):
		return status.New(codes.Canceled, "cancelled by the caller")
	case errors.Is(err, context.DeadlineExceeded):
		return status.New(codes.DeadlineExceeded, "not done in time")
	}
	if s, ok := err.(interface{ GRPCStatus() *status.Status }); ok {
		return s.GRPCStatus()
	}
	switch {
	case away(err):
		return fromTyped(errAway)
	case slow(err):
		return status.New(codes.DeadlineExceeded, "not done in time")
	}
	return status.New(codes.Internal, "internal error")
}

func fromTyped(e *errs.Error) *status.Status {
	s := status.New(codeOf[e.Code], e.Message)
	details := []protoadapt.MessageV1{&errdetails.ErrorInfo{Reason: e.Reason, Domain: domain, Metadata: e.Meta}}
	if e.RetryAfter > 0 {
		details = append(details, &errdetails.RetryInfo{RetryDelay: durationpb.New(e.RetryAfter)})
	}
	if len(e.Violations) > 0 {
		bad := &errdetails.BadRequest{}
		for _, v := range e.Violations {
			bad.FieldViolations = append(bad.FieldViolations, &errdetails.BadRequest_FieldViolation{
				Field: v.Field, Description: v.Description, Reason: v.Reason,
			})
		}
		details = append(details, bad)
	}
	if d, err := s.WithDetails(details...); err == nil {
		return d
	}
	return s
}

// FromStatus turns the status of a call back into a typed error, so that callers branch on errs and never on gRPC.
// Codes that no typed error has stay what they are.
func FromStatus(err error) error {
	s, ok := status.FromError(err)
	if err == nil || !ok {
		return err
	}
	for code, wire := range codeOf {
		if wire != s.Code() {
			continue
		}
		e := &errs.Error{Code: code, Message: s.Message()}
		for _, d := range s.Details() {
			switch d := d.(type) {
			case *errdetails.ErrorInfo:
				e.Reason, e.Meta = d.GetReason(), d.GetMetadata()
			case *errdetails.RetryInfo:
				e.RetryAfter = d.GetRetryDelay().AsDuration()
			case *errdetails.BadRequest:
				for _, v := range d.GetFieldViolations() {
					e.Violations = append(e.Violations, errs.Violation{
						Field: v.GetField(), Description: v.GetDescription(), Reason: v.GetReason(),
					})
				}
			}
		}
		return e
	}
	return err
}
