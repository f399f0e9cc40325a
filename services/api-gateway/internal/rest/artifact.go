package rest

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"mime"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"google.golang.org/grpc/metadata"

	"github.com/formicary/formicary/libs/errs"
	executionv1 "github.com/formicary/formicary/proto/gen/formicary/execution/v1"
)

// artifacts sends and takes files as they are, which generated handlers cannot.
type artifacts struct {
	to executionv1.ArtifactServiceClient
}

// asked is the context of a call for a request.
func asked(r *http.Request) context.Context {
	return only(r.Context(), metadata.MD{strings.ToLower(requestID): r.Header.Values(requestID)})
}

// query reads the parameters of a request; one that nobody knows is refused.
func query(r *http.Request, known ...string) (url.Values, error) {
	if err := checkTexts(r); err != nil {
		return nil, err
	}
	q, err := url.ParseQuery(r.URL.RawQuery)
	if err != nil {
		return nil, errs.Invalid("REQUEST_MALFORMED", "query: %s", err)
	}
	for name := range q {
		if !slices.Contains(known, name) {
			return nil, errs.Invalid("PARAMETER_UNKNOWN", "unknown query parameter %q; known are: %s", name, strings.Join(known, ", "))
		}
	}
	return q, nil
}

// download sends an artifact, or a file or a range of it.
func (a artifacts) download(w http.ResponseWriter, r *http.Request) {
	x := streaming(w, r)
	q, err := query(r, "file", "format")
	if err != nil {
		respond(w, r, err)
		return
	}
	req := &executionv1.ReadArtifactRequest{Id: r.PathValue("id"), File: q.Get("file")}
	kind := "application/octet-stream"
	switch format := q.Get("format"); format {
	case "", "raw":
		if req.GetFile() == "" {
			kind = "application/zstd"
		}
	case "tar":
		req.Format, kind = executionv1.ReadArtifactRequest_FORMAT_TAR, "application/x-tar"
	case "zip":
		req.Format, kind = executionv1.ReadArtifactRequest_FORMAT_ZIP, "application/zip"
	default:
		respond(w, r, errs.Invalid("REQUEST_INVALID", "format is %q, want raw, tar or zip", format))
		return
	}
	ctx, cancel := context.WithCancel(asked(r))
	defer cancel()
	ranged := false
	if req.GetFormat() == executionv1.ReadArtifactRequest_FORMAT_UNSPECIFIED {
		if ranged, err = a.readRange(ctx, r.Header.Get("Range"), req); err != nil {
			respond(w, r, err)
			return
		}
	}
	stream, err := a.to.ReadArtifact(ctx, req)
	if err != nil {
		respond(w, r, err)
		return
	}
	first, err := stream.Recv()
	if err != nil {
		respond(w, r, err)
		return
	}
	head(w, req, first, kind, ranged)
	if r.Method == http.MethodHead {
		return
	}
	for m := first; ; {
		if _, err := w.Write(m.GetData()); err != nil {
			return // whoever asked has gone
		}
		if m, err = stream.Recv(); err != nil {
			break
		}
	}
	if !errors.Is(err, io.EOF) && x != nil { // the answer has begun: only a cut connection says that it is not whole
		x.failed = err
		_ = http.NewResponseController(x.ResponseWriter).SetWriteDeadline(time.Unix(1, 0))
	}
}

// streaming notes that an answer may take as long as it likes, as long as each write goes on.
func streaming(w http.ResponseWriter, r *http.Request) *exchange {
	x, _ := w.(*exchange)
	if x != nil {
		x.route = &route{verb: r.Method, path: r.Pattern, stream: true}
	}
	return x
}

// readRange reads a range of the form bytes=a-b, bytes=a- or bytes=-n, the last n bytes; others are passed over, as HTTP allows.
func (a artifacts) readRange(ctx context.Context, header string, req *executionv1.ReadArtifactRequest) (bool, error) {
	from, to, ok := strings.Cut(strings.TrimPrefix(header, "bytes="), "-")
	if !ok || !strings.HasPrefix(header, "bytes=") {
		return false, nil
	}
	last, err := strconv.ParseUint(to, 10, 63)
	if to != "" && err != nil {
		return false, nil //nolint:nilerr // it is no range
	}
	if from == "" && to != "" {
		total, err := a.size(ctx, req)
		req.Offset = max(total-int64(last), 0) // #nosec G115 -- of 63 bits
		return true, err
	}
	first, err := strconv.ParseUint(from, 10, 63)
	if err != nil || to != "" && last < first {
		return false, nil //nolint:nilerr // it is no range
	}
	if n := last - first + 1; to != "" && n <= math.MaxInt64 { // beyond that it is all there is
		req.Length = int64(n)
	}
	req.Offset = int64(first) // #nosec G115 -- of 63 bits
	return true, nil
}

