package telemetry_test

import (
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/formicary/formicary/libs/telemetry"
	"github.com/formicary/formicary/libs/testkit"
)

func TestMain(m *testing.M) { testkit.Main(m) }

// TestProfilesAreForThisMachine asks for every page from here, from elsewhere, and by way of a page of another site.
func TestProfilesAreForThisMachine(t *testing.T) {
	metrics, err := telemetry.NewMetrics()
	if err != nil {
		t.Fatal(err)
	}
	h := telemetry.NewOps(metrics).Handler()
	ask := func(path, from, host string) int {
		r := httptest.NewRequestWithContext(t.Context(), http.MethodGet, path, nil)
		r.RemoteAddr, r.Host = from, host
		w := httptest.NewRecorder()
		h.ServeHTTP(w, r)
		return w.Code
	}
	const here, elsewhere = "127.0.0.1:1234", "192.0.2.1:1234"
	for _, path := range []string{"/debug/pprof/", "/debug/pprof/heap", "/debug/pprof/goroutine?debug=2"} {
		for _, host := range []string{"127.0.0.1:7779", "localhost:7779", "localhost", "[::1]:7779"} {
			if code := ask(path, here, host); code != http.StatusOK {
				t.Errorf("%s at %s: %d", path, host, code)
			}
		}
	}
	for _, path := range []string{"/debug/pprof/", "/debug/pprof/heap", "/debug/pprof/profile", "/debug/pprof/trace", "/debug/pprof/goroutine"} {
		for _, c := range [][2]string{{elsewhere, "127.0.0.1"}, {"[2001:db8::1]:1", "localhost"}, {"", "localhost"}, {"@", "localhost"}, {here, "evil.example"}, {here, "127.0.0.1.evil.example:80"}, {here, ""}} {
			if code := ask(path, c[0], c[1]); code != http.StatusForbidden {
				t.Errorf("%s from %q at %q: %d", path, c[0], c[1], code)
			}
		}
	}
	for _, path := range []string{"/livez", "/readyz", "/metrics"} {
		if code := ask(path, elsewhere, "colony"); code != http.StatusOK {
			t.Errorf("%s: %d", path, code)
		}
	}
	for _, path := range []string{"/debug/pprof/cmdline", "/debug/vars", "/"} {
		if code := ask(path, here, "localhost"); code != http.StatusNotFound {
			t.Errorf("%s: %d", path, code)
		}
	}
}
