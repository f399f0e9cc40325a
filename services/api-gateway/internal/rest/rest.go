// Package rest is the HTTP side of the gateway: the REST API that the protos describe, live streams as SSE and NDJSON,
// the OpenAPI document and the probes.
//
// The routes are generated from the protos. What this package adds are the rules of the border: only loopback names
// are answered and no foreign page may write, bodies are bounded, nothing unknown is ignored (fields, parameters,
// content types), every answer carries a request id and every error is a google.rpc.Status in JSON.
package rest

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"strings"

	"github.com/grpc-ecosystem/grpc-gateway/v2/runtime"
	"go.opentelemetry.io/otel/metric"
	"google.golang.org/grpc"

	"github.com/formicary/formicary/libs/jobspec/schema"
	executionv1 "github.com/formicary/formicary/proto/gen/formicary/execution/v1"
	identityv1 "github.com/formicary/formicary/proto/gen/formicary/identity/v1"
	jobv1 "github.com/formicary/formicary/proto/gen/formicary/job/v1"
	resourcev1 "github.com/formicary/formicary/proto/gen/formicary/resource/v1"
	schedulev1 "github.com/formicary/formicary/proto/gen/formicary/schedule/v1"
	"github.com/formicary/formicary/proto/gen/openapi"
	"github.com/formicary/formicary/services/api-gateway/internal/gate"
)

// Options of the handler.
type Options struct {
	// Conn leads to the services.
	Conn grpc.ClientConnInterface
	// Events are the live events.
	Events jobv1.EventServiceClient
	// Ready says whether all that the gateway needs is there.
	Ready func(context.Context) error
	// Workers is where workers connect by WebSocket; nil when none are served.
	Workers http.Handler
	// Pages are what people see in a browser; nil when there are none.
	Pages interface{ Register(mux *http.ServeMux) }
	// Work admits a worker.
	Work func(context.Context) error
	// From counts a request from an address, or refuses it.
	From func(address string) error
	// Anywhere answers to all host names; otherwise only to those of this machine.
	Anywhere bool
	// MaxBody is the largest body of a request, in bytes.
	MaxBody int64
	Log     *slog.Logger
	Meter   metric.Meter
}

// New returns the handler of the HTTP port.
func New(o Options) (http.Handler, error) {
	routes, err := readRoutes()
	if err != nil {
		return nil, err
	}
	api := runtime.NewServeMux(
		runtime.WithMarshalerOption(runtime.MIMEWildcard, jsonCodec{}),
		runtime.WithMarshalerOption(typeSSE, sseCodec{}),
		runtime.WithMarshalerOption(typeNDJSON, jsonCodec{stream: typeNDJSON}),
		runtime.WithMarshalerOption(typeText, textCodec{}),
		runtime.WithErrorHandler(writeError),
		runtime.WithRoutingErrorHandler(routes.noRoute),
		runtime.WithStreamErrorHandler(streamStatus),
		runtime.WithIncomingHeaderMatcher(incoming),
		runtime.WithOutgoingHeaderMatcher(nothing),
		runtime.WithOutgoingTrailerMatcher(nothing),
		runtime.WithMiddlewares(routes.middleware),
		runtime.WithForwardResponseOption(keepSession),
		runtime.WithUnescapingMode(runtime.UnescapingModeAllExceptSlash),
		runtime.WithDisablePathLengthFallback(),
		runtime.WithDisableHTTPMethodOverride(),
	)
	if err := register(api, connection{o.Conn}, o.Events); err != nil {
		return nil, err
	}
	mux := http.NewServeMux()
	mux.Handle("/", api)
	mux.HandleFunc("GET /openapi.json", document)
	mux.HandleFunc("GET /api/v1/jobs/schema", serveSchema)
	mux.HandleFunc("GET /schemas/job.v1.json", serveSchema) // the address that editors are given
	mux.HandleFunc("GET /livez", live)
	mux.HandleFunc("GET /readyz", ready(o.Ready))
	files := artifacts{executionv1.NewArtifactServiceClient(o.Conn)}
	for _, path := range []string{"/api/v1/artifacts/{id}/download", "/api/artifacts/{id}/download", "/api/artifacts/{id}/download/raw"} {
		mux.HandleFunc("GET "+path, files.download)
	}
	mux.HandleFunc("GET /api/v1/audit/export", audits{identityv1.NewAuditServiceClient(o.Conn)}.export)
	if o.Pages != nil {
		o.Pages.Register(mux)
	}
	if o.Workers != nil {
		mux.HandleFunc("GET /ws/ants", func(w http.ResponseWriter, r *http.Request) {
			if err := o.Work(r.Context()); err != nil {
				respond(w, r, err)
				return
			}
			o.Workers.ServeHTTP(w, r)
		})
	}
	m, err := newMeters(o.Meter)
	if err != nil {
		return nil, err
	}
	all := http.NewServeMux()
	all.Handle("/", limit(o.MaxBody, mux))
	all.HandleFunc("POST /api/v1/artifacts", files.upload) // its body is as long as it likes
	all.HandleFunc("POST /api/artifacts", files.upload)
	return observe(o.Log, m, guard(o.Anywhere, identified(o.From, all))), nil
}