// size is that of what a request asks for.
func (a artifacts) size(ctx context.Context, req *executionv1.ReadArtifactRequest) (int64, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	stream, err := a.to.ReadArtifact(ctx, &executionv1.ReadArtifactRequest{Id: req.GetId(), File: req.GetFile(), Length: 1})
	if err != nil {
		return 0, err
	}
	first, err := stream.Recv()
	return first.GetTotal(), err
}

// head writes the header of an answer.
func head(w http.ResponseWriter, req *executionv1.ReadArtifactRequest, first *executionv1.ReadArtifactResponse, kind string, ranged bool) {
	h := w.Header()
	h.Set("Content-Type", kind)
	h.Set("Content-Security-Policy", policyOfFiles)
	h.Set("Content-Disposition", mime.FormatMediaType("attachment", map[string]string{"filename": first.GetName()}))
	total, code := first.GetTotal(), http.StatusOK
	if total >= 0 {
		h.Set("Accept-Ranges", "bytes")
		n := total
		if ranged {
			n = max(total-req.GetOffset(), 0)
			if req.GetLength() > 0 {
				n = min(n, req.GetLength())
			}
			if code = http.StatusPartialContent; n == 0 {
				code = http.StatusRequestedRangeNotSatisfiable
				h.Set("Content-Range", fmt.Sprintf("bytes */%d", total))
			} else {
				h.Set("Content-Range", fmt.Sprintf("bytes %d-%d/%d", req.GetOffset(), req.GetOffset()+n-1, total))
			}
		}
		h.Set("Content-Length", strconv.FormatInt(n, 10))
	}
	w.WriteHeader(code)
}

const (
	uploadPiece = 256 << 10
	// readTime is how long a client of an upload may take for a piece of it.
	readTime = 30 * time.Second
)

// upload takes a tar (plain, zstd or gzip) or zip file.
func (a artifacts) upload(w http.ResponseWriter, r *http.Request) {
	streaming(w, r)
	q, err := query(r, "name", "expires_after")
	if err != nil {
		respond(w, r, err)
		return
	}
	first := &executionv1.UploadArtifactRequest{Name: q.Get("name")}
	if s := q.Get("expires_after"); s != "" {
		d, err := time.ParseDuration(s)
		if err != nil || d < time.Second {
			respond(w, r, errs.Invalid("REQUEST_INVALID", "expires_after is %q, want a duration such as 72h", s))
			return
		}
		first.ExpiresAfterSeconds = int64(d / time.Second)
	}
	ctx, cancel := context.WithCancel(asked(r))
	defer cancel()
	stream, err := a.to.UploadArtifact(ctx)
	if err == nil {
		err = sendBody(w, r, stream, first)
	}
	if err != nil {
		w.Header().Set("Connection", "close") // the rest of the body is not read
		respond(w, r, err)
		return
	}
	res, err := stream.CloseAndRecv()
	if err != nil {
		respond(w, r, err)
		return
	}
	w.Header().Set("Content-Type", typeJSON)
	_ = jsonCodec{}.NewEncoder(w).Encode(res)
}

// sendBody sends the body in pieces; an error of the call is told by its end.
func sendBody(w http.ResponseWriter, r *http.Request, stream executionv1.ArtifactService_UploadArtifactClient, m *executionv1.UploadArtifactRequest) error {
	control := http.NewResponseController(w)
	for {
		if err := stream.Send(m); err != nil {
			return nil //nolint:nilerr // CloseAndRecv says what it was
		}
		_ = control.SetReadDeadline(time.Now().Add(readTime))
		piece := make([]byte, uploadPiece) // the stream may keep it
		n, err := io.ReadFull(r.Body, piece)
		switch {
		case errors.Is(err, io.EOF):
			return nil
		case err != nil && !errors.Is(err, io.ErrUnexpectedEOF):
			return errs.Invalid("REQUEST_MALFORMED", "the body could not be read")
		}
		m = &executionv1.UploadArtifactRequest{Data: piece[:n]}
	}
}
