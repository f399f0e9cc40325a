package apigateway_test

import (
	"bufio"
	"io"
	"net"
	"net/http"
	"runtime"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/formicary/formicary/libs/errs"
	"github.com/formicary/formicary/libs/rpc"
	jobv1 "github.com/formicary/formicary/proto/gen/formicary/job/v1"
)

// send opens a connection and sends the beginning of a request.
func (w *world) send(text string) net.Conn {
	w.t.Helper()
	conn, err := net.Dial("tcp", strings.TrimPrefix(w.base, "http://"))
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() { _ = conn.Close() })
	if err := conn.SetDeadline(time.Now().Add(time.Minute)); err != nil {
		w.t.Fatal(err)
	}
	if _, err := io.WriteString(conn, text); err != nil {
		w.t.Fatal(err)
	}
	return conn
}

// heap is how much memory is in use, in bytes.
func heap() int64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

// TestSlowClients opens many connections that never finish what they say: others are answered meanwhile, what is only
// announced takes no room, and in the end the connections are closed.
func TestSlowClients(t *testing.T) {
	w := start(t, func(s *setting) { s.conf.HeaderTime, s.conf.BodyTime = 3*time.Second, 3*time.Second })
	w.do("GET", "/api/v1/jobs/requests/x", "")
	before := heap()
	const post = "POST /api/v1/jobs/requests HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
	var slow []net.Conn
	for range 50 {
		slow = append(slow,
			w.send("GET /api/v1/jobs/requests/x HTTP/1.1\r\nHost: localhost\r\nX-Slow: "),
			w.send(post+"Content-Length: 4194304\r\n\r\n{"),
			w.send(post+"Transfer-Encoding: chunked\r\n\r\n400000\r\n{"),
			w.send(post+"Content-Length: 4611686018427387904\r\n\r\n{"))
	}
	if got := w.do("GET", "/api/v1/jobs/requests/x", ""); got.code != http.StatusOK {
		t.Errorf("another client is answered %d %s", got.code, got.body)
	}
	if _, err := jobv1.NewJobRequestServiceClient(w.grpc).GetJobRequest(t.Context(), &jobv1.GetJobRequestRequest{Id: id}); err != nil {
		t.Errorf("another client over gRPC: %v", err)
	}
	if grown := heap() - before; grown > 32<<20 {
		t.Errorf("%d connections took %d MiB", len(slow), grown>>20)
	}
	for i, conn := range slow {
		if _, err := io.Copy(io.Discard, conn); err != nil && !strings.Contains(err.Error(), "reset") {
			t.Fatalf("connection %d is not closed: %v", i, err)
		}
	}
}

// TestTooMuchIsRefused sends what is too large, too long or too deep, and goes on.
func TestTooMuchIsRefused(t *testing.T) {
	w := start(t)
	answers := func(text string) int {
		res, err := http.ReadResponse(bufio.NewReader(w.send(text)), nil)
		if err != nil {
			t.Fatal(err)
		}
		_ = res.Body.Close()
		return res.StatusCode
	}
	long := strings.Repeat("x", 100<<10)
	for name, text := range map[string]string{
		"header":  "GET /livez HTTP/1.1\r\nHost: localhost\r\nX-Long: " + long + "\r\n\r\n",
		"headers": "GET /livez HTTP/1.1\r\nHost: localhost\r\n" + strings.Repeat("X-Many: 0123456789\r\n", 8<<10) + "\r\n",
		"path":    "GET /" + long + " HTTP/1.1\r\nHost: localhost\r\n\r\n",
	} {
		if code := answers(text); code != http.StatusRequestHeaderFieldsTooLarge {
			t.Errorf("a long %s: %d", name, code)
		}
	}
	deep := strings.Repeat(`[`, 1<<20)
	before := heap()
	for name, body := range map[string]string{
		"in a value":         `{"job_type":"x","params":{"a":` + deep,
		"in an unknown one":  `{"nothing":` + deep,
		"of objects":         `{"job_type":"x","params":` + strings.Repeat(`{"a":`, 1<<19),
		"by itself":          deep,
		"of repeated fields": `{` + strings.Repeat(`"job_type":"x",`, 1<<17) + `"job_type":"x"}`,
	} {
		if got := w.do("POST", "/api/v1/jobs/requests", body, "Content-Type: application/json"); got.code != http.StatusBadRequest || len(got.body) > 4<<10 {
			t.Errorf("depth %s: %d, %d bytes", name, got.code, len(got.body))
		}
	}
	if got := w.do("POST", "/api/v1/jobs/requests", strings.Repeat(" ", 5<<20), "Content-Type: application/json"); got.code != http.StatusRequestEntityTooLarge {
		t.Errorf("a large body: %d", got.code)
	}
	client := jobv1.NewJobRequestServiceClient(w.grpc)
	for range 3 {
		_, err := client.SubmitJob(t.Context(), &jobv1.SubmitJobRequest{JobType: strings.Repeat("x", 5<<20)})
		if c := status.Code(err); c != codes.ResourceExhausted && errs.Reason(err) != rpc.ReasonTooLarge {
			t.Errorf("a large message: %v", err)
		}
	}
	if grown := heap() - before; grown > 32<<20 {
		t.Errorf("it took %d MiB", grown>>20)
	}
	if got := w.do("GET", "/api/v1/jobs/requests/x", ""); got.code != http.StatusOK || w.peers.count() != 1 {
		t.Errorf("at the end: %d, %d calls came through", got.code, w.peers.count())
	}
}

