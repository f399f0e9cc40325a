package rest

import (
	"errors"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/formicary/formicary/libs/errs"
	"github.com/formicary/formicary/libs/rpc"
)

// TestFloodIsToldWhenToComeAgain has an address that may not call just now: nobody looks at what it asks.
func TestFloodIsToldWhenToComeAgain(t *testing.T) {
	for after, want := range map[time.Duration]string{0: "1", time.Millisecond: "1", 2500 * time.Millisecond: "3"} {
		limited := errs.Exhausted("RATE_LIMITED", "too many").After(after)
		h := identified(func(address string) error {
			if address != "192.0.2.1" {
				t.Errorf("asked about %q", address)
			}
			return limited
		}, http.HandlerFunc(func(http.ResponseWriter, *http.Request) { t.Error("it was let in") }))
		r := httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/", nil)
		r.Header.Set("X-Forwarded-For", "198.51.100.1")
		w := httptest.NewRecorder()
		h.ServeHTTP(w, r)
		if w.Code != http.StatusTooManyRequests || w.Header().Get("Retry-After") != want {
			t.Errorf("%s: %d %v", after, w.Code, w.Header())
		}
		var e *errs.Error
		if err := rpc.FromStatus(rpc.ToStatus(limited).Err()); !errors.As(err, &e) || e.RetryAfter != after || e.Reason != "RATE_LIMITED" {
			t.Errorf("over gRPC it is %#v", err)
		}
	}
}
