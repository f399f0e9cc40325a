package rest

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"unicode/utf8"

	"google.golang.org/grpc/codes"

	"github.com/formicary/formicary/libs/errs"
	"github.com/formicary/formicary/libs/rpc"
)

// limit reads the body, which is small or refused, before anything is decided by it.
func limit(most int64, next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if t := r.Header.Get("Content-Type"); t == "" {
			r.Header.Del("Content-Type")
		} else if !strings.Contains(t, "/") {
			respond(w, r, &unsupported{t})
			return
		}
		if r.Body == nil || r.Body == http.NoBody {
			next.ServeHTTP(w, r)
			return
		}
		body, err := read(r, most)
		switch {
		case errors.Is(err, errTooLarge):
			if !swallow(r) {
				w.Header().Set("Connection", "close")
			}
			writeStatus(w, r, http.StatusRequestEntityTooLarge, newStatus(codes.InvalidArgument, rpc.ReasonTooLarge,
				fmt.Sprintf("the body is larger than %d bytes", most)))
			return
		case err != nil:
			respond(w, r, errs.Invalid("REQUEST_MALFORMED", "the body could not be read"))
			return
		}
		setBody(r, body)
		next.ServeHTTP(w, r)
	})
}

var errTooLarge = errors.New("the body is too large")

func read(r *http.Request, most int64) ([]byte, error) {
	if r.ContentLength > most {
		return nil, errTooLarge
	}
	if r.ContentLength < 0 {
		body, err := io.ReadAll(io.LimitReader(r.Body, most+1))
		if int64(len(body)) > most {
			return nil, errTooLarge
		}
		return body, err
	}
	var body bytes.Buffer
	body.Grow(int(min(r.ContentLength, firstRead)) + bytes.MinRead) // what is announced may never come
	n, err := body.ReadFrom(io.LimitReader(r.Body, r.ContentLength))
	if err == nil && n < r.ContentLength {
		err = io.ErrUnexpectedEOF
	}
	return body.Bytes(), err
}

// firstRead is how much room a body gets before any of it is there, in bytes.
const firstRead = 16 << 10

// mostSwallowed is how much is read of a body that is refused, in bytes.
const mostSwallowed = 64 << 20

// swallow reads the rest of a body that is too large and reports whether it came to the end. Most clients read the answer
// when they have sent all; one that is cut off before that sees a connection that was reset. One that asks first
// (Expect: 100-continue) is answered before it sends anything.
func swallow(r *http.Request) bool {
	if strings.EqualFold(r.Header.Get("Expect"), "100-continue") && r.ContentLength > 0 {
		return false
	}
	n, err := io.Copy(io.Discard, io.LimitReader(r.Body, mostSwallowed))
	return err == nil && n < mostSwallowed
}

func setBody(r *http.Request, body []byte) {
	r.Body = io.NopCloser(bytes.NewReader(body))
	r.ContentLength = int64(len(body))
}

// contentType returns the media type of the body, or what stands in its place.
func contentType(r *http.Request) string {
	t, _, err := mime.ParseMediaType(r.Header.Get("Content-Type"))
	if err != nil {
		return r.Header.Get("Content-Type")
	}
	return t
}

func isYAML(r *http.Request) bool {
	switch contentType(r) {
	case "application/yaml", "application/x-yaml", "text/yaml", "text/x-yaml", "text/vnd.yaml", "application/vnd.yaml", typeText:
		return true
	}
	return false
}

// formType is what curl -d says unless it is told otherwise.
const formType = "application/x-www-form-urlencoded"

// jsonBody refuses bodies that are not said to be JSON. What curl sends by default is taken for JSON.
func jsonBody(r *http.Request) error {
	switch t := contentType(r); {
	case t == "", t == typeJSON, t == formType, r.ContentLength == 0:
		r.Header.Set("Content-Type", typeJSON)
		return nil
	default:
		return &unsupported{t}
	}
}

// unsupported is a content type that the route does not take.
type unsupported struct{ contentType string }

func (u *unsupported) Error() string {
	return fmt.Sprintf("content type %q is not taken here: send application/json, or a job definition as application/yaml", u.contentType)
}

// yamlToJSON makes the text of a definition the message that the generated handler expects. The parameters file_name
// and validate_only stand in the query.
func yamlToJSON(r *http.Request) error {
	text, err := io.ReadAll(r.Body)
	if err != nil {
		return errs.Invalid("REQUEST_MALFORMED", "the body could not be read")
	}
	if !utf8.Valid(text) {
		return errs.Invalid("DEFINITION_INVALID", "the text is not UTF-8")
	}
	var msg struct {
		YAML         string `json:"yaml"`
		FileName     string `json:"file_name,omitempty"`
		ValidateOnly bool   `json:"validate_only,omitempty"`
	}
	msg.YAML = string(text)
	query, err := url.ParseQuery(r.URL.RawQuery)
	if err != nil {
		return errs.Invalid("REQUEST_MALFORMED", "query: %s", err)
	}
	for name := range query {
		switch name {
		case "file_name":
			msg.FileName = query.Get(name)
		case "validate_only":
			if msg.ValidateOnly, err = strconv.ParseBool(query.Get(name)); err != nil {
				return errs.Invalid("REQUEST_MALFORMED", "validate_only=%s: want true or false", query.Get(name))
			}
		default:
			return errs.Invalid("PARAMETER_UNKNOWN", "unknown query parameter %q; known are: file_name, validate_only", name)
		}
	}
	body, err := json.Marshal(msg)
	if err != nil {
		return fmt.Errorf("encode definition: %w", err)
	}
	r.URL.RawQuery = ""
	r.Header.Set("Content-Type", typeJSON)
	setBody(r, body)
	return nil
}