// TestManyStreams opens more streams than there may be: the others are refused, and calls are answered.
func TestManyStreams(t *testing.T) {
	w := start(t, func(s *setting) { s.conf.MaxStreams = 8 })
	refused := 0
	for range 40 {
		s, err := jobv1.NewEventServiceClient(w.grpc).WatchEvents(t.Context(), &jobv1.WatchEventsRequest{})
		if err == nil {
			_, err = s.Recv()
		}
		if errs.Reason(err) == "TOO_MANY_STREAMS" {
			refused++
		} else if err != nil {
			t.Fatal(err)
		}
	}
	if refused != 32 {
		t.Errorf("%d streams were refused", refused)
	}
	if got := w.do("GET", "/api/v1/events", ""); got.code != http.StatusTooManyRequests || got.header.Get("Retry-After") == "" {
		t.Errorf("one more over HTTP: %d %v", got.code, got.header)
	}
	if got := w.do("GET", "/api/v1/jobs/requests/x", ""); got.code != http.StatusOK {
		t.Errorf("a call: %d", got.code)
	}
}

// TestNothingButTheAPIIsServed walks what a port may leak: profiles, metrics, a list of the methods.
func TestNothingButTheAPIIsServed(t *testing.T) {
	w := start(t)
	for _, path := range []string{
		"/debug/pprof/", "/debug/pprof/heap", "/debug/pprof/profile", "/debug/pprof/cmdline", "/debug/vars", "/metrics", "/debug/requests", "/healthz/../debug/pprof/",
		"/.git/config", "/.env", "/swagger.json", "/", "/actuator/env", "/api/v1/jobs/requests/../../../debug/pprof/",
	} {
		if got := w.do("GET", path, ""); got.code != http.StatusNotFound {
			t.Errorf("%s: %d %.100s", path, got.code, got.body)
		}
	}
	for _, method := range []string{
		"/grpc.reflection.v1.ServerReflection/ServerReflectionInfo", "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo",
		"/grpc.channelz.v1.Channelz/GetServers", "/grpc.channelz.v1.Channelz/GetTopChannels",
	} {
		err := w.grpc.Invoke(t.Context(), method, &jobv1.GetJobRequestRequest{}, &jobv1.GetJobRequestResponse{})
		if status.Code(err) != codes.Unimplemented {
			t.Errorf("%s: %v", method, err)
		}
	}
}

// TestHeadersOfAnswers: browsers make nothing of an answer but what it is, whichever it is.
func TestHeadersOfAnswers(t *testing.T) {
	w := start(t)
	for _, c := range []struct{ verb, path string }{
		{"GET", "/api/v1/jobs/requests/x"},
		{"GET", "/nothing"},
		{"GET", "/openapi.json"},
		{"GET", "/livez"},
		{"POST", "/api/v1/jobs/requests"},
		{"GET", "/api/v1/jobs/requests?x=1"},
		{"OPTIONS", "/api/v1/jobs/requests"},
		{"GET", "/api/v1/artifacts/x/download?format=html"},
	} {
		got := w.do(c.verb, c.path, "", "Origin: https://evil.example", "Access-Control-Request-Method: POST", "Access-Control-Request-Headers: authorization")
		for name, want := range map[string]string{
			"X-Content-Type-Options": "nosniff", "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'", "Referrer-Policy": "no-referrer",
			"Cross-Origin-Resource-Policy": "same-origin", "Cache-Control": "no-store", "Strict-Transport-Security": "",
		} {
			if got.header.Get(name) != want {
				t.Errorf("%s %s: %s is %q", c.verb, c.path, name, got.header.Get(name))
			}
		}
		for name := range got.header {
			if strings.HasPrefix(name, "Access-Control-") {
				t.Errorf("%s %s answers %s", c.verb, c.path, name)
			}
		}
		if kind := got.header.Get("Content-Type"); strings.Contains(kind, "html") || strings.Contains(kind, "svg") {
			t.Errorf("%s %s is %s", c.verb, c.path, kind)
		}
	}
}
