package rest

import (
	"context"
	"fmt"
	"mime"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"

	"github.com/grpc-ecosystem/grpc-gateway/v2/runtime"
	"google.golang.org/genproto/googleapis/api/annotations"
	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"

	"github.com/formicary/formicary/libs/errs"
	"github.com/formicary/formicary/libs/storable"
	executionv1 "github.com/formicary/formicary/proto/gen/formicary/execution/v1"
	jobv1 "github.com/formicary/formicary/proto/gen/formicary/job/v1"
	"github.com/formicary/formicary/services/api-gateway/internal/gate"
)

// route is one HTTP binding of a method.
type route struct {
	verb, path string // as in the proto
	method     string // "/package.Service/Method"
	input      protoreflect.MessageDescriptor
	body       bool // the message, or a field of it, is the body; otherwise its fields are query parameters
	stream     bool
}

// routes by verb and path.
type routes map[string]*route

// readRoutes reads the HTTP bindings of all methods from their protos.
func readRoutes() (routes, error) {
	rs := routes{}
	var bad error
	protoregistry.GlobalFiles.RangeFiles(func(f protoreflect.FileDescriptor) bool {
		for i := range f.Services().Len() {
			for j := range f.Services().Get(i).Methods().Len() {
				m := f.Services().Get(i).Methods().Get(j)
				if !strings.HasPrefix(string(m.FullName()), "formicary.") || !proto.HasExtension(m.Options(), annotations.E_Http) {
					continue
				}
				rule, _ := proto.GetExtension(m.Options(), annotations.E_Http).(*annotations.HttpRule)
				for _, r := range append([]*annotations.HttpRule{rule}, rule.GetAdditionalBindings()...) {
					if err := rs.add(m, r); err != nil {
						bad = err
					}
				}
			}
		}
		return bad == nil
	})
	return rs, bad
}

func (rs routes) add(m protoreflect.MethodDescriptor, rule *annotations.HttpRule) error {
	r := &route{
		method: "/" + string(m.Parent().FullName()) + "/" + string(m.Name()), input: m.Input(), stream: m.IsStreamingServer(),
		body: rule.GetBody() != "",
	}
	switch p := rule.GetPattern().(type) {
	case *annotations.HttpRule_Get:
		r.verb, r.path = http.MethodGet, p.Get
	case *annotations.HttpRule_Post:
		r.verb, r.path = http.MethodPost, p.Post
	case *annotations.HttpRule_Put:
		r.verb, r.path = http.MethodPut, p.Put
	case *annotations.HttpRule_Patch:
		r.verb, r.path = http.MethodPatch, p.Patch
	case *annotations.HttpRule_Delete:
		r.verb, r.path = http.MethodDelete, p.Delete
	default:
		return fmt.Errorf("%s: unknown HTTP binding", r.method)
	}
	rs[r.verb+" "+generated(r.path)] = r
	return nil
}

// generated writes a path as the generated patterns do: a variable without a pattern as {name=*}.
func generated(path string) string {
	var b strings.Builder
	for part := range strings.SplitAfterSeq(path, "}") {
		if open := strings.LastIndexByte(part, '{'); open >= 0 && strings.HasSuffix(part, "}") && !strings.Contains(part[open:], "=") {
			part = strings.TrimSuffix(part, "}") + "=*}"
		}
		b.WriteString(part)
	}
	return b.String()
}

// middleware gives a generated handler what its route needs.
func (rs routes) middleware(next runtime.HandlerFunc) runtime.HandlerFunc {
	var (
		once sync.Once
		rt   *route
	)
	return func(w http.ResponseWriter, r *http.Request, params map[string]string) {
		once.Do(func() {
			pattern, _ := runtime.HTTPPattern(r.Context())
			if rt = rs[r.Method+" "+pattern.String()]; rt == nil {
				rt = &route{verb: r.Method, path: pattern.String()}
			}
		})
		if x, ok := w.(*exchange); ok {
			x.route = rt
		}
		if err := rt.prepare(w, r); err != nil {
			respond(w, r, err)
			return
		}
		next(w, r, params)
	}
}

// prepare checks what the generated handlers would ignore and chooses the form of the answer.
func (rt *route) prepare(w http.ResponseWriter, r *http.Request) error {
	if err := checkTexts(r); err != nil {
		return err
	}
	accepted := r.Header["Accept"]
	r.Header.Set("Accept", typeJSON)
	if rt.stream {
		r.Header.Set("Accept", rt.choose(accepted))
		w.Header().Set("X-Accel-Buffering", "no")
	}
	if rt.method == executionv1.LogService_WatchTaskLog_FullMethodName {
		if err := resumeLog(r); err != nil {
			return err
		}
	}
	if rt.method == jobv1.JobDefinitionService_CreateJobDefinition_FullMethodName && isYAML(r) {
		return yamlToJSON(r)
	}
	if rt.body {
		if err := jsonBody(r); err != nil {
			return err
		}
	}
	return rt.checkQuery(r.URL)
}

