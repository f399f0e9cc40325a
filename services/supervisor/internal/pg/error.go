package pg

import (
	"context"
	"errors"
	"io"
	"net"

	"github.com/jackc/pgx/v5/pgconn"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/formicary/formicary/libs/errs"
)

// Temporary says that what failed may work later without any change: a connection, a lock, a service that is away.
func Temporary(err error) bool {
	if pg, ok := errors.AsType[*pgconn.PgError](err); ok {
		switch pg.Code[:2] {
		case "08", "25", "40", "53", "55", "57", "58": // connection, transaction state, rollback, resources, object state, intervention, system
			return true
		}
		return false
	}
	var netErr net.Error
	switch {
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, context.Canceled), errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF),
		errors.Is(err, ErrLate), errors.As(err, &netErr), pgconn.SafeToRetry(err):
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
