package pg

import (
	"errors"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/formicary/formicary/libs/errs"
	"github.com/formicary/formicary/libs/pgdb"
	"github.com/formicary/formicary/services/supervisor/internal/step"
)

// Temporary says that what failed may work later without any change: a connection, a lock, a service that is away.
func Temporary(err error) bool {
	if pgdb.Temporary(err) || errors.Is(err, step.ErrLate) {
		return true
	}
	switch errs.CodeOf(err) {
	case errs.CodeUnavailable, errs.CodeExhausted, errs.CodeAborted:
		return true
	case errs.CodeUnknown, errs.CodeInvalid, errs.CodeNotFound, errs.CodeConflict, errs.CodePrecondition, errs.CodeDenied, errs.CodeUnauthenticated:
	}
	var s interface{ GRPCStatus() *status.Status }
	if errors.As(err, &s) {
		code := s.GRPCStatus().Code()
		return code == codes.DeadlineExceeded || code == codes.Canceled || code == codes.Unavailable || code == codes.Internal
	}
	return false
}