// checkTexts refuses what no message and no database takes as text, and an Idempotency-Key that would get lost on the
// way: a client that believes in it would submit twice.
func checkTexts(r *http.Request) error {
	query, _ := url.QueryUnescape(r.URL.RawQuery)
	if !storable.Is(r.URL.Path) || !storable.Is(query) {
		return errs.Invalid("REQUEST_MALFORMED", "the path or the query holds what is no text: want UTF-8 without NUL")
	}
	for _, header := range [...]string{gate.UserHeader, gate.RolesHeader, gate.OrgHeader, gate.Authorization} { // they would be left out, and the caller be somebody else
		values := r.Header.Values(header)
		if slices.ContainsFunc(values, notPrintable) {
			return errs.Invalid("USER_INVALID", "the header %s holds more than printable ASCII", header)
		}
		if slices.ContainsFunc(values, func(v string) bool { return v != values[0] }) {
			return errs.Invalid("USER_INVALID", "the header %s is given twice with different values: one of them would be ignored", header)
		}
	}
	if slices.ContainsFunc(r.Header[idempotencyKey], notPrintable) {
		return errs.Invalid("REQUEST_MALFORMED", "the header Idempotency-Key holds more than printable ASCII; the field idempotency_key of the body takes any text")
	}
	return nil
}

func notPrintable(s string) bool {
	return strings.ContainsFunc(s, func(c rune) bool { return c < ' ' || c > '~' })
}

// choose returns the first media type of the client's list in which a stream can be sent.
func (rt *route) choose(accepted []string) string {
	for item := range strings.SplitSeq(strings.Join(accepted, ","), ",") {
		t, _, err := mime.ParseMediaType(item)
		switch {
		case err != nil:
		case t == typeSSE, t == typeNDJSON, t == typeJSON:
			return t
		case t == typeText && rt.method == executionv1.LogService_WatchTaskLog_FullMethodName:
			return t
		}
	}
	return typeJSON
}

// checkQuery refuses parameters that would be ignored.
func (rt *route) checkQuery(u *url.URL) error {
	if u.RawQuery == "" || rt.input == nil {
		return nil
	}
	query, err := url.ParseQuery(u.RawQuery)
	if err != nil {
		return errs.Invalid("REQUEST_MALFORMED", "query: %s", err)
	}
	for name := range query {
		if rt.body || !hasField(rt.input, strings.Split(name, ".")) {
			return errs.Invalid("PARAMETER_UNKNOWN", "unknown query parameter %q", name).
				WithViolations(errs.Violation{Field: name, Description: "unknown query parameter; known are: " + rt.parameters(), Reason: "PARAMETER_UNKNOWN"})
		}
	}
	return nil
}

func hasField(m protoreflect.MessageDescriptor, path []string) bool {
	f := m.Fields().ByName(protoreflect.Name(path[0]))
	if f == nil {
		f = m.Fields().ByJSONName(path[0])
	}
	if f == nil || len(path) == 1 {
		return f != nil
	}
	return f.Message() != nil && hasField(f.Message(), path[1:])
}

func (rt *route) parameters() string {
	if rt.body {
		return "none, fields stand in the body"
	}
	var names []string
	for i := range rt.input.Fields().Len() {
		if name := string(rt.input.Fields().Get(i).Name()); !strings.Contains(rt.path, "{"+name+"}") {
			names = append(names, name)
		}
	}
	return strings.Join(names, ", ")
}

// noRoute answers requests that no route takes.
func (rs routes) noRoute(_ context.Context, _ *runtime.ServeMux, _ runtime.Marshaler, w http.ResponseWriter, r *http.Request, code int) {
	switch code {
	case http.StatusMethodNotAllowed:
		allow := rs.verbs(r.URL.Path)
		w.Header().Set("Allow", strings.Join(allow, ", "))
		writeStatus(w, r, code, newStatus(codes.Unimplemented, "METHOD_NOT_ALLOWED", r.Method+" is not possible here; possible are: "+strings.Join(allow, ", ")))
	case http.StatusNotFound:
		writeStatus(w, r, code, newStatus(codes.NotFound, "PATH_UNKNOWN", "there is nothing at "+r.URL.Path+"; /openapi.json lists the paths"))
	default:
		writeStatus(w, r, code, newStatus(codes.InvalidArgument, "REQUEST_MALFORMED", http.StatusText(code)))
	}
}

// verbs returns the methods that the path takes.
func (rs routes) verbs(path string) []string {
	var verbs []string
	have := strings.Split(path, "/")
	for _, rt := range rs {
		want := strings.Split(rt.path, "/")
		if slices.EqualFunc(have, want, func(h, w string) bool { return h == w || strings.HasPrefix(w, "{") && h != "" }) && !slices.Contains(verbs, rt.verb) {
			verbs = append(verbs, rt.verb)
		}
	}
	slices.Sort(verbs)
	return verbs
}
