package rest

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"runtime/debug"
	"strconv"
	"sync"
	"time"

	"github.com/google/uuid"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"
	"google.golang.org/grpc/codes"
)

// exchange is a request on its way: the writer of its answer, and what is known of it for metrics and logs.
type exchange struct {
	http.ResponseWriter
	request *http.Request
	route   *route
	status  int
	failed  error // what the caller does not see
}

// writeTime is how long a client of a stream may take for one write.
const writeTime = 30 * time.Second

// WriteHeader remembers the status.
func (x *exchange) WriteHeader(code int) {
	if x.status == 0 {
		x.status = code
	}
	x.ResponseWriter.WriteHeader(code)
}

// Write writes; a stream may go on for ever, but each write has its time.
func (x *exchange) Write(b []byte) (int, error) {
	if x.status == 0 {
		x.WriteHeader(http.StatusOK)
	}
	if x.route != nil && x.route.stream {
		_ = http.NewResponseController(x.ResponseWriter).SetWriteDeadline(time.Now().Add(writeTime))
	}
	return x.ResponseWriter.Write(b)
}

// FlushError sends what was written.
func (x *exchange) FlushError() error { return http.NewResponseController(x.ResponseWriter).Flush() }

// Unwrap is for http.ResponseController.
func (x *exchange) Unwrap() http.ResponseWriter { return x.ResponseWriter }

// observe gives every request its id, keeps panics inside, and counts and logs.
func observe(log *slog.Logger, m *meters, next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		began := time.Now()
		x := &exchange{ResponseWriter: w, request: r}
		id := r.Header.Get(requestID)
		if !validID(id) {
			id = newID()
			r.Header.Set(requestID, id)
		}
		h := w.Header()
		h.Set(requestID, id)
		secure(h, r.TLS != nil)
		defer func() {
			if p := recover(); p != nil {
				x.panicked(r, p)
			}
			m.record(r.Context(), x, time.Since(began))
			if x.failed != nil {
				log.ErrorContext(r.Context(), "request failed", "request_id", id, "method", r.Method, "path", r.URL.Path, "error", x.failed)
			}
		}()
		next.ServeHTTP(x, r)
	})
}

// What browsers are told of answers: to load nothing for them and to show them nowhere. A page sets a policy of its own.
const (
	policy        = "default-src 'none'; frame-ancestors 'none'"
	policyOfFiles = policy + "; sandbox"
	yearOfTLS     = "max-age=31536000"
)

// secure adds the headers that keep browsers from making more of an answer than it is. There is none of CORS among them.
func secure(h http.Header, encrypted bool) {
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Cache-Control", "no-store")
	h.Set("Content-Security-Policy", policy)
	h.Set("Cross-Origin-Resource-Policy", "same-origin")
	h.Set("Referrer-Policy", "no-referrer")
	if encrypted {
		h.Set("Strict-Transport-Security", yearOfTLS)
	}
}

// panicked answers in place of the handler, or cuts the connection when the answer has begun.
func (x *exchange) panicked(r *http.Request, p any) {
	x.failed = fmt.Errorf("panic: %v\n%s", p, debug.Stack())
	if x.status == 0 {
		writeStatus(x, r, http.StatusInternalServerError, newStatus(codes.Internal, "", "internal error"))
		return
	}
	_ = http.NewResponseController(x.ResponseWriter).SetWriteDeadline(time.Unix(1, 0))
}

const longestID = 64

func validID(id string) bool {
	for _, c := range []byte(id) {
		switch {
		case c >= '0' && c <= '9', c >= 'a' && c <= 'z', c >= 'A' && c <= 'Z', c == '-', c == '_', c == '.':
		default:
			return false
		}
	}
	return id != "" && len(id) <= longestID
}

func newID() string {
	id, err := uuid.NewV7()
	if err != nil {
		return "none"
	}
	return id.String()
}

// meters measures requests by route and status.
type meters struct {
	took   metric.Float64Histogram
	labels sync.Map // key → metric.MeasurementOption
}

func newMeters(m metric.Meter) (*meters, error) {
	took, err := m.Float64Histogram("formicary_http_request_duration", metric.WithUnit("s"),
		metric.WithDescription("time of HTTP requests by route and status, streams left out"),
		metric.WithExplicitBucketBoundaries(.0005, .001, .002, .005, .01, .02, .05, .1, .2, .5, 1, 2, 5, 10, 30))
	if err != nil {
		return nil, fmt.Errorf("make HTTP histogram: %w", err)
	}
	return &meters{took: took}, nil
}

type labels struct {
	route  *route
	status int
}

func (m *meters) record(ctx context.Context, x *exchange, took time.Duration) {
	if x.route != nil && x.route.stream || x.status == http.StatusSwitchingProtocols { // these last as long as somebody likes
		return
	}
	key := labels{x.route, x.status}
	opt, ok := m.labels.Load(key)
	if !ok {
		path, verb := "other", "other"
		if x.route != nil {
			path, verb = x.route.path, x.route.verb
		}
		opt, _ = m.labels.LoadOrStore(key, metric.WithAttributeSet(attribute.NewSet(
			attribute.String("route", path), attribute.String("method", verb), attribute.String("status", strconv.Itoa(x.status)))))
	}
	if o, ok := opt.(metric.MeasurementOption); ok {
		m.took.Record(context.WithoutCancel(ctx), took.Seconds(), o)
	}
}
