package events

import (
	"errors"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/formicary/formicary/libs/bus"
	"github.com/formicary/formicary/libs/errs"
	"github.com/formicary/formicary/libs/pgdb"
)

// fault says what the error of a batch tells of its messages.
func (c *Consumer) fault(err error) bus.Fault {
	code := codes.OK
	var s interface{ GRPCStatus() *status.Status }
	if errors.As(err, &s) {
		code = s.GRPCStatus().Code()
	}
	switch {
	case pgdb.Slow(err), code == codes.DeadlineExceeded, errs.CodeOf(err) == errs.CodeExhausted: // the last is too much for one message, too
		return bus.Slow
	case code == codes.Internal:
		return bus.Opaque
	case c.Temporary(err):
		return bus.Away
	}
	return bus.Content
}
