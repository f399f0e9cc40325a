package rpc

import (
	"errors"
	"io"
	"net"
	"slices"
	"syscall"

	"github.com/formicary/formicary/libs/errs"
)

// errAway is what a caller sees of a failure that is nobody's fault: the same call may work in a moment.
var errAway = errs.Unavailable("AWAY", "a server that it needs is away for a moment; try again") //nolint:gochecknoglobals // constant

// away says that an error tells of a database, or another server, that was lost in the middle: its connection broke, it
// restarts or has no room. Whether the call was done is not known. PostgreSQL's errors are known by their methods, so that
// who serves calls does not need its driver.
func away(err error) bool {
	if s, ok := errors.AsType[interface {
		error
		SQLState() string
	}](err); ok {
		state := s.SQLState()
		if len(state) != 5 {
			return false
		}
		switch state[:2] {
		case "08", "40": // connection, lost a conflict
			return true
		case "53": // resources; a full disk is not free again in a moment
			return state != "53100"
		}
		// 57P: it is ended or ends connections; a transaction that idled too long, a lock that did not come
		return state[:3] == "57P" || state == "25P03" || state == "55P03"
	}
	if r, ok := errors.AsType[interface {
		error
		SafeToRetry() bool
	}](err); ok && r.SafeToRetry() {
		return true
	}
	if no, ok := errors.AsType[syscall.Errno](err); ok { // a file's error is one, too
		return slices.Contains([]syscall.Errno{
			syscall.EPIPE, syscall.ECONNRESET, syscall.ECONNREFUSED, syscall.ECONNABORTED, syscall.ETIMEDOUT, syscall.EHOSTUNREACH,
			syscall.ENETUNREACH,
		}, no)
	}
	_, network := errors.AsType[net.Error](err)
	return network || errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, net.ErrClosed)
}

// slow says that a statement took longer than statements may.
func slow(err error) bool {
	s, ok := errors.AsType[interface {
		error
		SQLState() string
	}](err)
	return ok && s.SQLState() == "57014"
}