// identified keeps who makes a request, for the gate, and refuses addresses that ask too often.
func identified(from func(address string) error, next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		c := gate.FromRequest(r)
		if err := from(c.Address); err != nil {
			respond(w, r, err)
			return
		}
		next.ServeHTTP(w, r.WithContext(gate.WithCredential(r.Context(), c)))
	})
}

// register adds the generated routes of the services for people.
func register(mux *runtime.ServeMux, conn grpc.ClientConnInterface, events jobv1.EventServiceClient) error {
	ctx := context.Background()
	for _, err := range []error{
		// Of two paths that fit, the later one counts: users/configs is none of users/{name}.
		identityv1.RegisterOrgServiceHandlerClient(ctx, mux, identityv1.NewOrgServiceClient(conn)),
		identityv1.RegisterUserServiceHandlerClient(ctx, mux, identityv1.NewUserServiceClient(conn)),
		identityv1.RegisterTokenServiceHandlerClient(ctx, mux, identityv1.NewTokenServiceClient(conn)),
		identityv1.RegisterSessionServiceHandlerClient(ctx, mux, identityv1.NewSessionServiceClient(conn)),
		// What is registered later goes before: the paths of these hold names where others have words.
		jobv1.RegisterConfigServiceHandlerClient(ctx, mux, jobv1.NewConfigServiceClient(conn)),
		jobv1.RegisterSecretServiceHandlerClient(ctx, mux, jobv1.NewSecretServiceClient(conn)),
		jobv1.RegisterQuotaServiceHandlerClient(ctx, mux, jobv1.NewQuotaServiceClient(conn)),
		jobv1.RegisterJobDefinitionServiceHandlerClient(ctx, mux, jobv1.NewJobDefinitionServiceClient(conn)),
		jobv1.RegisterJobRequestServiceHandlerClient(ctx, mux, jobv1.NewJobRequestServiceClient(conn)),
		jobv1.RegisterErrorCodeServiceHandlerClient(ctx, mux, jobv1.NewErrorCodeServiceClient(conn)),
		jobv1.RegisterNotificationServiceHandlerClient(ctx, mux, jobv1.NewNotificationServiceClient(conn)),
		jobv1.RegisterEventServiceHandlerClient(ctx, mux, events),
		executionv1.RegisterExecutionServiceHandlerClient(ctx, mux, executionv1.NewExecutionServiceClient(conn)),
		executionv1.RegisterApprovalServiceHandlerClient(ctx, mux, executionv1.NewApprovalServiceClient(conn)),
		executionv1.RegisterLogServiceHandlerClient(ctx, mux, executionv1.NewLogServiceClient(conn)),
		executionv1.RegisterArtifactServiceHandlerClient(ctx, mux, executionv1.NewArtifactServiceClient(conn)),
		executionv1.RegisterCacheServiceHandlerClient(ctx, mux, executionv1.NewCacheServiceClient(conn)),
		identityv1.RegisterAuditServiceHandlerClient(ctx, mux, identityv1.NewAuditServiceClient(conn)),
		resourcev1.RegisterAntServiceHandlerClient(ctx, mux, resourcev1.NewAntServiceClient(conn)),
		resourcev1.RegisterAntIdentityServiceHandlerClient(ctx, mux, resourcev1.NewAntIdentityServiceClient(conn)), // its paths go before /ants/{id}
		resourcev1.RegisterExecutorServiceHandlerClient(ctx, mux, resourcev1.NewExecutorServiceClient(conn)),
		schedulev1.RegisterQueueServiceHandlerClient(ctx, mux, schedulev1.NewQueueServiceClient(conn)),
	} {
		if err != nil {
			return fmt.Errorf("register REST routes: %w", err)
		}
	}
	return nil
}

// The request headers that reach the handlers, and nothing else does: callers must not be able to write metadata.
const (
	lastEventID    = "Last-Event-Id"
	idempotencyKey = "Idempotency-Key"
	requestID      = "X-Request-Id"
)

func incoming(key string) (string, bool) {
	switch key {
	case lastEventID, idempotencyKey, requestID:
		return strings.ToLower(key), true
	}
	return "", false
}

func nothing(string) (string, bool) { return "", false }

func document(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", typeJSON)
	_, _ = w.Write([]byte(openapi.JSON()))
}

// serveSchema is what editors check definitions with.
func serveSchema(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "application/schema+json")
	_, _ = w.Write(schema.JSON())
}

func live(w http.ResponseWriter, _ *http.Request) { plain(w, http.StatusOK, "ok") }

func ready(check func(context.Context) error) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		if err := check(r.Context()); err != nil {
			plain(w, http.StatusServiceUnavailable, err.Error())
			return
		}
		plain(w, http.StatusOK, "ok")
	}
}

func plain(w http.ResponseWriter, code int, text string) {
	w.Header().Set("Content-Type", typeText+"; charset=utf-8")
	w.WriteHeader(code)
	_, _ = w.Write([]byte(text + "\n"))
}
