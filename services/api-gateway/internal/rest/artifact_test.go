package rest

import (
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"google.golang.org/grpc"

	"github.com/formicary/formicary/libs/testkit"
	executionv1 "github.com/formicary/formicary/proto/gen/formicary/execution/v1"
)

func TestMain(m *testing.M) { testkit.Main(m) }

// object is an artifact of a few bytes, at the service that reads it.
type object struct {
	executionv1.ArtifactServiceClient
	data string
}

func (o object) ReadArtifact(_ context.Context, req *executionv1.ReadArtifactRequest, _ ...grpc.CallOption) (grpc.ServerStreamingClient[executionv1.ReadArtifactResponse], error) {
	from := min(req.GetOffset(), int64(len(o.data)))
	part := o.data[from:]
	if n := req.GetLength(); n > 0 {
		part = part[:min(n, int64(len(part)))]
	}
	return &pieces{next: &executionv1.ReadArtifactResponse{Name: "a", Total: int64(len(o.data)), Data: []byte(part)}}, nil
}

type pieces struct {
	grpc.ServerStreamingClient[executionv1.ReadArtifactResponse]
	next *executionv1.ReadArtifactResponse
}

func (p *pieces) Recv() (*executionv1.ReadArtifactResponse, error) {
	m := p.next
	if p.next = nil; m == nil {
		return nil, io.EOF
	}
	return m, nil
}

func TestRanges(t *testing.T) {
	const all = "0123456789"
	for _, c := range []struct {
		span   string
		status int
		body   string
		told   string
	}{
		{"", 200, all, ""},
		{"bytes=2-4", 206, "234", "bytes 2-4/10"},
		{"bytes=7-", 206, "789", "bytes 7-9/10"},
		{"bytes=0-9223372036854775807", 206, all, "bytes 0-9/10"},
		{"bytes=3-9223372036854775807", 206, "3456789", "bytes 3-9/10"},
		{"bytes=-5", 206, "56789", "bytes 5-9/10"},
		{"bytes=-50", 206, all, "bytes 0-9/10"},
		{"bytes=-0", 416, "", "bytes */10"},
		{"bytes=10-", 416, "", "bytes */10"},
		{"bytes=4-2", 200, all, ""},
		{"bytes=-", 200, all, ""},
		{"bytes=--5", 200, all, ""},
		{"bytes=0-9223372036854775808", 200, all, ""},
		{"lines=1-2", 200, all, ""},
	} {
		for _, method := range []string{http.MethodGet, http.MethodHead} {
			r := httptest.NewRequestWithContext(t.Context(), method, "/api/v1/artifacts/x/download", nil)
			r.Header.Set("Range", c.span)
			w := httptest.NewRecorder()
			artifacts{object{data: all}}.download(w, r)
			want := c.body
			if method == http.MethodHead {
				want = ""
			}
			if got := w.Header().Get("Content-Range"); w.Code != c.status || w.Body.String() != want || got != c.told {
				t.Errorf("%s %s: %d, %q, %q", method, c.span, w.Code, w.Body, got)
			}
		}
	}
}

// TestFilesAreNoPages: whatever an artifact holds, a browser stores it and shows nothing.
func TestFilesAreNoPages(t *testing.T) {
	for _, query := range []string{"", "?file=evil.svg", "?file=index.html", "?format=zip"} {
		r := httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/api/v1/artifacts/x/download"+query, nil)
		w := httptest.NewRecorder()
		secure(w.Header(), true)
		artifacts{object{data: "<svg onload=alert(1)>"}}.download(w, r)
		h := w.Header()
		if w.Code != http.StatusOK || !strings.HasPrefix(h.Get("Content-Disposition"), "attachment") || !strings.HasSuffix(h.Get("Content-Security-Policy"), "; sandbox") ||
			h.Get("X-Content-Type-Options") != "nosniff" || strings.Contains(h.Get("Content-Type"), "svg") || strings.Contains(h.Get("Content-Type"), "html") {
			t.Errorf("%q: %d %v", query, w.Code, h)
		}
		if h.Get("Strict-Transport-Security") == "" {
			t.Error("over TLS nothing says that it is to stay so")
		}
	}
}
