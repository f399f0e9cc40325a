package rest

import (
	"context"
	"errors"
	"math"
	"net/http"
	"strconv"

	"github.com/grpc-ecosystem/grpc-gateway/v2/runtime"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/encoding/protojson"

	"github.com/formicary/formicary/libs/rpc"
)

const domain = "formicary"

// newStatus returns an error that arose here.
func newStatus(code codes.Code, reason, message string) *status.Status {
	s := status.New(code, message)
	if d, err := s.WithDetails(&errdetails.ErrorInfo{Reason: reason, Domain: domain}); err == nil {
		return d
	}
	return s
}

// writeError is the error handler of the generated routes.
func writeError(_ context.Context, _ *runtime.ServeMux, _ runtime.Marshaler, w http.ResponseWriter, r *http.Request, err error) {
	respond(w, r, err)
}

// respond answers with an error.
func respond(w http.ResponseWriter, r *http.Request, err error) {
	if u, ok := errors.AsType[*unsupported](err); ok {
		writeStatus(w, r, http.StatusUnsupportedMediaType, newStatus(codes.InvalidArgument, "CONTENT_TYPE_UNSUPPORTED", u.Error()))
		return
	}
	if routing, ok := errors.AsType[*runtime.HTTPStatusError](err); ok {
		writeStatus(w, r, routing.HTTPStatus, newStatus(codes.InvalidArgument, "REQUEST_MALFORMED", routing.Err.Error()))
		return
	}
	s := rpc.ToStatus(err)
	if x, ok := w.(*exchange); ok && s.Code() == codes.Internal {
		x.failed = err
	}
	if s.Code() == codes.InvalidArgument && len(s.Details()) == 0 { // the generated code could not decode the request
		s = newStatus(codes.InvalidArgument, "REQUEST_MALFORMED", s.Message())
	}
	writeStatus(w, r, httpCode(s.Code()), s)
}

// httpCode is the usual mapping, but for the state that does not allow it: that is a conflict, not a fault of the
// request.
func httpCode(c codes.Code) int {
	if c == codes.FailedPrecondition {
		return http.StatusConflict
	}
	return runtime.HTTPStatusFromCode(c)
}

// writeStatus writes the error as JSON, with the id of the request.
func writeStatus(w http.ResponseWriter, _ *http.Request, code int, s *status.Status) {
	h := w.Header()
	if d, err := s.WithDetails(&errdetails.RequestInfo{RequestId: h.Get(requestID)}); err == nil {
		s = d
	}
	body, err := protojson.MarshalOptions{UseProtoNames: true}.Marshal(s.Proto())
	if err != nil { // a detail of a type that is not known here
		body, _ = protojson.Marshal(status.New(s.Code(), s.Message()).Proto())
	}
	h.Del("Transfer-Encoding")
	h.Del("Trailer")
	h.Set("Content-Type", typeJSON)
	if code == http.StatusServiceUnavailable || code == http.StatusTooManyRequests {
		h.Set("Retry-After", strconv.Itoa(seconds(s)))
	}
	w.WriteHeader(code)
	_, _ = w.Write(append(body, '\n')) // #nosec G705 -- JSON, and the browser is told not to guess otherwise
}

// seconds is how long a caller waits who is told to try again: what the status says, or one.
func seconds(s *status.Status) int {
	for _, d := range s.Details() {
		if r, ok := d.(*errdetails.RetryInfo); ok {
			return max(1, int(math.Ceil(r.GetRetryDelay().AsDuration().Seconds())))
		}
	}
	return 1
}

// streamStatus is the error that ends a stream that has begun.
func streamStatus(_ context.Context, err error) *status.Status { return rpc.ToStatus(err) }
